"""The Kalman filter against closed forms: free motion, turns, composed steps, least squares, late measurements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.tracking.kalman import correct, predict, start

SPEEDS = st.floats(-2000.0, 2000.0)


def fresh(x: float = 3.0, y: float = -2.0, vx: float = 40.0, vy: float = 25.0, omega: float = 0.0):
    mean, covariance = np.zeros(5), np.zeros((5, 5))
    start(mean, covariance, x, y, vx, vy, 2.0, 30.0, 0.0)
    mean[4] = omega
    return mean, covariance


@given(SPEEDS, SPEEDS, st.floats(1e-6, 2.0))
def test_without_turn_the_course_is_straight_and_noise_has_its_closed_form(vx: float, vy: float, dt: float) -> None:
    mean, covariance = fresh(vx=vx, vy=vy)
    q = 700.0
    predict(mean, covariance, dt, q, 0.0)
    assert mean[:4] == pytest.approx([3 + vx * dt, -2 + vy * dt, vx, vy])
    assert covariance[0, 0] == pytest.approx(4 + dt**2 * 900 + q * dt**3 / 3)
    assert covariance[0, 2] == pytest.approx(dt * 900 + q * dt**2 / 2)
    assert covariance[2, 2] == pytest.approx(900 + q * dt)
    assert covariance[0, 1] == 0 and covariance[4, 4] == 0


def test_short_steps_equal_one_long_step() -> None:
    long, short = fresh(), fresh()
    predict(*long, 0.05, 900.0, 0.0)
    for dt in (0.001, 0.004, 0.02, 0.025):
        predict(*short, dt, 900.0, 0.0)
    assert short[0] == pytest.approx(long[0])
    assert short[1] == pytest.approx(long[1])


@pytest.mark.parametrize("omega", [155.0, -3.0, 1e-9])
def test_a_turn_follows_its_circle(omega: float) -> None:
    speed = 13_000.0
    mean, covariance = fresh(0.0, 0.0, speed, 0.0, omega)
    for _ in range(50):
        predict(mean, covariance, 1e-3, 0.0, 0.0)
    angle = omega * 0.05
    expected = [speed * np.sinc(angle / np.pi) * 0.05, speed * (1 - np.cos(angle)) / omega]
    assert mean[:2] == pytest.approx(expected, rel=1e-6, abs=1e-3)
    assert np.hypot(mean[2], mean[3]) == pytest.approx(speed)


def test_the_turns_derivatives_are_right() -> None:
    base = np.array([1.0, 2.0, 300.0, -120.0, 7.0])
    zero = np.zeros((5, 5))
    for column in range(5):
        ends = []
        for sign in (1, -1):
            mean = base.copy()
            mean[column] += sign * 1e-4
            predict(mean, zero.copy(), 0.03, 0.0, 0.0)
            ends.append(mean)
        slope = (ends[0] - ends[1]) / 2e-4
        unit = zero.copy()
        unit[column, column] = 1.0  # F E F' is the outer product of that column of F
        predict(base.copy(), unit, 0.03, 0.0, 0.0)
        assert unit == pytest.approx(np.outer(slope, slope), rel=1e-4, abs=1e-6)


def test_still_target_is_the_mean_of_its_measurements() -> None:
    rng = np.random.default_rng(0)
    truth, sd, count = np.array([17.0, -5.0]), 3.0, 40
    seen = truth + sd * rng.standard_normal((count, 2))
    mean, covariance = np.zeros(5), np.zeros((5, 5))
    start(mean, covariance, 0.0, 0.0, 0.0, 0.0, 1e4, 0.0, 0.0)
    for x, y in seen:
        correct(mean, covariance, x - mean[0], y - mean[1], 0.0, sd**2)
    assert mean[:2] == pytest.approx(seen.mean(axis=0), abs=1e-4)
    assert covariance[0, 0] == pytest.approx(sd**2 / count, rel=1e-4)


def test_constant_velocity_is_the_least_squares_line() -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.001, 0.02, 30))  # irregular
    seen = 50 + 300 * times + rng.standard_normal(30)
    mean, covariance = np.zeros(5), np.zeros((5, 5))
    start(mean, covariance, 0.0, 0.0, 0.0, 0.0, 1e5, 1e6, 0.0)
    last = 0.0
    for t, x in zip(times, seen, strict=True):
        predict(mean, covariance, t - last, 0.0, 0.0)
        correct(mean, covariance, x - mean[0], -mean[1], 0.0, 1.0)
        last = t
    slope, origin = np.polyfit(times, seen, 1)
    assert mean[2] == pytest.approx(slope, rel=1e-4)
    assert mean[0] == pytest.approx(origin + slope * times[-1], rel=1e-5)


def test_a_late_measurement_is_not_a_lag() -> None:
    speed, age = 5000.0, 0.002
    mean, covariance = fresh(0.0, 0.0, speed, 0.0)
    for k in range(1, 60):
        predict(mean, covariance, 0.001, 10.0, 0.0)
        correct(mean, covariance, speed * (0.001 * k - age) - (mean[0] - age * mean[2]), -mean[1], age, 1.0)
    assert mean[0] == pytest.approx(speed * 0.059, abs=1e-6)
    assert mean[2] == pytest.approx(speed, abs=1e-6)


@given(st.lists(st.tuples(st.floats(1e-5, 0.1), SPEEDS, SPEEDS, st.floats(0.1, 50.0)), min_size=1, max_size=30))
def test_covariance_stays_symmetric_and_positive(steps) -> None:
    mean, covariance = fresh()
    covariance[4, 4] = 25.0
    for dt, dx, dy, variance in steps:
        predict(mean, covariance, dt, 1e4, 10.0)
        before = covariance[:2, :2].trace()
        distance = correct(mean, covariance, dx, dy, 0.5 * dt, variance)
        assert distance >= 0 and covariance[:2, :2].trace() <= before * (1 + 1e-9)
        mean[4] = 0.0
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))) + 1e-12
    assert np.abs(covariance - covariance.T).max() == 0
    assert np.linalg.eigvalsh(covariance / scale).min() > -1e-9
