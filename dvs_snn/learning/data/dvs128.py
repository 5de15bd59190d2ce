"""DVS128 Gesture (Amir et al. 2017): 29 subjects, 11 gestures, in IBM's own layout or in Tonic's.

IBM's: trials `userNN_LIGHT.aedat` (AEDAT 3.1) of about 100 s, each with `userNN_LIGHT_labels.csv`, rows of class 1..11,
start and end in microseconds, and the lists `trials_to_train.txt`, `trials_to_test.txt`. Tonic's: the gestures already
cut, `ibmGestureTrain/userNN_LIGHT/K.npy` with K = class - 1, columns x, y, p and t in milliseconds.
"""

from __future__ import annotations

import csv
import itertools
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Events, Sensor, empty_events
from dvs_snn.events.files import open_recording
from dvs_snn.events.resample import Resample
from dvs_snn.events.simulate import GESTURES
from dvs_snn.learning.data.files import folders, identity, missing, notice, official
from dvs_snn.learning.recordings import SPLITS, Recording, read_packed, write_packed
from dvs_snn.learning.simulated import cache_folder

DVS128 = Sensor(128, 128)
LABELS = tuple(GESTURES)
PAGE = "https://research.ibm.com/interactive/dvsgesture/"
TONIC_PAGE = "https://figshare.com/ndownloader/files/38022171 (train) and .../38020584 (test)"
DIVISIONS = ("tonic", "spikingjelly")
VALIDATION_SUBJECTS = (5, 11, 17, 23)
"""Of the training subjects 1..23, those held out unless a recipe says otherwise: one in six, spread over the set."""

MD5 = {
    "DvsGesture.tar.gz": "8a5c71fb11e24e5ca5b11866ca6c00a1",
    "ibmGestureTrain.tar.gz": "3a8f0d4120a166bac7591f77409cb105",
    "ibmGestureTest.tar.gz": "56070e45dadaa85fff82e0fbfbc06de5",
}
"""Check sums of IBM's archive, as SpikingJelly lists it, and of Tonic's, as Tonic does."""


@dataclass(frozen=True)
class DVS128Config:
    """Where DVS128 Gesture lies, how its trials are divided, and which training subjects are held out for validation.

    `division` "tonic": one recording per trial and gesture, 1077 + 264 of them; "spikingjelly": one per row of the
    tables, 1176 + 288 (arm roll has two rows a trial). Tonic's files hold the first alone. `cache` is where gestures
    cut out of IBM's trials are kept (empty: the user's cache folder).
    """

    folder: str = ""
    division: str = "tonic"
    validation_subjects: tuple[int, ...] = VALIDATION_SUBJECTS
    fit_all: bool = False
    cache: str = ""
    download: bool = False

    def __post_init__(self) -> None:
        if self.division not in DIVISIONS:
            raise ConfigError(f"data.division {self.division!r} is unknown; known: {', '.join(DIVISIONS)}")


@dataclass(frozen=True)
class Gesture:
    """One recording: a whole .npy of Tonic's, or an interval of one of IBM's trials."""

    path: Path
    label: int
    subject: int
    name: str
    start_us: int = 0
    end_us: int = 0


