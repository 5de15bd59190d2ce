"""A camera's events become tracks: `ros2 launch dvs_snn_ros tracker.launch.py events:=/event_camera/events`."""

from pathlib import Path

from dvs_snn_ros.launching import perception
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return perception("tracker", Path(__file__).resolve().parent)
