"""Prophesee files: RAW (EVT2, EVT3) and DAT, read by packets and written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dvs_snn.events.stream import EventStream, Sensor


def read_raw(path: Path, sensor: Sensor | None = None) -> EventStream:
    """A RAW file (EVT2, EVT2.1 or EVT3) as a stream that is not repaired yet."""
    raise NotImplementedError


def read_dat(path: Path, sensor: Sensor | None = None) -> EventStream:
    """A DAT file (version 1 or 2, "CD" or "2d") as a stream that is not repaired yet."""
    raise NotImplementedError


def write_raw(path: Path, stream: EventStream, encoding: Literal["evt3", "evt2"] = "evt3") -> None:
    """Write a RAW file with a header that states the sensor."""
    raise NotImplementedError


def write_dat(path: Path, stream: EventStream) -> None:
    """Write a DAT file, version 2, with a header that states the sensor."""
    raise NotImplementedError
