"""Filters: an event stream in, a cleaner or thinner one out.

A filter is a frozen dataclass: `filter(stream)` gives the filtered stream, `filter.start(sensor)` a function from
packet to packet for live use. Both carry state from packet to packet, so that where packets are cut changes nothing,
and neither changes its input. Filters that remember pixels drop events outside the sensor. A restart of the sensor's
clock (`stream.RESTART_US`) makes a filter forget. `FILTERS` names them for configurations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import filter_kernels
from dvs_snn.events.array import Events
from dvs_snn.events.filter_kernels import NEVER
from dvs_snn.events.stream import EventStream, Sensor

Step = Callable[[Events], Events]
"""From packet to packet, with a memory."""


@dataclass(frozen=True)
class Filter(ABC):
    """What all filters have in common."""

    def __call__(self, stream: EventStream) -> EventStream:
        """The filtered stream; it can be iterated again where `stream` can, and begins without memory each time."""
        sensor = stream.sensor
        return stream.through(lambda packets: _Filtered(packets, lambda: self.start(sensor)), self.sensor_after(sensor))

    def sensor_after(self, sensor: Sensor) -> Sensor:
        """Size of the filtered stream."""
        return sensor

    @abstractmethod
    def start(self, sensor: Sensor) -> Step:
        """A function that filters the packets of one stream, in order."""


@dataclass(frozen=True)
class BackgroundActivity(Filter):
    """Keeps an event only if one of its 8 neighbours fired at most `delay_us` before it (Delbruck 2008).

    The pixel itself does not count, so a hot pixel does not support itself. Dropped events support their neighbours.
    """

    delay_us: int = 10_000

    def __post_init__(self) -> None:
        _above_zero(self, "delay_us")

    def start(self, sensor: Sensor) -> Step:
        last = np.full((sensor.height + 2, sensor.width + 2), NEVER, np.int64)  # a border spares the kernel its tests
        return _masked(lambda packet, clock, keep: filter_kernels.support(packet, clock, keep, last, self.delay_us))


@dataclass(frozen=True)
class HotPixels(Filter):
    """Drops the events of listed pixels, and of pixels that fire faster than `rate_hz`.

    Time is cut at multiples of `period_us`. A pixel that has fired `rate_hz` times the period within one is silent for
    the rest of it; if it went on beyond that number, for the whole of the next one too.
    """

    pixels: tuple[tuple[int, int], ...] = ()
    rate_hz: float | None = None
    period_us: int = 100_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", tuple((int(x), int(y)) for x, y in self.pixels))
        _above_zero(self, "period_us")
        if self.rate_hz is not None and self._limit < 1:
            raise ConfigError("HotPixels: rate_hz times period_us must allow one event at least")

    @property
    def _limit(self) -> int:
        return (1 << 62) if self.rate_hz is None else int(self.rate_hz * self.period_us / 1e6)

    def start(self, sensor: Sensor) -> Step:
        shape = (sensor.height, sensor.width)
        listed = np.zeros(shape, np.bool_)
        for x, y in self.pixels:
            if not (0 <= x < sensor.width and 0 <= y < sensor.height):
                raise ConfigError(f"HotPixels: pixel ({x}, {y}) lies outside the sensor {sensor}")
            listed[y, x] = True
        memory = np.zeros((*shape, 3), np.int64)  # of a pixel: its period, events in it, whether it is hot
        memory[..., 0] = NEVER
        return _masked(
            lambda packet, clock, keep: filter_kernels.cool(
                packet, clock, keep, listed, memory, self._limit, self.period_us
            )
        )


@dataclass(frozen=True)
class Refractory(Filter):
    """Keeps an event only if its pixel's last kept event, of either polarity, lies `period_us` or more before it."""

    period_us: int = 1000

    def __post_init__(self) -> None:
        _above_zero(self, "period_us")

    def start(self, sensor: Sensor) -> Step:
        last = np.full((sensor.height, sensor.width), NEVER, np.int64)
        return _masked(lambda packet, clock, keep: filter_kernels.rest(packet, clock, keep, last, self.period_us))


@dataclass(frozen=True)
class Polarity(Filter):
    """Keeps ON events, or OFF events, or makes all events ON (`merged`)."""

    keep: Literal["on", "off", "merged"] = "merged"

    def __post_init__(self) -> None:
        if self.keep not in ("on", "off", "merged"):
            raise ConfigError(f"Polarity: keep must be on, off or merged, not {self.keep!r}")

    def start(self, sensor: Sensor) -> Step:
        return self._step

    def _step(self, packet: Events) -> Events:
        if self.keep == "merged":
            packet = packet.copy()
            packet["p"] = True
            return packet
        return packet[packet["p"] if self.keep == "on" else ~packet["p"]]


