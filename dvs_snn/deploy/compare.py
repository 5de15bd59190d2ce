"""One recording through every form of a network, step by step: how far is each from the one before it?"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dvs_snn.deploy.fake import fake_parts
from dvs_snn.deploy.integer import LayerCounts, integer_parts
from dvs_snn.deploy.lava_client import Sidecar, fixed_graph, float_backbone_graph, float_head_graph
from dvs_snn.deploy.layers import ConvLIF, RecurrentTCLIF
from dvs_snn.deploy.package import RESET, RUN, LoihiPackage
from dvs_snn.deploy.split import SplitNetwork, SplitState, split
from dvs_snn.nn import TCLIF


@dataclass(frozen=True)
class Trace:
    """What one form of the network did at every step."""

    name: str
    backbone: NDArray[np.bool_]
    head: NDArray[np.bool_]
    logits: NDArray[np.float64]
    soma: NDArray[np.float64]
    """The head's membranes in the float network's units, `[time, n]`; empty for Lava, which keeps them to itself."""


@dataclass(frozen=True)
class Difference:
    """Of `name` from `reference`, over all steps."""

    name: str
    reference: str
    backbone: int
    backbone_spikes: int
    head: int
    head_spikes: int
    logits: float
    """Largest difference of any logit."""
    decisions: float
    """Share of the steps at which both have the same best class."""
    soma: float
    """Root mean square of the head's membranes' difference, in thresholds; not a number where one keeps them."""


@dataclass(frozen=True)
class Comparison:
    """Traces by name, differences along the chain, what the integers counted."""

    traces: dict[str, Trace]
    differences: list[Difference]
    counts: list[LayerCounts]


@torch.inference_mode()
def compare(
    network: nn.Module, package: LoihiPackage, maps: NDArray[np.float32], lava: bool = False, limit_s: float = 10.0
) -> Comparison:
    """Run event counts `[time, channel, height, width]` through float, fake-quantised, integer and Lava networks.

    Everything is in double precision, so that only what is meant to differ does. With `lava` two side-cars run Lava's
    float and fixed-point models on the same frames; their host parts are those of the float and integer networks.
    """
    parts = split(deepcopy(network).double())
    backbone, head = integer_parts(package.layers)
    forms = {
        "float": parts,
        "fake-quantised": parts.with_parts(*fake_parts(package.layers)),
        "fake-quantised, rounded states": parts.with_parts(*fake_parts(package.layers, rounded=True)),
        "integer": parts.with_parts(backbone, head),
    }
    traces = {name: _trace(name, form, package, maps) for name, form in forms.items()}
    pairs = [
        ("fake-quantised", "float"),
        ("fake-quantised, rounded states", "fake-quantised"),
        ("integer", "fake-quantised, rounded states"),
        ("integer", "float"),
    ]
    if lava:
        for form, reference in (("lava float", "float"), ("lava fixed", "integer")):
            traces[form] = _lava_trace(form, traces[reference], parts, package, maps, limit_s)
            pairs.append((form, reference))
    differences = [_difference(traces[name], traces[reference]) for name, reference in pairs]
    return Comparison(traces, differences, [*(scan.counts for scan in backbone.scans), head.scan.counts])


def _trace(name: str, network: SplitNetwork, package: LoihiPackage, maps: NDArray[np.float32]) -> Trace:
    state: SplitState | None = None
    spikes, fired, logits, soma = [], [], [], []
    for x in torch.from_numpy(maps).double():
        y, state, shown, heard = network.trace(x[None, None], state)
        spikes.append(shown[0, 0].numpy() != 0)
        fired.append(heard[0, 0].numpy() != 0)
        logits.append(y[0, 0].numpy())
        soma.append(_soma(state.head, package))
    return Trace(name, np.stack(spikes), np.stack(fired), np.stack(logits), np.stack(soma))


def _soma(state: Any, package: LoihiPackage) -> NDArray[np.float64]:
    """The head's membranes in the float network's units."""
    unit = package.layers[-1].unit
    if hasattr(state, "compartments"):
        return state.compartments[0, 1].numpy() * unit
    soma = state.neuron.soma[0].double().numpy()
    # The fake-quantised networks count in state integers, where a threshold is large.
    return soma * unit if np.abs(soma).max(initial=0.0) > 1e3 else soma


def _lava_trace(
    name: str,
    reference: Trace,
    parts: SplitNetwork,
    package: LoihiPackage,
    maps: NDArray[np.float32],
    limit_s: float,
) -> Trace:
    """Lava's spikes for the frames and currents that the reference had; its logits are then the host's own work."""
    fixed = name == "lava fixed"
    convolutions = [layer for layer in package.layers if isinstance(layer, ConvLIF)]
    (layer,) = [layer for layer in package.layers if isinstance(layer, RecurrentTCLIF)]
    assert isinstance(parts.head, TCLIF)
    flags = np.array([RESET, *[RUN] * (len(maps) - 1)], np.uint8)
    frames, _ = parts.host.frames(torch.from_numpy(maps).double()[:, None], None)
    graph = fixed_graph(convolutions) if fixed else float_backbone_graph(parts, convolutions)
    with Sidecar(graph, limit_s=limit_s) as sidecar:
        (spikes,) = sidecar.run(frames[:, 0].numpy(), flags)
    # Step by step, as a runtime does it: a scan would round its sums otherwise.
    bridge: Any = None
    currents = []
    for shown in torch.from_numpy(spikes).double():
        entering, bridge = parts.host.currents(shown[None, None], bridge)
        currents.append(entering[0])
    graded = torch.stack(currents)
    inputs = integer_parts(package.layers)[1].scan.round(graded[:, 0].numpy()) if fixed else graded[:, 0].numpy()
    with Sidecar(fixed_graph([layer]) if fixed else float_head_graph(parts.head), limit_s=limit_s) as sidecar:
        (fired,) = sidecar.run(inputs, flags)
    logits, _ = parts.host.logits(torch.from_numpy(fired).double()[:, None], graded, None)
    return Trace(name, spikes, fired, logits[:, 0].numpy(), np.empty((0, 0)))


def _difference(found: Trace, reference: Trace) -> Difference:
    same = found.logits.argmax(1) == reference.logits.argmax(1)
    both = found.soma.size and reference.soma.size
    return Difference(
        name=found.name,
        reference=reference.name,
        backbone=int((found.backbone != reference.backbone).sum()),
        backbone_spikes=int(reference.backbone.sum()),
        head=int((found.head != reference.head).sum()),
        head_spikes=int(reference.head.sum()),
        logits=float(np.abs(found.logits - reference.logits).max()),
        decisions=float(same.mean()),
        soma=float(np.sqrt(np.mean((found.soma - reference.soma) ** 2))) if both else float("nan"),
    )


def describe(comparison: Comparison) -> list[str]:
    """A line per step of the chain."""
    lines = [f"{'':32s} {'from':32s} {'backbone':>16s} {'head':>14s} {'soma rms':>9s} {'logits':>8s} {'decisions':>9s}"]
    for d in comparison.differences:
        spikes = f"{d.backbone}/{d.backbone_spikes}", f"{d.head}/{d.head_spikes}"
        soma = "-" if np.isnan(d.soma) else f"{d.soma:.4f}"
        lines.append(
            f"{d.name:32s} {d.reference:32s} {spikes[0]:>16s} {spikes[1]:>14s} {soma:>9s} {d.logits:8.4f} "
            f"{d.decisions:9.1%}"
        )
    return lines
