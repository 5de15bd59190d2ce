"""Real rclpy, never a mock; each test in a domain of its own, on this machine only."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ros = pytest.importorskip("rclpy", reason="ROS 2 is not installed: `make ros` installs it from wheels")
pytest.importorskip("event_camera_msgs", reason="the messages are not built: `make ros` builds them")
pytest.importorskip("dvs_snn_msgs", reason="the messages are not built: `make ros` builds them")

from dvs_snn_ros.running import EventsExecutor  # noqa: E402

from dvs_snn.events import Events, Sensor, make_events, stream_of  # noqa: E402
from dvs_snn.events.files import write_recording  # noqa: E402
from dvs_snn.events.simulate import simulate_gesture  # noqa: E402
from tests.cli.networks import save_tiny  # noqa: E402

DOMAINS = itertools.cycle(range(2, 100))
SENSOR = Sensor(128, 128)


def next_domain() -> int:
    """A domain that no other test process of this machine uses by chance, most of the time."""
    return (next(DOMAINS) * 7 + os.getpid()) % 98 + 2


class World:
    """A ROS context with nodes that are spun in this thread."""

    def __init__(self) -> None:
        self.domain = next_domain()
        self.context = ros.Context()
        ros.init(context=self.context, domain_id=self.domain)
        self.executor = EventsExecutor(context=self.context)
        self.nodes: list[ros.node.Node] = []

    def add(self, kind: Callable[..., Any], events: str = "/camera/events", **parameters: object) -> Any:
        """A node with parameters, spun from now on; `events` is the topic of events for whoever sends or hears them."""
        overrides = [ros.parameter.Parameter(name, value=value) for name, value in parameters.items()]
        remaps = ["-r", f"events:={events}", "-r", f"~/events:={events}"]
        node = kind(context=self.context, parameter_overrides=overrides, cli_args=["--ros-args", *remaps])
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def listener(self, name: str = "listener") -> ros.node.Node:
        """A plain node."""
        node = ros.create_node(name, context=self.context)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Spin until it holds; whether it came to hold in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def spin(self, seconds: float) -> None:
        """Spin for a while."""
        self.until(lambda: False, seconds)

    def close(self) -> None:
        for node in self.nodes:
            if hasattr(node, "close"):
                node.close()
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        ros.shutdown(context=self.context)


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))


@pytest.fixture
def world(_local: None) -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny network that fires and decides."""
    return str(save_tiny(tmp_path_factory.mktemp("network") / "tiny"))


@pytest.fixture(scope="session")
def events() -> Events:
    """A short gesture that begins beyond a wrap of evt3, with a silence in the middle."""
    moved = simulate_gesture(8, 0.6, 11, SENSOR)
    t = moved["t"] + 20_000_000
    t[t >= 20_300_000] += 250_000
    return make_events(t, moved["x"], moved["y"], moved["p"])


@pytest.fixture(scope="session")
def recording(events: Events, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recording") / "gesture.npz"
    write_recording(path, stream_of(events, SENSOR))
    return str(path)