class DVS128Gestures:
    """One split of DVS128 Gesture; validation shares no subject with training, nor does the test."""

    def __init__(self, config: DVS128Config, split: str, sensor: Sensor) -> None:
        if split not in SPLITS:
            raise ConfigError(f"split {split!r} is unknown; known: {', '.join(SPLITS)}")
        self.split, self.sensor, self.labels = split, sensor, LABELS
        part = "test" if split == "test" else "train"
        layout, root, listed = _listed(config, part)
        self.source = _source(layout, root, part, config.division)
        self._gestures = listed if part == "test" else _by_subject(listed, config, split, root)
        if part == "train":
            held = sorted({gesture.subject for gesture in listed} & set(config.validation_subjects))
            self.source += ", whole training part" if config.fit_all else f", validation subjects {held}"
        self.groups = tuple(f"user{gesture.subject:02d}" for gesture in self._gestures)
        files = sorted({gesture.path for gesture in self._gestures})
        self.identity = identity([*files, *(_table(path) for path in files if layout == "ibm")])
        self._cut: Path | None = None
        self._cutting = threading.Lock()
        if layout == "ibm":
            self._cut = cache_folder(config.cache) / "dvs128_gesture" / config.division

    def __len__(self) -> int:
        return len(self._gestures)

    def __getitem__(self, index: int) -> Recording:
        """Read a gesture, resampled to the set's sensor where that is another."""
        gesture = self._gestures[index]
        events = _read_npy(gesture.path) if self._cut is None else self._read_cut(gesture)
        if not len(events):
            raise RecordingError(gesture.name, "holds no events, so there is nothing to decide")
        if self.sensor != DVS128:
            events = Resample(DVS128, self.sensor)(events)
        return Recording(events, gesture.label, gesture.name, self.groups[index])

    def prepare(self, progress: bool = True) -> int:
        """Cut IBM's trials into gestures that are kept on disk; returns how many trials were read."""
        if self._cut is None:
            return 0
        todo = sorted({g.path for g in self._gestures if not self._place(g).is_file()})
        for path in tqdm(todo, desc=f"cut {self.split}", unit="trial", disable=not progress, file=sys.stderr):
            self._cut_trial(path)
        return len(todo)

    def _place(self, gesture: Gesture) -> Path:
        assert self._cut is not None
        mark = identity([gesture.path, _table(gesture.path)])
        return self._cut / mark / f"{gesture.name}_{gesture.start_us}_{gesture.end_us}.safetensors"

    def _read_cut(self, gesture: Gesture) -> Events:
        try:
            return read_packed(self._place(gesture))
        except RecordingError:  # not cut yet, or cut off by a crash
            self._cut_trial(gesture.path)
            return read_packed(self._place(gesture))

    def _cut_trial(self, path: Path) -> None:
        gestures = [gesture for gesture in self._gestures if gesture.path == path]
        with self._cutting:
            events = open_recording(path, DVS128).to_array()
            t = events["t"]
            for gesture in gestures:
                write_packed(self._place(gesture), events[(t >= gesture.start_us) & (t < gesture.end_us)])


def find(folder: str | Path) -> tuple[str, Path] | None:
    """The layout ("tonic" or "ibm") and the folder that holds it."""
    for root in folders(folder, "DVSGesture", "DvsGesture", "DVS128Gesture"):
        if any((root / f"ibmGesture{part}").is_dir() for part in ("Train", "Test")):
            return "tonic", root
        for place in folders(root, "DvsGesture"):
            if any((place / f"trials_to_{part}.txt").is_file() for part in ("train", "test")):
                return "ibm", place
    return None


def holds(folder: Path) -> bool:
    """Whether a folder holds DVS128 Gesture in one of its layouts."""
    return find(folder) is not None


def _listed(config: DVS128Config, part: str) -> tuple[str, Path, list[Gesture]]:
    found = find(config.folder) if config.folder else None
    if found is None:
        wanted = ["DvsGesture.tar.gz (or Tonic's ibmGestureTrain.tar.gz and ibmGestureTest.tar.gz)"]
        raise missing("DVS128 Gesture", config.folder, wanted, f"{PAGE} (Tonic's: {TONIC_PAGE})")
    layout, root = found
    if layout == "tonic" and config.division != "tonic":
        raise ConfigError(f"{root}: Tonic's files hold data.division tonic alone; for spikingjelly get IBM's archive")
    gestures = _tonic(root, part) if layout == "tonic" else _ibm(root, part, config.division)
    if not gestures:
        raise ConfigError(f"{root}: its {part} part holds no recordings; unpack the archive there")
    return layout, root, gestures


def _tonic(root: Path, part: str) -> list[Gesture]:
    gestures = []
    for path in sorted((root / f"ibmGesture{part.capitalize()}").glob("user*_*/*.npy")):
        label = int(path.stem) if path.stem.isdigit() else -1
        if not 0 <= label < len(LABELS):
            raise ConfigError(f"{path}: the name of a gesture is its class, 0 to {len(LABELS) - 1}")
        gestures.append(Gesture(path, label, _subject(path.parent.name, path), f"{path.parent.name}_{label}"))
    return gestures


def _ibm(root: Path, part: str, division: str) -> list[Gesture]:
    trials = root / f"trials_to_{part}.txt"
    if not trials.is_file():
        raise ConfigError(f"{root}: {trials.name} is missing, the list of the trials that are for {part}")
    names = [line.strip() for line in trials.read_text().splitlines() if line.strip()]
    absent = [name for name in names if not (root / name).is_file() or not _table(root / name).is_file()]
    if absent:
        raise ConfigError(
            f"{root}: {len(absent)} of the {len(names)} trials in {trials.name} lack their .aedat or _labels.csv, "
            f"first {absent[0]}; unpack the whole DvsGesture.tar.gz"
        )
    gestures = []
    for name in names:
        rows = read_rows(_table(root / name))
        for number, (label, start_us, end_us) in enumerate(_one_per_class(rows) if division == "tonic" else rows):
            trial = Path(name).stem
            gestures.append(Gesture(root / name, label, _subject(trial, trials), f"{trial}_{number}", start_us, end_us))
    return gestures


