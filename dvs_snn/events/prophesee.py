"""Prophesee files: RAW (EVT2, EVT2.1, EVT3) and DAT, read by packets and, but for EVT2.1, written.

Both begin with lines of text, `% key value`, and hold little-endian words after them. Sensor time is absolute but
wraps (evt3: 16.78 s, evt2: 4.8 h, DAT: 71 min); a line `% t0` states microseconds to add, as faery writes it, and is
how a recording that begins after a wrap keeps its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.codecs import evt2, evt3, evt21
from dvs_snn.events.codecs.decoder import Decoder, check_coordinates
from dvs_snn.events.formats.reading import FilePackets, settle_sensor
from dvs_snn.events.stream import EventStream, Sensor, Tally

_CHUNK_BYTES = 1 << 17  # what is decoded from it stays in the cache of a core, and in memory that is used again
_LINE_BYTES = 4096
_HEADER_LINES = 1000
_DAT_WRAP_US = 1 << 32
_DAT_EVENT_BYTES = 8
_DAT_EVENT_TYPES = {0x00: "2d", 0x0C: "CD"}
_DAT_LOOK_BYTES = 64 << 20  # as much is read ahead to guess a sensor that nobody states

_GENERATIONS = (  # what names of plugins and generations say of the sensor, first match
    (("genx320", "320"), Sensor(320, 320)),
    (("imx636", "imx646", "gen41", "gen4", "4."), Sensor(1280, 720)),
    (("gen31", "gen3", "3."), Sensor(640, 480)),
)
_DAT_SIZES = (Sensor(304, 240), Sensor(640, 480), Sensor(1280, 720))


@dataclass(frozen=True)
class Header:
    """The `% key value` lines of a file (keys in lower case, the last of equal keys) and where its data begins."""

    values: dict[str, str] = field(default_factory=dict)
    end: int = 0

    @property
    def _options(self) -> dict[str, str]:
        """What the line `% format NAME;option=value;...` says."""
        return dict(part.split("=", 1) for part in self.values.get("format", "").split(";") if "=" in part)

    @property
    def sensor(self) -> Sensor | None:
        """The size that the header states, if it does."""
        options = self._options
        for width, height in (
            (options.get("width", ""), options.get("height", "")),
            self.values.get("geometry", "").lower().partition("x")[::2],
            (self.values.get("width", ""), self.values.get("height", "")),
        ):
            if width.isdigit() and height.isdigit() and 0 < int(width) <= 65536 and 0 < int(height) <= 65536:
                return Sensor(int(width), int(height))
        return None

    @property
    def endianness(self) -> str:
        """`little`, `big`, `legacy` (of EVT2.1), or empty where the header does not say it."""
        return (self._options.get("endianness", "") or self.values.get("endianness", "")).lower()

    @property
    def offset_us(self) -> int:
        """What `% t0` says, 0 where it is absent."""
        text = self.values.get("t0", "0")
        return int(text) if text.lstrip("-").isdigit() else 0

    @property
    def encoding(self) -> str:
        """`evt2`, `evt3`, or whatever else the header names, in lower case; empty when it names none."""
        name = self.values.get("format", "").partition(";")[0].strip().lower()
        version = self.values.get("evt", "").strip().removesuffix(".0")
        return name or (f"evt{version.replace('.', '')}" if version else "")


def read_raw(path: Path, sensor: Sensor | None = None) -> EventStream:
    """A RAW file (EVT2, EVT2.1 or EVT3) as a stream that is not repaired yet; `sensor` comes before the header's.

    Raises RecordingError for an empty or truncated file, one without such a header, and other encodings.
    """
    header = read_header(path, "RAW")
    if header.encoding not in ("evt2", "evt21", "evt3"):
        raise RecordingError(path, f"unknown encoding {header.encoding!r} in its header; known: evt2, evt21, evt3")
    bigendian = header.endianness == "big"
    order = _evt21_order(path, header) if header.encoding == "evt21" else None

    def new_decoder() -> Decoder:
        if order is not None:
            return evt21.Evt21Decoder(order, header.offset_us)
        if header.encoding == "evt2":
            return evt2.Evt2Decoder(bigendian, header.offset_us)
        return evt3.Evt3Decoder(bigendian, header.offset_us, from_start=True)

    _check_length(path, header.end, new_decoder().record_bytes)

    tally = Tally()
    guess, reason = _guess_raw(header)
    sensor, assumed = settle_sensor(path, header.sensor, sensor, tally, lambda: guess)
    if assumed:
        tally.note(f"{guess} is {reason}")
    packets = FilePackets(path, tally, lambda: _raw_packets(path, header.end, new_decoder(), tally))
    return EventStream(sensor, packets, f"raw {header.encoding}", str(path), assumed, tally)


def read_dat(path: Path, sensor: Sensor | None = None) -> EventStream:
    """A DAT file (version 2, "CD" or "2d") as a stream that is not repaired yet.

    Raises RecordingError for an empty or truncated file, one without such a header, version 1, whose addresses are laid
    out in more than one way, and other kinds of events.
    """
    header = read_header(path, "DAT")
    version = header.values.get("version", "")
    if version != "2":
        raise RecordingError(path, f"DAT version {version or 'of no number'} is not supported, only version 2")
    with path.open("rb") as file:
        file.seek(header.end)
        kind = file.read(2)
    if len(kind) < 2:
        raise RecordingError(path, "truncated: the header is not followed by type and size of the events")
    if kind[0] not in _DAT_EVENT_TYPES or kind[1] != _DAT_EVENT_BYTES:
        raise RecordingError(
            path, f"holds events of type 0x{kind[0]:02x} and {kind[1]} bytes, not CD events (0x00 or 0x0c, 8 bytes)"
        )
    start = header.end + 2
    _check_length(path, start, _DAT_EVENT_BYTES)

    tally = Tally()
    sensor, assumed = settle_sensor(path, header.sensor, sensor, tally, lambda: _guess_dat(path, start))
    packets = FilePackets(path, tally, lambda: _dat_packets(path, start, header.offset_us))
    return EventStream(sensor, packets, f"dat {_DAT_EVENT_TYPES[kind[0]]}", str(path), assumed, tally)


def write_raw(path: Path, stream: EventStream, encoding: Literal["evt3", "evt2"] = "evt3") -> None:
    """Write a RAW file with a header that states the sensor.

    Raises ConfigError for another encoding and for a sensor whose addresses need more than 11 bits.
    """
    encoder: evt3.Evt3Encoder | evt2.Evt2Encoder
    if encoding == "evt3":
        encoder, wrap_us, version = evt3.Evt3Encoder(stream.sensor), evt3.WRAP_US, "3.0"
    elif encoding == "evt2":
        encoder, wrap_us, version = evt2.Evt2Encoder(stream.sensor), evt2.WRAP_US, "2.0"
    else:
        raise ConfigError(f"RAW holds evt2 or evt3, not {encoding!r}")
    width, height = stream.sensor.width, stream.sensor.height
    lines = [
        f"evt {version}",
        f"format {encoding.upper()};height={height};width={width}",
        f"geometry {width}x{height}",
    ]
    with path.open("wb") as file:
        for number, packet in enumerate(_filled(stream)):
            if number == 0:
                _write_header(file, lines, int(packet["t"][0]) // wrap_us * wrap_us)
            file.write(encoder.encode(packet).data)
        if not file.tell():
            _write_header(file, lines, 0)


def write_dat(path: Path, stream: EventStream) -> None:
    """Write a DAT file, version 2, that states the sensor, which has at most 14 bits a side (else ConfigError)."""
    check_coordinates("dat", stream.sensor, 1 << 14)
    lines = [
        "Data file containing CD events.",
        "Version 2",
        f"Height {stream.sensor.height}",
        f"Width {stream.sensor.width}",
    ]
    with path.open("wb") as file:
        for number, packet in enumerate(_filled(stream)):
            if number == 0:
                _write_header(file, lines, int(packet["t"][0]) // _DAT_WRAP_US * _DAT_WRAP_US)
                file.write(bytes((0x0C, _DAT_EVENT_BYTES)))
            words = np.empty((len(packet), 2), "<u4")
            words[:, 0] = packet["t"] & (_DAT_WRAP_US - 1)
            words[:, 1] = (
                packet["x"].astype(np.uint32)
                | packet["y"].astype(np.uint32) << np.uint32(14)
                | packet["p"].astype(np.uint32) << np.uint32(28)
            )
            file.write(words.data)
        if not file.tell():
            _write_header(file, lines, 0)
            file.write(bytes((0x0C, _DAT_EVENT_BYTES)))


def read_header(path: Path, kind: str) -> Header:
    """The header of a RAW or DAT file; RecordingError when there is none. `kind` is for the message."""
    values: dict[str, str] = {}
    end = 0
    with path.open("rb") as file:
        for _ in range(_HEADER_LINES):
            line = file.readline(_LINE_BYTES)
            text = line[1:].strip().decode("latin-1")
            if not line.startswith(b"%") or not text.isprintable() or not text.isascii():
                break
            if not line.endswith(b"\n"):
                raise RecordingError(path, "truncated: the file ends within its header")
            if not line.startswith(b"% ") and text != "end":
                break  # data that happens to begin with this byte
            end = file.tell()
            if text == "end":
                break
            key, _, value = text.partition(" ")
            values[key.lower()] = value.strip()
        if not end:
            empty = not file.seek(0, 2)
            raise RecordingError(path, "empty file" if empty else f"not a Prophesee {kind} file: it has no '% ' header")
    return Header(values, end)


def _raw_packets(path: Path, start: int, decoder: Decoder, tally: Tally) -> Iterator[Events]:
    for chunk in _chunks(path, start, decoder.record_bytes):
        events = decoder.decode(chunk)
        tally.triggers, tally.unknown_words = decoder.triggers, decoder.unknown_words
        yield events
    decoder.report(tally)


def _dat_packets(path: Path, start: int, offset_us: int) -> Iterator[Events]:
    base, last = offset_us, None
    for chunk in _chunks(path, start, _DAT_EVENT_BYTES):
        words = chunk.view("<u4").reshape(-1, 2)
        low, address = words[:, 0].astype(np.int64), words[:, 1]
        # Time that falls by more than half its range has wrapped, as in `codecs.evt3`.
        steps = np.diff(low, prepend=low[0] if last is None else last)
        wraps = np.cumsum((steps < -(_DAT_WRAP_US // 2)).astype(np.int64) - (steps > _DAT_WRAP_US - (1 << 16)))
        events = np.empty(len(words), EVENT_DTYPE)
        events["t"] = low + base + wraps * _DAT_WRAP_US
        events["x"] = address & np.uint32(0x3FFF)
        events["y"] = address >> np.uint32(14) & np.uint32(0x3FFF)
        events["p"] = address >> np.uint32(28) & np.uint32(1)
        base, last = base + int(wraps[-1]) * _DAT_WRAP_US, int(low[-1])
        yield events


def _chunks(path: Path, start: int, record_bytes: int) -> Iterator[NDArray[np.uint8]]:
    """The file's bytes from `start`, in one buffer that the next chunk overwrites."""
    buffer = np.empty(_CHUNK_BYTES // record_bytes * record_bytes, np.uint8)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        filled = 0
        while count := file.readinto(buffer[filled:]):  # type: ignore[arg-type]
            filled += count
            if filled == len(buffer):
                yield buffer
                filled = 0
        if filled % record_bytes:
            raise RecordingError(path, _truncation(filled % record_bytes, record_bytes))
        if filled:
            yield buffer[:filled]


def _check_length(path: Path, start: int, record_bytes: int) -> None:
    rest = (path.stat().st_size - start) % record_bytes
    if rest:
        raise RecordingError(path, _truncation(rest, record_bytes))


def _truncation(rest: int, record_bytes: int) -> str:
    return f"truncated: {rest} bytes are left after the last whole {record_bytes}-byte word"


def _evt21_order(path: Path, header: Header) -> evt21.Order:
    if header.endianness == "legacy":
        return "legacy"
    if header.endianness == "little":
        return "little"
    first = next(_chunks(path, header.end, 8), np.empty(0, np.uint8))
    order = evt21.find_order(first)
    if order is None and len(first):
        raise RecordingError(path, "EVT2.1 in an order that neither its header ('endianness=') nor its words tell")
    return order or "legacy"


def _guess_raw(header: Header) -> tuple[Sensor, str]:
    for key in ("plugin_name", "sensor_name", "sensor_generation", "generation"):
        value = header.values.get(key, "")
        for marks, sensor in _GENERATIONS:
            if any(value.startswith(mark) if mark.endswith(".") else mark in value for mark in marks):
                return sensor, f"usual for the {key} {value}"
    sensor = Sensor(640, 480) if header.encoding == "evt2" else Sensor(1280, 720)
    return sensor, f"usual for {header.encoding}"


def _guess_dat(path: Path, start: int) -> Sensor:
    """The smallest sensor that wrote DAT files and holds the first few million events."""
    columns = rows = 1
    for number, packet in enumerate(_dat_packets(path, start, 0)):
        columns, rows = max(columns, int(packet["x"].max()) + 1), max(rows, int(packet["y"].max()) + 1)
        if number * _CHUNK_BYTES > _DAT_LOOK_BYTES:
            break
    fitting = (size for size in _DAT_SIZES if size.width >= columns and size.height >= rows)
    return next(fitting, None) or Sensor(columns, rows)


def _filled(stream: EventStream) -> Iterator[Events]:
    return (packet for packet in stream if len(packet))


def _write_header(file: BinaryIO, lines: list[str], offset_us: int) -> None:
    if offset_us:
        lines = [*lines, f"t0 {offset_us}"]
    file.write("".join(f"% {line}\n" for line in [*lines, "end"]).encode("ascii"))
