"""Recordings after the transforms and slicers of a recipe, kept on disk: a cut run loses the recording it was at."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from bisect import bisect_right
from collections.abc import Sequence
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from dvs_snn.errors import RecordingError
from dvs_snn.learning.data.tonic_door import Step, apply
from dvs_snn.learning.recordings import Recording, RecordingSet, read_packed, write_packed


@runtime_checkable
class KeptRecordings(RecordingSet, Protocol):
    """Recordings that say by `identity` what they are made from: results are kept on disk under it."""

    @property
    def identity(self) -> str: ...


class Transformed:
    """A set of recordings after a step of Tonic's; each is computed once and kept.

    With a slicer a recording becomes several: all are cut when the set is made, because its length depends on it.
    """

    def __init__(self, recordings: KeptRecordings, step: Step, cache: Path, progress: bool = True) -> None:
        self.recordings, self.step, self.progress = recordings, step, progress
        self.split, self.sensor, self.labels = recordings.split, recordings.sensor, recordings.labels
        self.source = f"{recordings.source}, {json.dumps(step.plain())}"
        mark = [recordings.identity, str(recordings.sensor), step.plain()]
        self.identity = hashlib.sha256(json.dumps([*mark, version("tonic")]).encode()).hexdigest()[:16]
        self._folder = cache / "transformed" / self.identity
        self._making = threading.Lock()
        self._ends: list[int] = []
        if step.slices:
            self._ends = list(accumulate(self._pieces(index) for index in self._bar("slice")))
        counts = [b - a for a, b in zip([0, *self._ends], self._ends, strict=False)] or [1] * len(recordings)
        groups = recordings.groups
        self.groups = tuple(group for group, count in zip(groups, counts, strict=True) for _ in range(count))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else len(self.recordings)

    def __getitem__(self, index: int) -> Recording:
        if not 0 <= index < len(self):
            raise IndexError(index)
        whole, piece = index, 0
        if self._ends:
            whole = bisect_right(self._ends, index)
            piece = index - (self._ends[whole - 1] if whole else 0)
        try:
            path = self._place(whole, piece)
            label, group, name = json.loads(path.with_suffix(".json").read_text())
            return Recording(read_packed(path), label, name, group)
        except (RecordingError, OSError, ValueError):  # not made yet, or cut off by a crash
            return self._make(whole)[piece]

    def prepare(self, progress: bool = True) -> int:
        """Compute what is not on disk yet; returns how many recordings that were."""
        if hasattr(self.recordings, "prepare"):
            self.recordings.prepare(progress)
        if self._ends:
            return 0
        todo = [index for index in range(len(self.recordings)) if not self._place(index, 0).is_file()]
        for index in self._bar(self.step.name, todo):
            self._make(index)
        return len(todo)

    def _bar(self, title: str, indices: Sequence[int] | None = None) -> Any:
        indices = range(len(self.recordings)) if indices is None else indices
        return tqdm(
            indices, f"{title} {self.split}", unit="recording", leave=False, file=sys.stderr,
            disable=not self.progress,
        )  # fmt: skip

    def _place(self, index: int, piece: int) -> Path:
        return self._folder / self.split / f"{index:06d}.{piece:04d}.safetensors"

    def _pieces(self, index: int) -> int:
        """How many pieces a recording has; the number is written after the last of them."""
        path = self._folder / self.split / f"{index:06d}.count"
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            count = len(self._make(index))
            write_whole(path, str(count))
            return count

    def _make(self, index: int) -> list[Recording]:
        made = apply(self.step, self.recordings[index], self.sensor)
        with self._making:
            for piece, recording in enumerate(made):
                path = self._place(index, piece)
                write_packed(path, recording.events)
                write_whole(path.with_suffix(".json"), json.dumps([recording.label, recording.group, recording.name]))
        return made


def write_whole(path: Path, text: str) -> None:
    """A small file that appears whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


def transformed(recordings: KeptRecordings, steps: Sequence[Step], cache: Path) -> KeptRecordings:
    """A set of recordings after all steps, in their order."""
    for step in steps:
        recordings = Transformed(recordings, step, cache)
    return recordings
