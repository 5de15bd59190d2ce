"""`dvs-snn info`: exact facts as JSON; every bad file is one line on stderr and exit status 2."""

import json
import struct

import numpy as np
import pytest

from dvs_snn.cli import main
from dvs_snn.events import Sensor, make_events, stream_of
from dvs_snn.events.files import open_recording, write_recording

KEYS = [
    "format",
    "width",
    "height",
    "sensor_assumed",
    "events",
    "on",
    "off",
    "triggers",
    "first_us",
    "last_us",
    "span_us",
    "rate_hz",
    "backward_steps",
    "out_of_sensor",
]
SENSOR = Sensor(128, 128)
EVENTS = make_events(np.arange(2000) * 10 + 3, np.arange(2000) % 128, np.arange(2000) % 100, np.arange(2000) % 3 == 0)
EXTENSIONS = ("aedat4", "aedat", "aedat2", "es", "npz", "csv", "h5", "bin", "raw", "dat")


def info(capsys, *arguments):
    status = main(["info", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def facts(capsys, *arguments):
    status, out, err = info(capsys, *arguments, "--json")
    assert status == 0, err
    return json.loads(out), err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One good recording in every format, as bytes."""
    folder = tmp_path_factory.mktemp("whole")
    files = {}
    for extension in EXTENSIONS:
        path = folder / f"a.{extension}"
        write_recording(path, stream_of(EVENTS, SENSOR))
        files[extension] = path.read_bytes()
    return files


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_json_has_the_fixed_keys_and_exact_numbers(extension, whole, tmp_path, capsys):
    path = tmp_path / f"a.{extension}"
    path.write_bytes(whole[extension])
    found, _ = facts(capsys, path, "--sensor", "128x128")
    assert list(found) == KEYS
    assert found | {"format": ""} == {
        "format": "",
        "width": 128,
        "height": 128,
        "sensor_assumed": False,
        "events": 2000,
        "on": 667,
        "off": 1333,
        "triggers": 0,
        "first_us": 3,
        "last_us": 19_993,
        "span_us": 19_990,
        "rate_hz": pytest.approx(2000 / 0.01999),
        "backward_steps": 0,
        "out_of_sensor": 0,
    }


def test_an_empty_recording_has_no_times(tmp_path, capsys):
    write_recording(tmp_path / "a.aedat4", stream_of(EVENTS[:0], SENSOR))
    found, _ = facts(capsys, tmp_path / "a.aedat4")
    assert [found[key] for key in ("events", "first_us", "last_us", "span_us", "rate_hz")] == [
        0,
        None,
        None,
        None,
        None,
    ]
    status, out, _ = info(capsys, tmp_path / "a.aedat4")
    assert status == 0 and "events          0" in out


def test_disorder_is_counted_before_it_is_mended(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("# sensor 8x8\nt_us,x,y,p\n10,1,1,1\n7,1,9,0\n900000,1,1,1\n3,1,1,1\n")
    found, _ = facts(capsys, tmp_path / "a.csv")
    assert (found["backward_steps"], found["out_of_sensor"], found["events"], found["first_us"]) == (2, 1, 4, 3)


def test_notes_go_to_stderr_and_json_stays_one_object(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("10,300,1,1\n")
    found, err = facts(capsys, tmp_path / "a.csv")
    assert (found["width"], found["height"], found["sensor_assumed"]) == (304, 240, True)
    assert "assumed 304x240" in err and "assumed microseconds" in err


def test_the_sensor_that_the_caller_states_wins_and_is_said(tmp_path, capsys):
    write_recording(tmp_path / "a.npz", stream_of(EVENTS, SENSOR))
    found, err = facts(capsys, tmp_path / "a.npz", "--sensor", "100x128")
    assert (found["width"], found["sensor_assumed"]) == (100, False)
    assert found["out_of_sensor"] == int((EVENTS["x"] >= 100).sum()) and found["events"] == 2000
    assert "the file says 128x128, read as 100x128" in err


def refused(capsys, path, cause):
    status, out, err = info(capsys, path, "--json")
    assert status == 2, (out, err)
    assert out == ""
    assert err.count("\n") == 1 and path.name in err and "Traceback" not in err
    assert cause in err, err


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.aedat4", b"", "is empty"),
        ("a.raw", b"", "is empty"),
        ("a.csv", b"", "is empty"),
        ("a.raw", b"hello, this is a letter\n" * 9, "is named like Prophesee RAW"),
        ("a.aedat4", b"hello, this is a letter\n" * 9, "is named like AEDAT 4"),
        ("a.es", b"PK\x03\x04" + bytes(60), "is named like Event Stream, but its content is npz: rename it"),
        ("a.npz", b"Event Stream\x02\0\0\x01" + bytes(8), "is named like npz, but its content is Event Stream"),
        ("a.raw", b"Event Stream\x02\0\0\x01" + bytes(8), "but its content is Event Stream: rename it"),
        ("a.csv", b"Event Stream\x02\0\0\x01" + bytes(8), "but its content is Event Stream: rename it"),
        ("a.aedat4", b"#!AER-DAT3.1\r\n", "is named like AEDAT 4, but its content is AEDAT 3.1: rename it"),
        ("a.xyz", b"hello", "extension '.xyz' and content are of no known format"),
        ("a", b"hello", "are of no known format"),
        ("a.aedat", b"#!AER-DAT3.0\r\n", "AEDAT version '3.0' is not read"),
        ("a.aedat", b"#!AER-DAT1.0\r\n", "AEDAT version '1.0' is not read"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "the AEDAT 3.1 header has no end line"),
        ("a.es", b"Event Stream\x02\0\0", "header is not whole"),
        ("a.es", b"Event Stream\x01\0\0\x01" + bytes(8), "version 1.0.0 is not read"),
        ("a.es", b"Event Stream\x02\0\0\x04" + struct.pack("<HH", 9, 9), "holds events of kind color"),
        ("a.es", b"Event Stream\x02\0\0\x00" + bytes(9), "holds events of kind generic"),
        ("a.es", b"Event Stream\x02\0\0\x01" + bytes(4), "states a sensor of 0x0"),
        ("a.csv", b"\0\1\2\3" * 99, "is no text"),
        ("a.csv", b"Dear Sir,\nhow are you?\n", "line 1 names no columns"),
        ("a.csv", b"1,2,3\n4,5,6\n", "has 3 columns"),
        ("a.bin", b"abc", "not even one event"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(30), "a.h5"),
        ("a.raw", b"% evt 9.0\n% end\n" + bytes(64), "a.raw"),
        ("a.dat", b"% Version 2\n\x2a\x08" + bytes(64), "a.dat"),
        ("a.bag", b"#ROSBAG V2.0\n" + bytes(64), "a.bag"),
        ("a.db3", b"SQLite format 3\0" + bytes(64), "a.db3"),
        ("a.mcap", b"\x89MCAP0\r\n" + bytes(64), "a.mcap"),
    ],
)
def test_a_file_that_is_no_recording_is_one_line_and_status_2(name, content, cause, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    refused(capsys, tmp_path / name, cause)


def test_nothing_there_and_a_folder(tmp_path, capsys):
    refused(capsys, tmp_path / "absent.npz", "No such file")
    (tmp_path / "folder").mkdir()
    refused(capsys, tmp_path / "folder", "is a folder")


def test_a_file_that_may_not_be_read(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
    monkeypatch.setattr(
        "builtins.open", lambda path, *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied", path))
    )
    refused(capsys, tmp_path / "a.npz", "Permission denied")


@pytest.mark.parametrize("size", ["640", "axb", "0x5"])
def test_a_sensor_that_is_no_size(size, tmp_path, capsys):
    status, _, err = info(capsys, tmp_path / "a.npz", "--sensor", size)
    assert status == 2 and err.count("\n") == 1


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_refused_or_its_whole_events_are_counted(extension, share, whole, tmp_path, capsys):
    """Never a traceback, never an event that was not there; what is missing is said."""
    path = tmp_path / f"a.{extension}"
    data = whole[extension]
    path.write_bytes(data[: max(1, int(len(data) * share))])
    status, out, err = info(capsys, path, "--sensor", "128x128", "--json")
    if status == 2:
        assert out == "" and err.count("\n") == 1 and path.name in err
        return
    assert status == 0
    found = json.loads(out)
    events = open_recording(path, SENSOR).to_array()
    assert len(events) == found["events"] <= 2000
    np.testing.assert_array_equal(events, EVENTS[: len(events)])


@pytest.mark.parametrize("extension", ("aedat4", "aedat", "aedat2", "es", "bin", "csv"))
def test_a_cut_inside_the_last_event_leaves_the_others_and_a_note(extension, whole, tmp_path, capsys):
    path = tmp_path / f"a.{extension}"
    lost = 3 if extension != "aedat4" else len(whole[extension]) // 2
    path.write_bytes(whole[extension][:-lost])
    found, err = facts(capsys, path, "--sensor", "128x128")
    assert found["events"] == (1999 if extension != "aedat4" else 0)
    assert "truncated after" in err and "line" not in err.partition("truncated")[2].split("\n")[0].split("events")[0]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_flipped_bytes_never_end_in_a_traceback(extension, whole, tmp_path, capsys):
    rng = np.random.default_rng(7)
    path = tmp_path / f"a.{extension}"
    for _ in range(12):
        data = bytearray(whole[extension])
        for place in rng.integers(0, min(len(data), 4000), 3):
            data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(data))
        status, out, err = info(capsys, path, "--json")
        assert "Traceback" not in err
        assert (status == 0 and list(json.loads(out)) == KEYS) or (status == 2 and err.count("\n") == 1)
