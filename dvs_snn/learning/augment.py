"""Event-level augmentation of what a camera sees: what may change and leave the class.

Functions of events and a random generator; the random choice of their strengths is `Augmentation`. Used in training
alone: validation, evaluation and replay see recordings as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, Sensor, copy_events, empty_events, pick_events

MIRRORED = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10)
"""The class that a mirror makes of each of Tonic's gesture labels.

A mirror exchanges the hands and turns clockwise into counter-clockwise, so right arm clockwise (3) becomes left arm
counter-clockwise (6). Clapping, arm roll, drums, guitar (then played left-handed) and "other" stay what they are.
"""


@runtime_checkable
class Augments(Protocol):
    """Changes clips in training: how far time is stretched, which the caller does before it cuts, and all else."""

    @property
    def name(self) -> str: ...

    def draw_time_scale(self, rng: Generator) -> float: ...

    def __call__(
        self, events: Events, label: int, sensor: Sensor, start_us: int, end_us: int, rng: Generator
    ) -> tuple[Events, int]: ...


def mirror(events: Events, sensor: Sensor) -> Events:
    """Left and right exchanged; pair with `MIRRORED` for the label."""
    events = copy_events(events)
    events["x"] = sensor.width - 1 - events["x"]
    return events


def thin(events: Events, keep_on: float, keep_off: float, rng: Generator) -> Events:
    """Each event kept with the probability of its polarity."""
    if keep_on >= 1.0 and keep_off >= 1.0:
        return events
    keep = np.where(events["p"], np.float32(keep_on), np.float32(keep_off))
    return pick_events(events, rng.random(len(events), np.float32) < keep)


def move(
    events: Events, sensor: Sensor, shift_px: tuple[float, float], scale: float, angle_deg: float, rng: Generator
) -> Events:
    """Rotated (clockwise in the image for a positive angle) and scaled about the sensor's centre, then shifted.

    An edge sweeps an area that grows with `scale**2`, and so do its events: they are thinned or repeated at that rate.
    A position is drawn within its pixel before it is moved, so that enlarging leaves no grid of empty rows.
    """
    events = _times(events, scale * scale, rng)
    n = len(events)
    centre_x, centre_y = sensor.width / 2, sensor.height / 2
    x = events["x"] + rng.random(n, np.float32) - np.float32(centre_x)
    y = events["y"] + rng.random(n, np.float32) - np.float32(centre_y)
    c, s = np.float32(scale * cos(radians(angle_deg))), np.float32(scale * sin(radians(angle_deg)))
    new_x = np.floor(c * x - s * y + np.float32(centre_x + shift_px[0]))
    new_y = np.floor(s * x + c * y + np.float32(centre_y + shift_px[1]))
    inside = (new_x >= 0) & (new_x < sensor.width) & (new_y >= 0) & (new_y < sensor.height)
    moved = pick_events(events, inside)
    moved["x"] = new_x[inside]
    moved["y"] = new_y[inside]
    return moved


def stretch(events: Events, factor: float, start_us: int = 0) -> Events:
    """Times since `start_us` multiplied by `factor`, so that `start_us` becomes zero: above one is slower.

    The number of events stays the same: the same edges cross the same pixels.
    """
    events = copy_events(events)
    events["t"] -= start_us
    if factor != 1.0:
        events["t"] = np.floor(events["t"] * factor)
    return events


def jitter(events: Events, deviation_us: float, start_us: int, end_us: int, rng: Generator) -> Events:
    """Times moved by a normal deviate, held inside the interval; unsorted."""
    events = copy_events(events)
    moved = events["t"] + rng.standard_normal(len(events), np.float32) * np.float32(deviation_us)
    events["t"] = np.clip(np.rint(moved), start_us, end_us - 1)
    return events


def add_noise(
    events: Events, sensor: Sensor, start_us: int, end_us: int, rate_hz: float, on_share: float, rng: Generator
) -> Events:
    """Background activity added: `rate_hz` events per pixel and second, anywhere, at any time; unsorted."""
    pixels = sensor.width * sensor.height
    count = int(rng.poisson(rate_hz * pixels * (end_us - start_us) * 1e-6))
    noise = empty_events(count)
    noise["t"] = rng.integers(start_us, end_us, count)
    noise["x"] = rng.integers(0, sensor.width, count)
    noise["y"] = rng.integers(0, sensor.height, count)
    noise["p"] = rng.random(count, np.float32) < on_share
    return np.concatenate([events, noise]) if count else events


def add_hot_pixels(
    events: Events, sensor: Sensor, start_us: int, end_us: int, pixels: int, rate_hz: float, rng: Generator
) -> Events:
    """`pixels` places that fire all the time, each at its own rate around `rate_hz` and of one polarity; unsorted."""
    if pixels == 0 or not rate_hz:
        return events
    counts = rng.poisson(rng.exponential(rate_hz, pixels) * (end_us - start_us) * 1e-6)
    hot = empty_events(int(counts.sum()))
    hot["t"] = rng.integers(start_us, end_us, len(hot))
    hot["x"] = np.repeat(rng.integers(0, sensor.width, pixels), counts)
    hot["y"] = np.repeat(rng.integers(0, sensor.height, pixels), counts)
    hot["p"] = np.repeat(rng.random(pixels) < 0.8, counts)
    return np.concatenate([events, hot])


def _times(events: Events, factor: float, rng: Generator) -> Events:
    """Each event kept or repeated so that `factor` of them are there on average."""
    if factor == 1.0:
        return events
    if factor < 1.0:
        return pick_events(events, rng.random(len(events), np.float32) < np.float32(factor))
    whole = int(factor)
    copies = whole + (rng.random(len(events), np.float32) < np.float32(factor - whole)).astype(np.int64)
    return pick_events(events, np.repeat(np.arange(len(events)), copies))


def check_draws(augmentation: object, *, spans: Sequence[str], shares: Sequence[str], amounts: Sequence[str]) -> None:
    """Raise `ConfigError` for the first attribute that is not 0 < low <= high, in 0 to 1, or not negative."""
    for name in spans:
        low, high = getattr(augmentation, name)
        if not 0 < low <= high:
            raise ConfigError(f"augment.{name}: need 0 < low <= high, not {low} and {high}")
    for name in shares:
        if not 0 <= getattr(augmentation, name) <= 1:
            raise ConfigError(f"augment.{name} is a share: must lie in 0..1")
    for name in amounts:
        if getattr(augmentation, name) < 0:
            raise ConfigError(f"augment.{name} must not be negative")


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each clip's changes are drawn, uniformly (scale and speed: uniformly in the logarithm).

    `mirror` is a probability; it needs the gestures' labels, of which it is known what a mirror makes. `time_scale`
    above one is slower. `drop` is the largest share of events removed, `drop_polarity` the largest further share
    removed from one polarity. `noise_hz` is per pixel; `hot_pixels` the largest number of them. `jitter_us` is the
    largest standard deviation of the events' times. A range of equal ends, or zero, switches an entry off.
    """

    mirror: float = 0.0
    shift_px: float = 10.0
    scale: tuple[float, float] = (0.8, 1.25)
    rotate_deg: float = 8.0
    time_scale: tuple[float, float] = (0.7, 1.4)
    drop: float = 0.6
    drop_polarity: float = 0.3
    noise_hz: float = 3.0
    hot_pixels: int = 5
    hot_rate_hz: float = 100.0
    jitter_us: float = 0.0
    name: Literal["camera"] = "camera"

    def __post_init__(self) -> None:
        check_draws(
            self,
            spans=("scale", "time_scale"),
            shares=("mirror", "drop", "drop_polarity"),
            amounts=("shift_px", "rotate_deg", "noise_hz", "hot_pixels", "hot_rate_hz", "jitter_us"),
        )

    def draw_time_scale(self, rng: Generator) -> float:
        """The factor by which a clip's time is stretched; the caller needs it before it cuts the clip."""
        return log_uniform(self.time_scale, rng)

    def __call__(
        self, events: Events, label: int, sensor: Sensor, start_us: int, end_us: int, rng: Generator
    ) -> tuple[Events, int]:
        """The clip's events and label changed; events come back unsorted, inside the sensor and the clip's interval."""
        keep = 1.0 - self.drop * rng.random() * rng.random()  # most clips lose little, some lose most
        fade = 1.0 - self.drop_polarity * rng.random()
        keep_on, keep_off = (keep, keep * fade) if rng.random() < 0.5 else (keep * fade, keep)
        events = thin(events, keep_on, keep_off, rng)
        if rng.random() < self.mirror:
            events, label = mirror(events, sensor), MIRRORED[label]
        shift_px = (rng.uniform(-self.shift_px, self.shift_px), rng.uniform(-self.shift_px, self.shift_px))
        scale = log_uniform(self.scale, rng)
        angle_deg = rng.uniform(-self.rotate_deg, self.rotate_deg)
        if shift_px != (0.0, 0.0) or scale != 1.0 or angle_deg != 0.0:
            events = move(events, sensor, shift_px, scale, angle_deg, rng)
        if self.jitter_us:
            events = jitter(events, self.jitter_us * rng.random(), start_us, end_us, rng)
        rate_hz = self.noise_hz * rng.random() * rng.random()
        events = add_noise(events, sensor, start_us, end_us, rate_hz, rng.random(), rng)
        pixels = int(rng.integers(0, self.hot_pixels + 1))
        return add_hot_pixels(events, sensor, start_us, end_us, pixels, self.hot_rate_hz, rng), label


def log_uniform(bounds: tuple[float, float], rng: Generator) -> float:
    """A number between the bounds whose logarithm is uniform."""
    low, high = bounds
    return float(low * (high / low) ** rng.random())
