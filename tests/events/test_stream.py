"""Repair: what is counted, what is mended, and that packet borders mean nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import EVENT_DTYPE, EventStream, Sensor, empty_events, make_events, repair, stream_of
from dvs_snn.events.stream import RESTART_US, hold_times

SENSOR = Sensor(8, 6)


def disordered_times(min_size=0):
    """Times with ordinary steps, jitter, restarts and long gaps."""
    step = st.one_of(
        st.integers(0, 50),
        st.integers(-40, -1),
        st.integers(-RESTART_US - 2, -RESTART_US + 2),
        st.just(-1_000_000),
        st.integers(1, 3).map(lambda seconds: seconds * 12_000_000),
    )
    return st.lists(step, min_size=min_size, max_size=60).map(lambda steps: np.cumsum([0, *steps]) if steps else [])


@st.composite
def disordered_events(draw, min_size=0):
    t = np.asarray(draw(disordered_times(min_size)), np.int64)
    seed = np.random.default_rng(draw(st.integers(0, 1000)))
    return make_events(t, seed.integers(0, 10, len(t)), seed.integers(0, 7, len(t)), seed.integers(0, 2, len(t)))


def cut(events, borders):
    edges = [0, *sorted(min(b, len(events)) for b in borders), len(events)]
    return [events[a:b] for a, b in itertools.pairwise(edges)]


def plain_repair(events):
    """The law, one event at a time."""
    out, held, previous, steps, restarts = [], None, None, 0, 0
    for event in events:
        t = int(event["t"])
        steps += previous is not None and t < previous
        previous = t
        if event["x"] < SENSOR.width and event["y"] < SENSOR.height:
            if held is not None and t < held - RESTART_US:
                restarts += 1
                held = t
            held = t if held is None else max(held, t)
            out.append((held, event["x"], event["y"], event["p"]))
    return np.array(out, EVENT_DTYPE), steps, restarts


@given(disordered_events(), st.lists(st.integers(0, 60), max_size=6))
def test_repair_is_its_law_for_any_packets(events, borders):
    stream = repair(EventStream(SENSOR, cut(events, borders)))
    mended = stream.to_array()
    expected, steps, restarts = plain_repair(events)
    np.testing.assert_array_equal(mended, expected)
    tally = stream.tally
    assert (tally.events, tally.backward_steps, tally.restarts) == (len(events), steps, restarts)
    assert tally.on == int(events["p"].sum())
    assert tally.on + tally.off == tally.events
    assert tally.out_of_sensor == len(events) - len(expected)
    if len(events):
        assert (tally.first_us, tally.last_us) == (events["t"].min(), events["t"].max())


@given(disordered_events())
def test_repair_of_the_repaired_changes_nothing(events):
    once = repair(EventStream(SENSOR, [events])).to_array()
    again = repair(EventStream(SENSOR, [once]))
    np.testing.assert_array_equal(again.to_array(), once)
    assert again.tally.out_of_sensor == 0
    assert again.tally.backward_steps == again.tally.restarts


@given(disordered_events())
def test_repair_leaves_the_events_it_was_given(events):
    before = events.copy()
    repair(EventStream(SENSOR, [events])).to_array()
    np.testing.assert_array_equal(events, before)


def test_tally_starts_anew_at_each_reading():
    stream = stream_of(make_events([5, 3, 9], [0, 0, 99], [0, 0, 0], [1, 0, 1]), SENSOR, packet_events=1)
    first = stream.to_array()
    counts = (stream.tally.events, stream.tally.backward_steps, stream.tally.out_of_sensor)
    np.testing.assert_array_equal(stream.to_array(), first)
    assert (stream.tally.events, stream.tally.backward_steps, stream.tally.out_of_sensor) == counts == (3, 1, 1)


def test_many_restarts_cost_no_more_than_their_events():
    t = np.random.default_rng(0).integers(0, 1 << 40, 1 << 17)
    raised, restarts = hold_times(t, None)
    assert len(restarts) > 10_000
    assert (np.diff(raised)[np.setdiff1d(np.arange(len(t) - 1), restarts - 1)] >= 0).all()


def test_times_at_the_ends_of_64_bits_do_not_wrap():
    ends = np.iinfo(np.int64)
    stream = stream_of(make_events([ends.min, ends.max, ends.min, 0], [0] * 4, [0] * 4, [1] * 4), SENSOR)
    assert stream.to_array()["t"].tolist() == [ends.min, ends.max, ends.min, 0]
    assert (stream.tally.backward_steps, stream.tally.restarts) == (1, 1)


def test_a_stream_of_nothing_has_no_times():
    stream = stream_of(empty_events(), SENSOR)
    assert len(stream.to_array()) == 0
    assert (stream.tally.first_us, stream.tally.span_us, stream.tally.events) == (None, 0, 0)


@pytest.mark.parametrize("text", ["640", "640x", "x480", "-1x5", "0x5", "640x480x3", "70000x3", "axb"])
def test_a_sensor_that_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="sensor"):
        Sensor.parse(text)


def test_wrong_dtype_is_refused():
    with pytest.raises(ConfigError, match="dtype"):
        stream_of(np.zeros(3, [("x", "u2")]), SENSOR)
