"""Quantisation-aware training: the network computes with rounded weights, the optimizer moves the exact ones.

Straight-through estimator (Bengio et al. 2013; Jacob et al. 2018): the gradient with respect to a rounded weight is
used for the exact one. Scales are those of the integer package: per output channel of a convolution, one for a
recurrent map. A batch normalisation behind the convolution scales whole channels, so folding it keeps the same grid.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.linear_neuron import LinearNeuron


def fake_quantize(weight: Float[Tensor, "*shape"], bits: int, per_channel: bool) -> Float[Tensor, "*shape"]:
    """The nearest of `2^bits - 1` levels that are symmetric about zero; the largest weight of a group is a level."""
    largest = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True) if per_channel else weight.abs().max()
    scale = (largest / (2 ** (bits - 1) - 1)).clamp(min=torch.finfo(weight.dtype).tiny)
    return torch.round(weight / scale) * scale


def synapses(network: nn.Module) -> list[tuple[Tensor, bool]]:
    """The weights that feed spiking neurons: convolutions before them in a list, and their recurrent maps.

    With each, whether it has a scale per channel. Zeros stay zeros, so a pruned network stays pruned.
    """
    found: list[tuple[Tensor, bool]] = []
    for module in network.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            waiting: Tensor | None = None
            for layer in module:
                if isinstance(layer, nn.Conv2d):
                    waiting = layer.weight
                elif isinstance(layer, LinearNeuron) and waiting is not None:
                    found.append((waiting, True))
                    waiting = None
        if isinstance(module, LinearNeuron) and module.recurrent is not None:
            found.append((module.recurrent.weight, False))
    return found


class QuantizedTraining:
    """Rounds the synapses of a network while it computes; attached to its forward pass and to its optimizer."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, bits: int) -> None:
        if not 2 <= bits <= 16:
            raise ConfigError(f"qat is a number of bits from 2 to 16 (0 trains exact weights), got {bits}")
        self.bits = bits
        self.weights = synapses(network)
        if not self.weights:
            raise ConfigError("qat: this network has no convolution or recurrent map that feeds spiking neurons")
        self._exact: list[Tensor] | None = None
        network.register_forward_pre_hook(self._round)
        network.register_forward_hook(self._after)
        optimizer.register_step_pre_hook(self._restore)

    def _round(self, *others: Any) -> None:
        if self._exact is None:
            self._exact = [weight.data for weight, _ in self.weights]
            for weight, per_channel in self.weights:
                weight.data = fake_quantize(weight.data, self.bits, per_channel)

    def _after(self, network: nn.Module, *others: Any) -> None:
        # In training the rounded weights stay until the gradients are there: the optimizer's step takes them back.
        if not network.training or not torch.is_grad_enabled():
            self._restore()

    def _restore(self, *others: Any) -> None:
        if self._exact is not None:
            for (weight, _), exact in zip(self.weights, self._exact, strict=True):
                weight.data = exact
            self._exact = None
