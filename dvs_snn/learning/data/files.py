"""What the loaders of published data sets share: finding files, telling how to get them, official check sums."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from dvs_snn.errors import ConfigError
from dvs_snn.learning.simulated import cache_folder

_told: set[str] = set()


def notice(text: str) -> None:
    """One line on stderr, once per process."""
    if text not in _told:
        _told.add(text)
        print(f"note: {text}", file=sys.stderr)


def folders(folder: str | Path, *names: str) -> list[Path]:
    """Where a data set may lie: sub-folders of these names (as Tonic makes them), then the folder itself."""
    root = Path(folder).expanduser()
    return [root / name for name in names if (root / name).is_dir()] + [root]


def missing(what: str, folder: str, wanted: Sequence[str], page: str) -> ConfigError:
    """The error for data that is not there: which files, from which page, where to put them."""
    where = f"in {folder}" if folder else "anywhere: no folder was given"
    place = folder or "a folder"
    return ConfigError(
        f"{what} is not {where}; get {' and '.join(wanted)} from {page}, put them unpacked into {place}"
        + ("" if folder else " and give it with --data")
    )


def official(archives: Iterable[Path], sums: dict[str, str]) -> bool:
    """Whether an archive of a known name is there and is, by its md5, the published one; an unknown one is told of.

    A sum is computed once: it is kept in the cache folder with the file's size and time. Empty files, which stand in
    for an archive that was deleted, say nothing.
    """
    for path in archives:
        wanted = sums.get(path.name)
        if wanted and path.is_file() and path.stat().st_size:
            if _md5(path) == wanted:
                return True
            notice(f"{path} is not the published file (its md5 is {_md5(path)}, published: {wanted})")
    return False


def _md5(path: Path) -> str:
    status = path.stat()
    mark = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    name = hashlib.sha256(json.dumps(mark).encode()).hexdigest()[:24]
    stamp = cache_folder() / "md5" / name
    try:
        return stamp.read_text()
    except OSError:
        pass
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        fresh = stamp.with_name(f".{name}.{os.getpid()}")
        fresh.write_text(digest)
        fresh.replace(stamp)
    except OSError:  # a cache that cannot be written costs time only
        pass
    return digest


def unpacked(path: Path) -> Path | None:
    """The file itself, or made from `path.gz` or `path.zip` beside it; None where there is neither.

    Appears whole or not at all.
    """
    if path.is_file():
        return path
    archive = next((a for s in (".gz", ".zip") if (a := Path(f"{path}{s}")).is_file() and a.stat().st_size), None)
    if archive is None:
        return None
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    notice(f"unpacking {archive}")
    try:
        with ExitStack() as stack:
            members = stack.enter_context(zipfile.ZipFile(archive)) if archive.suffix == ".zip" else None
            packed = stack.enter_context(members.open(path.name) if members else gzip.open(archive))  # noqa: SIM115 (the stack closes it)
            file = stack.enter_context(open(fresh, "wb"))
            shutil.copyfileobj(packed, file, 1 << 20)  # type: ignore[misc, type-var, arg-type]
        fresh.replace(path)
    except (EOFError, KeyError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{archive}: cannot be unpacked, get it again: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)
    return path


def identity(paths: Iterable[Path]) -> str:
    """A digest of names, sizes and times of files: what is computed from them is kept under it."""
    marks = []
    for path in paths:
        status = path.stat()
        marks.append((str(path.resolve()), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps(sorted(marks)).encode()).hexdigest()[:16]
