"""What changes with the progress of a training: surrogate slopes (also learned), the width of learned delays."""

from __future__ import annotations

import torch
from torch import nn

from dvs_snn.nn import LinearNeuron
from dvs_snn.nn.learned_delays import DelayedLinear

REACH = 10.0
"""A learned slope stays within this factor of its start: at 0 nothing would be learned, far above it neither."""


class Slopes:
    """The surrogates of a network's spiking neurons, and its synapses whose delays are learned (see `DelayedLinear`).

    `end` is how many times steeper they are at the end of training than at its start, in equal ratios from step to
    step; `learn` makes them parameters, so call this before the optimizer is made.
    """

    def __init__(self, network: nn.Module, learn: bool = False, end: float = 1.0) -> None:
        neurons = [module for module in network.modules() if isinstance(module, LinearNeuron)]
        found = {id(neuron.surrogate): neuron.surrogate for neuron in neurons if neuron.structure.spiking}
        self.surrogates = list(found.values())
        self.starts = [float(surrogate.scale.detach()) for surrogate in self.surrogates]
        self.delayed = [module for module in network.modules() if isinstance(module, DelayedLinear)]
        self.end = end
        if learn:
            for surrogate in self.surrogates:
                surrogate.learn()

    def set(self, progress: float) -> None:
        """Slopes and widths for the share of the training that is done."""
        for synapses in self.delayed:
            synapses.anneal(progress)
        if self.end != 1.0:
            for surrogate, start in zip(self.surrogates, self.starts, strict=True):
                surrogate.set_steepness(self.end**progress, start)

    def hold(self) -> None:
        """Bring learned slopes back into their range after an update."""
        with torch.no_grad():
            for surrogate, start in zip(self.surrogates, self.starts, strict=True):
                if surrogate.learnable:
                    surrogate.scale.clamp_(start / REACH, start * REACH)
