"""The tracking network: spiking backbone, attention bridge, TC-LIF maps; centre heat map, boxes and speeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.models.fine import STRIDE, DenseBlock, FineMemory, FineSight, summed
from dvs_snn.models.hybrid import CURRENT, HybridNet, HybridState
from dvs_snn.models.starter import StateStarter
from dvs_snn.nn import TCLIF, LeakyIntegrator, State
from dvs_snn.nn.layers import conv_norm

OUTPUTS = ("heat", "offset_x", "offset_y", "log_w", "log_h", "vx", "vy")
"""Channels of the output: heat is a logit; offsets in cells from the cell's middle; sizes as log of cells; speeds in
cells per bin."""
RARE = 0.01
"""Share of cells that hold a centre: the heat's bias starts there, so that empty cells do not drown the first steps."""

CELLS = 4.0
"""Side of a box in cells at the start."""


@dataclass(frozen=True)
class TrackerConfig:
    """Sizes and time constants of `TrackerNet`; times in bins, so they belong to one bin length (10 ms)."""

    shape: tuple[int, ...] = (2, 45, 60)
    """Input per bin: ON and OFF counts, height, width; 240x180 pooled by 4 (by 2 with `coarse` 2)."""
    coarse: int = 1
    """Cells of the input, along each side, that the backbone counts together."""
    count_limit: float = 8.0
    delays: tuple[int, ...] = (0, 2)
    channels: tuple[int, ...] = (24, 32, 48)
    kernels: tuple[int, ...] = (5, 3, 3)
    strides: tuple[int, ...] = (2, 2, 1)
    taus: tuple[float, ...] = (1.0, 6.0)
    surrogate_slope: float = 2.0
    bridge_bins: int = 3
    bridge_spacing: int = 1
    deformable: bool = False
    score_scale: str = "learned"
    rate_source: str = "spikes"
    block_channels: tuple[int, ...] = (64, 64)
    """Dense blocks of stride 1 after the bridge, each with a shortcut where the number of channels allows it."""
    hidden: int = 96
    """TC-LIF maps."""
    leak: float = 0.95
    readout_tau: float = 1.5
    finer: int = 2
    """Cells of the heat map, along each side, per cell of the TC-LIF maps."""
    fine_channels: int = 0
    """Spiking channels that see the input's own cells (`FineSight`); 0 for none."""
    fine_delays: tuple[int, ...] = (0, 2)
    """Bins ago that its spiking convolution hears."""
    fine_width: int = 32
    fine_blocks: int = 2
    fine_taus: tuple[float, ...] = (1.0, 8.0)
    fine_memory: int = 0
    """TC-LIF maps at the cells of the heat map that hear their neighbours' last spikes (`FineMemory`); 0 for none."""
    fine_after: int = 0
    """Dense blocks behind them."""
    start_channels: int = 0
    """Channels of the dense network that sets the first state (`StateStarter`); 0 starts at rest."""

    def __post_init__(self) -> None:
        own = ("shape", "delays", "channels", "kernels", "strides", "taus", "block_channels")
        for name in (*own, "fine_taus", "fine_delays"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        counts = (self.hidden, self.bridge_bins, self.finer, self.coarse, self.fine_width)
        if min(*counts, len(self.block_channels), *self.block_channels) < 1:
            raise ConfigError("tracker: need hidden, block_channels, bridge_bins, finer, coarse, fine_width above 0")
        if self.fine_channels and self.stride % STRIDE:
            raise ConfigError(f"tracker: fine sight needs heat cells of a multiple of {STRIDE} cells of the input")
        if min(self.fine_channels, self.fine_blocks, self.fine_memory, self.fine_after) < 0:
            raise ConfigError("tracker: fine_channels, fine_blocks, fine_memory, fine_after are not negative")
        if self.start_channels < 0:
            raise ConfigError(f"tracker: start_channels is {self.start_channels}: give 0 for none, or more")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ConfigError(f"tracker: shape is channels, height, width, all above 0, got {self.shape}")
        if self.shape[1] % self.coarse or self.shape[2] % self.coarse:
            raise ConfigError(f"tracker: coarse {self.coarse} does not divide the input's {self.shape[1:]}")
        if not 0.0 < self.leak <= 1.0 or not self.readout_tau > 0:
            raise ConfigError("tracker: leak lies in (0, 1] and readout_tau is above 0 bins")
        if math.prod(self.strides) % self.finer:
            raise ConfigError(f"tracker: finer {self.finer} does not divide the strides' product")

    @property
    def stride(self) -> int:
        """Cells of the input per cell of the heat map."""
        return self.coarse * math.prod(self.strides) // self.finer


class TrackerNet(HybridNet):
    """Event counts per bin -> maps of `OUTPUTS` at every bin.

    Counts are capped, pass a spiking backbone, the attention bridge (ASAB), dense blocks and maps of TC-LIF neurons,
    which remember what has stopped or is hidden; 1x1 convolutions read spikes and features out, `finer` x `finer` cells
    of the heat map at each place, and `FineSight` adds what only smaller cells show. Centre heat maps as in Zhou et al.
    2019. Causal.
    """

    additions: ClassVar[tuple[str, ...]] = ("starter", "fine")

    def __init__(self, config: TrackerConfig | None = None) -> None:
        config = config if config is not None else TrackerConfig()
        super().__init__(config)
        blocks: list[nn.Module] = []
        channels = config.channels[-1]
        for width in config.block_channels:
            blocks.append(DenseBlock(channels, width))
            channels = width
        self.blocks = nn.Sequential(*blocks, *conv_norm(channels, config.hidden, 3, 1, gain=CURRENT))
        self.head = TCLIF(shape=(config.hidden, 1, 1), leak=config.leak)
        told = len(OUTPUTS) * config.finer**2
        self.readout = nn.Conv2d(config.hidden, told, 1)
        self.shortcut = nn.Conv2d(config.hidden, told, 1, bias=False)
        self.shuffle = nn.PixelShuffle(config.finer)
        with torch.no_grad():
            self.shortcut.weight.normal_(std=0.5 / (CURRENT * math.sqrt(config.hidden)))
            assert self.readout.bias is not None
            self.readout.bias.zero_()
            bias = self.readout.bias.view(len(OUTPUTS), -1)
            bias[0], bias[3:5] = math.log(RARE / (1 - RARE)), math.log(CELLS)
        self.integrator = LeakyIntegrator(beta=math.exp(-1.0 / config.readout_tau), scale_input=True)
        self.fine = self._make_fine(config) if config.fine_channels else None
        if config.start_channels:
            self.starter = self._make_starter(config, told)

    @staticmethod
    def _make_fine(config: TrackerConfig) -> FineSight:
        width, memory = config.fine_width, None
        blocks = [DenseBlock(width, width) for _ in range(config.fine_blocks)]
        if config.fine_memory:
            memory = FineMemory(width, config.fine_memory, config.fine_after, config.leak)
        return FineSight(
            config.shape[0], config.fine_channels, width, blocks,
            stride=config.stride, finer=config.finer, context=2 * config.hidden, told=len(OUTPUTS),
            delays=config.fine_delays, taus=config.fine_taus, surrogate_slope=config.surrogate_slope, memory=memory,
        )  # fmt: skip

    @staticmethod
    def _make_starter(config: TrackerConfig, told: int) -> StateStarter:
        """Targets: the backbone's layers, the TC-LIF maps, the outputs; the heat starts as rare as the read-out's."""
        last = len(config.channels) - 1
        targets = [
            *((width, level) for level, width in enumerate(config.channels)),
            (config.hidden, last),
            (told, last),
        ]
        starter = StateStarter(config.shape[0], config.start_channels, config.kernels, config.strides, targets)
        with torch.no_grad():
            bias = starter.heads[-1][-1].bias.view(len(OUTPUTS), -1)  # type: ignore[index, union-attr]
            bias[0], bias[3:5] = math.log(RARE / (1 - RARE)), math.log(CELLS)
        return starter

    def _start(self, x: Float[Tensor, "batch channel rows columns"]) -> list[Tensor]:
        membranes = super()._start(x)
        return [*membranes[:-1], self.shuffle(membranes[-1])]

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> HybridState:
        told = self.output_shape(shape)
        seen = self._seen(shape)
        state = self._state(batch, seen, (self.config.hidden, *self.backbone.output_shape(seen)[1:]), told)
        if self.fine is None:
            return state
        state = state._replace(beside=self.fine.initial_state(batch, shape, told[1:]))
        if self.fine.memory is None:
            return state
        maps = (self.config.fine_memory, *told[1:])
        return state._replace(memory=self.fine.memory.neurons.initial_state(batch, maps))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != self.config.shape:
            raise ConfigError(f"tracker: built for maps of {self.config.shape}, not {tuple(shape)}")
        sides = self.backbone.output_shape(self._seen(shape))[1:]
        return (len(OUTPUTS), *(side * self.config.finer for side in sides))

    def _seen(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what the backbone sees."""
        return (shape[0], *(side // self.config.coarse for side in shape[1:]))

    def _counts(self, x: Float[Tensor, "*lead channel height width"]) -> Tensor:
        return self.saturate(summed(x, self.config.coarse))  # type: ignore[no-any-return]

    def _beside(
        self, x: Float[Tensor, "*lead channel height width"], currents: Tensor, state: State | None, scan: bool
    ) -> tuple[Tensor | None, State | None]:
        if self.fine is None:
            return None, state
        rows, columns = (side * self.config.finer for side in currents.shape[-2:])
        return self.fine.see(self.saturate(x), (rows, columns), state, scan)

    def _joined(self, currents: Tensor, beside: Tensor | None) -> Tensor:
        """The fine sight's cells as more channels of the coarse ones."""
        if beside is None:
            return currents
        return torch.cat([currents, F.pixel_unshuffle(beside, self.config.finer)], dim=-3)

    def _parted(self, features: Float[Tensor, "*lead channel rows columns"]) -> tuple[Tensor, Tensor | None]:
        if self.fine is None:
            return features, None
        hidden = self.config.hidden
        currents, beside = features.split((hidden, features.shape[-3] - hidden), dim=-3)
        return currents, F.pixel_shuffle(beside, self.config.finer)

    def _read(
        self,
        spikes: Float[Tensor, "*lead hidden rows columns"],
        currents: Float[Tensor, "*lead hidden rows columns"],
        beside: Float[Tensor, "*lead width cells_down cells_across"] | None,
        memory: Any,
        scan: bool,
    ) -> tuple[Float[Tensor, "*lead output cells_down cells_across"], Any]:
        """Evidence of each bin; what the bridge already knows need not pass the spikes."""
        lead, decided = tuple(spikes.shape[:-3]), spikes.flatten(0, -4)
        rectified = torch.relu(currents.flatten(0, -4))
        told: Tensor = self.shuffle(self.readout(decided) + self.shortcut(rectified)).unflatten(0, lead)
        if self.fine is not None and beside is not None:
            context = torch.cat([decided, rectified], dim=1).unflatten(0, lead)
            more, memory = self.fine.tell(beside, context, memory, scan)
            told = told + more
        return told, memory
