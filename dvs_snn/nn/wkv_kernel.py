"""Compiled scans of the WKV average and of linear attention (CPU); conventions of `ssm_kernel`."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from dvs_snn.nn.ssm_kernel import Array, Mask


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def wkv_forward(k: Array, v: Array, a: Array, b: Array, p: Array, w: Array, u: Array, first: Mask, y: Array) -> None:
    """`y = (A + e^{u+k} v) / (B + e^{u+k})`, then `A <- e^w A + e^k v`, `B <- e^w B + e^k`; w <= 0.

    The sums are kept as `A = a e^p`, `B = b e^p` with p their largest exponent, so nothing overflows; b = 0 is rest.
    """
    time, batch, width = k.shape
    for row in range(batch):
        ar, br, pr = a[row], b[row], p[row]
        for t in range(time):
            if first.size and first[t, row]:
                a[row] = 0
                b[row] = 0
                p[row] = 0
            kt, vt, yt = k[t, row], v[t, row], y[t, row]
            for d in range(width):
                if br[d] == 0:
                    yt[d] = vt[d]
                    ar[d] = vt[d]
                    br[d] = 1
                    pr[d] = kt[d]
                    continue
                q = max(pr[d], u[d] + kt[d])
                old, new = math.exp(pr[d] - q), math.exp(u[d] + kt[d] - q)
                yt[d] = (old * ar[d] + new * vt[d]) / (old * br[d] + new)
                q = max(pr[d] + w[d], kt[d])
                old, new = math.exp(pr[d] + w[d] - q), math.exp(kt[d] - q)
                ar[d] = old * ar[d] + new * vt[d]
                br[d] = old * br[d] + new
                pr[d] = q


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def wkv_backward(
    k: Array,
    v: Array,
    a: Array,
    b: Array,
    p: Array,
    w: Array,
    u: Array,
    first: Mask,
    gy: Array,
    ga: Array,
    gb: Array,
    gp: Array,
    gk: Array,
    gv: Array,
    gw: Array,
    gu: Array,
) -> None:
    """Gradients of `wkv_forward`; ga and gb are those of A and B in units of e^-p, and p itself has none at the end.

    (a, b, p) and (a e^c, b e^c, p - c) are the same sums, so what follows a scan feels p through a and b alone.
    """
    time, batch, width = k.shape
    past = np.empty((time + 1, 3, width), k.dtype)
    for row in range(batch):
        past[0, 0], past[0, 1], past[0, 2] = a[row], b[row], p[row]
        for t in range(time):
            fresh = first.size and first[t, row]
            for d in range(width):
                if fresh:
                    past[t, 1, d] = 0
                kd, vd, ad, bd, pd = k[t, row, d], v[t, row, d], past[t, 0, d], past[t, 1, d], past[t, 2, d]
                if bd == 0:
                    past[t + 1, 0, d], past[t + 1, 1, d], past[t + 1, 2, d] = vd, 1, kd
                    continue
                q = max(pd + w[d], kd)
                old, new = math.exp(pd + w[d] - q), math.exp(kd - q)
                past[t + 1, 0, d] = old * ad + new * vd
                past[t + 1, 1, d] = old * bd + new
                past[t + 1, 2, d] = q
        for t in range(time - 1, -1, -1):
            for d in range(width):
                kd, vd, g = k[t, row, d], v[t, row, d], gy[t, row, d]
                ad, bd, pd = past[t, 0, d], past[t, 1, d], past[t, 2, d]
                alpha, beta = ga[row, d], gb[row, d]
                if bd == 0:
                    gv[t, row, d] = g + alpha
                    gk[t, row, d] = alpha * vd + beta
                    ga[row, d], gb[row, d] = 0, 0
                    continue
                q = max(pd + w[d], kd)
                old, new = math.exp(pd + w[d] - q), math.exp(kd - q)
                gv[t, row, d] = alpha * new
                gk[t, row, d] = new * (alpha * vd + beta)
                gw[d] += old * (alpha * ad + beta * bd)
                alpha, beta = alpha * old, beta * old
                q = max(pd, u[d] + kd)
                old, new = math.exp(pd - q), math.exp(u[d] + kd - q)
                total = old * bd + new
                y = (old * ad + new * vd) / total
                gv[t, row, d] += g * new / total
                bonus = g * (vd - y) * new / total
                gk[t, row, d] += bonus
                gu[d] += bonus
                ga[row, d] = alpha + g * old / total
                gb[row, d] = beta - g * y * old / total
        for d in range(width):
            gp[row, d] = a[row, d] * ga[row, d] + b[row, d] * gb[row, d]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def linear_attention_forward(q: Array, k: Array, v: Array, s: Array, decay: Array, first: Mask, y: Array) -> None:
    """`S <- λ S + kᵀ v`, `y = q S` per head; q, k, v, y [time, batch, heads, d], s [batch, heads, d, d], decay [heads].

    Where q or k is zero, as in most places of spikes, nothing is computed.
    """
    time, batch, heads, width = q.shape
    for b in range(batch):
        for t in range(time):
            if first.size and first[t, b]:
                s[b] = 0
            for h in range(heads):
                vh, yh = v[t, b, h], y[t, b, h]
                for j in range(width):
                    yh[j] = 0
                for i in range(width):
                    row, ki, qi = s[b, h, i], k[t, b, h, i], q[t, b, h, i]
                    for j in range(width):
                        row[j] *= decay[h]
                    if ki != 0:
                        for j in range(width):
                            row[j] += ki * vh[j]
                    if qi != 0:
                        for j in range(width):
                            yh[j] += qi * row[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def linear_attention_backward(
    q: Array,
    k: Array,
    v: Array,
    s: Array,
    decay: Array,
    first: Mask,
    gy: Array,
    gs: Array,
    gq: Array,
    gk: Array,
    gv: Array,
    gdecay: Array,
) -> None:
    """Gradients of `linear_attention_forward`; gs of the end state becomes that of the start, gdecay is added to."""
    time, batch, heads, width = q.shape
    history = np.empty((time + 1, width, width), q.dtype)
    rest = np.zeros((width, width), q.dtype)
    for b in range(batch):
        for h in range(heads):
            history[0] = s[b, h]
            for t in range(time):
                past = rest if first.size and first[t, b] else history[t]
                now, kt, vt = history[t + 1], k[t, b, h], v[t, b, h]
                for i in range(width):
                    for j in range(width):
                        now[i, j] = decay[h] * past[i, j] + kt[i] * vt[j]
            g = gs[b, h]
            for t in range(time - 1, -1, -1):
                fresh = first.size and first[t, b]
                past = rest if fresh else history[t]
                now, kt, vt, qt, gyt = history[t + 1], k[t, b, h], v[t, b, h], q[t, b, h], gy[t, b, h]
                gvt = gv[t, b, h]
                for j in range(width):
                    gvt[j] = 0
                shared = gdecay[h]
                for i in range(width):
                    read = gyt[0] * 0
                    written = read
                    kept = read
                    for j in range(width):
                        gij = g[i, j] + qt[i] * gyt[j]
                        read += now[i, j] * gyt[j]
                        written += gij * vt[j]
                        kept += gij * past[i, j]
                        gvt[j] += gij * kt[i]
                        g[i, j] = decay[h] * gij
                    gq[t, b, h, i] = read
                    gk[t, b, h, i] = written
                    shared += kept
                gdecay[h] = shared
                if fresh:
                    gs[b, h] = 0
