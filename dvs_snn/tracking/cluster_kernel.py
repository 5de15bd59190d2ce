"""Compiled heart of the classical tracker: events to tracks, event by event, then each track's correction.

A track's events are taken in a frame that moves with its predicted course, so that neither smears at speed nor lags: a
residual is where an event lies about the centre that is predicted for the event's own time.
"""

from __future__ import annotations

import math

from numba import int64, njit

from dvs_snn.tracking.cluster_ego import has_moved, moves_along, shift_at
from dvs_snn.tracking.cluster_state import (
    BACKGROUND,
    BINS,
    BORN,
    BUSY,
    CONFIRMED,
    CONTRAST,
    EMPTY,
    END_US,
    FAST,
    FROM_X,
    FROM_Y,
    HEIGHT,
    HITS,
    NOISE,
    OFF_X,
    OFF_Y,
    SCORE,
    SEEN,
    STATUS,
    TENTATIVE,
    WIDTH,
)
from dvs_snn.tracking.kalman import correct, predict

_BACKGROUND_US = 20_000.0  # time constant of the background's rate
_HISTOGRAM_EVENTS = 2_000.0  # memory of the histograms
_COAST_US = 150_000.0  # a track without events loses its speed with this time constant
_CROSSING_PX_S = 150.0
_CAMERA_US = 100_000.0  # for so long after the camera has moved its background is known
_TRIM = 0.03  # share of events outside the box on each side


