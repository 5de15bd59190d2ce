"""Encodings: layouts by hand-written words, and laws that hold for every decoder and encoder."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Sensor, empty_events, make_events
from dvs_snn.events.codecs import (
    DECODERS,
    Evt2Decoder,
    Evt2Encoder,
    Evt3Decoder,
    Evt3Encoder,
    LibcaerCmpDecoder,
    LibcaerDecoder,
    LibcaerEncoder,
    MonoDecoder,
    MonoEncoder,
    decoder,
)

SENSOR = Sensor(640, 480)
WRAP_US = 1 << 24


def payload(words, kind="<u2"):
    return np.array(words, kind).view(np.uint8)


def rows(events):
    return [tuple(int(value) for value in event) for event in events]


def evt3(*words, **options):
    return rows(Evt3Decoder(**options).decode(payload(words)))


def test_evt3_single_events_take_time_row_and_polarity():
    words = [0x8001, 0x6002, 0x0005, 0x2003, 0x2804, 0x6003, 0x2005]
    assert evt3(*words) == [(4098, 3, 5, 0), (4098, 4, 5, 1), (4099, 5, 5, 0)]


def test_evt3_vectors_move_their_base():
    words = [0x8000, 0x6001, 0x0007, 0x3800 | 100, 0x4801, 0x5081, 0x4002]
    assert evt3(*words) == [
        (1, 100, 7, 1),
        (1, 111, 7, 1),
        (1, 112, 7, 1),
        (1, 119, 7, 1),
        (1, 121, 7, 1),
    ]


def test_evt3_vector_8_ignores_its_unused_bits():
    assert evt3(0x8000, 0x6001, 0x0007, 0x3000, 0x5F01) == [(1, 0, 7, 0)]


def test_evt3_row_ignores_the_bit_of_the_camera_system():
    assert evt3(0x8000, 0x6001, 0x0805, 0x2003) == [(1, 3, 5, 0)]


def test_evt3_gives_nothing_before_the_first_complete_time():
    """TIME_LOW alone is not a time, and neither is TIME_HIGH alone."""
    dec = Evt3Decoder()
    words = [0x0005, 0x2001, 0x6001, 0x2002, 0xA001, 0x8001, 0x2003, 0x3000, 0x4003, 0x6002, 0x2004]
    assert rows(dec.decode(payload(words))) == [(4098, 4, 5, 0)]
    assert dec.early_events == 5 and dec.triggers == 0


def test_evt3_gives_no_event_before_its_row_is_known():
    assert evt3(0x8001, 0x6002, 0x2003, 0x0009, 0x2003) == [(4098, 3, 9, 0)]


def test_evt3_triggers_are_counted_and_given_out():
    dec = Evt3Decoder()
    assert len(dec.decode(payload([0x8000, 0x6005, 0xA301, 0xA100]))) == 0
    assert dec.triggers == 2
    assert rows(dec.trigger_events) == [(5, 3, 1), (5, 1, 0)]
    dec.decode(payload([0x6006, 0xA000]))
    assert dec.triggers == 3 and rows(dec.trigger_events) == [(6, 0, 0)]


@pytest.mark.parametrize("code", [7, 9, 14, 15])
def test_evt3_skips_words_of_the_maker_and_padding(code):
    dec = Evt3Decoder()
    assert len(dec.decode(payload([0x8000, 0x6000, 0x0000, code << 12 | 0x123, 0x2000]))) == 1
    assert dec.unknown_words == 0


@pytest.mark.parametrize("code", [1, 11, 12, 13])
def test_evt3_counts_unknown_words(code):
    dec = Evt3Decoder()
    assert len(dec.decode(payload([0x8000, 0x6000, 0x0000, code << 12 | 0x123, 0x2000]))) == 1
    assert dec.unknown_words == 1


def test_evt3_time_low_that_steps_back_is_jitter():
    times = [t for t, *_ in evt3(0x8001, 0x6010, 0x0000, 0x2000, 0x600C, 0x2000, 0x6011, 0x2000)]
    assert times == [4096 + 16, 4096 + 12, 4096 + 17]


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        (0xFFF, 0x000, 1),  # wrapped
        (0x801, 0x000, 0x7FF),  # down by more than half: wrapped, with a gap
        (0x800, 0x000, -0x800),  # down by half: a step back
        (0x010, 0x00E, -2),
        (0x000, 0xFFF, -1),  # a step back over the wrap
        (0x000, 0xF00, 0xF00),  # up by much: a gap
    ],
)
def test_evt3_time_high_rule(first, second, difference):
    a, b = (t for t, *_ in evt3(0x8000 | first, 0x6000, 0x0000, 0x2000, 0x8000 | second, 0x2000))
    assert b - a == difference << 12


def test_evt3_big_endian_payload():
    assert evt3(0x8001, 0x6002, 0x0005, 0x2003) == rows(
        Evt3Decoder(is_bigendian=True).decode(payload([0x8001, 0x6002, 0x0005, 0x2003], ">u2"))
    )


def evt2(*words):
    return rows(Evt2Decoder().decode(payload(words, "<u4")))


def test_evt2_words():
    on, off = 1 << 28 | 63 << 22 | 639 << 11 | 479, 0 << 28 | 1 << 22 | 5 << 11 | 6
    assert evt2(on, 8 << 28 | 2, on, off) == [(191, 639, 479, 1), (129, 5, 6, 0)]


def test_evt2_trigger_and_unknown_words():
    dec = Evt2Decoder()
    dec.decode(payload([8 << 28 | 1, 10 << 28 | 3 << 22 | 2 << 8 | 1, 14 << 28, 15 << 28, 5 << 28, 11 << 28], "<u4"))
    assert rows(dec.trigger_events) == [(67, 2, 1)]
    assert dec.triggers == 1 and dec.unknown_words == 2


def test_evt2_wraps_after_28_bits():
    (a, *_), (b, *_) = evt2(8 << 28 | 0xFFF_FFFF, 63 << 22, 8 << 28, 0)
    assert b - a == 1


def test_mono_words():
    word = 1 << 63 | 479 << 48 | 639 << 32 | 4_000_000_999
    events = MonoDecoder().decode(payload([word, 7 << 32 | 999], "<u8"), time_base_ns=1_000_000_000_000_001_001)
    assert rows(events) == [(1_000_000_000_000_001 + 4_000_001, 639, 479, 1), (1_000_000_000_000_002, 7, 0, 0)]


def test_libcaer_words():
    words = [639 << 17 | 479 << 2 | 1 << 1 | 1, 100, 5 << 17 | 6 << 2 | 1, 200]
    assert rows(LibcaerDecoder().decode(payload(words, "<u4"), time_base_ns=5_000)) == [
        (105, 639, 479, 1),
        (205, 5, 6, 0),
    ]


def test_libcaer_time_overflows_within_a_packet_and_jitter_does_not():
    low = [2**31 - 1, 5, 3, 4]
    words = np.array([[1, t] for t in low], "<u4").ravel()
    assert LibcaerDecoder().decode(payload(words, "<u4"))["t"].tolist() == [2**31 - 1, 2**31 + 5, 2**31 + 3, 2**31 + 4]


def test_libcaer_cmp_has_rows_where_evt3_has_columns():
    words = [0x0001, 0x1002, 0x2000 | 300, 0x3800 | 200, 0x3000 | 201, 0x4800 | 10, 0x5081, 0x5001]
    assert rows(LibcaerCmpDecoder().decode(payload(words), time_base_ns=7_000)) == [
        (7 + 4098, 300, 200, 1),
        (7 + 4098, 300, 201, 0),
        (7 + 4098, 300, 10, 1),
        (7 + 4098, 300, 17, 1),
        (7 + 4098, 300, 18, 1),
    ]


def test_libcaer_cmp_time_starts_anew_in_every_packet_and_the_column_stays():
    dec = LibcaerCmpDecoder()
    dec.decode(payload([0x0001, 0x1002, 0x2000 | 300, 0x3001]))
    assert rows(dec.decode(payload([0x3002, 0x9000]), time_base_ns=9_000)) == [(9, 300, 2, 0)]
    assert dec.unknown_words == 1


@pytest.mark.parametrize("encoding", sorted(DECODERS))
def test_unfinished_word_is_an_error(encoding):
    with pytest.raises(RecordingError, match="truncated"):
        decoder(encoding).decode(np.zeros(13, np.uint8))


@pytest.mark.parametrize("encoding", sorted(DECODERS))
def test_empty_payload_gives_no_events(encoding):
    assert len(decoder(encoding).decode(np.zeros(0, np.uint8))) == 0


def test_unknown_encoding_is_named():
    with pytest.raises(RecordingError, match=r"'evt9'.*evt3"):
        decoder("evt9")


@pytest.mark.parametrize("encoder", [Evt3Encoder, Evt2Encoder, MonoEncoder, LibcaerEncoder])
def test_encoders_refuse_a_sensor_beyond_their_bits(encoder: Callable):
    with pytest.raises(ConfigError, match="40000x1"):
        encoder(Sensor(40000, 1))


def test_mono_and_libcaer_refuse_events_before_their_time_base():
    events = make_events([1], [1], [1], [1])
    for encoder in (MonoEncoder, LibcaerEncoder):
        with pytest.raises(ConfigError, match="base"):
            encoder(SENSOR).encode(events, 2_000)


def turn_of(events):
    """The part of the first event's time that evt3 does not hold."""
    return int(events["t"][0]) // WRAP_US * WRAP_US if len(events) else 0


