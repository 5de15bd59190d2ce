"""Simulated gestures as a data set: made by worker processes, kept on disk, split by disjoint ranges of seeds."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Events, Sensor
from dvs_snn.learning.recordings import SPLITS, Recording, read_packed, write_packed

SPLIT_SEEDS = {"train": 0, "validation": 10_000_000, "test": 20_000_000}
"""First seed of each split; a split holds at most ten million recordings, so no two splits share a seed."""

RESTARTS = 3
"""How often workers that died (killed, out of memory) are replaced before giving up without progress."""


@dataclass(frozen=True)
class SimulatedGesturesConfig:
    """How many recordings per split, how long, and where they are kept; `workers` 0 is one per core.

    `more_other` adds training recordings of the last class, "Other gestures": it is a family of many motions, and with
    as many recordings as a single gesture each of them would be seen a few times only.
    `cache` empty means `dvs_snn` in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`).
    """

    train: int = 5000
    validation: int = 330
    test: int = 550
    seconds: float = 1.5
    more_other: int = 0
    cache: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
        if (
            self.seconds <= 0
            or min(self.workers, self.more_other) < 0
            or min(self.train, self.validation, self.test) < 1
        ):
            raise ConfigError("simulated gestures: seconds and the number of recordings must be above zero")
        if max(self.train + self.more_other, self.validation, self.test) > 10_000_000:
            raise ConfigError("simulated gestures: at most 10,000,000 recordings per split")


class SimulatedGestures:
    """One split: recording `i` shows class `i mod classes` (`more_other` at the end), seed `first + i`."""

    def __init__(self, config: SimulatedGesturesConfig, split: str, sensor: Sensor) -> None:
        from dvs_snn.events.simulate import GESTURES

        if split not in SPLITS:
            raise ConfigError(f"split {split!r} is unknown; simulated gestures have {', '.join(SPLITS)}")
        self.config, self.split, self.sensor = config, split, sensor
        self.labels = tuple(GESTURES)
        self.source = f"simulated gestures, {config.seconds:g} s, {sensor}, simulator {simulator_version()}"
        self.identity = f"{self.source}, {split}"
        self._even = int(getattr(config, split))
        self._count = self._even + (config.more_other if split == "train" else 0)
        self.groups = ("",) * self._count  # every recording has a body of its own
        self._first_seed = SPLIT_SEEDS[split]
        self._folder = cache_folder(config.cache) / "gestures" / _address(config.seconds, sensor)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Recording:
        """Read a recording; one that is missing or damaged is simulated now."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        label, seed = self.label_and_seed(index)
        path = self._path(label, seed)
        try:
            events = read_packed(path)
        except RecordingError:
            _simulate_to(path, label, self.config.seconds, seed, self.sensor)
            events = read_packed(path)
        return Recording(events, label, f"{label}_{self.split}_{index}")

    def label_and_seed(self, index: int) -> tuple[int, int]:
        """Class and seed of a recording."""
        classes = len(self.labels)
        return index % classes if index < self._even else classes - 1, self._first_seed + index

    def prepare(self, progress: bool = True) -> int:
        """Simulate what is not on disk yet, return how many that were; each is kept as soon as it is made."""
        jobs = []
        for index in range(self._count):
            label, seed = self.label_and_seed(index)
            path = self._path(label, seed)
            if not (path.is_file() and path.stat().st_size):
                jobs.append((path, label, self.config.seconds, seed, self.sensor))
        if jobs:
            workers = self.config.workers or os.cpu_count() or 1
            title = f"simulate {self.split}"
            with tqdm(total=len(jobs), desc=title, unit="recording", disable=not progress, file=sys.stderr) as bar:
                work_through(jobs, _simulate_to, lambda job: job[0].is_file(), workers, bar.update)
        return len(jobs)

    def _path(self, label: int, seed: int) -> Path:
        return self._folder / f"{label:02d}" / f"{seed:08d}.safetensors"


def cache_folder(option: str = "") -> Path:
    """Where data made by the package is kept: the option, or `dvs_snn` in the user's cache folder."""
    if option:
        return Path(option).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dvs_snn"


def work_through(
    jobs: Iterable[tuple],
    task: Callable[..., object],
    done: Callable[[tuple], bool],
    workers: int,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """Run `task(*job)` for every job in fresh, nice'd processes; a worker that is killed costs only the job it was at.

    Raises `RecordingError` when workers keep dying without finishing anything.
    """
    left = list(jobs)
    failures = 0
    while left:
        finished = 0
        try:
            with _single_threaded_children(), _pool(workers) as pool:
                try:
                    for _ in pool.map(task, *zip(*left, strict=True), chunksize=1):
                        finished += 1
                        advance(1)
                except KeyboardInterrupt:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            return
        except BrokenProcessPool:
            before, left = len(left), [job for job in left if not done(job)]
            advance(before - len(left) - finished)
            failures = 0 if len(left) < before else failures + 1
            if failures >= RESTARTS:
                raise RecordingError(
                    "simulation", "worker processes were killed again and again (out of memory?); use fewer workers"
                ) from None


def _pool(workers: int) -> ProcessPoolExecutor:
    # spawn: a forked child of a process that has run torch's or numba's threads may hang
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_start_worker)


def _start_worker() -> None:
    """Be polite, leave Ctrl-C to the parent, and end when the parent has been killed."""
    os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """One thread per worker: many workers with a thread pool each are slower than one thread each."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _simulate(label: int, seconds: float, seed: int, sensor: Sensor) -> Events:
    from dvs_snn.events.simulate import simulate_gesture

    return simulate_gesture(label, seconds, seed, sensor)


def _simulate_to(path: Path, label: int, seconds: float, seed: int, sensor: Sensor) -> None:
    write_packed(path, _simulate(label, seconds, seed, sensor))


def _address(seconds: float, sensor: Sensor) -> str:
    content = json.dumps([simulator_version(), seconds, sensor.width, sensor.height])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@cache
def simulator_version() -> str:
    """A digest of the code that `simulate_gesture` runs."""
    from dvs_snn.events.simulate import simulate_gesture

    return source_digest(simulate_gesture)


def source_digest(simulate: Callable[..., object]) -> str:
    """A digest of the code that a simulating function runs, blind to comments, docstrings and layout.

    Recordings made by another version are never mixed in, and nobody has to remember to raise a number.
    """
    seen: dict[str, str] = {}
    _collect(sys.modules[simulate.__module__], "dvs_snn.events.simulate", seen)
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()[:12]


def _collect(module: ModuleType, package: str, seen: dict[str, str]) -> None:
    """Add the module and those of the package that it imports from, as source without docstrings."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    seen[module.__name__] = ast.unparse(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name != package and name in sys.modules and name not in seen:
                    _collect(sys.modules[name], package, seen)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
