"""Tonic's transforms and slicers (Lenz et al. 2021) on our recordings, by Tonic's names and arguments.

Our events have the fields that Tonic asks for, so the same array goes in and comes out; nothing is converted. What
changes with an event's polarity as a boolean, with unsigned coordinates, or with the label, is refused: `REFUSED` says
what to use.
"""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import EVENT_DTYPE, Events, Sensor, make_events
from dvs_snn.learning.recordings import Recording

TRANSFORMS = (
    "CropTime", "Decimation", "Denoise", "DropEvent", "DropEventByArea", "DropEventByTime", "DropPixel", "EventDrop",
    "MergePolarities", "RandomDropPixel", "RefractoryPeriod", "TimeAlignment", "TimeJitter", "TimeSkew",
)  # fmt: skip
SLICERS = (
    "SliceAtIndices", "SliceAtTimePoints", "SliceByEventBins", "SliceByEventCount", "SliceByTime", "SliceByTimeBins",
)  # fmt: skip

_MAP = "makes no events but a map; pipeline.representation does that"
_SIZE = "changes the sensor's size; set pipeline.sensor, recordings are resampled to it"
REFUSED = {
    "ToFrame": f"{_MAP}: EventCounts, which loses no last event",
    "ToImage": f"{_MAP}: EventCounts",
    "ToSparseTensor": f"{_MAP}: EventCounts",
    "ToBinaRep": f"{_MAP}: EventCounts",
    "ToVoxelGrid": f"{_MAP}: VoxelGrid, which conserves polarity (Tonic's does not where p is a boolean)",
    "ToTimesurface": f"{_MAP}: TimeSurface",
    "ToAveragedTimesurface": f"{_MAP}: TimeSurface",
    "CenterCrop": _SIZE,
    "RandomCrop": _SIZE,
    "Downsample": _SIZE,
    "EventDownsampling": _SIZE,
    "RandomFlipLR": "does not change the label with the picture; augment.mirror does",
    "RandomFlipUD": "makes gestures that nobody makes; leave it out",
    "RandomTimeReversal": "does not change the label with the direction; leave it out",
    "RandomFlipPolarity": "makes ON edges OFF one by one, which no scene does; leave it out",
    "UniformNoise": "makes ON events alone where p is a boolean; augment.noise_hz makes both",
    "SpatialJitter": "wraps around where coordinates are unsigned; augment.shift_px moves events",
}
"""Tonic's transforms that are not used here, and what is instead."""

_RANDOM = threading.Lock()


@dataclass(frozen=True)
class Step:
    """One transform or slicer: its name and its arguments as the recipe has them."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def slices(self) -> bool:
        return self.name in SLICERS

    def build(self, sensor: Sensor) -> Any:
        """Tonic's object; a new one for each recording, because some of them keep what they learned from the last."""
        kind = _kind(self.name)
        arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in self.arguments.items()}
        if "sensor_size" in inspect.signature(kind).parameters:
            arguments.setdefault("sensor_size", (sensor.width, sensor.height, 2))
        return kind(**arguments)

    def plain(self) -> Any:
        """As a recipe writes it."""
        return {self.name: dict(self.arguments)} if self.arguments else self.name


def parse_steps(written: Any) -> tuple[Step, ...]:
    """Steps from a recipe's `data.transforms`: names, or `Name: {argument: value}`; wrong ones are named."""
    if not isinstance(written, Sequence) or isinstance(written, str):
        raise ConfigError(f"data.transforms is a list like [Denoise: {{filter_time: 10000}}], not {written!r}")
    steps = tuple(_parse(entry) for entry in written)
    if sum(step.slices for step in steps) > 1:
        raise ConfigError("data.transforms: one slicer at most")
    return steps


def _parse(entry: Any) -> Step:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ConfigError(f"data.transforms: expected a name or one `Name: {{argument: value}}`, found {entry!r}")
    name, arguments = next(iter(entry.items()))
    if name in REFUSED:
        raise ConfigError(f"data.transforms: Tonic's {name} {REFUSED[name]}")
    if name not in (*TRANSFORMS, *SLICERS):
        raise ConfigError(f"data.transforms: {name!r} is unknown; known: {', '.join((*TRANSFORMS, *SLICERS))}")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"data.transforms.{name}: expected a table of arguments, found {arguments!r}")
    step = Step(name, arguments)
    parameters = inspect.signature(_kind(name)).parameters
    unknown = [str(key) for key in step.arguments if key not in parameters]
    missing = [
        key for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key != "sensor_size" and key not in step.arguments
    ]  # fmt: skip
    if unknown or missing:
        wrong = f"has no argument {', '.join(unknown)}" if unknown else f"needs the argument {', '.join(missing)}"
        raise ConfigError(f"data.transforms: Tonic's {name} {wrong}; it takes {', '.join(parameters) or 'none'}")
    _try(step)
    return step


