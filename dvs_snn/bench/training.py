"""`dvs-snn bench training`: the neuron kernels and one training step of a conv LIF network, beside other frameworks.

All programs of a table take turns, so that a busy machine disturbs all alike. Ratios are given of the medians and of
the best turns (what else runs on the machine only adds). A framework that is not installed is named as absent.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dvs_snn.nn import LIF, TCLIF, Sequential
from dvs_snn.nn.temporal import fold

KERNEL_SHAPE = (16, 4, 32, 64, 64)
CLIP_SHAPE = (16, 4, 2, 128, 128)
CLASSES = 11
DECAY = 0.5
TURNS = 9

Program = Callable[[], object]
LAYERS_ALONE = "layers alone"


def run(args: argparse.Namespace) -> int:
    """Measure, then print two tables or one JSON object."""
    torch.manual_seed(0)
    absent: dict[str, str] = {}
    forward, both = kernel_programs(absent)
    times = {"forward": turns(forward), "forward_backward": turns(both)}
    del forward, both
    gc.collect()
    times["training_step"] = turns(step_programs(absent))
    result: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "kernel_shape": KERNEL_SHAPE,
        "clip_shape": CLIP_SHAPE,
        "median_ms": summary(times, statistics.median),
        "best_ms": summary(times, min),
        "absent": absent,
    }
    result |= ratios(result["median_ms"])
    result["ratios_of_best"] = ratios(result["best_ms"])
    if args.json:
        print(json.dumps(result))
    else:
        print(as_text(result))
    return 0


def turns(programs: dict[str, Program]) -> dict[str, list[float]]:
    """Seconds of each program in every turn, interleaved, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(TURNS + 1):
        for name, program in programs.items():
            if sys.stderr.isatty():
                print(f"\rdvs-snn bench: {turn}/{TURNS} {name:<24}", end="", file=sys.stderr, flush=True)
            begin = time.perf_counter()
            program()
            if turn:
                times[name].append(time.perf_counter() - begin)
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
    return times


def summary(
    times: dict[str, dict[str, list[float]]], of: Callable[[list[float]], float]
) -> dict[str, dict[str, float]]:
    """One number in ms per table and program."""
    return {table: {name: round(1e3 * of(t), 2) for name, t in row.items()} for table, row in times.items()}


def ratios(tables: dict[str, dict[str, float]]) -> dict[str, float]:
    """What the tables are read for; a ratio whose peers are absent is left out."""
    forward, both, step = tables["forward"], tables["forward_backward"], tables["training_step"]
    found: dict[str, float] = {
        "tclif_over_lif_forward": forward["TCLIF"] / forward["LIF"],
        "tclif_over_lif_forward_backward": both["TCLIF"] / both["LIF"],
        "step_over_layers_alone": step["dvs_snn"] / step[LAYERS_ALONE],
    }
    rivals = [name for name in ("SpikingJelly", "snnTorch") if name in forward]
    if rivals:
        found["forward_speedup"] = min(forward[name] for name in rivals) / forward["LIF"]
        found["forward_backward_speedup"] = min(both[name] for name in rivals) / both["LIF"]
    peers = [value for name, value in step.items() if name not in ("dvs_snn", LAYERS_ALONE)]
    if peers:
        found["step_over_fastest_peer"] = step["dvs_snn"] / min(peers)
    return {name: round(value, 3) for name, value in found.items()}


def as_text(result: dict[str, Any]) -> str:
    """The tables for a reader."""
    median, best = result["median_ms"], result["best_ms"]
    lines = [f"{result['threads']} threads; ms, median (best) of {TURNS} interleaved turns", ""]
    for table, title in (
        ("forward", f"neurons on {list(KERNEL_SHAPE)} float32, forward"),
        ("forward_backward", "the same, forward and backward"),
        ("training_step", f"training step of a conv LIF network, clip {list(CLIP_SHAPE)}"),
    ):
        lines.append(title)
        lines += [f"  {name:<14} {value:9.1f} ({best[table][name]:.1f})" for name, value in median[table].items()]
    lines += ["", "ratios of medians (of best turns)"]
    lines += [f"  {name} = {result[name]} ({value})" for name, value in result["ratios_of_best"].items()]
    lines += [f"{name}: not measured, {why}" for name, why in result["absent"].items()]
    return "\n".join(lines)


@contextlib.contextmanager
def _optional(name: str, absent: dict[str, str]) -> Any:
    """A peer that cannot be imported is noted; its programs are not measured."""
    try:
        yield
    except ImportError as error:
        absent[name] = f"not installed ({error})"


def over_time(cell: Callable[[Tensor, Any], tuple[Tensor, Any]], xs: Tensor, state: Any) -> Tensor:
    """Outputs of a single-step cell of another framework, stacked."""
    outputs = []
    for x in xs:
        output, state = cell(x, state)
        outputs.append(output)
    return torch.stack(outputs)


