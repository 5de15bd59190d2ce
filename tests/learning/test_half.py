"""Convolutions in bfloat16: nearly the same numbers and gradients, only while asked for, only of float32."""

import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning.half import HalfConvolutions
from dvs_snn.learning.rules import RuleConfig


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_results_and_gradients_are_rounded_but_right(bias: bool, groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=bias, groups=groups)
    x = torch.randn(5, 4, 9, 8, requires_grad=True)
    found = {}
    for half in (False, True):
        layer.zero_grad()
        x.grad = None
        if half:
            with HalfConvolutions():
                y = layer(x)
        else:
            y = layer(x)
        (y**2).sum().backward()
        assert y.dtype == torch.float32 and layer.weight.grad is not None
        found[half] = [tensor.clone() for tensor in (y.detach(), x.grad, layer.weight.grad)]  # type: ignore[union-attr]
    for exact, rounded in zip(found[False], found[True], strict=True):
        assert not torch.equal(exact, rounded)
        assert float((exact - rounded).norm() / exact.norm()) < 0.01


def test_other_precisions_and_other_layers_are_left_alone() -> None:
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(2, 3, 3), nn.Linear(8, 4)
    x, flat = torch.randn(1, 2, 8, 8), torch.randn(2, 8)
    exact = convolution.double()(x.double()), linear(flat), nn.functional.max_pool2d(x, 2)
    with HalfConvolutions():
        same = convolution(x.double()), linear(flat), nn.functional.max_pool2d(x, 2)
    assert all(torch.equal(a, b) for a, b in zip(exact, same, strict=True))
    convolution.float()
    with HalfConvolutions():
        rounded = convolution(x)
    assert not torch.equal(rounded, convolution(x))


def test_one_way_of_rounding_at_a_time() -> None:
    with pytest.raises(ConfigError, match="not both"):
        RuleConfig(autocast=True, half_convolutions=True)
