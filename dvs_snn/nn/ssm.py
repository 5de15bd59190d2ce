"""Diagonal state-space mixers: every channel remembers its past on several time scales; linear, spikes follow them.

On the CPU all channels are parallel and time is one compiled loop: the same operations for one token as for a thousand,
so `step` equals the scan to the bit, at O(states) per channel and token. Elsewhere time is parallel too
(`parallel_scan`), and the same sums are taken in another order.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First, rowwise
from dvs_snn.nn.parallel_scan import parallel_scan
from dvs_snn.nn.scan_function import Kernels, compiled, run_scan
from dvs_snn.nn.ssm_kernel import (
    complex_backward,
    complex_forward,
    selective_backward,
    selective_forward,
    ssm_backward,
    ssm_forward,
)
from dvs_snn.nn.temporal import State, Temporal

REAL = Kernels(ssm_forward, ssm_backward, inputs=1, states=1)
COMPLEX = Kernels(complex_forward, complex_backward, inputs=1, states=2)
SELECTIVE = Kernels(selective_forward, selective_backward, inputs=2, states=1)


class SSMState(NamedTuple):
    """Hidden state `[batch, states, width]`."""

    hidden: Tensor


class ComplexState(NamedTuple):
    """Hidden state, real and imaginary part, `[batch, states, width]`."""

    real: Tensor
    imaginary: Tensor


class _StateSpace(Temporal):
    """What the three state spaces share: `[time, batch, width]` to `[..., width · expand]`, with a direct path `D x`.

    With `expand` above 1 every input channel feeds that many state spaces.
    """

    takes_first: ClassVar[bool] = True
    state_type: ClassVar[Any] = SSMState

    def __init__(self, width: int, states: int, steps: tuple[float, float], expand: int) -> None:
        super().__init__()
        if min(width, states, expand) < 1:
            raise ConfigError(f"state space: width, states, expand are at least 1, got {width}, {states}, {expand}")
        if not 0 < steps[0] <= steps[1]:
            raise ConfigError(f"state space: steps is a range above 0, low <= high, got {steps}")
        self.width, self.states, self.steps, self.expand = width, states, steps, expand
        self.channels = width * expand
        self.skip = nn.Parameter(torch.ones(self.channels))

    def _log_steps(self) -> Tensor:
        """One Δ per channel, log-uniform over `steps`."""
        low, high = (math.log(step) for step in self.steps)
        return low + (high - low) * torch.rand(self.channels)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Any:
        self.output_shape(shape)
        zeros = self.skip.new_zeros(batch, self.states, self.channels)
        return self.state_type(*(zeros.clone() for _ in self.state_type._fields))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != (self.width,):
            raise ConfigError(f"state space: built for {self.width} channels, not {tuple(shape)}")
        return (self.channels,)

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch channels"], Any]:
        if len(xs) == 0:
            raise ValueError("a sequence needs at least one step")
        if state is None:
            state = self.initial_state(xs.shape[1], tuple(xs.shape[2:]))
        if state[0].shape != (xs.shape[1], self.states, self.channels):
            raise ValueError(f"state of shape {tuple(state[0].shape)} does not fit an input of shape {tuple(xs.shape)}")
        if self.expand > 1:
            xs = xs.repeat(1, 1, self.expand)
        ys, end = self._scan(xs, tuple(state), first)
        return ys + self.skip * xs, self.state_type(*end)

    @abstractmethod
    def _scan(
        self, xs: Tensor, state: tuple[Tensor, ...], first: First | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]: ...

    def _spread(self, xs: Tensor) -> Tensor:
        """The input of every state, `[time, batch, states, channels]`."""
        return xs.unsqueeze(2).expand(-1, -1, self.states, -1)

    def products_per_step(self) -> int:
        """Multiplications per sample and step that no weight matrix shows."""
        return self.channels * (2 * self.states * len(self.state_type._fields) ** 2 + 1)

    def extra_repr(self) -> str:
        return f"{self.width} -> {self.channels}, states={self.states}"


class DiagonalSSM(_StateSpace):
    """Real diagonal state space (S4D-Real: Gu et al. 2022), channel by channel.

        h_n <- a_n h_n + x          a_n = exp(-Δ λ_n)
        y = D x + Σ_n C_n (1 - a_n) h_n

    `λ_n` starts as 1..N and Δ log-uniform over `steps`, one per channel: each of the N states is a leaky integrator of
    gain 1, their time constants `1 / Δ λ_n` steps. All are learned. A chip's leaky integrators compute the same.
    """

    def __init__(self, width: int, states: int = 16, steps: tuple[float, float] = (0.01, 1.0), expand: int = 1) -> None:
        super().__init__(width, states, steps, expand)
        self.log_rate = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).unsqueeze(1) + self._log_steps())
        self.out = nn.Parameter(torch.randn(states, self.channels) / math.sqrt(states))

    def coefficients(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """a and the gains `C (1 - a)`, `[states, width · expand]`."""
        decay = torch.exp(-torch.exp(self.log_rate)).to(dtype)
        return decay, self.out.to(dtype) * (1 - decay)

    def read(self, hidden: Float[Tensor, "batch states channels"], dtype: torch.dtype) -> Tensor:
        """What a state `[batch, states, width · expand]` says by itself, without an input."""
        return (self.coefficients(dtype)[1] * hidden).sum(1)

    def _scan(self, xs: Tensor, state: tuple[Tensor, ...], first: First | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        decay, gain = self.coefficients(xs.dtype)
        if compiled(xs):
            return run_scan(REAL, first, xs, xs, *state, decay, gain)
        hidden = parallel_scan(self._spread(xs), decay[None, None], state[0], first)
        return (gain * hidden).sum(2), (hidden[-1],)


class ComplexSSM(_StateSpace):
    """Complex diagonal state space (S4D-Lin: Gu et al. 2022): damped rotations, so it also keeps order and rhythm.

        h_n <- a_n h_n + x          a_n = exp(Δ A_n),  A_n = -exp(log_damping_n) + i ω_n
        y = D x + 2 Re Σ_n C_n (a_n - 1) / A_n h_n

    A starts as `-1/2 + i π n`, Δ log-uniform over `steps`. Two real states and four products per complex one.
    """

    state_type: ClassVar[Any] = ComplexState

    def __init__(self, width: int, states: int = 8, steps: tuple[float, float] = (0.01, 1.0), expand: int = 1) -> None:
        super().__init__(width, states, steps, expand)
        self.log_step = nn.Parameter(self._log_steps())
        self.log_damping = nn.Parameter(torch.full((states, self.channels), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(states).unsqueeze(1).expand(states, self.channels).clone())
        self.out = nn.Parameter(torch.randn(2, states, self.channels) / math.sqrt(2 * states))

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """a and the gains `2 C (a - 1) / A`, complex `[states, width]`."""
        rate = torch.complex(-torch.exp(self.log_damping), self.frequency)
        decay = torch.exp(torch.exp(self.log_step) * rate)
        return decay, 2 * torch.complex(self.out[0], self.out[1]) * (decay - 1) / rate

    def _scan(self, xs: Tensor, state: tuple[Tensor, ...], first: First | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        decay, gain = self.coefficients()
        parts = (decay.real, decay.imag, gain.real, gain.imag)
        if compiled(xs):
            return run_scan(COMPLEX, first, xs, xs, *state, *parts)
        kind = torch.promote_types(xs.dtype, torch.complex64)
        hidden = parallel_scan(self._spread(xs).to(kind), decay[None, None].to(kind), torch.complex(*state), first)
        ys = (gain.to(kind) * hidden).real.sum(2)
        return ys.to(xs.dtype), (hidden[-1].real.to(xs.dtype), hidden[-1].imag.to(xs.dtype))


class SelectiveSSM(_StateSpace):
    """Real diagonal state space whose step Δ depends on the input (the selection of Mamba: Gu & Dao 2023).

        Δ = softplus(W x + b)       a_n = exp(-Δ λ_n)
        h_n <- a_n h_n + (1 - a_n) x
        y = D x + Σ_n C_n h_n

    A large Δ forgets what was and takes the token in, a small one passes over it. W has rank `rank`.
    """

    def __init__(
        self,
        width: int,
        states: int = 16,
        steps: tuple[float, float] = (0.01, 1.0),
        expand: int = 1,
        rank: int | None = None,
    ) -> None:
        super().__init__(width, states, steps, expand)
        rank = rank if rank is not None else max(1, width // 16)
        self.log_rate = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).unsqueeze(1).repeat(1, self.channels))
        self.out = nn.Parameter(torch.randn(states, self.channels) / math.sqrt(states))
        choose = nn.Linear(rank, self.channels)
        step = torch.exp(self._log_steps())
        with torch.no_grad():
            choose.bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus of it is the step
            choose.weight.mul_(0.1)
        self.select = nn.Sequential(nn.Linear(self.channels, rank, bias=False), choose)

    def _scan(self, xs: Tensor, state: tuple[Tensor, ...], first: First | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        choice = rowwise(self.select, xs)
        rate, gain = torch.exp(self.log_rate), self.out
        if compiled(xs):
            return run_scan(SELECTIVE, first, xs, xs, choice, *state, rate, gain)
        decay = torch.exp(-F.softplus(choice).unsqueeze(2) * rate)
        hidden = parallel_scan((1 - decay) * xs.unsqueeze(2), decay, state[0], first)
        return (gain * hidden).sum(2), (hidden[-1],)
