"""The count neuron of SpikingBrain: a number of spikes per value, and the codes that carry the number in time.

A count neuron is rounding, done by integrate and fire: with a membrane that neither leaks nor keeps a remainder, the
spikes of one value are `round(x / θ)`. What follows can add weights once per spike instead of multiplying.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import rowwise
from dvs_snn.nn.temporal import State, Temporal

Code: TypeAlias = Literal["binary", "ternary", "bitwise", "twos_complement"]
CODES: tuple[Code, ...] = ("binary", "ternary", "bitwise", "twos_complement")


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class SpikeCount(Temporal):
    """`θ = mean|x| / k` over the features of a token, count `s = round(x / θ)`, output `θ s` (SpikingBrain, 2025).

    The gradient passes the rounding as it is and does not enter θ. There is no state: each token has its own micro-
    steps, see `encode`. `limit` caps the count's size (0: never); at 7 it fits three bits and a sign.
    """

    def __init__(self, k: float = 3.0, limit: int = 0) -> None:
        super().__init__()
        if not k > 0 or limit < 0:
            raise ConfigError(f"count neuron: k must be above 0 and limit not negative, got {k:g} and {limit}")
        self.k, self.limit = k, limit

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return ()

    def step(self, x: Float[Tensor, "batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        counts, threshold = self.counts(x)
        return counts * threshold, ()

    def forward(self, xs: Float[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        counts, threshold = self.counts(xs)
        return counts * threshold, ()

    def counts(self, x: Float[Tensor, "*rows features"]) -> tuple[Tensor, Tensor]:
        """Counts (whole numbers with a sign) and the threshold of each row, `[*rows, 1]`."""
        mean = rowwise(lambda rows: rows.mean(-1, keepdim=True), x.detach().abs())
        threshold = (mean / self.k).clamp_min(torch.finfo(x.dtype).tiny)
        counts = _Round.apply(x / threshold)
        return (counts.clamp(-self.limit, self.limit) if self.limit else counts), threshold

    def extra_repr(self) -> str:
        return f"k={self.k:g}, limit={self.limit or 'none'}"


def code_steps(largest: int, code: Code) -> int:
    """Micro-steps that a code needs for counts up to `largest` in size."""
    if code in ("binary", "ternary"):
        return largest
    return largest.bit_length() + (code == "twos_complement")


def encode(counts: Float[Tensor, "*shape"], code: Code, steps: int | None = None) -> Float[Tensor, "steps ..."]:
    """Counts as spikes over micro-steps, in front; `steps` defaults to what the largest count needs.

    binary: `|s|` spikes of 1, counts not negative. ternary: `|s|` spikes of its sign. bitwise: bit t of `|s|`, with the
    sign. twos_complement: the bits of s, the last of weight `-2^(steps-1)`. Raises `ConfigError` for counts that are
    not whole, that the code cannot tell, or that need more steps.
    """
    if code not in CODES:
        raise ConfigError(f"code is one of {', '.join(CODES)}, got {code!r}")
    if not bool((counts == counts.round()).all()):
        raise ConfigError("only whole numbers have a code: round them first (SpikeCount.counts does)")
    if code == "binary" and bool((counts < 0).any()):
        raise ConfigError("the binary code has no sign: use 'ternary', 'bitwise' or 'twos_complement'")
    largest = int(counts.abs().max()) if counts.numel() else 0
    needed = max(code_steps(largest, code), 1)
    steps = needed if steps is None else steps
    if steps < needed:
        raise ConfigError(f"counts up to {largest} need {needed} steps in the code {code!r}, got {steps}")
    place = torch.arange(steps, device=counts.device).view(-1, *(1,) * counts.dim())
    if code in ("binary", "ternary"):
        return (place < counts.abs()) * counts.sign()
    whole = counts.long() if code == "twos_complement" else counts.abs().long()
    bits = ((whole >> place) & 1).to(counts.dtype)  # of a negative number: as two's complement has them
    return bits if code == "twos_complement" else bits * counts.sign()


def weights(steps: int, code: Code, dtype: torch.dtype = torch.float32) -> Float[Tensor, " steps"]:
    """What a spike of each micro-step counts."""
    if code in ("binary", "ternary"):
        return torch.ones(steps, dtype=dtype)
    values = 2.0 ** torch.arange(steps, dtype=dtype)
    if code == "twos_complement":
        values[-1] = -values[-1]
    return values


def decode(spikes: Float[Tensor, "steps ..."], code: Code) -> Float[Tensor, "*shape"]:
    """The counts that spikes stand for: the inverse of `encode`."""
    return torch.tensordot(weights(len(spikes), code, spikes.dtype).to(spikes.device), spikes, dims=1)


def spiking_linear(
    linear: nn.Linear, counts: Float[Tensor, "*rows features"], threshold: Float[Tensor, "*rows 1"], code: Code
) -> Float[Tensor, "*rows out"]:
    """`θ W s + b` micro-step by micro-step: `W` only ever meets spikes, their weights are applied to sums."""
    spikes = encode(counts, code)
    total = torch.zeros((), dtype=counts.dtype)
    for spike, weight in zip(spikes, weights(len(spikes), code, counts.dtype), strict=True):
        total = total + weight * (spike @ linear.weight.t())
    total = total * threshold
    return total if linear.bias is None else total + linear.bias
