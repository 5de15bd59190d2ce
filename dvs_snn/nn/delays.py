"""Delays: the last values of a signal, kept as explicit state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.nn.temporal import State, Temporal


class Past(NamedTuple):
    """The last inputs, oldest first."""

    values: Shaped[Tensor, "batch length ..."]


class RingBuffer(Temporal):
    """Returns its input `length` steps late: `y[t] = x[t - length]`, zeros before the start."""

    def __init__(self, length: int) -> None:
        super().__init__()
        if length < 0:
            raise ConfigError(f"a delay of {length} steps would need the future; give 0 or more")
        self.length = length

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Past:
        return Past(torch.zeros(batch, self.length, *shape))

    def extend(self, xs: Shaped[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, Past]:
        """The remembered values followed by the new ones, `[length + time, batch, ...]`, and the state after them."""
        past = xs.new_zeros(xs.shape[1], self.length, *xs.shape[2:]) if state is None else state[0].to(xs)
        history = torch.cat([past.transpose(0, 1), xs])
        # A copy: a view would keep the whole chunk alive for as long as the state lives.
        return history, Past(history[len(xs) :].transpose(0, 1).clone(memory_format=torch.contiguous_format))

    def forward(self, xs: Shaped[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, Past]:
        history, past = self.extend(xs, state)
        return history[: len(xs)], past

    def extra_repr(self) -> str:
        return f"length={self.length}"


class Taps(Temporal):
    """Its input as it was `delays` steps ago, side by side on the channel axis: `y[t] = [x[t - d] for d in delays]`.

    A convolution over it sees space and time at once, so single neurons can prefer a direction of motion. On a chip
    these are axonal delays, or a host that remembers a few windows.
    """

    def __init__(self, delays: Sequence[int]) -> None:
        super().__init__()
        if not delays or min(delays) < 0:
            raise ConfigError(f"taps need one delay or more, none below 0, got {tuple(delays)}")
        self.delays = tuple(delays)
        self.buffer = RingBuffer(max(delays))

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Past:
        return self.buffer.initial_state(batch, shape)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0] * len(self.delays), *shape[1:])

    def forward(self, xs: Shaped[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, Past]:
        history, past = self.buffer.extend(xs, state)
        start = self.buffer.length
        return torch.cat([history[start - d : start - d + len(xs)] for d in self.delays], dim=2), past

    def extra_repr(self) -> str:
        return f"delays={self.delays}"
