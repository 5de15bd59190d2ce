"""Installs the nodes, and their launch and parameter files where `ros2 launch` looks for them."""

from glob import glob

from setuptools import setup

NAME = "dvs_snn_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py") + glob("launch/*.yaml") + glob("launch/*.xml"))),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="dvs_snn maintainers",
    maintainer_email="maintainer@example.com",
    description="Lifecycle nodes for event cameras: player, gestures, tracks",
    license="GPL-3.0-or-later",
    entry_points={
        "console_scripts": [
            f"event_player = {NAME}.event_player:main",
            f"gesture = {NAME}.gesture:main",
            f"tracker = {NAME}.tracker:main",
        ]
    },
)
