"""Losses over bins: every bin's output is held against the label, so that early decisions are usable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.learning.clips import Clip


@runtime_checkable
class Loss(Protocol):
    """`total / weight` is the loss of a clip; the totals of its chunks add up to its own."""

    def weight(self, clip: Clip) -> Tensor: ...

    def total(self, outputs: Tensor, clip: Clip) -> Tensor: ...


@dataclass(frozen=True)
class PerBinCrossEntropy:
    """Temporal efficient training (Deng et al. 2022): `1/N sum_t CE(o[t], y[t])` over the scored bins, labels smoothed.

    The cross-entropy of each bin alone, not of the mean output, so every prefix of a clip is trained to decide.
    """

    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"loss.label_smoothing is {self.label_smoothing}: must lie in 0..1")

    def weight(self, clip: Clip) -> Float[Tensor, ""]:
        """Number of scored bins in the batch (at least one)."""
        return clip.scored.sum().clamp_min(1).float()

    def total(self, outputs: Float[Tensor, "time batch classes"], clip: Clip) -> Float[Tensor, ""]:
        """Sum of the cross-entropies of the scored bins."""
        losses = F.cross_entropy(
            outputs.flatten(0, 1),
            clip.labels.flatten(),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return (losses * clip.scored.flatten()).sum()


def scored_accuracy(outputs: Float[Tensor, "time batch classes"], clip: Clip) -> Float[Tensor, ""]:
    """Share of the scored bins whose largest output is the label; for the progress bar and the log."""
    right = (outputs.argmax(-1) == clip.labels) & clip.scored
    return right.sum() / clip.scored.sum().clamp_min(1)


def rate_penalty(rates: dict[str, Tensor], ceiling: float) -> Float[Tensor, ""]:
    """Mean over layers of `max(0, rate - ceiling)^2`, rates in spikes per neuron and bin; zero for no layers."""
    if not rates:
        return torch.zeros(())
    return torch.stack([(rate - ceiling).clamp_min(0) ** 2 for rate in rates.values()]).mean()
