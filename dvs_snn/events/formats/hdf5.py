"""HDF5 of two kinds: DSEC's (`events/{t,x,y,p}`, `t_offset`, `ms_to_idx`) and Metavision's (`CD/events`).

Both are read, DSEC's is written. Compression by plugins (blosc, ECF) needs those plugins:
`pip install hdf5plugin` brings blosc.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import Events
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

_FILTERS = {
    32001: "blosc",
    32026: "blosc2",
    32004: "LZ4",
    32015: "Zstandard",
    36559: "Metavision ECF",
}
_LONGEST_MS = 100_000_000


def read_hdf5(path: Path, sensor: Sensor | None = None) -> EventStream:
    """An HDF5 file of DSEC's or Metavision's kind as a stream that is not repaired yet."""
    tally = Tally()
    with h5py.File(path, "r") as file:
        try:
            sets, names, scale = _find(path, file)
            _check_filters(path, [file[name] for name in sets])
            stated = _stated_sensor(file)
        except (KeyError, TypeError, IndexError) as error:
            raise RecordingError(path, f"its HDF5 tables are damaged ({cause_of(error)})") from error
        offset = int(file["t_offset"][()]) if isinstance(file.get("t_offset"), h5py.Dataset) else 0
        lengths = {len(file[name]) for name in sets}
        kind = "hdf5 (metavision)" if sets == ["CD/events"] else "hdf5"
    if len(lengths) != 1:
        raise RecordingError(path, "its columns t, x, y, p differ in length")
    total = lengths.pop()

    def packets() -> Iterator[Events]:
        unit = scale
        with h5py.File(path, "r") as file:
            triggers = file.get("EXT_TRIGGER/events")
            tally.triggers += len(triggers) if isinstance(triggers, h5py.Dataset) else 0
            columns = [file[name] for name in sets]
            chunk = max((column.chunks[0] if column.chunks else 1) for column in columns)
            block = min(max(PACKET_EVENTS // chunk * chunk, chunk), 16 * PACKET_EVENTS)
            for start in range(0, total, block):
                parts = [column[start : start + block] for column in columns]
                t = parts[0][names["t"]] if len(parts) == 1 else parts[0]
                unit = float_time_scale(t, tally) if unit is None else unit
                events = events_of_records(parts[0], names, unit) if len(parts) == 1 else events_of_columns(parts, unit)
                if offset:
                    events["t"] += offset
                for cut in range(0, len(events), PACKET_EVENTS):
                    yield events[cut : cut + PACKET_EVENTS]

    return scanned_stream(path, sensor, stated, tally, packets, kind)


def _find(path: Path, file: h5py.File) -> tuple[list[str], dict[str, str], float | None]:
    """The data sets that hold events: one of records, or four of columns t, x, y, p."""
    for name in ("CD/events", "events"):
        node = file.get(name)
        if isinstance(node, h5py.Dataset) and node.dtype.names and node.ndim == 1:
            names, scale = match_columns(node.dtype.names)
            if len(names) == 4:
                return [name], names, scale
    for group in ("events", "/"):
        node = file.get(group)
        if isinstance(node, h5py.Group):
            columns = [name for name, item in node.items() if isinstance(item, h5py.Dataset) and item.ndim == 1]
            names, scale = match_columns(columns)
            if len(names) == 4:
                return [f"{group.rstrip('/')}/{names[key]}" for key in "txyp"], names, scale
    found = ", ".join(sorted(file)) or "nothing"
    raise RecordingError(
        path, f"no events found: expected events/t,x,y,p (DSEC) or CD/events (Metavision); holds {found}"
    )


def _check_filters(path: Path, sets: list[h5py.Dataset]) -> None:
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  registers its filters
    for item in sets:
        properties = item.id.get_create_plist()
        for index in range(properties.get_nfilters()):
            number, _, _, name = properties.get_filter(index)
            if not h5py.h5z.filter_avail(number):
                label = _FILTERS.get(number, name.decode("ascii", "replace") or "unknown")
                advice = (
                    "pip install hdf5plugin"
                    if "blosc" in label or number in (32004, 32015)
                    else "convert it with Metavision"
                )
                raise RecordingError(
                    path, f"is compressed by {label} (HDF5 filter {number}), which is not installed: {advice}"
                )


def _stated_sensor(file: h5py.File) -> Sensor | None:
    for node in (file, file.get("events"), file.get("CD")):
        if node is None:
            continue
        attrs = node.attrs
        if "width" in attrs and "height" in attrs:
            return Sensor(int(attrs["width"]), int(attrs["height"]))
        if "sensor_resolution" in attrs:  # (height, width)
            size = np.ravel(attrs["sensor_resolution"])
            return Sensor(int(size[1]), int(size[0]))
        if "geometry" in attrs:
            text = attrs["geometry"]
            match = re.fullmatch(r"(\d+)x(\d+)", text.decode() if isinstance(text, bytes) else str(text))
            if match:
                return Sensor(int(match[1]), int(match[2]))
    return None


def write_hdf5(path: Path, stream: EventStream) -> None:
    """Write DSEC's layout (gzip): times count from `t_offset`; `ms_to_idx[m]` is the first event at or after m ms.

    Times must not step back, as `ms_to_idx` is a search table.
    """
    with _Disk(path) as disk:
        with h5py.File(disk, "w") as file:
            file.attrs["width"], file.attrs["height"] = stream.sensor.width, stream.sensor.height
            _write(path, file, disk.until_it_fails(stream))
        if disk.failure is not None:
            raise disk.failure


class _Disk(io.FileIO):
    """A file for HDF5 that keeps the first failed write to itself and then swallows everything.

    HDF5 cannot let go of a file whose last writes fail: it tries again at the end of the process and crashes there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.failure is None:
            try:
                done = 0
                while done < size:  # the disk may take a part
                    done += super().write(memoryview(data).cast("B")[done:])
            except OSError as error:
                self.failure = error
        return size

    def until_it_fails(self, packets: Iterable[Events]) -> Iterator[Events]:
        """The packets, as long as they can be written."""
        for packet in packets:
            if self.failure is not None:
                return
            yield packet

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


