"""The diagonal state-space mixer: every channel remembers its past on several time scales; linear, spikes follow it."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First, mask_array
from dvs_snn.nn.ssm_kernel import ssm_backward, ssm_forward
from dvs_snn.nn.temporal import State, Temporal


class SSMState(NamedTuple):
    """Hidden state `[batch, states, width]`."""

    hidden: Tensor


class DiagonalSSM(Temporal):
    """Real diagonal state space (S4D-Real: Gu et al. 2022), channel by channel: `[time, batch, width]` to the same.

        h_n <- a_n h_n + x          a_n = exp(-Δ λ_n)
        y = D x + Σ_n C_n (1 - a_n) h_n

    `λ_n` starts as 1..N and Δ log-uniform over `steps`, one per channel: each of the N states is a leaky integrator of
    gain 1, their time constants `1 / Δ λ_n` steps. All are learned.
    """

    takes_first: ClassVar[bool] = True

    def __init__(self, width: int, states: int = 16, steps: tuple[float, float] = (0.01, 1.0)) -> None:
        super().__init__()
        if width < 1 or states < 1:
            raise ConfigError(f"state space: width and states must be at least 1, got {width} and {states}")
        low, high = (math.log(step) for step in steps)
        log_step = low + (high - low) * torch.rand(width)
        self.width, self.states = width, states
        self.log_rate = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).unsqueeze(1) + log_step)
        self.out = nn.Parameter(torch.randn(states, width) / math.sqrt(states))
        self.skip = nn.Parameter(torch.ones(width))

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> SSMState:
        self.output_shape(shape)
        return SSMState(self.log_rate.new_zeros(batch, self.states, self.width))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != (self.width,):
            raise ConfigError(f"state space: built for {self.width} channels, not {tuple(shape)}")
        return (self.width,)

    def step(self, x: Float[Tensor, "batch width"], state: State | None = None) -> tuple[Tensor, State]:
        ys, state = self.forward(x.unsqueeze(0), state)
        return ys[0], state

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], SSMState]:
        if state is None:
            state = self.initial_state(xs.shape[1], tuple(xs.shape[2:]))
        decay = torch.exp(-torch.exp(self.log_rate)).to(xs.dtype)
        gain = self.out.to(xs.dtype) * (1 - decay)
        ys, hidden = diagonal_scan(xs, state.hidden, decay, gain, first)
        return ys + self.skip * xs, SSMState(hidden)

    def extra_repr(self) -> str:
        return f"{self.width}, states={self.states}"


def diagonal_scan(
    xs: Float[Tensor, "time batch width"],
    hidden: Float[Tensor, "batch states width"],
    decay: Float[Tensor, "states width"],
    gain: Float[Tensor, "states width"],
    first: First | None = None,
) -> tuple[Float[Tensor, "time batch width"], Float[Tensor, "batch states width"]]:
    """`h_n <- decay_n h_n + x`, `y = Σ_n gain_n h_n`, and the last h; compiled on the CPU, plain torch elsewhere."""
    if compiled(xs):
        return _Scan.apply(xs, hidden, decay, gain, first)
    outputs = []
    for t, x in enumerate(xs):
        if first is not None:
            hidden = hidden.masked_fill(first[t].view(-1, 1, 1), 0)
        hidden = decay * hidden + x.unsqueeze(1)
        outputs.append((gain * hidden).sum(1))
    return torch.stack(outputs), hidden


def compiled(xs: Tensor) -> bool:
    """Whether the compiled scans serve this input."""
    return xs.device.type == "cpu" and xs.dtype in (torch.float32, torch.float64)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, xs: Tensor, hidden: Tensor, decay: Tensor, gain: Tensor, first: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        xs, decay, gain = xs.contiguous(), decay.contiguous(), gain.contiguous()
        ys, end = torch.empty_like(xs), hidden.to(xs.dtype, copy=True).contiguous()
        ssm_forward(xs.numpy(), end.numpy(), decay.numpy(), gain.numpy(), mask_array(first), ys.numpy())
        ctx.save_for_backward(xs, hidden, decay, gain)
        ctx.first = first
        ctx.set_materialize_grads(False)
        return ys, end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        xs, hidden, decay, gain = ctx.saved_tensors
        gy = torch.zeros_like(xs) if grads[0] is None else grads[0].contiguous()
        gh = torch.zeros_like(hidden) if grads[1] is None else grads[1].clone(memory_format=torch.contiguous_format)
        gx, ga, gc = torch.empty_like(xs), torch.zeros_like(decay), torch.zeros_like(gain)
        arrays = [tensor.numpy() for tensor in (xs, hidden.contiguous(), decay, gain)]
        arrays += [mask_array(ctx.first), *(grad.numpy() for grad in (gy, gh, gx, ga, gc))]
        ssm_backward(*arrays)
        return gx, gh, ga, gc, None
