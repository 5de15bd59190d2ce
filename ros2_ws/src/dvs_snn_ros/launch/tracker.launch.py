"""A camera's events become tracks: `ros2 launch dvs_snn_ros tracker.launch.py events:=/event_camera/events`."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

HERE = Path(__file__).resolve().parent

ARGUMENTS = {
    "events": ("/event_camera/events", "topic of the camera's events"),
    "model": ("", "checkpoint: folder or shipped name; empty: as the parameter file says"),
    "namespace": ("", "namespace of the node"),
    "params_file": (str(HERE / "tracker.yaml"), "parameters of the node"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "use_sim_time": ("false", "take time from /clock"),
    "autostart": ("true", "configure and activate at the start"),
}


def make_nodes(context: LaunchContext) -> list[Node]:
    """The node, with what was given on the command line in place of what the file says."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    values = {name: given[name].lower() in ("true", "1") for name in ("use_sim_time", "autostart")}
    if given["model"]:
        values["model"] = given["model"]
    return [
        Node(
            package="dvs_snn_ros",
            executable="tracker",
            name="tracker",
            namespace=given["namespace"],
            parameters=[given["params_file"], values],
            remappings=[("events", given["events"])],
            arguments=["--ros-args", "--log-level", given["log_level"]],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about)
        for name, (default, about) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])
