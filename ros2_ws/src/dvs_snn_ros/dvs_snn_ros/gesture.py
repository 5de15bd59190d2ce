"""The node `gesture`: `events` in, `~/gesture` out; on wish it learns from `~/reward`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dvs_snn_msgs.msg import Gesture, Reward
from std_srvs.srv import Trigger

from dvs_snn.errors import ConfigError, DvsSnnError
from dvs_snn.pipeline import Checkpoint, Pipeline
from dvs_snn_ros.convert import gesture_message
from dvs_snn_ros.engine import Outcome
from dvs_snn_ros.perception import PerceptionNode
from dvs_snn_ros.running import RESULTS, exit_main
from dvs_snn_ros.settings import GestureSettings

ANSWER_S = 2.0
"""A service waits so long for the engine to come between two decisions."""


class GestureNode(PerceptionNode[GestureSettings]):
    """Publishes a decision for each window of events."""

    task = "gesture"

    def __init__(self, **options: Any) -> None:
        super().__init__("gesture", GestureSettings, **options)
        self._adapter: Any = None
        self._doors: list[Any] = []
        self._decisions: OrderedDict[int, int] = OrderedDict()  # index by sensor time, of those that can be rewarded

    def make_publishers(self) -> list[Any]:
        self._gestures = self.create_publisher(Gesture, "~/gesture", RESULTS)
        if self._adapter is not None:
            self._doors = [
                self.create_subscription(Reward, "~/reward", self._rewarded, RESULTS),
                self.create_service(Trigger, "~/save", self._save),
                self.create_service(Trigger, "~/forget", self._forget),
            ]
        return [self._gestures]

    def close(self) -> None:
        for door in self._doors:
            if hasattr(door, "srv_name"):
                self.destroy_service(door)
            else:
                self.destroy_subscription(door)
        self._doors, self._adapter = [], None
        self._decisions.clear()
        super().close()

    def extend(self, pipeline: Pipeline, settings: GestureSettings) -> Pipeline:
        """With an adapter behind the network, if it is to learn."""
        self._adapter = None
        if not settings.adapt:
            return pipeline
        from dvs_snn.learning.online import AdaptivePipeline

        adaptive = AdaptivePipeline(pipeline)
        if settings.adapter_file and Path(settings.adapter_file).exists():
            adaptive.adapter.load(settings.adapter_file)
        self._adapter = adaptive.adapter
        return adaptive

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
        message = gesture_message(outcome, latency_ms)
        adapter = self._adapter
        if adapter is not None:
            self._decisions[message.t_us] = message.index
            self._decisions.move_to_end(message.t_us)
            while len(self._decisions) * message.window_us > adapter.config.memory_s * 1e6:
                self._decisions.popitem(last=False)
        self._gestures.publish(message)

    # Learning

    def _rewarded(self, message: Reward) -> None:
        """Learn between two decisions, in the engine's thread; a reward that fits no decision is said and left."""

        def learn(pipeline: Pipeline) -> None:
            adapter = self._adapter
            if adapter is None or not self._decisions:
                return
            t_us = message.t_us or next(reversed(self._decisions))
            try:
                learned = adapter.reward_at(t_us, self._decisions.get(t_us, -1), float(message.value))
            except ConfigError as error:
                self._warn("reward", f"reward not used: {error}")
                return
            if not learned:
                self._warn("reward missed", f"reward not used: no class was decided at {t_us} us, or too long ago")

        if self._engine is not None:
            self._engine.call(learn)

    def _save(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        path = self._settings.adapter_file
        if not path:
            answer.success, answer.message = False, "parameter adapter_file is empty: name the file to save to"
            return answer
        return self._between_decisions(answer, lambda: self._adapter.save(path), f"saved to {path}")

    def _forget(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        return self._between_decisions(answer, lambda: self._adapter.forget(), "forgotten; the file is not touched")

    def _between_decisions(self, answer: Trigger.Response, action: Callable[[], None], done: str) -> Trigger.Response:
        """Do it in the engine's thread if there is one, and say how it went."""
        try:
            if self._engine is None:
                action()
            else:
                self._engine.do(lambda pipeline: action(), ANSWER_S)
        except (DvsSnnError, OSError, TimeoutError) as error:
            answer.success, answer.message = False, str(error)
        else:
            answer.success, answer.message = True, done
        return answer


def main() -> None:
    """The process of the node."""
    exit_main(GestureNode)


if __name__ == "__main__":
    main()
