"""A checkpoint becomes an integer package: calibration, quantisation, golden vectors, shares of the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.deploy.integer import IntegerHead, LayerCounts, integer_parts
from dvs_snn.deploy.layers import ChipLayer
from dvs_snn.deploy.package import (
    FOLDER,
    RESET,
    RUN,
    Golden,
    LoihiPackage,
    digest,
    load_package,
    ranges,
    run_layers,
)
from dvs_snn.deploy.quantize import measure_peaks, quantize_layers
from dvs_snn.deploy.split import SplitNetwork, split
from dvs_snn.deploy.work import work_of
from dvs_snn.errors import PackageError
from dvs_snn.events import stream_of, windows
from dvs_snn.events.simulate import GESTURES, simulate_gesture
from dvs_snn.pipeline import Checkpoint, PipelineConfig
from dvs_snn.representation import dense_batch

GOLDEN_BINS = 48
CALIBRATION_SEED = 40_000_000
"""Far from the seeds of the simulated splits."""


def quantize(
    network: torch.nn.Module,
    calibration: Sequence[NDArray[np.float32]],
    exponent: int | None = None,
    prune: float = 0.0,
) -> LoihiPackage:
    """The chip parts of a gesture network as integers.

    `calibration`: event counts per bin, `[time, channel, height, width]` per recording; the ranges of all states are
    those seen on it, with headroom. `prune` is the share of each layer's smallest weights that become zero before they
    are rounded. Raises `PackageError` when the network does not fit the chip's neurons or number formats.
    """
    if not calibration or any(len(clip) == 0 for clip in calibration):
        raise PackageError("quantisation needs a calibration set: recordings of one bin or more")
    if not 0.0 <= prune < 1.0:
        raise PackageError(f"prune is a share in [0, 1), got {prune:g}")
    parts = split(network)
    if prune:
        _prune(parts, prune)
    peaks = measure_peaks(parts, calibration)
    layers = quantize_layers(parts, peaks, exponent)
    counts = _check_ranges(parts, layers, calibration)
    golden = _golden(parts, layers, calibration)
    return LoihiPackage(
        layers=tuple(layers),
        golden=golden,
        source=digest(network),
        shape=parts.shape,
        delays=parts.host.taps.delays,
        parts=work_of(parts, counts),
        calibration=ranges(counts),
        quantization={"weight_bits": 8, "prune": prune, "exponent": exponent},
    )


@torch.no_grad()
def _prune(parts: SplitNetwork, share: float) -> None:
    """Zero the smallest weights of every chip layer (Han et al., 2015)."""
    weights: list[torch.Tensor] = [p for p in parts.backbone.parameters() if p.ndim == 4]
    weights += [parts.head.recurrent.weight]  # type: ignore[union-attr,list-item]
    for weight in weights:
        limit = torch.quantile(weight.abs().flatten(), share)
        weight.mul_(weight.abs() > limit)


@torch.inference_mode()
def _check_ranges(
    parts: SplitNetwork, layers: Sequence[ChipLayer], calibration: Sequence[NDArray[np.float32]]
) -> list[LayerCounts]:
    """Run the integers over the calibration set; no sum may wrap and no state saturate."""
    backbone, head = integer_parts(layers)
    network = parts.with_parts(backbone, head)
    for clip in calibration:
        network(torch.from_numpy(np.asarray(clip, np.float32))[:, None].to(_dtype(parts)))
    counts = [*(scan.counts for scan in backbone.scans), head.scan.counts]
    for part in counts:
        if part.wrapped or part.saturated:
            raise PackageError(
                f"layer {part.name}: {part.wrapped} sums and {part.saturated} states leave 24 bits "
                "on the calibration set"
            )
    return counts


@torch.inference_mode()
def _golden(parts: SplitNetwork, layers: Sequence[ChipLayer], calibration: Sequence[NDArray[np.float32]]) -> Golden:
    """Inputs of two recordings, one after the other, with a reset between them, and the spikes they give."""
    backbone, head = integer_parts(layers)
    assert isinstance(head, IntegerHead)
    frames, currents, flags = [], [], []
    for clip in (calibration[0], calibration[-1]):
        xs = torch.from_numpy(np.asarray(clip[: GOLDEN_BINS // 2], np.float32))[:, None].to(_dtype(parts))
        shown, _ = parts.host.frames(xs, None)
        spikes, _ = backbone(shown, None)
        entering, _ = parts.host.currents(spikes, None)
        frames.append(shown[:, 0].numpy().astype(np.uint8))
        currents.append(head.scan.round(entering[:, 0].numpy()))
        flags.append(np.array([RESET, *[RUN] * (len(xs) - 1)], np.uint8))
    inputs = np.concatenate(frames), np.concatenate(currents), np.concatenate(flags)
    spikes_of, _ = run_layers(layers, *inputs)
    return Golden(*inputs, tuple(spikes_of))


def _dtype(parts: SplitNetwork) -> torch.dtype:
    return next(parts.host.parameters()).dtype


def simulated_calibration(config: PipelineConfig, seconds: float = 0.4) -> list[NDArray[np.float32]]:
    """Counts of one short simulated recording per class, from seeds that no split of the simulated data holds."""
    clips = []
    for index in range(len(GESTURES)):
        events = simulate_gesture(index, seconds, CALIBRATION_SEED + index, config.sensor)
        found = list(windows(stream_of(events, config.sensor), config.bin_us))
        maps = [config.representation(window, config.sensor) for window in found]
        clips.append(dense_batch(maps).numpy())
    return clips


def package_of(checkpoint: Checkpoint) -> LoihiPackage:
    """The package in a checkpoint's folder; without one, the checkpoint quantised now, kept in the user's cache."""
    own = Path(checkpoint.path) / FOLDER
    if own.is_dir():
        return load_package(own, checkpoint.model)
    split(checkpoint.model)  # what cannot be quantised says so before the calibration begins
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kept = Path(root) / "dvs_snn" / FOLDER / digest(checkpoint.model)[:32]
    try:
        return load_package(kept, checkpoint.model)
    except PackageError:
        package = quantize(checkpoint.model, simulated_calibration(checkpoint.config))
        package.save(kept)
        return package
