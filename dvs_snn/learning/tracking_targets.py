"""What the tracking network is to say of a truth, and how wrong it is: centre heat maps, sizes, offsets, speeds.

Zhou, Wang & Krähenbühl 2019 (CenterNet), with speeds as in CenterTrack (Zhou, Koltun & Krähenbühl 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.learning.clips import Clip

OVERLAP = 0.7
"""A box moved by one standard deviation of a centre's bump still has about this intersection over union."""
NEAR = 0.5
"""Cells with at least this heat also say where the centre is, how large and how fast."""


def target_maps(
    rows: NDArray[Any], cell_px: float | int, cells: tuple[int, int], bin_us: int, least_visible: float | int = 0.25
) -> Float[np.ndarray, "7 rows columns"]:
    """Targets for one instant from rows of the truth: a bump of heat per centre, and the rest at the cells near it.

    Heat is 1 at a centre's cell and falls off as a Gaussian of the box's size; offsets of the centre from the cell's
    middle in cells, sizes as log of cells, speeds in cells per bin; where heat is below `NEAR` they are NaN. Targets
    hidden by more than `1 - least_visible`, or centred outside the map, are left out.
    """
    height, width = cells
    maps = np.full((7, height, width), np.nan, np.float32)
    maps[0] = 0.0
    u, v = (rows["x"] + 0.5) / cell_px - 0.5, (rows["y"] + 0.5) / cell_px - 0.5  # middle of cell k lies at k
    i, j = np.rint(v), np.rint(u)
    used = (rows["visible"] >= least_visible) & (i >= 0) & (i < height) & (j >= 0) & (j < width)
    if not used.any():
        return maps
    rows, u, v, i, j = rows[used], u[used], v[used], i[used], j[used]
    w, h = np.maximum(rows["w"] / cell_px, 0.5), np.maximum(rows["h"] / cell_px, 0.5)
    sx, sy = (np.maximum(side * (1 - OVERLAP) / (1 + OVERLAP), 0.4) for side in (w, h))
    x, y = np.arange(width), np.arange(height)
    across = np.exp(-0.5 * ((x - j[:, None]) / sx[:, None]) ** 2)
    bumps = np.exp(-0.5 * ((y - i[:, None]) / sy[:, None]) ** 2)[:, :, None] * across[:, None]
    maps[0] = bumps.max(axis=0)
    row, column = np.nonzero(maps[0] >= NEAR)
    whose = bumps[:, row, column].argmax(axis=0)
    scale = bin_us * 1e-6 / cell_px
    maps[1, row, column], maps[2, row, column] = u[whose] - column, v[whose] - row
    maps[3, row, column], maps[4, row, column] = np.log(w)[whose], np.log(h)[whose]
    maps[5, row, column], maps[6, row, column] = rows["vx"][whose] * scale, rows["vy"][whose] * scale
    return maps


@dataclass(frozen=True)
class TrackingClip(Clip):
    """Clips of tracked scenes: `target_maps` of each bin's end; there are no classes."""

    targets: Float[Tensor, "time batch 7 rows columns"] = field(kw_only=True)

    def to(self, device: torch.device | str) -> TrackingClip:
        """The clip on a device."""
        parts = (self.inputs, self.labels, self.scored, self.first)
        moved = (part.to(device, non_blocking=True) for part in parts)
        return TrackingClip(*moved, targets=self.targets.to(device, non_blocking=True))

    def between(self, start: int, stop: int) -> TrackingClip:
        """The bins `start` to `stop` (views)."""
        part = super().between(start, stop)
        return TrackingClip(part.inputs, part.labels, part.scored, part.first, targets=self.targets[start:stop])


@dataclass(frozen=True)
class CentreLoss:
    """Penalty-reduced focal loss of the heat per target (its positives have the power 2, its negatives 4); at the cells
    near it, weighed with their heat, smooth L1 of offset and size (`box`) and of speed, and 1 - GIoU of the box
    (`overlap`; Rezatofighi et al. 2019), to which a pixel counts more in a small box.
    """

    name: str = "centres"
    box: float = 1.0
    speed: float = 0.5
    overlap: float = 0.0
    additive = True

    def __post_init__(self) -> None:
        if self.name != "centres" or min(self.box, self.speed, self.overlap) < 0:
            raise ConfigError("loss: a tracker's is 'centres', with box, speed and overlap not negative")

    def weight(self, clip: TrackingClip) -> Float[Tensor, ""]:
        """Number of targets in the scored bins, at least one."""
        return self._centres(clip).sum().clamp(min=1).float()

    def total(self, outputs: Float[Tensor, "time batch 7 rows columns"], clip: TrackingClip) -> Float[Tensor, ""]:
        """Sum of the losses of the scored bins."""
        heat_loss, box, speed, overlap = self.parts(outputs, clip)
        return heat_loss + self.box * box + self.speed * speed + self.overlap * overlap

    def parts(self, outputs: Float[Tensor, "time batch 7 rows columns"], clip: TrackingClip) -> tuple[Tensor, ...]:
        """Sums of the losses of heat, box, speed and overlap."""
        heat, wanted = outputs[:, :, 0], clip.targets[:, :, 0]
        here, chance = self._centres(clip), torch.sigmoid(heat)
        focal = torch.where(
            here, (1 - chance) ** 2 * F.logsigmoid(heat), (1 - wanted) ** 4 * chance**2 * F.logsigmoid(-heat)
        )
        heat_loss = -(focal * clip.scored[..., None, None]).sum()
        near = torch.isfinite(clip.targets[:, :, 1]) & clip.scored[..., None, None]
        said, true = outputs[:, :, 1:].movedim(2, -1)[near], clip.targets[:, :, 1:].movedim(2, -1)[near]
        rest = F.smooth_l1_loss(said, true, reduction="none", beta=0.1) * wanted[near].unsqueeze(1)
        apart = 1.0 - generalised_overlap(said[:, :4], true[:, :4])
        return heat_loss, rest[:, :4].sum(), rest[:, 4:].sum(), (apart * wanted[near]).sum()

    def accuracy(self, outputs: Float[Tensor, "time batch 7 rows columns"], clip: TrackingClip) -> Float[Tensor, ""]:
        """Share of the targets in scored bins whose cell's heat is above 0.3; for the progress bar and the log."""
        here = self._centres(clip)
        seen = (torch.sigmoid(outputs[:, :, 0]) > 0.3) & here
        return seen.sum() / here.sum().clamp(min=1)

    def _centres(self, clip: TrackingClip) -> Tensor:
        return (clip.targets[:, :, 0] == 1.0) & clip.scored[..., None, None]


def generalised_overlap(said: Float[Tensor, "n 4"], true: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """GIoU, in (-1, 1], of boxes given as centre and log of size: IoU less the empty share of the hull of both."""
    sides = [boxes[:, 2:].clamp(max=8.0).exp() for boxes in (said, true)]
    low = [boxes[:, :2] - side / 2 for boxes, side in zip((said, true), sides, strict=True)]
    high = [boxes[:, :2] + side / 2 for boxes, side in zip((said, true), sides, strict=True)]
    common = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod(dim=1)
    hull = (torch.maximum(*high) - torch.minimum(*low)).prod(dim=1)
    union = sides[0].prod(dim=1) + sides[1].prod(dim=1) - common
    return common / union - (hull - union) / hull
