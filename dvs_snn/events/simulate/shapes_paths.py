"""How shapes travel: random smooth paths, each a function of time that gives position and its exact derivative.

A path is chosen by name from `PATHS`, stays within a region (which may be larger than the image, so that a shape
leaves and comes back) and moves at about a given speed. Some can be told to be at a place at a time: two shapes told
the same place and time cross there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]
Path = Callable[[Array], tuple[Array, Array]]
"""Seconds [n] in; positions [n, 2] in px and velocities [n, 2] in px/s out."""

PATHS = ("line", "sines", "circle", "spline", "stops", "still")
MEETING_PATHS = ("line", "circle", "spline")


@dataclass(frozen=True)
class Region:
    """Where the middle of a shape may be, in px: two corners (x, y)."""

    low: Array
    high: Array

    @property
    def span(self) -> Array:
        return np.asarray(self.high - self.low)

    def point(self, rng: Generator, share: float = 1.0) -> Array:
        """A random point in the middle `share` of the region."""
        return np.asarray(self.low + self.span * (0.5 + share * (rng.random(2) - 0.5)))


@dataclass(frozen=True)
class Meeting:
    """A place (x, y) in px where a path must be at a time."""

    time_s: float
    at: Array


def random_path(
    rng: Generator, kind: str, region: Region, speed: float, seconds: float, meeting: Meeting | None = None
) -> Path:
    """A path of `kind` at about `speed` px/s for `seconds`; `meeting` holds for `MEETING_PATHS`."""
    if kind == "still" or speed <= 0:
        return _still(region.point(rng))
    if kind == "line":
        return _line(rng, region, speed, seconds, meeting)
    if kind == "sines":
        return _sines(rng, region, speed)
    if kind == "circle":
        return _circle(rng, region, speed, meeting)
    if kind == "spline":
        return _spline(rng, region, speed, seconds, meeting)
    return _with_stops(rng, random_path(rng, str(rng.choice(MEETING_PATHS)), region, speed, seconds), seconds)


def _still(at: Array) -> Path:
    def path(t: Array) -> tuple[Array, Array]:
        return np.tile(at, (len(t), 1)), np.zeros((len(t), 2))

    return path


def _line(rng: Generator, region: Region, speed: float, seconds: float, meeting: Meeting | None) -> Path:
    """Constant velocity, with bounces at the region's borders."""
    meeting = meeting or Meeting(rng.uniform(0, seconds), region.point(rng, 0.8))
    angle = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(angle), np.sin(angle)])
    period = 2 * region.span

    def path(t: Array) -> tuple[Array, Array]:
        z = np.mod(meeting.at - region.low + (t[:, None] - meeting.time_s) * velocity, period)
        back = z > region.span
        return region.low + np.where(back, period - z, z), np.where(back, -velocity, velocity)

    return path


def _sines(rng: Generator, region: Region, speed: float) -> Path:
    """A slow sinusoid in x and in y with one or two of its (not quite) harmonics."""
    count = int(rng.integers(2, 4))
    rate = np.sort(rng.uniform(0.7, 2.4, (count, 2)), axis=0)
    size = rng.uniform(0.3, 1.0, (count, 2)) / rate
    size *= rng.uniform(0.35, 1.0) * region.span / 2 / size.sum(axis=0)
    base = speed / (2 * np.pi * np.sqrt(np.sum((size * rate) ** 2) / 2))  # rms speed of the sum is `speed`
    omega = 2 * np.pi * base * rate
    phase = rng.uniform(0, 2 * np.pi, (count, 2))
    middle = (region.low + region.high) / 2 + rng.uniform(-0.5, 0.5, 2) * (region.span - 2 * size.sum(axis=0))

    def path(t: Array) -> tuple[Array, Array]:
        turn = omega * t[:, None, None] + phase
        return middle + np.sum(size * np.sin(turn), axis=1), np.sum(size * omega * np.cos(turn), axis=1)

    return path


def _circle(rng: Generator, region: Region, speed: float, meeting: Meeting | None) -> Path:
    """A circle at constant speed, like a dot on a turning disc."""
    radius = float(rng.uniform(0.15, 0.5) * region.span.min())
    omega = speed / radius * rng.choice([-1.0, 1.0])
    phase = rng.uniform(0, 2 * np.pi)
    room = np.maximum(region.span / 2 - radius, 0)
    middle = (region.low + region.high) / 2 + rng.uniform(-1, 1, 2) * room
    if meeting is not None:
        towards = np.arctan2(*(meeting.at - (region.low + region.high) / 2)[::-1])  # the middle lies on the inner side
        middle = meeting.at - radius * np.array([np.cos(towards), np.sin(towards)])
        phase = towards - omega * meeting.time_s

    def path(t: Array) -> tuple[Array, Array]:
        turn = omega * t + phase
        unit = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        return middle + radius * unit, radius * omega * np.stack([-unit[:, 1], unit[:, 0]], axis=-1)

    return path


def _spline(rng: Generator, region: Region, speed: float, seconds: float, meeting: Meeting | None) -> Path:
    """A cubic spline through random places, with turns; the speed differs from leg to leg."""
    start, legs = meeting or Meeting(0.0, region.point(rng)), []
    for direction in (1.0, -1.0):
        at, time, knots = start.at, start.time_s, []
        heading = rng.uniform(0, 2 * np.pi)
        while -0.3 < time < seconds + 0.3:
            heading += rng.normal(0, 0.9)
            length = float(rng.uniform(0.15, 0.5) * region.span.min())
            aim = at + length * np.array([np.cos(heading), np.sin(heading)])
            if np.any(aim < region.low) or np.any(aim > region.high):  # turn back towards some place within
                towards = region.point(rng, 0.7) - at
                heading = float(np.arctan2(towards[1], towards[0]))
                aim = np.clip(at + length * np.array([np.cos(heading), np.sin(heading)]), region.low, region.high)
            length = max(float(np.hypot(*(aim - at))), 0.05 * float(region.span.min()))
            time += direction * length / (speed * np.exp(rng.normal(0, 0.25)))
            at = aim
            knots.append((time, at))
        legs.append(knots)
    knots = [*legs[1][::-1], (start.time_s, start.at), *legs[0]]
    spline = CubicSpline([time for time, _ in knots], np.array([at for _, at in knots]))
    slope = spline.derivative()

    def path(t: Array) -> tuple[Array, Array]:
        return np.asarray(spline(t)), np.asarray(slope(t))

    return path


def _with_stops(rng: Generator, path: Path, seconds: float) -> Path:
    """The same track, with rests: its own time runs at a pace between 0 and 1 that ramps within 30 to 150 ms."""
    times, paces, now = [0.0], [1.0], 0.0
    while now < seconds:
        go, ramp, rest = rng.uniform(0.25, 0.9), rng.uniform(0.03, 0.15), rng.uniform(0.1, 0.5)
        times += [now + go, now + go + ramp, now + go + ramp + rest, now + go + 2 * ramp + rest]
        paces += [1.0, 0.0, 0.0, 1.0]
        now = times[-1]
    at, pace = np.array(times), np.array(paces)
    passed = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]) * np.diff(at))])

    def stopping(t: Array) -> tuple[Array, Array]:
        k = np.clip(np.searchsorted(at, t, side="right") - 1, 0, len(at) - 2)
        current = np.interp(t, at, pace)
        own = passed[k] + 0.5 * (pace[k] + current) * (t - at[k])  # exact integral of the pace
        position, velocity = path(own)
        return position, velocity * current[:, None]

    return stopping
