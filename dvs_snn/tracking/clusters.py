"""The classical tracker: several targets from events alone, with no training; an update per window."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvs_snn.events import Sensor, Window
from dvs_snn.tracking.association import assign
from dvs_snn.tracking.cluster_births import begin_track, find_births, resume_track, tell_tracks
from dvs_snn.tracking.cluster_bodies import find_bodies
from dvs_snn.tracking.cluster_ego import EGO_US, estimate_motion
from dvs_snn.tracking.cluster_kernel import correct_tracks, take_events
from dvs_snn.tracking.cluster_state import (
    CANDIDATES,
    CONFIRMED,
    HEIGHT,
    NEXT_ID,
    SEEN,
    STATUS,
    WIDTH,
    ClusterConfig,
    ClusterState,
    Rules,
    empty_state,
)
from dvs_snn.tracking.tracks import COLUMNS

_LOST_US = 8_000  # a track that saw events this lately needs no candidate


class ClusterTracker:
    """Clusters of events followed by Kalman filters; `step` takes a window and the state and gives both anew.

    State is explicit; its arrays are changed in place, so a state that was passed in must not be used again.
    """

    def __init__(self, config: ClusterConfig = ClusterConfig()) -> None:  # noqa: B008
        self.config = config
        self._table = np.zeros((config.most_tracks, len(COLUMNS)))
        self._rules: Rules | None = None
        self._shape: tuple[int, ...] = ()

    def initial_state(self, sensor: Sensor, before: ClusterState | None = None) -> ClusterState:
        """An empty scene; ids go on from those of `before`, so that none is given twice."""
        return empty_state(self.config, sensor, 1.0 if before is None else float(before.scalars[NEXT_ID]))

    def step(self, window: Window, state: ClusterState) -> tuple[NDArray[np.float64], ClusterState]:
        """Rows of `COLUMNS` at the window's end, sorted by id, `[tracks, 8]`."""
        if self._rules is None or self._shape != state.last.shape:
            self._shape = state.last.shape
            self._rules = Rules.of(self.config, Sensor(self._shape[1] - 2, self._shape[0] - 2))
        rules, events, end_us = self._rules, window.events, window.end_us
        told = _advance(events["t"], events["x"], events["y"], window.start_us, end_us, self._table, state, rules)
        if told < 0:
            self._admit(state.candidates[: int(state.scalars[CANDIDATES])], end_us, state, rules)
            told = tell_tracks(end_us, self._table, state, rules)
        table = self._table[:told]
        return table[table[:, 0].argsort(kind="stable")], state

    def _admit(self, candidates: NDArray[np.float64], end_us: int, state: ClusterState, rules: Rules) -> None:
        """Candidates resume tracks that are out of sight where they fit, and begin new ones elsewhere."""
        life = state.life
        lost = np.flatnonzero((life[:, STATUS] == CONFIRMED) & (end_us - life[:, SEEN] > _LOST_US))
        resumed = assign(self._misfit(candidates, lost, state), 1.0) if len(lost) else []
        for k, index in resumed:
            resume_track(int(lost[k]), candidates[index], end_us, state, rules)
        for index in np.setdiff1d(np.arange(len(candidates)), [index for _, index in resumed]).tolist():
            begin_track(candidates[index], end_us, state, rules)

    def _misfit(
        self, candidates: NDArray[np.float64], lost: NDArray[np.int64], state: ClusterState
    ) -> NDArray[np.float64]:
        """Squared distance in units of how far a track may have gone, infinite for another size; [lost, candidates]."""
        mean, covariance, life = state.mean[lost], state.covariance[lost], state.life[lost]
        sizes = life[:, [WIDTH, HEIGHT]]
        wander = covariance[:, 0, 0] + covariance[:, 1, 1] + 0.25 * (sizes**2).sum(axis=1)
        wander = np.minimum(wander, 60.0**2)
        apart = ((mean[:, None, :2] - candidates[None, :, :2]) ** 2).sum(axis=2) / (4.0 * wander[:, None])
        ratio = np.abs(np.log(np.maximum(candidates[None, :, 2:4], 1.0) / np.maximum(sizes[:, None], 1.0))).max(axis=2)
        return np.where(ratio < np.log(3.0), apart, np.inf)


@njit(cache=True, nogil=True)
def _advance(t, x, y, start_us, end_us, table, state, rules):  # type: ignore[no-untyped-def]
    """All of a window but the admission of candidates, if there are any (then -1)."""
    take_events(t, x, y, start_us, end_us, state, rules)
    if rules.ego_motion and end_us // EGO_US != start_us // EGO_US:
        estimate_motion(end_us, state.ego, rules.ego_px)
    correct_tracks(start_us, end_us, state, rules)
    find_bodies(start_us, end_us, state, rules)
    find_births(start_us, end_us, state, rules)
    if state.scalars[CANDIDATES] > 0.0:
        return -1
    return tell_tracks(end_us, table, state, rules)
