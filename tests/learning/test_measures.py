"""Costs against closed forms, against NeuroBench itself, and against the network that pads or chunks its input."""

import numpy as np
import pytest
import torch
from torch import nn

from dvs_snn.learning import evaluate
from dvs_snn.learning.measures import CostMeter, bridge_products, gate, size
from dvs_snn.models import build_model
from dvs_snn.nn import LIF, LeakyIntegrator, Sequential, twin_of
from dvs_snn.nn.bridge import ASAB
from tests.learning.synthetic import bars, tiny_recipe

TIME, BATCH = 5, 3


def network() -> Sequential:
    torch.manual_seed(0)
    net = Sequential(
        nn.Conv2d(2, 4, 3, 2, 1), LIF(), nn.Flatten(), nn.Linear(64, 6), LIF(recurrent=6), nn.Linear(6, 2),
        LeakyIntegrator(),
    )  # fmt: skip
    with torch.no_grad():
        net[0].weight[torch.rand_like(net[0].weight) < 0.3] = 0.0
        net[3].weight[torch.rand_like(net[3].weight) < 0.5] = 0.0
    return net


def inputs(time: int = TIME) -> torch.Tensor:
    return 2 * torch.poisson(torch.full((time, BATCH, 2, 8, 8), 0.4), generator=torch.Generator().manual_seed(1))


def measured(net, xs, mask=None, **report):
    with torch.no_grad(), CostMeter(net) as meter:
        meter.recordings += xs.shape[1]
        meter.watch(torch.ones(xs.shape[:2], dtype=torch.bool) if mask is None else mask)
        net(xs)
    return meter.report(**report)


def test_a_dense_convolution_counts_its_products():
    net = Sequential(nn.Conv2d(1, 5, 3, bias=True), LeakyIntegrator())
    found = measured(net, torch.full((2, 1, 1, 6, 6), 0.5))["synaptic_operations"]
    assert found["dense"] == found["effective_macs"] == 5 * 9 * 16 and found["effective_acs"] == 0


def test_a_lone_spike_meets_its_fan_out():
    net = Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), LeakyIntegrator())
    xs = torch.zeros(1, 1, 1, 5, 5)
    xs[..., 0, 2] = 1.0  # at the border: six of the nine taps
    found = measured(net, xs)["synaptic_operations"]
    assert found["effective_acs"] == 2 * 6 and found["effective_macs"] == 0
    assert found["dense"] == 2 * (3 * 5 - 2) ** 2
    assert found["nanojoule_45nm"] == pytest.approx(12 * 0.9e-3)


def test_operations_are_those_of_neurobench():
    layers = pytest.importorskip("neurobench.metrics.utils.layers")
    net, xs = network(), inputs()
    found = measured(net, xs)["synaptic_operations"]["layers"]
    seen: dict[str, torch.Tensor] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and "recurrent" not in name:
            module.register_forward_hook(lambda m, x, y, name=name: seen.__setitem__(name, x[0]))
        if name == "layers.4":
            module.register_forward_hook(
                lambda m, x, y: seen.__setitem__("layers.4.recurrent", torch.cat([0 * y[0][:1], y[0][:-1]]))
            )
    with torch.no_grad():
        net(xs)
    modules = dict(net.named_modules())
    assert seen.keys() == found.keys()
    for name, x in seen.items():
        x = x if x.dim() in (2, 4) else x.flatten(0, 1)
        operations, spiking = layers.single_layer_MACs(x, modules[name])
        dense, _ = layers.single_layer_MACs(x, modules[name], total=True)
        assert found[name]["kind"] == ("ac" if spiking else "mac"), name
        assert found[name]["effective"] * TIME * BATCH == pytest.approx(operations), name
        assert found[name]["dense"] * TIME * BATCH == pytest.approx(dense), name


def test_sizes_are_those_of_neurobench():
    footprint = pytest.importorskip("neurobench.metrics.static.footprint")
    models = pytest.importorskip("neurobench.models")
    net = network()
    assert size(net)["bytes"] == footprint.Footprint()(models.TorchModel(net))
    assert size(net)["parameters"] == sum(p.numel() for p in net.parameters())


