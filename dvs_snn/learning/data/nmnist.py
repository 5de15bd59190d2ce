"""N-MNIST (Orchard et al. 2015): written digits before a moving sensor of 34 x 34; `Train/`, `Test/`, digits, .bin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Sensor
from dvs_snn.events.files import open_recording
from dvs_snn.events.resample import Resample
from dvs_snn.learning.data.files import folders, identity, missing, notice, official
from dvs_snn.learning.recordings import SPLITS, Recording

NMNIST = Sensor(34, 34)
LABELS = tuple("0123456789")
PAGE = "https://www.garrickorchard.com/datasets/n-mnist"
MD5 = {
    "train.zip": "20959b8e626244a1b502305a9e6e2031",
    "test.zip": "69ca8762b2fe404d9b9bad1103e97832",
}
"""Check sums of the published archives, as Tonic lists them."""


@dataclass(frozen=True)
class NMNISTConfig:
    """Where N-MNIST lies, and which share of `Train/` is held out for validation.

    Which recordings those are depends on their file's name alone. `fit_all` trains on the whole of `Train/` (then
    validation shows nothing that training has not seen). Nobody published who wrote which digit here: validation by
    writer is not possible.
    """

    folder: str = ""
    share: float = 0.1
    fit_all: bool = False
    download: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"data.share is {self.share}: must lie between 0 and 1")


class NMNISTRecordings:
    """One split of N-MNIST, or of a part of it in the same layout."""

    def __init__(self, config: NMNISTConfig, split: str, sensor: Sensor) -> None:
        if split not in (*SPLITS, "train_all"):
            raise ConfigError(f"split {split!r} is unknown; known: {', '.join(SPLITS)}, train_all")
        part = "Test" if split == "test" else "Train"
        root = find(config.folder, part) if config.folder else None
        if root is None:
            raise missing("N-MNIST", config.folder, ["Train.zip", "Test.zip"], PAGE)
        whole = split in ("test", "train_all") or (split == "train" and config.fit_all)
        self._files = [
            (path, int(path.parent.name))
            for path in sorted(root.glob("[0-9]/*.bin"))
            if whole or (_place(path) < config.share) == (split == "validation")
        ]
        if not self._files:
            raise ConfigError(f"{root}: split {split!r} holds no recordings; expected {part}/0/*.bin to {part}/9/*.bin")
        self.split, self.sensor, self.labels = "train" if split == "train_all" else split, sensor, LABELS
        self.source = _source(root)
        if not split.startswith("test"):
            self.source += ", whole training part" if whole else f", validation share {config.share:g} by name"
        self.groups = ("",) * len(self._files)
        self.identity = identity(path for path, _ in self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Recording:
        """Read a recording, resampled to the set's sensor where that is another."""
        path, label = self._files[index]
        stream = open_recording(path, NMNIST)
        events = stream.to_array()
        if not len(events):
            raise RecordingError(path, "holds no events")
        if self.sensor != NMNIST:
            events = Resample(NMNIST, self.sensor)(events)
        return Recording(events, label, f"{path.parent.name}/{path.stem}")


def find(folder: str | Path, part: str) -> Path | None:
    """`NMNIST/Train` (Tonic's place) or `Train`."""
    return next((root / part for root in folders(folder, "NMNIST") if (root / part / "0").is_dir()), None)


def holds(folder: Path) -> bool:
    """Whether a folder holds N-MNIST or a part of it."""
    return any(find(folder, part) for part in ("Train", "Test"))


def _source(root: Path) -> str:
    place = root.parent
    names = (root.name, root.name.lower())
    if official(
        [place / f"{name}.zip" for name in names], MD5 | {"Train.zip": MD5["train.zip"], "Test.zip": MD5["test.zip"]}
    ):
        return "N-MNIST"
    notice(f"{place} is read as it is: no published archive beside it proves that it is N-MNIST, whole")
    return f"{place.resolve().name} (N-MNIST layout, unverified)"


def _place(path: Path) -> float:
    """A number in [0, 1) that the label and the file's name decide."""
    digest = hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
