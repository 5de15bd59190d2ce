"""Augmentation of a cochlea's spikes: another voice, another microphone, another room, the same word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, Sensor, empty_events, pick_events
from dvs_snn.learning.augment import check_draws, log_uniform

KNOTS = 6
"""Points of a random frequency response; it is linear between them."""


def shift_channels(
    events: Events, sensor: Sensor, shift: float, scale: float, deviation: float, rng: Generator
) -> Events:
    """Channels moved by `shift`, spread by `scale` about the last one, and each by a normal deviate.

    On a cochlea's axis, which is nearly logarithmic, a longer vocal tract shifts all formants alike.
    """
    channels = events["x"] + rng.random(len(events), np.float32)  # anywhere inside its channel
    channels = sensor.width - (sensor.width - channels) * np.float32(scale) + np.float32(shift)
    if deviation:
        channels += rng.standard_normal(len(events), np.float32) * np.float32(deviation)
    np.floor(channels, out=channels)
    inside = (channels >= 0) & (channels < sensor.width)
    moved = pick_events(events, inside)
    moved["x"] = channels[inside]
    return moved


def colour(events: Events, sensor: Sensor, levels: NDArray[np.float64], rng: Generator) -> Events:
    """Thinned by a frequency response: spikes are kept with probability `exp(level)`, levels at knots, at most 0."""
    knots = np.linspace(0, sensor.width, len(levels))
    keep = np.exp(np.interp(np.arange(sensor.width), knots, np.minimum(levels, 0.0))).astype(np.float32)
    return pick_events(events, rng.random(len(events), np.float32) < keep[events["x"]])


def mask_channels(events: Events, sensor: Sensor, width: float, rng: Generator) -> Events:
    """A band of channels of a random place, `width` wide, silenced (SpecAugment, Park et al. 2019)."""
    low = rng.uniform(0, sensor.width - width)
    return pick_events(events, (events["x"] < low) | (events["x"] >= low + width))


@dataclass(frozen=True)
class CochleaAugmentation:
    """Ranges from which each clip's changes are drawn, uniformly (scales: uniformly in the logarithm).

    In channels: `shift` either way, `scale` about the lowest tone, `jitter` (largest deviation per spike), `mask`
    (widest band silenced). `colour` is the deviation of a random frequency response in nepers. `time_scale` above one
    is slower, `delay_us` the longest silence before the recording, `jitter_us` the largest deviation of a spike's time.
    `drop` is the largest share of spikes removed, `noise_hz` the largest rate of spikes added, per channel.
    """

    shift: float = 25.0
    scale: tuple[float, float] = (1.0, 1.0)
    jitter: float = 5.0
    mask: float = 80.0
    colour: float = 0.5
    time_scale: tuple[float, float] = (0.8, 1.25)
    delay_us: float = 50_000.0
    jitter_us: float = 3000.0
    drop: float = 0.4
    noise_hz: float = 1.5
    name: Literal["cochlea"] = "cochlea"

    def __post_init__(self) -> None:
        check_draws(
            self,
            spans=("scale", "time_scale"),
            shares=("drop",),
            amounts=("shift", "jitter", "mask", "colour", "delay_us", "jitter_us", "noise_hz"),
        )

    def draw_time_scale(self, rng: Generator) -> float:
        """The factor by which a clip's time is stretched; the caller needs it before it cuts the clip."""
        return log_uniform(self.time_scale, rng)

    def __call__(
        self, events: Events, label: int, sensor: Sensor, start_us: int, end_us: int, rng: Generator
    ) -> tuple[Events, int]:
        """The clip's spikes changed, unsorted, inside the sensor and the clip's interval; the label stays."""
        if self.mask > sensor.width:
            raise ConfigError(f"augment.mask {self.mask:g} is wider than the {sensor.width} channels")
        if self.colour:
            levels = rng.normal(0.0, self.colour, KNOTS)
            events = colour(events, sensor, levels - levels.min() * rng.random(), rng)
        keep = np.float32(1.0 - self.drop * rng.random() * rng.random())
        events = pick_events(events, rng.random(len(events), np.float32) < keep)
        shift, scale = rng.uniform(-self.shift, self.shift), log_uniform(self.scale, rng)
        events = shift_channels(events, sensor, shift, scale, self.jitter * rng.random(), rng)
        events = self._late(events, start_us, end_us, rng)
        last_us = int(events["t"].max()) if len(events) else start_us
        count = int(rng.poisson(self.noise_hz * rng.random() ** 2 * sensor.width * (last_us - start_us) * 1e-6))
        noise = empty_events(count)
        noise["t"] = rng.integers(start_us, last_us + 1, count)
        noise["x"], noise["y"], noise["p"] = rng.integers(0, sensor.width, count), 0, True
        events = np.concatenate([events, noise]) if count else events
        return mask_channels(events, sensor, rng.uniform(0, self.mask), rng) if self.mask else events, label

    def _late(self, events: Events, start_us: int, end_us: int, rng: Generator) -> Events:
        """Spikes delayed together and each by its own deviate; those that leave the clip are lost."""
        times = events["t"] + rng.uniform(0, self.delay_us)
        times += rng.standard_normal(len(events)) * (self.jitter_us * rng.random())
        inside = (times >= start_us) & (times < end_us)
        late = pick_events(events, inside)
        late["t"] = times[inside]
        return late
