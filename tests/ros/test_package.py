"""What a robot installs: package files, launch files, messages, the workspace that colcon built, the documents."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from dvs_snn_ros.options import NODES, insert_tables
from dvs_snn_ros.settings import default_of

ROOT = Path(__file__).parents[2]
NODE_PACKAGE = ROOT / "ros2_ws/src/dvs_snn_ros"
INSTALLED = ROOT / "ros2_ws/install"
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
NOT_ROS = {"dvs_snn", "dvs_snn_ros", "numpy"}


def test_parameter_tables_in_the_documents_are_current() -> None:
    text = (ROOT / "docs/ros.md").read_text()
    assert insert_tables(text) == text, "run: python -m dvs_snn_ros.options docs/ros.md"


def test_package_declares_what_its_nodes_import() -> None:
    declared = {each.text for each in ElementTree.parse(NODE_PACKAGE / "package.xml").iter("exec_depend")}
    imported = set()
    for path in [*(NODE_PACKAGE / "dvs_snn_ros").glob("*.py"), *LAUNCH_FILES]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) - NOT_ROS <= declared


@pytest.mark.parametrize("name", sorted(NODES))
def test_parameter_file_names_what_the_node_has(name: str) -> None:
    values = yaml.safe_load((ROOT / f"launch/{name}.yaml").read_text())["/**"]["ros__parameters"]
    settings = NODES[name](**values)
    for entry, value in values.items():
        assert type(value) is type(default_of(type(settings).__dataclass_fields__[entry]))


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_file_is_whole(path: Path) -> None:
    """Built where `launch_ros` is installed; elsewhere its syntax and its names are read."""
    tree = ast.parse(path.read_text())
    assert "generate_launch_description" in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
    executables = set(re.findall(r'executable="(\w+)"', path.read_text())) or set(NODES)
    assert executables <= set(NODES)
    if importlib.util.find_spec("launch_ros") is None:
        return
    from launch import LaunchContext, LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description = module.generate_launch_description()
    assert isinstance(description, LaunchDescription)
    context = LaunchContext()
    context.launch_configurations["file"] = "recording.npz"
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
    nodes = [
        each for entity in description.entities if isinstance(entity, OpaqueFunction) for each in entity.visit(context)
    ]
    assert {each.node_executable for each in nodes} <= set(NODES) and nodes


def test_workspace_is_built_as_ros_expects_it() -> None:
    if not INSTALLED.is_dir():
        pytest.skip("the workspace is not built: `make ros` builds it by colcon")
    nodes = INSTALLED / "dvs_snn_ros"
    assert (nodes / "share/ament_index/resource_index/packages/dvs_snn_ros").is_file()
    assert (nodes / "share/dvs_snn_ros/package.xml").is_file()
    assert {each.name for each in (nodes / "share/dvs_snn_ros/launch").iterdir()} == {
        each.name for each in (ROOT / "launch").iterdir() if each.is_file()
    }
    assert {each.name for each in (nodes / "lib/dvs_snn_ros").iterdir()} == set(NODES)
    for name in NODES:
        script = (nodes / "lib/dvs_snn_ros" / name).read_text()
        assert script.startswith("#!") and Path(script.splitlines()[0][2:].strip()).exists()
    assert (INSTALLED / "dvs_snn_msgs/share/ament_index/resource_index/rosidl_interfaces/dvs_snn_msgs").is_file()
    assert (INSTALLED / "setup.bash").is_file()


def test_fallback_packet_is_the_public_one() -> None:
    """By the hash that ROS 2 computes of names and types; the fields are those that bags hold."""
    from dvs_snn.events.codecs.messages import PACKET_DEFINITION

    own = (ROOT / "ros2_ws/event_camera_msgs/msg/EventPacket.msg").read_text()
    fields = [each.partition("#")[0].split() for each in own.splitlines() if each.partition("#")[0].strip()]
    assert fields == [each.split() for each in PACKET_DEFINITION.splitlines()]
    described = list(Path(sys.prefix).glob("share/event_camera_msgs/msg/EventPacket.json"))
    for path in described:
        assert "RIHS01_d6fa1762" in path.read_text()


@pytest.mark.parametrize("name", ["Gesture", "ModelInfo", "Reward", "Track", "TrackArray"])
def test_every_field_says_what_it_is(name: str) -> None:
    lines = (ROOT / f"ros2_ws/src/dvs_snn_msgs/msg/{name}.msg").read_text().splitlines()
    bare = [each for each in lines if each and not each.startswith("#") and "#" not in each and "Track[]" not in each]
    explained = {"string", "string[]", "bool", "Track[]", "std_msgs/Header", "uint32", "int32"}
    assert not bare
    for each in lines:
        kind, _, comment = each.partition("#")
        if kind.strip() and kind.split()[0] not in explained:
            assert "[" in comment, each


def test_nodes_start_where_no_ros_is_sourced() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import dvs_snn_ros.event_player, sys; sys.exit('torch' in sys.modules)"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/tmp"},
        timeout=120,
    )
    assert done.returncode == 0  # and the player loads no network
