"""Filters: what each keeps, and the laws of all: packets do not matter, the input stays, a restarted clock forgets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import EventStream, Sensor, empty_events, make_events, stream_of
from dvs_snn.events.filters import (
    FILTERS,
    BackgroundActivity,
    HotPixels,
    Polarity,
    RateDecimation,
    Refractory,
    Region,
    SpatialDecimation,
    TimeCrop,
    apply_filters,
    build_filter,
    start_filters,
)
from dvs_snn.events.stream import RESTART_US

SENSOR = Sensor(12, 9)
EACH = [
    BackgroundActivity(delay_us=300),
    HotPixels(pixels=((0, 0), (11, 8))),
    HotPixels(rate_hz=3000, period_us=1000),
    Refractory(period_us=500),
    Polarity("on"),
    Polarity("off"),
    Polarity("merged"),
    Region(2, 3, 6, 5),
    SpatialDecimation(factor=4),
    SpatialDecimation(factor=3, keep_rate=True),
    RateDecimation(max_rate_hz=20_000, period_us=1000),
    TimeCrop(1000, 4000),
]
names = [str(each) for each in EACH]


def events_of(*rows):
    t, x, y, p = zip(*rows, strict=True)
    return make_events(np.array(t), np.array(x), np.array(y), np.array(p))


def run(one, events, sensor=SENSOR, size=10**6):
    return one(EventStream(sensor, [events[i : i + size] for i in range(0, len(events), size)])).to_array()


@st.composite
def recordings(draw):
    """Busy few pixels, equal times, jitter, and restarts of the clock."""
    n = draw(st.integers(0, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    t = np.cumsum(rng.choice([0, 0, 1, 30, 400], n))
    t -= rng.integers(0, 3, n)
    if n and draw(st.booleans()):
        t[rng.integers(0, n) :] -= RESTART_US + int(rng.integers(-5, 10**6))
    wide = draw(st.sampled_from([3, 12]))
    return make_events(t, rng.integers(0, wide, n), rng.integers(0, min(wide, 9), n), rng.random(n) < 0.6)


@pytest.mark.parametrize("one", EACH, ids=names)
@given(events=recordings())
@settings(max_examples=25, deadline=None)
def test_packets_do_not_matter_and_the_input_stays(one, events):
    before = events.copy()
    events.setflags(write=False)
    whole = run(one, events)
    for size in (1, 7, 1000):
        np.testing.assert_array_equal(run(one, events, size=size), whole)
    np.testing.assert_array_equal(events, before)
    sensor = one.sensor_after(SENSOR)
    assert not len(whole) or (whole["x"].max() < sensor.width and whole["y"].max() < sensor.height)


@pytest.mark.parametrize("one", EACH, ids=names)
@given(events=recordings())
@settings(max_examples=15, deadline=None)
def test_filters_are_causal(one, events):
    """What comes later changes nothing of what was kept before."""
    half = len(events) // 2
    early = run(one, events[:half])
    np.testing.assert_array_equal(run(one, events)[: len(early)], early)


@pytest.mark.parametrize("one", EACH, ids=names)
@given(events=recordings())
@settings(max_examples=15, deadline=None)
def test_a_restarted_clock_forgets(one, events):
    if isinstance(one, TimeCrop):
        return
    again = events.copy()
    again["t"] -= np.int64(10**9)
    np.testing.assert_array_equal(
        run(one, np.concatenate([events, again])), np.concatenate([run(one, events), run(one, again)])
    )


@pytest.mark.parametrize("one", EACH, ids=names)
def test_a_filtered_stream_can_be_read_twice(one):
    events = make_events(np.arange(200) * 7, np.arange(200) % 12, np.arange(200) % 9, np.arange(200) % 2)
    stream = one(stream_of(events, SENSOR))
    assert stream.sensor == one.sensor_after(SENSOR)
    np.testing.assert_array_equal(stream.to_array(), stream.to_array())
    assert len(one(stream_of(empty_events(), SENSOR)).to_array()) == 0


@pytest.mark.parametrize("one", [each for each in EACH if not isinstance(each, Polarity | TimeCrop)], ids=str)
def test_events_outside_the_sensor_are_dropped(one):
    events = make_events([1, 2], [65535, 3], [3, 65535], [1, 1])
    assert len(run(one, events)) == 0


def reference_support(events, delay_us):
    keep = np.zeros(len(events), bool)
    x, y, t = (events[name].astype(int) for name in "xyt")
    for i in range(len(events)):
        distance = np.maximum(abs(x[:i] - x[i]), abs(y[:i] - y[i]))
        keep[i] = ((distance == 1) & (t[i] - t[:i] <= delay_us)).any()
    return events[keep]


@given(recordings())
@settings(max_examples=30, deadline=None)
def test_background_activity_by_its_definition(events):
    events["t"] = np.maximum.accumulate(events["t"])
    np.testing.assert_array_equal(run(BackgroundActivity(300), events), reference_support(events, 300))


def test_a_hot_pixel_does_not_support_itself():
    events = make_events(np.arange(50), np.full(50, 4), np.full(50, 4), np.ones(50))
    assert len(run(BackgroundActivity(1000), events)) == 0


def test_support_reaches_to_the_border_of_the_sensor():
    events = events_of((0, 0, 0, 1), (1, 1, 1, 1), (2, 11, 8, 1), (3, 10, 8, 1), (4, 0, 8, 1))
    assert run(BackgroundActivity(100), events)["t"].tolist() == [1, 3]


def test_noise_falls_and_a_moving_edge_stays():
    rng = np.random.default_rng(1)
    sensor, n = Sensor(128, 128), 20_000  # noise: 1.2 events a second and pixel
    noise = make_events(
        np.sort(rng.integers(0, 10**6, n)), rng.integers(0, 128, n), rng.integers(0, 128, n), np.ones(n)
    )
    column, row = np.divmod(np.arange(128 * 128), 128)
    edge = make_events(
        column * 1000 + rng.permuted(np.tile(np.arange(128), (128, 1)), axis=1).ravel(), column, row, column > 0
    )
    edge = edge[np.argsort(edge["t"], kind="stable")]
    one = BackgroundActivity(2000)
    assert len(run(one, noise, sensor)) < 0.04 * n
    assert len(run(one, edge, sensor)) > 0.99 * len(edge)


def test_listed_pixels_are_silent():
    events = events_of((1, 3, 4, 1), (2, 4, 3, 1), (3, 3, 4, 0))
    assert run(HotPixels(((3, 4),)), events)["t"].tolist() == [2]


def test_a_pixel_above_the_rate_is_capped_then_silent_until_it_calms_down():
    busy = make_events(np.arange(0, 3000, 100), np.full(30, 5), np.full(30, 5), np.ones(30))  # 10 kHz for 3 ms
    calm = make_events([4500, 6100], [5, 5], [5, 5], [1, 1])
    kept = run(HotPixels(rate_hz=4000, period_us=1000), np.concatenate([busy, calm]))
    assert kept["t"].tolist() == [0, 100, 200, 300, 4500, 6100]


def test_a_pixel_at_the_rate_is_not_hot():
    events = make_events(np.arange(0, 5000, 250), np.full(20, 5), np.full(20, 5), np.ones(20))
    assert len(run(HotPixels(rate_hz=4000, period_us=1000), events)) == 20


@given(recordings())
@settings(max_examples=25, deadline=None)
def test_refractory_leaves_no_two_events_of_a_pixel_too_close(events):
    events["t"] = np.maximum.accumulate(events["t"])
    kept = run(Refractory(500), events)
    for pixel in np.unique(kept["y"].astype(int) * 12 + kept["x"]):
        mine = kept["t"][kept["y"].astype(int) * 12 + kept["x"] == pixel]
        assert (np.diff(mine) >= 500).all()


def test_polarity():
    events = events_of((1, 1, 1, 1), (2, 2, 2, 0))
    assert run(Polarity("on"), events)["t"].tolist() == [1]
    assert run(Polarity("off"), events)["t"].tolist() == [2]
    assert run(Polarity("merged"), events)["p"].all()


def test_region_moves_its_corner_to_the_origin():
    events = events_of((1, 2, 3, 1), (2, 1, 3, 1), (3, 7, 7, 0), (4, 8, 7, 0), (5, 7, 8, 0))
    assert run(Region(2, 3, 6, 5), events).tolist() == [(1, 0, 0, True), (3, 5, 4, False)]


def test_spatial_decimation_pools_and_rounds_the_sensor_up():
    one = SpatialDecimation(5)
    assert one.sensor_after(SENSOR) == Sensor(3, 2)
    assert run(one, events_of((1, 11, 8, 1), (2, 4, 5, 0))).tolist() == [(1, 2, 1, True), (2, 0, 1, False)]


def test_spatial_decimation_keeps_the_rate_of_a_pixel():
    events = make_events(np.arange(900), np.arange(900) % 3, np.arange(900) // 3 % 3, np.ones(900))
    assert len(run(SpatialDecimation(3, keep_rate=True), events)) == 100


@given(recordings())
@settings(max_examples=25, deadline=None)
def test_rate_decimation_never_exceeds_the_rate(events):
    events["t"] = np.maximum.accumulate(events["t"])
    kept = run(RateDecimation(20_000, 1000), events)
    assert not len(kept) or np.unique(kept["t"] // 1000, return_counts=True)[1].max() <= 20


def test_rate_decimation_keeps_a_steady_stream_evenly_over_time():
    events = make_events(np.arange(100_000), np.zeros(100_000), np.zeros(100_000), np.ones(100_000))
    kept = run(RateDecimation(250_000, 1000), events)
    late = kept["t"][kept["t"] >= 1000]
    assert len(late) == 99_000 // 4
    assert np.diff(late).max() <= 5


def test_rate_decimation_leaves_a_slow_stream_alone():
    events = make_events(np.arange(1000) * 100, np.zeros(1000), np.zeros(1000), np.ones(1000))
    assert len(run(RateDecimation(20_000, 1000), events)) == 1000


def test_time_crop_is_half_open():
    events = make_events(np.arange(10), np.zeros(10), np.zeros(10), np.ones(10))
    assert run(TimeCrop(3, 6), events)["t"].tolist() == [3, 4, 5]


def test_filters_chain_in_order():
    chain = (Region(2, 2, 8, 6), SpatialDecimation(2), Polarity("on"))
    events = make_events(np.arange(300), np.arange(300) % 12, np.arange(300) % 9, np.arange(300) % 5 > 1)
    stream = apply_filters(stream_of(events, SENSOR), chain)
    assert stream.sensor == Sensor(4, 3)
    live = start_filters(SENSOR, chain)
    np.testing.assert_array_equal(np.concatenate([live(part) for part in np.array_split(events, 7)]), stream.to_array())


def test_filters_by_name():
    assert build_filter({"name": "refractory", "period_us": 7}) == Refractory(7)
    assert build_filter({"name": "hot_pixels", "pixels": [[1, 2]]}) == HotPixels(((1, 2),))
    assert set(FILTERS) >= {"background_activity", "hot_pixels", "refractory", "polarity", "region", "rate_decimation"}


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: build_filter({"name": "blur"}), "blur"),
        (lambda: build_filter({}), "unknown filter"),
        (lambda: build_filter({"name": "refractory", "size": 1}), "size"),
        (lambda: Refractory(0), "period_us"),
        (lambda: BackgroundActivity(-1), "delay_us"),
        (lambda: HotPixels(rate_hz=1, period_us=10), "one event"),
        (lambda: HotPixels(((12, 0),)).start(SENSOR), r"\(12, 0\)"),
        (lambda: Polarity("both"), "both"),
        (lambda: Region(0, 0, 0, 1), "width"),
        (lambda: Region(-1, 0, 1, 1), "negative"),
        (lambda: Region(10, 0, 3, 1)(EventStream(SENSOR, [])), "12x9"),
        (lambda: SpatialDecimation(0), "factor"),
        (lambda: RateDecimation(1.0, 10), "one event"),
        (lambda: TimeCrop(5, 5), "end_us"),
    ],
)
def test_wrong_options_are_refused(make, cause):
    with pytest.raises(ConfigError, match=cause):
        make()
