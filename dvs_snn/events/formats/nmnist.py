"""N-MNIST's binary files (Orchard et al. 2015): five bytes per event, no header; read and written.

Byte 0 is x, byte 1 is y, then one bit of polarity and 23 bits of time in microseconds, big-endian. In N-Caltech101's
files of the same kind an event with y = 240 says that time has gone over by 2^13 us.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events, pick_events
from dvs_snn.events.formats.reading import PACKET_EVENTS, FilePackets, settle_sensor, smallest_known_sensor
from dvs_snn.events.stream import EventStream, Sensor, Tally

NMNIST = Sensor(34, 34)
_OVERFLOW_Y = 240
_OVERFLOW_US = 1 << 13


def read_nmnist(path: Path, sensor: Sensor | None = None) -> EventStream:
    """A file of N-MNIST (34x34) or N-Caltech101 as a stream that is not repaired yet.

    There is no magic to know such a file by; one whose times run in disorder is refused.
    """
    tally = Tally()

    def packets() -> Iterator[Events]:
        overflows, seen = 0, 0
        with open(path, "rb") as file:
            while data := file.read(5 * PACKET_EVENTS):
                left = len(data) % 5
                raw = np.frombuffer(data, np.uint8, len(data) - left).reshape(-1, 5)
                mark = raw[:, 1] == _OVERFLOW_Y
                turns = overflows + np.cumsum(mark)
                events = np.empty(len(raw), EVENT_DTYPE)
                events["x"], events["y"], events["p"] = raw[:, 0], raw[:, 1], raw[:, 2] >> 7
                wide = raw[:, 2:].astype(np.int64)
                events["t"] = ((wide[:, 0] & 0x7F) << 16 | wide[:, 1] << 8 | wide[:, 2]) + turns * _OVERFLOW_US
                overflows = int(turns[-1]) if len(turns) else overflows
                seen += len(events)
                yield pick_events(events, ~mark) if mark.any() else events
                if left:
                    tally.note(f"truncated after {seen} events: {left} bytes left over")

    stream = FilePackets(path, tally, packets)
    largest = _survey(path, stream)
    stated = NMNIST if largest.width <= NMNIST.width and largest.height <= NMNIST.height else None
    size, assumed = settle_sensor(path, stated, sensor, tally, lambda: smallest_known_sensor(stream))
    return EventStream(size, stream, "nmnist", str(path), assumed, tally)


def _survey(path: Path, packets: FilePackets) -> Sensor:
    """The smallest size that holds all events; refuses files whose times are noise."""
    x = y = count = backward = 0
    for packet in packets:
        if len(packet):
            x, y = max(x, int(packet["x"].max())), max(y, int(packet["y"].max()))
            backward += int(np.count_nonzero(packet["t"][1:] < packet["t"][:-1]))
            count += len(packet)
    if not count:
        raise RecordingError(path, "truncated: not even one event of five bytes")
    if backward > max(1, count // 10):
        raise RecordingError(path, f"is no N-MNIST file: time steps back at {backward} of {count} events")
    return Sensor(x + 1, y + 1)


def write_nmnist(path: Path, stream: EventStream) -> None:
    """Write five-byte events; times must lie in 0..8388607 us, x below 256 and y below 240."""
    with open(path, "wb") as file:
        for packet in stream:
            if not len(packet):
                continue
            if packet["t"].min() < 0 or packet["t"].max() >= 1 << 23:
                raise RecordingError(
                    path, "N-MNIST's format holds times from 0 to 8.388607 s only; use .npz or .aedat4"
                )
            if packet["x"].max() > 255 or packet["y"].max() >= _OVERFLOW_Y:
                raise RecordingError(
                    path, "N-MNIST's format holds x below 256 and y below 240 only; use .npz or .aedat4"
                )
            raw = np.empty((len(packet), 5), np.uint8)
            raw[:, 0], raw[:, 1] = packet["x"], packet["y"]
            raw[:, 2] = (packet["t"] >> 16) | (packet["p"].astype(np.int64) << 7)
            raw[:, 3], raw[:, 4] = packet["t"] >> 8 & 255, packet["t"] & 255
            file.write(raw.tobytes())
        if not file.tell():
            raise RecordingError(path, "a recording of no events cannot be written as N-MNIST: the file would be empty")
