"""Boxes become tracks: names are kept through gaps and crossings, doubtful boxes are not told, states are values."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.tracking import BoxTracker, Track, TrackLife, Tracks
from dvs_snn.tracking.boxes import distinct
from dvs_snn.tracking.kalman import measure, predict

STEP_US = 10_000


def box(x: float, y: float, vx: float = 0.0, vy: float = 0.0, side: float = 20.0, score: float = 0.9) -> list[float]:
    return [x, y, side, side, vx, vy, score]


def followed(frames: list[list[list[float]]], life: TrackLife | None = None) -> list[np.ndarray]:
    tracker = BoxTracker(life or TrackLife())
    state, tables = tracker.initial_state(), []
    for k, boxes in enumerate(frames):
        table, state = tracker.step(np.array(boxes, float).reshape(-1, 7), (k + 1) * STEP_US, state)
        tables.append(table)
    return tables


def course(x: float, y: float, vx: float, vy: float, count: int) -> list[list[float]]:
    return [box(x + vx * k * 0.01, y + vy * k * 0.01, vx, vy) for k in range(count)]


def names(tables: list[np.ndarray]) -> set[int]:
    return {int(number) for table in tables for number in table[:, 0]}


def test_exact_boxes_are_told_exactly_under_one_name() -> None:
    path = course(30, 40, 300, 100, 50)
    tables = followed([[row] for row in path])
    assert [len(table) for table in tables[:3]] == [0, 1, 1], "one sighting is not enough, two are"
    assert names(tables) == {1}
    for table, row in zip(tables[1:], path[1:], strict=True):
        assert table[0, 1:7] == pytest.approx(row[:6], abs=1e-6)


def test_crossing_targets_keep_their_names() -> None:
    first, second = course(40, 60, 400, 150, 40), course(200, 60, -400, 150, 40)
    tables = followed([[a, b] if k % 2 else [b, a] for k, (a, b) in enumerate(zip(first, second, strict=True))])
    before = {int(row[0]): row[5] > 0 for row in tables[5]}
    after = {int(row[0]): row[5] > 0 for row in tables[-1]}
    assert len(before) == 2 and before == after


def test_a_hidden_target_is_told_as_predicted_and_comes_back_under_its_name() -> None:
    path = course(30, 90, 300, 0, 60)
    tables = followed([[row] if k < 20 or k >= 40 else [] for k, row in enumerate(path)])
    assert names(tables) == {1}
    told = [k for k, table in enumerate(tables) if len(table)]
    last = 19 + TrackLife().told_us // STEP_US
    assert told[:last] == list(range(1, last + 1)) and last + 1 not in told, "bridged aloud at first, then in silence"
    assert tables[last][0, 1] == pytest.approx(path[last][0], abs=1.0)


def test_only_a_target_that_is_known_well_is_told_unseen() -> None:
    path = course(30, 90, 300, 0, 30)
    life = TrackLife(told_us=2 * STEP_US, told_hits=20)
    for seen, told in ((19, 19), (20, 22), (25, 27)):
        tables = followed([[row] if k < seen else [] for k, row in enumerate(path)], life)
        assert [k for k, table in enumerate(tables) if len(table)][-1] + 1 == told
        assert tables[told - 1][0, 1] == pytest.approx(path[told - 1][0], abs=1e-6)


def test_a_target_that_stopped_is_told_longer() -> None:
    tables = followed([[box(100, 90)] if k < 20 else [] for k in range(150)])
    assert len(tables[100]) == 1 and len(tables[-1]) == 0


def test_what_leaves_the_image_ends() -> None:
    tables = followed([[row] for row in course(200, 90, 500, 0, 8)] + [[] for _ in range(10)])
    assert len(tables[7]) == 1 and len(tables[10]) == 0


def test_a_single_doubtful_box_is_never_told_and_weak_boxes_begin_nothing() -> None:
    life = TrackLife()
    flicker = [[box(50 + 60 * (k % 3), 90, score=life.high)] if k % 5 == 0 else [] for k in range(60)]
    assert names(followed(flicker)) == set()
    assert names(followed([[box(100, 90, score=life.high - 0.01)]] * 60)) == set()
    weak_later = [[box(100, 90)]] * 5 + [[box(100, 90, score=life.low)]] * 200
    assert len(followed(weak_later)[-1]) == 1, "but they keep a track"


def test_boxes_that_cover_each_other_are_one() -> None:
    seen = np.array([box(50, 50, score=0.5), box(52, 50, score=0.9), box(90, 50, score=0.3)])
    kept = distinct(seen, 0.5)
    assert kept[:, 6].tolist() == [0.9, 0.3]
    assert names(followed([[box(50, 50), box(53, 51, score=0.8)]] * 20)) == {1}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_boxes_does_not_matter_and_a_state_is_a_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracker = BoxTracker()
    one, two = tracker.initial_state(), tracker.initial_state()
    for k in range(6):
        count = int(rng.integers(0, 6))
        boxes = np.column_stack([
            rng.uniform(0, 240, count), rng.uniform(0, 180, count), rng.uniform(8, 40, (count, 2)),
            rng.uniform(-300, 300, (count, 2)), rng.uniform(0.1, 1.0, count),
        ]).reshape(-1, 7)  # fmt: skip
        before = [part.copy() for part in one[1:4]]
        first, after = tracker.step(boxes, (k + 1) * STEP_US, one)
        assert all(np.array_equal(a, b) for a, b in zip(before, one[1:4], strict=True))
        second, two = tracker.step(boxes[rng.permutation(count)], (k + 1) * STEP_US, two)
        assert np.array_equal(first, second)
        one = after


def test_names_go_on_over_a_reset() -> None:
    tracker = BoxTracker()
    state = tracker.initial_state()
    for k in range(4):
        table, state = tracker.step(np.array([box(50, 50)]), (k + 1) * STEP_US, state)
    state = tracker.initial_state(state)
    for k in range(4):
        again, state = tracker.step(np.array([box(50, 50)]), (k + 1) * STEP_US, state)
    assert (table[0, 0], again[0, 0]) == (1, 2)


def test_a_hundred_targets_in_bounded_time_and_never_more_than_the_most() -> None:
    grid = [box(20 + 22 * (k % 10), 10 + 17 * (k // 10), side=12) for k in range(100)]
    followed([grid] * 2)
    begun = time.process_time()
    tables = followed([grid] * 20)
    assert len(tables[-1]) == 100 and names(tables) == set(range(1, 101))
    assert (time.process_time() - begun) / 20 < 0.02, "seconds per update"
    assert len(followed([grid] * 5, TrackLife(most_tracks=30))[-1]) == 30


def test_measuring_is_the_kalman_update() -> None:
    rng = np.random.default_rng(1)
    mean, covariance = np.zeros(5), np.zeros((5, 5))
    mean[:4], covariance[:4, :4] = rng.normal(size=4), np.cov(rng.normal(size=(4, 12)))
    z, noise = rng.normal(size=4), np.diag([4.0, 4.0, 9.0, 9.0])
    p = covariance[:4, :4].copy()
    gain = p @ np.linalg.inv(p + noise)
    wanted_mean, wanted_cov = mean[:4] + gain @ (z - mean[:4]), (np.eye(4) - gain) @ p
    measure(mean, covariance, z[0], z[1], 2.0, z[2], z[3], 3.0)
    assert mean[:4] == pytest.approx(wanted_mean) and covariance[:4, :4] == pytest.approx(wanted_cov)
    predict(mean, covariance, 0.01, 100.0, 0.0)
    assert np.linalg.eigvalsh(covariance[:4, :4]).min() > 0


@given(st.floats(0.3, 6), st.floats(-50, 50), st.floats(-50, 50))
def test_tracks_move_to_another_sensor_and_back(scale: float, left: float, top: float) -> None:
    track = Track(3, 10.0, 20.0, 6.0, 8.0, 100.0, -50.0, 0.7)
    there = Tracks(5, (track,)).moved(scale, left, top)
    assert there.tracks[0].w == pytest.approx(6.0 * scale)
    back = there.moved(1 / scale, -left / scale, -top / scale).tracks[0]
    assert back == pytest.approx(track)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"spam": 1}, "unknown option 'spam'"), ({"keep_us": 0.5}, "expected int"), ({"low": 0.9}, "low <= high"),
     ({"turn_px": 0.0}, "above 0"), ({"gate_px": float("nan")}, "finite"), ({"told_us": -1}, "not negative")],
)  # fmt: skip
def test_wrong_options_are_one_clear_error(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrackLife.from_dict(values)
