"""RAW and DAT files: headers, truth of the real ones, what is written is read, and files that are wrong."""

import faery
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import EventStream, Sensor, empty_events, make_events, repair, stream_of
from dvs_snn.events.prophesee import read_dat, read_raw, write_dat, write_raw

SENSOR = Sensor(640, 480)
RAW3 = b"% evt 3.0\n% geometry 320x240\n% end\n"
WORDS3 = np.array([0x8001, 0x6002, 0x0005, 0x2003], "<u2").tobytes()


def random_events(count, span_us, seed=0, start_us=0):
    rng = np.random.default_rng(seed)
    return make_events(
        start_us + np.sort(rng.integers(0, span_us, count)),
        rng.integers(0, SENSOR.width, count),
        rng.integers(0, SENSOR.height, count),
        rng.random(count) < 0.4,
    )


def file(tmp_path, data, name="x.raw"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.data
def test_pedestrians_span_45_ms(data_dir):
    stream = repair(read_raw(data_dir / "recordings/pedestrians_evt3.raw"))
    events = stream.to_array()
    assert len(events) == 5000
    assert 45_200 <= stream.tally.span_us <= 45_230
    assert stream.sensor == Sensor(1280, 720) and stream.tally.out_of_sensor == 0
    reference = np.concatenate(list(faery.events_stream_from_file(str(data_dir / "recordings/pedestrians_evt3.raw"))))
    for name in ("x", "y"):
        np.testing.assert_array_equal(events[name], reference[name])
    np.testing.assert_array_equal(events["p"], reference["on"])
    assert np.abs(events["t"] - reference["t"].astype(np.int64)).max() <= 11


@pytest.mark.data
def test_sparklers_are_as_faery_reads_them(data_dir):
    path = data_dir / "recordings/sparklers_evt2.raw"
    events = read_raw(path, SENSOR).to_array()
    reference = np.concatenate(list(faery.events_stream_from_file(str(path), dimensions_fallback=(640, 480))))
    assert len(events) == 521_252
    np.testing.assert_array_equal(events["x"], reference["x"])
    np.testing.assert_array_equal(events["y"], reference["y"])
    np.testing.assert_array_equal(events["p"], reference["on"])
    np.testing.assert_array_equal(np.maximum.accumulate(events["t"]), reference["t"].astype(np.int64))


@pytest.mark.data
def test_sparklers_sensor_is_the_callers_or_assumed_aloud(data_dir):
    path = data_dir / "recordings/sparklers_evt2.raw"
    told = read_raw(path, SENSOR)
    assert told.sensor == SENSOR and not told.sensor_assumed and not told.tally.notes
    guessed = read_raw(path)
    assert guessed.sensor == SENSOR and guessed.sensor_assumed
    assert "640x480" in guessed.tally.notes[0]


@pytest.mark.data
def test_ncars_crop_of_100_ms(data_dir):
    stream = repair(read_dat(data_dir / "recordings/ncars.dat"))
    events = stream.to_array()
    assert len(events) == 2009 and stream.format == "dat 2d"
    assert 99_000 <= stream.tally.span_us <= 100_000
    assert stream.sensor_assumed and stream.tally.backward_steps == 0
    assert events["x"].max() < 120 and events["y"].max() < 100
    assert 0.2 < events["p"].mean() < 0.8


@pytest.mark.parametrize("encoding", ["evt3", "evt2"])
@pytest.mark.parametrize("start_us", [0, 16_000_000, 40_000_000_000, -(2**34) - 5])
def test_raw_keeps_every_event_and_absolute_time(tmp_path, encoding, start_us):
    events = random_events(3000, 40_000_000, start_us=start_us)
    path = tmp_path / "x.raw"
    write_raw(path, stream_of(events, SENSOR, 700), encoding)
    stream = read_raw(path)
    assert stream.sensor == SENSOR and not stream.sensor_assumed
    assert stream.format == f"raw {encoding}"
    np.testing.assert_array_equal(stream.to_array(), events)


@given(st.integers(0, 2**40), st.lists(st.integers(0, 2_000_000_000), max_size=20))
@settings(max_examples=30, deadline=None)
def test_dat_round_trip_over_its_wrap(tmp_path_factory, start_us, steps):
    events = random_events(len(steps), 1)
    events["t"] = start_us + np.cumsum(np.array(steps, np.int64))
    path = tmp_path_factory.mktemp("dat") / "x.dat"
    write_dat(path, stream_of(events, SENSOR, 7))
    stream = read_dat(path)
    assert stream.sensor == SENSOR and not stream.sensor_assumed
    np.testing.assert_array_equal(stream.to_array(), events)


@pytest.mark.parametrize("name", ["x.raw", "x.dat"])
@pytest.mark.parametrize("start_us", [1000, 30_000_000])
def test_faery_reads_what_we_write(tmp_path, name, start_us):
    events = random_events(5000, 3_000_000, start_us=start_us)
    path = tmp_path / name
    (write_raw if name == "x.raw" else write_dat)(path, stream_of(events, SENSOR))
    other = faery.events_stream_from_file(str(path))
    assert other.dimensions() == (640, 480)
    got = np.concatenate(list(other))
    np.testing.assert_array_equal(got["t"].astype(np.int64), events["t"])
    np.testing.assert_array_equal(got["x"], events["x"])


@pytest.mark.parametrize("version", ["evt3", "evt2", "dat2"])
@pytest.mark.parametrize("start_us", [0, 5, 30_000_000])
def test_we_read_what_faery_writes(tmp_path, version, start_us):
    """Its files state the first time in `% t0`, and begin with no TIME_LOW."""
    events = random_events(5000, 40_000_000, start_us=start_us)
    theirs = np.zeros(len(events), faery.EVENTS_DTYPE)
    for ours, name in (("t", "t"), ("x", "x"), ("y", "y"), ("p", "on")):
        theirs[name] = events[ours]
    path = tmp_path / ("x.dat" if version == "dat2" else "x.raw")
    faery.events_stream_from_array(theirs, dimensions=(640, 480)).to_file(str(path), version=version)
    stream = (read_dat if version == "dat2" else read_raw)(path)
    assert stream.sensor == SENSOR
    np.testing.assert_array_equal(stream.to_array(), events)


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("order", ["legacy", "little"])
def test_evt21_in_both_orders(tmp_path, order, stated):
    heads = [1 << 28 | 7, 8 << 28 | 2, 1 << 28 | 3 << 22 | 64 << 11 | 7, 5 << 22 | 9, 10 << 28 | 1, 8 << 28 | 3, 0]
    columns = [0x7000_0001, 0x7000_0000, 0x8000_0001, 0x6000_0000, 0x7000_0000, 0x7000_0000, 0x0000_0002]
    words = np.array([heads, columns] if order == "legacy" else [columns, heads], "<u4").T.tobytes()
    form = f"EVT21;endianness={order}" if stated else "EVT21"
    stream = repair(read_raw(file(tmp_path, f"% format {form}\n% geometry 320x320\n% end\n".encode() + words)))
    expected = [(131, 64, 7, True), (131, 95, 7, True), (133, 29, 9, False), (133, 30, 9, False), (192, 1, 0, False)]
    assert stream.to_array().tolist() == expected
    assert stream.tally.triggers == 1 and stream.tally.unknown_words == 0
    assert any("4 events before" in note for note in stream.tally.notes)


def test_a_stream_can_be_read_twice(tmp_path):
    path = file(tmp_path, RAW3 + WORDS3 + np.array([0xA001, 0xB000], "<u2").tobytes())
    stream = repair(read_raw(path))
    for _ in range(2):
        assert len(stream.to_array()) == 1
        assert (stream.tally.events, stream.tally.triggers, stream.tally.unknown_words) == (1, 1, 1)
    assert stream.tally.notes == ["1 words of unknown type were skipped"]


def test_words_may_straddle_chunks(tmp_path, monkeypatch):
    events = random_events(1000, 100_000)
    path = tmp_path / "x.raw"
    write_raw(path, stream_of(events, SENSOR))
    monkeypatch.setattr("dvs_snn.events.prophesee._CHUNK_BYTES", 37)
    np.testing.assert_array_equal(read_raw(path).to_array(), events)
    write_dat(path, stream_of(events, SENSOR))
    np.testing.assert_array_equal(read_dat(path).to_array(), events)


@pytest.mark.parametrize(
    ("lines", "sensor"),
    [
        ("evt 3.0\n% geometry 320x240", Sensor(320, 240)),
        ("format EVT3;height=720;width=1280", Sensor(1280, 720)),
        ("evt 2.0\n% Width 304\n% Height 240", Sensor(304, 240)),
    ],
)
def test_header_states_the_sensor(tmp_path, lines, sensor):
    stream = read_raw(file(tmp_path, f"% {lines}\n% end\n".encode()))
    assert stream.sensor == sensor and not stream.sensor_assumed


@pytest.mark.parametrize(
    ("lines", "sensor"),
    [
        ("evt 2.0\n% plugin_name hal_plugin_gen31_fx3", Sensor(640, 480)),
        ("evt 3.0\n% plugin_name hal_plugin_imx636_evk4", Sensor(1280, 720)),
        ("evt 3.0\n% sensor_generation 3.1", Sensor(640, 480)),
        ("evt 3.0\n% sensor_generation 4.2", Sensor(1280, 720)),
        ("evt 3.0", Sensor(1280, 720)),
        ("evt 2.0\n% geometry 0x0", Sensor(640, 480)),
    ],
)
def test_unstated_sensor_is_assumed_from_the_camera(tmp_path, lines, sensor):
    stream = read_raw(file(tmp_path, f"% {lines}\n".encode() + b"\x01\x80\x02\x60"))
    assert stream.sensor == sensor and stream.sensor_assumed and stream.tally.notes


def test_callers_sensor_comes_before_the_headers_and_is_noted(tmp_path):
    stream = read_raw(file(tmp_path, RAW3 + WORDS3), SENSOR)
    assert stream.sensor == SENSOR and not stream.sensor_assumed
    assert "320x240" in stream.tally.notes[0]


def test_header_without_events_is_legal(tmp_path):
    assert len(read_raw(file(tmp_path, RAW3)).to_array()) == 0
    assert len(read_dat(file(tmp_path, b"% Version 2\n\x0c\x08")).to_array()) == 0


@pytest.mark.parametrize("write", [write_raw, write_dat])
def test_a_stream_without_events_keeps_its_sensor(tmp_path, write):
    path = tmp_path / "x"
    write(path, stream_of(empty_events(), SENSOR))
    stream = (read_raw if write is write_raw else read_dat)(path)
    assert stream.sensor == SENSOR and len(stream.to_array()) == 0


def test_data_that_begins_like_a_comment_is_not_header(tmp_path):
    words = np.array([0x8001, 0x6002, 0x0005], "<u2").tobytes()
    for first in (b"%\x80", b"% \xff\x80"):  # a byte of '%' in the first word
        data = b"% evt 3.0\n" + first + words
        if len(data) % 2:
            data += b"\0"
        read_raw(file(tmp_path, data))


@pytest.mark.parametrize(
    ("read", "data", "cause"),
    [
        (read_raw, b"", "empty file"),
        (read_raw, b"\x01\x80\x02\x60", "no '% ' header"),
        (read_raw, b"% evt 3.0\n% geom", "within its header"),
        (read_raw, RAW3 + WORDS3[:-1], "truncated: 1 bytes"),
        (read_raw, b"% evt 2.0\n% end\n" + b"\0" * 7, "truncated: 3 bytes"),
        (read_raw, b"% evt 2.1\n% end\n" + b"\0" * 9, "truncated: 1 bytes"),
        (read_raw, b"% evt 2.1\n% end\n" + b"\0" * 16, "EVT2.1 in an order"),
        (read_raw, b"% format EVT4;height=1;width=1\n", "unknown encoding 'evt4'"),
        (read_raw, b"% evt 9.0\n% end\n", "unknown encoding 'evt9'"),
        (read_raw, b"% serial_number 7\n% end\n", "unknown encoding ''"),
        (read_dat, b"", "empty file"),
        (read_dat, b"#!AER-DAT2.0\r\n", "no '% ' header"),
        (read_dat, b"% Version 2\n", "not followed by type"),
        (read_dat, b"% Version 1\n\x0c\x08", "version 1 is not supported"),
        (read_dat, b"% Version 2\n\x0e\x08", "type 0x0e"),
        (read_dat, b"% Version 2\n\x0c\x10", "16 bytes"),
        (read_dat, b"% Version 2\n\x0c\x08" + b"\0" * 12, "truncated: 4 bytes"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, read, data, cause):
    path = file(tmp_path, data)
    with pytest.raises(RecordingError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message and cause in message and "\n" not in message


def test_raw_refuses_what_its_words_cannot_hold(tmp_path):
    with pytest.raises(ConfigError, match="2048"):
        write_raw(tmp_path / "x.raw", EventStream(Sensor(4000, 10), []))
    with pytest.raises(ConfigError, match="evt4"):
        write_raw(tmp_path / "x.raw", EventStream(SENSOR, []), "evt4")
