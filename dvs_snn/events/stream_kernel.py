"""The compiled loop over times of a sensor that restarts."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def hold_times_with_restarts(t, held, restart):
    """Raise each time in place to the running maximum since the last restart; returns the places of restarts."""
    places = np.empty(t.size, np.int64)
    count = 0
    lowest = np.iinfo(np.int64).min + restart  # so that the difference below does not wrap
    for i in range(t.size):
        if t[i] < max(held, lowest) - restart:
            places[count] = i
            count += 1
            held = t[i]
        elif t[i] < held:
            t[i] = held
        else:
            held = t[i]
    return places[:count].copy()
