"""The integer network's inner loops, compiled: an event-driven convolution into LIF, and a recurrent TC-LIF layer.

Maps are channels last, so that one spike adds a contiguous row of weights to its targets. Arithmetic is that of
`fixed_point`; sums wrap at 24 bits as Loihi's synaptic input does, states saturate.
"""

from __future__ import annotations

import numba
import numpy as np

MAX = (1 << 23) - 1
SPAN = 1 << 24


@numba.njit(inline="always")
def wrap(total):
    """Synaptic input after the shift, in 24 bits: what lies outside comes in at the other end."""
    shifted = total << 6
    if shifted > MAX + 1:
        shifted -= SPAN
    elif shifted <= -(MAX + 1):
        shifted += SPAN
    return shifted


@numba.njit(inline="always")
def kept(state, factor):
    """`state * factor / 4096`, rounded toward zero."""
    product = state * factor
    return product >> 12 if product >= 0 else -((-product) >> 12)


@numba.njit(cache=True, nogil=True)
def conv_lif_scan(x, weights, fan_out, stride, padding, keep, threshold, bias, v, out, report):
    """x [T, H, W, C] -> spikes `out` [T, h, w, n]; `v` [h, w, n] is the state and is renewed.

    `weights` [k, k, C, n] are whole chip weights (mantissa, sign bit and exponent applied), `fan_out` [k, k, C] how
    many of the n are not zero, `bias` and `threshold` state units. `report`: synaptic operations, spikes, inputs that
    wrapped, states that saturated, largest |state|, largest |input|.
    """
    time, height, width, channels = x.shape
    kernel = weights.shape[0]
    rows, columns, targets = v.shape
    total = np.zeros((rows, columns, targets), np.int64)
    operations = spikes = wrapped = saturated = 0
    largest = most = np.int64(0)
    for t in range(time):
        total[:] = 0
        for y in range(height):
            for z in range(width):
                for c in range(channels):
                    value = x[t, y, z, c]
                    if value == 0:
                        continue
                    for i in range(kernel):
                        row = y + padding - i
                        if row < 0 or row % stride or row // stride >= rows:
                            continue
                        row //= stride
                        for j in range(kernel):
                            column = z + padding - j
                            if column < 0 or column % stride or column // stride >= columns:
                                continue
                            column //= stride
                            operations += fan_out[i, j, c]
                            for n in range(targets):
                                total[row, column, n] += value * weights[i, j, c, n]
        for y in range(rows):
            for z in range(columns):
                for n in range(targets):
                    entering = wrap(total[y, z, n])
                    size = abs(total[y, z, n]) << 6
                    most = max(most, size)
                    wrapped += size > MAX
                    state = kept(np.int64(v[y, z, n]), keep[n]) + entering + bias[n]
                    if state > MAX or state < -MAX:
                        saturated += 1
                        state = MAX if state > 0 else -MAX
                    largest = max(largest, abs(state))
                    fired = state > threshold[n]
                    spikes += fired
                    v[y, z, n] = 0 if fired else state
                    out[t, y, z, n] = fired
    report[0] += operations
    report[1] += spikes
    report[2] += wrapped
    report[3] += saturated
    report[4] = max(report[4], largest)
    report[5] = max(report[5], most)


@numba.njit(cache=True, nogil=True)
def tclif_scan(x, weights, fan_out, keep, feedback, feedforward, threshold, gamma, bias, u, last, out, report):
    """x [T, n] (graded input in weight units) -> spikes `out` [T, n]; `u` [2, n] and `last` [n] are renewed.

    `weights` [source, target]; otherwise as `conv_lif_scan`.
    """
    time, count = x.shape
    total = np.zeros(count, np.int64)
    operations = spikes = wrapped = saturated = 0
    largest = most = np.int64(0)
    for t in range(time):
        for n in range(count):
            total[n] = x[t, n]
        for source in range(count):
            if last[source]:
                operations += fan_out[source]
                for n in range(count):
                    total[n] += weights[source, n]
        for n in range(count):
            size = abs(total[n]) << 6
            most = max(most, size)
            wrapped += size > MAX
            soma = np.int64(u[1, n])
            dendrite = kept(np.int64(u[0, n]), keep[n]) - kept(soma, feedback[n]) + wrap(total[n]) + bias[n]
            if dendrite > MAX or dendrite < -MAX:
                saturated += 1
                dendrite = MAX if dendrite > 0 else -MAX
            soma = kept(soma, keep[n]) + kept(dendrite, feedforward[n])
            if soma > MAX or soma < -MAX:
                saturated += 1
                soma = MAX if soma > 0 else -MAX  # type: ignore[assignment]
            largest = max(largest, abs(dendrite), abs(soma))
            fired = soma > threshold[n]
            if fired:
                spikes += 1
                dendrite = max(dendrite - gamma[n], -MAX)
                soma -= threshold[n]
            u[0, n], u[1, n] = dendrite, soma
            last[n] = fired
            out[t, n] = fired
    report[0] += operations
    report[1] += spikes
    report[2] += wrapped
    report[3] += saturated
    report[4] = max(report[4], largest)
    report[5] = max(report[5], most)
