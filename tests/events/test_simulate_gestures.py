"""Simulated gestures: decided by the seed, right and left and turning as the convention says, like real ones."""

import numpy as np
import pytest

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, make_events
from dvs_snn.events.simulate import GESTURES, gesture_index, simulate_gesture, simulate_gesture_sequence
from dvs_snn.events.simulate.statistics import RecordingStatistics, recording_statistics, turning_rate

SENSOR = Sensor(128, 128)


def test_labels_are_those_of_the_data_set_in_order():
    assert len(GESTURES) == 11
    assert gesture_index("right_arm_clockwise") == gesture_index("3") == gesture_index(3) == 3
    with pytest.raises(ConfigError, match="unknown gesture"):
        gesture_index("juggling")


@pytest.mark.parametrize("label", range(11))
def test_a_recording_is_sorted_inside_the_sensor_and_decided_by_its_seed(label):
    events = simulate_gesture(label, 0.4, 7)
    np.testing.assert_array_equal(events, simulate_gesture(label, 0.4, 7))
    assert len(events) > 500
    assert events["t"][0] >= 0 and events["t"][-1] < 400_000
    assert np.all(np.diff(events["t"]) >= 0)
    assert events["x"].max() < 128 and events["y"].max() < 128
    assert len(events) != len(simulate_gesture(label, 0.4, 8))


def _turns(label: int, seeds: range) -> np.ndarray:
    return np.array([turning_rate(simulate_gesture(label, 1.1, seed), SENSOR) for seed in seeds])


@pytest.mark.parametrize(("label", "sign"), [(3, -1), (4, 1), (5, -1), (6, 1)])
def test_arms_turn_as_the_subject_sees_it(label, sign):
    """Clockwise for the subject is counter-clockwise in the image, for either arm."""
    turns = _turns(label, range(200, 207))
    assert np.mean(np.sign(turns) == sign) >= 0.85
    assert np.median(np.abs(turns)) > 0.3


@pytest.mark.parametrize(("right", "left"), [(1, 2), (3, 6), (4, 5)])
def test_the_right_hand_moves_at_the_left_of_the_image(right, left):
    at = [np.median([np.median(simulate_gesture(k, 0.5, s)["x"]) for s in range(300, 306)]) for k in (right, left)]
    assert at[0] < 64 < at[1]


def test_turning_rate_of_a_spot_on_a_circle():
    t = np.arange(0, 2_000_000, 250)
    angle = 2 * np.pi * 1.5 * t / 1e6
    x, y = 64 + 30 * np.cos(angle), 64 + 20 * np.sin(angle)
    events = make_events(t, np.round(x).astype(int), np.round(y).astype(int), np.ones(len(t)))
    assert turning_rate(events, SENSOR) == pytest.approx(1.5, rel=0.1)
    events["y"] = 127 - events["y"]
    assert turning_rate(events, SENSOR) == pytest.approx(-1.5, rel=0.1)


def test_a_sequence_is_one_person_and_its_truth_tiles_the_time():
    labels = [1, 2, 0]
    events, truth = simulate_gesture_sequence(labels, 0.8, 5)
    assert truth == [(0, 800_000, 1), (800_000, 1_600_000, 2), (1_600_000, 2_400_000, 0)]
    assert np.all(np.diff(events["t"]) >= 0) and events["t"][-1] < 2_400_000

    def centre(start: int, end: int) -> float:
        return float(np.median(events["x"][(events["t"] >= start) & (events["t"] < end)]))

    assert centre(0, 600_000) < centre(1_000_000, 1_400_000)


def test_the_scene_scales_with_the_sensor():
    small, large = simulate_gesture(3, 0.5, 21), simulate_gesture(3, 0.5, 21, Sensor(256, 256))
    assert large["x"].max() > 160
    assert np.median(large["x"]) / 256 == pytest.approx(np.median(small["x"]) / 128, abs=0.08)
    assert simulate_gesture(0, 0.2, 3, Sensor(240, 180))["x"].max() < 240


def test_bad_requests_are_refused_in_a_line():
    with pytest.raises(ConfigError, match="labels are 0"):
        simulate_gesture(11, 1.0, 0)
    with pytest.raises(ConfigError, match="at least one label"):
        simulate_gesture(0, 0.0, 0)
    with pytest.raises(ConfigError, match="at least 100"):
        recording_statistics(make_events([0], [0], [0], [1]), SENSOR)


def _real(data_dir, name: str):
    import faery

    path = data_dir / "recordings" / "dvs128_gesture" / name
    if not path.is_file():
        pytest.skip(f"{path} not found")
    events = np.concatenate([packet.copy() for packet in faery.events_stream_from_file(str(path))])
    return make_events(events["t"].astype(np.int64), events["x"], events["y"], events["on"])


@pytest.mark.data
@pytest.mark.parametrize(("label", "name"), [(0, "0_hand_clapping.aedat4"), (3, "3_right_arm_cw.aedat4")])
def test_ranges_of_simulated_recordings_cover_the_real_one(data_dir, label, name):
    """Every statistic of the real recording lies within the range of 32 simulated ones of its class and length."""
    seconds = 0.6
    recording = _real(data_dir, name)
    real = recording_statistics(recording[recording["t"] < recording["t"][0] + seconds * 1e6], SENSOR)
    simulated = [recording_statistics(simulate_gesture(label, seconds, 40_000 + k), SENSOR) for k in range(32)]
    for field in RecordingStatistics.__dataclass_fields__:
        values = np.sort([getattr(one, field) for one in simulated])
        value = getattr(real, field)
        assert values[0] <= value <= values[-1], (
            f"{field}: real {value:.4g}, simulated {values[0]:.4g}..{values[-1]:.4g}"
        )


@pytest.mark.data
def test_the_real_clockwise_arm_turns_like_the_simulated_ones(data_dir):
    real = turning_rate(_real(data_dir, "3_right_arm_cw.aedat4"), SENSOR)
    assert real < -0.4
    assert np.mean(np.sign(_turns(3, range(220, 226))) == np.sign(real)) >= 0.8
