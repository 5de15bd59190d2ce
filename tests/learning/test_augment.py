"""Augmentation changes what a camera may change, and nothing that the label depends on."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, make_events
from dvs_snn.events.simulate import GESTURES
from dvs_snn.learning.augment import MIRRORED, Augmentation, add_hot_pixels, add_noise, mirror, move, stretch, thin

SENSOR = Sensor(64, 48)


def some_events(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 1_000_000, count))
    return make_events(t, rng.integers(0, 64, count), rng.integers(0, 48, count), rng.random(count) < 0.5)


def test_mirrored_labels_are_an_involution_that_swaps_hands_and_sense_of_rotation():
    assert [MIRRORED[MIRRORED[i]] for i in range(11)] == list(range(11))
    exchange = {"Right": "Left", "Left": "Right", "clockwise": "counter clockwise", "counter clockwise": "clockwise"}

    def mirrored(label):
        return re.sub("|".join(sorted(exchange, key=len, reverse=True)), lambda word: exchange[word.group()], label)

    for index, label in enumerate(GESTURES):
        assert GESTURES[MIRRORED[index]] == mirrored(label)


@given(st.integers(0, 300))
def test_mirror_twice_is_identity(count):
    events = some_events(count)
    assert (mirror(mirror(events, SENSOR), SENSOR) == events).all()


def test_mirror_turns_a_clockwise_path_into_a_counter_clockwise_one():
    angle = np.linspace(0, 6, 50)
    events = make_events(np.arange(50), 32 + 10 * np.cos(angle), 24 + 10 * np.sin(angle), np.ones(50))

    def turn(e):
        x, y = e["x"].astype(float) - e["x"].mean(), e["y"].astype(float) - e["y"].mean()
        return np.sign(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))

    assert turn(events) == -turn(mirror(events, SENSOR)) != 0


def test_inputs_are_left_alone():
    events = some_events(500)
    before = events.copy()
    rng = np.random.default_rng(0)
    for _ in range(5):
        Augmentation(mirror=1.0)(events, 3, SENSOR, 0, 1_000_000, rng)
    stretch(events, 1.3, 100)
    assert (events == before).all()


def test_moving_nowhere_changes_nothing():
    events = some_events(1000)
    assert (move(events, SENSOR, (0.0, 0.0), 1.0, 0.0, np.random.default_rng(0)) == events).all()


def test_whole_shift_moves_every_event_by_it():
    events = some_events(2000)
    moved = move(events, SENSOR, (5.0, -3.0), 1.0, 0.0, np.random.default_rng(0))
    kept = events[(events["x"] < 59) & (events["y"] >= 3)]
    assert len(moved) == len(kept)
    assert (moved["x"] == kept["x"] + 5).all() and (moved["y"] == kept["y"] - 3).all()


@pytest.mark.parametrize("scale", [0.8, 1.25, 1.6])
def test_scaling_keeps_the_density_of_events_per_pixel(scale):
    rng = np.random.default_rng(0)
    n = 40_000
    events = make_events(np.arange(n), rng.integers(24, 40, n), rng.integers(16, 32, n), np.ones(n))
    moved = move(events, SENSOR, (0.0, 0.0), scale, 0.0, rng)
    assert abs(len(moved) / (n * scale**2) - 1) < 0.03
    image = np.zeros((48, 64))
    np.add.at(image, (moved["y"], moved["x"]), 1)
    inner = image[20:28, 28:36]  # well inside the scaled square
    assert inner.min() > 0 and abs(inner.mean() / (n / 256) - 1) < 0.05


def test_quarter_turn_is_clockwise_in_the_image():
    events = make_events([0], [50], [23], [1])  # to the right of the centre
    moved = move(events, Sensor(64, 64), (0.0, 0.0), 1.0, 90.0, np.random.default_rng(0))
    assert moved["y"][0] > 45  # below it: y grows downward


def test_stretch_keeps_events_and_their_order():
    events = some_events(1000)
    slow = stretch(events, 1.4, 50)
    assert len(slow) == 1000 and (np.diff(slow["t"]) >= 0).all()
    assert np.array_equal(slow["t"], np.floor((events["t"] - 50) * 1.4)) and (slow["x"] == events["x"]).all()


def test_thinning_keeps_the_share_of_each_polarity():
    events = some_events(40_000)
    thinned = thin(events, 0.8, 0.3, np.random.default_rng(0))
    on, off = events["p"].sum(), (~events["p"]).sum()
    assert abs(thinned["p"].sum() / on - 0.8) < 0.02 and abs((~thinned["p"]).sum() / off - 0.3) < 0.02


def test_noise_has_its_rate_and_stays_inside():
    noise = add_noise(some_events(0), SENSOR, 1000, 2_001_000, 5.0, 0.25, np.random.default_rng(0))
    assert abs(len(noise) / (5.0 * 64 * 48 * 2) - 1) < 0.02
    assert noise["t"].min() >= 1000 and noise["t"].max() < 2_001_000
    assert noise["x"].max() < 64 and noise["y"].max() < 48 and abs(noise["p"].mean() - 0.25) < 0.02


def test_hot_pixels_are_few_places():
    hot = add_hot_pixels(some_events(0), SENSOR, 0, 1_000_000, 3, 300.0, np.random.default_rng(0))
    assert len(hot) > 0 and len({(e["x"], e["y"]) for e in hot}) <= 3


@given(st.integers(0, 2**31), st.integers(0, 10))
def test_augmented_clips_stay_inside_and_labels_valid(seed, label):
    rng = np.random.default_rng(seed)
    events, new = Augmentation()(some_events(400, seed), label, SENSOR, 0, 1_000_000, rng)
    assert new in (label, MIRRORED[label])
    if len(events):
        assert events["x"].max() < 64 and events["y"].max() < 48
        assert events["t"].min() >= 0 and events["t"].max() < 1_000_000


def test_all_entries_off_is_identity():
    off = Augmentation(0.0, 0.0, (1.0, 1.0), 0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0, 0.0)
    events, label = off(some_events(300), 5, SENSOR, 0, 1_000_000, np.random.default_rng(0))
    assert (events == some_events(300)).all() and label == 5


def test_impossible_ranges_are_refused():
    with pytest.raises(ConfigError, match=r"augment\.scale"):
        Augmentation(scale=(1.2, 0.8))
    with pytest.raises(ConfigError, match=r"augment\.drop"):
        Augmentation(drop=1.5)
