"""`dvs-snn bench loihi`: time of one step by the integer reference, by torch, and by Lava in its side-car.

The integers and torch take turns on the same frames, on one thread. Lava runs the shipped `gesture` and, for the load
of a sensor that is not pooled, 2x128x128 events into two convolutions, with our fast CPU models and with its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.bench.latency import LABEL, SEED, _cpu_name, _quantiles
from dvs_snn.deploy import ConvLIF, IntegerRuntime, RecurrentTCLIF, integer_parts, package_of, split
from dvs_snn.deploy.lava_client import Graph, Sidecar, fixed_graph
from dvs_snn.deploy.package import RESET, RUN
from dvs_snn.events import stream_of, windows
from dvs_snn.events.simulate import simulate_gesture
from dvs_snn.pipeline import Checkpoint, load_checkpoint
from dvs_snn.pipeline.runtime import Runtime, TorchRuntime
from dvs_snn.representation import SparseMap

SECONDS = 3.0
WARM_STEPS, STOCK_STEPS = 20, 12
RATE, HIDDEN = 0.02, 512
"""Of the network at full resolution: events per pixel, polarity and bin, and neurons of its recurrent layer."""

Times = dict[str, NDArray[np.float64]]


def run(args: argparse.Namespace) -> int:
    """Measure the shipped checkpoint `gesture` and print a table, or JSON."""
    report = measure(load_checkpoint("gesture"))
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"{report['checkpoint']}, {report['steps']} steps, {report['cpu']}")
    for name, times in report["times"].items():
        print(f"{name:60s}{times['p50_ms']:10.3f} ms{times['p99_ms']:10.3f} ms at 99 %")
    for name, ratio in report["ratios"].items():
        print(f"{name:60s}{ratio:10.2f} times as fast")
    if not report["lava"]:
        print("Lava is not installed (make loihi): its times are left out")
    return 0


def measure(checkpoint: Checkpoint, seconds: float = SECONDS, lava: bool | None = None) -> dict[str, Any]:
    """Times per step in milliseconds; `lava` None measures Lava where it is installed."""
    package, config = package_of(checkpoint), checkpoint.config
    events = simulate_gesture(LABEL, seconds, SEED, config.sensor)
    found = windows(stream_of(events, config.sensor), config.bin_us)
    maps = [config.representation(window, config.sensor) for window in found]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        frames, times = _chip_parts(checkpoint, maps)
        times |= _networks(checkpoint, maps)
    finally:
        torch.set_num_threads(threads)
    lava = importlib.util.find_spec("lava") is not None if lava is None else lava
    if lava:
        convolutions = [layer for layer in package.layers if isinstance(layer, ConvLIF)]
        times["gesture, backbone in Lava"] = _lava(fixed_graph(convolutions), frames)
        full, recurrent = full_resolution()
        generator = np.random.default_rng(SEED)
        counts = generator.poisson(RATE, (len(frames), *full[0].shape)).astype(np.uint8)
        times["2x128x128, two convolutions, Lava, fast models"] = _lava(fixed_graph(full), counts)
        stock = fixed_graph(full, "stock")
        times["2x128x128, two convolutions, Lava, its own models"] = _lava(stock, counts[:STOCK_STEPS], warm=2)
        graded = generator.normal(0, 300, (len(frames), HIDDEN)).astype(np.int32)
        times[f"recurrent TC-LIF, {HIDDEN} neurons, Lava, fast models"] = _lava(fixed_graph([recurrent]), graded)
        times["gesture, whole step by --runtime lava"] = _lava_network(checkpoint, maps)
    middle = {name: float(np.median(part)) for name, part in times.items()}
    return {
        "bench": "loihi",
        "checkpoint": checkpoint.path.name,
        "steps": len(maps),
        "lava": lava,
        "cpu": _cpu_name(),
        "times": {name: _quantiles(part) for name, part in times.items()},
        "ratios": {
            f"{part}, integers against torch": round(middle[f"{part}, torch"] / middle[f"{part}, integers"], 2)
            for part in ("chip parts", "whole network")
        },
    }


@torch.inference_mode()
def _chip_parts(checkpoint: Checkpoint, maps: Sequence[SparseMap]) -> tuple[NDArray[np.uint8], Times]:
    """The chip's frames, and the times of backbone with head: the same inputs for both, in turns."""
    parts = split(checkpoint.model)
    backbone, head = integer_parts(package_of(checkpoint).layers)
    frames, _ = parts.host.frames(torch.stack([part.dense() for part in maps])[:, None], None)
    spikes, _ = backbone(frames)
    currents, _ = parts.host.currents(spikes, None)
    states: dict[str, Any] = {"torch": (None, None), "integers": (None, None)}
    modules = {"torch": (parts.backbone, parts.head), "integers": (backbone, head)}
    times: dict[str, list[float]] = {name: [] for name in modules}
    for frame, current in zip(frames, currents, strict=True):
        for name, (convolutions, recurrent) in modules.items():
            own = states[name]
            begun = time.perf_counter_ns()
            _, first = convolutions.step(frame, own[0])
            _, second = recurrent.step(current, own[1])
            times[name].append((time.perf_counter_ns() - begun) * 1e-6)
            states[name] = first, second
    shown = frames[:, 0].numpy().astype(np.uint8)
    return shown, {f"chip parts, {name}": np.array(part[WARM_STEPS:]) for name, part in times.items()}


