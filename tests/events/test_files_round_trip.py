"""What is written is read back, in every format that can be written, for every field and any packets."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dvs_snn.errors import RecordingError
from dvs_snn.events import EVENT_DTYPE, EventStream, Sensor, make_events, stream_of
from dvs_snn.events.files import open_recording, write_recording
from tests.events.test_stream import cut

ONE_DIRECTORY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
LIMITS = {  # extension: latest time, sensors
    "npz": (1 << 60, (Sensor(128, 128), Sensor(65536, 65536))),
    "csv": (1 << 58, (Sensor(128, 128), Sensor(1280, 720))),
    "aedat": (1 << 40, (Sensor(128, 128), Sensor(346, 260), Sensor(517, 33))),
    "aedat2": ((1 << 31) - 1, (Sensor(128, 128),)),
    "aedat4": (1 << 60, (Sensor(128, 128), Sensor(1280, 720))),
    "es": (600_000_000, (Sensor(128, 128), Sensor(1280, 720))),
    "h5": (1 << 60, (Sensor(128, 128), Sensor(640, 480))),
    "bin": ((1 << 23) - 1, (Sensor(34, 34),)),
    "raw": (1 << 40, (Sensor(640, 480), Sensor(1280, 720))),
    "dat": (1 << 40, (Sensor(304, 240), Sensor(1280, 720))),
}


@st.composite
def recordings(draw, latest, sensors):
    sensor = draw(st.sampled_from(sensors))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    count = draw(st.integers(1, 50))
    start = draw(st.integers(0, latest - count * 2000))
    t = start + np.cumsum(rng.choice([0, 0, 1, 126, 127, 128, 2000], count))
    rows = rng.integers(0, sensor.height, count) if draw(st.booleans()) else np.full(count, sensor.height - 1)
    return make_events(t, rng.integers(0, sensor.width, count), rows, rng.integers(0, 2, count)), sensor


@pytest.mark.parametrize("extension", LIMITS)
def test_what_is_written_is_read_back(extension, tmp_path):
    latest, sensors = LIMITS[extension]
    path = tmp_path / f"a.{extension}"

    @ONE_DIRECTORY
    @given(recordings(latest, sensors), st.lists(st.integers(0, 50), max_size=4))
    def round_trip(recording, borders):
        events, sensor = recording
        write_recording(path, EventStream(sensor, cut(events, borders)))
        stream = open_recording(path)
        np.testing.assert_array_equal(stream.to_array(), events)
        assert stream.sensor == sensor and not stream.sensor_assumed
        assert stream.tally.notes == []
        np.testing.assert_array_equal(stream.to_array(), events)  # it can be read again

    round_trip()


@pytest.mark.parametrize("extension", sorted(set(LIMITS) - {"bin"}))
def test_a_recording_of_no_events_is_legal(extension, tmp_path):
    path = tmp_path / f"a.{extension}"
    sensor = LIMITS[extension][1][0]
    write_recording(path, EventStream(sensor, []))
    stream = open_recording(path)
    assert len(stream.to_array()) == 0
    assert stream.tally.events == 0 and stream.tally.first_us is None
    assert stream.sensor == sensor


@pytest.mark.parametrize("extension", sorted(LIMITS))
def test_more_events_than_one_packet_holds(extension, tmp_path):
    count = 150_001
    sensor = LIMITS[extension][1][0]
    rng = np.random.default_rng(1)
    events = make_events(
        np.sort(rng.integers(0, 8_000_000, count)),
        rng.integers(0, sensor.width, count),
        rng.integers(0, sensor.height, count),
        rng.integers(0, 2, count),
    )
    path = tmp_path / f"a.{extension}"
    write_recording(path, stream_of(events, sensor))
    stream = open_recording(path)
    packets = list(stream)
    assert max(len(packet) for packet in packets) <= 1 << 20
    np.testing.assert_array_equal(np.concatenate(packets), events)
    assert stream.tally.on == int(events["p"].sum())


@pytest.mark.parametrize("extension", ["npz", "csv", "aedat"])
def test_a_restart_of_the_clock_survives_where_the_format_can_hold_it(extension, tmp_path):
    events = make_events([900_000, 900_001, 5, 6], [1, 2, 3, 4], [4, 3, 2, 1], [1, 0, 1, 0])
    path = tmp_path / f"a.{extension}"
    write_recording(path, stream_of(events, Sensor(128, 128)))
    stream = open_recording(path)
    np.testing.assert_array_equal(stream.to_array(), events)
    assert (stream.tally.backward_steps, stream.tally.restarts) == (1, 1)


@pytest.mark.parametrize("extension", ["aedat4", "es", "h5"])
def test_a_restart_is_refused_where_the_format_cannot_hold_it(extension, tmp_path):
    events = make_events([900_000, 5], [1, 3], [4, 2], [1, 0])
    path = tmp_path / f"a.{extension}"
    with pytest.raises(RecordingError, match=r"a\.\w+: .* steps back"):
        write_recording(path, stream_of(events, Sensor(128, 128)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("extension", "event", "sensor", "cause"),
    [
        ("bin", (1 << 23, 0, 0, 1), Sensor(34, 34), "8.388607 s"),
        ("bin", (0, 300, 0, 1), Sensor(346, 260), "x below 256"),
        ("aedat2", (0, 0, 0, 1), Sensor(346, 260), "128x128"),
        ("aedat2", (1 << 31, 0, 0, 1), Sensor(128, 128), "35 minutes"),
        ("aedat", (-1, 0, 0, 1), Sensor(128, 128), "below zero"),
        ("aedat", (0, 40_000, 0, 1), Sensor(50_000, 10), "32767"),
        ("aedat4", (-1, 0, 0, 1), Sensor(128, 128), "below zero"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(extension, event, sensor, cause, tmp_path):
    with pytest.raises(RecordingError, match=cause):
        write_recording(tmp_path / f"a.{extension}", EventStream(sensor, [np.array([event], EVENT_DTYPE)]))
    assert list(tmp_path.iterdir()) == []


def test_event_stream_moves_dates_to_zero_and_says_so(tmp_path):
    """Its steps are at most 127 us: a date written as it is would take a hundred terabytes."""
    date = 1_605_537_494_308_262
    events = make_events([date, date + 500], [1, 2], [3, 4], [1, 0])
    stream = stream_of(events, Sensor(128, 128))
    write_recording(tmp_path / "a.es", stream)
    assert stream.tally.notes == [f"Event Stream counts from zero: {date} us were subtracted from every time"]
    assert open_recording(tmp_path / "a.es").to_array()["t"].tolist() == [0, 500]
    assert (tmp_path / "a.es").stat().st_size < 100
    with pytest.raises(RecordingError, match="gap of more than an hour"):
        write_recording(tmp_path / "b.es", stream_of(make_events([0, 1 << 40], [1, 2], [3, 4], [1, 0]), Sensor(8, 8)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")

    def fails():
        yield make_events([1], [1], [1], [1])
        raise OSError(28, "No space left on device")

    with pytest.raises(RecordingError, match=r"a\.npz: cannot be written \(No space left on device\)"):
        write_recording(path, EventStream(Sensor(8, 8), fails()))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        yield make_events([1], [1], [1], [1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_recording(tmp_path / "a.csv", EventStream(Sensor(8, 8), interrupted()))
    assert list(tmp_path.iterdir()) == []


def test_numpy_reads_the_npz_that_is_written(tmp_path):
    events = make_events(np.arange(200_000), np.zeros(200_000), np.zeros(200_000), np.ones(200_000))
    write_recording(tmp_path / "a.npz", stream_of(events, Sensor(34, 20)))
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["events"], events)
        assert archive["sensor"].tolist() == [34, 20]


def test_dsec_index_finds_each_millisecond(tmp_path):
    import h5py

    t = np.sort(np.random.default_rng(0).integers(0, 300_000, 70_000)) + 123_456_789
    write_recording(tmp_path / "a.h5", stream_of(make_events(t, t * 0, t * 0, t * 0), Sensor(8, 8)))
    with h5py.File(tmp_path / "a.h5") as file:
        relative, index = file["events/t"][:], file["ms_to_idx"][:]
        assert file["t_offset"][()] == t[0] and relative[0] == 0
        assert len(index) == relative[-1] // 1000 + 1
        np.testing.assert_array_equal(index, np.searchsorted(relative, np.arange(len(index)) * 1000))
