"""`dvs-snn demo`: makes what it promises from nothing, and judges decisions rightly."""

import json
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.cli import main
from dvs_snn.cli.demo import Score, demonstrate
from dvs_snn.pipeline import Gesture
from tests.cli.networks import save_tiny

LABELS = ("clap", "wave", "drum")


def gesture(t_us: int, index: int) -> Gesture:
    posterior = np.zeros(3, np.float32)
    return Gesture(t_us, index, LABELS[index] if index >= 0 else "none", 0.9, posterior, posterior, 1e4)


def judged(decisions: list[tuple[int, int]]) -> tuple[Score, list[str]]:
    score = Score(LABELS, [(0, 100, 1), (100, 200, 2)])
    lines = [score.see(gesture(t_us, index)) for t_us, index in decisions]
    return score, [line for line in lines if line]


def test_demo_writes_all_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = demonstrate(save_tiny(tmp_path / "tiny"), tmp_path / "out", labels=(1, 7), seconds_each=0.4)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["decisions.jsonl", "overlay.mp4", "overlay.png", "recording.npz", "timeline.png"]
    lines = (tmp_path / "out" / "decisions.jsonl").read_text().splitlines()
    said = capsys.readouterr().out
    assert len(lines) == 80 and f"{score.right} of 2 gestures right" in said and "x real time" in said
    assert main(["replay", str(tmp_path / "out" / "recording.npz"), "--model", str(tmp_path / "tiny")]) == 0
    assert capsys.readouterr().out.splitlines() == lines  # the demo is a replay of its file
    indices = [json.loads(line)["index"] for line in lines]
    changes = sum(a != b for a, b in zip([-1, *indices], indices, strict=False))
    assert len(said.splitlines()) == changes + 3


def test_missing_checkpoint_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvs_snn.pipeline.shipped_checkpoints", dict)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "checkpoint 'gesture' is missing" in captured.err
    assert not (tmp_path / "out").exists()


def test_gesture_counts_by_what_was_decided_longest() -> None:
    score, _ = judged([(10, -1), (20, 0), (30, 1), (40, 1), (110, 1), (120, 1), (130, 2)])
    assert score.right == 1 and score.latency_ms == pytest.approx(0.030)
    assert score.summary().startswith("1 of 2 gestures right")


def test_undecided_time_is_no_decision() -> None:
    score, lines = judged([(t_us, -1) for t_us in range(10, 90, 10)] + [(90, 1), (110, -1), (120, 2)])
    assert score.right == 2
    assert [line.split()[2] for line in lines] == ["wave", "undecided", "drum"]
    assert lines[0].endswith("right") and lines[2].endswith("right")


def test_wrong_decision_names_the_truth() -> None:
    score, lines = judged([(50, 0)])
    assert lines[0].endswith("wrong, true: wave") and score.right == 0 and score.latency_ms is None


def test_window_at_the_border_belongs_to_the_gesture_before() -> None:
    _, lines = judged([(100, 1)])
    assert lines[0].endswith("right")
