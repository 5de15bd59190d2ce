"""Compiled scans of linear recurrences that are diagonal: one order of operations for one step and for many (CPU).

Lanes (channels) are contiguous, so the inner loops become vector instructions; the state of one row of the batch stays
in cache while time runs. Backward keeps no history from forward: it replays one row's states, then walks back.
`first[t, b]` true sets the state of row b to zero before step t; an empty array means never.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


@njit(cache=True, nogil=True, error_model="numpy")
def ssm_forward(x: Array, h: Array, a: Array, c: Array, first: Mask, y: Array) -> None:
    """`h_n <- a_n h_n + x`, `y = Σ_n c_n h_n`; x, y [time, batch, d], h [batch, n, d] in place, a, c [n, d]."""
    time, batch, width = x.shape
    for b in range(batch):
        for t in range(time):
            if first.size and first[t, b]:
                h[b] = 0
            xt, yt = x[t, b], y[t, b]
            for d in range(width):
                yt[d] = 0
            for n in range(a.shape[0]):
                an, cn, hn = a[n], c[n], h[b, n]
                for d in range(width):
                    value = an[d] * hn[d] + xt[d]
                    hn[d] = value
                    yt[d] += cn[d] * value


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def ssm_backward(
    x: Array, h: Array, a: Array, c: Array, first: Mask, gy: Array, gh: Array, gx: Array, ga: Array, gc: Array
) -> None:
    """Gradients of `ssm_forward`: gh [batch, n, d] of the end state becomes that of the start; ga, gc are added to."""
    time, batch, width = x.shape
    states = a.shape[0]
    history = np.empty((time + 1, states, width), x.dtype)
    for b in range(batch):
        history[0] = h[b]
        for t in range(time):
            if first.size and first[t, b]:
                history[t] = 0
            xt = x[t, b]
            for n in range(states):
                an, old, new = a[n], history[t, n], history[t + 1, n]
                for d in range(width):
                    new[d] = an[d] * old[d] + xt[d]
        for t in range(time - 1, -1, -1):
            gyt, gxt = gy[t, b], gx[t, b]
            for d in range(width):
                gxt[d] = 0
            for n in range(states):
                an, cn, old, new = a[n], c[n], history[t, n], history[t + 1, n]
                ghn, gan, gcn = gh[b, n], ga[n], gc[n]
                for d in range(width):
                    g = ghn[d] + gyt[d] * cn[d]
                    gcn[d] += gyt[d] * new[d]
                    gan[d] += g * old[d]
                    gxt[d] += g
                    ghn[d] = an[d] * g
            if first.size and first[t, b]:
                gh[b] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def leaky_forward(x: Array, u: Array, a: Array, first: Mask, y: Array) -> None:
    """`u <- a u + x`, y is u at every step; x, y [time, batch, d], u [batch, d] in place, a [d]."""
    time, batch, width = x.shape
    for b in range(batch):
        ub = u[b]
        for t in range(time):
            if first.size and first[t, b]:
                u[b] = 0
            xt, yt = x[t, b], y[t, b]
            for d in range(width):
                value = a[d] * ub[d] + xt[d]
                ub[d] = value
                yt[d] = value


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def leaky_backward(u: Array, a: Array, first: Mask, y: Array, gy: Array, gu: Array, gx: Array, ga: Array) -> None:
    """Gradients of `leaky_forward` from its start state u and output y; gu as in `ssm_backward`, ga is added to."""
    time, batch, width = y.shape
    for b in range(batch):
        gub = gu[b]
        for t in range(time - 1, -1, -1):
            fresh = first.size and first[t, b]
            old = u[b] if t == 0 else y[t - 1, b]
            gyt, gxt = gy[t, b], gx[t, b]
            for d in range(width):
                g = gub[d] + gyt[d]
                gxt[d] = g
                gub[d] = a[d] * g
            if fresh:
                gu[b] = 0
            else:
                for d in range(width):
                    ga[d] += gxt[d] * old[d]
