"""DVS128 Gesture: both layouts, both divisions, validation by subject, gestures cut where the tables say."""

import numpy as np
import pytest

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Sensor
from dvs_snn.events.files import open_recording
from dvs_snn.learning.data import DVS128Config, DVS128Gestures
from dvs_snn.learning.data.dvs128 import DVS128, VALIDATION_SUBJECTS, read_rows
from tests.learning.tiny_sets import ibm_dvs128, ibm_rows, tonic_dvs128


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def opened(folder, split, sensor=DVS128, **options):
    return DVS128Gestures(DVS128Config(folder=str(folder), **options), split, sensor)


def test_tonics_files_give_what_tonic_gives(tmp_path):
    from tonic.datasets import DVSGesture

    tonic_dvs128(tmp_path, train=range(1, 6))
    theirs = DVSGesture(str(tmp_path), train=True)
    ours = opened(tmp_path, "train", fit_all=True)
    assert len(ours) == len(theirs) == 110
    named = {}
    for i in range(len(ours)):
        recording = ours[i]
        assert recording.name == f"{recording.group}_{recording.name.split('_')[1]}_{recording.label}"
        named[recording.name] = recording
    for path, (events, label) in zip(theirs.data, theirs, strict=True):
        trial, file = path.split("/")[-2:]
        recording = named[f"{trial}_{file.removesuffix('.npy')}"]
        assert recording.label == label
        order = np.argsort(events["t"], kind="stable")
        for field in "txyp":
            np.testing.assert_array_equal(recording.events[field], events[field][order])


@pytest.mark.parametrize("make", [tonic_dvs128, ibm_dvs128])
def test_validation_shares_no_subject_with_training_or_test(tmp_path, make):
    make(tmp_path, train=(1, 5, 9, 11), test=(24, 25))
    train, validation, test = (set(opened(tmp_path, split).groups) for split in ("train", "validation", "test"))
    assert validation == {"user05", "user11"} and train == {"user01", "user09"} and test == {"user24", "user25"}
    assert "validation subjects [5, 11]" in opened(tmp_path, "train").source
    other = opened(tmp_path, "validation", validation_subjects=(9,))
    assert set(other.groups) == {"user09"}
    with pytest.raises(ConfigError, match=r"some, not all, of the training subjects \[1, 5, 9, 11\]"):
        opened(tmp_path, "train", validation_subjects=(2,))


def test_held_out_subjects_are_training_subjects_of_the_published_lists():
    assert set(VALIDATION_SUBJECTS) <= set(range(1, 24)) and len(VALIDATION_SUBJECTS) == 4


def test_ibm_trials_are_cut_by_their_tables_row_by_row(tmp_path):
    ibm_dvs128(tmp_path)
    whole = open_recording(tmp_path / "DvsGesture" / "user24_led.aedat").to_array()
    recordings = opened(tmp_path, "test", division="spikingjelly")
    rows = ibm_rows()
    assert len(recordings) == len(rows) == 12
    for i, (number, start_us, end_us) in enumerate(rows):
        recording = recordings[i]
        assert recording.label == number - 1 and recording.group == "user24"
        expected = whole[(whole["t"] >= start_us) & (whole["t"] < end_us)]
        np.testing.assert_array_equal(recording.events, expected)


def test_division_tonic_joins_the_two_rows_of_arm_roll(tmp_path):
    ibm_dvs128(tmp_path)
    recordings = opened(tmp_path, "test")
    assert [recordings[i].label for i in range(len(recordings))] == list(range(11))
    rows = [row for row in ibm_rows() if row[0] == 8]
    t = recordings[7].events["t"]
    assert rows[0][1] <= t[0] and rows[0][2] < t[-1] < rows[1][2]
    assert "division tonic" in recordings.source
    assert "division spikingjelly" in opened(tmp_path, "test", division="spikingjelly").source


def test_an_end_behind_the_next_start_is_moved_in_division_tonic_alone(tmp_path):
    ibm_dvs128(tmp_path)
    table = tmp_path / "DvsGesture" / "user24_led_labels.csv"
    rows = ibm_rows()
    wrong = [(c, a, b + 90_000 if c == 9 else b) for c, a, b in rows]
    table.write_text("class,startTime_usec,endTime_usec\n" + "".join(f"{c},{a},{b}\n" for c, a, b in wrong))
    next_start = next(start for number, start, _ in rows if number == 10)
    assert opened(tmp_path, "test")[8].events["t"][-1] < next_start
    assert opened(tmp_path, "test", division="spikingjelly")[9].events["t"][-1] >= next_start


def test_cut_gestures_are_kept_and_damaged_ones_cut_again(tmp_path):
    ibm_dvs128(tmp_path)
    recordings = opened(tmp_path, "test", cache=str(tmp_path / "kept"))
    assert recordings.prepare(progress=False) == 1 and recordings.prepare(progress=False) == 0
    before = [recordings[i].events.copy() for i in range(3)]
    files = sorted((tmp_path / "kept").rglob("*.safetensors"))
    assert len(files) == 11
    for file in files:
        file.write_bytes(file.read_bytes()[:40])  # as a crash of the machine may leave it
    for i in range(3):
        np.testing.assert_array_equal(recordings[i].events, before[i])
    # another table, other gestures: nothing stale is given out
    table = tmp_path / "DvsGesture" / "user24_led_labels.csv"
    table.write_text("class,startTime_usec,endTime_usec\n3,1000000,1050000\n")
    again = opened(tmp_path, "test", cache=str(tmp_path / "kept"))
    assert len(again) == 1 and again[0].label == 2 and again[0].events["t"][-1] < 1_050_000


def test_a_network_of_another_sensor_gets_resampled_gestures(tmp_path):
    tonic_dvs128(tmp_path)
    events = opened(tmp_path, "test", Sensor(64, 64))[0].events
    assert events["x"].max() < 64 and events["y"].max() < 64


@pytest.mark.parametrize(
    ("row", "named"),
    [("12,5,9", "1..11"), ("3,9,5", "start before end"), ("x,1,2", "integers"), ("3,1", "integers")],
)
def test_wrong_table_is_named_with_its_line(tmp_path, row, named):
    path = tmp_path / "t_labels.csv"
    path.write_text(f"class,startTime_usec,endTime_usec\n1,2,3\n{row}\n")
    with pytest.raises(RecordingError, match=named) as caught:
        read_rows(path)
    assert "line 3" in str(caught.value)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"DvsGesture\.tar\.gz .* from https://research\.ibm\.com"):
        opened(tmp_path, "train")
    with pytest.raises(ConfigError, match="no folder was given"):
        opened("", "train")
    ibm_dvs128(tmp_path)
    (tmp_path / "DvsGesture" / "user05_led.aedat").unlink()
    with pytest.raises(ConfigError, match=r"1 of the 2 trials .* first user05_led\.aedat"):
        opened(tmp_path, "train")
    tonic_dvs128(tmp_path / "other")
    with pytest.raises(ConfigError, match="division tonic alone"):
        opened(tmp_path / "other", "train", division="spikingjelly")
    with pytest.raises(ConfigError, match="'norse' is unknown"):
        DVS128Config(division="norse")


def test_damaged_npy_is_refused(tmp_path):
    tonic_dvs128(tmp_path)
    recordings = opened(tmp_path, "test")
    path = tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_fluorescent" / "0.npy"
    for table in (np.zeros((3, 5), np.int64), np.full((3, 4), 128)):
        np.save(path, table)
        with pytest.raises(RecordingError):
            recordings[0]
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(RecordingError):
        recordings[0]
