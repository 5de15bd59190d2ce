"""The parameters of the nodes: frozen dataclasses whose fields say what they are, and which refuse what cannot be.

`docs/ros.md` is generated from these (`python -m dvs_snn_ros.options`).
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

from dvs_snn.errors import ConfigError


def option(
    default: Any,
    about: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A parameter: its default, what it does, its range or choices, and whether it may change at any time (`live`)."""
    metadata = {"about": about, "least": least, "most": most, "choices": choices, "live": live}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(entry: Field[Any]) -> Any:
    """The default of a field made by `option`."""
    return entry.default_factory() if callable(entry.default_factory) else entry.default


def limits_of(entry: Field[Any]) -> str:
    """Range or choices of a field in words, empty when there are none."""
    least, most, choices = (entry.metadata[key] for key in ("least", "most", "choices"))
    if choices:
        return ", ".join(choices)
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"at least {least:g}" if least is not None else ""


def checked(entry: Field[Any], value: Any) -> Any:
    """The value in the field's type; ConfigError says what is wrong with it."""
    default = default_of(entry)
    kind = type(default)
    if kind is float and type(value) is int:
        value = float(value)
    if kind is list and hasattr(value, "tolist"):
        value = value.tolist()
    if kind is list and isinstance(value, tuple):
        value = list(value)
    if type(value) is not kind or (kind is list and any(type(each) is not int for each in value)):
        named = {list: "a list of integers", str: "a text", bool: "true or false", int: "an integer", float: "a number"}
        raise ConfigError(f"{entry.name}: {value!r} is not {named[kind]}")
    least, most, choices = (entry.metadata[key] for key in ("least", "most", "choices"))
    if choices and value not in choices:
        raise ConfigError(f"{entry.name}: {value!r} is none of {', '.join(choices)}")
    if kind in (int, float):
        if value != value:
            raise ConfigError(f"{entry.name}: must be a number, not nan")
        if (least is not None and value < least) or (most is not None and value > most):
            raise ConfigError(f"{entry.name}: {value!r} is out of range ({limits_of(entry)})")
    return value


