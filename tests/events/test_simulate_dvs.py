"""The sensor model against closed forms: thresholds, polarity, frame rate, bandwidth, refractory period, noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor
from dvs_snn.events.simulate import DvsConfig, DvsModel

SENSOR = Sensor(16, 12)


def frame(log_intensity: float, sensor: Sensor = SENSOR) -> np.ndarray:
    return np.full((sensor.height, sensor.width), np.exp(log_intensity), np.float32)


def film(config: DvsConfig, times_us, logs, sensor: Sensor = SENSOR, seed: int = 0) -> np.ndarray:
    model = DvsModel(sensor, config, seed)
    return np.concatenate([model.push(t, frame(log, sensor)) for t, log in zip(times_us, logs, strict=True)])


@settings(max_examples=60, deadline=None)
@given(step=st.floats(-4, 4), theta_on=st.floats(0.05, 0.8), theta_off=st.floats(0.05, 0.8))
def test_an_ideal_pixel_fires_once_per_threshold_of_log_intensity(step, theta_on, theta_off):
    theta = theta_on if step > 0 else theta_off
    exact = abs(step) / theta
    if abs(exact - round(exact)) < 1e-3:
        return  # single precision of the frames decides
    config = DvsConfig(threshold_on=theta_on, threshold_off=theta_off, dark=1e-9)
    events = film(config, [0, 1000], [-1.0, -1.0 + step], Sensor(1, 1))
    assert len(events) == int(exact)
    assert np.all(events["p"] == (step > 0))


def test_crossing_times_lie_on_the_straight_line_between_frames():
    events = film(DvsConfig(threshold_on=0.25, dark=1e-9), [0, 10_000], [-2.0, -0.99], Sensor(1, 1))
    np.testing.assert_allclose(events["t"], 10_000 * 0.25 * np.arange(1, 5) / 1.01, atol=1.0)


def test_the_memory_keeps_what_is_left_below_the_threshold():
    logs = -2 + 0.1 * np.arange(11)
    events = film(DvsConfig(threshold_on=0.255, dark=1e-9), 1000 * np.arange(11), logs, Sensor(1, 1))
    assert len(events) == 3


@pytest.mark.parametrize("bandwidth_hz", [0.0, 40.0, 400.0])
def test_twice_the_frames_of_the_same_ramp_give_the_same_events(bandwidth_hz):
    config = DvsConfig(threshold_on=0.17, bandwidth_hz=bandwidth_hz, dark=1e-9)
    coarse_t = np.arange(0, 50_001, 2_000)
    fine_t = np.arange(0, 50_001, 1_000)
    log_of = lambda t: -3 + 2.03 * t / 50_000  # noqa: E731
    coarse, fine = film(config, coarse_t, log_of(coarse_t)), film(config, fine_t, log_of(fine_t))
    assert len(coarse) == len(fine) > 0
    np.testing.assert_allclose(coarse["t"], fine["t"], atol=60 if bandwidth_hz else 1.5)


def test_a_low_pass_delays_and_then_arrives():
    config = DvsConfig(threshold_on=0.2, dark=1e-9, bandwidth_hz=10.0)
    times = np.arange(0, 400_001, 1000)
    logs = np.where(times > 0, -0.99, -2.0)
    events = film(config, times, logs, Sensor(1, 1))
    assert len(events) == 5
    # step response: 1 - exp(-t / tau) reaches 0.2, 0.4 ... of 1.01 at these times
    expected = -np.log(1 - 0.2 * np.arange(1, 6) / 1.01) / (2 * np.pi * 10.0) * 1e6
    np.testing.assert_allclose(events["t"], expected, atol=1500)


def test_dim_pixels_are_slower_when_bandwidth_follows_light():
    config = DvsConfig(threshold_on=0.5, dark=1e-9, bandwidth_hz=50.0, bandwidth_follows_light=True)
    times = np.arange(0, 400_001, 1000)
    bright = film(config, times, np.where(times > 0, 0.0, -0.6), Sensor(1, 1))
    dim = film(config, times, np.where(times > 0, -4.0, -4.6), Sensor(1, 1))
    assert len(bright) == len(dim) == 1
    assert dim["t"][0] > 3 * bright["t"][0]


def test_inverting_brightness_swaps_polarity_and_nothing_else():
    config = DvsConfig(threshold_on=0.2, threshold_off=0.2, dark=1e-12, refractory_us=150.0)
    rng = np.random.default_rng(0)
    logs = np.cumsum(rng.normal(0, 0.2, (60, 12, 16)), axis=0).astype(np.float32) * 0.5

    def run(sign):
        model = DvsModel(SENSOR, config, 0)
        return np.concatenate([model.push(1000 * k, np.exp(sign * log)) for k, log in enumerate(logs)])

    plus, minus = run(1.0), run(-1.0)
    assert len(plus) == len(minus) > 1000
    key = lambda e: np.sort(e[["t", "y", "x"]], order=["y", "x", "t"])  # noqa: E731
    close = np.abs(key(plus)["t"] - key(minus)["t"]) <= 1  # the log of a rounded exponential is not quite odd
    assert close.mean() > 0.999
    assert plus["p"].sum() == len(minus) - minus["p"].sum()


def test_leak_fires_on_at_its_rate_and_pixels_are_out_of_step():
    sensor = Sensor(32, 32)
    events = film(DvsConfig(leak_hz=4.0), np.arange(0, 5_000_001, 20_000), [-1.0] * 251, sensor)
    assert events["p"].all()
    assert len(events) == pytest.approx(4.0 * 5 * 1024, rel=0.02)
    assert len(np.unique(events["t"])) > 0.9 * len(events)


def test_shot_noise_has_its_rate_its_share_and_poisson_counts():
    sensor = Sensor(64, 64)
    config = DvsConfig(shot_noise_hz=3.0, shot_on_share=0.3)
    events = film(config, np.arange(0, 4_000_001, 10_000), [-1.0] * 401, sensor)
    mean = 3.0 * 4 * 64 * 64
    assert len(events) == pytest.approx(mean, abs=5 * np.sqrt(mean))
    assert events["p"].mean() == pytest.approx(0.3, abs=0.02)
    counts = np.bincount(events["y"].astype(int) * 64 + events["x"], minlength=4096)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.12)


def test_hot_pixels_are_few_and_loud():
    config = DvsConfig(hot_pixels=3, hot_pixel_hz=100.0)
    events = film(config, np.arange(0, 2_000_001, 10_000), [-1.0] * 201, seed=4)
    assert 1 <= len(np.unique(events[["x", "y"]])) <= 3
    assert 100 < len(events) < 3000


@pytest.mark.parametrize("refractory_us", [200.0, 3_000.0])
def test_a_pixel_is_blind_for_its_refractory_period(refractory_us):
    rng = np.random.default_rng(1)
    config = DvsConfig(
        threshold_on=0.1, threshold_off=0.1, refractory_us=refractory_us, shot_noise_hz=50.0, hot_pixels=2, leak_hz=5.0
    )
    events = film(config, np.arange(0, 300_001, 1000), np.cumsum(rng.normal(0, 0.4, 301)) * 0.3 - 1)
    order = np.lexsort((events["t"], events["y"], events["x"]))
    same = (np.diff(events["x"][order].astype(int)) == 0) & (np.diff(events["y"][order].astype(int)) == 0)
    assert np.diff(events["t"][order])[same].min() >= refractory_us - 1


def test_threshold_mismatch_spreads_counts_and_keeps_their_mean():
    sensor = Sensor(64, 64)
    plain = film(DvsConfig(threshold_on=0.1, dark=1e-9), [0, 1000], [-4.0, 0.0], sensor)
    spread = film(DvsConfig(threshold_on=0.1, mismatch=0.1, dark=1e-9), [0, 1000], [-4.0, 0.0], sensor)
    counts = np.bincount(spread["y"].astype(int) * 64 + spread["x"], minlength=4096)
    assert counts.std() / counts.mean() == pytest.approx(0.1, rel=0.2)
    assert len(spread) == pytest.approx(len(plain), rel=0.03)


def test_repeats_and_rebounds_come_as_often_as_asked():
    sensor = Sensor(64, 64)
    times = np.arange(0, 40_001, 1000)
    logs = -3 + 2.04 * np.minimum(times, 20_000) / 20_000
    plain = len(film(DvsConfig(threshold_on=0.2), times, logs, sensor))
    twice = film(DvsConfig(threshold_on=0.2, repeat_probability=0.25), times, logs, sensor)
    assert len(twice) == pytest.approx(1.25 * plain, rel=0.02)
    rebound = film(DvsConfig(threshold_on=0.2, rebound_on=0.4, rebound_us=400.0), times, logs, sensor)
    off = int(np.count_nonzero(~rebound["p"]))
    assert off == pytest.approx(0.4 * plain, rel=0.05)
    assert len(rebound) - off == plain


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), gap=st.floats(50.0, 20_000.0))
def test_events_are_sorted_within_their_frame_and_decided_by_the_seed(seed, gap):
    rng = np.random.default_rng(seed)
    frames = rng.uniform(0, 1, (6, 12, 16)).astype(np.float32)
    config = DvsConfig(
        mismatch=0.1, bandwidth_hz=300.0, refractory_us=100.0, leak_hz=1.0, shot_noise_hz=20.0, hot_pixels=2,
        repeat_probability=0.2, rebound_on=0.3, rebound_off=0.3, stray_probability=0.2, row_streak_hz=50.0,
    )  # fmt: skip
    one, other = DvsModel(SENSOR, config, seed), DvsModel(SENSOR, config, seed)
    last = 0.0
    for k, picture in enumerate(frames):
        now = 7.3 + k * gap
        events = one.push(now, picture)
        np.testing.assert_array_equal(events, other.push(now, picture))
        if len(events):
            assert np.all(np.diff(events["t"]) >= 0)
            assert int(last) <= events["t"][0] and events["t"][-1] <= now
            assert events["x"].max() < 16 and events["y"].max() < 12
        last = now


def test_a_burst_larger_than_the_buffer_is_kept_whole():
    sensor = Sensor(64, 64)
    events = film(DvsConfig(threshold_on=0.05, dark=1e-9), [0, 1000], [-4.0, 0.02], sensor)
    assert len(events) == 80 * 4096


def test_wrong_frames_and_settings_are_refused():
    model = DvsModel(SENSOR, DvsConfig(), 0)
    model.push(0, frame(0.0))
    with pytest.raises(ConfigError, match="time must rise"):
        model.push(0, frame(0.0))
    with pytest.raises(ConfigError, match="8x8 for a sensor of 16x12"):
        model.push(1000, np.ones((8, 8), np.float32))
    with pytest.raises(ConfigError, match="above 0"):
        DvsConfig(threshold_on=0.0)
    with pytest.raises(ConfigError, match="probability"):
        DvsConfig(rebound_on=1.5)
