"""What readers of files share: packets that can be read again, the sensor's size, columns that become events."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.stream import EventStream, Sensor, Tally

PACKET_EVENTS = 1 << 16
"""Events per packet of a file: large enough for numpy, small enough for a cache and for constant memory."""

KNOWN_SENSORS = tuple(
    Sensor(width, height)
    for width, height in (
        (128, 128),
        (240, 180),
        (304, 240),
        (320, 240),
        (346, 260),
        (640, 480),
        (1280, 720),
        (1280, 800),
    )
)
"""DVS128, DAVIS240, ATIS, DVXplorer Lite, DAVIS346, Gen3/DVXplorer, Gen4."""


class FilePackets:
    """Packets of a file, read anew at each iteration; `read` is a generator function.

    Whatever the system, a decompressor or a parser raises in the middle of a file comes out as a `RecordingError`.
    """

    def __init__(self, path: Path, tally: Tally, read: Callable[[], Iterator[Events]]) -> None:
        self._path, self._tally, self._read = path, tally, read

    def __iter__(self) -> Iterator[Events]:
        self._tally.triggers = self._tally.unknown_words = 0
        try:
            yield from self._read()
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
            raise RecordingError(self._path, cause_of(error)) from error


def cause_of(error: BaseException) -> str:
    """One line that says what a lower layer complained about."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")


def settle_sensor(
    path: Path, stated: Sensor | None, given: Sensor | None, tally: Tally, assume: Callable[[], Sensor]
) -> tuple[Sensor, bool]:
    """The sensor of a file and whether it was assumed: the caller's, else the header's, else `assume()`.

    The caller wins because headers are wrong more often than people who bother to type a size; a difference is noted,
    and events outside what was asked for are dropped and counted like any others.
    """
    if given is not None:
        if stated is not None and stated != given:
            tally.note(f"the file says {stated}, read as {given} because you asked for it")
        return given, False
    if stated is not None:
        return stated, False
    sensor = assume()
    tally.note(f"the file does not say the sensor's size: assumed {sensor} (give --sensor WxH to state it)")
    return sensor, True


def smallest_known_sensor(packets: Iterable[Events]) -> Sensor:
    """The smallest of the known sensors that holds every event, else one cut to measure; reads all packets once.

    A coordinate of 65535 stands for one that is negative or too large, which no sensor has.
    """
    size = {"x": 0, "y": 0}
    for packet in packets:
        for name, largest in size.items():
            values = packet[name]
            if len(values) and (new := int(values.max())) > largest:
                if new == 65535:
                    new = int(np.where(values == 65535, 0, values).max())
                size[name] = max(largest, new)
    fitting = (sensor for sensor in KNOWN_SENSORS if size["x"] < sensor.width and size["y"] < sensor.height)
    return next(fitting, None) or Sensor(size["x"] + 1, size["y"] + 1)


def scanned_stream(
    path: Path,
    given: Sensor | None,
    stated: Sensor | None,
    tally: Tally,
    read: Callable[[], Iterator[Events]],
    name: str,
) -> EventStream:
    """A stream of a format that need not state its sensor: read through once where nobody says it."""
    packets = FilePackets(path, tally, read)
    sensor, assumed = settle_sensor(path, stated, given, tally, lambda: smallest_known_sensor(packets))
    return EventStream(sensor, packets, name, str(path), assumed, tally)


NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "col", "column"),
    "y": ("y", "ys", "row"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
UNITS = {"us": 1.0, "usec": 1.0, "microseconds": 1.0, "ms": 1e3, "ns": 1e-3, "s": 1e6, "sec": 1e6, "seconds": 1e6}


def column_of(name: str) -> tuple[str, float | None] | None:
    """Which of t, x, y, p a name means, and the microseconds per unit where the name says it (`t_us`, `t [s]`)."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    if not words:
        return None
    unit = UNITS.get(words[-1]) if len(words) > 1 else None
    stem = words[0]
    for column, names in NAMES.items():
        if stem in names and (len(words) == 1 or unit is not None or words[-1] in ("px", "pixel", "pixels")):
            return column, unit if column == "t" else None
    return None


def match_columns(names: Iterable[str]) -> tuple[dict[str, str], float | None]:
    """The names that stand for t, x, y, p (only those found), and the time's scale where its name says it."""
    found: dict[str, str] = {}
    scale = None
    for name in names:
        meaning = column_of(name)
        if meaning is not None and meaning[0] not in found:
            found[meaning[0]] = name
            if meaning[0] == "t":
                scale = meaning[1]
    return found, scale


def float_time_scale(t: NDArray[Any], tally: Tally) -> float:
    """Microseconds per unit of times whose name says no unit: fractions mean seconds, whole numbers microseconds."""
    if t.dtype.kind != "f":
        return 1.0
    finite = t[np.isfinite(t)]
    seconds = bool(len(finite)) and bool((finite != np.floor(finite)).any()) and float(np.abs(finite).max()) < 1e11
    tally.note(f"the file does not say the unit of time: assumed {'seconds' if seconds else 'microseconds'}")
    return 1e6 if seconds else 1.0


def events_of_columns(columns: Sequence[NDArray[Any]], scale: float = 1.0) -> Events:
    """Events from columns t, x, y, p of any numeric type; coordinates beyond 16 bits become 65535, outside any sensor.

    Raises ValueError for fractions of pixels and times that are no numbers: to round them would be a silent guess.
    """
    t, x, y, p = columns
    events = np.empty(len(t), EVENT_DTYPE)
    if t.dtype.kind == "f" or scale != 1.0:
        micro = np.rint(t.astype(np.float64) * scale)
        if not bool((np.abs(micro) < 2**63).all()):  # also false for nan
            raise ValueError("a time is no number")
        events["t"] = micro
    else:
        if t.dtype == np.uint64 and len(t) and int(t.max()) >= 2**63:
            raise ValueError("a time exceeds 63 bits")
        events["t"] = t
    for name, column in (("x", x), ("y", y)):
        if column.dtype.kind == "f":
            if not bool((column == np.floor(column)).all()):
                raise ValueError(f"{name} holds fractions of pixels; only raw integer coordinates can be read")
            column = np.clip(column, -1, 65535).astype(np.int64)
        if column.dtype.kind == "b" or column.dtype in (np.uint8, np.uint16):
            events[name] = column
        else:
            wide = column.astype(np.int64) if column.dtype != np.uint64 else np.minimum(column, 65535).astype(np.int64)
            events[name] = np.where((wide < 0) | (wide > 65535), 65535, wide)
    events["p"] = p if p.dtype.kind == "b" else p > 0
    return events


def events_of_records(records: NDArray[Any], names: dict[str, str], scale: float) -> Events:
    """Events from a structured array whose fields `names` says."""
    if records.dtype == EVENT_DTYPE and scale == 1.0:
        return records
    return events_of_columns([records[names[key]] for key in "txyp"], scale)
