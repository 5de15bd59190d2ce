"""Messages of an event camera become events: decoded, repaired, counted; nothing that a message says is trusted.

Pure: a message is any object with the fields of `event_camera_msgs/EventPacket`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dvs_snn.errors import DvsSnnError
from dvs_snn.events import Events, Repair, Sensor, Tally, empty_events
from dvs_snn.events.codecs import DECODERS, Decoder, decoder
from dvs_snn.events.codecs.evt3 import WRAP_US

LARGEST_SENSOR_PX = 8192
"""No event camera comes near; a larger size is a damaged message, and buffers of its size would fill the memory."""

TAKEOVER_NS = 1_000_000_000
"""A camera that has been silent for so long may be replaced by one of another size or frame."""

LONGEST_GAP = 1_000_000
"""A larger step of `seq` is not a loss but another count."""

RECORDED_NS = 10_000_000_000
"""Stamps further than this from the host's clock are those of a recording."""


class Message(Protocol):
    """The fields of an `EventPacket` that are read."""

    height: int
    width: int
    seq: int
    time_base: int
    encoding: str
    is_bigendian: bool


@dataclass
class Counts:
    """What arrived and what was wrong with it; numbers since the node was activated."""

    packets: int = 0
    events: int = 0
    missing_packets: int = 0
    malformed_packets: int = 0
    unknown_encoding_packets: int = 0
    other_camera_packets: int = 0
    camera_restarts: int = 0
    clock_restarts: int = 0
    backward_steps: int = 0
    out_of_sensor: int = 0
    unknown_words: int = 0
    early_events: int = 0
    triggers: int = 0


@dataclass(frozen=True)
class Received:
    """The events of one message and when they were: `stamp_ns` is the host's time of the first of them.

    `fresh` says that the camera or its driver began anew before them; `until_us`, of a message without events, that all
    events before this sensor time have been sent. Host times are in nanoseconds of the ROS clock.
    """

    events: Events
    sensor: Sensor
    frame_id: str
    stamp_ns: int
    arrived_ns: int
    fresh: bool = False
    until_us: int | None = None

    @property
    def recorded(self) -> bool:
        """The stamp is of another time: the driver's clock is not the host's, or a bag is played as it was recorded."""
        return abs(self.arrived_ns - self.stamp_ns) > RECORDED_NS


@dataclass
class _Source:
    """A camera as it is known by its messages."""

    sensor: Sensor
    frame_id: str
    arrived_ns: int
    seq: int | None = None
    tally: Tally = field(default_factory=Tally)
    decoders: dict[tuple[str, bool], Decoder] = field(default_factory=dict)
    turns_us: int = 0  # of evt3: what its wrapped time lacks

    def __post_init__(self) -> None:
        self.repair = Repair(self.sensor, self.tally)


