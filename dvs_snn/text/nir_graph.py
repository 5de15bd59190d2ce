"""The blocks of a text network as NIR graphs of standard nodes; what is no node of NIR is the host's work, listed.

A real state space is a row of leaky integrators (`LI`), a neuron without a reset an `LI` with a `Threshold`, both in
forward Euler as in `deploy.nir_graph`. Each block is two graphs, since the host works between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvs_snn.deploy.nir_graph import DT, lif_node
from dvs_snn.errors import PackageError
from dvs_snn.models import TextNet
from dvs_snn.nn.no_reset import NoResetLIF
from dvs_snn.nn.ssm import DiagonalSSM
from dvs_snn.pipeline.checkpoint import write_json

HOST = (
    "embedding of the token",
    "x + gate(mix(filter(norm x))) of every block: the norm, the filter of a few tokens, the gate (GLU) and the sum",
    "x + hidden(filter(norm x)) of every block: the norm, the filter of a few tokens and the sum",
    "the last norm and the read-out",
)
"""What a host computes around the graphs."""


def mix_graph(block: Any) -> nir.NIRGraph:
    """A block's state space, its neurons and the map they drive: filtered stream `[width]` to gate inputs `[2 width]`.

    Raises `PackageError` for what no standard node computes.
    """
    mixer = block.mixer
    if not isinstance(mixer, DiagonalSSM):
        raise PackageError(
            f"NIR has no nodes for a {type(mixer).__name__}; only real state spaces ('ssm') are exported"
        )
    with torch.no_grad():
        decay, gain = (part.numpy() for part in mixer.coefficients(torch.float64))
    copies = np.tile(np.eye(mixer.width), (mixer.expand, 1))
    nodes: dict[str, Any] = {}
    if block.mixer_in is None:
        nodes["spread"] = nir.Linear(copies)
    else:
        joined = _affine(block.mixer_in)
        nodes["spread"] = nir.Affine(weight=copies @ joined.weight, bias=copies @ joined.bias)
    edges = [("input", "spread"), ("spread", "direct")]
    for n in range(mixer.states):
        nodes[f"memory{n}"], nodes[f"gain{n}"] = _leaky(decay[n]), nir.Scale(gain[n])
        edges += [("spread", f"memory{n}"), (f"memory{n}", f"gain{n}")]
    nodes["direct"] = nir.Scale(_numbers(mixer.skip))
    sources = ["direct", *(f"gain{n}" for n in range(mixer.states))]
    return _graph(mixer.width, nodes, edges, sources, block.mixed, block.mixer_out)


def hidden_graph(block: Any) -> nir.NIRGraph:
    """A block's feed-forward layer: filtered stream `[width]` to what is added to the stream."""
    nodes = {"currents": _affine(block.hidden_in)}
    edges = [("input", "currents")]
    return _graph(block.hidden_in.in_features, nodes, edges, ["currents"], block.hidden, block.hidden_out)


def write_blocks(network: object, folder: str | Path) -> list[Path]:
    """Write `block1.mix.nir`, `block1.hidden.nir` and so on, and `host.json`: what is left, and its share of products.

    Raises `PackageError` for a network that does not spike, or whose mixer or adapters NIR has no nodes for.
    """
    if not isinstance(network, TextNet):
        raise PackageError("only spiking text networks have blocks to export")
    if network.config.twin:
        raise PackageError("the twin has no spikes; there is nothing to export")
    blocks: list[Any] = list(network.blocks)
    graphs = {
        f"block{number}.{part}.nir": make(block)
        for number, block in enumerate(blocks, 1)
        for part, make in (("mix", mix_graph), ("hidden", hidden_graph))
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        nir.write(folder / name, graph)
    inside = sum(layer.weight.numel() for block in blocks for layer in block.maps)
    inside += sum(block.mixer.products_per_step() for block in blocks)
    filters = [layer for block in blocks for layer in (block.mixer_filter, block.hidden_filter)]
    outside = network.head.weight.numel() + sum(layer.products_per_step() for layer in filters)
    shares = {"products_in_graphs": inside, "products_on_host": outside, "share": inside / (inside + outside)}
    write_json(folder / "host.json", {"host": list(HOST), "per": "token", **shares})
    return [*(folder / name for name in graphs), folder / "host.json"]


def _graph(
    width: int, nodes: dict[str, Any], edges: list[tuple[str, str]], sources: list[str], neuron: Any, out: Any
) -> nir.NIRGraph:
    """From an input of `width` by `nodes` to a layer of neurons, which `sources` feed, and the map it drives."""
    ends = {"input": nir.Input(np.array([width])), "output": nir.Output(np.array([out.out_features]))}
    spikes: dict[str, Any]
    if isinstance(neuron, NoResetLIF):
        beta, threshold = _numbers(neuron.beta).clip(0, 1), _numbers(neuron.threshold)
        spikes = {"neuron": _leaky(beta), "spike": nir.Threshold(threshold)}
        edges, last = [*edges, ("neuron", "spike")], "spike"
    else:
        spikes, last = {"neuron": lif_node(neuron, (out.in_features,))}, "neuron"
    edges = [*edges, *((source, "neuron") for source in sources), (last, "map"), ("map", "output")]
    about = {"dt": DT, "step": "token", "scheme": "forward_euler", "threshold": "strict",
             "reset": "none" if last == "spike" else "zero"}  # fmt: skip
    return nir.NIRGraph(nodes={**ends, **nodes, **spikes, "map": _affine(out)}, edges=edges, metadata=about)


def _leaky(decay: NDArray[np.floating]) -> nir.LI:
    """`v <- decay v + x`."""
    rate = np.maximum(1.0 - decay, 1e-12)
    return nir.LI(tau=DT / rate, r=1.0 / rate, v_leak=np.zeros_like(rate))


def _affine(layer: Any) -> nir.Affine:
    if type(layer) is not nn.Linear:
        raise PackageError("the network has adapters; merge them first (text.adapt.merged)")
    return nir.Affine(weight=_numbers(layer.weight), bias=_numbers(layer.bias))


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = tensor.detach().double().numpy()
    return found
