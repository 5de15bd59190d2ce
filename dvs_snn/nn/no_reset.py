"""The neuron without a reset: a leaky membrane and a threshold, so its state is linear in its input."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dvs_snn.nn.documents import First, rowwise
from dvs_snn.nn.neurons import LIF, LIFState
from dvs_snn.nn.parallel_scan import parallel_scan
from dvs_snn.nn.scan_function import Kernels, compiled, run_scan
from dvs_snn.nn.ssm_kernel import leaky_backward, leaky_forward
from dvs_snn.nn.surrogate import Surrogate
from dvs_snn.nn.temporal import State

LEAK = Kernels(leaky_forward, leaky_backward, inputs=1, states=1)


class NoResetLIF(LIF):
    """`u <- β u + x`, `s = Θ(u - θ)`, β and θ learned per channel (the neuron of PSN, Fang et al. 2023, made causal).

    What a spike does not change needs no loop: `u_t = Σ_k β^k x_{t-k}` in closed form. With `smooth` the output is
    `gelu(u - θ)`: leaky integration and GELU, the twin without spikes and with the same parameters.
    """

    takes_first: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        beta: float = 0.5,
        threshold: float = 1.0,
        *,
        smooth: bool = False,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(
            beta,
            threshold,
            reset="none",
            learn_beta=True,
            learn_threshold=True,
            shape=(width,),
            surrogate=surrogate,
        )
        self.smooth = smooth

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], LIFState]:
        if first is None and not self.smooth and compiled(xs):
            return super().forward(xs, state)
        if state is None:
            state = self._rest(xs, tuple(xs.shape[1:]))
        self._check(state, tuple(xs.shape[1:]))
        beta = self.beta.to(xs.dtype).clamp(0, 1)
        potentials, membrane = leaky_scan(xs, state.membrane, beta, first)
        over = potentials - self.threshold.to(xs.dtype)
        return rowwise(F.gelu, over) if self.smooth else self.surrogate(over), LIFState(membrane)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, smooth={self.smooth}"


def leaky_scan(
    xs: Float[Tensor, "time batch width"],
    membrane: Float[Tensor, "batch width"],
    beta: Float[Tensor, " width"],
    first: First | None = None,
) -> tuple[Float[Tensor, "time batch width"], Float[Tensor, "batch width"]]:
    """`u <- β u + x` at every step, and the last u; compiled on the CPU, parallel in time elsewhere."""
    if compiled(xs):
        ys, (end,) = run_scan(LEAK, first, xs, xs, membrane, beta)
        return ys, end
    potentials = parallel_scan(xs, beta[None, None], membrane, first)
    return potentials, potentials[-1]
