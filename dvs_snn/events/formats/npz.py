"""npz archives: one structured array of events, or columns t, x, y, p; read and written by packets.

A member of a zip file can be read as a stream, so an archive larger than memory is no trouble. The project's own layout
is a member `events` of `EVENT_DTYPE` and a member `sensor` = (width, height).
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.formats.reading import (
    PACKET_EVENTS,
    cause_of,
    events_of_columns,
    events_of_records,
    float_time_scale,
    match_columns,
    scanned_stream,
)
from dvs_snn.events.stream import EventStream, Sensor, Tally

_HEADER_BYTES = 128


def read_npz(path: Path, sensor: Sensor | None = None) -> EventStream:
    """An npz archive as a stream that is not repaired yet."""
    tally = Tally()
    try:
        with zipfile.ZipFile(path) as archive:
            layout = _layout(path, archive)
            stated = _stated_sensor(path, archive)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise RecordingError(path, f"not a whole npz archive, it may be truncated ({cause_of(error)})") from error

    def packets() -> Iterator[Events]:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:
            columns = [_Column(stack.enter_context(archive.open(name)), name) for name in layout]
            yield from _events(path, columns, tally)

    def translated() -> Iterator[Events]:
        try:
            yield from packets()
        except zipfile.BadZipFile as error:
            raise RecordingError(path, f"the archive is damaged ({cause_of(error)})") from error

    return scanned_stream(path, sensor, stated, tally, translated, "npz")


class _Column:
    """One member of the archive: its numpy header, then its values piece by piece."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name, self._file = name.removesuffix(".npy"), file
        self.shape, self.dtype = _read_header(file)
        self.length = self.shape[0] if len(self.shape) == 1 else -1

    def read(self, count: int) -> NDArray[Any]:
        return np.frombuffer(_read_whole(self._file, count * self.dtype.itemsize), self.dtype)


def _read_whole(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            break
        data += more
    return data


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"numpy format {version[0]}.{version[1]} is unknown")
    try:
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    except (SyntaxError, tokenize.TokenError, TypeError, KeyError) as error:  # the header is a line of Python
        raise ValueError("the header of a member is damaged") from error
    return shape, dtype


def _layout(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """Names of the members to read: one of records, or those of the columns t, x, y, p."""
    members = [name for name in archive.namelist() if name.endswith(".npy")]
    found = {name.removesuffix(".npy"): name for name in members}
    one_dimensional = []
    for name in members:
        with archive.open(name) as file:
            shape, dtype = _read_header(file)
        if dtype.names and len(match_columns(dtype.names)[0]) == 4 and len(shape) == 1:
            return [name]
        if dtype.hasobject and name == "events.npy":
            raise RecordingError(
                path, "member 'events' holds Python objects, which are never loaded; save plain columns"
            )
        if len(shape) == 1 and dtype.kind in "iufb":
            one_dimensional.append(name.removesuffix(".npy"))
    columns, _ = match_columns(one_dimensional)
    if len(columns) < 4:
        names = ", ".join(found) or "none"
        raise RecordingError(
            path, f"no events in the archive: expected records or columns t, x, y, p; members: {names}"
        )
    return [found[columns[key]] for key in "txyp"]


def _stated_sensor(path: Path, archive: zipfile.ZipFile) -> Sensor | None:
    def values(name: str) -> list[int]:
        if name + ".npy" not in archive.namelist():
            return []
        with archive.open(name + ".npy") as file:
            array = npy.read_array(file, allow_pickle=False)
        return [int(value) for value in array.ravel()] if array.dtype.kind in "iu" else []

    for name in ("sensor", "sensor_size"):
        size = values(name)
        if len(size) in (2, 3):
            return Sensor(size[0], size[1])
    width, height = values("width"), values("height")
    return Sensor(width[0], height[0]) if len(width) == len(height) == 1 else None


def _events(path: Path, columns: list[_Column], tally: Tally) -> Iterator[Events]:
    lengths = {column.length for column in columns}
    if len(lengths) != 1:
        raise RecordingError(path, "columns differ in length: " + ", ".join(f"{c.name} {c.length}" for c in columns))
    remaining = lengths.pop()
    if len(columns) == 1:
        names, scale = match_columns(columns[0].dtype.names or ())
    else:
        names, scale = {}, match_columns([columns[0].name])[1]
    while remaining > 0:
        parts = [column.read(min(PACKET_EVENTS, remaining)) for column in columns]
        count = min(len(part) for part in parts)
        if len(columns) == 1:
            if scale is None:
                scale = float_time_scale(parts[0][names["t"]], tally)
            packet = events_of_records(parts[0], names, scale)
        else:
            if scale is None:
                scale = float_time_scale(parts[0], tally)
            packet = events_of_columns([part[:count] for part in parts], scale)
        remaining -= count
        yield packet
        if count < PACKET_EVENTS and remaining > 0:
            tally.note(f"truncated: {remaining} events that the header promises are missing")
            return


def write_npz(path: Path, stream: EventStream) -> None:
    """Write the project's own layout, uncompressed, packet by packet.

    The number of events stands in the array's header before the events. It is known only at the end, so a header of
    fixed length is written first and rewritten, and the member's checksum is corrected for it.
    """
    with open(path, "w+b") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("sensor.npy", "w") as member:
            npy.write_array(member, np.array([stream.sensor.width, stream.sensor.height], np.int64))
        info = zipfile.ZipInfo("events.npy")
        count, crc = 0, 0
        placeholder = _header(0)
        with archive.open(info, "w", force_zip64=True) as member:
            member.write(placeholder)
            for packet in stream:
                data = np.ascontiguousarray(packet).view(np.uint8).data
                member.write(data)
                count += len(packet)
        header = _header(count)
        crc = zlib.crc32(header) ^ zlib.crc32(placeholder)
        info.CRC ^= _shifted_crc(crc, count * EVENT_DTYPE.itemsize)
        end = file.tell()
        file.seek(info.header_offset)
        file.write(info.FileHeader(zip64=True))
        file.write(header)
        file.seek(end)


def _header(count: int) -> bytes:
    fields = f"{{'descr': {npy.dtype_to_descr(EVENT_DTYPE)!r}, 'fortran_order': False, 'shape': ({count},), }}"
    text = fields.ljust(_HEADER_BYTES - 11) + "\n"
    return npy.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode("latin1")


def _shifted_crc(crc: int, zeros: int) -> int:
    """The change of a CRC-32 that a change `crc` makes when `zeros` bytes follow it: a product with x^(8 zeros) mod P.

    Bit-reversed polynomials over GF(2), as in zip; square and multiply, so the cost is logarithmic in the length.
    """

    def times(a: int, b: int) -> int:
        product = 0
        for bit in range(31, -1, -1):
            if a >> bit & 1:
                product ^= b
            b = (b >> 1) ^ (0xEDB88320 if b & 1 else 0)
        return product

    power = 1 << 23  # x^8
    while zeros:
        if zeros & 1:
            crc = times(crc, power)
        power = times(power, power)
        zeros >>= 1
    return crc
