"""Compiled: the camera's own motion in the image, and which events move with it.

What turns or shakes the camera moves the whole background alike. Every 4 ms the surface of recent events is laid over
an earlier one, its key: the shift at which the parts of the image match best, each part with one say, is the camera's.
It is believed where much of the image agrees, so that a few large bodies before a still background are not taken for
it. The shift says where each event lies in a frame that stands still with the background. There the background's edges
fire again and again at the same places while the camera goes on its way, and a body that moves by itself does not:
an event where others fired some way ago belongs to the background (motion-compensated images tell the two apart in
Mitrokhin et al. 2018; here it is way that counts, not time, so slow and fast cameras are alike).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvs_snn.events import Sensor

EGO_US = 4_000
"""Time between two estimates of the camera's motion."""

SPEED_X, SPEED_Y, SHIFT_X, SHIFT_Y, ACTIVE, WAY, KEY_X, KEY_Y, KEY_US, THEN, COUNT, MOVED_US = range(12)
"""Places in `EgoState.scalars`: speed of the image in px/s and its shift since the start in px, whether the camera
moves, way since the last slice in px, shift and time of the key, time and number of the estimates, and when the camera
last moved."""

PAST = 3
"""Surfaces kept: a key and the surface that it is matched with share no event."""
_FADE_US = 12_000.0  # PAST * EGO_US
_KEY_US = 60_000.0  # a key's longest use
_KEY_CELLS = 3.0  # the way after which a new key is taken
_SEARCH = 2
_SHIFTS = 2 * _SEARCH + 1
_PART = 12  # side of a part of the image, in cells of the surface
_LEAST = 2.0  # what a part must hold to have a say
_MATCH = 0.35  # least normalised correlation of a part that agrees
_NEARLY = 0.08  # and how much less than at its own best shift that may be
_TELLS = 0.12  # a part that matches wherever it is laid, as in a flash, says nothing
_COVER = 0.25  # least share of the image that must agree
_DOUBT = 0.01  # what a shift by one cell must bring: a texture of lines does not tell how far it moves along them
_SLICE_CELLS = 0.75
_OFTEN = 5  # of seven slices
_MARGIN = 16


class EgoState(NamedTuple):
    """The camera's motion and what it rests on; empty arrays where it is not asked for."""

    last: NDArray[np.int64]  # [rows, columns] of cells: time of the last event
    surface: NDArray[np.float32]  # [rows, columns] how recent that is, 0..1
    past: NDArray[np.float32]  # [PAST, rows, columns] a ring of surfaces
    shifts: NDArray[np.float64]  # [PAST, 3] shift in px and time in us that belong to them
    key: NDArray[np.float32]  # [rows, columns] the earlier surface that is matched
    match: NDArray[np.float64]  # [parts, shifts] normalised correlation
    fired: NDArray[np.uint8]  # [height, width] a torus in the background's frame: bit k is the k-th slice of way back
    along: NDArray[np.float32]  # [rows, columns] of the tracker's cells: events of late that moved with the background
    scalars: NDArray[np.float64]


def ego_cell_px(sensor: Sensor) -> int:
    """Side in px of a cell of the surface: 2 on 240x180, more on a finer sensor."""
    return max(2, round(2 * min(sensor.width / 240, sensor.height / 180)))


