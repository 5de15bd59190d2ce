"""The network for spoken digits: spikes of a cochlea -> recurrent or delayed spiking layers -> leaky readout.

One network, three families by its configuration: recurrent TC-LIF (Zhang et al. 2024), recurrent adaptive LIF in
symplectic form (Baronig et al. 2025), and LIF behind learned delays (DCLS, Hammouamri et al. 2024; their recurrent
form, DelRec, 2025).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.models.hearing import Adaptation, DivisiveGain, Logarithm
from dvs_snn.models.layered import LayeredNet
from dvs_snn.models.oscillators import check_periods, tclif_layer
from dvs_snn.nn import LIF, AdLIF, ATan, Committee, LeakyIntegrator, LinearNeuron, Sequential, Temporal
from dvs_snn.nn.dropout import SequenceDropout
from dvs_snn.nn.learned_delays import DelayedLinear, DelayedRecurrent

GAIN = {"tclif": 0.3, "adlif": 3.0, "lif": 1.0}
"""Standard deviation of the neurons' input currents at the start: TC-LIF's oscillators pile up several bins of them,
adLIF takes in a share `1 - d_u` alone."""


@dataclass(frozen=True)
class DigitsConfig:
    """Sizes and time constants of `DigitsNet`; times in bins, so they belong to one bin length (10 ms)."""

    classes: int = 20
    shape: tuple[int, ...] = (1, 1, 140)
    """Input per bin: counts of the pooled channels."""
    gain: bool = False
    """Divide each bin by its mean activity."""
    adaptation_tau: float = 0.0
    """Time constant with which each channel adapts to what it hears; 0: not at all."""
    members: int = 1
    """Networks behind the same ears, trained apart, whose logits are averaged."""
    neurons: str = "tclif"
    hidden: tuple[int, ...] = (128, 128)
    recurrent: bool = True
    """Each layer hears its own last spikes."""
    delay: int = 0
    """Longest learned delay of the synapses between layers; 0: none."""
    recurrent_delay: int = 0
    """Longest learned delay of the synapses inside a layer; 0: the next bin."""
    periods: tuple[float, ...] = (10.0, 60.0)
    """TC-LIF: range of the neurons' own periods at the start."""
    leak: float = 0.95
    """TC-LIF: both compartments keep this share per bin."""
    recurrent_gain: float = 0.1
    """TC-LIF: scale of the orthogonal recurrent weights at the start; 1 would drown the input."""
    tau: float = 1.5
    """LIF: membrane time constant; with learned delays the memory lies in the synapses."""
    tau_u: tuple[float, ...] = (2.0, 10.0)
    """adLIF: range of membrane time constants."""
    tau_w: tuple[float, ...] = (10.0, 100.0)
    """adLIF: range of adaptation time constants."""
    adaptation: float = 48.0
    """adLIF: q, which scales a and b."""
    readout_tau: float = 15.0
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for name in ("shape", "hidden", "periods", "tau_u", "tau_w"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        if self.neurons not in GAIN:
            raise ConfigError(f"digits: neurons is one of {', '.join(GAIN)}, got {self.neurons!r}")
        if self.classes < 2 or not self.hidden or min(self.hidden) < 1:
            raise ConfigError("digits: need classes >= 2 and one hidden layer or more, of 1 neuron or more")
        if self.members < 1:
            raise ConfigError(f"digits: members is 1 or more, got {self.members}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ConfigError(f"digits: shape is channels, height, width, all above 0, got {self.shape}")
        if self.delay < 0 or self.recurrent_delay < 0:
            raise ConfigError("digits: delay and recurrent_delay must not be negative")
        if self.recurrent_delay and not self.recurrent:
            raise ConfigError("digits: recurrent_delay needs recurrent")
        if self.adaptation_tau != 0 and not self.adaptation_tau >= 1:
            raise ConfigError("digits: adaptation_tau is 0, or 1 bin or more")
        if not (self.tau > 0 and self.readout_tau > 0):
            raise ConfigError("digits: tau and readout_tau must be above 0 bins")
        check_periods("digits", self.periods)
        if len(self.tau_u) != 2 or len(self.tau_w) != 2:
            raise ConfigError("digits: tau_u and tau_w are ranges of bins, low and high")


class DigitsNet(LayeredNet):
    """Counts per channel and bin -> class logits at every bin; causal.

    Counts are compressed by a logarithm and, on demand, divided by their mean and adapted to. Each hidden layer is a
    linear map (with learned delays or without), batch normalisation and neurons; a linear map and a leaky integrator
    read the last one out. Several `members` of these layers are a `Committee`.
    """

    def __init__(self, config: DigitsConfig | None = None) -> None:
        config = config if config is not None else DigitsConfig()
        layers: list[nn.Module] = [nn.Flatten(), Logarithm()]
        if config.gain:
            layers.append(DivisiveGain())
        if config.adaptation_tau:
            layers.append(Adaptation(config.adaptation_tau))
        if config.members == 1:
            layers += _member(config)
        else:
            layers.append(Committee(Sequential(*_member(config)) for _ in range(config.members)))
        super().__init__("digits", config, layers)
        self.config = config


def _member(config: DigitsConfig) -> list[nn.Module]:
    """Hidden layers and readout."""
    layers: list[nn.Module] = []
    width = math.prod(config.shape)
    for neurons in config.hidden:
        norm = nn.BatchNorm1d(neurons)
        layers += [_synapses(config, width, neurons), norm, _neurons(config, neurons)]
        layers.append(SequenceDropout(config.dropout))
        if config.neurons == "tclif":
            nn.init.constant_(norm.weight, 0.3)  # its oscillators pile up several bins of current
        width = neurons
    layers.append(nn.Linear(width, config.classes))
    layers.append(LeakyIntegrator(math.exp(-1.0 / config.readout_tau), scale_input=True))
    return layers


def _synapses(config: DigitsConfig, inputs: int, outputs: int) -> nn.Module:
    return DelayedLinear(inputs, outputs, config.delay) if config.delay else nn.Linear(inputs, outputs, bias=False)


def _neurons(config: DigitsConfig, count: int) -> Temporal:
    recurrent = count if config.recurrent and not config.recurrent_delay else 0
    neurons: LinearNeuron
    if config.neurons == "tclif":
        neurons = tclif_layer(count, config.periods, config.leak, recurrent > 0, config.recurrent_gain)
    elif config.neurons == "adlif":
        tau_u, tau_w = ((low, high) for low, high in (config.tau_u, config.tau_w))
        neurons = AdLIF((count,), adaptation=config.adaptation, recurrent=recurrent, tau_u=tau_u, tau_w=tau_w)
    else:
        neurons = LIF(math.exp(-1.0 / config.tau), reset="zero", surrogate=ATan(5.0), recurrent=recurrent)
    return DelayedRecurrent(neurons, count, config.recurrent_delay) if config.recurrent_delay else neurons
