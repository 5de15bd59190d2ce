"""Recordings with a truth about moving targets: simulated shapes, kept on disk, or files with a CSV beside each."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import EventStream, Sensor, empty_events, stream_of
from dvs_snn.events.files import FORMATS, open_recording
from dvs_snn.events.simulate import ShapesConfig, ShapesTruth, simulate_shapes
from dvs_snn.events.simulate.shapes import build_shapes
from dvs_snn.learning.recordings import Recording, read_packed, write_packed
from dvs_snn.learning.simulated import cache_folder, source_digest, work_through

TRACKING_SEEDS = {"train": 50_000_000, "validation": 70_000_000, "test": 80_000_000}
"""First seed of each split of simulated sequences; a split has a million seeds of its own."""
SEQUENCES, SEQUENCE_S = 60, 2.0
_TRUTH_ENDINGS = (".truth.csv", ".csv")
_SCENES = ShapesConfig(step_us=5000)


@dataclass(frozen=True)
class TrackedRecording(Recording):
    """A recording and the truth about its targets."""

    truth: ShapesTruth = field(default_factory=lambda: ShapesTruth(np.zeros(0)))
    sensor: Sensor = Sensor(240, 180)

    @property
    def stream(self) -> EventStream:
        return stream_of(self.events, self.sensor, source=self.name)


@dataclass(frozen=True)
class SimulatedShapesConfig:
    """How many sequences of moving shapes per split, how long, and where they are kept; `workers` 0 is one per core.

    Of the training's scenes those with fewer than `least_targets` are passed over: the loss is a mean over targets, so
    crowded scenes teach more per bin. `cache` empty means `dvs_snn` in the user's cache folder.
    """

    train: int = 800
    validation: int = 24
    test: int = SEQUENCES
    seconds: float = SEQUENCE_S
    cache: str = ""
    workers: int = 0
    least_targets: int = 1

    def __post_init__(self) -> None:
        if not _SCENES.targets[0] <= self.least_targets <= _SCENES.targets[1]:
            raise ConfigError("simulated shapes: least_targets lies in {} to {}".format(*_SCENES.targets))
        if self.seconds < 0.01 or self.workers < 0:
            raise ConfigError("simulated shapes: seconds must be at least 0.01, workers not negative")
        if not 1 <= min(self.train, self.validation, self.test) <= max(self.train, self.validation, self.test) <= 10**6:
            raise ConfigError("simulated shapes: give 1 to 1000000 recordings per split")


class SimulatedShapes:
    """One split of simulated shapes, a sequence per seed; 1 to 6 targets, half of the scenes with paired crossings."""

    labels: tuple[str, ...] = ()

    def __init__(self, config: SimulatedShapesConfig, split: str, sensor: Sensor = Sensor(240, 180)) -> None:  # noqa: B008
        if split not in TRACKING_SEEDS:
            raise ConfigError(f"simulated shapes have the splits {', '.join(TRACKING_SEEDS)}, not {split!r}")
        self.config, self.split, self.sensor = config, split, sensor
        digest = source_digest(simulate_shapes)
        self.source = f"simulated shapes, {config.seconds:g} s, {sensor}, simulator {digest}"
        self.seeds: Sequence[int] = range(TRACKING_SEEDS[split], TRACKING_SEEDS[split] + len(self))
        if split == "train" and config.least_targets > _SCENES.targets[0]:
            self.source += f", at least {config.least_targets} targets"
            self.seeds = self._crowded(config.least_targets)
        self.identity = f"{self.source}, {split}"
        self.groups = ("",) * len(self)
        address = json.dumps([digest, config.seconds, sensor.width, sensor.height, asdict(_SCENES)])
        self._folder = cache_folder(config.cache) / "shapes" / hashlib.sha256(address.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return int(getattr(self.config, self.split))

    def __getitem__(self, index: int) -> TrackedRecording:
        """Read a sequence; one that is missing or damaged is simulated now."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        seed = self.seeds[index]
        path = self._path(seed)
        try:
            return _read(path, seed, self.sensor)
        except RecordingError:
            _simulate_to(path, self.config.seconds, seed, self.sensor)
            return _read(path, seed, self.sensor)

    def __iter__(self) -> Iterator[TrackedRecording]:
        return (self[index] for index in range(len(self)))

    def prepare(self, progress: bool = True) -> int:
        """Simulate what is not on disk yet, return how many that were; each is kept as soon as it is made."""
        jobs = [(self._path(seed), self.config.seconds, seed, self.sensor) for seed in self.seeds]
        jobs = [job for job in jobs if not job[0].is_file()]
        if jobs:
            title, workers = f"simulate {self.split}", self.config.workers or os.cpu_count() or 1
            with tqdm(total=len(jobs), desc=title, unit="recording", disable=not progress, file=sys.stderr) as bar:
                work_through(jobs, _simulate_to, lambda job: job[0].is_file(), workers, bar.update)
        return len(jobs)

    def _crowded(self, targets: int) -> Sequence[int]:
        """The split's first seeds whose scenes have that many targets or more."""
        drawn = (
            (seed, build_shapes(self.config.seconds, seed, self.sensor, None, _SCENES)[0])
            for seed in count(TRACKING_SEEDS[self.split])
        )
        return list(islice((seed for seed, scene in drawn if scene.targets >= targets), len(self)))

    def _path(self, seed: int) -> Path:
        return self._folder / f"{seed:08d}.safetensors"


