"""The compiled inner loop of the Event Stream reader."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def decode(data, atis, height, now, t, x, y, p):
    """Events of `data`, which may end inside an event; returns how many, how many bytes they took, and the time.

    A first byte of DVS is (step << 1 | polarity), of ATIS (step << 2 | polarity << 1 | exposure). The largest step is
    no event but filler: the low bits say how many times (DVS: 0 or 1, ATIS: 0 to 3) it is added to the time.
    """
    bits = 2 if atis else 1
    largest = 63 if atis else 127
    count = 0
    i = 0
    while i < data.size:
        first = data[i]
        step = first >> bits
        if step == largest:
            now += largest * (first & (3 if atis else 1))
            i += 1
            continue
        if i + 5 > data.size:
            break
        now += step
        if not (atis and first & 1):
            t[count] = now
            x[count] = data[i + 1] | data[i + 2] << 8
            row = height - 1 - (data[i + 3] | data[i + 4] << 8)
            y[count] = row if row >= 0 else 65535
            p[count] = (first >> (bits - 1)) & 1 != 0
            count += 1
        i += 5
    return count, i, now
