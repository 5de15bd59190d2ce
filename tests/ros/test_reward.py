"""The gesture node learns from rewards, keeps what it learned, and forgets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvs_snn_msgs.msg import Gesture, Reward
from dvs_snn_ros.gesture import GestureNode
from dvs_snn_ros.running import RESULTS
from std_srvs.srv import Trigger

from tests.ros.conftest import World
from tests.ros.test_nodes import go, live_packet


class Scene:
    """An adaptive node with a listener that hears and rewards it."""

    def __init__(self, world: World, network: str, file: str) -> None:
        self.world = world
        self.node = world.add(GestureNode, model=network, adapt=True, adapter_file=file, still_ms=10_000.0)
        self.told: list[Gesture] = []
        self.listener = world.listener()
        self.seq = 0
        go(self.node, "configure", "activate")
        self.listener.create_subscription(Gesture, "/gesture/gesture", self.told.append, 100)
        self.rewards = self.listener.create_publisher(Reward, "/gesture/reward", RESULTS)
        assert world.until(lambda: self.rewards.get_subscription_count() == 1)
        assert world.until(lambda: self.node.count_subscribers("/gesture/gesture") == 1)

    def decide(self, windows: int) -> Gesture:
        """Feed windows of the same scene; the last decision."""
        count = len(self.told)
        for _ in range(windows):
            self.node._hear(live_packet(self.seq, self.seq * 10_000))
            self.seq += 1
        assert self.world.until(lambda: len(self.told) >= count + windows - (count == 0))
        return self.told[-1]

    def call(self, name: str) -> Trigger.Response:
        client = self.listener.create_client(Trigger, f"/gesture/{name}")
        assert self.world.until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        assert self.world.until(future.done)
        return future.result()

    def weights(self) -> Any:
        return self.node._adapter.layer.weight.copy()


def test_rewards_change_what_is_decided_and_can_be_saved_and_forgotten(
    world: World, network: str, tmp_path: Path
) -> None:
    file = tmp_path / "learned"
    scene = Scene(world, network, str(file))
    before = scene.decide(30)
    fresh = scene.weights()
    assert before.index >= 0
    for _ in range(12):
        scene.rewards.publish(Reward(t_us=scene.told[-1].t_us, value=0.0))
        world.spin(0.05)
        scene.decide(5)
    after = scene.decide(30)
    assert after.index != before.index
    assert scene.call("save").success
    learned = scene.weights()
    assert not np.allclose(learned, fresh)
    assert scene.call("forget").success
    assert np.allclose(scene.weights(), fresh)
    go(scene.node, "deactivate", "cleanup", "configure", "activate")
    assert np.allclose(scene.weights(), learned)


def test_rewards_that_fit_nothing_are_left(
    world: World, network: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(world, network, "")
    scene.decide(10)
    fresh = scene.weights()
    scene.rewards.publish(Reward(t_us=123, value=1.0))
    scene.rewards.publish(Reward(value=7.0))
    world.spin(0.2)
    scene.decide(5)
    assert np.allclose(scene.weights(), fresh)
    said = capfd.readouterr().err
    assert "no class was decided at 123 us" in said and "a reward lies in 0..1" in said
    answer = scene.call("save")
    assert not answer.success and "adapter_file is empty" in answer.message


def test_reward_is_off_by_default(world: World, network: str) -> None:
    node = world.add(GestureNode, model=network)
    go(node, "configure", "activate")
    assert node.count_subscribers("/gesture/reward") == 0