@njit(cache=True, nogil=True)
def take_events(t, x, y, start_us, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Give each event of a window to the track that it lies deepest in, or to the grids where births are looked for."""
    last, owner, path, sums, life = state.last, state.owner, state.path, state.sums, state.life
    histogram, count, moment, all_count = state.histogram, state.count[0], state.moment[0], state.all_count
    cell = rules.cell_px
    free = _paint(start_us, end_us, state, rules)
    inverse_bin = 1.0 / rules.bin_px
    unowned = 0
    ego = state.ego
    camera_x = camera_y = 0
    if rules.ego_motion:
        camera_x, camera_y = shift_at(0.5 * (start_us + end_us), ego)
    moving = rules.ego_motion and has_moved(end_us, _CAMERA_US, ego)
    for i in range(t.size):
        ti, xi, yi = t[i], int64(x[i]), int64(y[i])
        since = ti - rules.support_us
        supported = (
            last[yi, xi + 1] >= since
            or last[yi + 1, xi] >= since
            or last[yi + 1, xi + 2] >= since
            or last[yi + 2, xi + 1] >= since
            or last[yi, xi] >= since
            or last[yi, xi + 2] >= since
            or last[yi + 2, xi] >= since
            or last[yi + 2, xi + 2] >= since
        )
        last[yi + 1, xi + 1] = ti
        if not supported:
            continue
        if rules.ego_motion:
            ego.last[yi // rules.ego_px, xi // rules.ego_px] = ti
            if moves_along(xi - camera_x, yi - camera_y, ego) and moving:
                ego.along[yi // cell, xi // cell] += 1.0
                continue
        row, column = yi // cell, xi // cell
        all_count[row, column] += 1.0
        owners = owner[row, column]
        if owners:
            best, depth, bx, by = -1, 1.0, 0.0, 0.0
            other, beside = -1, 1.0
            while owners:
                k = (owners & 0xFFFF) - 1
                owners >>= 16
                dt = (ti - start_us) * 1e-6
                rx = xi - (path[k, 0] + dt * (path[k, 2] + dt * path[k, 4]))
                ry = yi - (path[k, 1] + dt * (path[k, 3] + dt * path[k, 5]))
                d = max(abs(rx) * path[k, 6], abs(ry) * path[k, 7])
                if d < depth:
                    other, beside = best, depth
                    best, depth, bx, by = k, d, rx, ry
                elif d < beside:
                    other, beside = k, d
            if other >= 0 and depth > 0.5 * beside and _cross(best, other, path, life, rules):
                sums[best, 8] += 1.0  # it may be of either: where two pass each other, both go on as predicted
                sums[other, 8] += 1.0
                continue
            if best >= 0:
                sums[best, 0] += 1.0
                sums[best, 1] += bx
                sums[best, 2] += by
                sums[best, 3] += bx * bx
                sums[best, 4] += by * by
                sums[best, 5] += ti - sums[best, 6]
                u = min(max(int(bx * inverse_bin + 0.5 * BINS), 0), BINS - 1)
                v = min(max(int(by * inverse_bin + 0.5 * BINS), 0), BINS - 1)
                histogram[best, 0, u] += 1.0
                histogram[best, 1, v] += 1.0
                continue
        count[row, column] += 1.0
        moment[row, column] += ti - start_us
        unowned += 1
    state.waiting[0] += unowned
    span = end_us - start_us
    blend = 1.0 - math.exp(-span / _BACKGROUND_US)
    rate = unowned / (max(free, 1.0) * cell * cell * span)
    state.scalars[BACKGROUND] += blend * (rate - state.scalars[BACKGROUND])
    state.scalars[END_US] = end_us
    for k in range(life.shape[0]):
        if life[k, STATUS] != EMPTY:
            area = 4.0 / (path[k, 6] * path[k, 7])
            sums[k, 7] += min(rate, 2.0 * state.scalars[BACKGROUND]) * area * span


@njit(cache=True, nogil=True)
def _cross(a, b, path, life, rules):  # type: ignore[no-untyped-def]
    """Whether two confirmed tracks pass each other quickly."""
    if life[a, STATUS] != CONFIRMED or life[b, STATUS] != CONFIRMED:
        return False
    apart = (path[a, 2] - path[b, 2]) ** 2 + (path[a, 3] - path[b, 3]) ** 2
    return apart > (_CROSSING_PX_S * rules.unit) ** 2


@njit(cache=True, nogil=True)
def _paint(start_us, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Mark the cells that each track may own in this window; returns how many are left free."""
    owner, path, life, mean = state.owner, state.path, state.life, state.mean
    rows, columns = owner.shape
    owner[:] = 0
    free = float(rows * columns)
    dt = (end_us - start_us) * 1e-6
    for k in range(life.shape[0]):
        if life[k, STATUS] == EMPTY:
            continue
        px, py, vx, vy, omega = mean[k]
        path[k, 0], path[k, 1], path[k, 2], path[k, 3] = px, py, vx, vy
        path[k, 4], path[k, 5] = -0.5 * omega * vy, 0.5 * omega * vx
        doubt = min(2.0 * math.sqrt(state.covariance[k, 0, 0]), 8.0 * rules.unit)
        if life[k, STATUS] == TENTATIVE:
            doubt += min(math.sqrt(state.covariance[k, 2, 2]) * dt, 8.0 * rules.unit)
        hx = 0.62 * life[k, WIDTH] + abs(life[k, OFF_X]) + 2.0 + doubt
        hy = 0.62 * life[k, HEIGHT] + abs(life[k, OFF_Y]) + 2.0 + doubt
        path[k, 6], path[k, 7] = 1.0 / hx, 1.0 / hy
        ex = px + dt * (vx + dt * path[k, 4])
        ey = py + dt * (vy + dt * path[k, 5])
        left = max(math.floor((min(px, ex) - hx) / rules.cell_px), 0)
        right = min(math.floor((max(px, ex) + hx) / rules.cell_px), columns - 1)
        top = max(math.floor((min(py, ey) - hy) / rules.cell_px), 0)
        bottom = min(math.floor((max(py, ey) + hy) / rules.cell_px), rows - 1)
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                here = owner[row, column]
                if here == 0:
                    owner[row, column] = k + 1
                    free -= 1.0
                elif here < 0x10000:
                    owner[row, column] = here | ((k + 1) << 16)
    return free


@njit(cache=True, nogil=True)
def correct_tracks(start_us, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Move every track to the window's end and correct those that have seen enough; confirm and end tracks."""
    life, mean, covariance, sums = state.life, state.mean, state.covariance, state.sums
    dt = (end_us - start_us) * 1e-6
    alive = 0
    for k in range(life.shape[0]):
        if life[k, STATUS] == EMPTY:
            continue
        speed = math.hypot(mean[k, 2], mean[k, 3])
        q = (30.0 * rules.unit) ** 2 * 10.0 + 0.5 * speed**3 / rules.turn_px
        predict(mean[k], covariance[k], dt, q, rules.omega_q * 40.0 * (1.0 + speed / rules.turn_px))
        n, elapsed = sums[k, 0], end_us - sums[k, 6]
        if sums[k, 8] > 0.25 * (n + sums[k, 8]):  # in a crossing: what is surely its own is but one side of it
            if n + sums[k, 8] >= 0.2 * rules.update_events:
                life[k, SEEN] = end_us
            sums[k, :] = 0.0
            sums[k, 6] = end_us
            n, elapsed = 0.0, 0.0
        if n >= rules.update_events or (elapsed >= rules.patience_us and n >= 0.2 * rules.update_events):
            signal = 1.0 - sums[k, 7] / n
            if signal > 0.4 and n - sums[k, 7] > 3.0 * math.sqrt(sums[k, 7]):
                _correct_track(k, n, signal, end_us, state, rules)
            else:
                _fade_histogram(state.histogram[k], 0.5)
            sums[k, :] = 0.0
            sums[k, 6] = end_us
        elif elapsed >= 4.0 * rules.patience_us:
            sums[k, :] = 0.0
            sums[k, 6] = end_us
        unseen = end_us - life[k, SEEN]
        if unseen > 2.0 * rules.patience_us:
            keep = math.exp(-dt * 1e6 / _COAST_US)
            mean[k, 2] *= keep
            mean[k, 3] *= keep
            mean[k, 4] *= keep
        if _is_over(k, unseen, state, rules):
            life[k, STATUS] = EMPTY
        else:
            alive += 1
    state.scalars[BUSY] = alive


@njit(cache=True, nogil=True)
def _correct_track(k, n, signal, end_us, state, rules):  # type: ignore[no-untyped-def]
    life, mean, sums = state.life, state.mean, state.sums
    mx, my = sums[k, 1] / n, sums[k, 2] / n
    spread = max(sums[k, 3] / n - mx * mx, 0.0) + max(sums[k, 4] / n - my * my, 0.0)
    # background events lie evenly about the gate's middle: they pull the mean towards the prediction
    mx, my = mx / signal, my / signal
    age_s = max((end_us - sums[k, 6]) - sums[k, 5] / n, 0.0) * 1e-6
    variance = rules.position_px**2 + 0.5 * spread / n
    correct(mean[k], state.covariance[k], mx, my, age_s, variance)
    _measure_box(k, n, signal, state, rules)
    life[k, SEEN] = end_us
    life[k, HITS] += 1.0
    life[k, SCORE] += 0.1 * (signal - life[k, SCORE])
    if life[k, STATUS] == TENTATIVE and life[k, HITS] >= rules.confirm_hits:
        way = math.hypot(mean[k, 0] - life[k, FROM_X], mean[k, 1] - life[k, FROM_Y])
        if way >= rules.confirm_px and life[k, CONTRAST] >= rules.contrast:
            life[k, STATUS] = CONFIRMED


@njit(cache=True, nogil=True)
def _is_over(k, unseen, state, rules):  # type: ignore[no-untyped-def]
    """Whether a track ends: unseen for too long, or out of the image."""
    life, mean = state.life, state.mean
    if life[k, STATUS] == TENTATIVE:
        limit = 3.0 * rules.patience_us if life[k, FAST] == 0.0 else rules.patience_us
        if unseen > limit:
            return True
    elif unseen > rules.keep_us:
        if life[k, FAST] > rules.rest_px_s or unseen > rules.rest_us or life[k, SEEN] - life[k, BORN] < rules.keep_us:
            return True
    else:
        if unseen <= 2.0 * rules.patience_us:
            life[k, FAST] = math.hypot(mean[k, 2], mean[k, 3])  # the speed it had when it was last seen
    out_x, out_y = 0.4 * life[k, WIDTH], 0.4 * life[k, HEIGHT]
    return (
        mean[k, 0] < -out_x
        or mean[k, 1] < -out_y
        or mean[k, 0] > rules.width - 1 + out_x
        or mean[k, 1] > rules.height - 1 + out_y
    )


@njit(cache=True, nogil=True)
def _fade_histogram(histogram, keep):  # type: ignore[no-untyped-def]
    for axis in range(2):
        for b in range(BINS):
            histogram[axis, b] *= keep


@njit(cache=True, nogil=True)
def _measure_box(k, n, signal, state, rules):  # type: ignore[no-untyped-def]
    """Box of a track from its histograms, less the even background; then let the histograms fade."""
    life, histogram = state.life, state.histogram[k]
    life[k, NOISE] += (1.0 - signal) * n
    total = 0.0
    for b in range(BINS):
        total += histogram[0, b]
    if total >= 30.0:
        for axis in range(2):
            half = 1.0 / state.path[k, 6 + axis]
            low, high = _extent(histogram[axis], life[k, NOISE] * rules.bin_px / (2.0 * half))
            if high > low:
                life[k, WIDTH + axis] = (high - low) * rules.bin_px + 1.0
                life[k, OFF_X + axis] = (0.5 * (low + high) - 0.5 * BINS) * rules.bin_px
    if total > _HISTOGRAM_EVENTS:
        keep = _HISTOGRAM_EVENTS / total
        _fade_histogram(histogram, keep)
        life[k, NOISE] *= keep


@njit(cache=True, nogil=True)
def _extent(histogram, floor):  # type: ignore[no-untyped-def]
    """The bins, as fractions, between which all but `_TRIM` on each side of the events above `floor` lie."""
    total = 0.0
    for b in range(BINS):
        total += max(histogram[b] - floor, 0.0)
    wanted = _TRIM * total
    if total <= 0.0:
        return 0.0, 0.0
    low = high = 0.0
    below = 0.0
    for b in range(BINS):
        here = max(histogram[b] - floor, 0.0)
        if below + here >= wanted:
            low = b + (wanted - below) / here
            break
        below += here
    below = 0.0
    for b in range(BINS - 1, -1, -1):
        here = max(histogram[b] - floor, 0.0)
        if below + here >= wanted:
            high = b + 1.0 - (wanted - below) / here
            break
        below += here
    return low, high