def lif_of_peers(absent: dict[str, str]) -> dict[str, Callable[[], Callable[[Tensor], Tensor]]]:
    """Makers of a LIF over time `[time, batch, ...]` in each framework: no input scaling, soft reset, decay 1/2."""
    makers: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {}

    with _optional("SpikingJelly", absent):
        from spikingjelly.activation_based import neuron

        def spikingjelly() -> Callable[[Tensor], Tensor]:
            node = neuron.LIFNode(1 / (1 - DECAY), decay_input=False, v_reset=None, detach_reset=True, step_mode="m")

            def scan(xs: Tensor) -> Tensor:
                node.reset()
                return node(xs)

            return scan

        makers["SpikingJelly"] = spikingjelly

    with _optional("snnTorch", absent):
        import snntorch

        def snn_torch() -> Callable[[Tensor], Tensor]:
            cell = snntorch.Leaky(beta=DECAY)
            return lambda xs: over_time(cell, xs, torch.zeros_like(xs[0]))

        makers["snnTorch"] = snn_torch

    with _optional("Norse", absent):
        import norse.torch as norse

        def norse_lif() -> Callable[[Tensor], Tensor]:
            parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor((1 - DECAY) / 1e-3))
            cell = norse.LIFBoxCell(p=parameters, dt=1e-3)
            return lambda xs: over_time(cell, xs, None)

        makers["Norse"] = norse_lif

    with _optional("sinabs", absent):
        import sinabs.layers

        def sinabs_lif() -> Callable[[Tensor], Tensor]:
            layer = sinabs.layers.LIF(tau_mem=1.4427, norm_input=False)  # exp(-1/τ) = 1/2

            def scan(xs: Tensor) -> Tensor:
                layer.reset_states()
                return layer(xs.transpose(0, 1)).transpose(0, 1)

            return scan

        makers["sinabs"] = sinabs_lif
    return makers


def kernel_programs(absent: dict[str, str]) -> tuple[dict[str, Program], dict[str, Program]]:
    """One neuron layer over time: forward without gradients, and forward with backward."""
    xs = 0.5 * torch.randn(KERNEL_SHAPE)
    leaf = xs.clone().requires_grad_()
    gradient = torch.randn(KERNEL_SHAPE)
    lif, tclif = LIF(DECAY), TCLIF()
    scans: dict[str, Callable[[Tensor], Tensor]] = {"LIF": lambda x: lif(x)[0], "TCLIF": lambda x: tclif(x)[0]}
    peers = lif_of_peers(absent)
    scans |= {name: peers[name]() for name in ("SpikingJelly", "snnTorch") if name in peers}

    def forward(scan: Callable[[Tensor], Tensor]) -> Program:
        def program() -> None:
            with torch.no_grad():
                scan(xs)

        return program

    def both(scan: Callable[[Tensor], Tensor]) -> Program:
        def program() -> None:
            leaf.grad = None
            scan(leaf).backward(gradient)

        return program

    return {n: forward(scan) for n, scan in scans.items()}, {n: both(scan) for n, scan in scans.items()}


def layers() -> list[nn.Module]:
    """The layers that all networks share, in order; a neuron follows each but the last."""
    return [
        nn.Conv2d(2, 32, 5, stride=2, padding=2),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.Sequential(nn.Flatten(), nn.Linear(64 * (CLIP_SHAPE[3] // 8) * (CLIP_SHAPE[4] // 8), CLASSES)),
    ]


def step_programs(absent: dict[str, str]) -> dict[str, Program]:
    """Training steps (forward, loss, backward, optimiser) of one network with the neurons of each framework."""
    clip = (torch.rand(CLIP_SHAPE) < 0.05).float()
    labels = torch.randint(CLASSES, CLIP_SHAPE[1:2])

    def step(network: Callable[[Tensor], Tensor], parameters: list[nn.Parameter]) -> Program:
        optimiser = torch.optim.Adam(parameters, lr=1e-4)

        def program() -> None:
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(clip).mean(0), labels).backward()
            optimiser.step()

        return program

    def with_neurons(neurons: list[Callable[[Tensor], Tensor]]) -> Program:
        parts = layers()

        def network(xs: Tensor) -> Tensor:
            for n, part in enumerate(parts):
                xs = fold(part, xs)
                if n < len(neurons):
                    xs = neurons[n](xs)
            return xs

        return step(network, [p for part in parts for p in part.parameters()])

    first, second, third, last = layers()
    ours = Sequential(first, LIF(DECAY), second, LIF(DECAY), third, LIF(DECAY), last)
    programs: dict[str, Program] = {
        LAYERS_ALONE: with_neurons([]),
        "dvs_snn": step(lambda xs: ours(xs)[0], list(ours.parameters())),
    }
    for name, make in lif_of_peers(absent).items():
        programs[name] = with_neurons([make() for _ in range(3)])
    return programs
