"""Centre heat maps become observations: local maxima with their boxes and speeds."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage


def observations(
    maps: Float[np.ndarray, "7 rows columns"], cell_px: float | int, bin_us: int, least_score: float | int = 0.3
) -> Float[np.ndarray, "n 7"]:
    """Rows (x, y, w, h, vx, vy, score) in px and px/s of the cells whose heat is the largest of their 3x3 neighbours.

    `maps` is as `models.tracker.OUTPUTS`; sorted by falling score.
    """
    score = 1.0 / (1.0 + np.exp(-maps[0]))
    i, j = np.nonzero((score >= least_score) & (score == ndimage.maximum_filter(score, 3, mode="constant")))
    dx, dy, log_w, log_h, vx, vy = maps[1:, i, j]
    rate = cell_px / (bin_us * 1e-6)
    rows = np.stack(
        [
            (j + dx + 0.5) * cell_px - 0.5,
            (i + dy + 0.5) * cell_px - 0.5,
            np.exp(np.minimum(log_w, 8.0)) * cell_px,
            np.exp(np.minimum(log_h, 8.0)) * cell_px,
            vx * rate,
            vy * rate,
            score[i, j],
        ],
        axis=1,
    )
    return rows[np.argsort(-rows[:, 6], kind="stable")]
