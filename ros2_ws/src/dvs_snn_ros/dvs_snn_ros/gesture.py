"""The node `gesture`: `events` in, `~/gesture` out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dvs_snn_msgs.msg import Gesture

from dvs_snn.errors import ConfigError
from dvs_snn.pipeline import Checkpoint
from dvs_snn_ros.convert import gesture_message
from dvs_snn_ros.engine import Outcome
from dvs_snn_ros.perception import PerceptionNode
from dvs_snn_ros.running import RESULTS, exit_main
from dvs_snn_ros.settings import GestureSettings


class GestureNode(PerceptionNode[GestureSettings]):
    """Publishes a decision for each window of events."""

    task = "gesture"

    def __init__(self, **options: Any) -> None:
        super().__init__("gesture", GestureSettings, **options)

    def make_publishers(self) -> list[Any]:
        self._gestures = self.create_publisher(Gesture, "~/gesture", RESULTS)
        return [self._gestures]

    def adjust(self, checkpoint: Checkpoint, settings: GestureSettings) -> Checkpoint:
        """Thresholds that are given come in place of the checkpoint's."""
        given = {
            name: value for name in ("threshold", "release", "min_rate_hz") if (value := getattr(settings, name)) >= 0
        }
        if not given:
            return checkpoint
        decision = checkpoint.config.decision
        if "threshold" in given and "release" not in given:
            given["release"] = min(decision.release, given["threshold"])
        try:
            return replace(checkpoint, config=replace(checkpoint.config, decision=replace(decision, **given)))
        except ConfigError as error:
            raise ConfigError(f"threshold, release: {error}") from None

    def tell(self, outcome: Outcome, latency_ms: float) -> None:
        self._gestures.publish(gesture_message(outcome, latency_ms))


def main() -> None:
    """The process of the node."""
    exit_main(GestureNode)


if __name__ == "__main__":
    main()
