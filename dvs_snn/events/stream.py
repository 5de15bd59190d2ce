"""A stream of events: a sensor size and packets, with a tally of what was read and what was mended.

Rules every stream keeps. A packet is an array of `EVENT_DTYPE`; it may be empty and its borders mean nothing: cutting
the same events differently changes no result. After `repair`, events lie inside the sensor and their times do not
decrease, except at a restart of the sensor's clock, which is a step back by more than `RESTART_US`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import EVENT_DTYPE, Events, copy_events, join_events, pick_events

RESTART_US = 100_000
"""A larger step back is a restarted clock, not jitter: drivers reorder within a packet, never by 0.1 s."""
_LOWEST_HELD = np.iinfo(np.int64).min + RESTART_US


@dataclass(frozen=True)
class Sensor:
    """Width and height of a sensor in pixels; arrays that cover it are `[height, width]`."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if not (0 < self.width <= 65536 and 0 < self.height <= 65536):
            raise ConfigError(f"sensor {self.width}x{self.height}: width and height must lie in 1..65536")

    @classmethod
    def parse(cls, text: str) -> Sensor:
        """Read `WxH`, as the command line writes it."""
        width, _, height = text.lower().partition("x")
        if not (width.isdigit() and height.isdigit()):
            raise ConfigError(f"sensor {text!r}: write WIDTHxHEIGHT, for example 640x480")
        return cls(int(width), int(height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass
class Tally:
    """What was seen while packets went by; counts are of the raw stream, before repair."""

    events: int = 0
    on: int = 0
    triggers: int = 0
    first_us: int | None = None
    last_us: int | None = None
    backward_steps: int = 0
    restarts: int = 0
    out_of_sensor: int = 0
    unknown_words: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def off(self) -> int:
        return self.events - self.on

    @property
    def span_us(self) -> int:
        return 0 if self.first_us is None or self.last_us is None else self.last_us - self.first_us

    def note(self, text: str) -> None:
        """Keep one line for the reader of the report, once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True)
class EventStream:
    """A sensor and an iterable of packets; finite for a file, endless for a camera.

    `format` and `source` are for messages; `sensor_assumed` says that nobody stated the sensor's size. The tally is
    filled while the packets are read, and is shared by the streams made from this one.
    """

    sensor: Sensor
    packets: Iterable[Events]
    format: str = "array"
    source: str = "memory"
    sensor_assumed: bool = False
    tally: Tally = field(default_factory=Tally, compare=False)

    def __iter__(self) -> Iterator[Events]:
        return iter(self.packets)

    def through(
        self, step: Callable[[Iterable[Events]], Iterable[Events]], sensor: Sensor | None = None
    ) -> EventStream:
        """The stream that `step` makes of this one's packets."""
        return replace(self, sensor=sensor or self.sensor, packets=step(self.packets))

    def to_array(self) -> Events:
        """All events in one array; only for a finite stream that fits in memory."""
        packets = [packet for packet in self.packets if len(packet)]
        return join_events(packets)


def stream_of(events: Events, sensor: Sensor, packet_events: int = 1 << 16, source: str = "memory") -> EventStream:
    """An array as a stream of packets of at most `packet_events` (views, not copies), repaired like any other."""
    if events.dtype != EVENT_DTYPE:
        raise ConfigError(f"events have dtype {events.dtype}, expected {EVENT_DTYPE}")
    cuts = range(0, len(events), packet_events)
    return repair(EventStream(sensor, [events[i : i + packet_events] for i in cuts], source=source))


def repair(stream: EventStream) -> EventStream:
    """Drop events outside the sensor, hold small backward steps at the latest time, count both, pass restarts through.

    The result does not depend on where packets are cut. Counting: every event that lies below the event before it is a
    backward step; a step back by more than `RESTART_US` is also a restart.
    """
    return replace(stream, packets=_Repaired(stream))


class _Repaired:
    """Re-iterable when the packets are: each pass starts a fresh tally (of the same object, so that readers see it)."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Events]:
        tally = self._stream.tally
        tally.events = tally.on = tally.backward_steps = tally.restarts = tally.out_of_sensor = 0
        tally.first_us = tally.last_us = None
        step = Repair(self._stream.sensor, tally)
        for packet in self._stream.packets:
            if len(packet):
                yield step(packet)


class Repair:
    """What `repair` does, from packet to packet, for live use; counts into `tally`."""

    def __init__(self, sensor: Sensor, tally: Tally) -> None:
        self._sensor, self._tally = sensor, tally
        self._held: int | None = None  # latest time passed on since the last restart
        self._previous: int | None = None  # raw time of the last event

    def __call__(self, packet: Events) -> Events:
        """The packet mended: itself when nothing was wrong, else a copy."""
        if not len(packet):
            return packet
        packet, self._held, self._previous = _repair_packet(
            packet, self._sensor, self._tally, self._held, self._previous
        )
        return packet


def _repair_packet(
    packet: Events, sensor: Sensor, tally: Tally, held: int | None, previous: int | None
) -> tuple[Events, int | None, int | None]:
    t = packet["t"]
    tally.events += len(packet)
    tally.on += int(np.count_nonzero(packet["p"]))
    low, high = int(t.min()), int(t.max())
    tally.first_us = low if tally.first_us is None else min(tally.first_us, low)
    tally.last_us = high if tally.last_us is None else max(tally.last_us, high)

    disorder = int(np.count_nonzero(t[1:] < t[:-1])) + (previous is not None and int(t[0]) < previous)
    tally.backward_steps += disorder
    previous = int(t[-1])
    if packet["x"].max() >= sensor.width or packet["y"].max() >= sensor.height:
        inside = (packet["x"] < sensor.width) & (packet["y"] < sensor.height)
        packet = pick_events(packet, inside)  # before times are held: what lies outside may be damaged in its time too
        tally.out_of_sensor += len(t) - len(packet)
        if not len(packet):
            return packet, held, previous
        t = packet["t"]
    if disorder or (held is not None and t[0] < held):  # rising, but still below the time already passed on
        raised, restarts = hold_times(t, held)
        tally.restarts += len(restarts)
        packet = copy_events(packet)
        packet["t"] = raised
        return packet, int(raised[-1]), previous
    return packet, int(t[-1]), previous


def hold_times(t: NDArray[np.int64], held: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Times that do not step back, and the places of restarts; `held` is the latest time before `t`, if there is one.

    The result is the running maximum, begun anew at each event that lies more than `RESTART_US` below it.
    """
    raised = np.maximum.accumulate(t)
    if held is not None:
        np.maximum(raised, held, out=raised)
    if not (t < np.maximum(raised, _LOWEST_HELD) - RESTART_US).any():
        return raised, np.empty(0, np.int64)
    from dvs_snn.events.stream_kernel import hold_times_with_restarts

    raised[:] = t
    return raised, hold_times_with_restarts(raised, int(t[0]) if held is None else held, RESTART_US)
