"""The compiled inner loops of `DvsModel`: one pass over the pixels per frame, then noise that needs no motion.

An event leaves as one 64-bit key (time since the frame before, pixel, polarity), so that sorting keys sorts events.
A pixel whose intensity has not changed and whose low pass has settled is skipped until its leak wakes it: most pixels
of a static camera cost two loads and two comparisons per frame.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

KEY_PIXEL_BITS = 33  # 2^32 pixels and the polarity; 2^30 us remain for the time between two frames
SETTLED = 1e-4  # log intensity; far below any threshold


@njit(cache=True, nogil=True, inline="always")
def _uniform(random):  # type: ignore[no-untyped-def]
    """splitmix64 (Steele et al. 2014) to a float in [0, 1); the state lives in the model, so its seed decides alone."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def _grown(keys):  # type: ignore[no-untyped-def]
    larger = np.empty(2 * len(keys), np.int64)
    larger[: len(keys)] = keys
    return larger


@njit(cache=True, nogil=True)
def advance(  # type: ignore[no-untyped-def]
    keys, random, t0, t1, frame, intensity, log, low, difference, updated, blind_until, wake,
    rebound_at, rebound_on, theta_on, theta_off, parameters,
):  # fmt: skip
    """Move every pixel from the frame at `t0` to the frame at `t1`; returns the key buffer and the number of events.

    `difference` is what the comparators see: low-passed log intensity minus the level of the last event, plus the leak
    since then. While a pixel is blind its memory follows the signal, so the difference starts again from 0.
    """
    bandwidth_hz, follows, refractory = parameters[0], parameters[1] > 0, parameters[2]
    leak_hz, dark, repeat = parameters[3], parameters[6], parameters[7]
    rebound_p_on, rebound_p_off, rebound_us = parameters[8], parameters[9], parameters[10]
    stray, stray_px = parameters[11], parameters[13]
    hold = parameters[14]
    height, width = frame.shape
    dt = t1 - t0
    start = math.floor(t0)
    count = 0
    for y in range(height):
        for x in range(width):
            value = frame[y, x]
            if abs(value - intensity[y, x]) <= hold * intensity[y, x] and t1 < wake[y, x]:
                continue
            # --- the signal at the comparators at t0 and t1
            u0 = log[y, x]
            u1 = u0
            if value != intensity[y, x]:
                u1 = math.log(value + dark)
                log[y, x] = u1
                intensity[y, x] = value
            before = low[y, x]
            if bandwidth_hz > 0:
                cutoff = bandwidth_hz * (0.1 + 0.9 * min(value, 1.0)) if follows else bandwidth_hz
                k = dt * 1e-6 * 2 * math.pi * cutoff
                e = math.exp(-k)
                after = e * before + (1 - e) * u0 + (u1 - u0) * (1 - (1 - e) / k)  # exact for a straight line
            else:
                after = u1
            settled = abs(u1 - u0) <= hold and abs(after - u1) < max(SETTLED, 0.5 * hold)
            if settled:
                after = u1
            low[y, x] = after
            leak = leak_hz * theta_on[y, x] * 1e-6  # log intensity per us
            d = difference[y, x] + leak * (t0 - updated[y, x])
            slope = (after - before) / dt + leak

            # --- crossings between them
            ts = t0
            if blind_until[y, x] > t0:
                ts = min(blind_until[y, x], t1)
                d = 0.0
            pending = rebound_at[y, x]
            if pending <= t1:
                if len(keys) < count + 1:
                    keys = _grown(keys)
                time = min(max(int(pending), math.ceil(t0)), int(t1))
                keys[count] = ((time - start) << KEY_PIXEL_BITS) | (((y * width + x) << 1) | int(rebound_on[y, x]))
                count += 1
                rebound_at[y, x] = np.inf
            while ts < t1:
                d1 = d + slope * (t1 - ts)
                if d1 >= theta_on[y, x]:
                    on = 1
                    tc = ts + (theta_on[y, x] - d) / slope if slope > 0 else ts
                elif d1 <= -theta_off[y, x]:
                    on = 0
                    tc = ts + (-theta_off[y, x] - d) / slope if slope < 0 else ts
                else:
                    d = d1
                    break
                tc = min(max(tc, ts), t1)
                if len(keys) < count + 3:
                    keys = _grown(keys)
                time = int(tc) - start
                keys[count] = (time << KEY_PIXEL_BITS) | (((y * width + x) << 1) | on)
                count += 1
                if repeat > 0 and _uniform(random) < repeat:
                    keys[count] = keys[count - 1]
                    count += 1
                if stray > 0 and _uniform(random) < stray:
                    angle = 2 * math.pi * _uniform(random)
                    far = -stray_px * math.log(1.0 - _uniform(random))
                    sx, sy = int(x + 1.2 * far * math.cos(angle)), int(y + far * math.sin(angle))
                    if 0 <= sx < width and 0 <= sy < height:
                        pixel = ((sy * width + sx) << 1) | int(_uniform(random) < 0.46)
                        keys[count] = (time << KEY_PIXEL_BITS) | pixel
                        count += 1
                probability = rebound_p_on if on else rebound_p_off
                if probability > 0 and _uniform(random) < probability:
                    rebound_at[y, x] = tc + rebound_us * (0.55 + 1.1 * _uniform(random) ** 2)
                    rebound_on[y, x] = on == 0
                d = 0.0
                ts = tc + refractory
                if refractory > 0:
                    blind_until[y, x] = ts
            difference[y, x] = d
            updated[y, x] = t1

            # --- when it must be looked at again if its intensity stays
            next_us = rebound_at[y, x]
            if not settled:
                next_us = t1
            elif leak > 0:
                next_us = min(next_us, max(t1, blind_until[y, x]) + (theta_on[y, x] - d) / leak)
            if blind_until[y, x] > t1:
                next_us = t1
            wake[y, x] = next_us
    return keys, count


