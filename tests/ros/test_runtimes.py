"""A node with the chip's integers, by our reference or by Lava, decides what `replay` decides with them."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest
import torch
from dvs_snn_msgs.msg import Gesture, ModelInfo
from dvs_snn_ros.event_player import EventPlayer
from dvs_snn_ros.gesture import GestureNode
from dvs_snn_ros.running import LATCHED, RESULTS

from dvs_snn.cli import main
from dvs_snn.deploy import export
from tests.cli.networks import save_tiny
from tests.ros.conftest import World
from tests.ros.lines import line
from tests.ros.test_processes import Processes

PATIENT = {"queue_ms": 60_000.0, "still_ms": 10_000.0, "queue_depth": 1000}
RUNTIMES = [
    "integer",
    pytest.param(
        "lava",
        marks=[
            pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava is not installed (make loihi)"),
            pytest.mark.timeout(600),
        ],
    ),
]


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny network with its integer package; calibrated on noise, because simulating takes seconds."""
    folder = tmp_path_factory.mktemp("chip")
    save_tiny(folder / "tiny")
    generator = torch.Generator().manual_seed(5)
    noise = [torch.poisson(torch.full((20, 2, 16, 16), 0.4), generator=generator).numpy() for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "simulated_calibration", lambda config: noise)
        assert main(["export", str(folder / "tiny"), "--to", "loihi", "--out", str(folder / "chip")]) == 0
    return str(folder / "chip")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_decisions_are_those_of_replay(world: World, recording: str, chip: str, tmp_path: Path, runtime: str) -> None:
    out = tmp_path / "want.jsonl"
    assert main(["replay", recording, "--model", chip, "--runtime", runtime, "--out", str(out)]) == 0
    want = out.read_text().splitlines()
    gesture = world.add(GestureNode, model=chip, runtime=runtime, **PATIENT)
    player = world.add(EventPlayer, file=recording)
    got: list[Gesture] = []
    models: list[ModelInfo] = []
    listener = world.listener()
    listener.create_subscription(Gesture, "/gesture/gesture", got.append, RESULTS)
    listener.create_subscription(ModelInfo, "/gesture/model", models.append, LATCHED)
    for node in (gesture, player):
        assert node.trigger_configure().name == node.trigger_activate().name == "SUCCESS"
    assert world.until(lambda: player.progress == "ended" and len(got) >= len(want), 120)
    world.spin(0.5)
    assert [line(each) for each in got] == want
    assert len({each.index for each in got}) > 1  # the network says something
    assert models[0].runtime == runtime


def test_the_chip_that_is_not_there_fails_in_one_line(
    world: World, chip: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = world.add(GestureNode, model=chip, runtime="loihi-hw")
    assert node.trigger_configure().name == "FAILURE"
    (said,) = [each for each in capfd.readouterr().err.splitlines() if "ERROR" in each]
    assert "Intel's closed package" in said


@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava is not installed (make loihi)")
def test_an_ended_process_leaves_no_side_car(world: World, chip: str, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path)
    try:
        models: list[ModelInfo] = []
        world.listener().create_subscription(ModelInfo, "/gesture/model", models.append, LATCHED)
        node = processes.start("gesture", model=chip, runtime="lava")
        assert world.until(lambda: bool(models), 120), processes.said("gesture")
        family = _descendants(node.pid)
        segments = {each for each in os.listdir("/dev/shm") if each.startswith("psm_")}
        assert len(family) > 8 and segments
        node.send_signal(signal.SIGTERM)
        assert node.wait(30) == 0
        assert world.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), 20)
        assert "Traceback" not in processes.said("gesture")
    finally:
        processes.close()


def _descendants(pid: int) -> list[int]:
    """Process ids of all that a process has started."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return children + [other for child in children for other in _descendants(child)]
