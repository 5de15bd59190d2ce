"""The text network: the laws to the bit with every mixer, documents, the twin, what spikes drive, learning."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.learning.measures import CostMeter
from dvs_snn.models import TextConfig, TextNet, build_model, model_config
from dvs_snn.models.nmnist import NMNISTConfig, NMNISTNet
from dvs_snn.models.text import MIXERS
from dvs_snn.nn import LIF, reset_where
from tests.temporal_laws import assert_close, check_temporal_laws

SMALL: dict[str, Any] = {"vocabulary": 5, "width": 8, "layers": 2, "hidden": 12, "states": 3, "heads": 2, "window": 3}


def network(**options: Any) -> TextNet:
    """A small network in float64 whose neurons fire at once."""
    return TextNet(TextConfig(**{**SMALL, "threshold": 0.3, **options})).double()


def tokens(time: int = 12, batch: int = 3) -> Tensor:
    return torch.randint(0, 2, (time, batch))


@pytest.mark.parametrize("mixer", MIXERS)
def test_step_equals_scan_to_the_bit(mixer: str) -> None:
    check_temporal_laws(network(mixer=mixer), tokens())


@pytest.mark.parametrize(
    "options",
    [{"twin": True}, {"neuron": "hard_reset"}, {"classes": 3}, {"tied": True}, {"mixer_in": True}],
    ids=lambda o: next(iter(o)),
)
def test_laws_hold_for_every_profile(options: dict[str, Any]) -> None:
    check_temporal_laws(network(**options), tokens())


@pytest.mark.parametrize("options", [{}, {"neuron": "hard_reset"}, {"classes": 3}, {"mixer": "attention_ssm"}], ids=str)
@torch.no_grad()
def test_packed_documents_do_not_hear_each_other(options: dict[str, Any]) -> None:
    net, xs = network(**options).eval(), tokens()
    first = torch.zeros(12, 3, dtype=torch.bool)
    first[0] = first[5, 1] = first[9, 1] = first[7, 2] = True
    packed, _ = net(xs, None, first)
    assert torch.equal(packed[:, 0], net(xs)[0][:, 0])
    for start, stop, row in ((0, 5, 1), (5, 9, 1), (9, 12, 1), (0, 7, 2), (7, 12, 2)):
        assert torch.equal(packed[start:stop, row], net(xs[start:stop])[0][:, row])
    state = None
    for t in range(12):
        logits, state = net.step(xs[t], None if state is None else reset_where(state, first[t]))
        assert torch.equal(logits, packed[t])


@torch.no_grad()
def test_a_committee_of_judges_obeys_the_laws_and_tells_their_mean() -> None:
    values = {**SMALL, "threshold": 0.3, "classes": 3, "members": 3}
    net, xs = build_model("text", values).double(), tokens()
    check_temporal_laws(net, xs)
    assert_close(net(xs)[0], sum(member(xs)[0] for member in net.members) / 3, 1e-12)  # type: ignore[operator,union-attr]
    first = torch.zeros(12, 3, dtype=torch.bool)
    first[0] = first[5, 1] = True
    assert torch.equal(net(xs, None, first)[0][5:, 1], net(xs[5:])[0][:, 1])
    net.train()
    assert torch.equal(net(xs, None, first)[0][5:, 1], net(xs[5:])[0][:, 1]), "documents are apart in training too"


@pytest.mark.parametrize("values", [{"members": 0, "classes": 2}, {"members": 2}])
def test_only_judges_form_a_committee(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="members is 1 or more for a classifier"):
        TextConfig(**values)
    with pytest.raises(ConfigError, match="one network"):
        TextNet(TextConfig(members=2, classes=2))


def test_default_network_is_driven_by_spikes() -> None:
    """At least half of the weight operations, counted while it runs, meet zeros and ones alone."""
    net = TextNet()
    meter = CostMeter(net.eval())
    meter.watch(torch.ones(20, 4, dtype=torch.bool))
    with meter, torch.no_grad():
        net(torch.randint(0, 65, (20, 4)))
    report = meter.report()
    assert 0.68e6 < report["parameters"] < 0.72e6
    found = report["synaptic_operations"]
    assert found["driven_by_spikes"] > 0.5
    kinds = {name: layer["kind"] for name, layer in found["layers"].items()}
    for k in range(4):
        assert kinds[f"blocks.{k}.mixer_out"] == kinds[f"blocks.{k}.hidden_out"] == "ac"
        assert kinds[f"blocks.{k}.hidden_in"] == kinds[f"blocks.{k}.mixer"] == "mac"
        assert kinds[f"blocks.{k}.mixer_filter"] == kinds[f"blocks.{k}.hidden_filter"] == "mac"
    weights = sum(p.numel() for name, p in net.named_parameters() if name.endswith("weight") and "norm" not in name)
    products = sum(layer["dense"] for name, layer in found["layers"].items() if not name.endswith(("mixer", "filter")))
    assert products == weights - net.embedding.weight.numel()  # every weight is met once per token


def test_the_twin_has_the_same_size_and_no_spikes() -> None:
    spiking, twin = network(), network(twin=True)
    assert {n: p.shape for n, p in spiking.named_parameters()} == {n: p.shape for n, p in twin.named_parameters()}
    outputs: list[Tensor] = []
    for net, binary in ((spiking, True), (twin, False)):
        outputs.clear()
        handle = net.blocks[0].hidden.register_forward_hook(lambda m, i, o: outputs.append(o[0]))
        net(tokens())
        handle.remove()
        assert (set(outputs[0].unique().tolist()) <= {0.0, 1.0}) == binary


def test_hard_reset_profile_sets_the_membrane_to_zero() -> None:
    net = network(neuron="hard_reset")
    neurons = [module for module in net.modules() if isinstance(module, LIF)]
    assert len(neurons) == 4 and all(neuron.reset == "zero" for neuron in neurons)


@torch.no_grad()
def test_a_classifier_reads_the_mean_of_what_it_saw() -> None:
    net, xs = network(classes=3).eval(), tokens(6, 2)
    features, _ = net.features(xs)
    assert_close(net(xs)[0][-1], net.head(net.norm(features.mean(0))), 1e-12)


def test_spikes_are_left_out_in_training_alone() -> None:
    """With a quarter left out the others weigh 4/3, so that W hears as much as without."""
    net, heard = network(spike_dropout=0.25, hidden=256).float(), []
    for block in net.blocks:
        for layer in (block.mixer_out, block.hidden_out):  # type: ignore[union-attr]
            layer.register_forward_pre_hook(lambda layer, inputs: heard.append(inputs[0].detach()))  # type: ignore[union-attr, arg-type]
    xs = tokens(40, 8)
    net.eval()(xs)
    whole = [spikes.clone() for spikes in heard]
    assert all(set(spikes.unique().tolist()) <= {0.0, 1.0} for spikes in whole)
    heard.clear()
    net.train()(xs)
    assert heard[0].unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.all(heard[0] <= whole[0] * 4 / 3 + 1e-6), "none is added"
    assert float((heard[0] > 0).sum() / whole[0].sum()) == pytest.approx(0.75, abs=0.05)


def test_a_loop_of_tokens_is_learned() -> None:
    net = TextNet(TextConfig(vocabulary=4, width=16, layers=1, hidden=24, states=4))
    text = torch.tensor([0, 1, 2, 1, 3]).repeat(8).unsqueeze(1)  # what follows 1 depends on what was before it
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        logits, _ = net(text[:-1])
        loss = F.cross_entropy(logits.flatten(0, 1), text[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.15
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mixer": "fft"}, "mixer is one of ssm"),
        ({"neuron": "izhikevich"}, "neuron is one of"),
        ({"classes": 1}, "at least 2"),
        ({"vocabulary": 1}, "vocabulary >= 2"),
        ({"steps": (0.5, 0.1)}, "low <= high"),
        ({"twin": True, "neuron": "hard_reset"}, "twin"),
        ({"tied": True, "classes": 2}, "tied"),
        ({"spike_dropout": 1.0}, "spike_dropout lies in"),
    ],
)
def test_a_wrong_option_is_one_clear_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TextConfig(**options)


def test_the_registry_builds_it_and_the_gru() -> None:
    net = build_model("text", {"width": 16, "layers": 1, "steps": [0.1, 1]})
    assert isinstance(net, TextNet) and net.config == dataclasses.replace(
        TextConfig(), width=16, layers=1, steps=(0.1, 1.0)
    )
    size = {name: sum(p.numel() for p in build_model(name).parameters()) for name in ("text", "text-gru")}
    assert abs(size["text"] / size["text-gru"] - 1) < 0.01
    check_temporal_laws(build_model("text-gru", {"vocabulary": 5, "width": 8}).double(), tokens(), 1e-12)
    left_out = build_model("text-gru", {"vocabulary": 5, "width": 8, "dropout": 0.5}).double()
    check_temporal_laws(left_out.eval(), tokens(), 1e-12)
    xs = tokens()
    assert not torch.equal(left_out.train()(xs)[0], left_out(xs)[0]), "by chance, in training"
    with pytest.raises(ConfigError, match="dropout lies in"):
        model_config("text-gru", {"dropout": 1.0})
    with pytest.raises(ConfigError, match="has no 'widht'"):
        model_config("text", {"widht": 8})


def test_a_vision_network_uses_the_mixer_as_its_temporal_head() -> None:
    config = NMNISTConfig(shape=(2, 9, 9), channels=(3,), kernels=(3,), strides=(3,), head="ssm", hidden=6, states=2)
    net = NMNISTNet(config).double()
    xs = 2 * torch.randint(0, 3, (8, 3, 2, 9, 9)).double()
    with torch.no_grad():
        for _ in range(40):  # batch normalisation gets used to the data, else nothing fires
            net(xs)
    check_temporal_laws(net, xs, 1e-12)
    with pytest.raises(ConfigError, match="head"):
        NMNISTConfig(head="lstm")
