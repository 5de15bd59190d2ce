"""Batch normalisation folds away without a trace; counts saturate."""

import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.models import spiking_backbone
from dvs_snn.nn.layers import Saturate, conv_norm, fold_batch_norm, linear_norm


def used(network: nn.Module, xs: torch.Tensor) -> nn.Module:
    """A network whose normalisations have seen data and have weights of their own."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    network.train()
    for _ in range(5):
        network(xs)
    return network.eval()


def test_folded_layers_compute_the_same() -> None:
    x = torch.randn(16, 3, 9, 9)
    network = nn.Sequential(
        *conv_norm(3, 5, 3, 2), nn.ReLU(), *conv_norm(5, 4, 5), nn.Flatten(), *linear_norm(100, 7, gain=0.3)
    )
    used(network, x)
    folded = fold_batch_norm(network)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules())  # the original is left alone
    assert (folded(x) - network(x)).abs().max() < 1e-5


def test_folded_backbone_gives_the_same_spikes() -> None:
    xs = torch.poisson(torch.rand(20, 4, 2, 16, 16))
    backbone = used(spiking_backbone(2, (8, 8), (5, 3), (2, 2), taus=(1.0, 5.0)), xs)
    before, _ = backbone(xs)
    after, _ = fold_batch_norm(backbone)(xs)
    assert 0.01 < before.mean() < 0.6
    # A membrane within rounding of the threshold may fall on its other side, and then a few spikes follow.
    assert (before != after).float().mean() < 1e-4
    exact, _ = fold_batch_norm(backbone.double())(xs.double())
    assert torch.equal(exact, backbone(xs.double())[0])


def test_normalisation_starts_at_its_gain() -> None:
    x = torch.randn(64, 4, 8, 8)
    out = nn.Sequential(*conv_norm(4, 6, 3, gain=0.5))(x)
    assert torch.allclose(out.std((0, 2, 3)), torch.full((6,), 0.5), atol=1e-2)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(6), atol=1e-5)


def test_a_normalisation_with_nothing_to_fold_into_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot fold 1"):
        fold_batch_norm(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


def test_counts_saturate_and_stay_integers() -> None:
    counts = torch.tensor([0.0, 1.0, 3.0, 4.0, 200.0])
    assert Saturate(4)(counts).tolist() == [0, 1, 3, 4, 4]
    assert torch.equal(Saturate(4)(counts * 3 + 4)[1:], torch.full((4,), 4.0))
    with pytest.raises(ConfigError, match="above 0"):
        Saturate(0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": (8,), "kernels": (3, 3), "strides": (1,)}, "one channel number"),
        ({"channels": (8,), "kernels": (3,), "strides": (1,), "taus": (0.0, 3.0)}, "taus"),
    ],
)
def test_impossible_backbones_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spiking_backbone(2, **{"taus": (3.0, 3.0), **options})