def test_rates_and_sparsity_are_counted_by_layer():
    net, xs = network(), inputs()
    with torch.no_grad():
        spikes, _ = Sequential(net[0], net[1])(xs)
    found = measured(net, xs, bins_to_decision=4.0)
    layer = found["layers"]["layers.1"]
    assert layer["neurons"] == 64 and layer["rate"] == pytest.approx(float(spikes.mean()))
    assert layer["sparsity"] == pytest.approx(1 - float(spikes.mean()))
    assert layer["once"]["t_phi"] == pytest.approx(4 * layer["rate"])
    assert set(found["layers"]) == {"layers.1", "layers.4"}  # the read-out does not spike
    neurons = {name: entry["neurons"] for name, entry in found["layers"].items()}
    total = sum(found["layers"][name]["rate"] * count for name, count in neurons.items())
    assert found["spikes_per_bin"] == pytest.approx(total)
    assert found["activation_sparsity"] == pytest.approx(1 - total / sum(neurons.values()))


@pytest.mark.parametrize(
    ("t_phi", "colour"), [(0.0, "green"), (0.27, "green"), (0.3, "amber"), (0.45, "red"), (9.0, "red")]
)
def test_gate(t_phi, colour):
    assert gate(t_phi) == colour


def test_padding_is_not_counted():
    net, xs = network(), inputs(8)
    lengths = torch.tensor([8, 3, 5])
    mask = torch.arange(8).unsqueeze(1) < lengths
    together = measured(net, torch.where(mask[..., None, None, None], xs, 7.0), mask)
    alone = [measured(net, xs[:length, row : row + 1]) for row, length in enumerate(lengths.tolist())]
    for key in ("effective_macs", "effective_acs", "dense"):
        expected = sum(one["synaptic_operations"][key] * one["bins"] for one in alone) / 16
        assert together["synaptic_operations"][key] == pytest.approx(expected), key
    assert together["bins"] == 16
    assert together["spikes_per_bin"] == pytest.approx(sum(one["spikes_per_bin"] * one["bins"] for one in alone) / 16)


def test_what_was_not_named_is_refused():
    net = network()
    with torch.no_grad(), CostMeter(net), pytest.raises(ValueError, match="watch"):
        net(inputs())
    assert not any(module._forward_hooks for module in net.modules())


def test_bridge_counts_the_products_of_its_matrices():
    bridge = ASAB(bins=3, kernel_size=5)
    pixels, bins = 16, 3
    by_hand = bins * pixels * 25 + bins * bins * pixels + 2 * bins**3 + 2 * bins * bins + bins * pixels
    assert bridge_products(bridge, (4, 4, 4)) == 4 * by_hand


def test_twin_has_the_same_size_and_multiplies():
    net, xs = network(), inputs()
    spiking, twin = measured(net, xs), measured(twin_of(net), xs)
    assert twin["parameters"] == spiking["parameters"] and twin["bytes"] == spiking["bytes"]
    assert spiking["spiking"] and not twin["spiking"]
    assert spiking["synaptic_operations"]["effective_acs"] > 0 == twin["synaptic_operations"]["effective_acs"]
    assert twin["synaptic_operations"]["dense"] == spiking["synaptic_operations"]["dense"]
    assert set(twin["layers"]) == set(spiking["layers"])


def test_evaluate_gives_costs_when_asked():
    config = tiny_recipe().pipeline
    torch.manual_seed(0)
    model = build_model(config.model, config.model_config)
    recordings = bars(3, seconds=0.1)
    result = evaluate(config, model, recordings, costs=True)
    whole = result["costs"]
    assert whole["bins"] == 3 * 10 and {"bridge", "head.recurrent"} <= set(whole["synaptic_operations"]["layers"])
    assert whole["synaptic_operations"]["layers"]["backbone.layers.1"]["kind"] == "mac"  # counts, not spikes
    chunked = evaluate(config, model, recordings, batch=1, costs=True)["costs"]
    assert np.isclose(chunked["synaptic_operations"]["dense"], whole["synaptic_operations"]["dense"])
    assert "costs" not in evaluate(config, model, recordings)
