"""Labelled recordings: what a data set offers, and the compact file in which many of them are kept on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dvs_snn.errors import RecordingError
from dvs_snn.events import Events, Sensor, empty_events

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Recording:
    """Events with the class that they show; `name` says which recording it is in messages and reports.

    `group` is the subject or speaker, empty where it is not known.
    """

    events: Events
    label: int
    name: str = ""
    group: str = ""


@runtime_checkable
class RecordingSet(Protocol):
    """The recordings of one split, read one at a time, from any thread.

    `source` and `split` say what the data is; they go into every result that is measured on it. `groups` is the subject
    or speaker of each recording: a split that shares none with another is what a claim about new people needs.
    """

    @property
    def source(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def sensor(self) -> Sensor: ...

    @property
    def groups(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Recording: ...


@dataclass(frozen=True)
class RecordingView:
    """Other recordings under their own name; a subclass says which of them, or what became of them."""

    whole: RecordingSet

    @property
    def source(self) -> str:
        return self.whole.source

    @property
    def split(self) -> str:
        return self.whole.split

    @property
    def labels(self) -> tuple[str, ...]:
        return self.whole.labels

    @property
    def sensor(self) -> Sensor:
        return self.whole.sensor

    @property
    def groups(self) -> Sequence[str]:
        return self.whole.groups

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Recording:
        return self.whole[index]


@dataclass(frozen=True)
class ListedRecordings:
    """Recordings that lie in memory."""

    recordings: Sequence[Recording]
    labels: tuple[str, ...]
    sensor: Sensor
    source: str = "memory"
    split: str = "all"

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(recording.group for recording in self.recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> Recording:
        return self.recordings[index]


def write_packed(path: Path, events: Events) -> None:
    """Events as columns of the smallest integers that hold them, about 6 bytes an event; appears whole or not at all.

    `t` is kept relative to the first event in 32 bits (71 minutes), polarity as bits.
    """
    t = events["t"]
    origin = int(t[0]) if len(t) else 0
    if len(t) and (int(t.min()) < origin or int(t.max()) - origin > np.iinfo(np.uint32).max):
        raise RecordingError(
            path.name, "cannot be packed: times must not lie before the first event or 71 minutes after"
        )
    columns = {
        "t": (t - origin).astype(np.uint32),
        "x": _narrow(events["x"]),
        "y": _narrow(events["y"]),
        "p": np.packbits(events["p"]),
        "origin_us": np.array([origin], np.int64),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(columns, fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def read_packed(path: Path) -> Events:
    """The inverse of `write_packed`; raises `RecordingError` for a file that is missing or damaged."""
    try:
        columns = load_file(path)
        events = empty_events(len(columns["t"]))
        events["t"] = columns["t"]
        events["t"] += columns["origin_us"][0]
        events["x"] = columns["x"]
        events["y"] = columns["y"]
        events["p"] = np.unpackbits(columns["p"], count=len(events)).view(np.bool_)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RecordingError(path, f"packed recording cannot be read: {error}") from None
    return events


def _narrow(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint8) if not len(values) or int(values.max()) < 256 else values.astype(np.uint16)
