"""Compiled scans of linear recurrences that are diagonal: one order of operations for one step and for many (CPU).

Lanes (channels) are contiguous, so the inner loops become vector instructions; the state of one row of the batch stays
in cache while time runs. Backward keeps no history from forward: it replays one row's states, then walks back.
`first[t, b]` true sets the state of row b to zero before step t; an empty array means never.
`no_type_check` keeps run-time checkers of types from wrapping what numba compiles.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
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
@no_type_check
def ssm_backward(
    x: Array, h: Array, a: Array, c: Array, first: Mask, gy: Array, gh: Array, gx: Array, ga: Array, gc: Array
) -> None:
    """Gradients of `ssm_forward`: gh [batch, n, d] of the end state becomes that of the start; ga, gc are added to."""
    time, batch, width = x.shape
    states = a.shape[0]
    history = np.empty((time + 1, states, width), x.dtype)
    rest = np.zeros((states, width), x.dtype)
    for b in range(batch):
        history[0] = h[b]
        for t in range(time):
            past = rest if first.size and first[t, b] else history[t]
            xt = x[t, b]
            for n in range(states):
                an, old, new = a[n], past[n], history[t + 1, n]
                for d in range(width):
                    new[d] = an[d] * old[d] + xt[d]
        for t in range(time - 1, -1, -1):
            past = rest if first.size and first[t, b] else history[t]
            gyt, gxt = gy[t, b], gx[t, b]
            for d in range(width):
                gxt[d] = 0
            for n in range(states):
                an, cn, old, new = a[n], c[n], past[n], history[t + 1, n]
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
@no_type_check
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
@no_type_check
def leaky_backward(x: Array, u: Array, a: Array, first: Mask, gy: Array, gu: Array, gx: Array, ga: Array) -> None:
    """Gradients of `leaky_forward`; gu of the end state becomes that of the start, ga is added to."""
    time, batch, width = x.shape
    history = np.empty((time + 1, width), x.dtype)
    rest = np.zeros(width, x.dtype)
    for b in range(batch):
        history[0] = u[b]
        for t in range(time):
            old = rest if first.size and first[t, b] else history[t]
            xt, new = x[t, b], history[t + 1]
            for d in range(width):
                new[d] = a[d] * old[d] + xt[d]
        gub = gu[b]
        for t in range(time - 1, -1, -1):
            old = rest if first.size and first[t, b] else history[t]
            gyt, gxt = gy[t, b], gx[t, b]
            for d in range(width):
                g = gub[d] + gyt[d]
                gxt[d] = g
                ga[d] += g * old[d]
                gub[d] = a[d] * g
            if first.size and first[t, b]:
                gu[b] = 0


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def complex_forward(
    x: Array, hr: Array, hi: Array, ar: Array, ai: Array, cr: Array, ci: Array, first: Mask, y: Array
) -> None:
    """`h_n <- a_n h_n + x`, `y = Re Σ_n c_n h_n` with complex a, c, h given as real and imaginary parts."""
    time, batch, width = x.shape
    for b in range(batch):
        for t in range(time):
            if first.size and first[t, b]:
                hr[b] = 0
                hi[b] = 0
            xt, yt = x[t, b], y[t, b]
            for d in range(width):
                yt[d] = 0
            for n in range(ar.shape[0]):
                arn, ain, crn, cin = ar[n], ai[n], cr[n], ci[n]
                hrn, hin = hr[b, n], hi[b, n]
                for d in range(width):
                    re = arn[d] * hrn[d] - ain[d] * hin[d] + xt[d]
                    im = arn[d] * hin[d] + ain[d] * hrn[d]
                    hrn[d] = re
                    hin[d] = im
                    yt[d] += crn[d] * re - cin[d] * im


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def complex_backward(
    x: Array,
    hr: Array,
    hi: Array,
    ar: Array,
    ai: Array,
    cr: Array,
    ci: Array,
    first: Mask,
    gy: Array,
    ghr: Array,
    ghi: Array,
    gx: Array,
    gar: Array,
    gai: Array,
    gcr: Array,
    gci: Array,
) -> None:
    """Gradients of `complex_forward`; ghr and ghi of the end states become those of the start, the rest is added to."""
    time, batch, width = x.shape
    states = ar.shape[0]
    history_r = np.empty((time + 1, states, width), x.dtype)
    history_i = np.empty((time + 1, states, width), x.dtype)
    rest = np.zeros((states, width), x.dtype)
    for b in range(batch):
        history_r[0] = hr[b]
        history_i[0] = hi[b]
        for t in range(time):
            fresh = first.size and first[t, b]
            past_r, past_i = (rest, rest) if fresh else (history_r[t], history_i[t])
            xt = x[t, b]
            for n in range(states):
                arn, ain = ar[n], ai[n]
                old_r, old_i, new_r, new_i = past_r[n], past_i[n], history_r[t + 1, n], history_i[t + 1, n]
                for d in range(width):
                    new_r[d] = arn[d] * old_r[d] - ain[d] * old_i[d] + xt[d]
                    new_i[d] = arn[d] * old_i[d] + ain[d] * old_r[d]
        for t in range(time - 1, -1, -1):
            fresh = first.size and first[t, b]
            past_r, past_i = (rest, rest) if fresh else (history_r[t], history_i[t])
            gyt, gxt = gy[t, b], gx[t, b]
            for d in range(width):
                gxt[d] = 0
            for n in range(states):
                arn, ain, crn, cin = ar[n], ai[n], cr[n], ci[n]
                old_r, old_i, new_r, new_i = past_r[n], past_i[n], history_r[t + 1, n], history_i[t + 1, n]
                grn, gin = ghr[b, n], ghi[b, n]
                garn, gain, gcrn, gcin = gar[n], gai[n], gcr[n], gci[n]
                for d in range(width):
                    re = grn[d] + gyt[d] * crn[d]
                    im = gin[d] - gyt[d] * cin[d]
                    gcrn[d] += gyt[d] * new_r[d]
                    gcin[d] -= gyt[d] * new_i[d]
                    garn[d] += re * old_r[d] + im * old_i[d]
                    gain[d] += im * old_r[d] - re * old_i[d]
                    gxt[d] += re
                    grn[d] = arn[d] * re + ain[d] * im
                    gin[d] = arn[d] * im - ain[d] * re
            if fresh:
                ghr[b] = 0
                ghi[b] = 0


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def softplus(z: float) -> float:
    """log(1 + e^z) without overflow."""
    return max(z, z * 0) + math.log1p(math.exp(-abs(z)))


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def selective_forward(x: Array, z: Array, h: Array, rate: Array, c: Array, first: Mask, y: Array) -> None:
    """`a = exp(-Δ_t λ_n)`, `h_n <- a h_n + (1 - a) x`, `y = Σ_n c_n h_n`; `Δ = log(1 + e^z)`, z [time, batch, d]."""
    time, batch, width = x.shape
    st = np.empty(width, x.dtype)
    for b in range(batch):
        for t in range(time):
            if first.size and first[t, b]:
                h[b] = 0
            xt, zt, yt = x[t, b], z[t, b], y[t, b]
            for d in range(width):
                yt[d] = 0
                st[d] = softplus(zt[d])
            for n in range(rate.shape[0]):
                ln, cn, hn = rate[n], c[n], h[b, n]
                for d in range(width):
                    a = math.exp(-st[d] * ln[d])
                    value = xt[d] + a * (hn[d] - xt[d])
                    hn[d] = value
                    yt[d] += cn[d] * value


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def selective_backward(
    x: Array,
    z: Array,
    h: Array,
    rate: Array,
    c: Array,
    first: Mask,
    gy: Array,
    gh: Array,
    gx: Array,
    gz: Array,
    gr: Array,
    gc: Array,
) -> None:
    """Gradients of `selective_forward`; gh as in `ssm_backward`, gr and gc are added to."""
    time, batch, width = x.shape
    states = rate.shape[0]
    history = np.empty((time + 1, states, width), x.dtype)
    rest = np.zeros((states, width), x.dtype)
    decay = np.empty((time, states, width), x.dtype)
    step = np.empty((time, width), x.dtype)
    for b in range(batch):
        history[0] = h[b]
        for t in range(time):
            past = rest if first.size and first[t, b] else history[t]
            xt, zt, st = x[t, b], z[t, b], step[t]
            for d in range(width):
                st[d] = softplus(zt[d])
            for n in range(states):
                ln, old, new, an = rate[n], past[n], history[t + 1, n], decay[t, n]
                for d in range(width):
                    an[d] = math.exp(-st[d] * ln[d])
                for d in range(width):
                    new[d] = xt[d] + an[d] * (old[d] - xt[d])
        for t in range(time - 1, -1, -1):
            past = rest if first.size and first[t, b] else history[t]
            xt, zt, st, gyt, gxt, gst = x[t, b], z[t, b], step[t], gy[t, b], gx[t, b], gz[t, b]
            for d in range(width):
                gxt[d] = 0
                gst[d] = 0
            for n in range(states):
                ln, cn, old, new, an = rate[n], c[n], past[n], history[t + 1, n], decay[t, n]
                ghn, grn, gcn = gh[b, n], gr[n], gc[n]
                for d in range(width):
                    g = ghn[d] + gyt[d] * cn[d]
                    gcn[d] += gyt[d] * new[d]
                    exponent = -g * (old[d] - xt[d]) * an[d]
                    gst[d] += exponent * ln[d]
                    grn[d] += exponent * st[d]
                    gxt[d] += g * (1 - an[d])
                    ghn[d] = an[d] * g
            for d in range(width):
                gst[d] /= 1 + math.exp(-zt[d])
            if first.size and first[t, b]:
                gh[b] = 0
