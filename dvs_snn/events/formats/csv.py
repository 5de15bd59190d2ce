"""Text: one event per line, columns named by a header or taken as t, x, y, p; read in blocks, written in blocks.

Separators are commas, semicolons, tabs or spaces. The unit of time is the header's; without one, a decimal point means
seconds and whole numbers mean microseconds, and what was assumed is said.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.formats.reading import match_columns, scanned_stream
from dvs_snn.events.stream import EventStream, Sensor, Tally

_BLOCK_BYTES = 1 << 20
_HEADER_LINE = b"t_us,x,y,p\n"
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


@dataclass(frozen=True)
class _Layout:
    start: int  # first byte of the first line of events
    line: int  # its number, from one
    order: tuple[int, int, int, int]  # places of t, x, y, p among the columns
    columns: int
    digits: int  # decimal digits by which the time is shifted to be microseconds; 6 for seconds
    sensor: Sensor | None


def read_csv(path: Path, sensor: Sensor | None = None) -> EventStream:
    """A text file as a stream that is not repaired yet."""
    tally = Tally()
    layout = _layout(path, tally)

    def packets() -> Iterator[Events]:
        parse = _parser()
        line, rest, seen = layout.line, b"", 0
        order = np.array([layout.order.index(i) if i in layout.order else -1 for i in range(layout.columns)])
        with open(path, "rb") as file:
            file.seek(layout.start)
            while True:
                block = file.read(_BLOCK_BYTES)
                if not block and not rest.strip():
                    return
                text = rest + (block or b"\n")
                cut = text.rfind(b"\n") + 1
                if not cut:
                    if len(text) > 1 << 16:
                        raise RecordingError(path, f"line {line} is longer than 65536 characters: not a text of events")
                    rest = text
                    continue
                rest = text[cut:]
                lines = text.count(b"\n", 0, cut)
                events = np.empty(lines, EVENT_DTYPE)
                data = np.frombuffer(text, np.uint8, cut)
                count, bad = parse(data, order, layout.digits, events["t"], events["x"], events["y"], events["p"])
                if bad >= 0 and not block:  # the last line has no end and is no event: it was cut
                    tally.note(f"truncated after {seen} events: {len(text) - 1} bytes left over")
                    return
                if bad >= 0:
                    begin = text.rfind(b"\n", 0, bad) + 1
                    content = text[begin : text.find(b"\n", begin)][:60].decode("utf-8", "replace").strip()
                    where = line + text.count(b"\n", 0, begin)
                    raise RecordingError(path, f"line {where} is no event: {content!r}")
                line, seen = line + lines, seen + count
                yield events[:count]
                if not block:
                    return

    return scanned_stream(path, sensor, layout.sensor, tally, packets, "csv")


def _layout(path: Path, tally: Tally) -> _Layout:
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    if b"\0" in head:
        raise RecordingError(path, "is no text, although its name says so")
    start, number, stated, names = 0, 1, None, None
    for line in head.splitlines(keepends=True):
        text = line.strip()
        if text.startswith((b"#", b"%", b"//")):
            size = re.search(rb"(?:sensor|geometry|size|resolution)\W*(\d+)\s*[x,]\s*(\d+)", text.lower())
            stated = Sensor(int(size[1]), int(size[2])) if size else stated
            candidate = _split(text.lstrip(b"#%/"))
            names = candidate if len(match_columns(candidate)[0]) == 4 else names
        elif text and names is None and not all(_NUMBER.match(field.encode()) for field in _split(text)):
            names = _split(text)
            if len(match_columns(names)[0]) < 4:
                shown = text[:60].decode("utf-8", "replace")
                raise RecordingError(path, f"line {number} names no columns t, x, y, p and is no event: {shown!r}")
        elif text:
            break
        start, number = start + len(line), number + 1
    first = _split(head[start:].split(b"\n", 1)[0])
    scale = None
    if names is None:
        if first and len(first) < 4:
            raise RecordingError(path, f"line {number} has {len(first)} columns; an event needs t, x, y, p")
        tally.note("no header: columns read as t, x, y, p")
        order, columns = (0, 1, 2, 3), max(len(first), 4)
    else:
        found, scale = match_columns(names)
        order, columns = tuple(names.index(found[key]) for key in "txyp"), len(names)  # type: ignore[assignment]
    if scale is None:
        fraction = bool(first) and len(first) > order[0] and re.search(r"[.eE]", first[order[0]]) is not None
        scale = 1e6 if fraction else 1.0
        tally.note(f"unit of time not stated: assumed {'seconds' if fraction else 'microseconds'}")
    return _Layout(start, number, order, columns, round(float(np.log10(scale))), stated)


def _split(text: bytes) -> list[str]:
    line = text.decode("utf-8", "replace").strip().lstrip("\ufeff")
    return [
        field.strip().strip('"') for field in (re.split(r"[,;]", line) if re.search("[,;]", line) else line.split())
    ]


@functools.cache
def _parser() -> Callable[..., Any]:
    """The compiled parser; numba is imported here so that other formats do not wait for it."""
    from dvs_snn.events.formats.csv_kernel import parse

    return parse


def write_csv(path: Path, stream: EventStream) -> None:
    """Write `t_us,x,y,p` lines, p as 0 or 1, after a comment with the sensor's size."""
    with open(path, "wb") as file:
        file.write(f"# sensor {stream.sensor}\n".encode())
        file.write(_HEADER_LINE)
        for packet in stream:
            for start in range(0, len(packet), 1 << 16):
                part = packet[start : start + (1 << 16)]
                file.write(_lines(part))


def _lines(events: Events) -> bytes:
    """Decimal text of events without a Python loop over them: one column of digits at a time, then the blanks go."""
    fields = [events["t"], events["x"].astype(np.int64), events["y"].astype(np.int64), events["p"].astype(np.int64)]
    if not len(events):
        return b""
    columns: list[np.ndarray] = []
    for field, end in zip(fields, b",,,\n", strict=True):
        magnitude = np.abs(field).astype(np.uint64)
        width = len(str(int(magnitude.max())))
        if (field < 0).any():
            columns.append(np.where(field < 0, ord("-"), 0).astype(np.uint8))
        for place in range(width - 1, -1, -1):
            power = np.uint64(10**place)
            digit = (magnitude // power % np.uint64(10)).astype(np.uint8) + np.uint8(48)
            columns.append(np.where((magnitude >= power) | (place == 0), digit, 0).astype(np.uint8))
        columns.append(np.full(len(events), end, np.uint8))
    table = np.stack(columns, axis=1)
    return table[table != 0].tobytes()
