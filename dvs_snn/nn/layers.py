"""Layers without memory that nets are built from, and batch normalisation folded away for deployment."""

from __future__ import annotations

import copy
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from dvs_snn.errors import ConfigError

Network = TypeVar("Network", bound=nn.Module)


class Saturate(nn.Module):
    """Event counts capped at `limit`: integers stay integers, so a chip can send them as graded spikes.

    A cap makes a bright edge, a flickering lamp and a hot pixel weigh alike, and a camera with three times the events
    look nearly the same.
    """

    def __init__(self, limit: float | int) -> None:
        super().__init__()
        if not limit > 0:
            raise ConfigError(f"the cap on event counts must be above 0, got {limit:g}")
        self.limit = limit

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return counts.clamp(max=self.limit)

    def extra_repr(self) -> str:
        return f"limit={self.limit:g}"


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, gain: float = 1.0
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Convolution (padded, no bias) and batch normalisation that starts with mean 0 and standard deviation `gain`."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    norm = nn.BatchNorm2d(out_channels)
    nn.init.constant_(norm.weight, gain)
    return convolution, norm


def linear_norm(in_features: int, out_features: int, *, gain: float = 1.0) -> tuple[nn.Linear, nn.BatchNorm1d]:
    """As `conv_norm`, for a linear map."""
    norm = nn.BatchNorm1d(out_features)
    nn.init.constant_(norm.weight, gain)
    return nn.Linear(in_features, out_features, bias=False), norm


def fold_batch_norm(network: Network, strict: bool = True) -> Network:
    """A copy in evaluation mode whose batch normalisations are part of the convolution or linear map before them.

    `w' = w γ / sqrt(σ² + ε)`, `b' = β + (b - μ) γ / sqrt(σ² + ε)`. Works on every list of modules inside the network
    (`nn.Sequential`, `nn.ModuleList`), whose normalisations are removed, and on modules that know how to do it
    (`FoldsNorm`). One that follows neither stays; with `strict` it is a `ConfigError`.
    """
    folded = copy.deepcopy(network).eval()
    for parent in list(folded.modules()):
        if isinstance(parent, FoldsNorm):
            parent.fold_norm()
        elif isinstance(parent, nn.Sequential | nn.ModuleList):
            _fold_list(parent)
    left = [name for name, module in folded.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if left and strict:
        raise ConfigError(f"cannot fold {', '.join(left)}: it does not follow a convolution or a linear map in a list")
    return folded


@runtime_checkable
class FoldsNorm(Protocol):
    """A module with a normalisation behind other maps than a list tells."""

    def fold_norm(self) -> None: ...


def _fold_list(layers: nn.Sequential | nn.ModuleList) -> None:
    index = 0
    while index + 1 < len(layers):
        layer, norm = layers[index], layers[index + 1]
        with torch.no_grad():
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers[index] = fuse_conv_bn_eval(layer, norm)
                del layers[index + 1]
            elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                layers[index] = fuse_linear_bn_eval(layer, norm)
                del layers[index + 1]
        index += 1
