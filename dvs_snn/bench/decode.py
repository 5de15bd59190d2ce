"""`dvs-snn bench decode`: how fast recordings become windows, and readers beside faery's on the same files."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faery
import numpy as np
from faery import aedat, es, evt

from dvs_snn.events import EVENT_DTYPE, Events, Sensor, stream_of, windows
from dvs_snn.events.files import open_recording, write_recording

SENSOR = Sensor(640, 480)
WINDOW_US = 10_000
RATE_HZ = 5_000_000
REPEATS = 5

_FAERY: dict[str, Callable[[str], object]] = {
    ".raw": lambda path: [len(p["events"]) for p in evt.Decoder(path, (SENSOR.width, SENSOR.height), "evt3") if p],
    ".es": lambda path: [len(packet) for packet in es.Decoder(path, 0)],
    ".aedat4": lambda path: [len(packet) for _, packet in aedat.Decoder(path)],
}


def moving_edges(count: int, seed: int = 0) -> Events:
    """Events as of edges that sweep over the sensor at `RATE_HZ`: neighbours in x at nearly the same time."""
    rng = np.random.default_rng(seed)
    events = np.empty(count, EVENT_DTYPE)
    events["t"] = np.arange(count) * 1_000_000 // RATE_HZ
    run = np.repeat(np.arange(count // 4 + 1), 4)[:count]  # four neighbours fire together
    events["y"] = rng.integers(0, SENSOR.height, count // 4 + 1)[run]
    first = rng.integers(0, SENSOR.width - 4, count // 4 + 1)
    events["x"] = first[run] + np.arange(count) % 4
    events["p"] = rng.integers(0, 2, count // 4 + 1)[run]
    return events


def _best_seconds(programs: list[Callable[[], object]], repeats: int = REPEATS) -> list[float]:
    """The best processor time of each program; they take turns, so that a busy machine disturbs all alike."""
    best = [float("inf")] * len(programs)
    for _ in range(repeats + 1):  # the first turn compiles and fills the file cache; it cannot be the best
        for index, program in enumerate(programs):
            begin = time.process_time()
            program()
            best[index] = min(best[index], time.process_time() - begin)
    return best


def measure(count: int, folder: Path) -> dict[str, dict[str, float]]:
    """Million events per second from file to windows of 10 ms (npz), and from file to packets (the others)."""
    events = moving_edges(count)
    results: dict[str, dict[str, float]] = {}

    def drain(path: Path) -> int:
        return sum(len(packet) for packet in open_recording(path, SENSOR))

    path = folder / "decode.npz"
    write_recording(path, stream_of(events, SENSOR))
    (seconds,) = _best_seconds([lambda: sum(len(w.events) for w in windows(open_recording(path, SENSOR), WINDOW_US))])
    results["npz_to_windows"] = {"million_per_s": count / seconds * 1e-6}
    for suffix, rival in _FAERY.items():
        other = folder / f"decode{suffix}"
        write_recording(other, stream_of(events, SENSOR))
        ours, theirs = _best_seconds([partial(drain, other), partial(rival, str(other))])
        results[suffix[1:]] = {
            "million_per_s": count / ours * 1e-6,
            "faery_million_per_s": count / theirs * 1e-6,
            "ratio": theirs / ours,
        }
    return results


def run(args: argparse.Namespace) -> int:
    """Print the rates as a table, or as JSON with `--json`."""
    count = int(getattr(args, "events", None) or 4_000_000)
    print(f"{count:,} events of a {SENSOR} sensor, faery {faery.__version__}, processor time", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="dvs_snn_decode_") as folder:
        results = measure(count, Path(folder))
    if args.json:
        print(json.dumps({"events": count, **results}))
        return 0
    for name, rates in results.items():
        beside = f", faery {rates['faery_million_per_s']:6.1f}, ratio {rates['ratio']:.2f}" if "ratio" in rates else ""
        print(f"{name:<15} {rates['million_per_s']:6.1f} million events/s{beside}")
    return 0
