"""The spiking convolutional backbone: what may later run on a chip."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dvs_snn.errors import ConfigError
from dvs_snn.nn import LIF, ATan, Sequential
from dvs_snn.nn.layers import conv_norm


def spiking_backbone(
    in_channels: int,
    channels: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    *,
    tau: float,
    surrogate_slope: float = 2.0,
) -> Sequential:
    """Blocks of convolution, batch normalisation and LIF with zero reset, threshold 1, time constant `tau` bins.

    Zero reset, strict `>`, strides instead of pooling and a normalisation that folds into weights and bias are what
    Loihi's own neuron can do. The normalisation starts with the scale `sqrt(1 - β²)`, at which white input gives a
    membrane of standard deviation 1 before resets: one threshold, so that about one neuron in ten fires per bin.
    """
    if not len(channels) == len(kernels) == len(strides) > 0:
        raise ConfigError(
            f"backbone: one channel number, kernel and stride per block, got {channels}, {kernels}, {strides}"
        )
    if not tau > 0:
        raise ConfigError(f"backbone: the time constant must be above 0 bins, got {tau:g}")
    beta = math.exp(-1.0 / tau)
    layers = []
    for width, kernel, stride in zip(channels, kernels, strides, strict=True):
        layers += [
            *conv_norm(in_channels, width, kernel, stride, gain=math.sqrt(1.0 - beta**2)),
            LIF(beta=beta, reset="zero", surrogate=ATan(surrogate_slope)),
        ]
        in_channels = width
    return Sequential(*layers)
