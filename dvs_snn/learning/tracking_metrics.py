"""Measures of tracks against a truth: CLEAR-MOT and identity, success and precision, losses, error when published.

CLEAR-MOT: Bernardin & Stiefelhagen 2008; IDF1: Ristani et al. 2016; success and precision: Wu et al. 2013. The first
two are computed by `motmetrics`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import motmetrics
import numpy as np
from numpy.typing import NDArray

from dvs_snn.events.simulate import ShapesTruth
from dvs_snn.tracking import Tracks, assign
from dvs_snn.tracking.boxes import overlaps

IOU_LEAST = 0.5
CENTRE_PX, CENTRE_SHARE = 5.0, 0.5
"""A track is at a target when its centre lies within half the target's mean side, but at least 5 px, of the truth."""
SIZELESS_PX = 20.0
"""The same for a truth without sizes."""
VISIBLE_LEAST = 0.5
"""A target that is hidden, or out of the image, by more than this is not asked for; a track on it is not held false."""
STEP_US = 10_000
TRUTH_GAP_US = 100_000
LOSS_US = 100_000

_COUNTS = ("mota", "motp", "idf1", "idp", "idr", "num_switches", "num_fragmentations", "num_false_positives",
           "num_misses", "num_objects", "mostly_tracked", "mostly_lost", "num_unique_objects")  # fmt: skip


@dataclass(frozen=True)
class TruthCourse:
    """Where a target is at any time: straight between the rows of the truth, nothing across a gap of 0.1 s."""

    id: int
    t_us: NDArray[np.int64]
    values: NDArray[np.float64]  # [rows, 7]: x, y, w, h, vx, vy, visible

    def at(self, t_us: float | int) -> NDArray[np.float64] | None:
        """Row at a time, None outside the truth."""
        right = int(np.searchsorted(self.t_us, t_us))
        if right < len(self.t_us) and self.t_us[right] == t_us:
            return self.values[right]
        if not 0 < right < len(self.t_us) or self.t_us[right] - self.t_us[right - 1] > TRUTH_GAP_US:
            return None
        share = (t_us - self.t_us[right - 1]) / (self.t_us[right] - self.t_us[right - 1])
        return (1 - share) * self.values[right - 1] + share * self.values[right]


def courses(truth: ShapesTruth) -> list[TruthCourse]:
    """The targets of a truth."""
    names = ("x", "y", "w", "h", "vx", "vy", "visible")
    found = []
    for target in truth.ids.tolist():
        rows = truth.of(target)
        found.append(TruthCourse(target, rows["t_us"], np.stack([rows[name] for name in names], axis=1)))
    return found


