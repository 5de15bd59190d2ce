"""ROS bags, versions 1 and 2, with event packets of the drivers in use; no ROS is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dvs_snn.events.stream import EventStream, Sensor


def read_bag(path: Path, sensor: Sensor | None = None, topic: str | None = None) -> EventStream:
    """A bag (`.bag`, folder, `.db3`, `.mcap`) as a stream that is not repaired yet."""
    raise NotImplementedError


def write_bag(
    path: Path, stream: EventStream, encoding: Literal["evt3", "mono"] = "evt3", topic: str = "/event_camera/events"
) -> None:
    """Write a bag: `.bag` is ROS 1, `.mcap` and `.db3` one file of ROS 2, anything else a ROS 2 folder (sqlite3)."""
    raise NotImplementedError
