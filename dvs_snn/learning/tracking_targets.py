"""What the tracking network is to say of a truth, and how wrong it is: centre heat maps, sizes, offsets, speeds.

Zhou, Wang & Krähenbühl 2019 (CenterNet), with speeds as in CenterTrack (Zhou, Koltun & Krähenbühl 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

OVERLAP = 0.7
"""A box moved by one standard deviation of a centre's bump still has about this intersection over union."""


def target_maps(
    rows: NDArray[Any], cell_px: float | int, cells: tuple[int, int], bin_us: int, least_visible: float | int = 0.25
) -> Float[np.ndarray, "7 rows columns"]:
    """Targets for one instant from rows of the truth: a bump of heat per centre, and the rest at the centre's cell.

    Heat is 1 at a centre's cell and falls off as a Gaussian of the box's size; offsets in cells, sizes as log of cells,
    speeds in cells per bin; where there is no centre they are NaN. Targets hidden by more than `1 - least_visible`, or
    centred outside the map, are left out.
    """
    height, width = cells
    maps = np.full((7, height, width), np.nan, np.float32)
    maps[0] = 0.0
    y, x = np.mgrid[:height, :width]
    for row in rows:
        u, v = (row["x"] + 0.5) / cell_px - 0.5, (row["y"] + 0.5) / cell_px - 0.5  # middle of cell k lies at k
        i, j = round(float(v)), round(float(u))
        if row["visible"] < least_visible or not (0 <= i < height and 0 <= j < width):
            continue
        w, h = max(row["w"] / cell_px, 0.5), max(row["h"] / cell_px, 0.5)
        sx, sy = (max(side * (1 - OVERLAP) / (1 + OVERLAP), 0.4) for side in (w, h))
        bump = np.exp(-0.5 * (((x - j) / sx) ** 2 + ((y - i) / sy) ** 2))
        maps[0] = np.maximum(maps[0], bump)
        scale = bin_us * 1e-6 / cell_px
        maps[1:, i, j] = u - j, v - i, np.log(w), np.log(h), row["vx"] * scale, row["vy"] * scale
    return maps


def tracking_loss(
    maps: Float[Tensor, "time batch 7 rows columns"],
    targets: Float[Tensor, "time batch 7 rows columns"],
    box_weight: float | int = 0.5,
    speed_weight: float | int = 0.5,
) -> tuple[Tensor, dict[str, float]]:
    """Penalty-reduced focal loss of the heat per target, and smooth L1 of the rest at the targets' cells."""
    heat, wanted = maps[:, :, 0], targets[:, :, 0]
    here = wanted == 1.0
    count = here.sum().clamp(min=1)
    sure = F.logsigmoid(heat)
    unsure = F.logsigmoid(-heat)
    chance = torch.sigmoid(heat)
    focal = torch.where(here, (1 - chance) ** 2 * sure, (1 - wanted) ** 4 * chance**2 * unsure)
    heat_loss = -focal.sum() / count
    place = here.unsqueeze(2).expand(-1, -1, 6, -1, -1)
    said, true = maps[:, :, 1:], torch.nan_to_num(targets[:, :, 1:])
    rest = F.smooth_l1_loss(said, true, reduction="none", beta=0.1) * place
    box = rest[:, :, :4].sum() / count
    speed = rest[:, :, 4:].sum() / count
    loss = heat_loss + box_weight * box + speed_weight * speed
    return loss, {"heat": float(heat_loss.detach()), "box": float(box.detach()), "speed": float(speed.detach())}
