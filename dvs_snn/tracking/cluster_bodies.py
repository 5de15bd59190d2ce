"""Compiled: connected cells of recent events as bodies; tracks that share one and move alike are parts of it.

A track follows what it was born from, which may be one edge of a body. Where the events of the last few milliseconds
hang together, all owners counted, the whole body shows: its box is the track's, and a second track in it is joined.
"""

from __future__ import annotations

import math

from numba import njit

from dvs_snn.tracking.cluster_ego import SHIFT_X, SHIFT_Y, has_moved
from dvs_snn.tracking.cluster_state import (
    ALONGSIDE,
    BACKGROUND,
    CAMP_X,
    CAMP_Y,
    CONFIRMED,
    CONTRAST,
    EMPTY,
    END_US,
    HEIGHT,
    HITS,
    NOISE,
    OFF_X,
    RIVAL,
    SEEN,
    SHARE,
    STATUS,
    TENTATIVE,
    WIDTH,
)

BODIES_US = 8_000
_KEEP = 0.5  # share of the grid's events that stays for the next time
_MOST_BODIES = 256
_OWN = 0.3  # share of a box's events that must not move with the background, while the camera moves
_WAY_PX = 12.0  # what a track must be away from where it was of late, in the background's frame
_CAMP = 0.04  # share of that way by which the place of late follows, every 8 ms: about 0.2 s
_CAMERA_US = 300_000.0  # for so long after the camera has moved


