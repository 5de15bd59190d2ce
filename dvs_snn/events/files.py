"""The one door to recordings: the format is found by a file's name and by its first bytes, which must agree.

Reading gives a repaired stream that can be iterated again and needs constant memory. Writing goes to a temporary file
beside the target, which takes the target's name only when it is whole: a full disk or a killed process leaves no half
file.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dvs_snn.errors import RecordingError
from dvs_snn.events.formats.reading import cause_of
from dvs_snn.events.stream import EventStream, Sensor, repair


@dataclass(frozen=True)
class Format:
    """How a format is told from others, and where its reader is (`module:function` inside this room)."""

    name: str
    extensions: tuple[str, ...]
    magic: tuple[bytes, ...]  # any of these begins the file; none: the format has no magic
    reader: str


FORMATS: tuple[Format, ...] = (
    Format("AEDAT 4", (".aedat", ".aedat4"), (b"#!AER-DAT4.0\r\n",), "formats.aedat4:read_aedat4"),
    Format("AEDAT 3.1", (".aedat", ".aedat3", ".aedat31"), (b"#!AER-DAT3.1",), "formats.aedat31:read_aedat31"),
    Format("AEDAT 2", (".aedat", ".aedat2"), (b"#!AER-DAT2.0",), "formats.aedat2:read_aedat2"),
    Format(
        "AEDAT",
        (".aedat", ".aedat2", ".aedat3", ".aedat31", ".aedat4"),
        (b"#!AER-DAT",),
        "formats.aedat31:refuse_version",
    ),
    Format("Event Stream", (".es",), (b"Event Stream",), "formats.event_stream:read_event_stream"),
    Format("npz", (".npz",), (b"PK\x03\x04", b"PK\x05\x06"), "formats.npz:read_npz"),
    Format("HDF5", (".h5", ".hdf5", ".hdf"), (b"\x89HDF\r\n\x1a\n",), "formats.hdf5:read_hdf5"),
    Format("rosbag1", (".bag",), (b"#ROSBAG V",), "bags:read_bag"),
    Format("rosbag2 (sqlite3)", (".db3",), (b"SQLite format 3\0",), "bags:read_bag"),
    Format("rosbag2 (mcap)", (".mcap",), (b"\x89MCAP0\r\n",), "bags:read_bag"),
    Format("Prophesee RAW", (".raw",), (b"% ", b"%\n"), "prophesee:read_raw"),
    Format("Prophesee DAT", (".dat",), (b"% ", b"%\n"), "prophesee:read_dat"),
    Format("N-MNIST", (".bin",), (), "formats.nmnist:read_nmnist"),
    Format("CSV", (".csv", ".txt", ".tsv"), (), "formats.csv:read_csv"),
)

WRITERS: dict[str, str] = {
    ".aedat4": "formats.aedat4:write_aedat4",
    ".aedat": "formats.aedat31:write_aedat31",
    ".aedat3": "formats.aedat31:write_aedat31",
    ".aedat31": "formats.aedat31:write_aedat31",
    ".aedat2": "formats.aedat2:write_aedat2",
    ".es": "formats.event_stream:write_event_stream",
    ".npz": "formats.npz:write_npz",
    ".h5": "formats.hdf5:write_hdf5",
    ".hdf5": "formats.hdf5:write_hdf5",
    ".bin": "formats.nmnist:write_nmnist",
    ".csv": "formats.csv:write_csv",
    ".txt": "formats.csv:write_csv",
    ".raw": "prophesee:write_raw",
    ".dat": "prophesee:write_dat",
    ".bag": "bags:write_bag",
    ".db3": "bags:write_bag",
    ".mcap": "bags:write_bag",
    "": "bags:write_bag",
}


def open_recording(path: Path | str, sensor: Sensor | None = None) -> EventStream:
    """A recording as a repaired stream; `sensor` overrides what the file says.

    Raises:
        RecordingError: nothing there, not readable, no known format, name and content disagree, or a damaged header.
            Damage further in is raised while the packets are read.
    """
    path = Path(path)
    try:
        stream = _function(_find_format(path).reader)(path, sensor)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise RecordingError(path, cause_of(error)) from error
    if sensor is not None and stream.sensor != sensor:
        stream.tally.note(f"the file says {stream.sensor}, read as {sensor} because you asked for it")
        stream = replace(stream, sensor=sensor, sensor_assumed=False)
    return repair(stream)


def write_recording(path: Path | str, stream: EventStream) -> None:
    """Write a stream in the format that the extension of `path` names (no extension: a rosbag2 folder).

    Raises:
        RecordingError: the extension names no format that can be written, the format cannot hold the stream, or the
            disk is full. The file that had this name before, if any, is then still there.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        known = " ".join(sorted(name for name in WRITERS if name))
        raise RecordingError(path, f"cannot write '{suffix}' files; choose one of {known}")
    if path.is_dir():
        raise RecordingError(path, "is a folder already; choose another name or delete it")
    if not path.parent.is_dir():
        raise RecordingError(path, f"the folder {path.parent} does not exist")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        _function(WRITERS[suffix])(temporary, stream)
        _sync(temporary)
        os.replace(temporary, path)
    except RecordingError as error:
        if error.source == str(temporary):
            raise RecordingError(path, error.cause) from error
        raise
    except (OSError, RuntimeError) as error:
        raise RecordingError(path, f"cannot be written ({cause_of(error)})") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _find_format(path: Path) -> Format:
    suffix = path.suffix.lower()
    named = [form for form in FORMATS if suffix in form.extensions]
    if path.is_dir():
        if (path / "metadata.yaml").is_file():
            return Format("rosbag2", (), (), "bags:read_bag")
        raise RecordingError(path, "is a folder; a recording is a file, or a rosbag2 folder with a metadata.yaml")
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        raise RecordingError(path, "is empty (0 bytes)")
    lengths = {form: max((len(m) for m in form.magic if head.startswith(m)), default=0) for form in FORMATS}
    longest = max(lengths.values())
    content = [form for form in FORMATS if longest and lengths[form] == longest]  # the most specific of those that fit
    both = [form for form in content if form in named]
    if both:
        return both[0]
    if named and not named[0].magic and not content:
        return named[0]
    if named and named[0].name == "CSV" and content[0].name.startswith("Prophesee"):
        return named[0]  # '%' also begins a comment
    if named:
        what = f"its content is {content[0].name}: rename it" if content else "its first bytes are of no known format"
        raise RecordingError(path, f"is named like {named[0].name}, but {what}")
    if len(content) == 1:
        return content[0]
    known = " ".join(sorted({extension for form in FORMATS for extension in form.extensions}))
    raise RecordingError(path, f"extension '{suffix}' and content are of no known format; known: {known}")


def _function(place: str) -> Callable[..., EventStream]:
    """Formats are imported when they are needed: a text file does not wait for HDF5."""
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(f"dvs_snn.events.{module}"), function)  # type: ignore[no-any-return]


def _sync(path: Path) -> None:
    """Bring a file to the disk before it takes its final name, so that a power cut leaves the old file or the new."""
    for part in [path, *path.rglob("*")] if path.is_dir() else [path]:
        with contextlib.suppress(PermissionError):
            handle = os.open(part, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