@dataclass(frozen=True)
class Checked:
    """Settings whose every field is checked when they are made; ConfigError names the field."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            object.__setattr__(self, entry.name, checked(entry, getattr(self, entry.name)))


@dataclass(frozen=True)
class PerceptionSettings(Checked):
    """What `gesture` and `tracker` have in common."""

    autostart: bool = option(True, "configure and activate when the process starts")
    model: str = option("", "checkpoint: a folder, or the name of one that ships with dvs_snn")
    runtime: str = option("torch", "what runs the network; see `dvs-snn replay --help`")
    device: str = option("cpu", "where torch runs it: cpu, cuda, cuda:1 ...")
    reliability: str = option(
        "best_effort",
        "of the subscription to events; best_effort hears every publisher, reliable only reliable ones",
        choices=("best_effort", "reliable"),
    )
    queue_depth: int = option(100, "packets that the middleware keeps for this node", least=1, most=10_000)
    queue_ms: float = option(
        500.0, "windows that wait for the network, in sensor time [ms]; more are dropped", least=10, most=60_000
    )
    queue_events: int = option(
        4_000_000, "events that wait to be cut into windows [1]; more are dropped", least=10_000, most=100_000_000
    )
    drop_policy: str = option(
        "oldest",
        "which end is dropped when a queue is full: oldest keeps latency low, newest keeps the past unbroken",
        choices=("oldest", "newest"),
    )
    still_ms: float = option(
        300.0,
        "after so long without events the host's clock closes windows, as long behind the present [ms]",
        least=20,
        most=10_000,
        live=True,
    )
    stale_s: float = option(
        1.0, "after so long without packets the diagnostics say STALE [s]", least=0.1, most=3600, live=True
    )
    warn_latency_ms: float = option(
        100.0, "diagnostics say WARN when 99 % of latencies are not below this [ms]", least=1, most=60_000, live=True
    )
    region: list[int] = option(
        [0, 0, 0, 0], "x, y, width, height of the part of the sensor that is used [px]; width 0: all of it", live=True
    )
    downsample: int = option(
        1, "pool so many pixels in each direction into one before the network's own fitting [1]", least=1, most=64,
        live=True,
    )  # fmt: skip
    max_rate_hz: float = option(
        0.0, "thin the events to at most this rate [1/s]; 0: all of them", least=0, most=1e9, live=True
    )
    image_hz: float = option(
        10.0, "pictures per second on ~/image, while somebody listens", least=0.1, most=60, live=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.region) != 4 or min(self.region) < 0:
            raise ConfigError(f"region: {self.region} is not x, y, width, height, none below zero")
        if self.region[2] > 0 and self.region[3] == 0:
            raise ConfigError("region: height must be above zero where width is")
        if 0 < self.max_rate_hz < 1000:
            raise ConfigError(f"max_rate_hz: {self.max_rate_hz:g} leaves too few events; 0 or at least 1000")


@dataclass(frozen=True)
class GestureSettings(PerceptionSettings):
    """Parameters of `gesture`."""

    model: str = option("gesture", "checkpoint: a folder, or the name of one that ships with dvs_snn")
    threshold: float = option(
        -1.0, "posterior at which a class is decided [0..1]; -1: as the checkpoint says", least=-1, most=1, live=True
    )
    release: float = option(
        -1.0, "posterior below which it is given up again [0..1]; -1: as the checkpoint says", least=-1, most=1,
        live=True,
    )  # fmt: skip
    min_rate_hz: float = option(
        -1.0, "event rate below which nothing is decided [1/s]; -1: as the checkpoint says", least=-1, most=1e9,
        live=True,
    )  # fmt: skip
    adapt: bool = option(False, "learn from ~/reward while running; off: the checkpoint decides as it was trained")
    adapter_file: str = option(
        "", "where ~/save writes what was learned, and configure reads it from if it is there; used with adapt"
    )


@dataclass(frozen=True)
class TrackerSettings(PerceptionSettings):
    """Parameters of `tracker`."""

    model: str = option(
        "clusters", "checkpoint: a folder, or a name that ships with dvs_snn; clusters needs no network"
    )
    publish_ms: float = option(
        0.0, "sensor time between messages at least [ms]; 0: one for each window", least=0, most=10_000, live=True
    )
    marker_scale: float = option(0.01, "size of a pixel in ~/markers [m]", least=1e-6, most=10, live=True)


@dataclass(frozen=True)
class PlayerSettings(Checked):
    """Parameters of `event_player`."""

    autostart: bool = option(True, "configure and activate when the process starts")
    file: str = option("", "recording: any file or bag that `dvs-snn info` reads")
    sensor: str = option("", "WIDTHxHEIGHT, for files that do not state it")
    rate: float = option(1.0, "speed: 1 is sensor time, 2 twice as fast", least=0.001, most=1000, live=True)
    loop: bool = option(False, "begin again at the end, 20 s of sensor time later", live=True)
    packet_ms: int = option(10, "sensor time in a packet [ms]", least=1, most=1000)
    max_packet_bytes: int = option(
        262_144, "size of a packet's events at most [B]; above 500 kB see large messages", least=64, most=16_777_216
    )
    encoding: str = option("evt3", "of the packets", choices=("evt3", "mono"))
    frame_id: str = option("event_camera", "in the packets' header")
    reliability: str = option(
        "best_effort", "of the publisher, as camera drivers have it", choices=("best_effort", "reliable")
    )
    queue_depth: int = option(1000, "packets that the middleware keeps to send", least=1, most=10_000)
    wait_for_subscribers: int = option(1, "begin when so many listen; 0: at once", least=0, most=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_packet_bytes // 8 < 8:
            raise ConfigError("max_packet_bytes: must hold 8 events at least")
