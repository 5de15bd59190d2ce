"""A tracker judged on recordings with truth, streamed as a robot would see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dvs_snn.errors import ConfigError
from dvs_snn.learning.tracking_data import (
    SEQUENCES,
    TRACKING_SEEDS,
    RecordedTracks,
    SimulatedShapes,
    SimulatedShapesConfig,
    TrackedRecording,
)
from dvs_snn.learning.tracking_metrics import TrackScore
from dvs_snn.pipeline import Pipeline, Tracks

PACKET_EVENTS = 4096
"""Packets are cut to this size, about a millisecond of a busy camera: the time a decision takes is then its own."""


def open_tracking_data(data: str, split: str, count: int | None = None) -> SimulatedShapes | RecordedTracks:
    """Recordings with truth: `simulated`, or a folder."""
    if data == "simulated":
        asked: dict[str, Any] = {split: SEQUENCES if count is None else count} if split in TRACKING_SEEDS else {}
        kept = SimulatedShapes(SimulatedShapesConfig(**asked), split)
        kept.prepare()
        return kept
    if count is not None:
        raise ConfigError("a number of recordings is for simulated data; a folder is judged whole")
    return RecordedTracks(Path(data))


def follow(pipeline: Pipeline, recording: TrackedRecording) -> tuple[list[Tracks], list[float]]:
    """The tracks of a recording and how long the computer took for each, in seconds."""
    pipeline.set_sensor(recording.stream.sensor)
    pipeline.reset()
    decisions: list[Tracks] = []
    latencies_s: list[float] = []

    def take(found: list[Any], begun: float) -> None:
        spent = (time.perf_counter() - begun) / max(len(found), 1)
        decisions.extend(found)
        latencies_s.extend([spent] * len(found))

    for packet in recording.stream:
        for start in range(0, len(packet), PACKET_EVENTS):
            begun = time.perf_counter()
            take(pipeline.push(packet[start : start + PACKET_EVENTS]), begun)
    take(pipeline.flush(), time.perf_counter())
    return decisions, latencies_s


def evaluate_tracks(
    pipeline: Pipeline,
    recordings: Iterable[TrackedRecording],
    advance: Callable[[int], object] = lambda count: None,
) -> dict[str, Any]:
    """The measures of `TrackScore` over all recordings; `n` counts them."""
    if pipeline.config.task != "tracks":
        raise ConfigError(f"task {pipeline.config.task!r} gives no tracks")
    score, count = TrackScore(), 0
    for recording in recordings:
        decisions, latencies_s = follow(pipeline, recording)
        score.take(recording.name, decisions, recording.truth, latencies_s)
        count += 1
        advance(1)
    return {"n": count, **score.summary()}


def describe_tracks(result: dict[str, Any]) -> str:
    """The measures for a reader."""
    lines = [
        f"tracks on {result['data']}, split {result['split']}: {result['n']} recordings, {result['target_s']:.1f} s"
    ]
    for name, title in (("box", "boxes, IoU >= 0.5"), ("centre", "centres within half a target")):
        table = result[name]
        if table is None or table["mota"] is None:
            lines.append(f"{title}: nothing to judge")
            continue
        lines.append(
            f"{title}: MOTA {table['mota']:.3f}, IDF1 {table['idf1'] or 0.0:.3f}, {table['num_switches']} switches, "
            f"{table['num_false_positives']} false, {table['num_misses']} missed of {table['num_objects']}"
        )
    for name, title in (("error_px", "centre error"), ("error_published_px", "when published")):
        if result[name] is not None:
            values = result[name]
            lines.append(
                f"{title}: rms {values['rms']:.2f} px, median {values['median']:.2f}, 95 % {values['p95']:.2f}"
            )
    if result["success_auc"] is not None:
        lines.append(f"success (area under curve) {result['success_auc']:.3f}")
    if result["lost_per_minute"] is not None:
        lines.append(
            f"precision at 20 px {result['precision']['20']:.3f}; lost {result['lost_per_minute']:.1f} times a minute, "
            f"false tracks {result['false_per_second']:.3f} at any time"
        )
    late = result["latency_ms"]
    lines.append(f"time of an update: median {late['p50']:.2f} ms, 99 % {late['p99']:.2f} ms")
    return "\n".join(lines)
