"""Mass and polarity are conserved, and each map equals a naive loop over events."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, Window, make_events
from dvs_snn.representation import (
    ChannelCounts,
    EventCounts,
    Representation,
    SparseMap,
    TimeSurface,
    VoxelGrid,
    dense_batch,
)

SENSOR = Sensor(12, 8)
KINDS = [EventCounts(), EventCounts(pool=2), VoxelGrid(), VoxelGrid(bins=1), VoxelGrid(bins=3, pool=4), TimeSurface()]


@st.composite
def windows(draw: st.DrawFn) -> Window:
    count = draw(st.integers(0, 60))
    column = lambda high: draw(st.lists(st.integers(0, high), min_size=count, max_size=count))  # noqa: E731
    times = np.sort(np.array(column(9999), np.int64)) + 50_000
    return Window(make_events(times, column(11), column(7), column(1)), 50_000, 60_000)


def swapped(window: Window) -> Window:
    events = window.events.copy()
    events["p"] = ~events["p"]
    return Window(events, window.start_us, window.end_us)


@given(windows())
def test_counts_hold_every_event_once(window: Window) -> None:
    for pool in (1, 2, 4):
        dense = EventCounts(pool)(window, SENSOR).dense()
        on = int(np.count_nonzero(window.events["p"]))
        assert dense[0].sum() == on
        assert dense[1].sum() == len(window.events) - on
    naive = np.zeros((2, 8, 12))
    for event in window.events:
        naive[0 if event["p"] else 1, event["y"], event["x"]] += 1
    assert np.array_equal(EventCounts()(window, SENSOR).dense().numpy(), naive)


@given(windows())
def test_channel_counts_pool_along_a_row_and_are_blind_to_polarity(window: Window) -> None:
    dense = ChannelCounts(3)(window, SENSOR).dense()
    assert dense.shape == (1, 8, 4)
    both = EventCounts()(window, SENSOR).dense().sum(0)
    assert torch.equal(dense[0], both.view(8, 4, 3).sum(-1))
    assert torch.equal(dense, ChannelCounts(3)(swapped(window), SENSOR).dense())
    assert torch.equal(ChannelCounts(3, limit=1)(window, SENSOR).dense(), dense.clamp(max=1))
    with pytest.raises(ConfigError, match="12 channels"):
        ChannelCounts(5).shape(SENSOR)


@given(windows())
def test_swapping_polarity_swaps_channels(window: Window) -> None:
    a, b = EventCounts(2)(window, SENSOR).dense(), EventCounts(2)(swapped(window), SENSOR).dense()
    assert np.array_equal(a[0], b[1]) and np.array_equal(a[1], b[0])


@given(windows(), st.integers(1, 6))
def test_voxel_grid_conserves_polarity(window: Window, bins: int) -> None:
    dense = VoxelGrid(bins)(window, SENSOR).dense()
    signs = np.where(window.events["p"], 1, -1)
    assert float(dense.sum()) == pytest.approx(signs.sum(), abs=1e-4)
    naive = np.zeros((8, 12))
    np.add.at(naive, (window.events["y"], window.events["x"]), signs)
    assert np.allclose(dense.sum(0), naive, atol=1e-5), "per pixel, not only in all"
    assert np.allclose(VoxelGrid(bins)(swapped(window), SENSOR).dense(), -dense)


@given(windows())
def test_time_surface_is_the_latest_event(window: Window) -> None:
    dense = TimeSurface(decay_us=3000.0)(window, SENSOR).dense().numpy()
    naive = np.zeros((2, 8, 12))
    for event in window.events:
        naive[0 if event["p"] else 1, event["y"], event["x"]] = np.exp((event["t"] - window.end_us) / 3000.0)
    assert np.allclose(dense, naive, atol=1e-6)


@given(windows())
def test_events_are_not_touched_and_cells_are_unique(window: Window) -> None:
    before = window.events.copy()
    for kind in KINDS:
        assert isinstance(kind, Representation)
        sparse = kind(window, SENSOR)
        assert sparse.shape == kind.shape(SENSOR)
        assert (np.diff(sparse.indices) > 0).all()
        assert np.isfinite(sparse.values).all()
    assert np.array_equal(before, window.events)


def test_limit_caps_a_hot_pixel() -> None:
    window = Window(make_events(np.arange(100), np.zeros(100), np.zeros(100), np.ones(100)), 0, 100)
    assert EventCounts(limit=5)(window, SENSOR).dense().max() == 5


def test_equal_timestamps_are_finite_in_a_voxel_grid() -> None:
    window = Window(make_events([7] * 5, [1] * 5, [2] * 5, [1, 1, 1, 0, 0]), 0, 10)
    assert VoxelGrid(4)(window, SENSOR).dense().sum() == pytest.approx(1.0)


def test_product_of_coordinates_does_not_wrap() -> None:
    sensor = Sensor(640, 480)
    window = Window(make_events([1], [639], [479], [True]), 0, 10)
    assert EventCounts()(window, sensor).dense()[0, 479, 639] == 1


def test_pool_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="pool 5 does not divide"):
        EventCounts(5).shape(SENSOR)


@given(st.lists(windows(), min_size=1, max_size=4))
def test_batch_equals_maps_one_by_one(several: list[Window]) -> None:
    maps: list[SparseMap] = [EventCounts(2)(window, SENSOR) for window in several]
    batch = dense_batch(maps)
    for row, sparse in zip(batch, maps, strict=True):
        assert np.array_equal(row, sparse.dense())
