"""A small network that fires, and its integer package."""

import numpy as np
import pytest
import torch

from dvs_snn.deploy import LoihiPackage, quantize
from dvs_snn.models import GestureConfig, GestureNet

SIZES = {
    "shape": (2, 16, 16),
    "channels": (6, 8),
    "kernels": (5, 3),
    "strides": (2, 1),
    "bridge_bins": 3,
    "delays": (0, 2),
    "block_channels": (8,),
    "hidden": 12,
}


def counts(time: int, batch: int, seed: int = 0) -> torch.Tensor:
    """Event counts, denser in some bins than in others."""
    generator = torch.Generator().manual_seed(seed)
    rate = torch.rand(time, batch, 1, 1, 1, generator=generator) * 0.6
    return torch.poisson(rate.expand(-1, -1, 2, 16, 16).contiguous(), generator=generator)


def small_network(**options: object) -> GestureNet:
    """Normalisations have seen data, all layers fire."""
    torch.manual_seed(0)
    net = GestureNet(GestureConfig(**{**SIZES, **options}))  # type: ignore[arg-type]
    with torch.no_grad():
        net.blocks[-1].weight.fill_(1.0)  # type: ignore[operator,union-attr]
        net.train()
        for module in net.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.4  # statistics arrive within a few calls
        for seed in range(8):
            net(counts(8, 4, seed))
    return net.eval()


def clips(count: int = 3, time: int = 30) -> list[np.ndarray]:
    return [counts(time, 1, 100 + k)[:, 0].numpy() for k in range(count)]


@pytest.fixture(scope="session")
def network() -> GestureNet:
    return small_network()


@pytest.fixture(scope="session")
def package(network: GestureNet) -> LoihiPackage:
    return quantize(network, clips())
