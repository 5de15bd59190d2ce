"""A recording as a camera, with gestures and tracks: `ros2 launch dvs_snn_ros demo.launch.py file:=FILE`."""

from pathlib import Path

from dvs_snn_ros.launching import Arguments, describe, is_on, node
from launch import LaunchDescription
from launch_ros.actions import Node

HERE = Path(__file__).resolve().parent

ARGUMENTS: Arguments = {
    "file": (None, "recording or bag to play"),
    "loop": ("false", "play it again and again"),
    "rate": ("1.0", "speed of playing"),
    "events": ("event_camera/events", "topic of the events, in the namespace"),
    "model": ("", "checkpoint of the gesture node; empty: as its parameter file says"),
    "tracker_model": ("", "checkpoint of the tracker node; empty: as its parameter file says"),
    "params_file": ("", "parameters that come in place of those of the package's files"),
}


def make_nodes(given: dict[str, str]) -> list[Node]:
    """Player, gesture and tracker; the player waits for both before it begins."""
    more = [given["params_file"]] * bool(given["params_file"])
    played = {
        "file": given["file"],
        "loop": is_on(given["loop"]),
        "rate": float(given["rate"]),
        "wait_for_subscribers": 2,
    }
    models = {"gesture": given["model"], "tracker": given["tracker_model"]}
    return [
        node("event_player", "~/events", [str(HERE / "event_player.yaml"), *more], played, given),
        *(
            node(name, "events", [str(HERE / f"{name}.yaml"), *more], {"model": model} if model else {}, given)
            for name, model in models.items()
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return describe(ARGUMENTS, make_nodes)