@dataclass(frozen=True)
class Region(Filter):
    """Keeps the events of a rectangle, whose corner becomes (0, 0); the sensor becomes the rectangle."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        _above_zero(self, "width", "height")
        if self.x < 0 or self.y < 0:
            raise ConfigError("Region: x and y must not be negative")

    def sensor_after(self, sensor: Sensor) -> Sensor:
        if self.x + self.width > sensor.width or self.y + self.height > sensor.height:
            raise ConfigError(
                f"Region: {self.width}x{self.height} at ({self.x}, {self.y}) does not lie within the sensor {sensor}"
            )
        return Sensor(self.width, self.height)

    def start(self, sensor: Sensor) -> Step:
        self.sensor_after(sensor)
        return self._step

    def _step(self, packet: Events) -> Events:
        x, y = packet["x"].astype(np.int32) - self.x, packet["y"].astype(np.int32) - self.y
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        packet = packet[inside]
        packet["x"], packet["y"] = x[inside], y[inside]
        return packet


@dataclass(frozen=True)
class SpatialDecimation(Filter):
    """Pools `factor` x `factor` pixels into one; the sensor shrinks as much, rounded up.

    With `keep_rate`, of the events of each pooled pixel and polarity one in `factor` squared is kept (the last of each
    such group), so that a pixel of the result fires as often as one of the input.
    """

    factor: int = 2
    keep_rate: bool = False

    def __post_init__(self) -> None:
        _above_zero(self, "factor")

    def sensor_after(self, sensor: Sensor) -> Sensor:
        return Sensor(-(-sensor.width // self.factor), -(-sensor.height // self.factor))

    def start(self, sensor: Sensor) -> Step:
        small = self.sensor_after(sensor)
        counts = np.zeros((small.height, small.width, 2), np.int32)
        group = self.factor**2 if self.keep_rate else 1
        thin = _masked(
            lambda packet, clock, keep: filter_kernels.thin(
                packet, clock, keep, sensor.width, sensor.height, counts, self.factor, group
            )
        )

        def step(packet: Events) -> Events:
            kept = thin(packet)
            pooled = kept.copy() if kept is packet else kept
            pooled["x"] //= self.factor
            pooled["y"] //= self.factor
            return pooled

        return step


@dataclass(frozen=True)
class RateDecimation(Filter):
    """Thins the stream to at most `max_rate_hz` events a second, evenly over time.

    Time is cut at multiples of `period_us`. The share kept in a period follows from the number of events in the period
    before it, and no period keeps more than its part of the rate: if activity rises, the last ones of it are dropped.
    """

    max_rate_hz: float = 1_000_000.0
    period_us: int = 10_000

    def __post_init__(self) -> None:
        _above_zero(self, "max_rate_hz", "period_us")
        if self._limit < 1:
            raise ConfigError("RateDecimation: max_rate_hz times period_us must allow one event at least")

    @property
    def _limit(self) -> int:
        return int(self.max_rate_hz * self.period_us / 1e6)

    def start(self, sensor: Sensor) -> Step:
        state = np.array([NEVER, 0, 0, 0, 0], np.int64)
        return _masked(
            lambda packet, clock, keep: filter_kernels.spread(
                packet, clock, keep, sensor.width, sensor.height, state, self._limit, self.period_us
            )
        )


@dataclass(frozen=True)
class TimeCrop(Filter):
    """Keeps the events of `[start_us, end_us)`, in sensor time."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us <= self.start_us:
            raise ConfigError("TimeCrop: end_us must lie after start_us")

    def start(self, sensor: Sensor) -> Step:
        return lambda packet: packet[(packet["t"] >= self.start_us) & (packet["t"] < self.end_us)]


FILTERS: dict[str, type[Filter]] = {
    "background_activity": BackgroundActivity,
    "hot_pixels": HotPixels,
    "refractory": Refractory,
    "polarity": Polarity,
    "region": Region,
    "spatial_decimation": SpatialDecimation,
    "rate_decimation": RateDecimation,
    "time_crop": TimeCrop,
}
"""Filters by the name that configurations use."""


def build_filter(config: Mapping[str, Any]) -> Filter:
    """The filter that `{"name": ..., option: ...}` describes; ConfigError for an unknown name or option."""
    options = dict(config)
    name = options.pop("name", None)
    if name not in FILTERS:
        raise ConfigError(f"unknown filter {name!r}; known are {', '.join(FILTERS)}")
    try:
        return FILTERS[name](**options)
    except TypeError as error:
        raise ConfigError(f"filter {name}: {error}") from None


def apply_filters(stream: EventStream, filters: Iterable[Filter]) -> EventStream:
    """The stream after all of the filters, the first one first."""
    for each in filters:
        stream = each(stream)
    return stream


def start_filters(sensor: Sensor, filters: Iterable[Filter]) -> Step:
    """The filters, the first one first, as one function from packet to packet for live use."""
    steps: list[Step] = []
    for each in filters:
        steps.append(each.start(sensor))
        sensor = each.sensor_after(sensor)

    def step(packet: Events) -> Events:
        for one in steps:
            packet = one(packet)
        return packet

    return step


class _Filtered:
    def __init__(self, packets: Iterable[Events], start: Callable[[], Step]) -> None:
        self._packets, self._start = packets, start

    def __iter__(self) -> Iterator[Events]:
        return map(self._start(), self._packets)


def _masked(kernel: Callable[[Events, NDArray[np.int64], NDArray[np.bool_]], None]) -> Step:
    """A step from a kernel that marks what stays; `clock` holds the time of the last event."""
    clock = np.array([NEVER], np.int64)

    def step(packet: Events) -> Events:
        if not len(packet):
            return packet
        keep = np.empty(len(packet), np.bool_)
        kernel(np.ascontiguousarray(packet), clock, keep)
        return packet if keep.all() else packet[keep]

    return step


def _above_zero(owner: Filter, *names: str) -> None:
    for name in names:
        if getattr(owner, name) <= 0:
            raise ConfigError(f"{type(owner).__name__}: {name} must be above zero")
