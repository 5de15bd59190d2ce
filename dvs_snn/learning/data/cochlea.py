"""Spikes of an artificial cochlea (Cramer et al. 2020): SHD, SSC, and other data in their HDF5 layout.

A spike is an event with x = channel (0..699), y = 0, p ON, on a sensor of 700 x 1; times are float16 seconds in the
file (0.24 ms steps from 0.25 s, 0.98 ms from 1 s on), microseconds here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Events, Sensor, empty_events
from dvs_snn.learning.data.files import folders, identity, missing, notice, official, unpacked
from dvs_snn.learning.recordings import SPLITS, Recording

COCHLEA = Sensor(700, 1)
PAGE = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"

SHD_LABELS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
)
"""Names of SHD's classes where no file says them; a file's own `extra/keys` are used."""

MD5 = {
    "shd_train.h5.zip": "f3252aeb598ac776c1b526422d90eecb",
    "shd_test.h5.zip": "1503a5064faa34311c398fb0a1ed0a6f",
    "ssc_train.h5.zip": "d102be95e7144fcc0553d1f45ba94170",
    "ssc_valid.h5.zip": "b4eee3516a4a90dd0c71a6ac23a8ae43",
    "ssc_test.h5.zip": "a35ff1e9cffdd02a20eb850c17c37748",
}
"""Check sums of the published archives, as Tonic lists them."""

SHD_SPLITS = (*SPLITS, "test_seen", "test_unseen", "train_all")
"""`test_seen`, `test_unseen`: test recordings of speakers that are, or are not, in the training file."""

VALIDATION = ("speakers", "share")


@dataclass(frozen=True)
class SHDConfig:
    """Where SHD, or data in its layout, lies, and what is held out of its training file for validation.

    `validation` "speakers" holds out whole speakers: those numbered in `speakers`, or, where none are, the fifth of the
    file's speakers with the highest numbers. "share" holds out the `share` of every speaker's recordings instead.
    `fit_all` trains on the whole training file (then validation shows nothing that training has not seen).
    """

    folder: str = ""
    validation: str = "speakers"
    speakers: tuple[int, ...] = ()
    share: float = 0.1
    fit_all: bool = False
    download: bool = False

    def __post_init__(self) -> None:
        if self.validation not in VALIDATION:
            raise ConfigError(f"data.validation {self.validation!r} is unknown; known: {', '.join(VALIDATION)}")
        if not 0 < self.share < 1:
            raise ConfigError(f"data.share is {self.share}: must lie between 0 and 1")
        if self.fit_all and self.speakers:
            raise ConfigError("data.speakers holds speakers out, data.fit_all trains on them: set data.fit_all=false")


@dataclass(frozen=True)
class SSCConfig:
    """Where SSC lies; it has a validation file of its own."""

    folder: str = ""
    download: bool = False


class CochleaFile:
    """One HDF5 file in SHD's layout, read one recording at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
            self._times, self._units = self._file["spikes/times"], self._file["spikes/units"]
            self.targets: NDArray[np.int64] = self._file["labels"][()].astype(np.int64)
            extra = self._file.get("extra", {})
            keys = [bytes(key).decode("utf-8", "replace") for key in extra["keys"][()]] if "keys" in extra else []
            speakers = extra["speaker"][()] if "speaker" in extra else np.full(len(self.targets), -1)
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise RecordingError(path, f"is not in SHD's layout: {' '.join(str(error).split())}") from None
        if not len(self.targets) == len(self._times) == len(self._units) == len(speakers):
            raise RecordingError(path, "is not in SHD's layout: spikes, labels and speakers differ in number")
        if not len(self.targets):
            raise RecordingError(path, "holds no recordings")
        self.labels = tuple(keys) or tuple(str(k) for k in range(int(self.targets.max()) + 1))
        self.speakers: NDArray[np.int64] = speakers.astype(np.int64)
        if self.targets.min() < 0 or self.targets.max() >= len(self.labels):
            raise RecordingError(
                path, f"label {self.targets.max()} has no name among the {len(self.labels)} in extra/keys"
            )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Events:
        """The spikes of a recording as events, in order of time."""
        try:
            times, units = self._times[index], self._units[index]
        except OSError as error:
            raise RecordingError(self.path, f"recording {index} cannot be read: {error}") from None
        if len(times) != len(units):
            raise RecordingError(self.path, f"recording {index} has {len(times)} times and {len(units)} units")
        if len(units) and int(units.max()) >= COCHLEA.width:
            raise RecordingError(self.path, f"recording {index} has unit {units.max()}: must lie in 0..699")
        events = empty_events(len(times))
        microseconds = times.astype(np.float64) * 1e6
        if not np.isfinite(microseconds).all():
            raise RecordingError(self.path, f"recording {index} has times that are not finite")
        np.rint(microseconds, out=microseconds)
        events["t"], events["x"], events["y"], events["p"] = microseconds, units, 0, True
        if len(events) > 1 and (events["t"][1:] < events["t"][:-1]).any():
            events = events[np.argsort(events["t"], kind="stable")]
        return events


