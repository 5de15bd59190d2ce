"""One structured dtype for every event of the project, and the few things that are done to arrays of it."""

from __future__ import annotations

from collections.abc import Sequence
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


_WHOLE = np.dtype((np.void, EVENT_DTYPE.itemsize))
"""An event as one block of bytes: numpy copies structured arrays field by field, thirty to a hundred times slower."""


def join_events(parts: Sequence[Events]) -> Events:
    """The events of all parts in one array; a single part is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.view(_WHOLE) for part in parts]).view(EVENT_DTYPE) if parts else empty_events()


def pick_events(events: Events, where: NDArray[np.bool_] | NDArray[np.integer]) -> Events:
    """`events[where]` for a mask or for indices, as a copy."""
    return events.view(_WHOLE)[where].view(EVENT_DTYPE)


def copy_events(events: Events) -> Events:
    """A copy that may be written to."""
    return events.view(_WHOLE).copy().view(EVENT_DTYPE)
