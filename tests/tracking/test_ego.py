"""The moving camera: its shift is found, its background left out, bodies keep their names; a still one costs none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.bench.tracking_camera import make_scene, record, track
from dvs_snn.cli import main
from dvs_snn.events import Events, Sensor, make_events, stream_of, windows
from dvs_snn.events.files import write_recording
from dvs_snn.pipeline import open_pipeline, shipped_checkpoints
from dvs_snn.tracking import ClusterConfig, ClusterTracker, Tracks
from dvs_snn.tracking.cluster_ego import MOVED_US, SHIFT_X, SHIFT_Y
from tests.tracking.scenes import SENSOR, Course, flash, line, noise, ring, together

ON = ClusterConfig(ego_motion=True)


def followed(events: Events, config: ClusterConfig, sensor: Sensor = SENSOR) -> tuple[list[Tracks], np.ndarray]:
    """Tracks, and rows (time, shift x, shift y, when the camera last moved) at each window's end."""
    tracker = ClusterTracker(config)
    state, told, rows = tracker.initial_state(sensor), [], []
    for window in windows(stream_of(events, sensor), 1000):
        table, state = tracker.step(window, state)
        told.append(Tracks.of(window.end_us, table))
        rows.append((window.end_us, *state.ego.scalars[[SHIFT_X, SHIFT_Y, MOVED_US]]))
    return told, np.array(rows)


def backdrop(shift, seconds: float, rate_hz: float, seed: int = 0, rings: int = 70) -> Events:
    """Rings all over a plane that `shift(t)` moves: a background of closed form."""
    rng = np.random.default_rng(seed)
    count = int(rate_hz * seconds)
    t = np.sort(rng.random(count)) * seconds
    which, phi = rng.integers(0, rings, count), rng.random(count) * 2 * np.pi
    at, radius = rng.uniform(-80, [SENSOR.width + 80, SENSOR.height + 80], (rings, 2)), rng.uniform(4, 25, rings)
    sx, sy = shift(t)
    x = np.rint(at[which, 0] + radius[which] * np.cos(phi) + sx)
    y = np.rint(at[which, 1] + radius[which] * np.sin(phi) + sy)
    inside = (x >= 0) & (y >= 0) & (x < SENSOR.width) & (y < SENSOR.height)
    return make_events(np.round(t * 1e6)[inside], x[inside], y[inside], rng.random(count)[inside] < 0.5)


def shaken(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 6 * np.sin(2 * np.pi * 3 * t), 5 * np.sin(2 * np.pi * 4 * t + 1)


COURSES = {"turns": line(0, 0, 120, -60), "turns fast": line(0, 0, -400, 90), "shakes": shaken}


@pytest.mark.parametrize("name", COURSES)
def test_the_shift_of_a_background_is_found(name: str) -> None:
    course = COURSES[name]
    _, rows = followed(backdrop(course, 0.4, 600_000), ON)
    later = rows[rows[:, 0] > 60_000]
    assert np.all(later[:, 0] - later[:, 3] < 20_000), "it is known to move"
    x, y = course(later[:, 0] * 1e-6)
    way = np.hypot(np.diff(x[::60]), np.diff(y[::60]))
    off = np.hypot(np.diff((later[:, 1] - x)[::60]), np.diff((later[:, 2] - y)[::60]))
    assert off.mean() < 0.12 * way.mean() + 0.4, "px in 60 ms"


@pytest.mark.parametrize("body", [line(40, 60, 380, 150), line(280, 60, -380, 150)], ids=["with it", "against it"])
def test_a_body_before_a_moving_background_keeps_its_name_and_false_tracks_fall(body: Course) -> None:
    events = together(backdrop(COURSES["turns"], 0.6, 300_000, rings=40), ring(body, 0.6, 60_000, 10, seed=3))
    counts = {}
    for config in (ClusterConfig(), ON):
        told, _ = followed(events, config)
        later = [d for d in told if d.t_us > 250_000]
        x, y = body(np.array([d.t_us for d in later]) * 1e-6)
        near = [[t.id for t in d.tracks if np.hypot(t.x - a, t.y - b) < 8] for d, a, b in zip(later, x, y, strict=True)]
        counts[config.ego_motion] = (
            sum(len(d.tracks) for d in later) - sum(len(ids) for ids in near),
            max(sum(n in ids for ids in near) for n in {n for ids in near for n in ids} or {0}) / len(later),
        )
    (many, _), (few, share) = counts[False], counts[True]
    assert few < 0.2 * many
    assert share > 0.85, "of the time one name"


@pytest.mark.parametrize("seed", [70_000_101, 70_000_105])
def test_a_still_camera_is_not_thought_to_move(seed: int) -> None:
    recording = record("still", seed, seconds=0.6)
    without, _ = followed(recording.events, ClusterConfig(), recording.sensor)
    told, rows = followed(recording.events, ON, recording.sensor)
    assert told == without and any(d.tracks for d in told)
    assert rows[-1, 3] < 0, "never"


@pytest.mark.parametrize(
    "events",
    [noise(0.3, 1e6), together(ring(line(30, 60, 500, 200), 0.3, 60_000, 9), flash(150_000, 15_000))],
    ids=["noise", "flash"],
)
def test_noise_and_a_flash_move_no_camera(events: Events) -> None:
    told, rows = followed(events, ON)
    assert told == followed(events, ClusterConfig())[0] and rows[-1, 3] < 0


def test_false_tracks_fall_on_simulated_turns() -> None:
    recordings = [record("turns", seed, seconds=0.6) for seed in (70_000_300, 70_000_302)]
    false = {}
    for config in (ClusterConfig(), ON):
        false[config.ego_motion] = sum(_false(recording, track(recording, config)) for recording in recordings)
    assert false[True] < 0.3 * false[False]


def _false(recording, told: list[Tracks]) -> int:
    """Tracks, every 10 ms, that lie on no target."""
    rows, count = recording.truth.rows, 0
    for decision in told[9::10]:
        now = rows[rows["t_us"] == decision.t_us]
        for t in decision.tracks:
            near = (abs(now["x"] - t.x) < now["w"] / 2 + 5) & (abs(now["y"] - t.y) < now["h"] / 2 + 5)
            count += not near.any()
    return count


def test_a_turning_scene_moves_its_background_as_it_says() -> None:
    scene = make_scene("turns", 70_000_107)
    t = np.linspace(0, 1, 1001)
    shift, speed = scene.camera(t)
    assert np.allclose(np.gradient(shift, t, axis=0)[1:-1], speed[1:-1], atol=0.1)
    assert np.abs(shift).max() < scene.margin


def test_it_is_an_option_of_the_checkpoint_and_packets_do_not_matter(tmp_path: Path) -> None:
    shutil.copytree(shipped_checkpoints()["clusters"], tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    config["model_config"]["ego_motion"] = True
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config))
    events = together(backdrop(shaken, 0.3, 400_000), ring(line(40, 60, 380, 150), 0.3, 60_000, 10, seed=3))
    write_recording(tmp_path / "a.npz", stream_of(events, SENSOR))
    said = ["replay", str(tmp_path / "a.npz"), "--model", str(tmp_path / "mine"), "--out", str(tmp_path / "a.jsonl")]
    assert main(said) == 0
    whole = (tmp_path / "a.jsonl").read_text().splitlines()
    for size in (111, 5000):
        pipeline = open_pipeline(tmp_path / "mine")
        assert [d.to_json() for d in pipeline.run(stream_of(events, SENSOR, size))] == whole
    assert whole != [d.to_json() for d in open_pipeline("clusters").run(stream_of(events, SENSOR))]
