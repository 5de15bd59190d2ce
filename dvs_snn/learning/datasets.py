"""Data sets by the name that a recipe gives them; which of them a folder holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor
from dvs_snn.learning.data import (
    DVS128Config,
    DVS128Gestures,
    FolderConfig,
    LabelledFolder,
    NMNISTConfig,
    NMNISTRecordings,
    SHDConfig,
    SSCConfig,
    cochlea,
    dvs128,
    nmnist,
)
from dvs_snn.learning.data.tonic_door import Step, download
from dvs_snn.learning.data.transformed import KeptRecordings, transformed
from dvs_snn.learning.recordings import SPLITS, RecordingSet
from dvs_snn.learning.simulated import SimulatedGestures, SimulatedGesturesConfig, cache_folder
from dvs_snn.learning.tracking_data import SimulatedShapes, SimulatedShapesConfig

SIMULATED = "simulated"
"""Value of `--data` that means: simulate."""


@dataclass(frozen=True)
class DataConfig:
    """Which data set, by name, its own options, and Tonic's transforms and slicers that change its recordings.

    The transforms belong to the data: `evaluate` applies them too, a live stream never sees them.
    """

    name: str
    options: Any
    transforms: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As a recipe writes it."""
        steps = [step.plain() for step in self.transforms]
        return {"name": self.name, **asdict(self.options), **({"transforms": steps} if steps else {})}


@dataclass(frozen=True)
class Dataset:
    """A data set: the options that a recipe may set, its labels, how a split is opened, whether a folder holds it."""

    config: type
    labels: Callable[[Any], tuple[str, ...]]
    open: Callable[[Any, str, Sensor], KeptRecordings]
    holds: Callable[[Path], bool] = lambda folder: False


def _open_folder(options: FolderConfig, split: str, sensor: Sensor) -> KeptRecordings:
    raise ConfigError("a folder's recordings have no labels of their own")  # open_data gives them the network's


DATASETS: dict[str, Dataset] = {
    "simulated_gestures": Dataset(SimulatedGesturesConfig, lambda options: dvs128.LABELS, SimulatedGestures),
    "simulated_shapes": Dataset(SimulatedShapesConfig, lambda options: (), SimulatedShapes),
    "dvs128_gesture": Dataset(DVS128Config, lambda options: dvs128.LABELS, DVS128Gestures, dvs128.holds),
    "shd": Dataset(SHDConfig, cochlea.shd_labels, cochlea.open_shd, lambda folder: cochlea.holds(folder, "shd")),
    "ssc": Dataset(SSCConfig, cochlea.ssc_labels, cochlea.open_ssc, lambda folder: cochlea.holds(folder, "ssc")),
    "nmnist": Dataset(NMNISTConfig, lambda options: nmnist.LABELS, NMNISTRecordings, nmnist.holds),
    "folder": Dataset(FolderConfig, lambda options: (), _open_folder),
}


def open_data(data: DataConfig, split: str, labels: tuple[str, ...], sensor: Sensor) -> RecordingSet:
    """The recordings of a split; a folder's recordings get the network's labels, any other set must have the same."""
    cache = cache_folder(getattr(data.options, "cache", ""))
    if data.name == "folder":
        return transformed(LabelledFolder(data.options.folder, split, labels, sensor), data.transforms, cache)
    options, kind = data.options, DATASETS[data.name]
    if getattr(options, "download", False):
        folder = Path(options.folder or cache / "tonic").expanduser()
        if not kind.holds(folder):
            download(data.name, folder)
        options = replace(options, folder=str(folder))
    recordings = kind.open(options, split, sensor)
    if recordings.labels != labels:
        raise ConfigError(
            f"{recordings.source} has the classes {_some(recordings.labels)}, the network has {_some(labels)}: "
            "leave pipeline.labels out of the recipe, or give other data"
        )
    return transformed(recordings, data.transforms, cache)


def data_in(folder: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's section `data` aimed at a folder: the data set whose files lie there, else the folder's recordings.

    Options that the found set shares with the recipe's own are kept. A folder that holds no data set and no labelled
    recordings is refused with what the recipe's data set would need.
    """
    name = section.get("name")
    if folder == SIMULATED:
        return dict(section) if str(name).startswith("simulated_") else {"name": "simulated_gestures"}
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
    kept = {key: value for key, value in section.items() if key in _options(found) | {"transforms"}}
    return {**kept, "name": found, "folder": folder}


def _options(name: str) -> set[str]:
    return {field.name for field in fields(DATASETS[name].config)}


def _labelled(root: Path) -> bool:
    return (root / "labels.csv").is_file() or any((root / split).is_dir() for split in SPLITS)


def _some(labels: tuple[str, ...]) -> str:
    return ", ".join(labels) if len(labels) <= 12 else f"{', '.join(labels[:10])} … ({len(labels)})"
