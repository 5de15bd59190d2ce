"""Boxes that a network sees become tracks: Kalman filter, gated assignment, confirmation, occlusion, death."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor
from dvs_snn.tracking.association import assign
from dvs_snn.tracking.kalman import advance, measure, start
from dvs_snn.tracking.tracks import COLUMNS

Array = NDArray[np.float64]

ID, WIDTH, HEIGHT, SCORE, HITS, EVIDENCE, SEEN, BORN = range(8)
"""Columns of `BoxState.life`; id 0 is a tentative track, `evidence` the sum of its observations' scores."""


@dataclass(frozen=True)
class TrackLife:
    """When a track begins, goes on and ends; lengths in px, times in us.

    Observations are the heat map's peaks above `low`; those above `high` may begin a tentative track, which is
    confirmed and told once the scores it was seen with sum up to `confirm`, and forgotten when it is not seen for
    `tentative_us`.
    An observation fits a track when it lies within `gate_px` plus `gate_share` of the track's mean side and twice the
    prediction's standard deviation; `gate_s` weighs a difference of velocity, `gate_size` one of the log of size.
    A track that is not seen is predicted, kept for `keep_us` and told for `told_us` if it was seen `told_hits` times;
    one that had nearly stopped (`rest_px_s`), which makes no events, is kept and told for `rest_us`. Peaks whose boxes
    overlap by more than `overlap` are one.

    Measured positions have the standard deviation `position_px`, speeds `speed_px_s` and a quarter of the speed;
    acceleration is white with the density of turns of radius `turn_px`. Sizes are averaged over `size_hits` sightings.
    """

    high: float = 0.6
    low: float = 0.4
    confirm: float = 1.4
    tentative_us: int = 20_000
    gate_px: float = 3.0
    gate_share: float = 1.0
    gate_s: float = 0.03
    gate_size: float = 1.5
    told_us: int = 0
    told_hits: int = 0
    keep_us: int = 400_000
    rest_px_s: float = 12.0
    rest_us: int = 1_000_000
    overlap: float = 0.5
    position_px: float = 1.0
    speed_px_s: float = 400.0
    turn_px: float = 20.0
    size_hits: float = 6.0
    most_tracks: int = 128

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not np.isfinite(value) or value < 0:
                raise ConfigError(f"tracks: {entry.name} is {value}: must be finite and not negative")
        if not 0 < self.low <= self.high <= 1 or not 0 < self.overlap <= 1:
            raise ConfigError("tracks: need 0 < low <= high <= 1 and 0 < overlap <= 1")
        if min(self.position_px, self.turn_px, self.speed_px_s) <= 0 or self.size_hits < 1 or self.most_tracks < 1:
            raise ConfigError("tracks: position_px, speed_px_s, turn_px are above 0; size_hits, most_tracks at least 1")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrackLife:
        """From plain values; an unknown name or a value of the wrong type is an error that names it."""
        known = {entry.name: type(entry.default) for entry in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ConfigError(f"tracks: unknown option {name!r}; known: {', '.join(sorted(known))}")
            right = (int, float) if known[name] is float else (known[name],)
            if type(value) not in right:
                raise ConfigError(f"tracks: option {name} is {value!r}, expected {known[name].__name__}")
        return cls(**values)


class BoxState(NamedTuple):
    """Tracks of a moment, in the order of their birth; `step` gives a new one and leaves the old as it was."""

    t_us: int
    mean: Array  # [tracks, 5], see `kalman`
    covariance: Array  # [tracks, 5, 5]
    life: Array  # [tracks, 8]
    next_id: int


class BoxTracker:
    """Follows boxes with scores; `step` takes those of a moment and the state and gives both tracks and state."""

    def __init__(self, life: TrackLife = TrackLife(), sensor: Sensor = Sensor(240, 180)) -> None:  # noqa: B008
        self.life, self.sensor = life, sensor

    def initial_state(self, before: BoxState | None = None) -> BoxState:
        """An empty scene; ids go on from those of `before`, so that none is given twice."""
        return BoxState(0, np.zeros((0, 5)), np.zeros((0, 5, 5)), np.zeros((0, 8)), before.next_id if before else 1)

    def step(self, seen: Float[np.ndarray, "n 7"], t_us: int, state: BoxState) -> tuple[Array, BoxState]:
        """Rows of `COLUMNS` at `t_us`, sorted by id; `seen` has rows (x, y, w, h, vx, vy, score), px and px/s."""
        rule = self.life
        seen = distinct(seen[seen[:, 6] >= rule.low], rule.overlap)
        mean, covariance, life = state.mean.copy(), state.covariance.copy(), state.life.copy()
        advance(mean, covariance, max(t_us - state.t_us, 0) * 1e-6, rule.turn_px)
        left = np.arange(len(seen))
        sure = life[:, ID] > 0
        # what has a name chooses first, and among the boxes the clear ones are chosen first
        for named in (True, False):
            for least in (rule.high, rule.low):
                tracks = np.flatnonzero((sure == named) & ~(life[:, SEEN] == t_us))
                boxes = left[seen[left, 6] >= least]
                cost = self._misfit(seen[boxes], mean[tracks], covariance[tracks], life[tracks])
                pairs = [(int(tracks[k]), int(boxes[n])) for k, n in assign(cost, 1.0)]
                for k, n in pairs:
                    self._correct(mean[k], covariance[k], life[k], seen[n], t_us)
                left = np.setdiff1d(left, [n for _, n in pairs])
        mean, covariance, life = self._born(seen[left], mean, covariance, life, t_us)
        next_id = state.next_id
        for k in np.flatnonzero((life[:, ID] == 0) & (life[:, EVIDENCE] >= rule.confirm)).tolist():
            life[k, ID] = next_id
            next_id += 1
        alive = self._alive(mean, life, t_us)
        mean, covariance, life = mean[alive], covariance[alive], life[alive]
        return self._told(mean, life, t_us), BoxState(t_us, mean, covariance, life, next_id)

    def _misfit(self, seen: Array, mean: Array, covariance: Array, life: Array) -> Array:
        """Cost of every pair, [tracks, boxes]; above 1 they do not belong together."""
        rule = self.life
        if not len(mean) or not len(seen):
            return np.zeros((len(mean), len(seen)))
        side = life[:, WIDTH : HEIGHT + 1].mean(axis=1)
        spread = np.sqrt((covariance[:, 0, 0] + covariance[:, 1, 1]) / 2)
        reach = rule.gate_px + rule.gate_share * side + 2.0 * np.minimum(spread, 30.0)
        apart = ((mean[:, None, :2] - seen[None, :, :2]) ** 2).sum(axis=2)
        apart += rule.gate_s**2 * ((mean[:, None, 2:4] - seen[None, :, 4:6]) ** 2).sum(axis=2)
        ratio = np.abs(np.log(seen[None, :, 2:4] / life[:, None, WIDTH : HEIGHT + 1])).mean(axis=2)
        return np.sqrt(apart) / reach[:, None] + rule.gate_size * ratio

    def _correct(self, mean: Array, covariance: Array, life: Array, box: Array, t_us: int) -> None:
        rule = self.life
        speed_sd = rule.speed_px_s + 0.25 * float(np.hypot(box[4], box[5]))
        # an unsure box is less exact
        doubt = 1.0 / max(float(box[6]), 0.2)
        measure(mean, covariance, box[0], box[1], rule.position_px * doubt, box[4], box[5], speed_sd * doubt)
        life[HITS] += 1
        gain = max(1.0 / life[HITS], 1.0 / rule.size_hits)
        life[WIDTH : HEIGHT + 1] *= np.exp(gain * np.log(box[2:4] / life[WIDTH : HEIGHT + 1]))
        life[SCORE] += 0.3 * (box[6] - life[SCORE])
        life[EVIDENCE] += box[6]
        life[SEEN] = t_us

    def _born(self, seen: Array, mean: Array, covariance: Array, life: Array, t_us: int) -> tuple[Array, Array, Array]:
        """Add a tentative track for every clear box that no track seen now covers."""
        rule = self.life
        seen = seen[seen[:, 6] >= rule.high]
        now = life[:, SEEN] == t_us
        if len(seen) and now.any():
            boxes = np.concatenate([mean[now, :2], life[now, WIDTH : HEIGHT + 1]], axis=1)
            seen = seen[overlaps(seen[:, :4], boxes).max(axis=1) <= rule.overlap]
        seen = seen[: max(rule.most_tracks - len(life), 0)]
        if not len(seen):
            return mean, covariance, life
        means, covariances = np.zeros((len(seen), 5)), np.zeros((len(seen), 5, 5))
        lives = np.zeros((len(seen), life.shape[1]))
        for k, box in enumerate(seen):
            speed_sd = 2 * rule.speed_px_s + 0.5 * float(np.hypot(box[4], box[5]))
            start(means[k], covariances[k], box[0], box[1], box[4], box[5], 2 * rule.position_px, speed_sd, 0.0)
            lives[k] = 0.0, box[2], box[3], box[6], 1.0, box[6], t_us, t_us
        return np.concatenate([mean, means]), np.concatenate([covariance, covariances]), np.concatenate([life, lives])

    def _unseen_limits(self, mean: Array, life: Array) -> tuple[Array, Array]:
        """How long each track is told, and kept, without being seen, in us."""
        rule = self.life
        rests = np.hypot(mean[:, 2], mean[:, 3]) < rule.rest_px_s
        told = np.where(rests, rule.rest_us, np.where(life[:, HITS] >= rule.told_hits, rule.told_us, 0))
        return told.astype(float), np.maximum(told, rule.keep_us)

    def _alive(self, mean: Array, life: Array, t_us: int) -> NDArray[np.bool_]:
        unseen = t_us - life[:, SEEN]
        _, kept = self._unseen_limits(mean, life)
        kept = np.where(life[:, ID] > 0, kept, self.life.tentative_us)
        x, y = mean[:, 0], mean[:, 1]
        inside = (x >= -0.5) & (y >= -0.5) & (x <= self.sensor.width - 0.5) & (y <= self.sensor.height - 0.5)
        return (unseen <= kept) & (inside | (unseen == 0))

    def _told(self, mean: Array, life: Array, t_us: int) -> Array:
        told, _ = self._unseen_limits(mean, life)
        rows = np.flatnonzero((life[:, ID] > 0) & (t_us - life[:, SEEN] <= told))
        table = np.empty((len(rows), len(COLUMNS)))
        table[:, 0] = life[rows, ID]
        table[:, 1:3], table[:, 3:5], table[:, 5:7] = mean[rows, :2], life[rows, WIDTH : HEIGHT + 1], mean[rows, 2:4]
        unseen = t_us - life[rows, SEEN]
        table[:, 7] = life[rows, SCORE] * np.exp(-unseen / max(self.life.keep_us, 1))
        return table[table[:, 0].argsort(kind="stable")]


def overlaps(first: Float[np.ndarray, "n 4"], second: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of boxes given as centre and size; NaN where a size is unknown."""
    low = np.maximum((first[:, None, :2] - first[:, None, 2:] / 2), (second[None, :, :2] - second[None, :, 2:] / 2))
    high = np.minimum((first[:, None, :2] + first[:, None, 2:] / 2), (second[None, :, :2] + second[None, :, 2:] / 2))
    common = np.clip(high - low, 0, None).prod(axis=2)
    return common / (first[:, None, 2:].prod(axis=2) + second[None, :, 2:].prod(axis=2) - common)


def distinct(seen: Float[np.ndarray, "n 7"], most: float | int) -> Float[np.ndarray, "m 7"]:
    """The boxes, by falling score, that overlap none before them by more than `most`."""
    seen = seen[np.argsort(-seen[:, 6], kind="stable")]
    if len(seen) < 2:
        return seen
    shared = overlaps(seen[:, :4], seen[:, :4])
    kept: list[int] = []
    for k in range(len(seen)):
        if not kept or shared[k, kept].max() <= most:
            kept.append(k)
    return seen[kept]
