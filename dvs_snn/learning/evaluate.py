"""A network judged on recordings: a batched scan that gives, bin by bin, what `Pipeline` gives when it streams them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dvs_snn.errors import RecordingError
from dvs_snn.events import Sensor, Window, stream_of, windows
from dvs_snn.events.resample import Resample
from dvs_snn.learning.clips import encode_windows
from dvs_snn.learning.measures import CostMeter
from dvs_snn.learning.metrics import classification, latency
from dvs_snn.learning.recordings import Recording, RecordingSet
from dvs_snn.nn import State, Temporal
from dvs_snn.pipeline import DECIDERS, Gesture, GestureDecider, PipelineConfig, recording_label

CHUNK_BINS = 32
"""Bins scanned at once: enough to be fast, few enough that the activations of a long recording fit in memory."""


@dataclass(frozen=True)
class Encoded:
    """A recording's windows and their maps, for one sequence after the other: state is reset at each `starts`."""

    recording: Recording
    windows: list[Window]
    maps: NDArray[np.float32]


def evaluate(
    config: PipelineConfig,
    model: Temporal,
    recordings: RecordingSet,
    batch: int = 16,
    device: torch.device | str = "cpu",
    advance: Callable[[int], object] = lambda count: None,
    costs: bool = False,
) -> dict[str, Any]:
    """Accuracy, interval, confusion and latency of a network on a set of recordings, its mean loss, and what it costs.

    What class a recording counts as: `pipeline.recording_label`.
    `costs` adds spikes, synaptic operations, sparsity and size (`measures.CostMeter`).
    """
    meter = CostMeter(model) if costs else None
    truth: list[int] = []
    decided: list[int] = []
    times: list[int | None] = []
    loss = 0.0
    for recording, decisions in decisions_of(config, model, recordings, batch, device, meter):
        truth.append(recording.label)
        decided.append(recording_label(decisions, config.bin_us, config.decision.warmup_us, config.decision.whole))
        start_us = decisions[0].t_us - config.bin_us
        times.append(next((d.t_us - start_us for d in decisions if d.index == recording.label), None))
        loss -= float(np.mean([np.log(max(d.posterior[recording.label], 1e-12)) for d in decisions]))
        advance(1)
    found = latency(times)
    cost: dict[str, Any] = {}
    if meter is not None:
        steps = None if found["median_s"] is None else found["median_s"] * 1e6 / config.bin_us
        cost = {"costs": meter.report(steps)}
    return {
        "task": config.task,
        "data": recordings.source,
        "split": recordings.split,
        **classification(truth, decided, config.labels),
        "loss": loss / max(len(truth), 1),
        "latency": found,
        **cost,
    }


def decisions_of(
    config: PipelineConfig,
    model: Temporal,
    recordings: RecordingSet,
    batch: int = 16,
    device: torch.device | str = "cpu",
    meter: CostMeter | None = None,
) -> Iterator[tuple[Recording, list[Gesture]]]:
    """Each recording with its decisions, one per window, as `Pipeline.run` gives them."""
    rule = DECIDERS[config.task]
    assert issubclass(rule, GestureDecider), "tracks are judged elsewhere"
    decider = rule(config.decision, config.labels, config.bin_us)
    for encoded, outputs in scan_recordings(config, model, recordings, batch, device, meter):
        decisions = []
        for window, logits in zip(encoded.windows, outputs, strict=True):
            if window.first:
                decider.reset()
            decisions.append(decider(logits, window))
        yield encoded.recording, decisions


def scan_recordings(
    config: PipelineConfig,
    model: Temporal,
    recordings: RecordingSet,
    batch: int = 16,
    device: torch.device | str = "cpu",
    meter: CostMeter | None = None,
) -> Iterator[tuple[Encoded, NDArray[np.float32]]]:
    """Each recording with the network's output at each of its windows, `[time, classes]`; batches are read ahead."""
    model = model.to(device).eval()

    def read(start: int) -> list[Encoded]:
        stop = min(start + batch, len(recordings))
        return [encode_recording(config, recordings[index], recordings.sensor) for index in range(start, stop)]

    pending: deque[Future[list[Encoded]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="recordings") as pool:
        starts = iter(range(0, len(recordings), batch))
        pending.extend(pool.submit(read, start) for start in islice(starts, 2))
        while pending:
            group = pending.popleft().result()
            if (start := next(starts, -1)) >= 0:
                pending.append(pool.submit(read, start))
            yield from zip(group, _scan(model, group, device, meter), strict=True)


def encode_recording(config: PipelineConfig, recording: Recording, sensor: Sensor) -> Encoded:
    """Windows and maps of a recording, resampled to the network's sensor as `Pipeline` does it."""
    events = recording.events
    if sensor != config.sensor:
        events = Resample(sensor, config.sensor)(events)
    found = list(windows(stream_of(events, config.sensor), config.bin_us))
    if not found:
        raise RecordingError(recording.name or "recording", "holds no events, so there is nothing to decide")
    return Encoded(recording, found, encode_windows(config.representation, found, config.sensor))


@torch.inference_mode()
def _scan(
    model: Temporal, group: Sequence[Encoded], device: torch.device | str, meter: CostMeter | None
) -> list[NDArray[np.float32]]:
    """Outputs of several recordings in one batch; those with a restart in the middle run alone, piece by piece."""
    whole = [i for i, encoded in enumerate(group) if not any(w.first for w in encoded.windows[1:])]
    results: dict[int, NDArray[np.float32]] = {}
    if meter is not None:
        meter.recordings += len(group)
    if whole:
        scanned = _scan_maps(model, [group[i].maps for i in whole], device, meter)
        results.update(zip(whole, scanned, strict=True))
    for i, encoded in enumerate(group):
        if i not in results:
            cuts = [k for k, window in enumerate(encoded.windows) if window.first and k] + [len(encoded.windows)]
            pieces = [encoded.maps[a:b] for a, b in zip([0, *cuts], cuts, strict=False)]
            results[i] = np.concatenate([_scan_maps(model, [piece], device, meter)[0] for piece in pieces])
    return [results[i] for i in range(len(group))]


def _scan_maps(
    model: Temporal, maps: Sequence[NDArray[np.float32]], device: torch.device | str, meter: CostMeter | None
) -> list[NDArray[np.float32]]:
    lengths = torch.tensor([len(part) for part in maps])
    longest = int(lengths.max())
    state: State | None = None
    outputs = []
    with meter or nullcontext():
        for start in range(0, longest, CHUNK_BINS):
            chunk = _chunk(maps, start, min(start + CHUNK_BINS, longest))
            if meter is not None:
                meter.watch(torch.arange(start, start + len(chunk)).unsqueeze(1) < lengths)
            output, state = model(chunk.to(device), state)
            outputs.append(output.float().cpu())
    joined = torch.cat(outputs).numpy()
    return [joined[: len(part), row] for row, part in enumerate(maps)]


def _chunk(maps: Sequence[NDArray[np.float32]], start: int, stop: int) -> Float[Tensor, "time batch *map"]:
    """Bins `start` to `stop` of every recording; silence after its end."""
    chunk = np.zeros((stop - start, len(maps), *maps[0].shape[1:]), np.float32)
    for row, part in enumerate(maps):
        piece = part[start:stop]
        chunk[: len(piece), row] = piece
    return torch.from_numpy(chunk)
