"""A recording through the player and the gesture node gives the decisions of `dvs-snn replay`."""

from __future__ import annotations

from pathlib import Path

import pytest
from dvs_snn_msgs.msg import Gesture
from dvs_snn_ros.event_player import EventPlayer
from dvs_snn_ros.gesture import GestureNode
from dvs_snn_ros.running import RESULTS

from tests.ros.conftest import World
from tests.ros.lines import line, replayed

PATIENT = {"queue_ms": 60_000.0, "still_ms": 10_000.0, "queue_depth": 1000}
"""Nothing is dropped or closed early because this machine is busy."""


def heard(world: World, recording: str, model: str, **player: object) -> list[Gesture]:
    """What the gesture node says of a recording, until the player has hung up and all windows are decided."""
    gesture = world.add(GestureNode, model=model, **PATIENT)
    messages: list[Gesture] = []
    world.listener().create_subscription(Gesture, "/gesture/gesture", messages.append, RESULTS)
    played = world.add(EventPlayer, file=recording, **player)
    for node in (gesture, played):
        assert node.trigger_configure().name == node.trigger_activate().name == "SUCCESS"
    assert world.until(lambda: played.progress == "ended")
    world.until(lambda: False, 0.5)
    return messages


@pytest.mark.parametrize("packet_ms", [1, 10, 33])
@pytest.mark.parametrize("encoding", ["evt3", "mono"])
def test_decisions_are_those_of_replay_in_one_process(
    world: World, recording: str, network: str, tmp_path: Path, encoding: str, packet_ms: int
) -> None:
    want = replayed(recording, network, tmp_path / "want.jsonl")
    got = heard(world, recording, network, encoding=encoding, packet_ms=packet_ms)
    assert [line(each) for each in got] == want
    assert len({each.index for each in got}) > 1  # the network says something
