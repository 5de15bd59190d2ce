"""Labelled recordings in a folder, of any format that is read: the class by a list, a folder's or a file's name."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Sensor
from dvs_snn.learning.data.files import identity
from dvs_snn.learning.recordings import Recording

NOT_RECORDINGS = {".md", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".png", ".jpg", ".mp4", ".html", ".pdf"}


@dataclass(frozen=True)
class FolderConfig:
    """Which folder."""

    folder: str = ""


class LabelledFolder:
    """Recordings in a folder, with their classes.

    A class is told by `labels.csv` (columns `file`, `label`), by the name of the sub-folder, or by the name of the
    file; a name tells it by its leading index (`3_right_arm_cw.aedat4`) or by being the label itself. A sub-folder
    named after the split is used alone if there is one; otherwise the whole folder is, and the split is called "all".
    """

    def __init__(self, folder: str | Path, split: str, labels: tuple[str, ...], sensor: Sensor) -> None:
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise ConfigError(f"{folder}: no such folder; give a folder of recordings, or 'simulated'")
        self.split = split if (root / split).is_dir() else "all"
        self.source = f"folder {root.name}"
        self.labels, self.sensor = labels, sensor
        root = root / split if self.split == split else root
        self._names = {_key(label): index for index, label in enumerate(labels)}
        self._files = self._listed(root) if (root / "labels.csv").is_file() else self._found(root)
        if not self._files:
            raise ConfigError(f"{root}: holds no recordings")
        self.groups = ("",) * len(self._files)
        self.identity = identity(path for path, _ in self._files) + str([label for _, label in self._files])

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Recording:
        """Read a recording, resampled to the set's sensor where it is of another."""
        from dvs_snn.events.files import open_recording
        from dvs_snn.events.resample import Resample

        path, label = self._files[index]
        stream = open_recording(path)
        events = stream.to_array()
        if not len(events):
            raise RecordingError(path, "holds no events, so there is nothing to decide")
        if stream.sensor != self.sensor:
            try:
                events = Resample(stream.sensor, self.sensor)(events)
            except ConfigError as error:
                raise RecordingError(path, str(error)) from None
        return Recording(events, label, path.name)

    def _listed(self, root: Path) -> list[tuple[Path, int]]:
        with open(root / "labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"file", "label"} <= set(rows[0]):
            raise ConfigError(f"{root / 'labels.csv'}: needs the columns file and label, and a row per recording")
        files = []
        for row in rows:
            path, label = root / str(row["file"]), self._label(str(row["label"]))
            if label is None:
                raise ConfigError(
                    f"{root / 'labels.csv'}: label {row['label']!r} of {row['file']} is none of the network's"
                )
            if not path.is_file():
                raise ConfigError(f"{root / 'labels.csv'}: {row['file']} is not there")
            files.append((path, label))
        return files

    def _found(self, root: Path) -> list[tuple[Path, int]]:
        files = []
        for path in sorted(root.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if not path.is_file() or hidden or path.suffix.lower() in NOT_RECORDINGS:
                continue
            label = self._label(path.stem)
            if label is None and path.parent != root:
                label = self._label(path.parent.name)
            if label is None:
                raise ConfigError(f"{path}: neither its name nor its folder's tells the class; add a labels.csv")
            files.append((path, label))
        return files

    def _label(self, name: str) -> int | None:
        """A class by its label or by a leading index."""
        if _key(name) in self._names:
            return self._names[_key(name)]
        leading = re.match(r"\d+(?=\D|$)", name)
        index = int(leading.group()) if leading else -1
        return index if 0 <= index < len(self.labels) else None


def _key(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", label.lower()).strip()