def _write(path: Path, file: h5py.File, packets: Iterable[Events]) -> None:
    group = file.create_group("events")
    options = {
        "shape": (0,),
        "maxshape": (None,),
        "chunks": (PACKET_EVENTS,),
        "compression": "gzip",
        "compression_opts": 1,
    }
    sets = {
        name: group.create_dataset(name, dtype=kind, **options)
        for name, kind in zip("txyp", ("i8", "u2", "u2", "u1"), strict=True)
    }
    index = file.create_dataset("ms_to_idx", dtype="u8", **options)
    offset = last = None
    count = 0
    for packet in packets:
        if not len(packet):
            continue
        t = packet["t"]
        if (last is not None and t[0] < last) or (t[1:] < t[:-1]).any():
            raise RecordingError(path, "HDF5 of DSEC's kind holds no time that steps back; write .npz or .csv")
        offset, last = int(t[0]) if offset is None else offset, int(t[-1])
        relative = t - offset
        if relative[-1] // 1000 > _LONGEST_MS:
            raise RecordingError(path, "HDF5 of DSEC's kind holds no more than 27 hours; write .npz or .aedat4")
        ms = np.arange(len(index), relative[-1] // 1000 + 1)
        _append(index, np.searchsorted(relative, ms * 1000) + count)
        for name, values in (("t", relative), ("x", packet["x"]), ("y", packet["y"]), ("p", packet["p"])):
            _append(sets[name], values)
        count += len(packet)
    file.create_dataset("t_offset", data=np.int64(offset or 0))


def _append(data: h5py.Dataset, values: np.ndarray) -> None:
    start = len(data)
    data.resize((start + len(values),))
    data[start:] = values