@dataclass
class TrackScore:
    """Takes the tracks of one recording after the other and sums up; `summary` gives the measures of all."""

    _box: list[Any] = field(default_factory=list)
    _centre: list[Any] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _errors: list[float] = field(default_factory=list)  # px, inf where a target has no track
    _overlaps: list[float] = field(default_factory=list)
    _published: list[float] = field(default_factory=list)
    _speeds: list[float] = field(default_factory=list)
    _latencies_s: list[float] = field(default_factory=list)
    _losses: int = 0
    _target_s: float = 0.0
    _false_s: float = 0.0
    _span_s: float = 0.0
    _sized: bool = True

    def take(
        self,
        name: str,
        decisions: list[Tracks],
        truth: ShapesTruth,
        latencies_s: list[float] | None = None,
    ) -> None:
        """Judge a recording's tracks every 10 ms at which there is a decision.

        `latencies_s` is how long after its `t_us` each decision was published, 0 where it is not given.
        """
        box, centre = motmetrics.MOTAccumulator(), motmetrics.MOTAccumulator()
        targets = courses(truth)
        last_seen: dict[int, int] = {}
        previous_us: int | None = None
        missed_us: dict[int, int] = {}
        for index, decision in enumerate(decisions):
            t_us = decision.t_us
            if previous_us is not None and 0 <= t_us - previous_us < STEP_US:
                continue
            step_us = STEP_US if previous_us is None or t_us < previous_us else t_us - previous_us
            previous_us = t_us
            late_s = latencies_s[index] if latencies_s else 0.0
            self._latencies_s.append(late_s)
            self._frame(box, centre, decision, targets, step_us, late_s, missed_us, last_seen)
        self._box.append(box)
        self._centre.append(centre)
        self._names.append(name)

    def _frame(
        self, box: Any, centre: Any, decision: Tracks, targets: list[TruthCourse], step_us: int,
        late_s: float | int, missed_us: dict[int, int], last_seen: dict[int, int],
    ) -> None:  # fmt: skip
        t_us = decision.t_us
        known = [(course, row) for course in targets if (row := course.at(t_us)) is not None]
        self._span_s += step_us * 1e-6
        if not known and targets and not any(course.t_us[0] <= t_us <= course.t_us[-1] for course in targets):
            return  # before or after all truth nothing can be judged
        rows = np.array([row for _, row in known]).reshape(-1, 7)
        tracks = np.array([track[1:] for track in decision.tracks], float).reshape(-1, 7)
        ids = [track.id for track in decision.tracks]
        sized = bool(np.isfinite(rows[:, 2:4]).all()) and bool(np.isfinite(tracks[:, 2:4]).all())
        self._sized &= sized
        apart = np.hypot(*(rows[:, None, :2] - tracks[None, :, :2]).transpose(2, 0, 1))
        overlap = overlaps(rows[:, :4], tracks[:, :4]) if sized else np.full(apart.shape, np.nan)
        gate = np.where(np.isfinite(rows[:, 2]), np.maximum(CENTRE_PX, CENTRE_SHARE * rows[:, 2:4].mean(axis=1)),
                        SIZELESS_PX)  # fmt: skip
        wanted = rows[:, 6] >= VISIBLE_LEAST
        pairs = assign(apart / gate[:, None] if apart.size else apart, 2.0)
        spared = {j for i, j in pairs if not wanted[i]}
        judged = np.array([j for j in range(len(ids)) if j not in spared], np.int64)
        asked = np.flatnonzero(wanted)
        names = [known[i][0].id for i in asked]
        kept = [ids[j] for j in judged]
        far = (apart / gate[:, None])[np.ix_(asked, judged)]
        centre.update(names, kept, np.where(far <= 1.0, far, np.nan), frameid=t_us)
        if sized:
            little = 1.0 - overlap[np.ix_(asked, judged)]
            box.update(names, kept, np.where(little <= 1.0 - IOU_LEAST, little, np.nan), frameid=t_us)
        matched = {i: j for i, j in assign(far, 1.0)}
        self._false_s += (len(judged) - len(matched)) * step_us * 1e-6
        for place, i in enumerate(asked.tolist()):
            course = known[i][0]
            self._target_s += step_us * 1e-6
            if place not in matched:
                self._errors.append(np.inf)
                self._overlaps.append(0.0)
                missed_us[course.id] = missed_us.get(course.id, 0) + step_us
                if course.id in last_seen and missed_us[course.id] >= LOSS_US:
                    self._losses += 1
                    del last_seen[course.id]
                continue
            j = judged[matched[place]]
            missed_us[course.id] = 0
            if course.id in last_seen and last_seen[course.id] != ids[j]:
                self._losses += 1
            last_seen[course.id] = ids[j]
            self._errors.append(float(apart[i, j]))
            self._overlaps.append(float(overlap[i, j]) if sized else 0.0)
            if np.isfinite(rows[i, 4]):
                self._speeds.append(float(np.hypot(*(rows[i, 4:6] - tracks[j, 4:6]))))
            then = course.at(t_us + late_s * 1e6)
            if then is not None:
                self._published.append(float(np.hypot(*(then[:2] - tracks[j, :2]))))

    def summary(self) -> dict[str, Any]:
        """All measures; fractions, px, px/s and seconds. Measures of boxes are null where the truth has no sizes."""
        errors, overlaps = np.array(self._errors), np.array(self._overlaps)
        found = errors[np.isfinite(errors)]
        thresholds = np.linspace(0, 1, 21)
        success = [float(np.mean(overlaps > level)) if len(overlaps) else None for level in thresholds]
        precision = {f"{px}": float(np.mean(errors <= px)) if len(errors) else None for px in (1, 2, 3, 5, 10, 20, 50)}
        centre = _clear(self._centre, self._names)
        box = _clear(self._box, self._names) if self._sized else None
        late = np.array(self._latencies_s or [0.0])
        return {
            "mota": box["mota"] if box else centre["mota"],
            "idf1": box["idf1"] if box else centre["idf1"],
            "matching": f"IoU >= {IOU_LEAST}" if box else f"centre within {SIZELESS_PX:g} px",
            "box": box,
            "centre": centre,
            "success_auc": float(np.trapezoid(np.array(success, np.float64), thresholds))
            if self._sized and len(overlaps)
            else None,
            "success": success if self._sized else None,
            "precision": precision,
            "error_px": _spread(found),
            "error_published_px": _spread(np.array(self._published)),
            "latency_ms": {"p50": float(np.percentile(late, 50) * 1e3), "p99": float(np.percentile(late, 99) * 1e3)},
            "speed_error_px_s": _spread(np.array(self._speeds)),
            "lost_per_minute": 60.0 * self._losses / self._target_s if self._target_s else None,
            "false_per_second": self._false_s / self._span_s if self._span_s else None,
            "target_s": self._target_s,
        }


def _clear(accumulators: list[Any], names: list[str]) -> dict[str, Any]:
    """CLEAR-MOT and identity over all recordings together."""
    used = [(a, n) for a, n in zip(accumulators, names, strict=True) if len(a.events)]
    if not used:
        return dict.fromkeys(_COUNTS, None)
    table = motmetrics.metrics.create().compute_many(
        [a for a, _ in used], metrics=list(_COUNTS), names=[f"{i} {n}" for i, (_, n) in enumerate(used)],
        generate_overall=True,
    )  # fmt: skip
    row = table.loc["OVERALL"]
    return {name: _plain(row[name]) for name in _COUNTS}


def _plain(value: Any) -> float | int | None:
    if not np.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) > 1 else float(value)


def _spread(values: NDArray[np.float64]) -> dict[str, float] | None:
    if not len(values):
        return None
    half, most = np.percentile(values, [50, 95])
    return {"rms": float(np.sqrt(np.mean(values**2))), "median": float(half), "p95": float(most)}
