"""Events of simple scenes, drawn from closed forms: rings on known courses, noise, flashes."""

from collections.abc import Callable

import numpy as np

from dvs_snn.events import Events, Sensor, make_events

SENSOR = Sensor(320, 240)
Course = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def ring(course: Course, seconds: float, rate_hz: float, radius: float, seed: int = 0, start_s: float = 0.0) -> Events:
    """Events of a ring's outline whose centre follows `course(t)`; those outside the sensor are left out."""
    rng = np.random.default_rng(seed)
    count = int(rate_hz * seconds)
    t = start_s + np.sort(rng.random(count)) * seconds
    x, y = course(t)
    phi = rng.random(count) * 2 * np.pi
    x, y = np.rint(x + radius * np.cos(phi)), np.rint(y + radius * np.sin(phi))
    inside = (x >= 0) & (y >= 0) & (x < SENSOR.width) & (y < SENSOR.height)
    t_us = np.round(t * 1e6)
    return make_events(t_us[inside], x[inside], y[inside], rng.random(count)[inside] < 0.5)


def line(x: float, y: float, vx: float, vy: float) -> Course:
    return lambda t: (x + vx * t, y + vy * t)


def circle(x: float, y: float, radius: float, speed: float) -> Course:
    return lambda t: (x + radius * np.cos(speed / radius * t), y + radius * np.sin(speed / radius * t))


def noise(seconds: float, rate_hz: float, seed: int = 0, sensor: Sensor = SENSOR) -> Events:
    rng = np.random.default_rng(seed)
    count = int(rate_hz * seconds)
    t = np.sort(rng.integers(0, int(seconds * 1e6), count))
    return make_events(
        t, rng.integers(0, sensor.width, count), rng.integers(0, sensor.height, count), rng.random(count) < 0.5
    )


def flash(at_us: int, length_us: int, sensor: Sensor = SENSOR, seed: int = 0) -> Events:
    """One event of every pixel in a short time."""
    rng = np.random.default_rng(seed)
    y, x = np.divmod(rng.permutation(sensor.width * sensor.height), sensor.width)
    return make_events(np.sort(rng.integers(at_us, at_us + length_us, len(x))), x, y, np.ones(len(x), bool))


def together(*parts: Events) -> Events:
    events = np.concatenate(parts)
    return events[np.argsort(events["t"], kind="stable")]
