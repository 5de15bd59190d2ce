"""What the launch files share; imported by them alone, so a node starts where `launch` is not installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

Arguments = Mapping[str, tuple[str | None, str]]
"""Default (None: must be given) and description of each argument of the command line."""

COMMON: Arguments = {
    "namespace": ("", "namespace of the nodes"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "use_sim_time": ("false", "take time from /clock"),
}


def is_on(text: str) -> bool:
    """Whether an argument says yes."""
    return text.lower() in ("true", "1")


def node(name: str, topic: str, files: list[str], values: Mapping[str, object], given: Mapping[str, str]) -> Node:
    """A node of this package: parameters of `files`, then `values`; its `topic` is what is `given` as "events"."""
    return Node(
        package="dvs_snn_ros",
        executable=name,
        name=name,
        namespace=given["namespace"],
        parameters=[*files, {"use_sim_time": is_on(given["use_sim_time"]), **values}],
        remappings=[(topic, given["events"])],
        arguments=["--ros-args", "--log-level", given["log_level"]],
        output="screen",
    )


def describe(arguments: Arguments, make_nodes: Callable[[dict[str, str]], list[Node]]) -> LaunchDescription:
    """Declares `arguments` and those of `COMMON`, and starts what `make_nodes` makes of their values."""
    known = {**arguments, **COMMON}

    def start(context: LaunchContext) -> list[Node]:
        return make_nodes({name: LaunchConfiguration(name).perform(context) for name in known})

    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about)
        for name, (default, about) in known.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def perception(name: str, folder: Path) -> LaunchDescription:
    """One perception node on a camera's events; `folder` holds `NAME.yaml`, its parameters."""
    arguments: Arguments = {
        "events": ("/event_camera/events", "topic of the camera's events"),
        "model": ("", "checkpoint: folder or shipped name; empty: as the parameter file says"),
        "params_file": (str(folder / f"{name}.yaml"), "parameters of the node"),
        "autostart": ("true", "configure and activate at the start"),
    }

    def make_nodes(given: dict[str, str]) -> list[Node]:
        values: dict[str, object] = {"autostart": is_on(given["autostart"])}
        if given["model"]:
            values["model"] = given["model"]
        return [node(name, "events", [given["params_file"]], values, given)]

    return describe(arguments, make_nodes)
