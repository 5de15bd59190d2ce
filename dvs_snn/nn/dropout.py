"""Dropout that lasts: what is dropped is dropped for a whole sequence."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.nn.temporal import State, Temporal


class SequenceDropout(Temporal):
    """Zeroes a share of the inputs for all steps of a sequence (Gal & Ghahramani 2016); identity in evaluation mode.

    A mask drawn anew at each step is averaged away by neurons that integrate over time. The state holds what is added
    to the gain 1 of each input: -1 where it is dropped.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0.0 <= share < 1.0:
            raise ConfigError(f"dropout lies in [0, 1), got {share:g}")
        self.share = share

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(batch, *shape)

    def forward(self, xs: Float[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, Tensor]:
        if not self.training or not self.share:
            return xs, torch.zeros_like(xs[0]) if state is None else state.to(xs)
        if state is None:
            state = (torch.rand_like(xs[0]) >= self.share).to(xs.dtype) / (1.0 - self.share) - 1.0
        state = state.to(xs)
        return xs * (1.0 + state), state

    def extra_repr(self) -> str:
        return f"{self.share:g}"