def _simulate_to(path: Path, seconds: float, seed: int, sensor: Sensor) -> None:
    """The truth first: where the events are, both are."""
    events, truth = simulate_shapes(seconds, seed, sensor, config=_SCENES)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.stem}.{os.getpid()}.npy")
    np.save(fresh, truth.rows)
    fresh.replace(path.with_suffix(".npy"))
    write_packed(path, events)


def _read(path: Path, seed: int, sensor: Sensor) -> TrackedRecording:
    try:
        truth = ShapesTruth(np.load(path.with_suffix(".npy")))
    except (OSError, ValueError) as error:
        raise RecordingError(path, f"truth cannot be read: {error}") from None
    return TrackedRecording(read_packed(path), 0, f"seed {seed}", truth=truth, sensor=sensor)


@dataclass(frozen=True)
class RecordedTracks:
    """Recordings in a folder, each with its truth beside it: `NAME.EXT` with `NAME.truth.csv` or `NAME.csv`."""

    folder: Path
    split: str = "all"

    @property
    def source(self) -> str:
        return str(self.folder)

    def pairs(self) -> list[tuple[Path, Path]]:
        """Recording and truth; text files are never taken as recordings here, as a truth is one.

        Raises `RecordingError` where there is none.
        """
        if not self.folder.is_dir():
            raise RecordingError(self.folder, "no such folder")
        known = {extension for form in FORMATS for extension in form.extensions} - {".csv", ".txt", ".tsv"}
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.suffix.lower() in known]
        found = []
        for path in files:
            truths = [path.with_name(path.stem + ending) for ending in _TRUTH_ENDINGS]
            truth = next((candidate for candidate in truths if candidate.is_file()), None)
            if truth is not None:
                found.append((path, truth))
        if not found:
            raise RecordingError(self.folder, "no recording has a truth NAME.truth.csv (t_us,id,x,y[,w,h]) beside it")
        return found

    def __len__(self) -> int:
        return len(self.pairs())

    def __iter__(self) -> Iterator[TrackedRecording]:
        for path, truth in self.pairs():
            stream = open_recording(path)
            packets = [packet for packet in stream if len(packet)]
            events = np.concatenate(packets) if packets else empty_events()
            yield TrackedRecording(events, 0, path.name, truth=ShapesTruth.read(truth), sensor=stream.sensor)