@st.composite
def event_arrays(draw, longest_step_us=4_000_000, size=60):
    n = draw(st.integers(0, size))
    steps = draw(
        st.lists(st.one_of(st.just(0), st.integers(0, 99), st.integers(0, longest_step_us)), min_size=n, max_size=n)
    )
    x = draw(st.lists(st.integers(0, 639), min_size=n, max_size=n))
    if draw(st.booleans()):
        x = [(i * 3) % 640 for i in range(n)]  # neighbours that become vectors
    y = draw(st.lists(st.sampled_from([0, 1, 479]), min_size=n, max_size=n))
    p = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    start = draw(st.integers(0, 2**24 - 1))
    return make_events(
        start + np.cumsum(np.array(steps, np.int64)), np.array(x, int), np.array(y, int), np.array(p, bool)
    )


@given(event_arrays(), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_evt3_round_trip_over_many_wraps_and_in_any_packets(events, parts):
    enc = Evt3Encoder(SENSOR)
    cuts = np.linspace(0, len(events), parts + 1).astype(int)
    words = np.concatenate([enc.encode(events[a:b]) for a, b in itertools.pairwise(cuts)])
    np.testing.assert_array_equal(Evt3Decoder(start_us=turn_of(events)).decode(words), events)


@given(event_arrays(), st.lists(st.integers(-(10**8), 10**8), min_size=60, max_size=60))
@settings(max_examples=50, deadline=None)
def test_evt3_keeps_steps_back_of_any_length(events, jumps):
    events["t"] += np.cumsum(jumps)[: len(events)]
    np.testing.assert_array_equal(
        Evt3Decoder(start_us=turn_of(events)).decode(Evt3Encoder(SENSOR).encode(events)), events
    )


def test_evt3_refuses_to_bridge_years():
    with pytest.raises(ConfigError, match="jump"):
        Evt3Encoder(SENSOR).encode(make_events([0, 10**16], [1, 1], [1, 1], [1, 1]))


def test_evt3_fresh_packets_can_be_joined_anywhere():
    enc = Evt3Encoder(SENSOR)
    events = make_events([100, 200], [1, 2], [3, 3], [1, 0])
    enc.encode(events[:1], fresh=True)
    np.testing.assert_array_equal(Evt3Decoder().decode(enc.encode(events[1:], fresh=True)), events[1:])


def test_evt3_neighbours_of_one_row_become_a_vector():
    events = make_events(np.full(12, 9), np.arange(12), np.full(12, 5), np.ones(12))
    assert len(Evt3Encoder(SENSOR).encode(events)) == 2 * 5  # high, low, row, base, one mask


@given(event_arrays(longest_step_us=3_000_000_000))
@settings(max_examples=50, deadline=None)
def test_evt2_round_trip(events):
    np.testing.assert_array_equal(Evt2Decoder().decode(Evt2Encoder(SENSOR).encode(events)), events)


@given(event_arrays(longest_step_us=50_000))
@settings(max_examples=50, deadline=None)
def test_mono_and_libcaer_round_trip(events):
    base_ns = int(events["t"][0]) * 1000 if len(events) else 0
    for enc, dec in ((MonoEncoder, MonoDecoder), (LibcaerEncoder, LibcaerDecoder)):
        np.testing.assert_array_equal(dec().decode(enc(SENSOR).encode(events, base_ns), base_ns), events)


@given(st.sampled_from(["evt2", "evt3"]), st.binary(max_size=400), st.lists(st.integers(0, 100), max_size=6))
@settings(max_examples=150, deadline=None)
def test_decoders_do_not_depend_on_where_payloads_are_cut(encoding, data, cuts):
    """Whatever the words are: random bytes hold every code."""
    size = DECODERS[encoding].record_bytes
    raw = np.frombuffer(data[: len(data) // size * size], np.uint8)
    whole, pieces = decoder(encoding), decoder(encoding)
    expected = whole.decode(raw)
    got = [pieces.decode(part) for part in np.split(raw, sorted(cut * size for cut in cuts if cut * size <= len(raw)))]
    np.testing.assert_array_equal(np.concatenate([empty_events(), *got]), expected)
    assert (whole.triggers, whole.unknown_words, whole.early_events) == (
        pieces.triggers,
        pieces.unknown_words,
        pieces.early_events,
    )


@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_a_reset_decoder_is_a_new_one(encoding, data):
    size = DECODERS[encoding].record_bytes
    raw = np.frombuffer(data[: len(data) // size * size], np.uint8)
    used = decoder(encoding)
    used.decode(raw)
    used.reset()
    np.testing.assert_array_equal(used.decode(raw), decoder(encoding).decode(raw))
