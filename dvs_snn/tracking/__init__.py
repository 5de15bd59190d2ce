"""From events to tracks with identity, place and speed: Kalman filter, association, track life, the classical tracker.

May import `events` and `nn`; knows no network. Times in us, lengths in px, speeds in px/s.
"""

from dvs_snn.tracking.association import assign
from dvs_snn.tracking.cluster_state import ClusterConfig, ClusterState
from dvs_snn.tracking.clusters import ClusterTracker
from dvs_snn.tracking.tracks import COLUMNS, Track, Tracks

__all__ = ["COLUMNS", "ClusterConfig", "ClusterState", "ClusterTracker", "Track", "Tracks", "assign"]
