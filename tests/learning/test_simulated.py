"""The simulated data set: splits never share a seed, the cache outlives its makers, versions never mix."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Sensor, make_events
from dvs_snn.learning import SimulatedGestures, SimulatedGesturesConfig, simulated
from dvs_snn.learning.recordings import read_packed, write_packed

SENSOR = Sensor(128, 128)


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 700), st.integers(0, 40), st.booleans()), max_size=40),
    st.integers(-(2**40), 2**40),
)
def test_packed_recordings_come_back_exactly(tmp_path_factory, rows, origin):
    t, x, y, p = (list(column) for column in zip(*sorted(rows), strict=True)) if rows else ([], [], [], [])
    events = make_events(np.array(t, np.int64) + origin, x, y, np.array(p, bool))
    path = tmp_path_factory.mktemp("packed") / "r"
    write_packed(path, events)
    assert (read_packed(path) == events).all() and len(read_packed(path)) == len(events)


def test_packed_recordings_are_small(tmp_path):
    n = 50_000
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 1_500_000, n))
    write_packed(tmp_path / "r", make_events(t, rng.integers(0, 128, n), rng.integers(0, 128, n), t % 2))
    assert (tmp_path / "r").stat().st_size / n < 6.2


def test_unsorted_or_endless_recordings_are_not_packed_wrongly(tmp_path):
    for t in ([5, 3], [0, 2**32]):
        with pytest.raises(RecordingError, match="cannot be packed"):
            write_packed(tmp_path / "r", make_events(t, [0, 0], [0, 0], [1, 1]))
    assert not list(tmp_path.iterdir())


def config(cache, **options):
    return SimulatedGesturesConfig(
        **{"train": 22, "validation": 11, "test": 11, "seconds": 0.02, "cache": str(cache), **options}
    )


def test_splits_are_balanced_and_share_no_seed(tmp_path):
    sets = [SimulatedGestures(config(tmp_path), split, SENSOR) for split in ("train", "validation", "test")]
    pairs = [[s.label_and_seed(i) for i in range(len(s))] for s in sets]
    seeds = [seed for split in pairs for _, seed in split]
    assert len(set(seeds)) == len(seeds) == 44
    for split in pairs:
        counts = np.bincount([label for label, _ in split], minlength=11)
        assert counts.min() == counts.max()


def test_recordings_are_made_once_and_again_when_damaged(tmp_path):
    recordings = SimulatedGestures(config(tmp_path), "test", SENSOR)
    first = recordings[3]
    (path,) = tmp_path.rglob("*.safetensors")
    assert first.label == 3 and len(first.events) > 0 and SENSOR.width == 128
    before = path.stat().st_mtime_ns
    assert (recordings[3].events == first.events).all() and path.stat().st_mtime_ns == before
    path.write_bytes(path.read_bytes()[:100])
    assert (recordings[3].events == first.events).all()


def test_other_length_or_sensor_is_another_place(tmp_path):
    folders = {
        SimulatedGestures(config(tmp_path, seconds=s), "test", sensor)._folder
        for s, sensor in ((1.0, SENSOR), (1.5, SENSOR), (1.5, Sensor(64, 64)))
    }
    assert len(folders) == 3


def stamp(path: Path, victim: bool) -> None:
    """A job that writes its file; the victim kills its worker the first time."""
    if victim and not path.with_suffix(".died").exists():
        path.with_suffix(".died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    path.touch()


def always_die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_costs_only_its_job(tmp_path):
    jobs = [(tmp_path / f"{i}.job", i == 2) for i in range(6)]
    advanced = []
    simulated.work_through(jobs, stamp, lambda job: job[0].exists(), 1, advanced.append)
    assert all(path.exists() for path, _ in jobs) and (tmp_path / "2.died").exists()
    assert sum(advanced) == 6


def test_workers_that_keep_dying_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated, "RESTARTS", 1)
    with pytest.raises(RecordingError, match="killed"):
        simulated.work_through([(tmp_path / "x",)], always_die, lambda job: job[0].exists(), 1)


def test_version_is_blind_to_comments_and_docstrings(tmp_path, monkeypatch):
    import importlib
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    versions = []
    texts = (
        'def f(x):\n    """One."""\n    return x + 1\n',
        'def f(x):\n    """Two,\n    longer."""\n    # why\n    return  x + 1\n',
        "def f(x):\n    return x + 2\n",
    )
    for number, text in enumerate(texts):
        (tmp_path / f"variant{number}.py").write_text(text)
        importlib.invalidate_caches()
        module = importlib.import_module(f"variant{number}")
        seen = {}
        simulated._collect(module, "variant", seen)
        versions.append(seen[f"variant{number}"])
        sys.modules.pop(f"variant{number}")
    assert versions[0] == versions[1] != versions[2]


def test_version_covers_the_modules_that_draw_and_sense():
    from dvs_snn.events.simulate import simulate_gesture

    seen = {}
    simulated._collect(simulated.sys.modules[simulate_gesture.__module__], "dvs_snn.events.simulate", seen)
    assert {"dvs_snn.events.simulate.dvs", "dvs_snn.events.simulate.person"} <= set(seen)
    assert len(simulated.simulator_version()) == 12


def test_impossible_options_are_refused():
    for options in ({"seconds": 0.0}, {"train": 0}, {"test": 10_000_001}, {"workers": -1}):
        with pytest.raises(ConfigError, match="simulated gestures"):
            SimulatedGesturesConfig(**options)
    with pytest.raises(ConfigError, match="split"):
        SimulatedGestures(SimulatedGesturesConfig(), "tests", SENSOR)
