"""One structured dtype for every event of the project, and the few things that are done to arrays of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EVENT_DTYPE = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
"""`t` in microseconds, signed (differences must not wrap); `x` to the right, `y` down, in pixels; `p` True = ON."""

Events = NDArray[Any]  # of EVENT_DTYPE; a run-time check of np.void refuses structured dtypes


def empty_events(count: int = 0) -> Events:
    """An array of `count` events, all zero."""
    return np.zeros(count, EVENT_DTYPE)


def make_events(t: object, x: object, y: object, p: object) -> Events:
    """Events from four columns of equal length; `p` above zero is ON, so 1/0 and +1/-1 both work."""
    t = np.asarray(t)
    events = np.empty(t.shape[0], EVENT_DTYPE)
    events["t"] = t
    events["x"] = x
    events["y"] = y
    polarity = np.asarray(p)
    events["p"] = polarity if polarity.dtype == np.bool_ else polarity > 0
    return events


def pixel_index(events: Events, width: int) -> NDArray[np.int64]:
    """Row-major pixel number `y * width + x`, in 64 bits (a product of two uint16 wraps silently)."""
    return events["y"].astype(np.int64) * width + events["x"]