def _networks(checkpoint: Checkpoint, maps: Sequence[SparseMap]) -> Times:
    """Whole steps of both runtimes, in turns."""
    runtimes: dict[str, Runtime] = {
        "torch": TorchRuntime(checkpoint.model),
        "integers": IntegerRuntime.open(checkpoint),
    }
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for x in maps:
        for name, runtime in runtimes.items():
            times[name].append(_timed_ms(runtime, x))
    return {f"whole network, {name}": np.array(part[WARM_STEPS:]) for name, part in times.items()}


def _timed_ms(runtime: Runtime, x: SparseMap) -> float:
    begun = time.perf_counter_ns()
    runtime.step(x)
    return (time.perf_counter_ns() - begun) * 1e-6


def _lava(graph: Graph, frames: NDArray[Any], warm: int = WARM_STEPS) -> NDArray[np.float64]:
    """Time of each Lava step in lock-step: a frame in, its spikes out."""
    with Sidecar(graph, limit_s=60.0) as sidecar:
        sidecar.run(frames, [RESET, *[RUN] * (len(frames) - 1)])
        return np.array(sidecar.seconds[warm:]) * 1e3


def _lava_network(checkpoint: Checkpoint, maps: Sequence[SparseMap]) -> NDArray[np.float64]:
    """Whole steps, both side-cars and the ways to them and back."""
    from dvs_snn.deploy.lava_runtime import LavaRuntime

    runtime = LavaRuntime.open(checkpoint)
    try:
        return np.array([_timed_ms(runtime, x) for x in maps][WARM_STEPS:])
    finally:
        runtime.close()


def full_resolution() -> tuple[list[ConvLIF], RecurrentTCLIF]:
    """2x128x128 into 16 channels of 5x5 at stride 4, 32 of 3x3 at stride 2, and apart from them a recurrent TC-LIF."""
    generator = np.random.default_rng(SEED)

    def integers(count: int, value: int) -> NDArray[np.int32]:
        return np.full(count, value, np.int32)

    def weights(*shape: int) -> NDArray[np.int8]:
        return generator.normal(0, 25, shape).clip(-127, 127).astype(np.int8)

    layers: list[ConvLIF] = []
    shape = (2, 128, 128)
    for number, (targets, kernel, stride, threshold) in enumerate(((16, 5, 4, 120), (32, 3, 2, 300))):
        common = integers(targets, 410), integers(targets, threshold), integers(targets, 0), np.ones(targets)
        layer = ConvLIF(
            f"conv{number + 1}", 0, 0, weights(targets, shape[0], kernel, kernel), *common, stride, kernel // 2, shape
        )
        layers.append(layer)
        shape = layer.output_shape
    common = integers(HIDDEN, 200), integers(HIDDEN, 2000), integers(HIDDEN, 0), np.ones(1)
    factors = integers(HIDDEN, 1024), integers(HIDDEN, 1024), integers(HIDDEN, 1000)
    return layers, RecurrentTCLIF("head", 0, 0, weights(HIDDEN, HIDDEN), *common, *factors)
