"""Recurrent TC-LIF layers whose neurons are tuned to a range of periods."""

from __future__ import annotations

import math

import torch

from dvs_snn.errors import ConfigError
from dvs_snn.nn import TCLIF


def check_periods(model: str, periods: tuple[float, ...]) -> None:
    """Raise `ConfigError` unless `periods` is a range of bins that TC-LIF can have."""
    if len(periods) != 2 or not 6.0 < periods[0] <= periods[1]:
        raise ConfigError(f"{model}: periods is a range of bins above 6, low <= high, got {periods}")


def tclif_layer(
    count: int, periods: tuple[float, ...], leak: float, recurrent: bool = True, recurrent_gain: float = 0.1
) -> TCLIF:
    """`count` TC-LIF neurons whose own periods, in bins, are spread evenly in log time over a range.

    Per neuron `σ(c1) σ(c2) = 2 - 2 cos(2π / period)`: the angle of the eigenvalues of the silent
    loop (Zhang et al. 2024). Recurrent weights start orthogonal, scaled by `recurrent_gain`: 1 would drown the input.
    """
    neurons = TCLIF(shape=(count,), leak=leak, recurrent=count if recurrent else 0)
    low, high = (math.log(period) for period in periods)
    period = torch.exp(torch.linspace(low, high, count))
    coupling = torch.sqrt(2.0 - 2.0 * torch.cos(2.0 * math.pi / period))
    with torch.no_grad():
        neurons.c1.copy_(torch.logit(coupling))
        neurons.c2.copy_(torch.logit(coupling))
        if neurons.recurrent is not None:
            neurons.recurrent.weight.mul_(recurrent_gain)
    return neurons
