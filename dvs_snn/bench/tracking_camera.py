"""`dvs-snn bench tracking_camera`: the classical tracker with and without `ego_motion` while the camera moves.

Simulated shapes before textured backgrounds, seen by a camera that is still, shakes (waves of 1 to 12 Hz, 2 to 4 px) or
turns to and fro (0.3 to 0.7 Hz, some 20 to 40 px, 60 to 150 px/s).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from dvs_snn.events import Sensor, stream_of, windows
from dvs_snn.events.simulate import DvsModel, ShapesConfig
from dvs_snn.events.simulate.shapes import film, random_shapes_dvs
from dvs_snn.events.simulate.shapes_scene import ShapesScene
from dvs_snn.events.simulate.shapes_truth import scene_truth
from dvs_snn.learning.tracking_data import TrackedRecording
from dvs_snn.learning.tracking_metrics import TrackScore
from dvs_snn.tracking import ClusterConfig, ClusterTracker, Tracks

SEQUENCES, SECONDS = 6, 1.5
FIRST_SEED = 70_000_300
SENSOR = Sensor(240, 180)
CAMERAS = ("still", "shakes", "turns")
TURN_PX = 40.0
WINDOW_US = 1000
Array = NDArray[np.float64]


class TurningScene(ShapesScene):
    """Shapes seen by a camera that turns to and fro: one slow wave for each axis."""

    def __init__(self, rng: Generator, sensor: Sensor, seconds: float, targets: int, config: ShapesConfig) -> None:
        self._size = TURN_PX * rng.uniform(0.5, 1.0, 2)
        self._omega, self._phase = 2 * np.pi * rng.uniform(0.3, 0.7, 2), rng.uniform(0, 2 * np.pi, 2)
        super().__init__(rng, sensor, seconds, targets, config)

    def camera(self, t: Array) -> tuple[Array, Array]:
        """Shift of the image in px and its velocity, each [n, 2]."""
        turn = self._omega * t[:, None] + self._phase
        return self._size * np.sin(turn), self._size * self._omega * np.cos(turn)


def make_scene(camera: str, seed: int, targets: int | None = None) -> ShapesScene:
    """The scene of a seed, its background textured, before one of `CAMERAS`; `targets` None draws 1 to 6."""
    rng = np.random.default_rng([seed, CAMERAS.index(camera)])
    count = int(rng.integers(1, 7)) if targets is None else targets
    shift = {"still": (0.0, 0.0), "shakes": (2.0, 4.0), "turns": (TURN_PX, TURN_PX)}[camera]
    config = ShapesConfig(shake_chance=float(camera != "still"), shake_px=shift, background_chance=1.0)
    return (TurningScene if camera == "turns" else ShapesScene)(rng, SENSOR, SECONDS, count, config)


def record(camera: str, seed: int, targets: int | None = None, seconds: float = SECONDS) -> TrackedRecording:
    """The scene of a seed, filmed by a sensor that is drawn too."""
    scene = make_scene(camera, seed, targets)
    events = film(scene, seconds, DvsModel(SENSOR, random_shapes_dvs(np.random.default_rng(seed)), seed))
    truth = scene_truth(scene, np.arange(0, round(seconds * 1e6) + 1, 5000, dtype=np.int64))
    events = events[: np.searchsorted(events["t"], round(seconds * 1e6))]
    return TrackedRecording(events, 0, f"{camera} {seed}", truth=truth, sensor=SENSOR)


def track(recording: TrackedRecording, config: ClusterConfig) -> list[Tracks]:
    """What the classical tracker tells of a recording."""
    tracker = ClusterTracker(config)
    state, told = tracker.initial_state(recording.sensor), []
    for window in windows(stream_of(recording.events, recording.sensor), WINDOW_US):
        table, state = tracker.step(window, state)
        told.append(Tracks.of(window.end_us, table))
    return told


def judge(camera: str, recordings: list[TrackedRecording], config: ClusterConfig) -> dict[str, Any]:
    """A row of the table; `mota` and `idf1` are of centres, `realtime` is sensor time over processor time."""
    score, spent, seconds = TrackScore(), 0.0, 0.0
    for recording in recordings:
        begun = time.process_time()
        told = track(recording, config)
        spent += time.process_time() - begun
        seconds += len(told) * WINDOW_US * 1e-6
        score.take(recording.name, told, recording.truth)
    result = score.summary()
    box, centre = result["box"] or {}, result["centre"]
    return {
        "camera": camera,
        "ego_motion": config.ego_motion,
        "mota": centre["mota"],
        "idf1": centre["idf1"],
        "box_mota": box.get("mota"),
        "box_idf1": box.get("idf1"),
        "missed": centre["num_misses"] / max(centre["num_objects"], 1),
        "switches": centre["num_switches"],
        "false_tracks": result["false_per_second"],
        "realtime": seconds / spent,
    }


COLUMNS = (
    ("mota", "MOTA"), ("idf1", "IDF1"), ("box_mota", "MOTA box"), ("box_idf1", "IDF1 box"), ("missed", "missed"),
    ("switches", "switches"), ("false_tracks", "false"), ("realtime", "realtime"),
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Judge both on `--sequences` scenes for each camera; a table, or JSON."""
    count = SEQUENCES if args.sequences is None else args.sequences
    both = ClusterConfig(), ClusterConfig(ego_motion=True)
    for config in both:  # compiles what is not compiled yet
        track(record("turns", FIRST_SEED - 1, seconds=0.1), config)
    rows = []
    with tqdm(total=len(CAMERAS) * count, desc="judge", unit="scene", file=sys.stderr, disable=None) as bar:
        for camera in CAMERAS:
            recordings = []
            for seed in range(FIRST_SEED, FIRST_SEED + count):
                recordings.append(record(camera, seed))
                bar.update()
            rows += [judge(camera, recordings, config) for config in both]
    if args.json:
        print(json.dumps({"bench": "tracking_camera", "sequences": count, "first_seed": FIRST_SEED, "rows": rows}))
        return 0
    print(f"{count} scenes of {SECONDS} s for each camera, seeds from {FIRST_SEED}; MOTA, IDF1: of centres")
    print(f"{'camera':<10}{'ego_motion':<12}" + "".join(f"{title:>10}" for _, title in COLUMNS))
    for row in rows:
        cells = "".join(f"{'-':>10}" if row[key] is None else f"{row[key]:10.3f}" for key, _ in COLUMNS)
        print(f"{row['camera']:<10}{'on' if row['ego_motion'] else 'off':<12}{cells}")
    return 0