@njit(cache=True, nogil=True)
def _poisson(random, mean):  # type: ignore[no-untyped-def]
    """Knuth's product for small means, a rounded Gaussian for large ones."""
    if mean > 50.0:
        u = max(_uniform(random), 1e-300)
        z = math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * _uniform(random))
        return max(0, int(mean + math.sqrt(mean) * z + 0.5))
    limit, product, n = math.exp(-mean), _uniform(random), 0
    while product > limit:
        product *= _uniform(random)
        n += 1
    return n


@njit(cache=True, nogil=True)
def stray_events(  # type: ignore[no-untyped-def]
    keys, count, random, t0, t1, frame, difference, updated, blind_until, wake, theta_on,
    hot, hot_hz, hot_on, parameters,
):  # fmt: skip
    """Shot noise, hot pixels and streaks of a row between two frames; adds keys behind those already there.

    A shot-noise or hot-pixel event resets its pixel like any other and does not come from a blind pixel.
    """
    refractory, leak_hz, shot_hz, on_share = parameters[2], parameters[3], parameters[4], parameters[5]
    streak_hz = parameters[12]
    height, width = frame.shape
    seconds = (t1 - t0) * 1e-6
    start = math.floor(t0)
    shots = _poisson(random, shot_hz * seconds * height * width) if shot_hz > 0 else 0
    for i in range(shots + len(hot)):
        if i < shots:
            pixel = min(int(_uniform(random) * height * width), height * width - 1)
            events, on = 1, int(_uniform(random) < on_share)
        else:
            pixel = hot[i - shots]
            events, on = _poisson(random, hot_hz[i - shots] * seconds), hot_on[i - shots]
        y, x = pixel // width, pixel % width
        for _ in range(events):
            time = t0 + _uniform(random) * (t1 - t0)
            if time < blind_until[y, x]:
                continue
            if len(keys) < count + 1:
                keys = _grown(keys)
            keys[count] = ((int(time) - start) << KEY_PIXEL_BITS) | ((pixel << 1) | on)
            count += 1
            difference[y, x] = 0.0
            updated[y, x] = t1
            if refractory > 0:
                blind_until[y, x] = time + refractory
            wake[y, x] = min(wake[y, x], t1 + (1e6 / leak_hz if leak_hz > 0 else np.inf))
    streaks = _poisson(random, streak_hz * seconds) if streak_hz > 0 else 0
    for _ in range(streaks):
        y = min(int(_uniform(random) * height), height - 1)
        x0 = int(_uniform(random) * width)
        length = 2 + int(_uniform(random) ** 2 * width * 0.25)
        time = int(t0 + _uniform(random) * (t1 - t0)) - start
        on = int(_uniform(random) < 0.5)
        for x in range(x0, min(x0 + length, width)):
            if len(keys) < count + 1:
                keys = _grown(keys)
            keys[count] = (time << KEY_PIXEL_BITS) | (((y * width + x) << 1) | on)
            count += 1
    return keys, count
