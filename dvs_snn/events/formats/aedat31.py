"""AEDAT 3.1 (cAER, the format of DVS128 Gesture): typed packets of events, little-endian; read and written.

Format: docs.inivation.com, "AEDAT 3.1". A packet is a header of 28 bytes and `eventNumber` events of `eventSize` bytes;
a polarity event is 32 bits of data (valid, polarity, 15 bits of y, 15 of x) and 31 bits of time, which the packet's
`eventTSOverflow` extends. The origin is the upper left corner.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events, pick_events
from dvs_snn.events.formats.reading import PACKET_EVENTS, FilePackets, settle_sensor, smallest_known_sensor
from dvs_snn.events.stream import EventStream, Sensor, Tally

MAGIC = b"#!AER-DAT3.1"
HEADER = struct.Struct("<hhiiiiii")
SPECIAL, POLARITY = 0, 1
_END = b"#!END-HEADER"
_EXTERNAL_INPUTS = (2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13)  # special events of the signal pins: rising, falling, pulse
_WORDS = np.dtype([("data", "<u4"), ("t", "<i4")])
_CAMERAS = {
    "DVS128": Sensor(128, 128),
    "DAVIS240": Sensor(240, 180),
    "DAVIS346": Sensor(346, 260),
    "DAVIS640": Sensor(640, 480),
    "DAVIS208": Sensor(208, 192),
    "DVS132": Sensor(132, 104),
    "DVXPLORER": Sensor(640, 480),
}


def refuse_version(path: Path, sensor: Sensor | None = None) -> EventStream:
    """Say that this version of AEDAT is not read."""
    with open(path, "rb") as file:
        version = file.readline(64)[9:].strip().decode("ascii", "replace")
    raise RecordingError(path, f"AEDAT version {version!r} is not read; versions 2.0, 3.1 and 4.0 are")


def read_aedat31(path: Path, sensor: Sensor | None = None) -> EventStream:
    """An AEDAT 3.1 file as a stream that is not repaired yet: its valid polarity events, signal pins as triggers."""
    tally = Tally()
    with open(path, "rb") as file:
        stated = _read_header(path, file)
        start = file.tell()

    def packets() -> Iterator[Events]:
        with open(path, "rb") as file:
            file.seek(start)
            yield from _packets(path, file, tally)

    stream = FilePackets(path, tally, packets)
    size, assumed = settle_sensor(path, stated, sensor, tally, lambda: smallest_known_sensor(stream))
    return EventStream(size, stream, "aedat3.1", str(path), assumed, tally)


def _read_header(path: Path, file: BinaryIO) -> Sensor | None:
    """Read the lines up to the end of the header; the sensor of the first source where its name is known."""
    stated = None
    while True:
        line = file.readline(1 << 16)
        if line.startswith(_END):
            return stated
        if not line.startswith(b"#") or not line.endswith(b"\n"):
            raise RecordingError(path, "truncated: the AEDAT 3.1 header has no end line")
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("#Format:") and text.partition(":")[2].strip().upper() != "RAW":
            raise RecordingError(path, f"unknown AEDAT 3.1 encoding {text.partition(':')[2].strip()!r}; RAW is read")
        if size := re.match(r"#Size: (\d+)x(\d+)$", text):
            stated = Sensor(int(size[1]), int(size[2]))
        elif stated is None and (source := re.match(r"#Source \d+: (.*)", text)):
            name = re.sub(r"[^A-Z0-9]", "", source[1].upper())
            stated = next((size for camera, size in _CAMERAS.items() if camera in name), None)


def _packets(path: Path, file: BinaryIO, tally: Tally) -> Iterator[Events]:
    """Packets of the file, small ones joined; what is whole before a cut is given out."""
    parts: list[tuple[bytes, int]] = []
    waiting = seen = 0
    camera: int | None = None
    position = file.tell()
    while head := file.read(HEADER.size):
        if len(head) < HEADER.size:
            tally.note(f"truncated after {seen} events: {len(head)} bytes left over")
            break
        kind, source, size, offset, overflow, _, number, _ = HEADER.unpack(head)
        if (
            size <= 0
            or number < 0
            or overflow < 0
            or kind < 0
            or (kind in (SPECIAL, POLARITY) and (size, offset) != (8, 4))
        ):
            raise RecordingError(
                path, f"damaged packet header at byte {position} (type {kind}, size {size} x {number})"
            )
        wanted = kind == SPECIAL
        if kind == POLARITY:
            camera = source if camera is None else camera
            wanted = source == camera
            if not wanted:
                tally.note(f"several cameras in one file; read the first, source {camera}")
        length = size * number
        if wanted:
            body = file.read(length)
            missing = length - len(body)
            body = body[: len(body) // size * size]
            if kind == SPECIAL:
                _count_triggers(body, tally)
            else:
                parts.append((body, overflow))
                waiting += len(body) // size
                seen += len(body) // size
        else:
            here = file.tell()
            missing = max(0, here + length - file.seek(0, 2))
            file.seek(here + length)
        if waiting >= PACKET_EVENTS:
            yield _decode(parts, tally)
            parts, waiting = [], 0
        if missing:
            tally.note(f"truncated after {seen} events: the last packet lacks {missing} bytes")
            break
        position += HEADER.size + length
    if parts:
        yield _decode(parts, tally)


def _decode(parts: list[tuple[bytes, int]], tally: Tally) -> Events:
    words = np.frombuffer(b"".join(body for body, _ in parts), _WORDS)
    data = words["data"]
    overflow = np.repeat([part[1] for part in parts], [len(part[0]) // 8 for part in parts])
    events = np.empty(len(words), EVENT_DTYPE)
    events["t"] = words["t"].astype(np.int64) + (overflow.astype(np.int64) << 31)
    events["x"] = data >> 17
    events["y"] = (data >> 2) & 0x7FFF
    events["p"] = (data >> 1) & 1
    valid = (data & 1) != 0
    if not valid.all():
        tally.note("events that the file marks as invalid were left out")
        events = pick_events(events, valid)
    return events


def _count_triggers(body: bytes, tally: Tally) -> None:
    data = np.frombuffer(body, _WORDS)["data"]
    kinds = (data >> 1) & 0x7F
    tally.triggers += int(np.count_nonzero(np.isin(kinds, _EXTERNAL_INPUTS) & ((data & 1) != 0)))


def write_aedat31(path: Path, stream: EventStream) -> None:
    """Write polarity packets; times must not be below zero, coordinates must fit 15 bits."""
    names = [camera for camera, size in _CAMERAS.items() if size == stream.sensor]
    name = (names[0] + "C" if names[0] == "DAVIS240" else names[0]) if names else "File"
    lines = ["#!AER-DAT3.1", "#Format: RAW", f"#Source 1: {name}", f"#Size: {stream.sensor}"]
    lines += ["#Start-Time: 1970-01-01 00:00:00 (TZ+0000)", "#!END-HEADER"]
    with open(path, "wb") as file:
        file.write("".join(line + "\r\n" for line in lines).encode())
        for packet in stream:
            if not len(packet):
                continue
            if packet["t"].min() < 0 or packet["t"].max() >= 1 << 62:
                raise RecordingError(path, "AEDAT 3.1 holds no time below zero or above 62 bits; write .npz or .csv")
            if packet["x"].max() > 0x7FFF or packet["y"].max() > 0x7FFF:
                raise RecordingError(path, "AEDAT 3.1 holds no coordinate above 32767; write .npz or .csv")
            turns = np.flatnonzero(np.diff(packet["t"] >> 31)) + 1
            cuts = sorted({0, len(packet), *turns.tolist(), *range(0, len(packet), PACKET_EVENTS)})
            for begin, end in itertools.pairwise(cuts):
                part = packet[begin:end]
                count = end - begin
                words = np.empty(count, _WORDS)
                words["t"] = part["t"] & 0x7FFFFFFF
                words["data"] = (
                    part["x"].astype(np.uint32) << 17 | part["y"].astype(np.uint32) << 2 | part["p"] << 1 | 1
                )
                overflow = int(part["t"][0] >> 31)
                file.write(HEADER.pack(POLARITY, 1, 8, 4, overflow, count, count, count))
                file.write(words.tobytes())
