"""Windows: every event in exactly one, on an absolute grid, whatever the packets."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, WindowBuffer, empty_events, make_events, repair, stream_of, windows
from dvs_snn.events.stream import EventStream
from tests.events.test_stream import cut, disordered_events

SENSOR = Sensor(8, 6)


def at(*times):
    return make_events(np.array(times, np.int64), np.arange(len(times)) % 8, np.zeros(len(times)), np.ones(len(times)))


def pushed(packets, size_us=100, **options):
    buffer = WindowBuffer(size_us, **options)
    done = [window for packet in packets for window in buffer.push(packet)]
    return [*done, *buffer.flush()], buffer.late_events


def as_rows(done):
    return [(w.start_us, w.end_us, w.first, w.events.tolist()) for w in done]


@given(disordered_events(), st.lists(st.integers(0, 60), max_size=6), st.integers(1, 100_000))
def test_packets_do_not_change_windows_even_of_disordered_events(events, borders, size_us):
    whole, late = pushed([events], size_us + 1000)
    parts, late_of_parts = pushed(cut(events, borders), size_us + 1000)
    single, late_of_single = pushed([events[i : i + 1] for i in range(len(events))], size_us + 1000)
    assert as_rows(whole) == as_rows(parts) == as_rows(single)
    assert late == late_of_parts == late_of_single


@given(disordered_events(), st.integers(1000, 100_000))
def test_every_event_is_in_exactly_one_window_in_order(events, size_us):
    done, _ = pushed([events], size_us)
    parts = [w.events for w in done]
    np.testing.assert_array_equal(np.concatenate(parts) if parts else empty_events(), events)


@given(disordered_events(), st.integers(1000, 100_000))
def test_windows_of_a_repaired_stream_hold_only_their_own_times(events, size_us):
    for window in windows(repair(EventStream(Sensor(16, 16), [events])), size_us):
        assert window.start_us % size_us == 0 and window.end_us == window.start_us + size_us
        assert ((window.events["t"] >= window.start_us) & (window.events["t"] < window.end_us)).all()


@given(disordered_events(min_size=1), st.integers(1000, 100_000))
def test_windows_of_a_sequence_follow_each_other(events, size_us):
    done, _ = pushed([events], size_us)
    assert done[0].first
    for before, after in itertools.pairwise(done):
        assert after.first or after.start_us == before.end_us


def test_a_quiet_stretch_gives_empty_windows_and_a_long_one_a_new_sequence():
    done, _ = pushed([at(0, 350)])
    assert [(w.start_us, len(w.events), w.first) for w in done] == [
        (0, 1, True), (100, 0, False), (200, 0, False), (300, 1, False)
    ]  # fmt: skip
    done, _ = pushed([at(0, 11_000_000)])
    assert [(w.start_us, w.first) for w in done] == [(0, True), (11_000_000, True)]


def test_a_packet_of_nothing_but_gaps_is_no_trouble():
    done, _ = pushed([at(*range(0, 5000 * 20_000_000, 20_000_000))])
    assert len(done) == 5000 and all(w.first for w in done)


def test_a_restart_closes_the_open_window_and_begins_anew():
    done, late = pushed([at(500_000, 500_010, 20, 130)])
    assert [(w.start_us, len(w.events), w.first) for w in done] == [(500_000, 2, True), (0, 1, True), (100, 1, False)]
    assert late == 0


def test_a_late_event_goes_into_the_open_window_and_is_counted():
    done, late = pushed([at(50, 150, 90, 160)])
    assert [len(w.events) for w in done] == [1, 3]
    assert late == 1
    assert pushed([at(50, 60, 55)])[1] == 0  # disorder inside its own window is not late


def test_a_tick_closes_windows_of_a_still_scene():
    buffer = WindowBuffer(100)
    assert buffer.tick(1_000) == []  # nothing has begun
    assert buffer.push(at(120)) == []
    assert buffer.tick(199) == []
    assert [(w.start_us, len(w.events)) for w in buffer.tick(400)] == [(100, 1), (200, 0), (300, 0)]
    assert [w.start_us for w in buffer.push(at(501))] == [400]
    assert buffer.late_events == 0


def test_an_event_after_the_tick_that_closed_its_window_is_late():
    buffer = WindowBuffer(100)
    buffer.push(at(120))
    buffer.tick(300)
    assert buffer.push(at(250)) == []
    assert buffer.late_events == 1
    assert [(w.start_us, len(w.events)) for w in buffer.flush()] == [(300, 1)]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=40), st.lists(st.integers(0, 3000), max_size=10))
def test_ticks_in_time_change_no_window(times, ticks):
    """A tick that comes before every later event closes what the next event would have closed."""
    times.sort()
    done, buffer = [], WindowBuffer(100)
    for time in times:
        for tick in sorted(ticks):
            if tick <= time:
                done += buffer.tick(tick)
        done += buffer.push(at(time))
    done += buffer.flush()
    expected, _ = pushed([at(*times)])
    assert [(w.start_us, w.events["t"].tolist(), w.first) for w in done] == [
        (w.start_us, w.events["t"].tolist(), w.first) for w in expected
    ]
    assert buffer.late_events == 0


def test_a_jump_of_the_clock_that_ticks_does_not_hold_windows_up():
    buffer = WindowBuffer(100)
    buffer.push(at(120))
    assert len(buffer.tick(3_600_000_000)) == 1
    assert buffer.push(at(150)) == []
    assert [(w.start_us, w.first) for w in buffer.push(at(260))] == [(100, True)]


def test_negative_times_keep_the_grid():
    done, _ = pushed([at(-150, -50, 50)])
    assert [w.start_us for w in done] == [-200, -100, 0]


def test_events_are_not_copied_while_a_window_is_one_packet():
    events = at(1, 2, 103)
    done = list(windows(stream_of(events, SENSOR), 100))
    assert np.shares_memory(done[0].events, events)


def test_a_window_of_no_length_is_refused():
    with pytest.raises(ConfigError, match="window of 0 us"):
        WindowBuffer(0)
