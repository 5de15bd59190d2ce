"""How a body moves over time: the arrays every gesture fills, and the random smooth signals it is made of.

Arms are given in the coordinates of their own side: `out` away from the body's middle, `down`, `forward` towards the
camera, from the shoulder joint, in metres. So one formula serves both arms and left and right cannot be mixed up: index
0 is the subject's right arm (the image's left), index 1 the left arm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from dvs_snn.events.simulate.person import Person

Array = NDArray[np.float64]

RIGHT, LEFT = 0, 1


@dataclass
class Motion:
    """A body over `n` instants; arms as [2, n, 3] (out, down, forward), the rest as [n] or [n, 3]."""

    wrist: Array
    elbow_hint: Array  # the elbow lies in the plane of shoulder, wrist and this point, on its side
    hand: Array  # added to the forearm's unit direction before normalising: where the hand points
    palm_roll: Array  # [2, n], radians; turns the fan of fingers about the hand's direction
    neck: Array  # [n, 3] displacement of the point between the shoulders: x to the image's right, down, forward
    hip_x: Array
    yaw: Array  # radians, positive turns the chest to the image's right
    shrug: Array  # [2, n] metres upwards, each shoulder
    head: Array  # [n, 3] displacement on top of the neck's
    head_yaw: Array
    head_nod: Array
    fingers: Array  # [2, n] 0 fist .. 1 spread, multiplies the person's own


@dataclass(frozen=True)
class Clock:
    """The instants of a recording in seconds, a random source, and the body that will perform."""

    t: Array
    rng: Generator
    person: Person

    @property
    def reach(self) -> float:
        """Length of the arm to the wrist, in metres."""
        return self.person.upper_arm + self.person.forearm

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def wander(self, deviation: float, every_s: float) -> Array:
        """Smooth random signal: a cubic spline through Gaussian knots `every_s` apart."""
        span = self.t[-1] - self.t[0] + 4 * every_s
        knots = max(5, int(np.ceil(span / every_s)) + 2)
        at = self.t[0] - every_s * (1 + self.rng.random()) + every_s * np.arange(knots + 2)
        return np.asarray(CubicSpline(at, deviation * self.rng.standard_normal(len(at)))(self.t))

    def phase(self, hertz: float, drift: float = 0.08) -> Array:
        """Rising phase in radians from a random start: the rate wanders slowly and differs from cycle to cycle."""
        rate = hertz * np.exp(self.wander(drift, 1.2) + self.wander(0.6 * drift, 1.0 / hertz))
        step = np.diff(self.t, prepend=self.t[0])
        return self.uniform(0, 2 * np.pi) + 2 * np.pi * np.cumsum(rate * step)

    def amplitude(self, mean: float, deviation: float = 0.1) -> Array:
        """A positive amplitude that breathes around its mean."""
        return mean * np.exp(np.clip(self.wander(deviation, self.uniform(0.4, 1.0)), -0.5, 0.5))

    def constant(self, *values: float) -> Array:
        """A point that stays, as [n, 3]."""
        return np.tile(np.array(values, float), (len(self.t), 1))

    def path(self, out: Array | float, down: Array | float, forward: Array | float) -> Array:
        """Three signals as one path [n, 3]."""
        n = len(self.t)
        return np.stack([np.broadcast_to(np.asarray(a, float), (n,)) for a in (out, down, forward)], axis=-1)

    def jitter(self, deviation: float) -> Array:
        """Small three-dimensional unrest of a held hand, [n, 3]."""
        every = self.uniform(0.25, 0.9)
        return np.stack([self.wander(deviation, every) for _ in range(3)], axis=-1)


def standing(clock: Clock) -> Motion:
    """A person who stands: arms hang (or rest on hip, belly, back), the body sways, the head moves a little."""
    n = len(clock.t)
    wrist, hint = np.empty((2, n, 3)), np.empty((2, n, 3))
    for side in (RIGHT, LEFT):
        wrist[side], hint[side] = resting_arm(clock)
    sway = clock.log_uniform(0.001, 0.012)
    lively = clock.log_uniform(0.001, 0.012)
    neck = np.stack([clock.wander(sway, 0.9), clock.wander(0.35 * sway, 0.8), clock.wander(sway, 1.0)], axis=-1)
    neck[:, 1] += clock.log_uniform(0.0005, 0.003) * np.sin(clock.phase(0.3))  # breath
    head = np.stack([clock.wander(lively, 0.5), clock.wander(0.6 * lively, 0.5), np.zeros(n)], axis=-1)
    yaw = clock.rng.normal(0, 0.12)
    return Motion(
        wrist=wrist,
        elbow_hint=hint,
        hand=np.zeros((2, n, 3)) + clock.rng.normal(0, 0.12, (2, 1, 3)),
        palm_roll=np.zeros((2, n)) + clock.rng.uniform(-np.pi, np.pi, (2, 1)),
        neck=neck,
        hip_x=clock.rng.normal(0, 0.02) + clock.wander(0.4 * sway, 1.2),
        yaw=yaw + clock.wander(0.02, 0.8),
        shrug=np.zeros((2, n)),
        head=head,
        head_yaw=clock.rng.normal(0, 0.1) + clock.wander(3 * lively, 0.5),
        head_nod=clock.rng.normal(0, 0.06) + clock.wander(2 * lively, 0.5),
        fingers=np.ones((2, n)),
    )


def resting_arm(clock: Clock) -> tuple[Array, Array]:
    """Wrist and elbow hint of an arm that does nothing."""
    reach, u = clock.reach, clock.uniform
    pose = clock.rng.choice(["hang", "hip", "belly", "back"], p=[0.86, 0.04, 0.06, 0.04])
    if pose == "hang":
        at, hint = (u(0.0, 0.22) * reach, u(0.88, 0.985) * reach, u(-0.08, 0.25) * reach), (0.15, 0.5, u(-0.4, 0.0))
    elif pose == "hip":
        at, hint = (u(-0.05, 0.1) * reach, u(0.7, 0.8) * reach, u(0.0, 0.2) * reach), (0.6, 0.4, -0.1)
    elif pose == "belly":
        at, hint = (u(-0.45, -0.15) * reach, u(0.5, 0.75) * reach, u(0.25, 0.45) * reach), (0.4, 0.5, -0.1)
    else:
        at, hint = (u(-0.3, 0.0) * reach, u(0.75, 0.85) * reach, u(-0.3, -0.15) * reach), (0.5, 0.5, -0.3)
    path = clock.constant(*at) + clock.jitter(clock.log_uniform(0.001, 0.01))
    return path, clock.constant(*hint)


def direction(abduction: Array | float, azimuth: Array | float) -> Array:
    """Unit vector (out, down, forward); abduction 0 hangs, pi/2 is level, pi is up; azimuth pi/2 points forward."""
    abduction, azimuth = np.broadcast_arrays(np.asarray(abduction, float), np.asarray(azimuth, float))
    return np.stack(
        [np.sin(abduction) * np.cos(azimuth), np.cos(abduction), np.sin(abduction) * np.sin(azimuth)], axis=-1
    )


def follow_through(clock: Clock, motion: Motion) -> Motion:
    """What moving arms do to the rest: shoulders rise, torso and head are pulled along, the other arm swings."""
    reach = clock.reach
    pull = clock.log_uniform(0.004, 0.06)
    nod = clock.log_uniform(0.002, 0.03)
    total = np.zeros_like(motion.neck)
    for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
        path = motion.wrist[side] - motion.wrist[side].mean(axis=0)
        total += path * np.array([sign, 1.0, 1.0])
        motion.shrug[side] += 0.05 * np.clip(-motion.wrist[side, :, 1] / reach + 0.2, 0, 1)
    motion.neck += pull * total * np.array([1.0, 0.4, 0.5])
    motion.head += nod * total * np.array([clock.rng.choice([-1.0, 1.0]), 0.6, 0.0])
    motion.hip_x -= 0.3 * pull * total[:, 0]
    motion.head_yaw += 0.8 * nod * total[:, 0]
    for side in (RIGHT, LEFT):
        drag = clock.uniform(-0.04, 0.08)
        motion.wrist[side] += drag * total * np.array([0.5, 0.1, 0.5])
    return motion
