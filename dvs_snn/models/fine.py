"""A second sight for the tracking network: small cells, few channels, and what the coarse network knows about them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.models.backbone import spiking_backbone
from dvs_snn.models.hybrid import CURRENT
from dvs_snn.nn import TCLIF, LeakyIntegrator, State
from dvs_snn.nn.layers import conv_norm

KERNEL, STRIDE = 5, 2
"""Of the spiking convolution that sees the input's cells."""

TRACE_TAU = 2.0
"""Bins over which its spikes are remembered."""

HEARD = 0.2
"""Standard deviation of what the memory hears of itself at the start, if all of it fired."""

ADDED = 0.1
"""Scale of what a dense block behind the memory adds at the start."""


class FineMemory(nn.Module):
    """Maps of TC-LIF neurons that hear their neighbours' last spikes, so what they remember can move; then `blocks`.

    `x + W blocks(x + V [s, relu(I)])`: I is the current, a 3x3 convolution of x; s the spikes that it and a 3x3
    convolution of the last spikes drive. W is zero at first, so a network that is given one goes on as it was.
    """

    def __init__(self, width: int, maps: int, blocks: int, leak: float) -> None:
        super().__init__()
        self.current = nn.Sequential(*conv_norm(width, maps, 3, 1, gain=CURRENT))
        heard = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        nn.init.normal_(heard.weight, std=HEARD / math.sqrt(9 * maps))
        self.neurons = TCLIF(shape=(maps, 1, 1), leak=leak, recurrent=heard)
        self.recalled = nn.Conv2d(2 * maps, width, 1, bias=False)
        self.blocks = nn.Sequential(*(DenseBlock(width, width) for _ in range(blocks)))
        for norm in self.blocks.modules():  # blocks given to a memory that was trained change little at first
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.constant_(norm.weight, ADDED)
        self.told = nn.Conv2d(width, width, 1, bias=False)
        nn.init.zeros_(self.told.weight)

    def forward(
        self, x: Float[Tensor, "*lead width rows columns"], state: State, scan: bool
    ) -> tuple[Float[Tensor, "*lead width rows columns"], State]:
        """`scan` says that `x` begins with time."""
        lead, flat = tuple(x.shape[:-3]), x.flatten(0, -4)
        currents = self.current(flat)
        entering = currents.unflatten(0, lead)
        spikes, state = self.neurons(entering, state) if scan else self.neurons.step(entering, state)
        recalled = self.recalled(torch.cat([spikes.flatten(0, -4), torch.relu(currents)], dim=1))
        return (flat + self.told(self.blocks(flat + recalled))).unflatten(0, lead), state


class FineSight(nn.Module):
    """Adds to what a coarse network tells of `cells` [rows, columns], from spikes of finer resolution; causal.

    `see`: one spiking convolution (time constants `taus`, bins) on counts now and `delays` bins ago; a convolution
    gathers its spikes as `width` channels at the cells told of, which leak. `tell`: they and `context`, channels of
    maps `finer` times coarser than the cells, pass `blocks` and `memory`; a 1x1 convolution, zero at first, gives
    `told` channels.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        width: int,
        blocks: Sequence[nn.Module],
        *,
        stride: int,
        finer: int,
        context: int,
        told: int,
        delays: Sequence[int],
        taus: Sequence[float],
        surrogate_slope: float,
        memory: FineMemory | None = None,
    ) -> None:
        super().__init__()
        self.spikes = spiking_backbone(
            in_channels, (channels,), (KERNEL,), (STRIDE,), taus=taus, delays=delays, surrogate_slope=surrogate_slope
        )
        self.places, self.finer, self.width = stride // STRIDE, finer, width
        self.gather = nn.Conv2d(channels, width, self.places, self.places, bias=False)
        self.trace = LeakyIntegrator(beta=math.exp(-1.0 / TRACE_TAU))
        self.context = nn.Conv2d(context, width * finer**2, 1, bias=False)
        self.blocks = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), *blocks)
        self.memory = memory
        self.readout = nn.Conv2d(width, told, 1)
        nn.init.zeros_(self.readout.weight)
        assert self.readout.bias is not None
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch: int, shape: tuple[int, ...], cells: tuple[int, ...]) -> tuple[State, State]:
        """States of `see` at rest, for inputs of `shape`."""
        return self.spikes.initial_state(batch, shape), self.trace.initial_state(batch, (self.width, *cells))

    @torch.no_grad()
    def fold_norm(self) -> None:
        """The first normalisation becomes part of what is added before it: spikes gathered, which leak, and context."""
        norm, *blocks = self.blocks
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.gather.weight.mul_(scale.view(-1, 1, 1, 1))
        cells = self.finer**2
        self.context.weight.mul_(scale.repeat_interleave(cells).view(-1, 1, 1, 1))
        self.context.bias = nn.Parameter((norm.bias - norm.running_mean * scale).repeat_interleave(cells))
        self.blocks = nn.Sequential(*blocks)

    def see(
        self, xs: Float[Tensor, "*lead channel height width"], cells: tuple[int, int], state: State | None, scan: bool
    ) -> tuple[Float[Tensor, "*lead seen rows columns"], State]:
        """Evidence for `cells`; `scan` says that `xs` begin with time."""
        before, traced = (None, None) if state is None else state
        spikes, after = self.spikes(xs, before) if scan else self.spikes.step(xs, before)
        lead, flat = tuple(spikes.shape[:-3]), spikes.flatten(0, -4)
        below, right = (side * self.places - flat.shape[k] for side, k in zip(cells, (-2, -1), strict=True))
        if below or right:
            flat = F.pad(flat, (0, right, 0, below))
        gathered = self.gather(flat).unflatten(0, lead)
        seen, trace = self.trace(gathered, traced) if scan else self.trace.step(gathered, traced)
        return seen, (after, trace)

    def tell(
        self,
        seen: Float[Tensor, "*lead seen rows columns"],
        context: Float[Tensor, "*lead context coarse_rows coarse_columns"],
        state: State | None,
        scan: bool,
    ) -> tuple[Float[Tensor, "*lead told rows columns"], State | None]:
        """Evidence to be added to that of the coarse network, and the state of the memory."""
        lead = tuple(seen.shape[:-3])
        known = F.pixel_shuffle(self.context(context.flatten(0, -4)), self.finer)
        features: Tensor = self.blocks(seen.flatten(0, -4) + known)
        if self.memory is not None:
            features, state = self.memory(features.unflatten(0, lead), state, scan)
            features = features.flatten(0, -4)
        return self.readout(features).unflatten(0, lead), state


class DenseBlock(nn.Module):
    """Convolution, normalisation, ReLU; added to its input where both have as many channels (He et al. 2016)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*conv_norm(channels, width, 3, 1), nn.ReLU())
        self.residual = channels == width

    def forward(self, x: Float[Tensor, "n channel rows columns"]) -> Float[Tensor, "n width rows columns"]:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def summed(counts: Float[Tensor, "*lead height width"], cells: int) -> Float[Tensor, "*lead rows columns"]:
    """Sums over squares of `cells` x `cells`."""
    if cells == 1:
        return counts
    parts = counts.unflatten(-1, (-1, cells)).unflatten(-3, (-1, cells))
    return torch.sum(parts, dim=(-3, -1))
