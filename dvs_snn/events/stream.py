"""A stream of events: a sensor size and packets, with a tally of what was read and what was mended.

Rules every stream keeps. A packet is an array of `EVENT_DTYPE`; it may be empty and its borders mean nothing: cutting
the same events differently changes no result. After `repair`, events lie inside the sensor and their times do not
decrease, except at a restart of the sensor's clock, which is a step back by more than `RESTART_US`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import EVENT_DTYPE, Events, empty_events

RESTART_US = 100_000
"""A larger step back is a restarted clock, not jitter: drivers reorder within a packet, never by a tenth of a second."""


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
        return np.concatenate(packets) if packets else empty_events()


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
        tally, sensor = self._stream.tally, self._stream.sensor
        tally.events = tally.on = tally.backward_steps = tally.restarts = tally.out_of_sensor = 0
        tally.first_us = tally.last_us = None
        held: int | None = None  # latest time passed on since the last restart
        previous: int | None = None  # raw time of the last event
        for packet in self._stream.packets:
            if not len(packet):
                continue
            packet, held, previous = _repair_packet(packet, sensor, tally, held, previous)
            yield packet


def _repair_packet(
    packet: Events, sensor: Sensor, tally: Tally, held: int | None, previous: int | None
) -> tuple[Events, int | None, int | None]:
    t = packet["t"]
    tally.events += len(packet)
    tally.on += int(np.count_nonzero(packet["p"]))
    low, high = int(t.min()), int(t.max())
    tally.first_us = low if tally.first_us is None else min(tally.first_us, low)
    tally.last_us = high if tally.last_us is None else max(tally.last_us, high)

    steps = np.empty(len(t), np.int64)
    steps[0] = 0 if previous is None else t[0] - previous
    np.subtract(t[1:], t[:-1], out=steps[1:])
    backward = np.count_nonzero(steps < 0)
    previous = int(t[-1])
    if backward:
        tally.backward_steps += int(backward)
        packet, held = _hold(packet, held, tally)
    else:
        if held is not None and t[0] < held:  # rising, but still below the time already passed on
            packet, held = _hold(packet, held, tally)
        else:
            held = int(t[-1])

    if packet["x"].max() >= sensor.width or packet["y"].max() >= sensor.height:
        inside = (packet["x"] < sensor.width) & (packet["y"] < sensor.height)
        tally.out_of_sensor += int(len(packet) - np.count_nonzero(inside))
        packet = packet[inside]
    return packet, held, previous


def _hold(packet: Events, held: int | None, tally: Tally) -> tuple[Events, int]:
    """Running maximum of time that starts again at each restart.

    A restart is judged against the running maximum of its own epoch, so the loop below turns once per restart, not
    once per event.
    """
    t = packet["t"].copy()
    start = 0
    while True:
        if held is not None:
            t[start] = t[start] if held - t[start] > RESTART_US else max(int(t[start]), held)
            if t[start] < held:
                tally.restarts += 1
        running = np.maximum.accumulate(t[start:])
        jumps = np.flatnonzero(running - t[start:] > RESTART_US)
        if not len(jumps):
            t[start:] = running
            break
        stop = start + int(jumps[0])
        t[start:stop] = running[: jumps[0]]
        held, start = int(t[stop - 1]), stop
    packet = packet.copy()
    packet["t"] = t
    return packet, int(t[-1])
