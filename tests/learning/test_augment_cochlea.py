"""What changes a voice and leaves the word: channels, colour, time, loss, noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, make_events
from dvs_snn.learning import CochleaAugmentation, load_recipe, recipe_from
from dvs_snn.learning.augment import jitter
from dvs_snn.learning.augment_cochlea import colour, mask_channels, shift_channels

COCHLEA = Sensor(700, 1)
OFF = CochleaAugmentation(0.0, (1.0, 1.0), 0.0, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


def spikes(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 500_000, count))
    return make_events(t, rng.integers(0, 700, count), np.zeros(count), np.ones(count))


def test_whole_shift_moves_every_channel_by_it():
    events = spikes(2000)
    moved = shift_channels(events, COCHLEA, 30.0, 1.0, 0.0, np.random.default_rng(0))
    kept = events[events["x"] < 670]
    assert (moved["x"] == kept["x"] + 30).all() and (moved["t"] == kept["t"]).all()


def test_scale_spreads_about_the_lowest_tone():
    events = make_events(np.arange(2), [699, 500], [0, 0], [1, 1])
    moved = shift_channels(events, COCHLEA, 0.0, 1.5, 0.0, np.random.default_rng(0))
    assert abs(int(moved["x"][0]) - 699) <= 1 and abs(int(moved["x"][1]) - 400) <= 2


def test_colour_keeps_the_share_of_its_response():
    events = spikes(70_000)
    levels = np.log([1.0, 1.0, 1.0, 0.5, 0.25, 0.25])
    kept = colour(events, COCHLEA, levels, np.random.default_rng(0))
    share = np.bincount(kept["x"] // 70, minlength=10) / np.bincount(events["x"] // 70, minlength=10)
    assert (share[:4] > 0.97).all() and abs(share[9] - 0.25) < 0.03 and (np.diff(share[4:]) < 0.03).all()
    assert len(colour(events, COCHLEA, levels + 9.0, np.random.default_rng(0))) == len(events), "never amplifies"


def test_a_mask_silences_one_band_of_its_width():
    gone = set(range(700)) - set(mask_channels(spikes(50_000), COCHLEA, 60.0, np.random.default_rng(3))["x"].tolist())
    assert max(gone) - min(gone) + 1 == len(gone) and abs(len(gone) - 60) <= 1


def test_time_jitter_has_its_deviation_and_stays_inside():
    events = make_events(np.full(20_000, 250_000), np.zeros(20_000), np.zeros(20_000), np.ones(20_000))
    moved = jitter(events, 3000.0, 0, 500_000, np.random.default_rng(0))
    assert abs(moved["t"].std() - 3000) < 60 and (events["t"] == 250_000).all()
    moved = jitter(events, 3e5, 0, 500_000, np.random.default_rng(0))
    assert moved["t"].min() == 0 and moved["t"].max() == 499_999


@given(st.integers(0, 2**31), st.integers(0, 9))
def test_augmented_clips_stay_inside_and_keep_their_label(seed: int, label: int):
    events = spikes(300, seed)
    before = events.copy()
    changed, new = CochleaAugmentation(scale=(0.8, 1.25))(
        events, label, COCHLEA, 0, 600_000, np.random.default_rng(seed)
    )
    assert new == label and (events == before).all()
    if len(changed):
        assert changed["x"].max() < 700 and changed["y"].max() == 0
        assert changed["t"].min() >= 0 and changed["t"].max() < 600_000


def test_all_entries_off_is_identity():
    events, _ = OFF(spikes(300), 5, COCHLEA, 0, 500_000, np.random.default_rng(0))
    assert (events == spikes(300)).all()


def test_impossible_ranges_are_refused():
    with pytest.raises(ConfigError, match=r"augment\.time_scale"):
        CochleaAugmentation(time_scale=(1.2, 0.8))
    with pytest.raises(ConfigError, match=r"augment\.drop"):
        CochleaAugmentation(drop=1.5)
    with pytest.raises(ConfigError, match=r"augment\.colour"):
        CochleaAugmentation(colour=-1.0)


@pytest.mark.parametrize("name", ["digits", "digits_adlif", "digits_delays", "nmnist"])
def test_shipped_recipes_are_whole(name: str):
    recipe = load_recipe(name, ["pipeline.model_config.classes=20"] if name != "nmnist" else [])
    assert recipe.pipeline.task == "digit" and recipe_from(recipe.to_dict()) == recipe


def test_a_recipe_names_its_augmentation_and_only_gestures_are_mirrored():
    with pytest.raises(ConfigError, match="camera, cochlea"):
        load_recipe("nmnist", ["augment.name=sonar"])
    with pytest.raises(ConfigError, match=r"augment\.mirror"):
        load_recipe("nmnist", ["augment.mirror=0.5"])
    with pytest.raises(ConfigError, match="shift_px"):
        load_recipe("digits", ["augment.shift_px=3", "pipeline.model_config.classes=20"])
