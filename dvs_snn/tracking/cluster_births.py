"""Compiled: where new tracks may begin, their start, and fragments of one body that are joined again."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dvs_snn.tracking.cluster_ego import SHIFT_X, SHIFT_Y
from dvs_snn.tracking.cluster_state import (
    BACKGROUND,
    BORN,
    CAMP_X,
    CAMP_Y,
    CANDIDATES,
    CONFIRMED,
    CONTRAST,
    EMPTY,
    FAST,
    FROM_X,
    FROM_Y,
    HEIGHT,
    HITS,
    ID,
    MOST_CANDIDATES,
    NEXT_ID,
    NOISE,
    OFF_X,
    OFF_Y,
    SCORE,
    SEEN,
    STATUS,
    TENTATIVE,
    WIDTH,
)
from dvs_snn.tracking.kalman import start

_SCALES_US = (1_000, 4_000, 16_000, 64_000)
_SCALES = len(_SCALES_US)


@njit(cache=True, nogil=True)
def find_births(start_us, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Look through the grids whose time is over for connected cells with more events than the background explains.

    The scales' grids are filled one from the other: each when the next shorter one is emptied.
    """
    count, moment, waiting = state.count, state.moment, state.waiting
    rows, columns = count.shape[1], count.shape[2]
    state.scalars[CANDIDATES] = 0.0
    for scale in range(_SCALES):
        span = _SCALES_US[scale]
        if end_us // span == start_us // span:
            break
        if waiting[scale] == 0.0:  # nothing to look through or to pass on
            continue
        if waiting[scale] >= rules.birth_events:
            _components(scale, max(float(span), float(end_us - start_us)), state, rules)
        last = scale + 1 == _SCALES
        longer = span if last else _SCALES_US[scale + 1]
        offset = (start_us // span) * span - (start_us // longer) * longer
        for row in range(rows):
            for column in range(columns):
                n = count[scale, row, column]
                if n != 0.0:
                    if not last:
                        count[scale + 1, row, column] += n
                        moment[scale + 1, row, column] += moment[scale, row, column] + n * offset
                    count[scale, row, column] = 0.0
                    moment[scale, row, column] = 0.0
        if not last:
            waiting[scale + 1] += waiting[scale]
        waiting[scale] = 0.0


@njit(cache=True, nogil=True)
def _components(scale, span, state, rules):  # type: ignore[no-untyped-def]
    """Connected cells (of eight neighbours) above the threshold, each judged; visited cells are marked negative."""
    count, stack = state.count[scale], state.stack
    rows, columns = count.shape
    cell = rules.cell_px
    mean = state.scalars[BACKGROUND] * cell * cell * span
    threshold = max(1.5, mean + rules.birth_sigmas * math.sqrt(mean), 1.8 * _busy_level(count))
    found = False
    for seed_row in range(rows):
        for seed_column in range(columns):
            if count[seed_row, seed_column] < threshold:
                continue
            stack[0] = seed_row * columns + seed_column
            size, done = 1, 0
            count[seed_row, seed_column] = -count[seed_row, seed_column]
            while done < size:
                place = stack[done]
                done += 1
                row, column = place // columns, place % columns
                for r in range(max(row - 1, 0), min(row + 2, rows)):
                    for c in range(max(column - 1, 0), min(column + 2, columns)):
                        if count[r, c] >= threshold:
                            count[r, c] = -count[r, c]
                            stack[size] = r * columns + c
                            size += 1
            _judge(scale, span, size, mean, state, rules)
            found = True
    if found:
        for row in range(rows):
            for column in range(columns):
                count[row, column] = abs(count[row, column])


@njit(cache=True, nogil=True)
def _busy_level(count):  # type: ignore[no-untyped-def]
    """Events that 90 % of the cells stay below: where the whole background moves, a body must stand out from it."""
    rows, columns = count.shape
    tally = np.zeros(64, np.int64)
    for row in range(rows):
        for column in range(columns):
            tally[min(int(abs(count[row, column])), 63)] += 1
    above = 0
    for level in range(63, 0, -1):
        above += tally[level]
        if above > 0.1 * rows * columns:
            return float(level)
    return 0.0


@njit(cache=True, nogil=True)
def _judge(scale, span, size, mean, state, rules):  # type: ignore[no-untyped-def]
    """Make a candidate of the first `size` cells on the stack if they stand out and have moved, and none owns them."""
    count, moment, stack = state.count[scale], state.moment[scale], state.stack
    columns, cell = count.shape[1], rules.cell_px
    n = sx = sy = st = sxt = syt = sxx = syy = 0.0
    left, right, top, bottom = 1e9, -1e9, 1e9, -1e9
    for i in range(size):
        row, column = stack[i] // columns, stack[i] % columns
        m, tm = -count[row, column], moment[row, column]
        x, y = (column + 0.5) * cell - 0.5, (row + 0.5) * cell - 0.5
        n += m
        sx += m * x
        sy += m * y
        st += tm
        sxt += tm * x
        syt += tm * y
        sxx += m * x * x
        syy += m * y * y
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    if n < rules.birth_events or n - mean * size < 8.0 * math.sqrt(mean * size + 1.0):
        return
    x, y, t = sx / n, sy / n, st / n
    scatter_x, scatter_y = max(sxx / n - x * x, 1.0), max(syy / n - y * y, 1.0)
    # events are spread evenly over the span: its variance is span^2 / 12
    vx, vy = (sxt / n - x * t) * 12.0 / (span * span) * 1e6, (syt / n - y * t) * 12.0 / (span * span) * 1e6
    speed = math.hypot(vx, vy)
    speed_sd = math.sqrt(12.0 * (scatter_x + scatter_y) / (2.0 * n)) / (span * 1e-6)
    way = speed * span * 1e-6
    if scale < _SCALES - 1 and (way < 2.0 * rules.unit or speed < 3.0 * speed_sd):
        return
    if speed < 2.0 * speed_sd:
        vx = vy = 0.0
    late = (span - t) * 1e-6
    x, y = x + vx * late, y + vy * late
    w = max(right - left + cell - abs(vx) * span * 1e-6, 1.5 * cell)
    h = max(bottom - top + cell - abs(vy) * span * 1e-6, 1.5 * cell)
    if _is_owned(x, y, w, h, state):
        return
    index = int(state.scalars[CANDIDATES])
    if index >= MOST_CANDIDATES:
        return
    state.scalars[CANDIDATES] += 1.0
    row = state.candidates[index]
    row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8] = x, y, w, h, vx, vy, n, span, speed_sd


