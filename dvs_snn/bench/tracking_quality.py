"""`dvs-snn bench tracking_quality`: our trackers and others on the same simulated shapes, by one evaluation.

The others: SORT and ByteTrack of `trackers`, fed with boxes of connected events in frames of 10 ms, and dv-processing's
trackers, whose points are given a box of the size that they search. What is not installed is left out and said.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from dvs_snn.bench.tracking import event_stores
from dvs_snn.events import Events, Sensor, windows
from dvs_snn.learning.tracking_data import SimulatedShapes, SimulatedShapesConfig, TrackedRecording
from dvs_snn.learning.tracking_evaluation import follow
from dvs_snn.learning.tracking_metrics import TrackScore
from dvs_snn.pipeline import Track, Tracks, open_pipeline, shipped_checkpoints

SEQUENCES = 6
FRAME_US = 10_000
SEARCH_PX = 20
LEAST_EVENTS = 15
Follower = Callable[[TrackedRecording], list[Tracks]]


COLUMNS = (
    ("box_mota", "MOTA box"), ("box_idf1", "IDF1 box"), ("mota", "MOTA"), ("idf1", "IDF1"), ("median_px", "median px"),
    ("lost_per_minute", "lost/min"), ("false_tracks", "false"),
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Judge all on the first `--sequences` of the test split (60 are the whole); a table, or JSON."""
    count = SEQUENCES if args.sequences is None else args.sequences
    recordings = SimulatedShapes(SimulatedShapesConfig(test=count), "test")
    recordings.prepare()
    report = judge(recordings)
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"{report['sequences']} sequences of 2 s of simulated shapes, test split; MOTA, IDF1: of centres")
    print(f"{'tracker':<36}" + "".join(f"{title:>10}" for _, title in COLUMNS))
    for name, row in report["trackers"].items():
        cells = (row[key] for key, _ in COLUMNS)
        print(f"{name:<36}" + "".join(f"{'-':>10}" if cell is None else f"{cell:10.3f}" for cell in cells))
    for note in report["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0


def judge(recordings: SimulatedShapes) -> dict[str, Any]:
    """The measures of every tracker that is there; `mota` and `idf1` are of centres."""
    notes: list[str] = []
    followers = {**ours(), **box_trackers(notes), **event_trackers(notes)}
    scores = {name: TrackScore() for name in followers}
    with tqdm(total=len(recordings), desc="judge", unit="recording", file=sys.stderr, disable=None) as bar:
        for recording in recordings:
            for name, follower in followers.items():
                scores[name].take(recording.name, follower(recording), recording.truth)
            bar.update()
    rows = {}
    for name, score in scores.items():
        result = score.summary()
        box, centre, error = result["box"] or {}, result["centre"], result["error_px"]
        rows[name] = {
            "box_mota": box.get("mota"),
            "box_idf1": box.get("idf1"),
            "mota": centre["mota"],
            "idf1": centre["idf1"],
            "median_px": error["median"] if error else None,
            "lost_per_minute": result["lost_per_minute"],
            "false_tracks": result["false_per_second"],
        }
    return {"bench": "tracking_quality", "sequences": len(recordings), "trackers": rows, "notes": notes}


def ours() -> dict[str, Follower]:
    """The trackers that ship."""

    def follower(name: str) -> Follower:
        pipeline = open_pipeline(name)
        return lambda recording: follow(pipeline, recording)[0]

    return {f"dvs_snn {name}": follower(name) for name in ("tracker", "clusters") if name in shipped_checkpoints()}


def boxes_of(events: Events, sensor: Sensor) -> NDArray[np.float32]:
    """Boxes `[n, 4]` (left, top, right, bottom) of connected events in a frame."""
    picture = np.zeros((sensor.height, sensor.width), np.float32)
    np.add.at(picture, (events["y"], events["x"]), 1.0)
    busy = ndimage.uniform_filter(picture, 5) * 25 >= 3.0
    labels, count = ndimage.label(busy, np.ones((3, 3)))
    boxes = []
    mass = ndimage.sum_labels(picture, labels, np.arange(1, count + 1)) if count else []
    for place, total in zip(ndimage.find_objects(labels), mass, strict=True):
        if total >= LEAST_EVENTS:
            rows, columns = place
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    return np.array(boxes, np.float32).reshape(-1, 4)


def box_trackers(notes: list[str]) -> dict[str, Follower]:
    """Trackers of boxes, at 100 frames per second."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import supervision
            import trackers
    except ImportError:
        notes.append("trackers is not installed (make bench); left out")
        return {}

    def follower(make: Callable[[], Any]) -> Follower:
        def follow_boxes(recording: TrackedRecording) -> list[Tracks]:
            tracker, sensor, found = make(), recording.stream.sensor, []
            for window in windows(recording.stream, FRAME_US):
                boxes = boxes_of(window.events, sensor)
                seen = supervision.Detections(
                    xyxy=boxes, confidence=np.ones(len(boxes), np.float32), class_id=np.zeros(len(boxes), int)
                )
                out = tracker.update(seen)
                numbers = out.tracker_id if out.tracker_id is not None else np.full(len(out.xyxy), -1)
                found.append(
                    Tracks(window.end_us, tuple(_track(n, b) for n, b in zip(numbers, out.xyxy, strict=True) if n >= 0))
                )
            return found

        return follow_boxes

    return {
        "trackers SORT, boxes of 10 ms": follower(lambda: trackers.SORTTracker(frame_rate=100.0)),
        "trackers ByteTrack, boxes of 10 ms": follower(lambda: trackers.ByteTrackTracker(frame_rate=100.0)),
    }


def _track(number: int, box: NDArray[np.float32]) -> Track:
    left, top, right, bottom = (float(edge) for edge in box)
    return Track(int(number), (left + right - 1) / 2, (top + bottom - 1) / 2, right - left, bottom - top, 0.0, 0.0, 1.0)


def event_trackers(notes: list[str]) -> dict[str, Follower]:
    """dv-processing's trackers, asked every 10 ms; at most six tracks, as there are at most six targets."""
    try:
        import dv_processing as dv
    except ImportError:
        notes.append("dv-processing is not installed (make bench); left out")
        return {}

    def make(kind: str, sensor: Sensor) -> Any:
        size = (sensor.width, sensor.height)
        if kind == "MeanShiftTracker":
            tracker = dv.features.MeanShiftTracker(size, SEARCH_PX, timedelta(milliseconds=10))
        else:
            tracker = dv.features.EventFeatureLKTracker.RegularTracker(size)
            tracker.setFramerate(100)
        tracker.setMaxTracks(6)
        return tracker

    def follower(kind: str) -> Follower:
        def follow_points(recording: TrackedRecording) -> list[Tracks]:
            sensor = recording.stream.sensor
            events = recording.stream.to_array()
            tracker, found = make(kind, sensor), []
            for end_us, store in event_stores(dv, events, sensor, FRAME_US):
                tracker.accept(store)
                result = tracker.runTracking()
                points = result.keypoints if result is not None else []
                found.append(Tracks(end_us, tuple(_point(point) for point in points)))
            return found

        return follow_points

    return {f"dv-processing {kind}": follower(kind) for kind in ("MeanShiftTracker", "EventFeatureLKTracker")}


def _point(point: Any) -> Track:
    x, y = (float(value) for value in point.pt)
    return Track(int(point.class_id), x, y, SEARCH_PX, SEARCH_PX, 0.0, 0.0, 1.0)
