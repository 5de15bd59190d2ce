"""Nodes as processes of their own: the same decisions, clean ends, a player that dies and comes back."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from dvs_snn_msgs.msg import Gesture
from dvs_snn_ros.running import RESULTS

from tests.ros.conftest import World
from tests.ros.lines import line, replayed


class Processes:
    """Node processes in the domain of a world, killed when the test is over."""

    def __init__(self, world: World, log: Path) -> None:
        self._domain, self._log = world.domain, log
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, node: str, **parameters: object) -> subprocess.Popen[bytes]:
        """`python -m dvs_snn_ros.NODE` with parameters."""
        words = ["--ros-args", "-r", "events:=/camera/events", "-r", "~/events:=/camera/events"]
        for name, value in parameters.items():
            words += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        environment = dict(os.environ, ROS_DOMAIN_ID=str(self._domain), OMP_NUM_THREADS="1")
        with open(self._log / f"{node}.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"dvs_snn_ros.{node}", *words], env=environment, stdout=log, stderr=log
            )
        self._running.append(process)
        return process

    def said(self, node: str) -> str:
        return (self._log / f"{node}.log").read_text()

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def processes(world: World, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(world, tmp_path)
    yield made
    made.close()


def ended(process: subprocess.Popen[bytes], number: int) -> int:
    """Exit status after a signal."""
    process.send_signal(number)
    return process.wait(30)


def orphans() -> set[str]:
    """Shared memory that no living process has open, but for that of ports, kept by their last sender: this process."""
    held: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            held.update(re.findall(r"fastdds_[0-9a-f]+", (process / "maps").read_text()))
    names = {each.name for each in Path("/dev/shm").glob("fastdds_*") if "port" not in each.name}
    return {name for name in names if name.removesuffix("_el") not in held}


def value(report: DiagnosticArray, key: str) -> str | None:
    """What the first status of a report says of a key."""
    return next((each.value for each in report.status[0].values if each.key == key), None)


PATIENT = {"queue_ms": 60_000.0, "still_ms": 10_000.0, "queue_depth": 1000}


@pytest.mark.parametrize(("encoding", "packet_ms"), [("evt3", 10), ("mono", 1)])
def test_decisions_are_those_of_replay_in_two_processes(
    world: World, processes: Processes, recording: str, network: str, tmp_path: Path, encoding: str, packet_ms: int
) -> None:
    want = replayed(recording, network, tmp_path / "want.jsonl")
    got: list[Gesture] = []
    reports: list[DiagnosticArray] = []
    listener = world.listener()
    listener.create_subscription(Gesture, "/gesture/gesture", got.append, RESULTS)
    listener.create_subscription(DiagnosticArray, "/diagnostics", reports.append, RESULTS)
    memory = orphans()
    gesture = processes.start("gesture", model=network, **PATIENT)
    assert world.until(lambda: any(value(each, "subscribers") == "1" for each in reports), 60)  # both sides know it
    player = processes.start("event_player", file=recording, encoding=encoding, packet_ms=packet_ms)
    world.until(lambda: len(got) >= len(want), 60)
    world.spin(0.5)
    assert [line(each) for each in got] == want, processes.said("event_player") + processes.said("gesture")
    assert ended(gesture, signal.SIGTERM) == 0
    assert ended(player, signal.SIGINT) == 0
    assert "Traceback" not in processes.said("gesture") + processes.said("event_player")
    assert not orphans() - memory


def test_player_that_is_killed_and_started_again_is_heard_again(
    world: World, processes: Processes, recording: str, network: str
) -> None:
    got: list[Gesture] = []
    world.listener().create_subscription(Gesture, "/gesture/gesture", got.append, RESULTS)
    gesture = processes.start("gesture", model=network)
    player = processes.start("event_player", file=recording, loop=True)
    assert world.until(lambda: len(got) > 20, 60)
    player.kill()
    player.wait()
    world.spin(1.0)
    count = len(got)
    processes.start("event_player", file=recording, loop=True)
    assert world.until(lambda: any(each.first and each.events for each in got[count:]), 60)  # from a fresh state
    count = len(got)
    assert world.until(lambda: len(got) > count + 30, 60)
    assert gesture.poll() is None
    assert ended(gesture, signal.SIGINT) == 0
