"""What a checkpoint must remember besides weights: sensor, bin, representation, network, labels, decision rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor
from dvs_snn.representation import ChannelCounts, EventCounts, Representation, TimeSurface, VoxelGrid
from dvs_snn.tracking import TrackLife

REPRESENTATIONS: dict[str, type] = {
    kind.__name__: kind for kind in (EventCounts, ChannelCounts, VoxelGrid, TimeSurface)
}


@dataclass(frozen=True)
class DecisionConfig:
    """How per-bin class posteriors become decisions.

    The posterior is averaged exponentially with time constant `smoothing_us`. A class is decided when its average
    reaches `threshold`, and kept until it falls below `release` or another class reaches `threshold` (hysteresis).
    Before `warmup_us` of a sequence, or while fewer than `min_rate_hz` events per second arrive, nothing is decided
    ("none"). `whole` says how one class is told for a recording: by the "mean" posterior, or the "last".
    """

    smoothing_us: int = 150_000
    threshold: float = 0.5
    release: float = 0.35
    warmup_us: int = 150_000
    min_rate_hz: float = 500.0
    whole: str = "mean"

    def __post_init__(self) -> None:
        if not 0.0 <= self.release <= self.threshold <= 1.0:
            raise ConfigError(f"decision: need 0 <= release <= threshold <= 1, not {self.release} and {self.threshold}")
        if self.whole not in ("mean", "last"):
            raise ConfigError(f"decision.whole is 'mean' or 'last', not {self.whole!r}")
        if self.smoothing_us < 0 or self.warmup_us < 0 or self.min_rate_hz < 0:
            raise ConfigError("decision: smoothing_us, warmup_us and min_rate_hz must not be negative")


@dataclass(frozen=True)
class PipelineConfig:
    """Everything between a recording and a decision, except the weights; travels with them in the checkpoint.

    `tracks` is the rule of a network's tracks; other tasks, and trackers without a heat map, have none.
    """

    model: str
    labels: tuple[str, ...]
    model_config: dict[str, Any] = field(default_factory=dict)
    task: str = "gesture"
    sensor: Sensor = Sensor(128, 128)
    bin_us: int = 10_000
    representation: Representation = EventCounts(pool=4)
    decision: DecisionConfig = DecisionConfig()
    tracks: TrackLife | None = None

    def __post_init__(self) -> None:
        if self.bin_us <= 0:
            raise ConfigError(f"bin_us is {self.bin_us}: must be above zero")
        self.representation.shape(self.sensor)  # refuses a pool that does not divide the sensor

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        data = asdict(self)
        data["labels"] = list(self.labels)
        if self.tracks is None:
            del data["tracks"]
        data["representation"] = {"name": type(self.representation).__name__, **data["representation"]}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PipelineConfig:
        """The inverse of `to_dict`; unknown keys are errors that name the key."""
        values = dict(data)
        refuse_unknown(cls, values, "pipeline")
        try:
            values["labels"] = tuple(values["labels"])
            if "sensor" in values:
                values["sensor"] = Sensor(**values["sensor"])
            if "decision" in values:
                refuse_unknown(DecisionConfig, values["decision"], "decision")
                values["decision"] = DecisionConfig(**values["decision"])
            if values.get("tracks") is not None:
                values["tracks"] = TrackLife.from_dict(values["tracks"])
            if "representation" in values:
                options = dict(values["representation"])
                name = options.pop("name")
                if name not in REPRESENTATIONS:
                    raise ConfigError(f"representation {name!r} is unknown; known: {', '.join(REPRESENTATIONS)}")
                refuse_unknown(REPRESENTATIONS[name], options, "representation")
                values["representation"] = REPRESENTATIONS[name](**options)
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"pipeline configuration is incomplete or of the wrong type: {error}") from None


def refuse_unknown(kind: type, values: Mapping[str, Any], where: str) -> None:
    """Raise `ConfigError` for a key that the dataclass `kind` does not have."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a table of options, found {values!r}")
    known = {entry.name for entry in fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown option {key!r}; known: {', '.join(sorted(known))}")
