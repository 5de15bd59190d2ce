"""AEDAT 4 (iniVation DV): FlatBuffers packets, plain or compressed by LZ4 or Zstandard.

Read by our own decoder, because faery's silently holds times that step back, which hides a restarted clock, and gives
up at the first event outside the sensor; written through faery. Format: docs.inivation.com, "AEDAT 4.0".
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faery
import lz4.frame
import numpy as np
from faery import aedat

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.formats.reading import FilePackets, cause_of, settle_sensor, smallest_known_sensor
from dvs_snn.events.stream import EventStream, Sensor, Tally

MAGIC = b"#!AER-DAT4.0\r\n"
_STORED = np.dtype({"names": ["t", "x", "y", "p"], "formats": ["<i8", "<u2", "<u2", "u1"], "itemsize": 16})
_MAX_PACKET_BYTES = 1 << 30


def read_aedat4(path: Path, sensor: Sensor | None = None) -> EventStream:
    """An AEDAT 4 file as a stream that is not repaired yet; its first event track, triggers counted."""
    tally = Tally()
    with open(path, "rb") as file:
        header = _read_header(path, file.read(len(MAGIC) + 4), file.read)
        start = file.tell()
        size = file.seek(0, 2)
    if header.table < 0:
        tally.note("the recording was not closed properly: no data table")
    elif header.table > size:
        tally.note(f"truncated: the file should reach byte {header.table} and ends at {size}")
    end = header.table if start <= header.table <= size else size
    events = [track for track in header.tracks if track.kind == "EVTS"]
    if not events:
        kinds = ", ".join(track.kind for track in header.tracks) or "none"
        raise RecordingError(path, f"holds no event track (tracks: {kinds})")
    if len(events) > 1:
        tally.note(f"{len(events)} event tracks; read the first, number {events[0].number}")
    track = events[0]
    triggers = {other.number for other in header.tracks if other.kind == "TRIG"}

    def packets() -> Iterator[Events]:
        seen = 0
        with open(path, "rb") as file:
            file.seek(start)
            position = start
            while position < end:
                head = file.read(8)
                number, length = struct.unpack("<ii", head) if len(head) == 8 else (0, 0)
                if len(head) < 8 or position + 8 + length > end:
                    tally.note(f"truncated after {seen} events: {end - position} bytes left over")
                    return
                if length < 0 or length > _MAX_PACKET_BYTES:
                    raise RecordingError(path, f"damaged: a packet of {length} bytes at byte {position}")
                wanted = number == track.number
                if wanted or number in triggers:
                    body = _decompress(path, file.read(length), header.compression, position)
                    if wanted:
                        packet = _decode_events(path, body, position)
                        seen += len(packet)
                        yield packet
                    else:
                        tally.triggers += _vector(path, body, b"TRIG", position)[1]
                else:
                    file.seek(length, 1)
                position += 8 + length

    stream = FilePackets(path, tally, packets)
    size_px, assumed = settle_sensor(path, track.sensor, sensor, tally, lambda: smallest_known_sensor(stream))
    return EventStream(size_px, stream, "aedat4", str(path), assumed, tally)


@dataclass(frozen=True)
class _Track:
    number: int
    kind: str
    sensor: Sensor | None


@dataclass(frozen=True)
class _Header:
    compression: int
    table: int
    tracks: list[_Track]


def _read_header(path: Path, head: bytes, read: Callable[[int], bytes]) -> _Header:
    length = int.from_bytes(head[len(MAGIC) :], "little")
    body = head[len(MAGIC) :] + read(min(length, 1 << 24))
    if len(head) < len(MAGIC) + 4 or len(body) < 4 + length:
        raise RecordingError(path, "truncated: the AEDAT 4 header is not whole")
    try:
        compression = struct.unpack_from("<i", body, at)[0] if (at := _field(body, 0)) else 0
        table = struct.unpack_from("<q", body, at)[0] if (at := _field(body, 1)) else -1
        at = _field(body, 2)
        if not at:
            raise ValueError("no description of the tracks")
        at += struct.unpack_from("<I", body, at)[0]
        text = body[at + 4 : at + 4 + struct.unpack_from("<I", body, at)[0]]
        root = xml.fromstring(text.decode("utf-8"))
    except (struct.error, ValueError, xml.ParseError) as error:
        raise RecordingError(path, f"the AEDAT 4 header is damaged ({cause_of(error)})") from error
    if not 0 <= compression <= 4:
        raise RecordingError(path, f"unknown AEDAT 4 compression {compression}")
    return _Header(compression, table, _tracks(path, root))


def _tracks(path: Path, root: xml.Element) -> list[_Track]:
    tracks = []
    for node in root.iterfind("./node[@name='outInfo']/node"):
        values = {attr.get("key"): (attr.text or "").strip() for attr in node.iterfind("attr")}
        values |= {attr.get("key"): (attr.text or "").strip() for attr in node.iterfind("./node[@name='info']/attr")}
        width, height, number = values.get("sizeX", ""), values.get("sizeY", ""), node.get("name", "")
        if not number.isdigit():
            raise RecordingError(path, f"the AEDAT 4 header is damaged (track {number!r})")
        stated = Sensor(int(width), int(height)) if width.isdigit() and height.isdigit() else None
        tracks.append(_Track(int(number), values.get("typeIdentifier", ""), stated))
    return sorted(tracks, key=lambda track: track.number)


def _field(body: bytes, number: int) -> int:
    """Position of a field of the root table of a size-prefixed FlatBuffer, 0 where the field has its default."""
    table = 4 + struct.unpack_from("<I", body, 4)[0]
    vtable = table - struct.unpack_from("<i", body, table)[0]
    if vtable < 0 or 6 + 2 * number > struct.unpack_from("<H", body, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", body, vtable + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _vector(path: Path, body: bytes, kind: bytes, position: int) -> tuple[int, int]:
    """Start and length of the vector that is the first field of a packet of the given kind."""
    try:
        if body[8:12] != kind:
            raise ValueError(f"kind {body[8:12]!r} where {kind!r} is due")
        at = _field(body, 0)
        if not at:
            return 0, 0
        at += struct.unpack_from("<I", body, at)[0]
        return at + 4, struct.unpack_from("<I", body, at)[0]
    except (struct.error, ValueError) as error:
        raise RecordingError(path, f"damaged packet at byte {position} ({cause_of(error)})") from error


def _decode_events(path: Path, body: bytes, position: int) -> Events:
    at, count = _vector(path, body, b"EVTS", position)
    if at + count * _STORED.itemsize > len(body):
        raise RecordingError(path, f"damaged packet at byte {position}: {count} events do not fit in it")
    stored = np.frombuffer(body, _STORED, count, at)
    events = np.empty(count, EVENT_DTYPE)
    for name in "txy":
        events[name] = stored[name]
    events["p"] = stored["p"] != 0
    return events


def _decompress(path: Path, data: bytes, compression: int, position: int) -> bytes:
    try:
        if compression == 0:
            return data
        if compression in (1, 2):
            return bytes(lz4.frame.decompress(data))
        try:
            from compression import zstd  # Python 3.14
        except ImportError:
            from backports import zstd
        return bytes(zstd.decompress(data))
    except (RuntimeError, ValueError, EOFError, ArithmeticError) as error:
        raise RecordingError(path, f"damaged packet at byte {position} ({cause_of(error)})") from error
    except ImportError as error:
        raise RecordingError(
            path, "Zstandard packets need the package backports.zstd: pip install backports.zstd"
        ) from error


def write_aedat4(path: Path, stream: EventStream) -> None:
    """Write one event track, LZ4-compressed; times must not step back and lie above zero."""

    def attribute(value: str | int) -> aedat.DescriptionAttribute:
        return aedat.DescriptionAttribute("int" if isinstance(value, int) else "string", value)

    def node(name: str, parent: str, attributes: dict[str, str | int], *nodes: object) -> aedat.DescriptionNode:
        return aedat.DescriptionNode(name, parent, {k: attribute(v) for k, v in attributes.items()}, list(nodes))

    root = "/mainloop/Recorder/outInfo/"
    size: dict[str, str | int] = {"sizeX": stream.sensor.width, "sizeY": stream.sensor.height, "source": "dvs_snn"}
    kind: dict[str, str | int] = {"compression": "LZ4", "originalOutputName": "events", "typeIdentifier": "EVTS"}
    track = node("0", root + "0/", kind, node("info", root + "0/info/", size))
    last = 0
    try:
        with aedat.Encoder(str(path), [node("outInfo", root, {}, track)], aedat.LZ4_DEFAULT) as encoder:
            for packet in stream:
                if not len(packet):
                    continue
                t = packet["t"]
                if t[0] < last or t[0] < 0 or (t[1:] < t[:-1]).any():
                    raise RecordingError(
                        path, "AEDAT 4 holds no time that steps back or is below zero; write .npz or .csv"
                    )
                last = int(t[-1])
                for start in range(0, len(packet), 1 << 16):
                    encoder.write(0, np.ascontiguousarray(packet[start : start + (1 << 16)]).view(faery.EVENTS_DTYPE))
    except RuntimeError as error:
        raise RecordingError(path, f"cannot be written ({cause_of(error)})") from error
    with open(path, "rb") as file:  # the encoder may lose a failed flush at its end, so look whether its table came out
        header = _read_header(path, file.read(len(MAGIC) + 4), file.read)
        if not 0 < header.table <= file.seek(0, 2):
            raise RecordingError(path, "was not written to its end; is the disk full?")
