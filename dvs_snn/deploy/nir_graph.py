"""NIR (Neuromorphic Intermediate Representation, Pedersen et al. 2024): backbone and head as graphs, and back.

NIR's neurons are continuous, `tau dv/dt = (v_leak - v) + r I`; its readers discretise them. With forward Euler at `dt`
our `u <- beta u + x` is `tau = dt / (1 - beta)`, `r = 1 / (1 - beta)`. The graph's metadata say so, and that the
reset is to zero and the threshold strict. The folded bias of a convolution is part of its `Conv2d`.

TC-LIF has no node. It is written as one of our own (`TCLIF`, registered with the reader) and, for readers that do not
know it, as a composition of standard ones: two `LI` coupled by `Scale` nodes and a `Threshold`. The coupling
of soma to dendrite reads the soma of the step before, as every cycle of a NIR graph does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.deploy.split import SplitNetwork, split
from dvs_snn.errors import PackageError
from dvs_snn.nn import LIF, TCLIF

DT = 1e-4
"""Time step of the graph in seconds, as snnTorch and SpikingJelly assume; a step is a bin, whatever its length."""


@dataclass(eq=False)
class TCLIFNode(nir.NIRNode):
    """TC-LIF in its discrete form: all vectors `[n]`; see `dvs_snn.nn.TCLIF`."""

    keep: NDArray[np.floating]
    feedback: NDArray[np.floating]
    feedforward: NDArray[np.floating]
    threshold: NDArray[np.floating]
    gamma: NDArray[np.floating]

    def __post_init__(self) -> None:
        self.input_type = {"input": np.array(self.keep.shape)}
        self.output_type = {"output": np.array(self.keep.shape)}


def register() -> None:
    """Make the reader of NIR files know `TCLIFNode`; it has no public way to say so."""
    if not hasattr(nir.ir, "TCLIFNode"):
        nir.ir.TCLIFNode = TCLIFNode
        known = getattr(nir.ir, "__all_ir", None)
        if known is not None:
            known.append("TCLIFNode")


def backbone_graph(network: SplitNetwork, bin_us: int) -> nir.NIRGraph:
    """The convolutions with LIF as `Conv2d` and `LIF` nodes in a row; input is the host's frame."""
    channels, height, width = network.shape
    shape = (channels * len(network.host.taps.delays), height, width)
    nodes: dict[str, Any] = {"input": nir.Input(input_type=np.array(shape))}
    layers = list(network.backbone)  # type: ignore[call-overload]
    edges, last = [], "input"
    for number, (convolution, neuron) in enumerate(zip(layers[::2], layers[1::2], strict=True), 1):
        stride, padding = int(convolution.stride[0]), int(convolution.padding[0])
        kernel = convolution.kernel_size[0]
        nodes[f"conv{number}"] = nir.Conv2d(
            input_shape=shape[1:],
            weight=convolution.weight.detach().double().numpy(),
            stride=(stride, stride),
            padding=(padding, padding),
            dilation=(1, 1),
            groups=1,
            bias=convolution.bias.detach().double().numpy(),
        )
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
        shape = (convolution.out_channels, height, width)
        nodes[f"lif{number}"] = lif_node(neuron, shape)
        edges += [(last, f"conv{number}"), (f"conv{number}", f"lif{number}")]
        last = f"lif{number}"
    nodes["output"] = nir.Output(output_type=np.array(shape))
    edges.append((last, "output"))
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=_about(bin_us, network))


def lif_node(neuron: LIF, shape: tuple[int, ...]) -> Any:
    """A layer of LIF neurons of this shape, reset to zero."""
    c = neuron.coefficients(torch.float64)
    spread = {
        name: np.broadcast_to(torch.as_tensor(value).detach().numpy(), shape).copy()
        for name, value in (("beta", c.transition[0, 0]), ("threshold", c.threshold))
    }
    rate = np.maximum(1.0 - spread["beta"], 1e-12)
    zeros = np.zeros(shape)
    return nir.LIF(tau=DT / rate, r=1.0 / rate, v_leak=zeros, v_reset=zeros, v_threshold=spread["threshold"])


