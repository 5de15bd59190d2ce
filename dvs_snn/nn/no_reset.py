"""The neuron without a reset: a leaky membrane and a threshold, so its state is linear in its input."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dvs_snn.nn.documents import First, mask_array
from dvs_snn.nn.neurons import LIF, LIFState
from dvs_snn.nn.ssm import compiled
from dvs_snn.nn.ssm_kernel import leaky_backward, leaky_forward
from dvs_snn.nn.surrogate import Surrogate
from dvs_snn.nn.temporal import State


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
        if first is None and not self.smooth:
            return super().forward(xs, state)
        if state is None:
            state = self._rest(xs, tuple(xs.shape[1:]))
        self._check(state, tuple(xs.shape[1:]))
        beta = self.beta.to(xs.dtype).clamp(0, 1)
        potentials, membrane = leaky_scan(xs, state.membrane, beta, first)
        over = potentials - self.threshold.to(xs.dtype)
        return F.gelu(over) if self.smooth else self.surrogate(over), LIFState(membrane)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, smooth={self.smooth}"


def leaky_scan(
    xs: Float[Tensor, "time batch width"],
    membrane: Float[Tensor, "batch width"],
    beta: Float[Tensor, " width"],
    first: First | None = None,
) -> tuple[Float[Tensor, "time batch width"], Float[Tensor, "batch width"]]:
    """`u <- β u + x` at every step, and the last u; compiled on the CPU, plain torch elsewhere."""
    if compiled(xs):
        return _Leak.apply(xs, membrane, beta, first)
    outputs = []
    for t, x in enumerate(xs):
        if first is not None:
            membrane = membrane.masked_fill(first[t].unsqueeze(1), 0)
        membrane = beta * membrane + x
        outputs.append(membrane)
    return torch.stack(outputs), membrane


class _Leak(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, xs: Tensor, membrane: Tensor, beta: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        xs, beta = xs.contiguous(), beta.contiguous()
        ys, end = torch.empty_like(xs), membrane.to(xs.dtype, copy=True).contiguous()
        leaky_forward(xs.numpy(), end.numpy(), beta.numpy(), mask_array(first), ys.numpy())
        ctx.save_for_backward(membrane, beta, ys)
        ctx.first = first
        ctx.set_materialize_grads(False)
        return ys, end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        membrane, beta, ys = ctx.saved_tensors
        gy = torch.zeros_like(ys) if grads[0] is None else grads[0].contiguous()
        gu = torch.zeros_like(membrane) if grads[1] is None else grads[1].clone(memory_format=torch.contiguous_format)
        gx, ga = torch.empty_like(ys), torch.zeros_like(beta)
        start = (membrane.contiguous().numpy(), beta.numpy(), mask_array(ctx.first), ys.numpy())
        leaky_backward(*start, *(g.numpy() for g in (gy, gu, gx, ga)))
        return gx, gu, ga, None
