"""Recordings with a truth about moving targets: simulated shapes, or files with a CSV beside each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import EventStream, Sensor, stream_of
from dvs_snn.events.files import open_recording
from dvs_snn.events.simulate import ShapesConfig, ShapesTruth, simulate_shapes

TRACKING_SEEDS = {"train": 50_000_000, "validation": 70_000_000, "test": 80_000_000}
"""First seed of each split of simulated sequences; a split has a million seeds of its own."""
SEQUENCES, SEQUENCE_S = 60, 2.0
_TRUTH_ENDINGS = (".truth.csv", ".csv")


@dataclass(frozen=True)
class TrackedRecording:
    """A recording and the truth about its targets."""

    name: str
    stream: EventStream
    truth: ShapesTruth


@dataclass(frozen=True)
class SimulatedTracks:
    """Simulated shapes, one sequence per seed, made when they are asked for.

    Every sequence has 1 to 6 targets; half are of shapes that are paired to cross, a third have occluders.
    """

    split: str = "test"
    count: int = SEQUENCES
    seconds: float = SEQUENCE_S
    sensor: Sensor = Sensor(240, 180)
    config: ShapesConfig = ShapesConfig()

    source = "simulated"

    def __post_init__(self) -> None:
        if self.split not in TRACKING_SEEDS:
            raise ConfigError(f"simulated shapes have the splits {', '.join(TRACKING_SEEDS)}, not {self.split!r}")
        if not 1 <= self.count <= 1_000_000:
            raise ConfigError(f"{self.count} simulated recordings: give 1 to 1000000")

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[TrackedRecording]:
        for index in range(self.count):
            seed = TRACKING_SEEDS[self.split] + index
            events, truth = simulate_shapes(self.seconds, seed, self.sensor, config=self.config)
            yield TrackedRecording(f"seed {seed}", stream_of(events, self.sensor, source=f"seed {seed}"), truth)


@dataclass(frozen=True)
class RecordedTracks:
    """Recordings in a folder, each with its truth beside it: `NAME.EXT` with `NAME.truth.csv` or `NAME.csv`."""

    folder: Path
    split: str = "all"

    @property
    def source(self) -> str:
        return str(self.folder)

    def pairs(self) -> list[tuple[Path, Path]]:
        """Recording and truth; a `.csv` that is the truth of another file is no recording.

        Raises `RecordingError` where there is none.
        """
        if not self.folder.is_dir():
            raise RecordingError(self.folder, "no such folder")
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.suffix != ".csv"]
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
            yield TrackedRecording(path.name, open_recording(path), ShapesTruth.read(truth))
