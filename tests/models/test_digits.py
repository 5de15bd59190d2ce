"""The networks for digits, spoken and seen: laws of streaming, families by configuration, learning, refusals."""

import json

import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.models import DigitsConfig, DigitsNet, NMNISTConfig, NMNISTNet, build_model, config_dict
from dvs_snn.models.hearing import Adaptation, DivisiveGain
from dvs_snn.nn.dropout import SequenceDropout
from dvs_snn.nn.layers import fold_batch_norm
from tests.temporal_laws import check_temporal_laws

SMALL = {"classes": 3, "shape": (1, 1, 12), "hidden": (10, 8)}
FAMILIES = [
    pytest.param({}, id="tclif"),
    pytest.param({"neurons": "adlif"}, id="adlif"),
    pytest.param({"neurons": "lif", "recurrent": False, "delay": 4}, id="delays"),
    pytest.param({"neurons": "lif", "recurrent_delay": 3}, id="recurrent delays"),
    pytest.param({"neurons": "tclif", "delay": 2, "recurrent_delay": 2}, id="both delays"),
    pytest.param({"gain": True, "adaptation_tau": 5.0}, id="adapted"),
    pytest.param({"members": 3}, id="committee"),
]


def counts(time: int, batch: int, *shape: int) -> torch.Tensor:
    return torch.poisson(torch.rand(time, batch, *shape, dtype=torch.double))


def trained(net: nn.Module, *shape: int) -> nn.Module:
    """Normalisations have seen data, and are strong enough that all layers fire."""
    net.double().train()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.weight.fill_(1.5)
        for _ in range(50):
            net(counts(10, 4, *shape))
    return net.eval()


@pytest.mark.parametrize("options", FAMILIES)
def test_digits_obey_the_laws_of_streaming(options: dict) -> None:
    torch.manual_seed(0)
    net = trained(DigitsNet(DigitsConfig(**{**SMALL, **options})), 1, 1, 12)  # type: ignore[arg-type]
    check_temporal_laws(net, counts(12, 3, 1, 1, 12), tolerance=1e-12)  # type: ignore[arg-type]


def test_nmnist_obeys_the_laws_of_streaming() -> None:
    torch.manual_seed(0)
    config = NMNISTConfig(classes=3, shape=(2, 8, 8), channels=(6, 8), kernels=(5, 3), strides=(2, 2), delays=(0, 2))
    check_temporal_laws(trained(NMNISTNet(config), 2, 8, 8), counts(12, 3, 2, 8, 8), tolerance=1e-12)  # type: ignore[arg-type]


def test_adaptation_lets_go_what_stays_the_same() -> None:
    constant = torch.tensor([[3.0, -1.0]], dtype=torch.double).expand(40, 1, 2)
    found, _ = Adaptation(5.0).double()(constant)
    want = constant * 0.8 ** torch.arange(1, 41, dtype=torch.double).view(-1, 1, 1)
    assert (found - want).abs().max() < 1e-6


def test_divisive_gain_keeps_the_spectrum_and_lets_the_level_go() -> None:
    loud = 50.0 * torch.rand(4, 30, dtype=torch.double)
    gain = DivisiveGain()
    assert torch.allclose(gain(2.0 * loud), gain(loud), rtol=5e-3)
    assert torch.allclose(gain(loud) / gain(loud).sum(1, keepdim=True), loud / loud.sum(1, keepdim=True))
    assert (gain(torch.zeros(1, 30)) == 0).all()


@pytest.mark.parametrize("options", FAMILIES)
def test_every_parameter_learns_from_the_start(options: dict) -> None:
    torch.manual_seed(0)
    net = DigitsNet(DigitsConfig(**{**SMALL, **options, "shape": (1, 1, 140), "hidden": (32, 32)}))  # type: ignore[arg-type]
    xs = torch.poisson(0.5 * torch.rand(40, 6, 1, 1, 140))
    logits, _ = net(xs)
    nn.functional.cross_entropy(logits[10:].flatten(0, 1), torch.arange(6).remainder(3).repeat(30)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("options", FAMILIES[:4])
def test_learns_what_only_the_order_of_time_tells(options: dict) -> None:
    """A tone that rises, and its reversal."""
    torch.manual_seed(1)
    config = {**SMALL, "classes": 2, "hidden": (24, 24), "dropout": 0.0, "readout_tau": 8.0, **options}
    net = DigitsNet(DigitsConfig(**config))  # type: ignore[arg-type]
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2)

    def clips() -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(0, 2, (16,))
        tone = (torch.arange(24).view(-1, 1) // 2 * (2 * labels - 1).view(1, -1) + torch.randint(0, 12, (1, 16))) % 12
        return nn.functional.one_hot(tone, 12).float().view(24, 16, 1, 1, 12) * 2, labels

    for step in range(60):
        for module in net.modules():
            if hasattr(module, "anneal"):
                module.anneal(step / 60)
        xs, labels = clips()
        loss = nn.functional.cross_entropy(net(xs)[0][10:].flatten(0, 1), labels.repeat(14))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    xs, labels = clips()
    with torch.no_grad():
        assert (net.eval()(xs)[0][-1].argmax(-1) == labels).float().mean() > 0.85


def test_folded_network_decides_the_same() -> None:
    torch.manual_seed(0)
    net = trained(DigitsNet(DigitsConfig(**SMALL)), 1, 1, 12)  # type: ignore[arg-type]
    xs = counts(20, 3, 1, 1, 12)
    folded = fold_batch_norm(net)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in folded.modules())
    with torch.no_grad():
        assert (folded(xs)[0] - net(xs)[0]).abs().max() < 1e-9


def test_dropout_lasts_for_the_sequence_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout = SequenceDropout(0.4).train()
    ones = torch.ones(6, 50, 40)
    ys, state = dropout(ones[:3])
    assert torch.equal(ys, ys[:1].expand_as(ys)), "the same inputs at every step"
    assert torch.equal(dropout(ones[3:], state)[0], ys), "and in the next chunk"
    assert ((ys == 0) | ((ys - 1 / 0.6).abs() < 1e-6)).all()
    assert abs(float(ys.mean()) - 1.0) < 0.05
    assert torch.equal(dropout.eval()(ones)[0], ones)


@pytest.mark.parametrize(("name", "config"), [("digits", DigitsConfig(hidden=(7,))), ("nmnist", NMNISTConfig())])
def test_configurations_round_trip_through_json(name: str, config: object) -> None:
    net = build_model(name, json.loads(json.dumps(config_dict(config))))
    assert net.config == config  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("digits", {"neurons": "gru"}, "tclif, adlif, lif"),
        ("digits", {"members": 0}, "members is 1 or more"),
        ("digits", {"hidden": []}, "wrong type|hidden layer"),
        ("digits", {"recurrent": False, "recurrent_delay": 3}, "needs recurrent"),
        ("digits", {"delay": -1}, "negative"),
        ("digits", {"periods": [3.0, 9.0]}, "periods"),
        ("digits", {"tau_u": [9.0, 3.0], "neurons": "adlif"}, "tau_u"),
        ("digits", {"dropout": 1.0}, "dropout"),
        ("nmnist", {"readout_tau": 0.0}, "readout_tau"),
        ("nmnist", {"shape": [2, 34]}, "shape"),
    ],
)
def test_wrong_configurations_are_refused(name: str, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(name, values)
