"""Options and state of the classical tracker: plain arrays that the compiled steps read and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor
from dvs_snn.tracking.cluster_ego import EgoState, ego_cell_px, empty_ego

Array = NDArray[np.float64]

SCALES_MS = (1, 4, 16, 64)
"""Births are looked for over these times: the shortest in which a body has moved by more than its events scatter."""
BINS = 64
"""Bins of a track's two histograms of where its events lie about its centre."""

EMPTY, TENTATIVE, CONFIRMED = 0, 1, 2
LIFE = (
    "status", "id", "born_us", "seen_us", "w", "h", "off_x", "off_y", "hits", "score", "from_x", "from_y", "fast",
    "rival_us", "noise", "alongside_us", "contrast", "share", "camp_x", "camp_y",
)  # fmt: skip
"""Columns of `ClusterState.life`: `off` is where the box lies about the centre, `from` where the track was born, `camp`
where it has been of late in the frame of a moving background."""
(
    STATUS, ID, BORN, SEEN, WIDTH, HEIGHT, OFF_X, OFF_Y, HITS, SCORE, FROM_X, FROM_Y, FAST, RIVAL, NOISE, ALONGSIDE,
    CONTRAST, SHARE, CAMP_X, CAMP_Y,
) = range(len(LIFE))  # fmt: skip

SUMS = ("n", "x", "y", "xx", "yy", "t_us", "begin_us", "expected", "shared")
"""Columns of `ClusterState.sums`, taken since a track's last correction; `expected` is the background's share,
`shared` counts events that may be another's."""

CANDIDATE = ("x", "y", "w", "h", "vx", "vy", "events", "span_us", "speed_sd")
MOST_CANDIDATES = 256

NEXT_ID, BACKGROUND, END_US, CANDIDATES, BUSY = range(5)
"""Places in `ClusterState.scalars`; the background is in supported events per px and us."""


