"""Data sets by the name that a recipe gives them; which of them a folder holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor
from dvs_snn.learning.data import (
    FolderConfig,
    LabelledFolder,
    NMNISTConfig,
    NMNISTRecordings,
    SHDConfig,
    SSCConfig,
    cochlea,
    nmnist,
)
from dvs_snn.learning.recordings import SPLITS, RecordingSet
from dvs_snn.learning.simulated import SimulatedGestures, SimulatedGesturesConfig

SIMULATED = "simulated"
"""Value of `--data` that means: simulate."""


@dataclass(frozen=True)
class DataConfig:
    """Which data set, by name, and its own options."""

    name: str
    options: Any


@dataclass(frozen=True)
class Dataset:
    """A data set: the options that a recipe may set, its labels, how a split is opened, whether a folder holds it."""

    config: type
    labels: Callable[[Any], tuple[str, ...]]
    open: Callable[[Any, str, Sensor], RecordingSet]
    holds: Callable[[Path], bool] = lambda folder: False


def _gesture_labels(options: Any) -> tuple[str, ...]:
    from dvs_snn.events.simulate import GESTURES

    return tuple(GESTURES)


def _open_folder(options: FolderConfig, split: str, sensor: Sensor) -> RecordingSet:
    raise ConfigError("a folder's recordings have no labels of their own")  # open_data gives them the network's


DATASETS: dict[str, Dataset] = {
    "simulated_gestures": Dataset(SimulatedGesturesConfig, _gesture_labels, SimulatedGestures),
    "shd": Dataset(SHDConfig, cochlea.shd_labels, cochlea.open_shd, lambda folder: cochlea.holds(folder, "shd")),
    "ssc": Dataset(SSCConfig, cochlea.ssc_labels, cochlea.open_ssc, lambda folder: cochlea.holds(folder, "ssc")),
    "nmnist": Dataset(NMNISTConfig, lambda options: nmnist.LABELS, NMNISTRecordings, nmnist.holds),
    "folder": Dataset(FolderConfig, lambda options: (), _open_folder),
}


def open_data(data: DataConfig, split: str, labels: tuple[str, ...], sensor: Sensor) -> RecordingSet:
    """The recordings of a split; a folder's recordings get the network's labels, any other set must have the same."""
    if data.name == "folder":
        return LabelledFolder(data.options.folder, split, labels, sensor)
    recordings = DATASETS[data.name].open(data.options, split, sensor)
    if recordings.labels != labels:
        raise ConfigError(
            f"{recordings.source} has the classes {_some(recordings.labels)}, the network has {_some(labels)}: "
            "leave pipeline.labels out of the recipe, or give other data"
        )
    return recordings


def data_in(folder: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's section `data` aimed at a folder: the data set whose files lie there, else the folder's recordings.

    Options that the found set shares with the recipe's own are kept. A folder that holds no data set and no labelled
    recordings is refused with what the recipe's data set would need.
    """
    name = section.get("name")
    if folder == SIMULATED:
        return dict(section) if name == "simulated_gestures" else {"name": "simulated_gestures"}
    if name not in DATASETS:
        return dict(section)  # refused where the recipe is read
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ConfigError(f"{folder}: no such folder; give a folder of recordings, or '{SIMULATED}'")
    found = next(
        (known for known in sorted(DATASETS, key=lambda known: known != name) if DATASETS[known].holds(root)), ""
    )
    if not found:
        found = name if "folder" in _options(name) and not _labelled(root) else "folder"
    kept = {key: value for key, value in section.items() if key in _options(found)}
    return {**kept, "name": found, "folder": folder}


def _options(name: str) -> set[str]:
    return {field.name for field in fields(DATASETS[name].config)}


def _labelled(root: Path) -> bool:
    return (root / "labels.csv").is_file() or any((root / split).is_dir() for split in SPLITS)


def _some(labels: tuple[str, ...]) -> str:
    return ", ".join(labels) if len(labels) <= 12 else f"{', '.join(labels[:10])} … ({len(labels)})"
