"""`dvs-snn convert`: results on stdout, progress and losses on stderr, nothing half-written."""

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dvs_snn.cli import main
from dvs_snn.events import Sensor, make_events, stream_of
from dvs_snn.events.files import open_recording, write_recording

SENSOR = Sensor(128, 128)


@pytest.fixture
def source(tmp_path):
    events = make_events(np.arange(300), np.arange(300) % 128, np.zeros(300), np.arange(300) % 2)
    write_recording(tmp_path / "in.npz", stream_of(events, SENSOR))
    return tmp_path / "in.npz"


def convert(capsys, *arguments):
    status = main(["convert", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("extension", ["aedat4", "aedat", "es", "csv", "h5", "raw", "dat", "bag", "mcap", "db3"])
def test_events_come_through(extension, source, tmp_path, capsys):
    target = tmp_path / f"out.{extension}"
    status, out, err = convert(capsys, source, target)
    assert status == 0, err
    assert out == f"{target}: 300 events, 128x128, 0.000299 s\n"
    assert "300 events" in err and "million/s" in err
    np.testing.assert_array_equal(open_recording(target).to_array(), open_recording(source).to_array())


def test_a_folder_becomes_a_rosbag2(source, tmp_path, capsys):
    assert convert(capsys, source, tmp_path / "bag")[0] == 0
    assert (tmp_path / "bag" / "metadata.yaml").is_file()
    np.testing.assert_array_equal(open_recording(tmp_path / "bag").to_array(), open_recording(source).to_array())


def test_what_is_lost_is_said(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("# sensor 8x8\nt_us,x,y,p\n10,1,1,1\n7,1,1,0\n11,1,9,0\n")
    status, out, err = convert(capsys, tmp_path / "a.csv", tmp_path / "b.npz")
    assert status == 0 and "2 events" in out
    assert "1 events outside of 8x8 were not written" in err
    assert "time stepped back 1 times: 1 held, 0 restarts kept" in err


@pytest.mark.data
def test_lost_triggers_are_said(data_dir, tmp_path, capsys):
    status, _, err = convert(capsys, data_dir / "rosbags" / "test_events_1.bag", tmp_path / "a.npz")
    assert status == 0 and "4157 triggers were not written" in err


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("out.xyz", "cannot write '.xyz' files; choose one of"),
        ("absent/out.npz", "does not exist"),
        ("in.npz", "input and output are the same file"),
    ],
)
def test_a_target_that_cannot_be_is_one_line_and_status_2(target, cause, source, tmp_path, capsys):
    before = source.read_bytes()
    status, out, err = convert(capsys, source, tmp_path / target)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and cause in err
    assert source.read_bytes() == before
    assert list(tmp_path.iterdir()) == [source]


def _many(tmp_path, count=200_000):
    rng = np.random.default_rng(0)
    events = make_events(
        np.sort(rng.integers(0, 10**7, count)), *rng.integers(0, 128, (2, count)), rng.integers(0, 2, count)
    )
    write_recording(tmp_path / "in.npz", stream_of(events, SENSOR))
    return tmp_path / "in.npz"


@pytest.mark.parametrize("extension", ["npz", "csv", "aedat4", "es", "aedat", "h5", "raw"])
def test_a_full_disk_leaves_no_file(extension, tmp_path):
    """A limit on the size of files stands for the disk."""
    source = _many(tmp_path)

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    command = [sys.executable, "-m", "dvs_snn", "convert", str(source), str(tmp_path / f"out.{extension}")]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"out.{extension}" in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_a_killed_conversion_leaves_nothing_under_the_final_name(tmp_path):
    source = _many(tmp_path, 3_000_000)
    target = tmp_path / "out.csv"
    process = subprocess.Popen([sys.executable, "-m", "dvs_snn", "convert", str(source), str(target)])
    until = time.monotonic() + 60
    while not any(path.name.startswith(".out") for path in tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not target.exists()
