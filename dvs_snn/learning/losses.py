"""Losses: cross-entropy of every bin (TET), or of each recording's mean, maximum or last output; a penalty on rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.learning.clips import Clip

READ_OUTS = ("tet", "mean", "max", "last")


@runtime_checkable
class Loss(Protocol):
    """`total / weight` is the loss of a clip; where `additive`, the totals of its chunks add up to its own."""

    @property
    def additive(self) -> bool: ...

    def weight(self, clip: Clip) -> Tensor: ...

    def total(self, outputs: Tensor, clip: Clip) -> Tensor: ...


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of what `name` reads out of the scored bins, labels smoothed.

    `tet`: of each bin alone, `1/N sum_t (1 - λ) CE(o[t], y[t]) + λ mean((o[t] - 1)²)` (Deng et al. 2022; λ is
    `anchor`), so every prefix of a clip is trained to decide. `mean`, `max`, `last`: of one output per recording in the
    clip, the mean, the maximum per class, or the last of its scored bins.

    `frequencies` says how often each class is seen in training, relative to the others, where that is not how often it
    will be met: `log frequencies` is added to the outputs that are judged (Menon et al. 2021), so the network learns to
    answer as if all classes were equally frequent. Empty: nothing is added.
    """

    name: str = "tet"
    label_smoothing: float = 0.1
    anchor: float = 0.0
    frequencies: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in READ_OUTS:
            raise ConfigError(f"loss.name {self.name!r} is unknown; known: {', '.join(READ_OUTS)}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"loss.label_smoothing is {self.label_smoothing}: must lie in 0..1")
        if not 0 <= self.anchor < 1:
            raise ConfigError(f"loss.anchor is {self.anchor}: must lie in 0..1")
        object.__setattr__(self, "frequencies", tuple(float(each) for each in self.frequencies))  # YAML has lists
        if any(each <= 0 for each in self.frequencies):
            raise ConfigError("loss.frequencies: every class needs a number above 0")

    @property
    def additive(self) -> bool:
        """Whether chunks of a clip may be judged one by one."""
        return self.name == "tet"

    def weight(self, clip: Clip) -> Float[Tensor, ""]:
        """Number of outputs that are judged in the batch (at least one): scored bins, or recordings."""
        if self.name == "tet":
            return clip.scored.sum().clamp_min(1).float()
        return (_counts(clip, recordings_in(clip)) > 0).sum().clamp_min(1).float()

    def total(self, outputs: Float[Tensor, "time batch classes"], clip: Clip) -> Float[Tensor, ""]:
        """Sum of the losses of what is judged."""
        if self.name == "tet":
            losses = self._losses(outputs.flatten(0, 1), clip.labels.flatten())
            return (losses * clip.scored.flatten()).sum()
        recordings = recordings_in(clip)
        counts = _counts(clip, recordings)
        read = self._read(outputs, clip, recordings, counts)
        labels = clip.labels.new_zeros(len(counts)).scatter_(0, recordings.flatten(), clip.labels.flatten())
        judged = counts > 0
        return self._losses(read[judged], labels[judged]).sum()

    def _losses(self, outputs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        if self.frequencies:
            if len(self.frequencies) != outputs.shape[-1]:
                raise ConfigError(
                    f"loss.frequencies names {len(self.frequencies)} classes; the network has {outputs.shape[-1]}"
                )
            outputs = outputs + outputs.new_tensor(self.frequencies).log()
        losses = F.cross_entropy(outputs, labels, label_smoothing=self.label_smoothing, reduction="none")
        if self.anchor:
            losses = (1 - self.anchor) * losses + self.anchor * (outputs - 1).square().mean(-1)
        return losses

    def _read(
        self,
        outputs: Float[Tensor, "time batch classes"],
        clip: Clip,
        recordings: Int64[Tensor, "time batch"],
        counts: Int64[Tensor, " n"],
    ) -> Float[Tensor, "n classes"]:
        """One output per recording; what stands for a recording without scored bins has no meaning."""
        flat, scored, where = outputs.flatten(0, 1), clip.scored.flatten(), recordings.flatten()
        empty = outputs.new_zeros(len(counts), outputs.shape[-1])
        if self.name == "mean":
            sums = empty.index_add(0, where[scored], flat[scored])
            return sums / counts.clamp_min(1).unsqueeze(1)
        if self.name == "max":
            cells = where[scored].unsqueeze(1).expand(-1, outputs.shape[-1])
            return empty.scatter_reduce(0, cells, flat[scored], "amax", include_self=False)
        bins = torch.arange(len(where), device=where.device)[scored]  # bins of a row rise with their index
        last = torch.zeros_like(counts).scatter_reduce(0, where[scored], bins, "amax", include_self=False)
        return flat[last]


def recordings_in(clip: Clip) -> Int64[Tensor, "time batch"]:
    """Which recording each bin belongs to, numbered through the batch: a row's label changes where one ends."""
    changed = torch.zeros_like(clip.labels)
    changed[1:] = clip.labels[1:] != clip.labels[:-1]
    return changed.cumsum(0) * clip.batch + torch.arange(clip.batch, device=clip.labels.device)


def _counts(clip: Clip, recordings: Int64[Tensor, "time batch"]) -> Int64[Tensor, " n"]:
    """Scored bins of each recording."""
    return torch.bincount(recordings.flatten()[clip.scored.flatten()], minlength=int(recordings.max()) + 1)


def scored_accuracy(outputs: Float[Tensor, "time batch classes"], clip: Clip) -> Float[Tensor, ""]:
    """Share of the scored bins whose largest output is the label; for the progress bar and the log."""
    right = (outputs.argmax(-1) == clip.labels) & clip.scored
    return right.sum() / clip.scored.sum().clamp_min(1)


def rate_penalty(rates: dict[str, Tensor], ceiling: float) -> Float[Tensor, ""]:
    """Mean over layers of `max(0, rate - ceiling)^2`, rates in spikes per neuron and bin; zero for no layers."""
    if not rates:
        return torch.zeros(())
    return torch.stack([(rate - ceiling).clamp_min(0) ** 2 for rate in rates.values()]).mean()