def _table(path: Path) -> Path:
    return path.with_name(f"{path.stem}_labels.csv")


def read_rows(path: Path) -> list[tuple[int, int, int]]:
    """Label (class - 1), start and end in microseconds of each row of a `_labels.csv`, as they stand."""
    rows = []
    with open(path, newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                label, start_us, end_us = (int(row[key]) for key in ("class", "startTime_usec", "endTime_usec"))
            except (KeyError, TypeError, ValueError):
                raise RecordingError(
                    path, f"line {number}: expected integers under class,startTime_usec,endTime_usec"
                ) from None
            if not 1 <= label <= len(LABELS) or not 0 <= start_us < end_us:
                raise RecordingError(path, f"line {number}: class must lie in 1..{len(LABELS)} and start before end")
            rows.append((label - 1, start_us, end_us))
    return rows


def _one_per_class(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Rows that follow each other with the same class joined, of a class that comes again the first.

    An end behind the next row's start is moved there: the published table of user22_led has one.
    """
    ordered = sorted(rows, key=lambda row: row[1])
    capped = [
        (label, start, min(end, following[1]) if following[1] > start else end)
        for (label, start, end), following in itertools.pairwise([*ordered, (0, ordered[-1][2], 0)])
    ] if ordered else []  # fmt: skip
    joined: dict[int, tuple[int, int, int]] = {}
    for label, run in itertools.groupby(capped, key=lambda row: row[0]):
        parts = list(run)
        joined.setdefault(label, (label, parts[0][1], parts[-1][2]))
    return sorted(joined.values())


def _read_npy(path: Path) -> Events:
    """Tonic's columns x, y, p, t (ms) as events."""
    try:
        table = np.load(path, allow_pickle=False)
        if table.ndim != 2 or table.shape[1] != 4:
            raise ValueError(f"expected 4 columns x, y, p, t, found the shape {table.shape}")
    except (OSError, ValueError, EOFError) as error:
        raise RecordingError(path, f"is not a gesture of Tonic's: {error}") from None
    events = empty_events(len(table))
    if len(table) and not (table[:, :2].min() >= 0 and table[:, :2].max() < DVS128.width):
        raise RecordingError(path, f"has events outside the sensor of {DVS128}")
    events["x"], events["y"], events["p"] = table[:, 0], table[:, 1], table[:, 2] > 0
    events["t"] = table[:, 3]
    events["t"] *= 1000
    if len(events) > 1 and (events["t"][1:] < events["t"][:-1]).any():
        events = events[np.argsort(events["t"], kind="stable")]
    return events


def _by_subject(gestures: list[Gesture], config: DVS128Config, split: str, root: Path) -> list[Gesture]:
    present = {gesture.subject for gesture in gestures}
    held = present & set(config.validation_subjects)
    if not held or held == present:
        raise ConfigError(
            f"{root}: data.validation_subjects {list(config.validation_subjects)} must be some, not all, "
            f"of the training subjects {sorted(present)}"
        )
    if split == "train" and config.fit_all:
        return gestures
    return [gesture for gesture in gestures if (gesture.subject in held) == (split == "validation")]


def _subject(name: str, where: Path) -> int:
    match = re.match(r"user(\d+)_", name)
    if not match:
        raise ConfigError(f"{where}: {name} does not begin with its subject, as in user07_led")
    return int(match[1])


def _source(layout: str, root: Path, part: str, division: str) -> str:
    archive = "DvsGesture.tar.gz" if layout == "ibm" else f"ibmGesture{part.capitalize()}.tar.gz"
    if official([root / archive, root.parent / archive], MD5):
        return f"DVS128 Gesture, division {division}"
    notice(f"{root} is read as it is: no published archive beside it proves that it is DVS128 Gesture, whole")
    whose = {"ibm": "IBM's", "tonic": "Tonic's"}[layout]
    return f"{root.resolve().name} (DVS128 Gesture in {whose} layout, unverified), division {division}"
