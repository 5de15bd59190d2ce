"""The gesture network: laws of streaming, budget, causality through all of its parts."""

import io
import json

import pytest
import torch
from safetensors.torch import save
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.models import GestureConfig, GestureNet, build_model, config_dict
from dvs_snn.nn import reset_where
from dvs_snn.nn.layers import fold_batch_norm
from tests.temporal_laws import check_temporal_laws

SMALL = {
    "shape": (2, 16, 16),
    "channels": (6, 8),
    "kernels": (5, 3),
    "strides": (2, 2),
    "bridge_bins": 3,
    "delays": (0, 2),
    "block_channels": (8,),
    "hidden": 12,
}


def counts(time: int, batch: int, size: int = 16) -> torch.Tensor:
    return torch.poisson(torch.rand(time, batch, 2, size, size, dtype=torch.double))


def trained(**options: object) -> GestureNet:
    """A small network whose normalisations have seen data and whose layers fire."""
    net = GestureNet(GestureConfig(**{**SMALL, **options})).double()  # type: ignore[arg-type]
    with torch.no_grad():
        net.blocks[-1].weight.fill_(2.0)  # strong currents: the head fires within a few bins
    net.train()
    for _ in range(60):  # running statistics take that long to arrive
        net(counts(10, 4))
    return net.eval()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="default"),
        pytest.param({"deformable": True, "rate_source": "attention"}, id="deformable"),
        pytest.param(
            {"block_channels": (), "bridge_bins": 1, "leak": 1.0, "delays": (0,), "shortcut": False}, id="bare"
        ),
    ],
)
def test_laws_of_streaming(options: dict) -> None:
    # Spikes are decisions: a rounding difference of the BLAS seldom shows, and then in the last digits of the logits.
    check_temporal_laws(trained(**options), counts(12, 3), tolerance=1e-12)


def test_default_fits_its_budget() -> None:
    net = GestureNet()
    parameters = sum(p.numel() for p in net.parameters())
    assert 0.1e6 < parameters < 0.5e6
    assert len(save(net.state_dict())) < 3e6


def test_every_layer_fires_and_learns_from_the_start() -> None:
    net = GestureNet()
    xs = torch.poisson(0.3 * torch.rand(40, 4, 2, 32, 32))
    logits, state = net(xs)
    nn.functional.cross_entropy(logits[10:].flatten(0, 1), torch.arange(4).repeat(30)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    spikes, _ = net.backbone(net.saturate(xs))
    assert 0.01 < spikes.mean() < 0.4
    assert logits.shape == (40, 4, 11)
    assert state.begun is None, "no network sets the first state"


def test_learns_to_tell_directions_of_motion() -> None:
    """Two classes that differ in the order of time alone: a bar that moves right, and its reversal."""
    torch.manual_seed(1)
    net = GestureNet(GestureConfig(**{**SMALL, "classes": 2, "dropout": 0.0}))  # type: ignore[arg-type]
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3)

    def clips() -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(0, 2, (16,))
        direction = (2 * labels - 1).view(1, -1)
        x = (torch.arange(30).view(-1, 1) * direction + torch.randint(0, 16, (1, 16))) % 16
        bars = nn.functional.one_hot(x, 16).float().view(30, 16, 1, 1, 16).expand(-1, -1, 2, 16, -1)
        return torch.poisson(bars), labels

    for _ in range(40):
        xs, labels = clips()
        logits, _ = net(xs)
        loss = nn.functional.cross_entropy(logits[10:].flatten(0, 1), labels.repeat(20))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    xs, labels = clips()
    with torch.no_grad():
        accuracy = (net.eval()(xs)[0][-1].argmax(-1) == labels).float().mean()
    assert accuracy > 0.9


def test_folded_network_decides_the_same() -> None:
    net = trained()
    xs = counts(20, 3)
    folded = fold_batch_norm(net)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        assert (folded(xs)[0] - net(xs)[0]).abs().max() < 1e-9


def test_silent_stream_stays_bounded() -> None:
    """An hour of noise leaves the head where a second of it does: the leak forgets."""
    net = trained(leak=0.97)
    state, sizes = None, []
    with torch.no_grad():
        for _ in range(6):
            _, state = net((torch.rand(200, 2, 2, 16, 16) < 0.02).double(), state)
            sizes.append(float(torch.stack([leaf.abs().max() for leaf in state.head.neuron]).max()))
    assert max(sizes[2:]) < 3 * max(sizes[:2]) + 1


def test_reset_of_all_rows_is_a_fresh_start() -> None:
    net = trained()
    with torch.no_grad():
        _, state = net(counts(8, 3))
        xs = counts(6, 3)
        fresh = reset_where(state, torch.ones(3, dtype=torch.bool))
        assert torch.equal(net(xs, fresh)[0], net(xs)[0])


def test_state_survives_save_and_load() -> None:
    net = trained()
    xs = counts(12, 3)
    with torch.no_grad():
        whole = net(xs)[0]
        _, state = net(xs[:5])
        file = io.BytesIO()
        torch.save(state.head.neuron._asdict(), file)
        file.seek(0)
        neuron = type(state.head.neuron)(**torch.load(file, weights_only=True))
        head = state.head._replace(neuron=neuron)
        assert (net(xs[5:], state._replace(head=head))[0] - whole[5:]).abs().max() < 1e-12


def test_configuration_round_trips_through_json() -> None:
    config = GestureConfig(channels=(8, 16), kernels=(3, 3), strides=(2, 2), leak=0.9)
    values = json.loads(json.dumps(config_dict(config)))
    net = build_model("gesture", values)
    assert isinstance(net, GestureNet)
    assert net.config == config
    assert json.loads(json.dumps(config_dict(net.config))) == values


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("gestures", {}, "'gestures' is unknown; known: gesture"),
        ("gesture", {"chanels": (8,)}, "no 'chanels'"),
        ("gesture", {"classes": 1}, "classes"),
        ("gesture", {"classes": "many"}, "wrong type"),
        ("gesture", {"shape": 32}, "wrong type"),
        ("gesture", {"shape": (2, 32)}, "shape"),
        ("gesture", {"hidden": 12.5}, "wrong type"),
        ("gesture", {"channels": (8.0, 8, 8)}, "wrong type"),
        ("gesture", {"deformable": 1}, "wrong type"),
        ("gesture", {"dropout": 1.0}, "dropout"),
        ("gesture", {"leak": 0.0}, "leak"),
        ("gesture", {"readout_tau": 0.0}, "readout_tau"),
        ("gesture", {"periods": (2.0, 60.0)}, "periods"),
        ("gesture", {"taus": (9.0, 3.0)}, "taus"),
        ("gesture", {"count_limit": 0}, "cap"),
        ("gesture", {"rate_source": "events"}, "rate_source"),
        ("gesture", {"strides": (2, 2)}, "one channel number"),
    ],
)
def test_wrong_configurations_are_refused(name: str, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(name, values)
