"""The shipped tracking network behind its pipeline: the laws of streaming, and scenes that hold nothing to track."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.cli import main
from dvs_snn.events import Events, Sensor, stream_of, windows
from dvs_snn.events.simulate import simulate_shapes
from dvs_snn.learning.clips import encode_windows
from dvs_snn.learning.evaluate import scan_recordings
from dvs_snn.learning.recordings import ListedRecordings, Recording
from dvs_snn.pipeline import Pipeline, Tracks, decider_of, load_checkpoint, open_pipeline
from tests.tracking.scenes import circle, flash, line, noise, ring, together

SENSOR = Sensor(240, 180)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return open_pipeline("tracker")


@pytest.fixture(scope="module")
def scene() -> Events:
    """Two targets for 0.4 s."""
    return simulate_shapes(0.4, 5, SENSOR, targets=2)[0]


def tracked(pipeline: Pipeline, events: Events, sensor: Sensor = SENSOR, packet_events: int = 1 << 16) -> list[Tracks]:
    return list(pipeline.run(stream_of(events, sensor, packet_events)))  # type: ignore[arg-type]


def without_ids(decisions: list[Tracks]) -> list[tuple]:
    """Ids go on from run to run: only their order is compared."""
    numbers = sorted({track.id for decision in decisions for track in decision.tracks})
    return [(d.t_us, tuple(t._replace(id=numbers.index(t.id)) for t in d.tracks)) for d in decisions]


def ids(decisions: list[Tracks]) -> set[int]:
    return {track.id for decision in decisions for track in decision.tracks}


def told_s(decisions: list[Tracks]) -> float:
    """Track-seconds."""
    return sum(len(decision.tracks) for decision in decisions) * 0.01


def ring_on(sensor: Sensor, *parts: Events) -> Events:
    events = together(*parts)
    return events[(events["x"] < sensor.width) & (events["y"] < sensor.height)]


def test_packets_do_not_matter(pipeline: Pipeline, scene: Events) -> None:
    whole = without_ids(tracked(pipeline, scene))
    assert any(tracks for _, tracks in whole)
    for size in (13, 1000):
        assert without_ids(tracked(pipeline, scene, packet_events=size)) == whole


def test_pushed_and_ticked_equals_run(pipeline: Pipeline, scene: Events) -> None:
    whole = without_ids(tracked(pipeline, scene))
    pipeline.set_sensor(SENSOR)
    pipeline.reset()
    live = [d for k in range(0, len(scene), 5000) for d in pipeline.push(scene[k : k + 5000])]
    assert without_ids([*live, *pipeline.tick(400_000)]) == whole  # type: ignore[arg-type]


def test_step_equals_batch(pipeline: Pipeline, scene: Events) -> None:
    checkpoint = load_checkpoint("tracker")
    recordings = ListedRecordings([Recording(scene, 0), Recording(scene[::2], 0)], (), SENSOR)
    whole = without_ids(tracked(pipeline, scene))
    encoded, maps = next(scan_recordings(checkpoint.config, checkpoint.model, recordings))
    decider = decider_of(checkpoint.config)
    batch = without_ids([decider(m, w) for m, w in zip(maps, encoded.windows, strict=True)])  # type: ignore[misc]
    for (t_us, tracks), (same_us, same) in zip(whole, batch, strict=True):
        assert t_us == same_us and len(tracks) == len(same)
        assert np.allclose([t[:] for t in tracks], [t[:] for t in same], rtol=1e-3, atol=1e-2)


def test_replay_writes_what_the_pipeline_decides(pipeline: Pipeline, tmp_path: Path) -> None:
    assert main(["simulate", "shapes", "--out", str(tmp_path / "a.npz"), "--seconds", "0.3", "--seed", "5"]) == 0
    said = ["replay", str(tmp_path / "a.npz"), "--model", "tracker", "--out", str(tmp_path / "a.jsonl")]
    assert main([*said, "--video", str(tmp_path / "a.mp4"), "--plot", str(tmp_path / "a.png")]) == 0
    lines = [json.loads(text) for text in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [each["t_us"] for each in lines] == list(range(10_000, 300_001, 10_000))
    assert all(each["kind"] == "tracks" for each in lines)
    assert (tmp_path / "a.mp4").stat().st_size > 1000 and (tmp_path / "a.png").stat().st_size > 1000


def test_another_sensor_is_told_in_its_own_pixels(pipeline: Pipeline, scene: Events) -> None:
    """Four equal pixels for each: the resampled recording is the same, and the tracks lie twice as far out."""
    small = tracked(pipeline, scene)
    large = np.repeat(scene, 4)
    large["x"], large["y"] = (
        2 * large["x"] + np.tile([0, 1, 0, 1], len(scene)),
        2 * large["y"] + np.tile([0, 0, 1, 1], len(scene)),
    )
    doubled = tracked(pipeline, large, Sensor(480, 360))
    assert ids(small) and len(ids(small)) == len(ids(doubled))
    for one, two in zip(without_ids(small), without_ids(doubled), strict=True):
        for a, b in zip(one[1], two[1], strict=True):
            assert (b.x, b.y) == pytest.approx((2 * a.x + 0.5, 2 * a.y + 0.5), abs=1e-3)
            assert (b.w, b.h, b.vx, b.vy) == pytest.approx((2 * a.w, 2 * a.h, 2 * a.vx, 2 * a.vy), rel=1e-4, abs=1e-3)


def test_a_still_scene_has_no_tracks(pipeline: Pipeline) -> None:
    pipeline.set_sensor(SENSOR)
    pipeline.reset()
    pipeline.push(noise(0.01, 1000, sensor=SENSOR))
    assert told_s(pipeline.tick(1_000_000)) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize("rate_hz", [1e5, 1e6])
def test_noise_makes_hardly_a_track(pipeline: Pipeline, rate_hz: float) -> None:
    assert told_s(tracked(pipeline, noise(1.0, rate_hz, sensor=SENSOR))) <= 0.1


def test_a_flash_leaves_the_target_its_name(pipeline: Pipeline) -> None:
    body = ring(line(40, 60, 200, 100), 0.6, 60_000, 12)
    events = ring_on(SENSOR, body, flash(300_000, 15_000, SENSOR))
    decisions = tracked(pipeline, events)
    before = [d for d in decisions if 150_000 < d.t_us <= 300_000]
    after = [d for d in decisions if 450_000 < d.t_us <= 600_000]
    assert len(ids(before)) == 1 and ids(before) <= ids(after)
    assert told_s(after) < 0.3


def test_a_hundred_targets_in_bounded_time(pipeline: Pipeline) -> None:
    parts = [ring(circle(14 + 23 * (k % 10), 10 + 17 * (k // 10), 3, 120), 0.2, 8_000, 5, seed=k) for k in range(100)]
    events = ring_on(SENSOR, *parts)
    tracked(pipeline, events[:1000])
    begun = time.process_time()
    decisions = tracked(pipeline, events)
    assert (time.process_time() - begun) / len(decisions) < 0.05, "seconds per update"
    assert max(len(d.tracks) for d in decisions) <= 128


def test_a_restarted_sensor_begins_anew_with_new_ids(pipeline: Pipeline) -> None:
    body = ring_on(SENSOR, ring(line(40, 60, 200, 100), 0.4, 60_000, 12))
    late = body.copy()
    late["t"] += 5_000_000
    decisions = tracked(pipeline, np.concatenate([late, body]))
    first = ids([d for d in decisions if d.t_us > 5_000_000])
    second = ids([d for d in decisions if d.t_us < 5_000_000])
    assert first and second and max(first) < min(second)


def test_windows_of_a_scan_are_those_of_the_pipeline(scene: Events) -> None:
    config = load_checkpoint("tracker").config
    found = list(windows(stream_of(scene, SENSOR), config.bin_us))
    maps = encode_windows(config.representation, found, SENSOR)
    for window, dense in zip(found, maps, strict=True):
        assert np.array_equal(config.representation(window, SENSOR).dense().numpy(), dense)