@njit(cache=True, nogil=True)
def _is_owned(x, y, w, h, state):  # type: ignore[no-untyped-def]
    """Whether most of the box lies in the reach of a track that has seen events lately."""
    life, mean, path = state.life, state.mean, state.path
    for k in range(life.shape[0]):
        if life[k, STATUS] == EMPTY or life[k, HITS] < 1.0:
            continue
        reach_x, reach_y = 1.0 / path[k, 6], 1.0 / path[k, 7]
        over_x = min(x + 0.5 * w, mean[k, 0] + reach_x) - max(x - 0.5 * w, mean[k, 0] - reach_x)
        over_y = min(y + 0.5 * h, mean[k, 1] + reach_y) - max(y - 0.5 * h, mean[k, 1] - reach_y)
        if over_x > 0.0 and over_y > 0.0 and over_x * over_y > 0.5 * w * h:
            return True
    return False


@njit(cache=True, nogil=True)
def begin_track(row, end_us, state, rules):  # type: ignore[no-untyped-def]
    """A tentative track from a candidate's row; none when all places are taken."""
    life = state.life
    for k in range(life.shape[0]):
        if life[k, STATUS] == EMPTY:
            _put(k, row, end_us, state, rules)
            life[k, :] = 0.0
            life[k, STATUS] = TENTATIVE
            life[k, ID] = 0.0  # numbers are given to confirmed tracks alone
            life[k, BORN] = life[k, SEEN] = end_us
            life[k, WIDTH], life[k, HEIGHT] = row[2], row[3]
            life[k, FROM_X], life[k, FROM_Y] = row[0], row[1]
            life[k, CAMP_X] = row[0] - state.ego.scalars[SHIFT_X]
            life[k, CAMP_Y] = row[1] - state.ego.scalars[SHIFT_Y]
            life[k, SCORE] = 0.5
            life[k, CONTRAST] = 1.0
            life[k, FAST] = math.hypot(row[4], row[5])
            return


