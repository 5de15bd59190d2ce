"""Event Stream 2 (.es): one byte of time difference and polarity, then x and y; read and written.

DVS events, and the change detections of ATIS. Our own codec: faery's reader cannot say that a file was cut, its writer
loses the end of a file on a full disk in silence and fills the disk when times do not begin near zero. Format:
github.com/neuromorphic-paris/event_stream. The file's y grows upward.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.formats.reading import FilePackets, settle_sensor
from dvs_snn.events.stream import EventStream, Sensor, Tally

MAGIC = b"Event Stream"
_BLOCK_BYTES = 1 << 18
_KINDS = {0: "generic", 1: "dvs", 2: "atis", 3: "amd", 4: "color"}
_FILLER_US = 127
_LONGEST_START_US = 600_000_000
_LONGEST_GAP_US = 3_600_000_000


def read_event_stream(path: Path, sensor: Sensor | None = None) -> EventStream:
    """An Event Stream file of DVS events, or the change detections of an ATIS, as a stream that is not repaired yet."""
    tally = Tally()
    with open(path, "rb") as file:
        head = file.read(20)
    if len(head) < 16:
        raise RecordingError(path, "truncated: the Event Stream header is not whole")
    version, kind = head[12:15], head[15]
    if version[0] != 2:
        raise RecordingError(path, f"Event Stream version {version[0]}.{version[1]}.{version[2]} is not read; 2.x is")
    if kind not in (1, 2):
        what = _KINDS.get(kind, f"unknown (type {kind})")
        raise RecordingError(path, f"holds events of kind {what}; only dvs and atis events can be read")
    if len(head) < 20:
        raise RecordingError(path, "truncated: the Event Stream header is not whole")
    width, height = struct.unpack_from("<HH", head, 16)
    if not (width and height):
        raise RecordingError(path, f"the header states a sensor of {width}x{height}")
    if kind == 2:
        tally.note("ATIS file: change detections are read, exposure measurements are left out")

    def packets() -> Iterator[Events]:
        from dvs_snn.events.formats.event_stream_kernel import decode

        rest, t, seen = b"", 0, 0
        with open(path, "rb") as file:
            file.seek(20)
            while block := file.read(_BLOCK_BYTES):
                data = rest + block
                events = np.empty(len(data) // 5 + 1, EVENT_DTYPE)
                columns = (events["t"], events["x"], events["y"], events["p"])
                count, used, t = decode(np.frombuffer(data, np.uint8), kind == 2, height, t, *columns)
                rest = data[used:]
                seen += count
                yield events[:count]
        if rest:
            tally.note(f"truncated after {seen} events: {len(rest)} bytes left over")

    size, assumed = settle_sensor(path, Sensor(width, height), sensor, tally, lambda: Sensor(width, height))
    name = "es" if kind == 1 else "es (atis)"
    return EventStream(size, FilePackets(path, tally, packets), name, str(path), assumed, tally)


def write_event_stream(path: Path, stream: EventStream) -> None:
    """Write DVS events. Times that begin below zero or after ten minutes are moved to begin at zero, with a note.

    The format counts from zero in steps of at most 127 us, so a date written as it is would fill any disk.
    """
    width, height = stream.sensor.width, stream.sensor.height
    if width > 65535 or height > 65535:
        raise RecordingError(path, f"Event Stream holds no sensor of {stream.sensor}")
    last: int | None = None
    with open(path, "wb") as file:
        file.write(MAGIC + bytes([2, 0, 0, 1]) + struct.pack("<HH", width, height))
        for packet in stream:
            if not len(packet):
                continue
            if last is None:
                last, first = 0, int(packet["t"][0])
                if not 0 <= first <= _LONGEST_START_US:
                    stream.tally.note(f"Event Stream counts from zero: {first} us were subtracted from every time")
                    last = first
            steps = np.diff(packet["t"], prepend=last)
            if (steps < 0).any():
                raise RecordingError(path, "Event Stream holds no time that steps back; write .npz or .csv")
            if (steps > _LONGEST_GAP_US).any():
                raise RecordingError(path, "Event Stream holds no gap of more than an hour; write .npz or .aedat4")
            last = int(packet["t"][-1])
            file.write(_encode(packet, steps, height))


def _encode(events: Events, steps: np.ndarray, height: int) -> bytes:
    ends = np.cumsum(steps // _FILLER_US + 5)
    data = np.full(int(ends[-1]), 0xFF, np.uint8)  # what is not overwritten is filler of 127 us
    x, y = events["x"], height - 1 - events["y"].astype(np.int64)
    for back, value in enumerate((y >> 8, y & 255, x >> 8, x & 255, (steps % _FILLER_US) << 1 | events["p"]), start=1):
        data[ends - back] = value
    return data.tobytes()
