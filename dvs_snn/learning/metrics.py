"""Measures of classification: accuracy with its interval, confusion, latency to decision."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); it stays inside 0..1 and is sound near both ends."""
    if n == 0:
        return 0.0, 1.0
    share = right / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(truth: Sequence[int], decided: Sequence[int], classes: int) -> NDArray[np.int64]:
    """Counts: row = true class, column = decided class."""
    cells = np.asarray(truth, np.int64) * classes + np.asarray(decided, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def classification(truth: Sequence[int], decided: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    """`n`, `accuracy` with `accuracy_low` and `accuracy_high`, `confusion` and `per_class` recall."""
    matrix = confusion_matrix(truth, decided, len(labels))
    right, n = int(matrix.trace()), int(matrix.sum())
    low, high = wilson_interval(right, n)
    totals = matrix.sum(axis=1)
    per_class = [
        {"index": i, "label": label, "n": int(totals[i]), "right": int(matrix[i, i])} for i, label in enumerate(labels)
    ]
    return {
        "n": n,
        "accuracy": right / n if n else 0.0,
        "accuracy_low": low,
        "accuracy_high": high,
        "per_class": per_class,
        "confusion": matrix.tolist(),
    }


def latency(times_us: Sequence[int | None]) -> dict[str, Any]:
    """Time from a recording's start to its first right decision, over the recordings that had one.

    `decided` is the share that had one; median and 90th percentile in seconds, None where there was none.
    """
    known = [time_us / 1e6 for time_us in times_us if time_us is not None]
    return {
        "decided": len(known) / len(times_us) if times_us else 0.0,
        "median_s": float(np.median(known)) if known else None,
        "p90_s": float(np.percentile(known, 90)) if known else None,
    }
