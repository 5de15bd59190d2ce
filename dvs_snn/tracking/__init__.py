"""From events to tracks with identity, place and speed: Kalman filter, association, track life, the classical tracker.

May import `events` and `nn`; knows no network. Times in us, lengths in px, speeds in px/s.
"""

from dvs_snn.tracking.association import assign
from dvs_snn.tracking.boxes import BoxState, BoxTracker, TrackLife
from dvs_snn.tracking.cluster_state import ClusterConfig, ClusterState
from dvs_snn.tracking.clusters import ClusterTracker
from dvs_snn.tracking.heatmap import observations
from dvs_snn.tracking.tracks import COLUMNS, Track, Tracks

__all__ = [
    "COLUMNS",
    "BoxState",
    "BoxTracker",
    "ClusterConfig",
    "ClusterState",
    "ClusterTracker",
    "Track",
    "TrackLife",
    "Tracks",
    "assign",
    "observations",
]
