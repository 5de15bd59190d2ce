"""Compiled softmax attention over a window of the past (CPU): one order of operations for one step and for many."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvs_snn.nn.ssm_kernel import Array


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def window_forward(
    q: Array, k: Array, v: Array, oldest: NDArray[np.int64], window: int, y: Array, weights: Array
) -> None:
    """`y_t = Σ_i softmax_i(q_t · k_i / sqrt(d)) v_i` over the places `oldest[t, b]` to `t + window` of k and v.

    q, y [time, batch, d]; k, v [window + time, batch, d], the past in front; weights [time, batch, window + 1].
    """
    time, batch, width = q.shape
    scale = q.dtype.type(1 / math.sqrt(width))
    for b in range(batch):
        for t in range(time):
            qt, yt, wt = q[t, b], y[t, b], weights[t, b]
            begin = oldest[t, b]
            largest = -np.inf
            for i in range(begin, t + window + 1):
                score = qt[0] * 0
                for d in range(width):
                    score += qt[d] * k[i, b, d]
                score *= scale
                wt[i - t] = score
                largest = max(largest, score)
            total = qt[0] * 0
            for i in range(begin - t, window + 1):
                wt[i] = math.exp(wt[i] - largest)
                total += wt[i]
            for d in range(width):
                yt[d] = 0
            for i in range(begin - t, window + 1):
                wt[i] /= total
                for d in range(width):
                    yt[d] += wt[i] * v[i + t, b, d]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def window_backward(
    q: Array,
    k: Array,
    v: Array,
    oldest: NDArray[np.int64],
    window: int,
    weights: Array,
    gy: Array,
    gq: Array,
    gk: Array,
    gv: Array,
) -> None:
    """Gradients of `window_forward`; gk and gv are added to."""
    time, batch, width = q.shape
    scale = q.dtype.type(1 / math.sqrt(width))
    felt = np.empty(window + 1, q.dtype)
    for b in range(batch):
        for t in range(time):
            qt, wt, gyt, gqt = q[t, b], weights[t, b], gy[t, b], gq[t, b]
            begin = oldest[t, b] - t
            mean = qt[0] * 0
            for i in range(begin, window + 1):
                reached = qt[0] * 0
                for d in range(width):
                    reached += gyt[d] * v[i + t, b, d]
                    gv[i + t, b, d] += wt[i] * gyt[d]
                felt[i] = reached
                mean += wt[i] * reached
            for d in range(width):
                gqt[d] = 0
            for i in range(begin, window + 1):
                score = wt[i] * (felt[i] - mean) * scale
                for d in range(width):
                    gqt[d] += score * k[i + t, b, d]
                    gk[i + t, b, d] += score * qt[d]
