"""`dvs-snn replay`: the same lines whatever the packets, nothing lost, one line for what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.cli import main
from dvs_snn.cli import replay as verb
from dvs_snn.errors import RecordingError
from dvs_snn.events import Events, EventStream, Sensor, make_events, stream_of
from dvs_snn.events import files as recordings
from dvs_snn.events.files import write_recording
from tests.cli.networks import save_tiny


def moving_bar(seconds: float, sensor: Sensor, seed: int = 0, start_us: int = 1_000_000) -> Events:
    """A bar that sweeps over the sensor, some noise, both polarities."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, int(seconds * 1e6), int(seconds * 20_000)))
    x = (t * 1e-6 * 1.5 * sensor.width + rng.normal(0, 3, len(t))) % sensor.width
    return make_events(t + start_us, x.astype(int), rng.integers(0, sensor.height, len(t)), rng.random(len(t)) < 0.5)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("networks") / "tiny"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recordings") / "bar.npz"
    sensor = Sensor(128, 128)
    write_recording(path, stream_of(moving_bar(0.6, sensor), sensor))
    return str(path)


def replayed(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert main(["replay", *options]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_line_per_window_in_the_published_form(
    capsys: pytest.CaptureFixture[str], network: str, recording: str
) -> None:
    lines = replayed(capsys, recording, "--model", network)
    decisions = [json.loads(line) for line in lines]
    assert [decision["t_us"] for decision in decisions] == list(range(1_010_000, 1_610_000, 10_000))
    assert all(list(decision) == ["t_us", "kind", "index", "label", "score"] for decision in decisions)
    assert {decision["kind"] for decision in decisions} == {"gesture"}
    assert len({decision["index"] for decision in decisions}) > 1  # the network does see the scene
    assert all((decision["index"] == -1) == (decision["label"] == "none") for decision in decisions)


@pytest.mark.parametrize("size", [Sensor(128, 128), Sensor(200, 150)], ids=str)
def test_packets_do_not_matter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, network: str, tmp_path: Path, size: Sensor
) -> None:
    events = moving_bar(0.3, size)
    write_recording(tmp_path / "a.npz", stream_of(events, size))
    whole = replayed(capsys, str(tmp_path / "a.npz"), "--model", network)
    for packet_events in (1, 7, 1000, len(events)):
        cut = stream_of(events, size, packet_events)
        monkeypatch.setattr(recordings, "open_recording", lambda path, sensor=None, cut=cut: cut)
        assert replayed(capsys, str(tmp_path / "a.npz"), "--model", network) == whole


def test_out_realtime_and_video_change_no_line(
    capsys: pytest.CaptureFixture[str], network: str, recording: str, tmp_path: Path
) -> None:
    lines = replayed(capsys, recording, "--model", network)
    out, video = tmp_path / "x.jsonl", tmp_path / "x.mp4"
    out.write_text("old\n" * 1000)
    assert replayed(capsys, recording, "--model", network, "--out", str(out), "--video", str(video)) == []
    assert out.read_text().splitlines() == lines
    assert video.stat().st_size > 1000 and video.read_bytes()[4:8] == b"ftyp"
    assert replayed(capsys, recording, "--model", network, "--realtime") == lines


def test_realtime_keeps_pace_and_reports_lateness(
    capsys: pytest.CaptureFixture[str], network: str, recording: str
) -> None:
    begun = time.perf_counter()
    assert main(["replay", recording, "--model", network, "--realtime"]) == 0
    assert time.perf_counter() - begun >= 0.59
    assert "lateness of decisions after their window's end: median" in capsys.readouterr().err


def test_pace_starts_anew_where_the_clock_jumps() -> None:
    pace = verb.Pace()
    pieces = [moving_bar(0.02, Sensor(8, 8), start_us=start) for start in (50_000_000, 0, 3_600_000_000)]
    begun = time.perf_counter()
    out = list(pace.packets(pieces))
    assert time.perf_counter() - begun < 5.0
    assert (np.concatenate(out) == np.concatenate(pieces)).all()
    assert max(int(np.ptp(piece["t"])) for piece in out) < 1_000


def test_notes_tell_what_was_assumed_and_mended(
    capsys: pytest.CaptureFixture[str], network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = Sensor(256, 256)
    events = moving_bar(0.1, sensor)
    events["t"][500] -= 50
    events["x"][600] = 300
    stream = replace(stream_of(events, sensor), sensor_assumed=True)
    stream.tally.note("truncated: 5 events are missing")
    monkeypatch.setattr(recordings, "open_recording", lambda path, sensor=None: stream)
    assert main(["replay", "x.npz", "--model", network]) == 0
    said = capsys.readouterr().err
    for part in (
        "truncated: 5",
        "256x256 resampled",
        "256x256 assumed",
        "stepped back 1 times",
        "1 events outside",
        "10 windows",
    ):
        assert part in said
    assert "windows/s" not in said  # no bar where stderr is no terminal


def test_recording_without_events_gives_no_lines(
    capsys: pytest.CaptureFixture[str], network: str, tmp_path: Path
) -> None:
    sensor = Sensor(128, 128)
    write_recording(tmp_path / "a.npz", stream_of(moving_bar(0.0, sensor), sensor))
    assert replayed(capsys, str(tmp_path / "a.npz"), "--model", network, "--out", str(tmp_path / "x.jsonl")) == []
    assert (tmp_path / "x.jsonl").read_text() == ""


def test_recording_that_breaks_off_keeps_what_was_decided(
    capsys: pytest.CaptureFixture[str], network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = Sensor(128, 128)

    def packets() -> object:
        yield moving_bar(0.2, sensor)
        raise RecordingError("x.raw", "breaks off in the middle of a word")

    monkeypatch.setattr(recordings, "open_recording", lambda path, sensor_=None: EventStream(sensor, packets()))
    out, video = tmp_path / "x.jsonl", tmp_path / "x.mp4"
    assert main(["replay", "x.raw", "--model", network, "--out", str(out), "--video", str(video)]) == 2
    assert "dvs-snn: x.raw: breaks off in the middle of a word" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 19 and video.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupt_keeps_what_was_written(network: str, tmp_path: Path) -> None:
    sensor = Sensor(128, 128)
    write_recording(tmp_path / "long.npz", stream_of(moving_bar(60.0, sensor), sensor))
    out, video = tmp_path / "x.jsonl", tmp_path / "x.mp4"
    options = [str(tmp_path / "long.npz"), "--model", network, "--realtime", "--out", str(out), "--video", str(video)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dvs_snn", "replay", *options],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    deadline = time.monotonic() + 90
    while (not out.exists() or out.read_bytes().count(b"\n") < 30) and time.monotonic() < deadline:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert len([json.loads(line) for line in out.read_text().splitlines()]) >= 30
    assert video.read_bytes()[4:8] == b"ftyp" and sorted(path.name for path in tmp_path.iterdir()) == [
        "long.npz",
        "x.jsonl",
        "x.mp4",
    ]


@pytest.mark.parametrize(
    "options, said",
    [
        (["{recording}"], "--model"),
        (["{recording}", "--model", "nowhere"], "nowhere: no such checkpoint"),
        (["{recording}", "--model", "{network}", "--runtime", "abacus"], "invalid choice: 'abacus'"),
        (["{recording}", "--model", "{network}", "--sensor", "big"], "write WIDTHxHEIGHT"),
        (["{recording}", "--model", "{network}", "--out", "{recording}"], "is the recording itself"),
        (["{recording}", "--model", "{network}", "--video", "{tmp}/x.gif"], "name it .mp4"),
        (["{recording}", "--model", "{network}", "--video", "{tmp}/x.mp4", "--out", "{tmp}/x.mp4"], "same file"),
        (["{recording}", "--model", "{network}", "--video", "{tmp}/x.mp4", "--fps", "0"], "pictures per second"),
        (["{recording}", "--model", "{network}", "--video", "{tmp}/x.mp4", "--speed", "-1"], "playback speed"),
        (["{recording}", "--model", "{network}", "--out", "{tmp}/no/x.jsonl"], "No such file or directory"),
        (["{recording}", "--model", "{network}", "--out", "{tmp}"], "Is a directory"),
        (["{tmp}/none.npz", "--model", "{network}"], "none.npz"),
        (["{small}", "--model", "{network}"], "too small for a network of 128x128"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], network: str, recording: str, tmp_path: Path, options: list[str], said: str
) -> None:
    small, sensor = tmp_path / "small.npz", Sensor(34, 34)
    write_recording(small, stream_of(moving_bar(0.1, sensor), sensor))
    names = {"recording": recording, "network": network, "tmp": str(tmp_path), "small": str(small)}
    before = Path(recording).read_bytes()
    try:
        status = main(["replay", *(option.format(**names) for option in options)])
    except SystemExit as stop:  # argparse
        status = int(str(stop.code))
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("dvs-snn: ")]
    assert status == 2 and captured.out == "" and len(errors) == 1 and said in errors[0]
    assert Path(recording).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["small.npz"]


def test_full_disk_is_said_in_one_line(capsys: pytest.CaptureFixture[str], network: str, recording: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    assert main(["replay", recording, "--model", network, "--out", "/dev/full"]) == 2
    assert "/dev/full: line could not be written: No space left on device" in capsys.readouterr().err


def test_missing_runtime_names_those_there_are(
    capsys: pytest.CaptureFixture[str], network: str, recording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvs_snn.pipeline import RUNTIMES

    monkeypatch.delitem(RUNTIMES, "lava", raising=False)
    assert main(["replay", recording, "--model", network, "--runtime", "lava"]) == 2
    assert "'lava' is not available; available: torch" in capsys.readouterr().err
