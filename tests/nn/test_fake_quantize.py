"""Quantisation-aware training: rounded weights compute, exact ones move, zeros stay."""

import pytest
import torch

from dvs_snn.errors import ConfigError
from dvs_snn.models import GestureConfig, GestureNet
from dvs_snn.nn.fake_quantize import QuantizedTraining, fake_quantize, synapses


def small() -> GestureNet:
    return GestureNet(
        GestureConfig(shape=(2, 16, 16), channels=(4, 4), kernels=(3, 3), strides=(2, 2), block_channels=(8,), hidden=8)
    )


def test_levels_are_symmetric_and_hold_the_largest() -> None:
    weight = torch.randn(5, 3, 3, 3)
    rounded = fake_quantize(weight, 4, True)
    for row, wanted in zip(rounded, weight, strict=True):
        assert len(row.unique()) <= 15
        assert torch.isclose(row.abs().max(), wanted.abs().max())
    assert torch.equal(fake_quantize(-weight, 4, True), -rounded)
    assert torch.allclose(fake_quantize(rounded, 4, True), rounded)
    assert fake_quantize(torch.zeros(2, 2), 8, False).abs().sum() == 0


def test_synapses_are_what_feeds_spiking_neurons() -> None:
    net = small()
    found = {id(weight) for weight, _ in synapses(net)}
    assert net.head.recurrent is not None
    assert found == {id(net.backbone[1].weight), id(net.backbone[4].weight), id(net.head.recurrent.weight)}


def test_forward_is_rounded_and_the_exact_weights_learn() -> None:
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    QuantizedTraining(net, optimizer, 4)
    weight = net.backbone[1].weight
    exact = weight.detach().clone()
    net.train()
    logits, _ = net(torch.poisson(torch.full((6, 4, 2, 16, 16), 0.5)))
    assert torch.equal(weight.detach(), fake_quantize(exact, 4, True))
    logits.square().sum().backward()
    assert weight.grad is not None
    optimizer.step()
    assert torch.allclose(weight.detach(), exact - 1e-3 * weight.grad)
    net.eval()
    before = weight.detach().clone()
    net(torch.poisson(torch.full((6, 4, 2, 16, 16), 0.5)))
    assert torch.equal(weight.detach(), before)


def test_bad_bits_are_refused() -> None:
    net = small()
    with pytest.raises(ConfigError, match="bits"):
        QuantizedTraining(net, torch.optim.SGD(net.parameters(), 0.1), 1)
    with pytest.raises(ConfigError, match="no convolution"):
        plain = torch.nn.Linear(2, 2)
        QuantizedTraining(plain, torch.optim.SGD(plain.parameters(), 0.1), 8)