def _about(bin_us: int, network: SplitNetwork) -> dict[str, Any]:
    return {
        "dt": DT,
        "bin_us": bin_us,
        "scheme": "forward_euler",
        "reset": "zero",
        "threshold": "strict",
        "delays": np.array(network.host.taps.delays),
    }


def head_graph(network: SplitNetwork, bin_us: int, composed: bool = False) -> nir.NIRGraph:
    """The recurrent TC-LIF layer; its input are the host's currents.

    `composed` writes it with standard nodes alone; else it is one `TCLIFNode` with a recurrent `Affine`.
    """
    head = network.head
    if not isinstance(head, TCLIF) or head.recurrent is None:
        raise PackageError("NIR export needs a recurrent TC-LIF head")
    vectors = head_vectors(head)
    count = len(vectors["keep"])
    weight = head.recurrent.weight.detach().double().numpy()
    bias = np.zeros(count) if head.recurrent.bias is None else head.recurrent.bias.detach().double().numpy()
    recurrent = nir.Affine(weight=weight, bias=bias)
    ends = {"input": nir.Input(np.array([count])), "output": nir.Output(np.array([count]))}
    if not composed:
        nodes = {**ends, "recurrent": recurrent, "tclif": TCLIFNode(**vectors)}
        edges = [("input", "tclif"), ("tclif", "recurrent"), ("recurrent", "tclif"), ("tclif", "output")]
        return nir.NIRGraph(nodes=nodes, edges=edges, metadata=_about(bin_us, network))
    rate = np.maximum(1.0 - vectors["keep"], 1e-12)
    leaky = {"tau": DT / rate, "r": 1.0 / rate, "v_leak": np.zeros(count)}
    nodes = {
        **ends,
        "recurrent": recurrent,
        "dendrite": nir.LI(**leaky),
        "soma": nir.LI(**leaky),
        "feedback": nir.Scale(-vectors["feedback"]),
        "feedforward": nir.Scale(vectors["feedforward"]),
        "spike": nir.Threshold(vectors["threshold"]),
        # A state's reset enters in the step that follows, where the leak has not yet been taken off it.
        "reset_dendrite": nir.Scale(-vectors["keep"] * vectors["gamma"] + vectors["feedback"] * vectors["threshold"]),
        "reset_soma": nir.Scale(-vectors["keep"] * vectors["threshold"]),
    }
    edges = [
        ("input", "dendrite"),
        ("recurrent", "dendrite"),
        ("feedback", "dendrite"),
        ("reset_dendrite", "dendrite"),
        ("dendrite", "feedforward"),
        ("feedforward", "soma"),
        ("reset_soma", "soma"),
        ("soma", "feedback"),
        ("soma", "spike"),
        ("spike", "recurrent"),
        ("spike", "reset_dendrite"),
        ("spike", "reset_soma"),
        ("spike", "output"),
    ]
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=_about(bin_us, network))


def head_vectors(head: TCLIF) -> dict[str, NDArray[np.float64]]:
    """The head's coefficients, one number per neuron."""
    c = head.coefficients(torch.float64)
    assert head.recurrent is not None
    count = len(head.recurrent.weight)
    values = {
        "keep": c.transition[0, 0],
        "feedback": -torch.as_tensor(c.transition[0, 1]),
        "feedforward": c.transition[1, 0],
        "threshold": c.threshold,
        "gamma": c.reset[0],
    }
    return {
        name: np.broadcast_to(torch.as_tensor(v, dtype=torch.float64).detach().reshape(-1).numpy(), (count,)).copy()
        for name, v in values.items()
    }


def write_nir(network: object, folder: str | Path, bin_us: int) -> list[Path]:
    """Write `backbone.nir`, `head.nir` (own node) and `head_composed.nir` (standard nodes) into a folder."""
    parts = split(network)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    register()
    graphs = {
        "backbone.nir": backbone_graph(parts, bin_us),
        "head.nir": head_graph(parts, bin_us),
        "head_composed.nir": head_graph(parts, bin_us, composed=True),
    }
    for name, graph in graphs.items():
        nir.write(folder / name, graph)
    return [folder / name for name in graphs]