class CochleaRecordings:
    """The recordings of one split of SHD or SSC."""

    def __init__(self, file: CochleaFile, rows: NDArray[np.int64], source: str, split: str) -> None:
        if not len(rows):
            raise ConfigError(f"{file.path}: split {split!r} holds no recordings")
        self._file, self._rows = file, rows
        self.source, self.split, self.sensor, self.labels = source, split, COCHLEA, file.labels
        self.groups = tuple(_group(int(speaker)) for speaker in file.speakers[rows])
        self.identity = f"{identity([file.path])}, rows {zlib.crc32(rows.tobytes())}"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Recording:
        row = int(self._rows[index])
        events = self._file[row]
        if not len(events):
            raise RecordingError(self._file.path, f"recording {row} holds no spikes")
        return Recording(events, int(self._file.targets[row]), f"{self._file.path.stem}_{row}", self.groups[index])


def _group(speaker: int) -> str:
    return f"speaker{speaker}" if speaker >= 0 else ""


def find(folder: str | Path, name: str, part: str) -> Path | None:
    """`SHD/shd_train.h5` (Tonic's place) or `shd_train.h5`, unpacked where only its archive is there."""
    for place in folders(folder, name.upper()):
        if found := unpacked(place / f"{name}_{part}.h5"):
            return found
    return None


def holds(folder: Path, name: str) -> bool:
    """Whether a folder holds SHD ("shd") or SSC ("ssc"), or other data in its layout; nothing is unpacked."""
    return any(path.is_file() for place in folders(folder, name.upper()) for path in place.glob(f"{name}_*.h5*"))


def _open(folder: str, name: str, part: str) -> tuple[CochleaFile, str]:
    """A file, and what it may be called: only what the check sum proves is called by the set's name."""
    path = find(folder, name, part) if folder else None
    if path is None:
        raise missing(name.upper(), folder, [f"{name}_{part}.h5.zip"], PAGE)
    file = CochleaFile(path)
    if official([Path(f"{path}.zip")], MD5):
        return file, name.upper()
    notice(f"{path} is read as it is: no published archive beside it proves that it is {name.upper()}")
    return file, f"{path.parent.resolve().name} ({name.upper()} layout, {len(file.labels)} classes, unverified)"


def open_shd(config: SHDConfig, split: str, sensor: Sensor) -> CochleaRecordings:
    """A split of SHD: validation out of the training file, as the options say; test as published."""
    _check_sensor(sensor)
    _check_split(split, SHD_SPLITS)
    if split == "test":
        file, source = _open(config.folder, "shd", "test")
        return CochleaRecordings(file, np.arange(len(file)), source, split)
    train, source = _open(config.folder, "shd", "train")
    if split.startswith("test"):
        file, source = _open(config.folder, "shd", "test")
        seen = np.isin(file.speakers, np.unique(train.speakers))
        return CochleaRecordings(file, np.flatnonzero(seen == (split == "test_seen")), source, split)
    held, told = _held_out(config, train)
    if split == "train_all" or (split == "train" and config.fit_all):
        return CochleaRecordings(train, np.arange(len(train)), f"{source}, whole training file", "train")
    rows = np.flatnonzero(held if split == "validation" else ~held)
    return CochleaRecordings(train, rows, f"{source}, validation by {told}", split)


def _held_out(config: SHDConfig, file: CochleaFile) -> tuple[NDArray[np.bool_], str]:
    speakers = np.unique(file.speakers)
    if config.validation == "share" or (speakers[0] < 0 and not config.speakers):
        held = np.zeros(len(file), np.bool_)
        rng = np.random.default_rng(0)
        for speaker in speakers:
            rows = np.flatnonzero(file.speakers == speaker)
            held[rng.permutation(rows)[: max(1, round(config.share * len(rows)))]] = True
        return held, f"share {config.share:g} of every speaker"
    chosen = np.array(config.speakers or speakers[-max(1, round(len(speakers) / 5)) :], np.int64)
    unknown = sorted(set(chosen.tolist()) - set(speakers.tolist()))
    if unknown or len(chosen) >= len(speakers):
        raise ConfigError(f"data.speakers {chosen.tolist()}: must be some, not all, of {speakers.tolist()}")
    return np.isin(file.speakers, chosen), f"speaker {', '.join(map(str, sorted(chosen.tolist())))}"


def open_ssc(config: SSCConfig, split: str, sensor: Sensor) -> CochleaRecordings:
    """A split of SSC, as published."""
    _check_sensor(sensor)
    _check_split(split, SPLITS)
    file, source = _open(config.folder, "ssc", {"validation": "valid"}.get(split, split))
    return CochleaRecordings(file, np.arange(len(file)), source, split)


def shd_labels(config: SHDConfig) -> tuple[str, ...]:
    """The classes of the training file; SHD's own where there is none yet."""
    path = find(config.folder, "shd", "train") if config.folder else None
    return CochleaFile(path).labels if path else SHD_LABELS


def ssc_labels(config: SSCConfig) -> tuple[str, ...]:
    """The classes of the training file; numbers 0..34 where there is none yet."""
    path = find(config.folder, "ssc", "train") if config.folder else None
    return CochleaFile(path).labels if path else tuple(str(number) for number in range(35))


def _check_sensor(sensor: Sensor) -> None:
    if sensor != COCHLEA:
        raise ConfigError(f"cochlea spikes are of {COCHLEA} (channels x 1), but the network's sensor is {sensor}")


def _check_split(split: str, known: tuple[str, ...]) -> None:
    if split not in known:
        raise ConfigError(f"split {split!r} is unknown; known: {', '.join(known)}")
