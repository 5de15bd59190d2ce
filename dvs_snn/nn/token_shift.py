"""A channel-wise look at the step before: `x'_t = x_t + μ (x_{t-1} - x_t)`."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First
from dvs_snn.nn.temporal import State, Temporal


class ShiftState(NamedTuple):
    """The last input `[batch, width]`."""

    last: Tensor


class TokenShift(Temporal):
    """Each channel mixes in a learned share μ, first 0 to 1/2, of its value one step ago (RWKV: Peng et al. 2023)."""

    takes_first: ClassVar[bool] = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.linspace(0.0, 0.5, width))

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> ShiftState:
        return ShiftState(self.share.new_zeros(batch, *self.output_shape(shape)))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != tuple(self.share.shape):
            raise ConfigError(f"token shift: built for {len(self.share)} channels, not {tuple(shape)}")
        return tuple(shape)

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], ShiftState]:
        last = torch.zeros_like(xs[0]) if state is None else state.last.to(xs.dtype)
        before = previous(xs, last, first)
        return xs + self.share * (before - xs), ShiftState(xs[-1])


def previous(
    xs: Float[Tensor, "time batch width"], last: Float[Tensor, "batch width"], first: First | None
) -> Float[Tensor, "time batch width"]:
    """What came one step before each step: `last` before the first, nothing where a document begins."""
    before = torch.cat([last.unsqueeze(0), xs[:-1]])
    return before if first is None else before.masked_fill(first.unsqueeze(2), 0)
