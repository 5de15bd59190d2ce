"""The node `tracker`: `events` in, `~/tracks` and `~/markers` out."""

from __future__ import annotations

from typing import Any

from dvs_snn_msgs.msg import TrackArray
from visualization_msgs.msg import MarkerArray

from dvs_snn_ros.convert import marker_array, tracks_message
from dvs_snn_ros.engine import Outcome
from dvs_snn_ros.perception import PerceptionNode
from dvs_snn_ros.running import RESULTS, exit_main
from dvs_snn_ros.settings import TrackerSettings

MARKERS_US = 50_000
"""Markers are for eyes: not more often than this."""


class TrackerNode(PerceptionNode[TrackerSettings]):
    """Publishes the tracks that are alive at the end of each window of events."""

    task = "tracks"

    def __init__(self, **options: Any) -> None:
        super().__init__("tracker", TrackerSettings, **options)

    def make_publishers(self) -> list[Any]:
        self._tracks = self.create_publisher(TrackArray, "~/tracks", RESULTS)
        self._markers = self.create_publisher(MarkerArray, "~/markers", RESULTS)
        self._told_us = self._marked_us = -(1 << 62)
        return [self._tracks, self._markers]

    def tell(self, outcome: Outcome, latency_ms: float) -> None:
        t_us, first = outcome.window.end_us, outcome.window.first
        if not first and 0 <= t_us - self._told_us < self._settings.publish_ms * 1000:
            return
        self._told_us = t_us
        message = tracks_message(outcome, latency_ms)
        self._tracks.publish(message)
        if (first or not 0 <= t_us - self._marked_us < MARKERS_US) and self._markers.get_subscription_count():
            self._marked_us = t_us
            self._markers.publish(marker_array(message, self._settings.marker_scale))


def main() -> None:
    """The process of the node."""
    exit_main(TrackerNode)


if __name__ == "__main__":
    main()