def _try(step: Step) -> None:
    """Values of the wrong type or range show themselves on a few events, before hours of training."""
    sensor = Sensor(32, 32)
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 1_000_000, 256))
    events = make_events(t, rng.integers(0, 32, 256), rng.integers(0, 32, 256), rng.random(256) < 0.5)
    try:
        apply(step, Recording(events, 0, "trial"), sensor)
    except RecordingError as error:
        if "leaves no events" not in str(error):
            raise ConfigError(f"data.transforms: {error.cause}") from None


def _kind(name: str) -> Callable[..., Any]:
    import tonic

    kind: Callable[..., Any] = getattr(tonic.slicers if name in SLICERS else tonic.transforms, name)
    return kind


def apply(step: Step, recording: Recording, sensor: Sensor) -> list[Recording]:
    """A recording after a step: one, or the pieces that a slicer makes (views of it), empty ones left out.

    What is random in Tonic is drawn from a seed that the recording's name decides: the same in every epoch and run.
    Raises `RecordingError` when Tonic fails, when nothing is left, or when an event left the sensor.
    """
    try:
        with _RANDOM, warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            before = np.random.get_state()  # noqa: NPY002 (Tonic draws from it)
            np.random.seed(zlib.crc32(recording.name.encode()))  # noqa: NPY002
            try:
                tool = step.build(sensor)
                parts = tool.slice(recording.events, recording.label)[0] if step.slices else [tool(recording.events)]
            finally:
                np.random.set_state(before)  # noqa: NPY002
    except Exception as error:  # whatever a library raises for arguments that do not fit
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise RecordingError(recording.name, f"Tonic's {step.name} fails: {cause}") from None
    found = [from_tonic(part, sensor, f"{recording.name} after {step.name}") for part in parts if len(part)]
    if not found:
        raise RecordingError(recording.name, f"Tonic's {step.name} leaves no events")
    names = [f"{recording.name}.{k}" for k in range(len(found))] if step.slices else [recording.name]
    return [
        Recording(events, recording.label, name, recording.group) for events, name in zip(found, names, strict=True)
    ]


def from_tonic(events: np.ndarray, sensor: Sensor, name: str = "recording") -> Events:
    """Tonic's events as ours: the same array where its fields are ours, else a copy; sorted, inside the sensor."""
    names = events.dtype.names or ()
    if not {"t", "x", "p"} <= set(names):
        raise RecordingError(name, f"is no array of events: it has the fields {names}")
    y = events["y"] if "y" in names else np.zeros(len(events), np.uint16)
    if len(events) and not (
        0 <= int(events["x"].min()) <= int(events["x"].max()) < sensor.width
        and 0 <= int(y.min()) <= int(y.max()) < sensor.height
    ):
        raise RecordingError(name, f"has events outside the sensor of {sensor}")
    if events.dtype != EVENT_DTYPE:
        events = make_events(events["t"], events["x"], y, events["p"] > 0)
    t = events["t"]
    return events[np.argsort(t, kind="stable")] if len(t) > 1 and (t[1:] < t[:-1]).any() else events


class TonicRecordings:
    """Any data set object of Tonic's that gives (events, label) as recordings, for those that have no loader here."""

    def __init__(
        self, dataset: Any, labels: Sequence[str] | None = None, sensor: Sensor | None = None, split: str = "all"
    ) -> None:
        width, height, *_ = dataset.sensor_size
        self._dataset, self.split = dataset, split
        self.sensor = sensor or Sensor(width, height)
        self.labels = tuple(map(str, labels if labels is not None else dataset.classes))
        self.source = f"Tonic's {type(dataset).__name__}"
        self.groups = ("",) * len(dataset)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Recording:
        events, label = self._dataset[index]
        name = f"{type(self._dataset).__name__}_{index}"
        return Recording(from_tonic(events, self.sensor, name), int(label), name)


def download(name: str, folder: Path) -> None:
    """Let Tonic download a data set into a folder; raises `ConfigError` with the cause in one line when it fails."""
    from tonic import datasets

    parts: dict[str, list[Callable[[], Any]]] = {
        "dvs128_gesture": [partial(datasets.DVSGesture, str(folder), train) for train in (True, False)],
        "shd": [partial(datasets.SHD, str(folder), train) for train in (True, False)],
        "ssc": [partial(datasets.SSC, str(folder), split) for split in ("train", "valid", "test")],
        "nmnist": [partial(datasets.NMNIST, str(folder), train) for train in (True, False)],
    }
    try:
        with redirect_stdout(sys.stderr):
            for part in parts[name]:
                part()
    except Exception as error:  # whatever the network, the server and the archive do
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"Tonic's download of {name} into {folder} fails ({cause}); get the files by hand") from None
