"""The time-line and the confusion matrix draw any recording, the empty one too, and nothing half."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dvs_snn.errors import ConfigError, DvsSnnError
from dvs_snn.events import Window, empty_events, make_events
from dvs_snn.pipeline import Gesture
from dvs_snn.viz import Pairing, Timeline, draw_confusion, true_label

LABELS = ("Hand clapping", "Right hand wave", "Left hand wave")


def gesture(t_us: int, index: int) -> Gesture:
    smoothed = np.full(3, 0.1, np.float32)
    smoothed[max(index, 0)] = 0.8
    return Gesture(t_us, index, LABELS[index] if index >= 0 else "none", 0.8, smoothed, smoothed, 1e4)


def windows(ends_us: list[int]) -> list[Window]:
    return [
        Window(make_events([end - 5_000, end - 1], [1, 2], [1, 2], [1, 0]), end - 10_000, end, end == ends_us[0])
        for end in ends_us
    ]


def size(path: Path) -> tuple[int, int]:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture.shape[:2]


def test_empty_recording_is_drawn(tmp_path: Path) -> None:
    Timeline(LABELS, truth=[(0, 100, 1)]).save(tmp_path / "a.png")
    assert min(size(tmp_path / "a.png")) > 200


@pytest.mark.parametrize(
    "ends_us",
    [[10_000], list(range(10_000, 500_000, 10_000)), [10_000, 20_000, 900_000], [900_000, 910_000, 10_000, 20_000]],
    ids=["one window", "many", "gap", "restart"],
)
def test_any_course_of_time_is_drawn(tmp_path: Path, ends_us: list[int]) -> None:
    timeline = Timeline(LABELS, "title", [(0, 50_000, 2), (50_000, 400_000, 0)])
    for index, window in enumerate(windows(ends_us)):
        timeline.see(window, gesture(window.end_us, index % 4 - 1))
    timeline.save(tmp_path / "a.png")
    assert min(size(tmp_path / "a.png")) > 200


def test_windows_without_decision_are_drawn(tmp_path: Path) -> None:
    timeline = Timeline(LABELS)
    timeline.see(Window(empty_events(), 0, 10_000, True), None)
    timeline.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("extra", [0, 1])
def test_confusion_matrix_is_drawn(tmp_path: Path, extra: int) -> None:
    counts = np.zeros((3, 3 + extra), np.int64)
    counts[0, 0], counts[1, 2] = 5, 2
    draw_confusion(tmp_path / "a.png", counts, LABELS, "title")
    assert min(size(tmp_path / "a.png")) > 200


def test_confusion_matrix_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2x2 for 3 labels"):
        draw_confusion(tmp_path / "a.png", np.zeros((2, 2), np.int64), LABELS)


def test_picture_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DvsSnnError, match="cannot be written"):
        Timeline(LABELS).save(tmp_path / "file" / "a.png")
    with pytest.raises(ConfigError, match=r"\.png"):
        Timeline(LABELS).save(tmp_path / "a.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_truth_belongs_to_the_window_that_ends_with_it() -> None:
    truth = [(0, 100, 2), (100, 200, 0)]
    assert [true_label(truth, t_us) for t_us in (0, 1, 100, 101, 200, 201)] == [None, 2, 2, 0, 0, None]


def packets(seconds: float, start_us: int, cell: int) -> np.ndarray:
    t = np.arange(start_us, start_us + int(seconds * 1e6), 1_000)
    return make_events(t, np.full(len(t), cell), np.full(len(t), cell), np.ones(len(t)))


@pytest.mark.parametrize("packet_events", [1, 7, 1000])
def test_each_window_meets_its_own_decision(packet_events: int) -> None:
    events = np.concatenate([packets(0.1, 500_000, 1), packets(0.1, 0, 2)])  # a restart in the middle
    pairing, pairs = Pairing(10_000), []
    ends_us = [*range(510_000, 610_000, 10_000), *range(10_000, 110_000, 10_000)]
    for start in range(0, len(events), packet_events):
        pairing.push(events[start : start + packet_events])
    pairing.flush()
    for end_us in ends_us:
        pairs += pairing.decide(gesture(end_us, 0))
    pairs += pairing.rest()
    assert [(window.end_us, decision.t_us) for window, decision in pairs if decision] == [(t, t) for t in ends_us]


def test_window_without_its_own_decision_keeps_the_one_before() -> None:
    pairing = Pairing(10_000)
    pairing.push(np.concatenate([packets(0.05, 500_000, 1), packets(0.05, 0, 2)]))
    pairing.flush()
    pairs = []
    for end_us in (510_000, 530_000, 20_000, 50_000):
        pairs += pairing.decide(gesture(end_us, 0))
    assert [(window.end_us, decision and decision.t_us) for window, decision in pairs] == [
        (510_000, 510_000),
        (520_000, 510_000),
        (530_000, 530_000),
        (540_000, 530_000),
        (550_000, 530_000),
        (10_000, 530_000),
        (20_000, 20_000),
        (30_000, 20_000),
        (40_000, 20_000),
        (50_000, 50_000),
    ]
