"""The spiking convolutional backbone: what may later run on a chip."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import LIF, ATan, Sequential
from dvs_snn.nn.delays import Taps
from dvs_snn.nn.layers import conv_norm


def spiking_backbone(
    in_channels: int,
    channels: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    *,
    taus: Sequence[float],
    delays: Sequence[int] = (0,),
    surrogate_slope: float = 2.0,
) -> Sequential:
    """Blocks of convolution, batch normalisation and LIF with zero reset and threshold 1.

    The channels of a block have membrane time constants spread evenly in log time over `taus` (bins): a later block
    that hears a fast and a slow channel side by side can tell which way an edge moved.

    `delays` (bins): the first block sees the input now and as it was, see `Taps`.

    Zero reset, strict `>`, strides instead of pooling and a normalisation that folds into weights and bias are what
    Loihi's own neuron can do. The normalisation starts with the scale `sqrt(1 - β²)`, at which white input gives a
    membrane of standard deviation 1 before resets: one threshold, so that about one neuron in ten fires per bin.
    """
    if not len(channels) == len(kernels) == len(strides) > 0:
        raise ConfigError(
            f"backbone: one channel number, kernel and stride per block, got {channels}, {kernels}, {strides}"
        )
    if len(taus) != 2 or not 0.0 < taus[0] <= taus[1]:
        raise ConfigError(f"backbone: taus is a range of bins above 0, low <= high, got {taus}")
    low, high = math.log(taus[0]), math.log(taus[1])
    layers: list[nn.Module] = []
    if tuple(delays) != (0,):
        layers.append(Taps(delays))
        in_channels *= len(delays)
    for width, kernel, stride in zip(channels, kernels, strides, strict=True):
        tau = torch.exp(torch.linspace(low, high, width))
        beta = torch.exp(-1.0 / tau)
        convolution, norm = conv_norm(in_channels, width, kernel, stride)
        neurons = LIF(reset="zero", shape=(width, 1, 1), surrogate=ATan(surrogate_slope))
        with torch.no_grad():
            neurons.beta.copy_(beta.view(-1, 1, 1))
            norm.weight.copy_(torch.sqrt(1.0 - beta**2))
        layers += [convolution, norm, neurons]
        in_channels = width
    return Sequential(*layers)