@dataclass(frozen=True)
class ClusterConfig:
    """Options of the classical tracker; lengths in px of a 240x180 sensor grow with the sensor.

    An event counts if one of its eight neighbours had one within `support_us`. A track is corrected as soon as it has
    `update_events`, or a fifth of them after `patience_us`. It is confirmed after `confirm_hits` corrections and
    `confirm_px` of way, and told while its box is `contrast` times as busy as what lies about it.
    Without events it coasts, is told for `report_us` and kept for `keep_us`; a track that had
    nearly stopped (`rest_px_s`) is kept and told for `rest_us`. `turns` estimates the turn rate too. `most_tracks`
    bounds the time of an update. `box_centre` moves the told centre from the events' centroid (0) to the middle of
    their box (1). `ego_motion` estimates how the camera itself turns or shakes and leaves out what moves with it.
    """

    cell_px: int = 4
    most_tracks: int = 128
    support_us: int = 5_000
    update_events: int = 40
    patience_us: int = 10_000
    birth_events: int = 15
    birth_sigmas: float = 4.0
    confirm_hits: int = 4
    confirm_px: float = 2.0
    contrast: float = 1.7
    report_us: int = 100_000
    keep_us: int = 500_000
    rest_px_s: float = 20.0
    rest_us: int = 2_000_000
    turns: bool = True
    turn_px: float = 80.0
    position_px: float = 0.4
    box_centre: float = 0.0
    ego_motion: bool = False

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not np.isfinite(value) or value < 0:
                raise ConfigError(f"clusters: {entry.name} is {value}: must be finite and not negative")
        if not (1 <= self.cell_px <= 64 and 1 <= self.most_tracks <= 4096 and self.turn_px > 0):
            raise ConfigError("clusters: need cell_px 1..64, most_tracks 1..4096 and turn_px above zero")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClusterConfig:
        """From plain values; an unknown name or a value of the wrong type is an error that names it."""
        known = {entry.name: type(entry.default) for entry in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ConfigError(f"clusters: unknown option {name!r}; known: {', '.join(sorted(known))}")
            right = (int, float) if known[name] is float else (known[name],)
            if type(value) not in right:
                raise ConfigError(f"clusters: option {name} is {value!r}, expected {known[name].__name__}")
        return cls(**values)


class Rules(NamedTuple):
    """A `ClusterConfig` for one sensor, as the compiled steps take it; lengths in that sensor's px."""

    width: int
    height: int
    cell_px: int
    support_us: int
    update_events: float
    patience_us: float
    birth_events: float
    birth_sigmas: float
    confirm_hits: float
    confirm_px: float
    contrast: float
    report_us: float
    keep_us: float
    rest_px_s: float
    rest_us: float
    omega_q: float
    turn_px: float
    position_px: float
    box_centre: float
    bin_px: float
    unit: float
    ego_motion: bool
    ego_px: int

    @classmethod
    def of(cls, config: ClusterConfig, sensor: Sensor) -> Rules:
        unit = max(1.0, min(sensor.width / 240, sensor.height / 180))
        return cls(
            width=sensor.width,
            height=sensor.height,
            cell_px=config.cell_px,
            support_us=config.support_us,
            update_events=float(config.update_events),
            patience_us=float(config.patience_us),
            birth_events=float(config.birth_events),
            birth_sigmas=float(config.birth_sigmas),
            confirm_hits=float(config.confirm_hits),
            confirm_px=float(config.confirm_px),
            contrast=float(config.contrast),
            report_us=float(config.report_us),
            keep_us=float(config.keep_us),
            rest_px_s=float(config.rest_px_s * unit),
            rest_us=float(config.rest_us),
            omega_q=1.0 if config.turns else 0.0,
            turn_px=float(config.turn_px * unit),
            position_px=float(config.position_px),
            box_centre=float(config.box_centre),
            bin_px=2.0 * unit,
            unit=unit,
            ego_motion=config.ego_motion,
            ego_px=ego_cell_px(sensor),
        )


class ClusterState(NamedTuple):
    """All that the tracker remembers; `rows` and `columns` are those of the cells."""

    last: NDArray[np.int64]  # [height + 2, width + 2] us, time of each pixel's last event
    owner: NDArray[np.int32]  # [rows, columns] one or two tracks that may own a cell's events
    count: NDArray[np.float32]  # type: ignore[assignment]  # [scales, rows, columns] events that no track owns
    moment: NDArray[np.float32]  # [scales, rows, columns] sum of their times since the scale's start, us
    waiting: Array  # [scales] events in each scale's grid
    all_count: NDArray[np.float32]  # [rows, columns] events of the last milliseconds, owned or not
    label: NDArray[np.int32]  # [rows, columns] body of each cell, 0 for none
    bodies: Array  # [256, 6] left, right, top, bottom, events, tracks
    votes: Array  # [256]
    body: NDArray[np.int64]  # [tracks]
    mean: Array  # [tracks, 5], see `kalman`
    covariance: Array  # [tracks, 5, 5]
    path: Array  # [tracks, 8] this window's course and reach
    sums: Array  # [tracks, len(SUMS)]
    histogram: NDArray[np.float32]  # [tracks, 2, BINS]
    life: Array  # [tracks, len(LIFE)]
    candidates: Array  # [MOST_CANDIDATES, len(CANDIDATE)]
    stack: NDArray[np.int32]  # [rows * columns] of cells to visit
    scalars: Array
    ego: EgoState


NEVER = -(1 << 62)


def empty_state(config: ClusterConfig, sensor: Sensor, next_id: float = 1.0) -> ClusterState:
    """The state at the start of a sequence; ids go on from `next_id`."""
    rows, columns = -(-sensor.height // config.cell_px), -(-sensor.width // config.cell_px)
    scales, tracks = len(SCALES_MS), config.most_tracks
    scalars = np.zeros(5)
    scalars[NEXT_ID] = next_id
    return ClusterState(
        last=np.full((sensor.height + 2, sensor.width + 2), NEVER, np.int64),
        owner=np.zeros((rows, columns), np.int32),
        count=np.zeros((scales, rows, columns), np.float32),
        moment=np.zeros((scales, rows, columns), np.float32),
        waiting=np.zeros(scales),
        all_count=np.zeros((rows, columns), np.float32),
        label=np.zeros((rows, columns), np.int32),
        bodies=np.zeros((256, 6)),
        votes=np.zeros(256),
        body=np.zeros(tracks, np.int64),
        mean=np.zeros((tracks, 5)),
        covariance=np.zeros((tracks, 5, 5)),
        path=np.zeros((tracks, 8)),
        sums=np.zeros((tracks, len(SUMS))),
        histogram=np.zeros((tracks, 2, BINS), np.float32),
        life=np.zeros((tracks, len(LIFE))),
        candidates=np.zeros((MOST_CANDIDATES, len(CANDIDATE))),
        stack=np.zeros(rows * columns, np.int32),
        scalars=scalars,
        ego=empty_ego(config.ego_motion, sensor.height, sensor.width, ego_cell_px(sensor), (rows, columns)),
    )
