"""Serialized ROS messages with events, without ROS: `EventPacket` (bytes of some encoding) and arrays of events.

ROS 2 serializes by CDR, where every number lies at a multiple of its size counted from byte 4; ROS 1 packs tightly.
Only the few fields that matter are read. An array of events is viewed in place: 13 bytes an event in ROS 1, and in CDR
16, of which the second and later events begin two bytes early.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events, join_events
from dvs_snn.events.stream import Sensor

PACKET_TYPES = frozenset({"event_camera_msgs/EventPacket", "event_array_msgs/EventArray"})
"""Messages whose events are bytes of an encoding; the second is the older name of the same layout."""

ARRAY_TYPES = frozenset({"dvs_msgs/EventArray", "prophesee_event_msgs/EventArray", "dv_ros2_msgs/EventArray"})
"""Messages whose events are one by one: x, y, time, polarity."""

PACKET_DEFINITION = """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
"""The fields of `event_camera_msgs/EventPacket`."""

_ROS1_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
_CDR_EVENT = np.dtype(
    {
        "names": ["x", "y", "s", "ns", "p"],
        "formats": ["<u2", "<u2", "<i4", "<u4", "u1"],
        "offsets": [0, 2, 6, 10, 14],
        "itemsize": 16,
    }
)


MESSAGE_US = 10_000
"""Time that a message spans at most: drivers send between 1 and 33 ms; shorter ones cost more CPU than they bring."""

MESSAGE_EVENTS = 24_000
"""Events in a message at most: keeps it below 256 kB, where middleware is at ease."""


@dataclass(frozen=True)
class EventPacket:
    """One message of encoded events; `payload` is a view of its bytes, `seq` is the driver's count of messages."""

    sensor: Sensor | None
    seq: int
    time_base_ns: int
    encoding: str
    is_bigendian: bool
    payload: NDArray[np.uint8]


@dataclass(frozen=True)
class EventArray:
    """One message of events that needed no decoder."""

    sensor: Sensor | None
    events: Events


def base_type(message_type: str) -> str:
    """`package/Name` of a type name of ROS 1 or ROS 2."""
    return message_type.replace("/msg/", "/")


def parse_packet(data: bytes, ros2: bool) -> EventPacket:
    """Read a serialized `EventPacket`; RecordingError when it is too short."""
    fields = _Fields(data, ros2)
    fields.skip_header()
    height, width = fields.number("I"), fields.number("I")
    seq, time_base = fields.number("Q"), fields.number("Q")
    encoding = fields.text()
    is_bigendian = bool(fields.number("B"))
    count = fields.number("I")
    return EventPacket(_sensor(width, height), seq, time_base, encoding, is_bigendian, fields.bytes(count))


def parse_array(data: bytes, ros2: bool) -> EventArray:
    """Read a serialized `EventArray` of single events; RecordingError when it is too short."""
    fields = _Fields(data, ros2)
    if fields.order == ">":
        raise RecordingError("message", "arrays of events in big-endian CDR are not supported")
    fields.skip_header()
    height, width = fields.number("I"), fields.number("I")
    count = fields.number("I")
    events = np.empty(count, EVENT_DTYPE) if count * 13 <= len(data) else _too_short()
    if not count:
        return EventArray(_sensor(width, height), events)
    if ros2:
        raw = fields.bytes(16 * count - 3)  # the last event has no filling after it
        first = struct.unpack_from("<HHiIB", raw.data)
        rows = np.append(raw[14:], np.uint8(0))[: 16 * (count - 1)].view(_CDR_EVENT)
    else:
        raw = fields.bytes(13 * count)
        first = struct.unpack_from("<HHIIB", raw.data)
        rows = raw.view(_ROS1_EVENT)[1:]
    events["x"][0], events["y"][0], events["p"][0] = first[0], first[1], first[4] > 0
    events["t"][0] = first[2] * 1_000_000 + first[3] // 1000
    events["x"][1:], events["y"][1:], events["p"][1:] = rows["x"], rows["y"], rows["p"] > 0
    events["t"][1:] = rows["s"].astype(np.int64) * 1_000_000 + rows["ns"] // 1000
    return EventArray(_sensor(width, height), events)


def serialize_packet(packet: EventPacket, stamp_ns: int, ros2: bool, frame_id: str = "event_camera") -> bytes:
    """The bytes of a message, as rosbags or ROS would serialize it."""
    assert packet.sensor is not None
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    out = bytearray(b"\0\1\0\0" if ros2 else b"")

    def number(kind: str, value: int) -> None:
        if ros2:
            out.extend(bytes(-(len(out) - 4) % struct.calcsize(kind)))
        out.extend(struct.pack("<" + kind, value))

    def text(value: str) -> None:
        coded = value.encode() + (b"\0" if ros2 else b"")
        number("I", len(coded))
        out.extend(coded)

    if not ros2:
        number("I", packet.seq & 0xFFFF_FFFF)
    number("I", seconds)
    number("I", nanoseconds)
    text(frame_id)
    number("I", packet.sensor.height)
    number("I", packet.sensor.width)
    number("Q", packet.seq)
    number("Q", packet.time_base_ns)
    text(packet.encoding)
    number("B", packet.is_bigendian)
    number("I", len(packet.payload))
    out.extend(packet.payload.data)
    return bytes(out)


def message_packets(
    packets: Iterable[Events], span_us: int = MESSAGE_US, most_events: int = MESSAGE_EVENTS
) -> Iterator[Events]:
    """The events of a stream cut for messages: a cell of a grid in time each, and so many events; none is empty."""
    pending: list[Events] = []
    held, cell = 0, None
    for packet in packets:
        cells = packet["t"] // span_us
        cuts = np.flatnonzero(cells[1:] != cells[:-1]) + 1
        for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(packet)], strict=True):
            while begin < end:
                if pending and (cells[begin] != cell or held == most_events):
                    yield join_events(pending)
                    pending, held = [], 0
                cell = cells[begin]
                stop = min(end, begin + most_events - held)
                pending.append(packet[begin:stop])
                held += stop - begin
                begin = stop
    if pending:
        yield join_events(pending)


class _Fields:
    """A cursor over a serialized message."""

    def __init__(self, data: bytes, ros2: bool) -> None:
        self._data, self._aligned = data, ros2
        self._at = 4 if ros2 else 0
        if ros2 and data[:2] not in (b"\0\1", b"\0\0"):
            raise RecordingError("message", "damaged: it does not begin with a CDR header")
        self.order = ">" if ros2 and data[1] == 0 else "<"

    def number(self, kind: str) -> int:
        size = struct.calcsize(kind)
        if self._aligned:
            self._at += -(self._at - 4) % size
        if self._at + size > len(self._data):
            _too_short()
        (value,) = struct.unpack_from(self.order + kind, self._data, self._at)
        self._at += size
        return int(value)

    def bytes(self, count: int) -> NDArray[np.uint8]:
        if self._at + count > len(self._data):
            _too_short()
        view = np.frombuffer(self._data, np.uint8, count, self._at)
        self._at += count
        return view

    def text(self) -> str:
        return self.bytes(self.number("I")).tobytes().rstrip(b"\0").decode("utf-8", "replace")

    def skip_header(self) -> None:
        for _ in range(2 if self._aligned else 3):  # stamp, and ROS 1's seq
            self.number("I")
        self.text()


def _sensor(width: int, height: int) -> Sensor | None:
    return Sensor(width, height) if 0 < width <= 65536 and 0 < height <= 65536 else None


def _too_short() -> Events:
    raise RecordingError("message", "truncated: it holds fewer bytes than it states")