class PacketReader:
    """Reads the messages of one topic, in order; `warn(key, text)` is called for whatever is wrong, each time.

    One camera at a time: the messages of a second one are counted and left, until the first is silent for a second.
    """

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        self.counts = Counts()
        self._warn = warn
        self._source: _Source | None = None
        self._begin = True

    @property
    def sensor(self) -> Sensor | None:
        """The sensor of the camera that is listened to."""
        return self._source.sensor if self._source is not None else None

    def forget(self) -> None:
        """The camera is gone; the next message is the first of another one."""
        self._source, self._begin = None, True

    def read(
        self, message: Message, payload: bytes | memoryview, frame_id: str, stamp_ns: int, arrived_ns: int
    ) -> Received | None:
        """The events of a message, None when it brings none that can be used."""
        self.counts.packets += 1
        source = self._source_of(message, frame_id, arrived_ns)
        if source is None:
            return None
        self._follow(source, int(message.seq))
        source.arrived_ns = arrived_ns
        coder = self._decoder(source, message)
        if coder is None:
            return None
        words = np.frombuffer(payload, np.uint8)
        until_us = None
        if len(words):
            try:
                events = coder.decode(words, int(message.time_base))
            except (DvsSnnError, ValueError, OverflowError) as error:
                self.counts.malformed_packets += 1
                self._warn("malformed", f"damaged event packet: {error}")
                return None
            if coder.encoding == "evt3":
                self._unwrap(source, events, int(message.time_base))
            events = source.repair(events)
        else:
            events = empty_events()
            until_us = int(message.time_base) // 1000 or None
        self._tell(source)
        fresh, self._begin = self._begin, False
        self.counts.events += len(events)
        return Received(events, source.sensor, frame_id, stamp_ns, arrived_ns, fresh, until_us)

    def _source_of(self, message: Message, frame_id: str, arrived_ns: int) -> _Source | None:
        """The camera that a message is from, if it is the one that is listened to."""
        width, height = int(message.width), int(message.height)
        source = self._source
        if source is not None and (width, height, frame_id) == (
            source.sensor.width,
            source.sensor.height,
            source.frame_id,
        ):
            return source
        if not (0 < width <= LARGEST_SENSOR_PX and 0 < height <= LARGEST_SENSOR_PX):
            self.counts.malformed_packets += 1
            self._warn("size", f"event packet of a sensor of {width}x{height} pixels dropped")
            return None
        if source is not None and 0 <= arrived_ns - source.arrived_ns < TAKEOVER_NS:
            self.counts.other_camera_packets += 1
            self._warn(
                "camera",
                f"packets of a second camera ({frame_id!r}, {width}x{height}) on the same topic are dropped while "
                f"{source.frame_id!r} ({source.sensor}) sends: give each camera its own topic",
            )
            return None
        if source is not None:
            self.counts.camera_restarts += 1
            self._warn("takeover", f"camera {frame_id!r} ({width}x{height}) in place of the one before: begun anew")
        self._source = source = _Source(Sensor(width, height), frame_id, arrived_ns)
        self._begin = True
        return source

    def _follow(self, source: _Source, seq: int) -> None:
        """Count what is missing; a count that goes back is a driver that was started again."""
        if source.seq is not None and seq != source.seq + 1:
            missing = seq - source.seq - 1
            if 0 < missing <= LONGEST_GAP:
                self.counts.missing_packets += missing
                self._warn("missing", f"{missing} event packets lost before seq {seq} (counted in diagnostics)")
            else:
                self.counts.camera_restarts += 1
                self._warn("restart", f"seq went from {source.seq} to {seq}: the driver was restarted, begun anew")
                source.decoders.clear()
                source.turns_us, source.tally = 0, Tally()
                source.repair = Repair(source.sensor, source.tally)
                self._begin = True
        source.seq = seq

    def _decoder(self, source: _Source, message: Message) -> Decoder | None:
        key = (message.encoding, bool(message.is_bigendian))
        if key not in source.decoders:
            if message.encoding not in DECODERS:
                self.counts.unknown_encoding_packets += 1
                self._warn(
                    f"encoding {message.encoding[:40]!r}",
                    f"event packets of unknown encoding {message.encoding[:40]!r} are dropped; known: "
                    f"{', '.join(DECODERS)}",
                )
                return None
            source.decoders[key] = decoder(*key)
        return source.decoders[key]

    def _unwrap(self, source: _Source, events: Events, time_base_ns: int) -> None:
        """Add to wrapped times what a player states by the time base; drivers of cameras leave it at 0 or elsewhere.

        Our player writes the time of the packet's first event there, which therefore agrees modulo the wrap.
        """
        if not len(events):
            return
        if time_base_ns:
            turns_us = time_base_ns // 1000 - int(events["t"][0])
            if turns_us % WRAP_US == 0:
                source.turns_us = turns_us
        if source.turns_us:
            events["t"] += source.turns_us

    def _tell(self, source: _Source) -> None:
        """Bring what decoders and repair counted into `counts`."""
        counts, tally = self.counts, source.tally
        for each in source.decoders.values():
            counts.unknown_words += each.unknown_words
            counts.early_events += each.early_events
            counts.triggers += each.triggers
            each.unknown_words = each.early_events = each.triggers = 0
        if tally.backward_steps:
            counts.backward_steps += tally.backward_steps
            counts.clock_restarts += tally.restarts
            if tally.restarts:
                self._warn("clock", "the camera's clock went back: begun anew")
        if tally.out_of_sensor:
            counts.out_of_sensor += tally.out_of_sensor
            self._warn("outside", f"events outside the sensor of {source.sensor} are dropped (counted in diagnostics)")
        tally.backward_steps = tally.restarts = tally.out_of_sensor = 0