@njit(cache=True, nogil=True)
def find_bodies(start_us, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Every 8 ms: label bodies, fit the boxes of lone tracks, join tracks that are parts of one body."""
    if end_us // BODIES_US == start_us // BODIES_US:
        return
    count, label, bodies, life = state.all_count, state.label, state.bodies, state.life
    rows, columns = count.shape
    span = BODIES_US / (1.0 - _KEEP)
    mean = state.scalars[BACKGROUND] * rules.cell_px**2 * span
    threshold = max(1.5, mean + 3.0 * math.sqrt(mean))
    label[:] = 0
    found = 0
    for row in range(rows):
        for column in range(columns):
            if count[row, column] >= threshold and label[row, column] == 0 and found < _MOST_BODIES - 1:
                found += 1
                _label(row, column, found, threshold, state, rules)
    tracks = life.shape[0]
    bodies[0, 0], bodies[0, 1], bodies[0, 2], bodies[0, 3] = -1e9, 1e9, -1e9, 1e9
    bodies[:, 5] = 0.0  # how many tracks share a body
    for k in range(tracks):
        if life[k, STATUS] != EMPTY:
            state.body[k] = _body_of(k, state, rules)
            life[k, CONTRAST] += 0.15 * (_contrast(k, state, rules) - life[k, CONTRAST])
            life[k, ALONGSIDE] = max(life[k, ALONGSIDE] - BODIES_US, 0.0)
            bodies[state.body[k], 5] += 1.0
    for k in range(tracks):
        body = state.body[k]
        if life[k, STATUS] == EMPTY or body == 0:
            continue
        if bodies[body, 5] == 1.0:
            life[k, RIVAL] = 0.0
            if end_us - life[k, SEEN] < BODIES_US:
                _fit(k, body, span, state, rules)
            continue
        for other in range(tracks):
            if other != k and state.body[other] == body and life[other, STATUS] != EMPTY and _is_older(k, other, state):
                _rival(k, other, body, end_us, state, rules)
                if life[other, STATUS] == EMPTY:
                    bodies[body, 5] -= 1.0
    for k in range(tracks):
        for other in range(tracks):
            if (
                other != k
                and life[k, STATUS] != EMPTY
                and life[other, STATUS] != EMPTY
                and (state.body[k] != state.body[other] or state.body[k] == 0)
                and _is_older(k, other, state)
            ):
                _companion(k, other, end_us, state, rules)
    for row in range(rows):
        for column in range(columns):
            count[row, column] *= _KEEP
    if rules.ego_motion:
        for row in range(rows):
            for column in range(columns):
                state.ego.along[row, column] *= _KEEP


@njit(cache=True, nogil=True)
def _label(seed_row, seed_column, number, threshold, state, rules):  # type: ignore[no-untyped-def]
    """Give `number` to the cells that hang together with a seed, and note their box and events."""
    count, label, stack, body = state.all_count, state.label, state.stack, state.bodies[number]
    rows, columns = count.shape
    stack[0] = seed_row * columns + seed_column
    label[seed_row, seed_column] = number
    size, done = 1, 0
    left, right, top, bottom, events = columns, 0, rows, 0, 0.0
    while done < size:
        place = stack[done]
        done += 1
        row, column = place // columns, place % columns
        events += count[row, column]
        left, right, top, bottom = min(left, column), max(right, column), min(top, row), max(bottom, row)
        for r in range(max(row - 1, 0), min(row + 2, rows)):
            for c in range(max(column - 1, 0), min(column + 2, columns)):
                if label[r, c] == 0 and count[r, c] >= threshold:
                    label[r, c] = number
                    stack[size] = r * columns + c
                    size += 1
    cell = rules.cell_px
    body[0], body[1] = left * cell - 0.5, (right + 1) * cell - 0.5
    body[2], body[3] = top * cell - 0.5, (bottom + 1) * cell - 0.5
    body[4] = events


@njit(cache=True, nogil=True)
def _body_of(k, state, rules):  # type: ignore[no-untyped-def]
    """The body with most events in a track's box, 0 for none."""
    life, mean, count, label = state.life, state.mean, state.all_count, state.label
    rows, columns = count.shape
    cell = rules.cell_px
    left = max(int((mean[k, 0] - 0.5 * life[k, WIDTH]) / cell), 0)
    right = min(int((mean[k, 0] + 0.5 * life[k, WIDTH]) / cell), columns - 1)
    top = max(int((mean[k, 1] - 0.5 * life[k, HEIGHT]) / cell), 0)
    bottom = min(int((mean[k, 1] + 0.5 * life[k, HEIGHT]) / cell), rows - 1)
    best, most, total = 0, 0.0, 0.0
    state.votes[:] = 0.0
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            here = label[row, column]
            total += count[row, column]
            if here:
                state.votes[here] += count[row, column]
                if state.votes[here] > most:
                    best, most = here, state.votes[here]
    life[k, SHARE] = most / total if total > 0.0 else 0.0
    return best


@njit(cache=True, nogil=True)
def _contrast(k, state, rules):  # type: ignore[no-untyped-def]
    """How many times as busy a track's box is as the ground about it: the second quietest of its four sides.

    A patch of a textured background that moves as a whole is as busy as what lies about it. While the camera
    moves, what moves with the background has less.
    """
    life, mean, cell = state.life, state.mean, rules.cell_px
    left, right = (mean[k, 0] - 0.5 * life[k, WIDTH]) / cell, (mean[k, 0] + 0.5 * life[k, WIDTH]) / cell
    top, bottom = (mean[k, 1] - 0.5 * life[k, HEIGHT]) / cell, (mean[k, 1] + 0.5 * life[k, HEIGHT]) / cell
    inside = _density(left, right, top, bottom, state.all_count)
    limit = 6.0
    if rules.ego_motion and inside > 0.0 and has_moved(state.scalars[END_US], _CAMERA_US, state.ego):
        along = _density(left, right, top, bottom, state.ego.along)
        limit = rules.contrast * min(inside / (inside + along) / _OWN, _way(k, state) / (_WAY_PX * rules.unit))
    if inside <= 0.0:
        return 1.0 if inside == 0.0 else life[k, CONTRAST]
    deep = max(3.0, 0.4 * max(right - left, bottom - top))
    lowest = second = 1e9
    for side in range(4):
        if side == 0:
            around = _density(left - deep, left - 1.0, top, bottom, state.all_count)
        elif side == 1:
            around = _density(right + 1.0, right + deep, top, bottom, state.all_count)
        elif side == 2:
            around = _density(left, right, top - deep, top - 1.0, state.all_count)
        else:
            around = _density(left, right, bottom + 1.0, bottom + deep, state.all_count)
        if around < 0.0:
            continue
        if around < lowest:
            lowest, second = around, lowest
        elif around < second:
            second = around
    if second >= 1e9:
        second = lowest if lowest < 1e9 else 0.0
    return min(inside / (second + 0.05), limit)


@njit(cache=True, nogil=True)
def _way(k, state):  # type: ignore[no-untyped-def]
    """How far a track is from where it was of late, in the background's frame."""
    life = state.life
    x = state.mean[k, 0] - state.ego.scalars[SHIFT_X] - life[k, CAMP_X]
    y = state.mean[k, 1] - state.ego.scalars[SHIFT_Y] - life[k, CAMP_Y]
    life[k, CAMP_X] += _CAMP * x
    life[k, CAMP_Y] += _CAMP * y
    return math.hypot(x, y)


@njit(cache=True, nogil=True)
def _density(left, right, top, bottom, count):  # type: ignore[no-untyped-def]
    """Events per cell in a box of cells, -1 where it lies outside the image."""
    rows, columns = count.shape
    total, cells = 0.0, 0
    for row in range(max(int(top), 0), min(int(bottom) + 1, rows)):
        for column in range(max(int(left), 0), min(int(right) + 1, columns)):
            total += count[row, column]
            cells += 1
    return total / cells if cells else -1.0


@njit(cache=True, nogil=True)
def _fit(k, body, span, state, rules):  # type: ignore[no-untyped-def]
    """Let a lone track's box reach over its whole body, less the trail that its speed left in the grid."""
    life, mean, box = state.life, state.mean, state.bodies[body]
    largest = 0.5 * min(rules.width, rules.height)
    if life[k, WIDTH] > largest or life[k, HEIGHT] > largest:  # two bodies that drew it apart: stay with the busier
        for axis in range(2):
            mean[k, axis] = 0.5 * (box[2 * axis] + box[2 * axis + 1])
            life[k, WIDTH + axis] = box[2 * axis + 1] - box[2 * axis]
            life[k, OFF_X + axis] = 0.0
        state.histogram[k] = 0.0
        life[k, NOISE] = 0.0
        state.sums[k, :] = 0.0
        state.sums[k, 6] = state.scalars[END_US]
        return
    for axis in range(2):
        trail = abs(mean[k, 2 + axis]) * span * 1e-6
        extent = max(box[2 * axis + 1] - box[2 * axis] - trail - rules.cell_px, 0.0)
        size = life[k, WIDTH + axis]
        if size < extent < 2.5 * size + 4.0 * rules.cell_px:
            life[k, WIDTH + axis] += 0.3 * (extent - size)
        elif life[k, SHARE] > 0.7 and size > 1.4 * extent + 2.0 * rules.cell_px:  # stray events drew it apart
            life[k, WIDTH + axis] += 0.3 * (extent - size)
            state.histogram[k, axis] = 0.0


@njit(cache=True, nogil=True)
def _is_older(a, b, state):  # type: ignore[no-untyped-def]
    """Whether track `a` is the one to stay of two."""
    life = state.life
    if life[a, STATUS] != life[b, STATUS]:
        return life[a, STATUS] == CONFIRMED
    if life[a, HITS] != life[b, HITS]:
        return life[a, HITS] > life[b, HITS]
    return a < b


@njit(cache=True, nogil=True)
def _rival(old, new, body, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Join `new` to `old` when the two have moved alike in one body for long enough."""
    life, mean = state.life, state.mean
    speed = max(math.hypot(mean[old, 2], mean[old, 3]), math.hypot(mean[new, 2], mean[new, 3]))
    apart = math.hypot(mean[old, 2] - mean[new, 2], mean[old, 3] - mean[new, 3])
    young = life[new, STATUS] == TENTATIVE
    alike = apart < (0.5 if young else 0.35) * speed + (40.0 if young else 25.0) * rules.unit
    gone = end_us - life[new, SEEN] > 3 * BODIES_US  # it covers ground whose events are another's
    if not (alike or gone):
        life[new, RIVAL] = max(life[new, RIVAL] - BODIES_US, 0.0)
        return
    life[new, RIVAL] += BODIES_US
    if life[new, RIVAL] < (BODIES_US if young or gone else 5 * BODIES_US):
        return
    if alike and end_us - life[old, SEEN] < BODIES_US:
        _unite(old, new, state.bodies[body], end_us, state, rules)
    life[new, STATUS] = EMPTY


@njit(cache=True, nogil=True)
def _companion(old, new, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Join two that go side by side at one speed without touching: the leading and the trailing edge of a body."""
    life, mean = state.life, state.mean
    speed = math.hypot(mean[old, 2], mean[old, 3])
    apart = math.hypot(mean[old, 2] - mean[new, 2], mean[old, 3] - mean[new, 3])
    size = max(max(life[old, WIDTH], life[old, HEIGHT]), max(life[new, WIDTH], life[new, HEIGHT]))
    gap_x = abs(mean[old, 0] - mean[new, 0]) - 0.5 * (life[old, WIDTH] + life[new, WIDTH])
    gap_y = abs(mean[old, 1] - mean[new, 1]) - 0.5 * (life[old, HEIGHT] + life[new, HEIGHT])
    seen = end_us - min(life[old, SEEN], life[new, SEEN]) < BODIES_US
    if not seen or speed < 25.0 * rules.unit or apart > 0.25 * speed or max(gap_x, gap_y) > 0.5 * size:
        return
    life[new, ALONGSIDE] += 2 * BODIES_US  # it fades by one step whether or not there is a companion
    if life[new, ALONGSIDE] > 8 * BODIES_US:
        limit = 0.5 * min(rules.width, rules.height)
        if (
            gap_x + life[old, WIDTH] + life[new, WIDTH] < limit
            and gap_y + life[old, HEIGHT] + life[new, HEIGHT] < limit
        ):
            _unite(old, new, state.bodies[0], end_us, state, rules)
            life[new, STATUS] = EMPTY


@njit(cache=True, nogil=True)
def _unite(old, new, box, end_us, state, rules):  # type: ignore[no-untyped-def]
    """Give `old` the ground of both, no wider than `box`."""
    life, mean = state.life, state.mean
    for axis in range(2):
        low = min(mean[old, axis] - 0.5 * life[old, WIDTH + axis], mean[new, axis] - 0.5 * life[new, WIDTH + axis])
        high = max(mean[old, axis] + 0.5 * life[old, WIDTH + axis], mean[new, axis] + 0.5 * life[new, WIDTH + axis])
        low, high = max(low, box[2 * axis] - rules.cell_px), min(high, box[2 * axis + 1] + rules.cell_px)
        if high > low:
            share = life[new, HITS] / (life[new, HITS] + life[old, HITS] + 1e-9)
            mean[old, axis] += min(share, 0.5) * (0.5 * (low + high) - mean[old, axis])
            life[old, WIDTH + axis] = max(high - low, life[old, WIDTH + axis])
            life[old, OFF_X + axis] = 0.0
    state.histogram[old] = 0.0
    state.sums[old, :] = 0.0
    state.sums[old, 6] = end_us
    life[old, NOISE] = 0.0
