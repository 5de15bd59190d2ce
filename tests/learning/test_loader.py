"""Batches are fixed by seed and epoch, whoever makes them and wherever a run is cut."""

import numpy as np
import pytest
import torch

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, make_events
from dvs_snn.learning import Augmentation, ClipConfig, ClipLoader, Encoding, ListedRecordings, Recording
from dvs_snn.learning.loader import cut
from dvs_snn.representation import EventCounts
from tests.learning import synthetic
from tests.learning.synthetic import BIN_US, LABELS, SENSOR

ENCODING = Encoding(EventCounts(), SENSOR, BIN_US)


def bars(count):
    return synthetic.bars(count, seconds=0.4)


def make(seed=0, augmentation=None, clips=None, recordings=None, **options):
    clips = clips or ClipConfig((0.2, 0.3), 0.05, 0.3, 0.05)
    recordings = recordings or bars(30)
    return ClipLoader(recordings, ENCODING, clips, augmentation, options.pop("batch", 8), seed, **options)


def same(a, b):
    return torch.equal(a.inputs, b.inputs) and torch.equal(a.labels, b.labels) and torch.equal(a.scored, b.scored)


AUGMENTATION = Augmentation(mirror=0.0, shift_px=2.0, hot_pixels=1)


def test_same_seed_and_epoch_give_the_same_batches_whatever_the_threads():
    first = list(make(augmentation=AUGMENTATION).epoch(2))
    second = list(make(augmentation=AUGMENTATION, threads=3, ahead=4).epoch(2))
    assert len(first) == 3 and all(same(a, b) for a, b in zip(first, second, strict=True))
    assert not same(first[0], next(make(augmentation=AUGMENTATION).epoch(3)))
    assert not same(first[0], next(make(seed=1, augmentation=AUGMENTATION).epoch(2)))


def test_an_epoch_can_be_entered_at_any_batch():
    whole = list(make(augmentation=AUGMENTATION).epoch(1))
    rest = list(make(augmentation=AUGMENTATION).epoch(1, 2))
    assert len(rest) == 1 and same(whole[2], rest[0])


def test_an_epoch_left_early_ends_its_threads():
    batches = make().epoch(0)
    next(batches)
    batches.close()


def test_every_recording_is_seen_once_an_epoch():
    names = []

    class Watched(ListedRecordings):
        def __getitem__(self, index):
            names.append(index)
            return super().__getitem__(index)

    bare = bars(24)
    watched = Watched(bare.recordings, LABELS, SENSOR)
    list(make(recordings=watched, clips=ClipConfig((0.2, 0.2), 0.05, 0.0)).epoch(0))
    assert sorted(names) == list(range(24))


def test_warm_up_is_not_scored_and_labels_are_the_recordings():
    clip = next(make(clips=ClipConfig((0.3, 0.3), 0.05, 0.0)).epoch(0))
    assert clip.bins == 30 and not clip.scored[:5].any() and clip.scored[5:].all()
    assert (clip.labels == clip.labels[0]).all() and set(clip.labels[0].tolist()) == {0, 1}


def test_spliced_clips_change_class_after_which_bins_are_not_scored():
    clip = next(make(clips=ClipConfig((0.3, 0.3), 0.05, 1.0, 0.04), recordings=bars(30), batch=24).epoch(0))
    changed = 0
    for row in range(clip.batch):
        at = np.flatnonzero(np.diff(clip.labels[:, row].numpy()))
        if len(at):
            changed += 1
            after = int(at[0]) + 1
            assert 30 // 4 <= after <= 30 - 30 // 4
            assert not clip.scored[after : after + 4, row].any() and clip.scored[after + 4 :, row].all()
            assert clip.scored[5:after, row].all()
    assert changed > 3


def test_short_recordings_are_padded_and_the_padding_is_not_scored():
    short = ListedRecordings(
        [Recording(r.events[: len(r.events) // 2], r.label) for r in bars(8).recordings], LABELS, SENSOR
    )
    clip = next(make(recordings=short, clips=ClipConfig((0.3, 0.3), 0.05, 0.0)).epoch(0))
    assert clip.scored[5:18].all() and not clip.scored[22:].any() and clip.inputs[22:].sum() == 0


def test_slow_motion_makes_the_recording_longer():
    slow = Augmentation(0.0, 0.0, (1.0, 1.0), 0.0, (2.0, 2.0), 0.0, 0.0, 0.0, 0, 0.0)
    clips = ClipConfig((0.3, 0.3), 0.05, 0.0)
    plain, stretched = (next(make(augmentation=a, clips=clips).epoch(0)) for a in (None, slow))
    assert stretched.inputs.sum() / plain.inputs.sum() == pytest.approx(0.5, abs=0.05)
    assert stretched.scored[5:].all()


def test_mirrored_clips_are_relabelled():
    from dvs_snn.learning import MIRRORED

    labels = tuple(f"class {i}" for i in range(11))
    events = make_events(np.arange(4000) * 100, np.full(4000, 3), np.full(4000, 5), np.ones(4000))
    recordings = ListedRecordings([Recording(events, 3)] * 8, labels, SENSOR)
    mirror = Augmentation(1.0, 0.0, (1.0, 1.0), 0.0, (1.0, 1.0), 0.0, 0.0, 0.0, 0, 0.0)
    clip = next(make(recordings=recordings, augmentation=mirror, clips=ClipConfig((0.2, 0.2), 0.05, 0.0)).epoch(0))
    assert (clip.labels == MIRRORED[3]).all()
    assert clip.inputs[..., 12].sum() == clip.inputs.sum() > 0


def test_cut_takes_an_interval_of_the_asked_length():
    events = make_events(np.arange(1000) * 10, np.zeros(1000), np.zeros(1000), np.ones(1000))
    for seed in range(20):
        part, start_us, length_us = cut(events, 2500, np.random.default_rng(seed))
        assert length_us == 2500 and len(part) == 250
        assert start_us <= part["t"][0] and part["t"][-1] < start_us + 2500
    part, start_us, length_us = cut(events, 50_000, np.random.default_rng(0))
    assert len(part) == 1000 and (start_us, length_us) == (0, 9991)


def test_a_batch_larger_than_the_set_and_a_foreign_sensor_are_refused():
    with pytest.raises(ConfigError, match="batch"):
        make(batch=31)
    with pytest.raises(ConfigError, match="sensor"):
        make(recordings=ListedRecordings(bars(8).recordings, LABELS, Sensor(20, 16)))


def test_a_recording_that_cannot_be_read_stops_the_epoch_with_its_error():
    class Broken(ListedRecordings):
        def __getitem__(self, index):
            raise ConfigError("no such recording")

    broken = Broken(bars(8).recordings, LABELS, SENSOR)
    with pytest.raises(ConfigError, match="no such recording"):
        next(make(recordings=broken).epoch(0))
