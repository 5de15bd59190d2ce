"""Kalman filter of a target on variable time steps: constant velocity, or coordinated turn; compiled, one at a time.

State (x, y, vx, vy, omega): px, px/s and rad/s. With omega and its variance 0 the filter is the linear one of constant
velocity; otherwise it is the extended filter of the coordinated turn (Bar-Shalom, Li & Kirubarajan 2001, 11.7).
Process noise is continuous white noise of acceleration (`q`, px^2/s^3) and of the turn rate's change (`q_omega`,
rad^2/s^3), so that two short steps equal one long step. `mean` is [5], `covariance` [5, 5]; both are changed in place.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

STATE = ("x", "y", "vx", "vy", "omega")


@njit(cache=True, nogil=True)
def predict(mean, covariance, dt_s, q, q_omega):  # type: ignore[no-untyped-def]
    """Move the state `dt_s` ahead: m <- f(m), P <- F P F' + Q."""
    vx, vy, omega = mean[2], mean[3], mean[4]
    turn = omega * dt_s
    if abs(turn) < 1e-6:  # series: sin(wt)/w and (1 - cos(wt))/w lose all digits at w = 0
        s, c = dt_s, 0.5 * omega * dt_s * dt_s
        ds, dc = -omega * dt_s**3 / 3.0, 0.5 * dt_s * dt_s
        cos, sin = 1.0, turn
    else:
        cos, sin = math.cos(turn), math.sin(turn)
        s, c = sin / omega, (1.0 - cos) / omega
        ds, dc = (dt_s * cos - s) / omega, (dt_s * sin - c) / omega
    mean[0] += s * vx - c * vy
    mean[1] += c * vx + s * vy
    mean[2], mean[3] = cos * vx - sin * vy, sin * vx + cos * vy
    # derivatives by omega
    f04, f14 = ds * vx - dc * vy, dc * vx + ds * vy
    f24, f34 = -dt_s * (sin * vx + cos * vy), dt_s * (cos * vx - sin * vy)
    p = covariance
    for j in range(5):  # F P: rows
        a2, a3, a4 = p[2, j], p[3, j], p[4, j]
        p[0, j] += s * a2 - c * a3 + f04 * a4
        p[1, j] += c * a2 + s * a3 + f14 * a4
        p[2, j] = cos * a2 - sin * a3 + f24 * a4
        p[3, j] = sin * a2 + cos * a3 + f34 * a4
    for i in range(5):  # (F P) F': columns
        a2, a3, a4 = p[i, 2], p[i, 3], p[i, 4]
        p[i, 0] += s * a2 - c * a3 + f04 * a4
        p[i, 1] += c * a2 + s * a3 + f14 * a4
        p[i, 2] = cos * a2 - sin * a3 + f24 * a4
        p[i, 3] = sin * a2 + cos * a3 + f34 * a4
    q1, q2, q3 = q * dt_s, q * dt_s * dt_s / 2.0, q * dt_s**3 / 3.0
    for i in range(2):
        p[i, i] += q3
        p[i, i + 2] += q2
        p[i + 2, i] += q2
        p[i + 2, i + 2] += q1
    p[4, 4] += q_omega * dt_s


@njit(cache=True, nogil=True)
def correct(mean, covariance, dx, dy, age_s, variance):  # type: ignore[no-untyped-def]
    """Take a measured position that is `age_s` old; returns the squared Mahalanobis distance of the innovation.

    `dx, dy` is the innovation: the measured position less the state's position at that time. To first order the state
    then was at p - age v, so H = [I, -age I, 0]: what a window of events measured at its middle is not late. Joseph's
    form keeps the covariance positive.
    """
    p = covariance
    gain = np.empty((5, 2))
    ph = np.empty((5, 2))  # P H'
    for i in range(5):
        ph[i, 0] = p[i, 0] - age_s * p[i, 2]
        ph[i, 1] = p[i, 1] - age_s * p[i, 3]
    s00 = ph[0, 0] - age_s * ph[2, 0] + variance
    s01 = ph[0, 1] - age_s * ph[2, 1]
    s11 = ph[1, 1] - age_s * ph[3, 1] + variance
    det = s00 * s11 - s01 * s01
    i00, i01, i11 = s11 / det, -s01 / det, s00 / det
    for i in range(5):
        gain[i, 0] = ph[i, 0] * i00 + ph[i, 1] * i01
        gain[i, 1] = ph[i, 0] * i01 + ph[i, 1] * i11
    for i in range(5):
        mean[i] += gain[i, 0] * dx + gain[i, 1] * dy
    # Joseph: (I - K H) P (I - K H)' + K R K' = P - K ph' - ph K' + K S K'
    for i in range(5):
        for j in range(i, 5):
            value = (
                p[i, j]
                - gain[i, 0] * ph[j, 0]
                - gain[i, 1] * ph[j, 1]
                - ph[i, 0] * gain[j, 0]
                - ph[i, 1] * gain[j, 1]
                + gain[i, 0] * (s00 * gain[j, 0] + s01 * gain[j, 1])
                + gain[i, 1] * (s01 * gain[j, 0] + s11 * gain[j, 1])
            )
            p[i, j] = value
            p[j, i] = value
    return dx * (i00 * dx + i01 * dy) + dy * (i01 * dx + i11 * dy)


@njit(cache=True, nogil=True)
def start(mean, covariance, x, y, vx, vy, position_sd, speed_sd, omega_sd):  # type: ignore[no-untyped-def]
    """A fresh state with independent uncertainties (standard deviations in px, px/s, rad/s)."""
    mean[0], mean[1], mean[2], mean[3], mean[4] = x, y, vx, vy, 0.0
    covariance[:] = 0.0
    covariance[0, 0] = covariance[1, 1] = position_sd * position_sd
    covariance[2, 2] = covariance[3, 3] = speed_sd * speed_sd
    covariance[4, 4] = omega_sd * omega_sd


@njit(cache=True, nogil=True)
def advance(means, covariances, dt_s, turn_px):  # type: ignore[no-untyped-def]
    """Move states of constant velocity `dt_s` ahead; white acceleration as of turns of radius `turn_px` at their speed.

    A turn of radius r at speed v lasts about r/v and accelerates by v^2/r: density v^3/r.
    """
    for k in range(means.shape[0]):
        speed = math.sqrt(means[k, 2] ** 2 + means[k, 3] ** 2) + 50.0
        predict(means[k], covariances[k], dt_s, speed**3 / turn_px, 0.0)


@njit(cache=True, nogil=True)
def measure(mean, covariance, x, y, position_sd, vx, vy, speed_sd):  # type: ignore[no-untyped-def]
    """Take a measured position and velocity, their errors independent: one scalar correction after the other."""
    for i, value, sd in ((0, x, position_sd), (1, y, position_sd), (2, vx, speed_sd), (3, vy, speed_sd)):
        column = covariance[:, i].copy()
        variance = column[i] + sd * sd
        step = (value - mean[i]) / variance
        for a in range(5):
            mean[a] += column[a] * step
        for a in range(5):
            for b in range(5):
                covariance[a, b] -= column[a] * column[b] / variance
