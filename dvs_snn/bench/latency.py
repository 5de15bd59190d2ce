"""`dvs-snn bench latency`: time of each window at batch 1, from the push of a packet to the decision, by stage."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.events import Events, Window
from dvs_snn.events.simulate import simulate_gesture
from dvs_snn.pipeline import Checkpoint, Decision, Pipeline, load_checkpoint, open_pipeline
from dvs_snn.representation import SparseMap

SEED, SECONDS, LABEL = 30_000_001, 3.0, 8
WARM_WINDOWS = 50
STAGES = ("window", "encode", "step", "decide")


class StagedPipeline(Pipeline):
    """A pipeline that notes how long each stage of the last window took, in nanoseconds."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline.config, pipeline.runtime)
        self.spent_ns = dict.fromkeys(STAGES, 0)
        self._entered_ns = 0

    def push(self, packet: Events) -> list[Decision]:
        begun = self._entered_ns = time.perf_counter_ns()
        decisions = super().push(packet)
        whole = time.perf_counter_ns() - begun
        self.spent_ns["window"] = whole - sum(self.spent_ns[stage] for stage in STAGES[1:])
        return decisions

    def encode(self, window: Window) -> SparseMap:
        begun = time.perf_counter_ns()
        encoded = super().encode(window)
        self.spent_ns["encode"] = time.perf_counter_ns() - begun
        return encoded

    def infer(self, window: Window) -> NDArray[np.float32]:
        begun = time.perf_counter_ns()
        output = super().infer(window)
        self.spent_ns["step"] = time.perf_counter_ns() - begun - self.spent_ns["encode"]
        return output

    def decide(self, window: Window) -> Decision:
        begun = time.perf_counter_ns()
        decision = super().decide(window)
        self.spent_ns["decide"] = time.perf_counter_ns() - begun - self.spent_ns["encode"] - self.spent_ns["step"]
        return decision


def run(args: argparse.Namespace) -> int:
    """Measure the shipped checkpoint `gesture` on a simulated recording and print a table, or JSON."""
    report = measure(load_checkpoint("gesture"))
    if args.json:
        print(json.dumps(report))
        return 0
    print(
        f"{report['checkpoint']}, {report['windows']} windows of {report['bin_us'] / 1000:g} ms, "
        f"{report['events_per_window']:.0f} events each, {report['runtime']}, 1 thread, {report['cpu']}"
    )
    print(f"{'stage':<8}{'median':>12}{'99 %':>12}")
    for name, times in report["stages"].items():
        print(f"{name:<8}{times['p50_ms']:9.3f} ms{times['p99_ms']:9.3f} ms")
    print(f"{'all':<8}{report['p50_ms']:9.3f} ms{report['p99_ms']:9.3f} ms")
    if report["p99_ms"] * 1e3 > report["bin_us"]:
        print("note: slower than the camera at 99 %: windows would queue", file=sys.stderr)
    return 0


def measure(checkpoint: Checkpoint, seconds: float = SECONDS) -> dict[str, Any]:
    """Push a simulated recording window by window, as a driver would, and time each push that brings a decision."""
    config = checkpoint.config
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pipeline = StagedPipeline(open_pipeline(checkpoint))
    try:
        events = simulate_gesture(LABEL, seconds, SEED, config.sensor)
        cuts = np.flatnonzero(np.diff(events["t"] // config.bin_us)) + 1
        rows = [
            list(pipeline.spent_ns.values()) for packet in np.split(events, cuts) if len(pipeline.push(packet)) == 1
        ]
    finally:
        pipeline.close()
        torch.set_num_threads(threads)
    times_ms = np.asarray(rows[min(WARM_WINDOWS, len(rows) // 2) :], float) * 1e-6
    return {
        "bench": "latency",
        "checkpoint": checkpoint.path.name,
        "runtime": "torch",
        "bin_us": config.bin_us,
        "windows": len(times_ms),
        "events_per_window": len(events) / (len(cuts) + 1),
        "threads": 1,
        "cpu": _cpu_name(),
        **_quantiles(times_ms.sum(axis=1)),
        "stages": {stage: _quantiles(times_ms[:, column]) for column, stage in enumerate(STAGES)},
    }


def _quantiles(times_ms: NDArray[np.float64]) -> dict[str, float]:
    median, most = np.percentile(times_ms, [50, 99])
    return {"p50_ms": round(float(median), 4), "p99_ms": round(float(most), 4)}


def _cpu_name() -> str:
    """The processor's name where the system tells it, for a figure says nothing without its machine."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
