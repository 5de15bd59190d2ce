"""NIR: what is written and read again gives the same spikes, in other frameworks too."""

from copy import deepcopy
from pathlib import Path

import nir
import numpy as np
import pytest
import torch

from dvs_snn.deploy import split
from dvs_snn.deploy.nir_graph import DT, TCLIFNode, backbone_graph, head_graph, register, write_nir
from dvs_snn.models import GestureNet
from tests.deploy.conftest import counts, small_network


@pytest.fixture
def parts(network: GestureNet):  # type: ignore[no-untyped-def]
    return split(deepcopy(network).double())


def spikes_of(parts, time: int = 40):  # type: ignore[no-untyped-def]
    dtype = next(parts.host.parameters()).dtype
    with torch.no_grad():
        frames, _ = parts.host.frames(counts(time, 1, 3).to(dtype), None)
        spikes, _ = parts.backbone(frames)
        currents, _ = parts.host.currents(spikes, None)
        fired, _ = parts.head(currents)
    return frames, spikes, currents, fired


def run_graph(graph: nir.NIRGraph, inputs: np.ndarray) -> np.ndarray:
    """Forward Euler over a graph; an edge into a node that has already had its turn arrives in the next step."""
    values: dict[str, np.ndarray] = {}
    state = {name: np.zeros(len(node.tau)) for name, node in graph.nodes.items() if isinstance(node, nir.LI)}
    outputs = []
    order = ["input", "recurrent", "feedback", "reset_dendrite", "reset_soma", "dendrite", "feedforward", "soma"]
    for x in inputs:
        for name in [*order, "spike", "output"]:
            node = graph.nodes[name]
            entering = sum((values.get(a, 0.0) for a, b in graph.edges if b == name), np.zeros(len(x)))
            if isinstance(node, nir.Input):
                values[name] = x
            elif isinstance(node, nir.Affine):
                values[name] = node.weight @ entering + node.bias
            elif isinstance(node, nir.Scale):
                values[name] = node.scale * entering
            elif isinstance(node, nir.LI):
                state[name] = state[name] + DT / node.tau * (node.v_leak - state[name] + node.r * entering)
                values[name] = state[name]
            elif isinstance(node, nir.Threshold):
                values[name] = (entering > node.threshold).astype(float)
            else:
                values[name] = entering
        outputs.append(values["output"])
    return np.stack(outputs)


def test_files_read_back_and_say_how_they_step(network: GestureNet, tmp_path: Path) -> None:
    paths = write_nir(network, tmp_path / "nir", 10_000)
    assert [path.name for path in paths] == ["backbone.nir", "head.nir", "head_composed.nir"]
    register()
    backbone, head, composed = (nir.read(path) for path in paths)
    assert isinstance(head.nodes["tclif"], TCLIFNode)
    assert {type(node).__name__ for node in backbone.nodes.values()} == {"Input", "Conv2d", "LIF", "Output"}
    assert not any(isinstance(node, TCLIFNode) for node in composed.nodes.values())
    assert float(backbone.metadata["dt"]) == DT
    assert int(backbone.metadata["bin_us"]) == 10_000


def test_composition_of_standard_nodes_is_tclif(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _, _, currents, fired = spikes_of(parts, 80)
    nir.write(tmp_path / "head.nir", head_graph(parts, 10_000, composed=True))
    found = run_graph(nir.read(tmp_path / "head.nir"), currents[:, 0].numpy())
    assert fired.sum() > 20
    assert np.array_equal(found, fired[:, 0].numpy())


def test_snntorch_gives_the_same_spikes(network: GestureNet, tmp_path: Path) -> None:
    import_nir = pytest.importorskip("snntorch.import_nir")
    parts = split(network)
    frames, wanted, _, _ = spikes_of(parts)
    nir.write(tmp_path / "backbone.nir", backbone_graph(parts, 10_000))
    read = import_nir.import_from_nir(nir.read(tmp_path / "backbone.nir")).float()
    assert wanted.sum() > 500
    assert torch.equal(run_module(read, frames), wanted)


def test_spikingjelly_gives_the_same_spikes(tmp_path: Path) -> None:
    """Its reader takes one time constant per layer, ours has one per channel: a network of one, then."""
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    parts = split(small_network(taus=(4.0, 4.0)))
    frames, wanted, _, _ = spikes_of(parts)
    nir.write(tmp_path / "backbone.nir", backbone_graph(parts, 10_000))
    read = exchange.import_from_nir(nir.read(tmp_path / "backbone.nir"), dt=DT).float()
    assert wanted.sum() > 500
    assert torch.equal(run_module(read, frames), wanted)


def run_module(module: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    state, found = None, []
    with torch.no_grad():
        for frame in frames:
            spikes = module(frame) if state is None else module(frame, state)
            if isinstance(spikes, tuple):
                spikes, state = spikes
            found.append(spikes)
    return torch.stack(found)