def empty_ego(on: bool, height: int, width: int, cell: int, grid: tuple[int, int]) -> EgoState:
    """A camera at rest."""
    rows, columns = (-(-height // cell), -(-width // cell)) if on else (0, 0)
    parts = (-(-rows // _PART)) * (-(-columns // _PART))
    scalars = np.zeros(12)
    scalars[MOVED_US] = -1e18
    torus = (height + _MARGIN, width + _MARGIN) if on else (0, 0)
    return EgoState(
        last=np.full((rows, columns), -(1 << 62), np.int64),
        surface=np.zeros((rows, columns), np.float32),
        past=np.zeros((PAST, rows, columns), np.float32),
        shifts=np.zeros((PAST, 3)),
        key=np.zeros((rows, columns), np.float32),
        match=np.zeros((parts, _SHIFTS**2)),
        fired=np.zeros(torus, np.uint8),
        along=np.zeros(grid if on else (0, 0), np.float32),
        scalars=scalars,
    )


@njit(cache=True, nogil=True)
def estimate_motion(end_us, ego, cell):  # type: ignore[no-untyped-def]
    """Renew the camera's shift and speed from the surface of recent events."""
    s, surface = ego.scalars, ego.surface
    dt = max(end_us - s[THEN], 1.0) * 1e-6
    s[THEN] = end_us
    for r in range(surface.shape[0]):
        for c in range(surface.shape[1]):
            age = end_us - ego.last[r, c]
            surface[r, c] = 1.0 - age / _FADE_US if age < _FADE_US else 0.0
    before_x, before_y = s[SHIFT_X], s[SHIFT_Y]
    ahead_x, ahead_y = before_x + dt * s[SPEED_X], before_y + dt * s[SPEED_Y]
    start_x, start_y = round((ahead_x - s[KEY_X]) / cell), round((ahead_y - s[KEY_Y]) / cell)
    asked = _match_parts(int(start_x), int(start_y), ego)
    best, fx, fy = _best_shift(start_x, start_y, asked, ego)
    agree = 0.0
    for part in range(ego.match.shape[0]):
        here = ego.match[part, best]
        if here >= max(_MATCH, np.max(ego.match[part]) - _NEARLY) and here >= np.min(ego.match[part]) + _TELLS:
            agree += 1.0
    # a camera that moved needs less to be believed: else its motion would be lost at every turning point
    least = 0.6 if s[ACTIVE] > 0.0 else 1.0
    moves = agree >= least * _COVER * ego.match.shape[0] and agree >= least * 0.5 * asked
    if moves:
        seen_x = s[KEY_X] + cell * (start_x + best % _SHIFTS - _SEARCH + fx)
        seen_y = s[KEY_Y] + cell * (start_y + best // _SHIFTS - _SEARCH + fy)
        if s[ACTIVE] > 0.0:
            off_x, off_y = seen_x - ahead_x, seen_y - ahead_y
            s[SHIFT_X], s[SHIFT_Y] = ahead_x + 0.6 * off_x, ahead_y + 0.6 * off_y
            s[SPEED_X] += 0.25 * off_x / dt
            s[SPEED_Y] += 0.25 * off_y / dt
        else:
            s[SHIFT_X], s[SHIFT_Y] = seen_x, seen_y
        s[MOVED_US] = end_us
    else:
        s[SPEED_X] = s[SPEED_Y] = 0.0
    s[ACTIVE] = 1.0 if moves else 0.0
    s[WAY] += math.hypot(s[SHIFT_X] - before_x, s[SHIFT_Y] - before_y)
    if s[WAY] > _SLICE_CELLS * cell:
        s[WAY] = 0.0
        for r in range(ego.fired.shape[0]):
            for c in range(ego.fired.shape[1]):
                ego.fired[r, c] = (ego.fired[r, c] << 1) & 255
    _keep_surface(end_us, moves, ego, cell)


@njit(cache=True, nogil=True)
def _match_parts(start_x, start_y, ego):  # type: ignore[no-untyped-def]
    """Normalised correlation of each part with the key at each shift about a start; how many parts have a say."""
    surface, key, match = ego.surface, ego.key, ego.match
    rows, columns = surface.shape
    across = -(-columns // _PART)
    match[:] = -1.0
    asked = 0.0
    for part in range(match.shape[0]):
        top, left = (part // across) * _PART, (part % across) * _PART
        bottom, right = min(top + _PART, rows), min(left + _PART, columns)
        power = 0.0
        for r in range(top, bottom):
            for c in range(left, right):
                power += surface[r, c] * surface[r, c]
        if power < _LEAST:
            continue
        asked += 1.0
        for shift in range(_SHIFTS * _SHIFTS):
            dy, dx = start_y + shift // _SHIFTS - _SEARCH, start_x + shift % _SHIFTS - _SEARCH
            both = other = here = 0.0
            for r in range(max(top, dy), min(bottom, rows + dy)):
                for c in range(max(left, dx), min(right, columns + dx)):
                    a, b = surface[r, c], key[r - dy, c - dx]
                    both += a * b
                    other += b * b
                    here += a * a
            full = here * other > 0.04 * power * power
            match[part, shift] = both / math.sqrt(here * other) if full else 0.0
    return asked


@njit(cache=True, nogil=True)
def _best_shift(start_x, start_y, asked, ego):  # type: ignore[no-untyped-def]
    """The shift at which the parts match best together: its number, and the rest of it by a parabola, in cells."""
    match = ego.match
    total = np.zeros(_SHIFTS * _SHIFTS)
    for shift in range(_SHIFTS * _SHIFTS):
        off_y, off_x = shift // _SHIFTS - _SEARCH + start_y, shift % _SHIFTS - _SEARCH + start_x
        total[shift] = -_DOUBT * asked * (off_x * off_x + off_y * off_y)
        for part in range(match.shape[0]):
            total[shift] += max(match[part, shift], 0.0)
    best = int(np.argmax(total))
    row, column = best // _SHIFTS, best % _SHIFTS
    fx = fy = 0.0
    if 0 < column < _SHIFTS - 1:
        fx = _peak(total[best - 1], total[best], total[best + 1])
    if 0 < row < _SHIFTS - 1:
        fy = _peak(total[best - _SHIFTS], total[best], total[best + _SHIFTS])
    return best, fx, fy


@njit(cache=True, nogil=True)
def _keep_surface(end_us, moves, ego, cell):  # type: ignore[no-untyped-def]
    """Put the surface into the ring; where the key has served, the oldest of the ring becomes the key before."""
    s, shifts = ego.scalars, ego.shifts
    place = int(s[COUNT]) % PAST
    s[COUNT] += 1.0
    way = max(abs(s[SHIFT_X] - s[KEY_X]), abs(s[SHIFT_Y] - s[KEY_Y]))
    if not moves or way > _KEY_CELLS * cell or end_us - s[KEY_US] > _KEY_US:
        ego.key[:] = ego.past[place]
        s[KEY_X], s[KEY_Y], s[KEY_US] = shifts[place, 0], shifts[place, 1], shifts[place, 2]
    ego.past[place] = ego.surface
    shifts[place, 0], shifts[place, 1], shifts[place, 2] = s[SHIFT_X], s[SHIFT_Y], end_us


@njit(cache=True, nogil=True)
def _peak(before, here, after):  # type: ignore[no-untyped-def]
    """Where the parabola through three values has its top, -0.5..0.5."""
    bend = before - 2.0 * here + after
    return min(max(0.5 * (before - after) / bend, -0.5), 0.5) if bend < 0.0 else 0.0


@njit(cache=True, nogil=True)
def shift_at(t_us, ego):  # type: ignore[no-untyped-def]
    """The image's shift in whole px at a time a little later than the last estimate."""
    s = ego.scalars
    dt = (t_us - s[THEN]) * 1e-6
    return math.floor(s[SHIFT_X] + dt * s[SPEED_X] + 0.5), math.floor(s[SHIFT_Y] + dt * s[SPEED_Y] + 0.5)


@njit(cache=True, nogil=True)
def has_moved(end_us, within_us, ego):  # type: ignore[no-untyped-def]
    """Whether the camera has moved lately."""
    return end_us - ego.scalars[MOVED_US] < within_us


@njit(cache=True, nogil=True)
def moves_along(x, y, ego):  # type: ignore[no-untyped-def]
    """Mark a place of the background's frame; whether it or a neighbour had fired in enough of the slices before."""
    fired = ego.fired
    rows, columns = fired.shape
    seen = 0
    for r in range(y - 1, y + 2):
        for c in range(x - 1, x + 2):
            seen |= fired[r % rows, c % columns]
    fired[y % rows, x % columns] |= 1
    seen >>= 1
    count = 0
    while seen:
        seen &= seen - 1
        count += 1
    return count >= _OFTEN
