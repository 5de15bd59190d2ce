"""Encoding a clip at once equals encoding its windows one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.events import EventStream, Sensor, Window, make_events, repair, windows
from dvs_snn.learning import collate, encode_clip, encode_windows
from dvs_snn.representation import ChannelCounts, EventCounts, TimeSurface, VoxelGrid, dense_batch

SENSOR = Sensor(24, 12)
REPRESENTATIONS = [
    *(
        EventCounts(),
        EventCounts(4),
        EventCounts(3),
        EventCounts(2, limit=2),
        ChannelCounts(3),
        ChannelCounts(4, limit=2),
    ),
    *(VoxelGrid(3), TimeSurface()),
]


def by_windows(representation, events, start_us, bin_us, bins):
    maps = []
    for k in range(bins):
        begin, end = start_us + k * bin_us, start_us + (k + 1) * bin_us
        inside = events[(events["t"] >= begin) & (events["t"] < end)]
        maps.append(representation(Window(inside, begin, end), SENSOR))
    return dense_batch(maps).numpy()


def some_events(seed, count, span_us):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(-span_us // 4, span_us, count))
    return make_events(t, rng.integers(0, 24, count), rng.integers(0, 12, count), rng.random(count) < 0.5)


@pytest.mark.parametrize("representation", REPRESENTATIONS, ids=repr)
@given(seed=st.integers(0, 1000), count=st.integers(0, 400), start_us=st.integers(-3000, 20_000))
def test_clip_equals_window_by_window(representation, seed, count, start_us):
    events = some_events(seed, count, 50_000)
    got = encode_clip(representation, events, SENSOR, start_us, 3000, 9)
    assert np.array_equal(got, by_windows(representation, events, start_us, 3000, 9))


@pytest.mark.parametrize("representation", [EventCounts(2), VoxelGrid(3)], ids=repr)
def test_unsorted_events_encode_the_same(representation):
    events = some_events(1, 500, 30_000)
    shuffled = np.random.default_rng(0).permutation(events)
    want = encode_clip(representation, events, SENSOR, 0, 3000, 10)
    assert np.allclose(encode_clip(representation, shuffled, SENSOR, 0, 3000, 10), want)


def test_times_beyond_32_bits_are_no_special_case():
    events = some_events(2, 300, 30_000)
    late = events.copy()
    late["t"] += 1 << 45
    want = encode_clip(EventCounts(2), events, SENSOR, 0, 3000, 10)
    assert np.array_equal(encode_clip(EventCounts(2), late, SENSOR, 1 << 45, 3000, 10), want)
    assert encode_clip(EventCounts(2), late, SENSOR, 0, 1 << 44, 3)[2].sum() == np.sum(late["t"] >= 1 << 45)


@pytest.mark.parametrize("representation", [EventCounts(2), VoxelGrid(3), TimeSurface()], ids=repr)
def test_windows_of_a_restarted_sensor_encode_as_the_pipeline_does(representation):
    first, second = some_events(3, 400, 60_000), some_events(4, 400, 60_000)
    first["t"] += 5_000_000
    stream = repair(EventStream(SENSOR, [np.concatenate([first, second])]))
    found = list(windows(stream, 4000))
    assert sum(window.first for window in found) == 2
    want = dense_batch([representation(window, SENSOR) for window in found]).numpy()
    assert np.array_equal(encode_windows(representation, found, SENSOR), want)


def test_batch_is_padded_with_unscored_silence():
    maps = [np.ones((n, 2, 3, 4), np.float32) for n in (5, 3)]
    clip = collate(maps, [np.full(5, 1), np.full(3, 2)], [np.ones(5, bool), np.ones(3, bool)])
    assert clip.inputs.shape == (5, 2, 2, 3, 4) and clip.inputs[3:, 1].abs().sum() == 0
    assert clip.scored.sum(0).tolist() == [5, 3] and clip.labels[0].tolist() == [1, 2]
    assert clip.between(0, 2).first.all() and not clip.between(2, 5).first.any()
    assert torch.equal(clip.between(2, 5).inputs, clip.inputs[2:5])
