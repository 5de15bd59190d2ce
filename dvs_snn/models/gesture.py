"""The gesture network: spiking backbone, attention bridge, dense blocks, recurrent TC-LIF head; logits at every bin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.models.hybrid import CURRENT, HybridNet, HybridState
from dvs_snn.models.oscillators import check_periods, tclif_layer
from dvs_snn.nn import LeakyIntegrator
from dvs_snn.nn.layers import conv_norm, linear_norm


@dataclass(frozen=True)
class GestureConfig:
    """Sizes and time constants of `GestureNet`; times in bins, so they belong to one bin length (10 ms)."""

    classes: int = 11
    shape: tuple[int, ...] = (2, 32, 32)
    """Input per bin: ON and OFF counts, height, width."""
    count_limit: float = 4.0
    """Counts above it are cut to it."""
    delays: tuple[int, ...] = (0, 2, 5)
    """Bins ago at which the first block sees the input."""
    channels: tuple[int, ...] = (16, 32, 32)
    kernels: tuple[int, ...] = (5, 3, 3)
    strides: tuple[int, ...] = (2, 2, 1)
    taus: tuple[float, ...] = (1.0, 8.0)
    """Range of the backbone's membrane time constants; the channels of a block are spread over it."""
    surrogate_slope: float = 2.0
    bridge_bins: int = 8
    bridge_spacing: int = 2
    """The bridge looks at every such bin: 8 of them, 2 apart, span 150 ms."""
    deformable: bool = False
    score_scale: str = "learned"
    rate_source: str = "spikes"
    block_channels: tuple[int, ...] = (64,)
    """Dense blocks of stride 2 after the bridge."""
    hidden: int = 128
    """TC-LIF neurons."""
    periods: tuple[float, ...] = (10.0, 60.0)
    """Range of the TC-LIF neurons' own periods at the start; learned from there."""
    leak: float = 0.95
    """TC-LIF leak per bin: 1 keeps everything, but noise then piles up in a stream without end."""
    shortcut: bool = True
    """The readout also sees the head's rectified input currents: what the bridge already knows need not pass the head,
    and its gradient reaches the backbone from the first step."""
    readout_tau: float = 15.0
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for name in ("shape", "delays", "channels", "kernels", "strides", "taus", "block_channels", "periods"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        if self.classes < 2 or self.hidden < 1 or self.bridge_bins < 1:
            raise ConfigError("gesture: need classes >= 2, hidden >= 1 and bridge_bins >= 1")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ConfigError(f"gesture: shape is channels, height, width, all above 0, got {self.shape}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"gesture: dropout lies in [0, 1), got {self.dropout:g}")
        if not 0.0 < self.leak <= 1.0:
            raise ConfigError(f"gesture: leak lies in (0, 1], got {self.leak:g}")
        if not self.readout_tau > 0:
            raise ConfigError(f"gesture: readout_tau must be above 0 bins, got {self.readout_tau:g}")
        check_periods("gesture", self.periods)


class GestureNet(HybridNet):
    """Event counts per bin -> class logits at every bin.

    Counts are capped, pass a spiking backbone, the attention bridge (ASAB) over the last `bridge_bins` bins, strided
    dense blocks (convolution, normalisation, ReLU) and a recurrent TC-LIF layer; a leaky integrator reads its spikes
    out. Causal: the logits of a bin depend on this bin and those before it.
    """

    def __init__(self, config: GestureConfig | None = None) -> None:
        config = config if config is not None else GestureConfig()
        super().__init__(config)
        _, height, width = config.shape
        for stride in (*config.strides, *[2] * len(config.block_channels)):
            height, width = math.ceil(height / stride), math.ceil(width / stride)
        blocks: list[nn.Module] = []
        channels = config.channels[-1]
        for block_channels in config.block_channels:
            blocks += [*conv_norm(channels, block_channels, 3, 2), nn.ReLU()]
            channels = block_channels
        blocks += [nn.Flatten(), nn.Dropout(config.dropout)]
        blocks += linear_norm(channels * height * width, config.hidden, gain=CURRENT)
        self.blocks = nn.Sequential(*blocks)
        self.head = tclif_layer(config.hidden, config.periods, config.leak)
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(config.hidden, config.classes)
        self.shortcut = nn.Linear(config.hidden, config.classes, bias=False) if config.shortcut else None
        if self.shortcut is not None:
            nn.init.normal_(self.shortcut.weight, std=1.0 / (CURRENT * math.sqrt(config.hidden)))
        self.integrator = LeakyIntegrator(beta=math.exp(-1.0 / config.readout_tau), scale_input=True)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> HybridState:
        return self._state(batch, shape, (self.config.hidden,), (self.config.classes,))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != self.config.shape:
            raise ConfigError(f"gesture: built for maps of {self.config.shape}, not {tuple(shape)}")
        return (self.config.classes,)

    def _read(
        self,
        spikes: Float[Tensor, "*lead hidden"],
        currents: Float[Tensor, "*lead hidden"],
        beside: Tensor | None,
        memory: Any,
        scan: bool,
    ) -> tuple[Float[Tensor, "*lead classes"], Any]:
        """Evidence for each class in each bin."""
        evidence: Tensor = self.readout(self.dropout(spikes))
        if self.shortcut is not None:
            evidence = evidence + self.shortcut(self.dropout(torch.relu(currents)))
        return evidence, memory