@njit(cache=True, nogil=True)
def resume_track(k, row, end_us, state, rules):  # type: ignore[no-untyped-def]
    """A track that had been out of sight goes on where a candidate was found."""
    _put(k, row, end_us, state, rules)
    life = state.life
    life[k, SEEN] = end_us
    life[k, OFF_X] = life[k, OFF_Y] = life[k, NOISE] = 0.0


@njit(cache=True, nogil=True)
def _put(k, row, end_us, state, rules):  # type: ignore[no-untyped-def]
    speed_sd = min(row[8], 0.5 * max(row[2], row[3]) / (row[7] * 1e-6)) + 0.2 * math.hypot(row[4], row[5]) + 10.0
    start(
        state.mean[k], state.covariance[k], row[0], row[1], row[4], row[5],
        1.0 + 0.1 * min(row[2], row[3]), speed_sd, 5.0 if rules.omega_q > 0.0 else 0.0,
    )  # fmt: skip
    state.sums[k, :] = 0.0
    state.sums[k, 6] = end_us
    state.histogram[k] = 0.0
    _clear(row, state, rules)


@njit(cache=True, nogil=True)
def _clear(row, state, rules):  # type: ignore[no-untyped-def]
    """Take a body's own trail out of the longer grids, so that it is not found a second time."""
    count, moment = state.count, state.moment
    rows, columns = count.shape[1], count.shape[2]
    speed = math.hypot(row[4], row[5])
    back_s = min(0.064, 2.0 * max(row[2], row[3]) / speed) if speed > 0.0 else 0.0
    steps = int(speed * back_s / rules.cell_px) + 1
    for step in range(steps + 1):
        s = back_s * step / steps
        x, y = row[0] - row[4] * s, row[1] - row[5] * s
        left = max(int((x - 0.5 * row[2]) / rules.cell_px) - 1, 0)
        right = min(int((x + 0.5 * row[2]) / rules.cell_px) + 1, columns - 1)
        top = max(int((y - 0.5 * row[3]) / rules.cell_px) - 1, 0)
        bottom = min(int((y + 0.5 * row[3]) / rules.cell_px) + 1, rows - 1)
        for scale in range(_SCALES):
            for r in range(top, bottom + 1):
                for c in range(left, right + 1):
                    count[scale, r, c] = 0.0
                    moment[scale, r, c] = 0.0


@njit(cache=True, nogil=True)
def tell_tracks(end_us, table, state, rules):  # type: ignore[no-untyped-def]
    """Fill the table of confirmed tracks that are seen, were seen lately, or rest; returns how many."""
    life, mean = state.life, state.mean
    told = 0
    for k in range(life.shape[0]):
        if life[k, STATUS] != CONFIRMED:
            continue
        if life[k, ID] == 0.0:
            life[k, ID] = state.scalars[NEXT_ID]
            state.scalars[NEXT_ID] += 1.0
        unseen = end_us - life[k, SEEN]
        if unseen > rules.report_us and life[k, FAST] > rules.rest_px_s:
            continue
        if life[k, CONTRAST] < 0.9 * rules.contrast and unseen <= rules.report_us:
            continue
        row = table[told]
        row[0] = life[k, ID]
        row[1] = mean[k, 0] + rules.box_centre * life[k, OFF_X]
        row[2] = mean[k, 1] + rules.box_centre * life[k, OFF_Y]
        row[3], row[4] = life[k, WIDTH], life[k, HEIGHT]
        row[5], row[6] = mean[k, 2], mean[k, 3]
        row[7] = min(max(life[k, SCORE], 0.0), 1.0) * math.exp(-unseen / rules.keep_us)
        told += 1
    return told
