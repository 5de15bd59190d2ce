"""`dvs-snn bench tracking`: events per second of the classical tracker and of dv-processing's, on one recording.

The peers are optional: what is not installed is left out and said. Everybody gets the same events in memory and is
asked for tracks equally often; reading a file is not timed. Turns are interleaved, and CPU time is taken, so that a
busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
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
STEPS_US = (1_000, 10_000)
"""Update rates that are compared: a tracker that is asked ten times as often does more."""
Turn = Callable[[], int]


def run(args: argparse.Namespace) -> int:
    """Measure on a simulated recording and print a table, or JSON."""
    report = measure(bench_events(), SENSOR)
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"{report['events']:,} events of {report['seconds']:.2f} s, {report['sensor']}, one thread, best of {TURNS}")
    for row in report["trackers"]:
        every = f"every {row['update_us'] / 1000:g} ms"
        print(f"{row['tracker']:<38}{every:<13}{row['events_per_s'] / 1e6:8.2f} M events/s")
    for step_us, ratio in report["ratio"].items():
        if ratio is not None:
            print(f"ours over dv-processing's fastest, updates every {int(step_us) / 1000:g} ms: {ratio:.1f}")
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
    """Best CPU time of every tracker over interleaved turns; the ratios are between equal update rates."""
    notes: list[str] = []
    takers: dict[tuple[str, int], Turn] = {}
    for step_us in STEPS_US:
        takers["dvs_snn clusters", step_us] = _ours(events, sensor, step_us)
        for name, turn in _peers(events, sensor, step_us, notes).items():
            takers[name, step_us] = turn
    best = dict.fromkeys(takers, float("inf"))
    for turn in takers.values():
        turn()  # compile, warm the caches
    for _ in range(turns):
        for key, turn in takers.items():
            begun = time.process_time()
            turn()
            best[key] = min(best[key], time.process_time() - begun)
    rows = [
        {"tracker": name, "update_us": step_us, "events_per_s": len(events) / max(spent, 1e-9), "cpu_s": spent}
        for (name, step_us), spent in best.items()
    ]
    return {
        "bench": "tracking",
        "events": len(events),
        "seconds": float(np.ptp(events["t"]) * 1e-6) if len(events) else 0.0,
        "sensor": str(sensor),
        "threads": 1,
        "trackers": rows,
        "ratio": {f"{step_us}": _ratio(rows, step_us) for step_us in STEPS_US},
        "notes": notes,
    }


def _ratio(rows: list[dict[str, Any]], step_us: int) -> float | None:
    ours, *theirs = [row["events_per_s"] for row in rows if row["update_us"] == step_us]
    return ours / max(theirs) if theirs else None


def _ours(events: Events, sensor: Sensor, step_us: int) -> Turn:
    checkpoint = load_checkpoint("clusters")
    pipeline = open_pipeline(replace(checkpoint, config=replace(checkpoint.config, bin_us=step_us)))
    packets = [events[start : start + 65_536] for start in range(0, len(events), 65_536)]

    def turn() -> int:
        pipeline.set_sensor(sensor)
        count = 0
        for packet in packets:
            count += len(pipeline.push(packet))
        return count + len(pipeline.flush())

    return turn


def _peers(events: Events, sensor: Sensor, step_us: int, notes: list[str]) -> dict[str, Turn]:
    try:
        import dv_processing as dv
    except ImportError:
        note = "dv-processing is not installed (make bench); only ours was measured"
        notes.extend([note] if note not in notes else [])
        return {}
    stores = [store for _, store in event_stores(dv, events, sensor, step_us)]
    size = (sensor.width, sensor.height)

    def mean_shift() -> int:
        tracker = dv.features.MeanShiftTracker(size, 20, timedelta(milliseconds=10))
        for store in stores:
            tracker.accept(store)
            tracker.runTracking()
        return len(stores)

    def lucas_kanade() -> int:
        tracker = dv.features.EventFeatureLKTracker.RegularTracker(size)
        tracker.setFramerate(1_000_000 // step_us)
        count = 0
        for store in stores:
            tracker.accept(store)
            while tracker.runTracking() is not None:
                count += 1
        return count

    return {"dv-processing MeanShiftTracker": mean_shift, "dv-processing EventFeatureLKTracker": lucas_kanade}


def event_stores(dv: Any, events: Events, sensor: Sensor, step_us: int) -> list[tuple[int, Any]]:
    """The events as dv-processing holds them, cut at multiples of `step_us`, each with its end."""
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
    first, last = merged.getLowestTime() // step_us * step_us, merged.getHighestTime()
    return [(start + step_us, merged.sliceTime(start, start + step_us)) for start in range(first, last + 1, step_us)]
