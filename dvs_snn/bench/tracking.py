"""`dvs-snn bench tracking`: events per second of the classical tracker and of dv-processing's, on one recording.

The peers are optional: what is not installed is left out and said. Everybody gets the same events in memory, a
millisecond at a time for us and in the batches of its own reader for dv-processing; reading a file is not timed. Turns
are interleaved, and each takes CPU time on one thread, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dvs_snn.events import Events, Sensor, stream_of
from dvs_snn.events.files import write_recording
from dvs_snn.events.simulate import ShapesConfig, simulate_shapes
from dvs_snn.pipeline import load_checkpoint, open_pipeline

SEED, SECONDS, TARGETS = 81_000_000, 1.0, 4
SENSOR = Sensor(320, 240)
TURNS = 3
Turn = Callable[[], int]


def run(args: argparse.Namespace) -> int:
    """Measure on a simulated recording and print a table, or JSON."""
    report = measure(bench_events(), SENSOR)
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"{report['events']:,} events of {report['seconds']:.2f} s, {report['sensor']}, one thread, best of {TURNS}")
    for name, row in report["trackers"].items():
        print(f"{name:<36}{row['events_per_s'] / 1e6:8.2f} M events/s")
    if report["ratio"] is not None:
        print(f"ours over the fastest event tracker of dv-processing: {report['ratio']:.1f}")
    for note in report["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0


def bench_events() -> Events:
    """Four quick textured shapes; deterministic."""
    config = ShapesConfig(
        background_chance=0.0, shake_chance=0.0, occluder_chance=0.0, median_speed_px_s=400.0, flicker_chance=0.0
    )
    return simulate_shapes(SECONDS, SEED, SENSOR, TARGETS, config)[0]


def measure(events: Events, sensor: Sensor, turns: int = TURNS) -> dict[str, Any]:
    """Best CPU time of every tracker over interleaved turns."""
    notes: list[str] = []
    takers: dict[str, Turn] = {"dvs_snn clusters (1 ms updates)": _ours(events, sensor)}
    takers.update(_peers(events, sensor, notes))
    best: dict[str, float] = {}
    for name, turn in takers.items():
        turn()  # compile, warm the caches
        best[name] = float("inf")
    for _ in range(turns):
        for name, turn in takers.items():
            begun = time.process_time()
            turn()
            best[name] = min(best[name], time.process_time() - begun)
    rows = {name: {"events_per_s": len(events) / max(spent, 1e-9), "cpu_s": spent} for name, spent in best.items()}
    ours, *theirs = [row["events_per_s"] for row in rows.values()]
    return {
        "bench": "tracking",
        "events": len(events),
        "seconds": float(np.ptp(events["t"]) * 1e-6) if len(events) else 0.0,
        "sensor": str(sensor),
        "threads": 1,
        "trackers": rows,
        "ratio": ours / max(theirs) if theirs else None,
        "notes": notes,
    }


def _ours(events: Events, sensor: Sensor) -> Turn:
    pipeline = open_pipeline(load_checkpoint("clusters"))
    packets = [events[start : start + 65_536] for start in range(0, len(events), 65_536)]

    def turn() -> int:
        pipeline.set_sensor(sensor)
        count = 0
        for packet in packets:
            count += len(pipeline.push(packet))
        return count + len(pipeline.flush())

    return turn


def _peers(events: Events, sensor: Sensor, notes: list[str]) -> dict[str, Turn]:
    try:
        import dv_processing as dv
    except ImportError:
        notes.append("dv-processing is not installed (pip install dv-processing==2.0.4); only ours was measured")
        return {}
    stores = _stores(dv, events, sensor)
    size = (sensor.width, sensor.height)

    def mean_shift() -> int:
        tracker = dv.features.MeanShiftTracker(size, 20, timedelta(milliseconds=10))
        return sum(_follow_mean_shift(tracker, store) for store in stores)

    def lucas_kanade() -> int:
        tracker = dv.features.EventFeatureLKTracker.RegularTracker(size)
        count = 0
        for store in stores:
            tracker.accept(store)
            while tracker.runTracking() is not None:
                count += 1
        return count

    return {"dv-processing MeanShiftTracker": mean_shift, "dv-processing EventFeatureLKTracker": lucas_kanade}


def _follow_mean_shift(tracker: Any, store: Any) -> int:
    """An update per batch of the reader, about 10 ms."""
    tracker.accept(store)
    tracker.runTracking()
    return 1


def _stores(dv: Any, events: Events, sensor: Sensor) -> list[Any]:
    """The events as dv-processing holds them; it takes them from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.aedat4"
        write_recording(path, stream_of(events, sensor))
        reader = dv.io.MonoCameraRecording(str(path))
        stores = []
        while reader.isRunning():
            store = reader.getNextEventBatch()
            if store is not None:
                stores.append(store)
    merged = dv.EventStore()
    for store in stores:
        merged.add(store)
    first, last = merged.getLowestTime(), merged.getHighestTime()
    return [merged.sliceTime(start, start + 10_000) for start in range(first, last + 1, 10_000)]
