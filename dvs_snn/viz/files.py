"""A picture or video appears under its name only when it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvs_snn.errors import DvsSnnError


@contextmanager
def replaced_when_done(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` (its folder is made), renamed to it at the end, removed when the block fails."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()  # an unwritable folder is known at once, not after the first minute
    except OSError as error:
        raise DvsSnnError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield partial
        try:
            partial.replace(path)
        except OSError as error:
            raise DvsSnnError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
