"""Compiled loops of the filters: each marks the events of a packet that stay, and keeps its memory in arrays.

`clock[0]` is the time of the last event, by which a restarted clock is told. An event outside the sensor never stays.
"""

from numba import int64, njit

from dvs_snn.events.stream import RESTART_US

NEVER = -(1 << 62)
"""A time before all others; differences to it stay within 64 bits."""


@njit(cache=True, nogil=True)
def support(packet, clock, keep, last, delay):
    height, width = last.shape[0] - 2, last.shape[1] - 2
    now = clock[0]
    for i in range(packet.size):
        event = packet[i]
        t, x, y = event.t, int64(event.x), int64(event.y)
        if now - t > RESTART_US:
            last[:] = NEVER
        now = t
        if x >= width or y >= height:
            keep[i] = False
            continue
        since = t - delay
        keep[i] = (
            last[y, x] >= since
            or last[y, x + 1] >= since
            or last[y, x + 2] >= since
            or last[y + 1, x] >= since
            or last[y + 1, x + 2] >= since
            or last[y + 2, x] >= since
            or last[y + 2, x + 1] >= since
            or last[y + 2, x + 2] >= since
        )
        last[y + 1, x + 1] = t
    clock[0] = now


@njit(cache=True, nogil=True)
def cool(packet, clock, keep, listed, memory, limit, period):
    height, width = listed.shape
    now = clock[0]
    for i in range(packet.size):
        event = packet[i]
        t, x, y = event.t, int64(event.x), int64(event.y)
        if now - t > RESTART_US:
            memory[:, :, 0] = NEVER
        now = t
        if x >= width or y >= height or listed[y, x]:
            keep[i] = False
            continue
        cell = t // period
        if memory[y, x, 0] != cell:
            memory[y, x, 2] = memory[y, x, 0] == cell - 1 and memory[y, x, 1] > limit
            memory[y, x, 0] = cell
            memory[y, x, 1] = 0
        memory[y, x, 1] += 1
        keep[i] = not memory[y, x, 2] and memory[y, x, 1] <= limit
    clock[0] = now


@njit(cache=True, nogil=True)
def rest(packet, clock, keep, last, period):
    height, width = last.shape
    now = clock[0]
    for i in range(packet.size):
        event = packet[i]
        t, x, y = event.t, int64(event.x), int64(event.y)
        if now - t > RESTART_US:
            last[:] = NEVER
        now = t
        if x >= width or y >= height:
            keep[i] = False
            continue
        keep[i] = t - last[y, x] >= period
        if keep[i]:
            last[y, x] = t
    clock[0] = now


@njit(cache=True, nogil=True)
def thin(packet, clock, keep, width, height, counts, factor, group):
    now = clock[0]
    for i in range(packet.size):
        event = packet[i]
        t, x, y = event.t, int64(event.x), int64(event.y)
        if now - t > RESTART_US:
            counts[:] = 0
        now = t
        if x >= width or y >= height:
            keep[i] = False
            continue
        row, column, sign = y // factor, x // factor, 1 if event.p else 0
        counts[row, column, sign] += 1
        keep[i] = counts[row, column, sign] == group
        if keep[i]:
            counts[row, column, sign] = 0
    clock[0] = now


@njit(cache=True, nogil=True)
def spread(packet, clock, keep, width, height, state, limit, period):
    cell, seen, kept, before, credit = state[0], state[1], state[2], state[3], state[4]
    now = clock[0]
    for i in range(packet.size):
        event = packet[i]
        t = event.t
        if now - t > RESTART_US:
            cell, seen, credit = int64(NEVER), int64(0), int64(0)
        now = t
        if event.x >= width or event.y >= height:
            keep[i] = False
            continue
        if t // period != cell:
            before = seen if t // period == cell + 1 else int64(0)
            cell = t // period
            seen = int64(0)
            kept = int64(0)
        seen += 1
        # Of `before` events `limit` shall stay: each brings `limit` of credit, and one that stays costs `before`.
        price = max(before, limit)
        credit += limit
        keep[i] = credit >= price and kept < limit
        if credit >= price:
            credit -= price
        if keep[i]:
            kept += 1
    state[0], state[1], state[2], state[3], state[4] = cell, seen, kept, before, credit
    clock[0] = now
