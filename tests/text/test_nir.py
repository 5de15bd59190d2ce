"""Blocks as NIR graphs: what is written and read again, with the host's work between, is the network."""

import json

import nir
import numpy as np
import pytest
import torch

from dvs_snn.cli import main
from dvs_snn.deploy.nir_graph import DT
from dvs_snn.errors import PackageError
from dvs_snn.text import load_text_model
from dvs_snn.text.adapt import add_adapters
from dvs_snn.text.nir_graph import write_blocks
from dvs_snn.text.recipe import AdaptConfig
from tests.text.tiny import save_tiny, tiny_model


def run_graph(path, inputs):
    """Forward Euler over a graph without cycles, read from its file."""
    graph = nir.read(path)
    entering = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
    order: list[str] = []
    while len(order) < len(graph.nodes):
        order += [n for n in graph.nodes if n not in order and all(a in order for a in entering[n])]
    state = {name: np.zeros(len(node.tau)) for name, node in graph.nodes.items() if hasattr(node, "tau")}
    outputs = []
    for x in inputs.numpy():
        values = {}
        for name in order:
            node = graph.nodes[name]
            given = x if isinstance(node, nir.Input) else sum(values[a] for a in entering[name])
            if isinstance(node, nir.Linear | nir.Affine):
                given = node.weight @ given + getattr(node, "bias", 0.0)
            elif isinstance(node, nir.Scale):
                given = node.scale * given
            elif isinstance(node, nir.Threshold):
                given = (given > node.threshold).astype(float)
            elif isinstance(node, nir.LI | nir.LIF):
                state[name] = state[name] + DT / node.tau * (node.v_leak - state[name] + node.r * given)
                given = state[name]
                if isinstance(node, nir.LIF):
                    given = (state[name] > node.v_threshold).astype(float)
                    state[name] = np.where(given > 0, node.v_reset, state[name])
            values[name] = given
        outputs.append(values["output"])
    return torch.from_numpy(np.stack(outputs))


@pytest.mark.parametrize("options", [{"neuron": "no_reset"}, {"neuron": "hard_reset"}, {"mixer_in": True}], ids=str)
@torch.no_grad()
def test_graphs_and_host_are_the_network(tmp_path, options):
    network = tiny_model(tmp_path / "m", **options).network.double()
    tokens = torch.randint(1, 11, (30, 1))
    write_blocks(network, tmp_path / "nir")
    xs = network.embedding(tokens)[:, 0]
    for number, block in enumerate(network.blocks, 1):
        filtered, _ = block.mixer_filter(block.mixer_norm(xs).unsqueeze(1))
        gates = run_graph(tmp_path / "nir" / f"block{number}.mix.nir", filtered[:, 0])
        xs = xs + torch.nn.functional.glu(gates)
        filtered, _ = block.hidden_filter(block.hidden_norm(xs).unsqueeze(1))
        xs = xs + run_graph(tmp_path / "nir" / f"block{number}.hidden.nir", filtered[:, 0])
    torch.testing.assert_close(network.head(network.norm(xs)), network(tokens)[0][:, 0], rtol=0, atol=1e-9)


def test_the_shipped_model_is_exported(tmp_path, capsys):
    assert main(["export", "text", "--to", "nir", "--out", str(tmp_path)]) == 0
    blocks = load_text_model("text").network.blocks
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(blocks) + 1
    kinds = {type(node).__name__ for path in tmp_path.glob("*.nir") for node in nir.read(path).nodes.values()}
    assert kinds == {"Input", "Output", "Affine", "Scale", "LI", "Threshold"}, "standard nodes alone"
    host = json.loads((tmp_path / "host.json").read_text())
    assert host["share"] > 0.98 and any("norm" in work for work in host["host"])


def test_what_cannot_be_exported_is_one_clear_line(tmp_path, capsys):
    save_tiny(tmp_path / "m", mixer="complex_ssm")
    for words, said in (
        (["export", "text", "--to", "loihi", "--out", tmp_path / "x"], "no integer package; use --to nir"),
        (["export", tmp_path / "m", "--to", "nir", "--out", tmp_path / "x"], "no nodes for a ComplexSSM"),
    ):
        assert main(list(map(str, words))) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()
    with pytest.raises(PackageError, match="merge them first"):
        pytest.importorskip("peft")
        write_blocks(add_adapters(tiny_model(tmp_path / "a").network, AdaptConfig()), tmp_path / "x")
    with pytest.raises(PackageError, match="no spikes"):
        write_blocks(tiny_model(tmp_path / "t", twin=True).network, tmp_path / "x")
