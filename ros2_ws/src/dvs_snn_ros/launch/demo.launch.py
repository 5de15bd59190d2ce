"""A recording as a camera, with gestures and tracks: `ros2 launch dvs_snn_ros demo.launch.py file:=FILE`."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

HERE = Path(__file__).resolve().parent

ARGUMENTS = {
    "file": (None, "recording or bag to play"),
    "loop": ("false", "play it again and again"),
    "rate": ("1.0", "speed of playing"),
    "events": ("event_camera/events", "topic of the events, in the namespace"),
    "model": ("", "checkpoint of the gesture node; empty: as its parameter file says"),
    "tracker_model": ("", "checkpoint of the tracker node; empty: as its parameter file says"),
    "namespace": ("", "namespace of the nodes"),
    "params_file": ("", "parameters that come in place of those of the package's files"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "use_sim_time": ("false", "take time from /clock"),
}


def make_nodes(context: LaunchContext) -> list[Node]:
    """Player, gesture and tracker; the player waits for both before it begins."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}

    def node(name: str, topic: str, values: dict[str, object]) -> Node:
        files = [str(HERE / f"{name}.yaml")] + [given["params_file"]] * bool(given["params_file"])
        return Node(
            package="dvs_snn_ros",
            executable=name,
            name=name,
            namespace=given["namespace"],
            parameters=[*files, {"use_sim_time": given["use_sim_time"].lower() in ("true", "1"), **values}],
            remappings=[(topic, given["events"])],
            arguments=["--ros-args", "--log-level", given["log_level"]],
            output="screen",
        )

    played = {
        "file": given["file"],
        "loop": given["loop"].lower() in ("true", "1"),
        "rate": float(given["rate"]),
        "wait_for_subscribers": 2,
    }
    models = {"gesture": given["model"], "tracker": given["tracker_model"]}
    return [
        node("event_player", "~/events", played),
        *(node(name, "events", {"model": model} if model else {}) for name, model in models.items()),
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=about)
        for name, (default, about) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])
