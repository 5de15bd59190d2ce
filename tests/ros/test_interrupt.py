"""A loaded node that is interrupted ends in silence: nothing is published on a context that has gone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvs_snn_msgs.msg import Gesture
from dvs_snn_ros.running import RESULTS
from sensor_msgs.msg import Image

from tests.ros.conftest import World
from tests.ros.test_processes import Processes, ended


@pytest.fixture
def running(world: World, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(world, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_under_load_logs_no_error_and_ends_with_status_zero(
    world: World, running: Processes, recording: str, network: str, number: int
) -> None:
    got: list[Gesture] = []
    images: list[Image] = []
    listener = world.listener()
    listener.create_subscription(Gesture, "/gesture/gesture", got.append, RESULTS)
    listener.create_subscription(Image, "/gesture/image", images.append, 5)
    gesture = running.start("gesture", model=network, image_hz=30.0)
    player = running.start("event_player", file=recording, loop=True, rate=3.0, packet_ms=1)
    assert world.until(lambda: len(got) > 100 and bool(images), 60), running.said("gesture")
    assert ended(gesture, number) == ended(player, number) == 0
    said = running.said("gesture") + running.said("event_player")
    wrong = ("ERROR", "Error", "Traceback", "could not be decided")  # warnings of overload are right
    assert not [line for line in said.splitlines() if any(word in line for word in wrong)]


def test_interrupted_while_it_loads_ends_with_status_zero(world: World, running: Processes, network: str) -> None:
    listener = world.listener()
    gesture = running.start("gesture", model=network)
    # The node exists, its network is being loaded or has just been.
    assert world.until(lambda: "gesture" in listener.get_node_names(), 60)
    assert ended(gesture, signal.SIGTERM) == 0
    assert "Traceback" not in running.said("gesture")
