"""`dvs-snn bench memory`: memory of one training update against the length of the clip, by SLTT and by BPTT.

Every point is a process of its own: the highest resident memory during one update, less what the process held before
it (the clip among it). A first update on two bins has loaded and compiled all that is needed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dvs_snn.learning import RULES, Clip, CrossEntropy, OptimizerConfig, RuleConfig
from dvs_snn.nn import LIF, TCLIF, LeakyIntegrator, Sequential
from dvs_snn.nn.layers import conv_norm

BINS = (16, 64, 256)
BATCH, SHAPE, HIDDEN, CLASSES = 2, (2, 128, 128), 64, 11
NAMES = ("bptt", "sltt")


def run(args: argparse.Namespace) -> int:
    """Measure every rule and length, print a table or JSON, and draw them where a picture is asked for."""
    points = []
    for name in NAMES:
        for bins in BINS:
            if sys.stderr.isatty():
                print(f"\rdvs-snn bench memory: {name} at {bins} bins ", end="", file=sys.stderr, flush=True)
            points.append(point(name, bins))
    if sys.stderr.isatty():
        print("\r" + " " * 50 + "\r", end="", file=sys.stderr, flush=True)
    result = {
        "bench": "memory",
        "batch": BATCH,
        "shape": SHAPE,
        "threads": 1,
        "points": points,
        "growth": {name: _growth(points, name) for name in NAMES},
    }
    if getattr(args, "plot", None):
        draw(result, Path(args.plot))
    print(json.dumps(result) if args.json else as_text(result))
    return 0


def point(name: str, bins: int) -> dict[str, Any]:
    """One rule at one length, measured in a process of its own."""
    words = [sys.executable, "-m", "dvs_snn.bench.memory", name, str(bins)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def update_memory(name: str, bins: int) -> dict[str, Any]:
    """Peak of the resident memory over that before, in MB, and seconds of one update."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = network()
    rule = RULES[name](net, CrossEntropy(), RuleConfig(name=name), OptimizerConfig(), 2)
    rule.update(net, clip(2), None)
    measured = clip(bins)
    gc.collect()
    _trim()
    before = _resident_mb("VmRSS")
    _forget_peak()
    begin = time.perf_counter()
    rule.update(net, measured, None)
    seconds = time.perf_counter() - begin
    return {
        "rule": name,
        "bins": bins,
        "peak_mb": round(_resident_mb("VmHWM") - before, 1),
        "seconds": round(seconds, 2),
    }


def network() -> Sequential:
    """Three spiking convolutions on 128 x 128 pixels, then a recurrent TC-LIF layer and a leaky read-out."""
    layers: list[nn.Module] = []
    for before, after, kernel in ((2, 32, 5), (32, 64, 3), (64, 64, 3)):
        layers += [*conv_norm(before, after, kernel, 2), LIF()]
    cells = 64 * (SHAPE[1] // 8) * (SHAPE[2] // 8)
    head = [nn.Linear(cells, HIDDEN), TCLIF(recurrent=HIDDEN), nn.Linear(HIDDEN, CLASSES), LeakyIntegrator()]
    return Sequential(*layers, nn.Flatten(), *head)


def clip(bins: int) -> Clip:
    """Random events, one in twenty pixels per bin."""
    inputs = (torch.rand(bins, BATCH, *SHAPE) < 0.05).float()
    labels = torch.randint(CLASSES, (BATCH,)).expand(bins, BATCH).contiguous()
    return Clip(inputs, labels, torch.ones(bins, BATCH, dtype=torch.bool), torch.ones(BATCH, dtype=torch.bool))


def as_text(result: dict[str, Any]) -> str:
    """The table for a reader."""
    lines = [
        f"memory of one update over what was there before, {BATCH} clips of {'x'.join(map(str, SHAPE))}, 1 thread",
        f"{'rule':6}{'bins':>6}{'peak':>12}{'time':>10}",
    ]
    lines += [f"{p['rule']:6}{p['bins']:6}{p['peak_mb']:9.1f} MB{p['seconds']:8.2f} s" for p in result["points"]]
    ratio = BINS[-1] // BINS[0]
    lines += [f"{name}: x {growth:.2f} for {ratio} times the bins" for name, growth in result["growth"].items()]
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Memory against bins, one line per rule."""
    from dvs_snn.viz import draw_lines

    rows = {name.upper(): [(p["bins"], p["peak_mb"]) for p in result["points"] if p["rule"] == name] for name in NAMES}
    title = "Memory of one training update"
    draw_lines(path, rows, "bins per clip", "peak memory (MB)", title, logarithmic=True)


def _growth(points: list[dict[str, Any]], name: str) -> float:
    own = {p["bins"]: p["peak_mb"] for p in points if p["rule"] == name}
    return round(own[BINS[-1]] / max(own[BINS[0]], 0.1), 2)


def _resident_mb(key: str) -> float:
    """A line of Linux's account of this process; elsewhere the peak since its start."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key))
    except (OSError, StopIteration):
        per_mb = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb


def _forget_peak() -> None:
    """Let Linux count the peak from now on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("bench memory: the peak counts from the process's start", file=sys.stderr)


def _trim() -> None:
    """Give freed memory back, so that an update cannot hide in what the one before it left."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


if __name__ == "__main__":
    print(json.dumps(update_memory(sys.argv[1], int(sys.argv[2]))))
