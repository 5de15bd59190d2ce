"""The network for N-MNIST: spiking convolutions, a leaky readout, and between them, if asked, a state space."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.models.backbone import spiking_backbone
from dvs_snn.models.layered import LayeredNet
from dvs_snn.nn import DiagonalSSM, LeakyIntegrator, NoResetLIF
from dvs_snn.nn.dropout import SequenceDropout
from dvs_snn.nn.layers import Saturate, linear_norm


@dataclass(frozen=True)
class NMNISTConfig:
    """Sizes and time constants of `NMNISTNet`; times in bins, so they belong to one bin length."""

    classes: int = 10
    shape: tuple[int, ...] = (2, 34, 34)
    """Input per bin: ON and OFF counts, height, width."""
    count_limit: float = 4.0
    """Counts above it are cut to it."""
    delays: tuple[int, ...] = (0,)
    """Bins ago at which the first block sees the input."""
    channels: tuple[int, ...] = (16, 32, 64)
    kernels: tuple[int, ...] = (5, 3, 3)
    strides: tuple[int, ...] = (2, 2, 2)
    taus: tuple[float, ...] = (1.0, 6.0)
    """Range of membrane time constants; the channels of a block are spread over it."""
    surrogate_slope: float = 2.0
    head: str = "readout"
    """`readout` reads the convolutions' spikes; `ssm` puts the text network's mixer before it: a state space per
    channel, and neurons without reset."""
    hidden: int = 64
    """Channels of the state space."""
    states: int = 8
    """Memories per channel of the state space."""
    readout_tau: float = 20.0
    dropout: float = 0.4

    def __post_init__(self) -> None:
        for name in ("shape", "delays", "channels", "kernels", "strides", "taus"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        if self.classes < 2:
            raise ConfigError("nmnist: need classes >= 2")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ConfigError(f"nmnist: shape is channels, height, width, all above 0, got {self.shape}")
        if self.head not in ("readout", "ssm") or min(self.hidden, self.states) < 1:
            raise ConfigError("nmnist: head is 'readout' or 'ssm', hidden and states are at least 1")
        if not self.readout_tau > 0:
            raise ConfigError(f"nmnist: readout_tau must be above 0 bins, got {self.readout_tau:g}")


class NMNISTNet(LayeredNet):
    """Event counts per bin -> class logits at every bin; causal. Every hidden layer spikes."""

    def __init__(self, config: NMNISTConfig | None = None) -> None:
        config = config if config is not None else NMNISTConfig()
        channels, height, width = config.shape
        backbone = spiking_backbone(
            channels,
            config.channels,
            config.kernels,
            config.strides,
            taus=config.taus,
            delays=config.delays,
            surrogate_slope=config.surrogate_slope,
        )
        for stride in config.strides:
            height, width = math.ceil(height / stride), math.ceil(width / stride)
        features = config.channels[-1] * height * width
        head: list[nn.Module] = []
        if config.head == "ssm":
            head += linear_norm(features, config.hidden)
            head += [DiagonalSSM(config.hidden, config.states), NoResetLIF(config.hidden)]
            head.append(SequenceDropout(config.dropout))
            features = config.hidden
        layers = [
            Saturate(config.count_limit),
            *backbone,
            nn.Flatten(),
            SequenceDropout(config.dropout),
            *head,
            nn.Linear(features, config.classes),
            LeakyIntegrator(math.exp(-1.0 / config.readout_tau), scale_input=True),
        ]
        super().__init__("nmnist", config, layers)
        self.config = config
