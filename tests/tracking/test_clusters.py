"""The classical tracker: one target one track, at any speed and for any packets; nothing from noise or a flash."""

import time

import numpy as np
import pytest

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, Sensor, stream_of
from dvs_snn.events.files import open_recording
from dvs_snn.pipeline import Tracks, open_pipeline
from dvs_snn.tracking import ClusterConfig
from tests.tracking.scenes import SENSOR, circle, flash, line, noise, ring, together


def tracked(events: Events, sensor: Sensor = SENSOR, packet_events: int = 1 << 16) -> list[Tracks]:
    return list(open_pipeline("clusters").run(stream_of(events, sensor, packet_events)))


def ids(decisions: list[Tracks]) -> set[int]:
    return {track.id for decision in decisions for track in decision.tracks}


def radial_errors(decisions: list[Tracks], x: float, y: float, radius: float) -> np.ndarray:
    return np.array([np.hypot(t.x - x, t.y - y) - radius for d in decisions for t in d.tracks])


@pytest.mark.data
def test_the_spinning_dot_is_one_track_on_its_circle(data_dir) -> None:
    decisions = list(open_pipeline("clusters").run(open_recording(data_dir / "recordings" / "spinning_dot.es")))
    later = [decision for decision in decisions if decision.t_us > 30_000]
    assert len(ids(later)) == 1
    assert all(len(decision.tracks) == 1 for decision in later)
    errors = radial_errors(later, 154, 120, 84)
    assert np.sqrt(np.mean(errors**2)) < 2.5
    speeds = [np.hypot(t.vx, t.vy) for d in later for t in d.tracks]
    assert np.median(speeds) == pytest.approx(529, rel=0.05)


@pytest.mark.parametrize(("speed", "events_per_ms", "limit_px"), [(13_000, 60, 3.0), (529, 60, 1.0)])
def test_a_circle_is_followed_at_any_speed(speed: float, events_per_ms: int, limit_px: float) -> None:
    events = ring(circle(160, 120, 84, speed), 0.3, events_per_ms * 1000, 5)
    decisions = tracked(events)
    settled = [d for d in decisions if d.t_us > 50_000]
    assert len(ids(settled)) == 1 and all(len(d.tracks) == 1 for d in settled)
    where = np.array([(d.t_us * 1e-6, d.tracks[0].x, d.tracks[0].y) for d in settled])
    x, y = circle(160, 120, 84, speed)(where[:, 0])
    assert np.sqrt(np.mean((where[:, 1] - x) ** 2 + (where[:, 2] - y) ** 2)) < limit_px, "position, lag included"


def test_packets_do_not_matter() -> None:
    events = together(ring(line(30, 60, 600, 200), 0.2, 60_000, 8), noise(0.2, 50_000))
    whole = [decision.to_json() for decision in tracked(events)]
    assert any('"id"' in text for text in whole)
    for size in (7, 1000):
        assert [decision.to_json() for decision in tracked(events, packet_events=size)] == whole


def test_pushed_and_ticked_equals_run() -> None:
    events = ring(line(30, 60, 600, 200), 0.1, 60_000, 8)
    pipeline = open_pipeline("clusters")
    pipeline.set_sensor(SENSOR)
    live = [d for k in range(0, len(events), 333) for d in pipeline.push(events[k : k + 333])]
    live += pipeline.tick(100_000)
    assert [d.to_json() for d in live] == [d.to_json() for d in tracked(events)]


def test_crossing_targets_keep_their_ids() -> None:
    events = together(
        ring(line(40, 100, 500, 80), 0.4, 60_000, 10), ring(line(240, 90, -450, 120), 0.4, 60_000, 10, seed=1)
    )
    decisions = tracked(events)
    before = {t.id: t.vx > 0 for d in decisions if 80_000 < d.t_us < 120_000 for t in d.tracks}
    after = {t.id: t.vx > 0 for d in decisions if d.t_us > 350_000 for t in d.tracks}
    assert len(before) == 2 and before == after


def test_a_hidden_target_comes_back_under_its_id() -> None:
    course = line(30, 120, 400, 0)
    events = together(ring(course, 0.25, 60_000, 9), ring(course, 0.25, 60_000, 9, seed=1, start_s=0.35))
    assert len(ids(tracked(events))) == 1


def test_an_empty_scene_has_no_tracks() -> None:
    pipeline = open_pipeline("clusters")
    pipeline.set_sensor(SENSOR)
    pipeline.push(noise(0.01, 1000))
    assert all(not decision.tracks for decision in pipeline.tick(500_000))


def test_noise_of_a_million_events_per_second_begins_no_track() -> None:
    assert ids(tracked(noise(1.0, 1e6))) == set()


def test_a_flash_neither_begins_nor_ends_a_track() -> None:
    events = together(ring(line(30, 60, 500, 200), 0.4, 60_000, 9), flash(200_000, 15_000))
    decisions = tracked(events)
    assert len(ids(decisions)) == 1
    assert all(len(d.tracks) == 1 for d in decisions if d.t_us > 240_000)


def test_a_hundred_targets_at_once_in_bounded_time() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for k in range(100):
        x, y = 20 + 31 * (k % 10), 14 + 23 * (k // 10)
        parts.append(ring(circle(x, y, 4, 150), 0.2, 8_000, 4, seed=int(rng.integers(1 << 30))))
    events = together(*parts)
    pipeline = open_pipeline("clusters")
    pipeline.set_sensor(SENSOR)
    pipeline.push(events[:1000])
    pipeline.reset()
    begun = time.process_time()
    decisions = pipeline.push(events)
    spent = time.process_time() - begun
    assert len(decisions[-1].tracks) >= 60
    assert len(ids(decisions)) <= 130
    assert spent / len(decisions) < 0.02, "seconds per update"


def test_a_restarted_sensor_begins_anew_with_new_ids() -> None:
    events = ring(line(30, 60, 500, 200), 0.3, 60_000, 9)
    late = events.copy()
    late["t"] += 5_000_000
    decisions = tracked(np.concatenate([late, events]))
    first = ids([d for d in decisions if d.t_us > 5_000_000])
    second = ids([d for d in decisions if d.t_us < 5_000_000])
    assert len(first) == len(second) == 1 and max(first) < min(second)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"spam": 1}, "unknown option 'spam'"), ({"cell_px": 2.5}, "expected int"), ({"cell_px": 0}, "cell_px 1..64"),
     ({"keep_us": -1}, "not negative"), ({"contrast": float("nan")}, "finite")],
)  # fmt: skip
def test_wrong_options_are_one_clear_error(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClusterConfig.from_dict(values)
