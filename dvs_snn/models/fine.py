"""A second sight for the tracking network: small cells, few channels, and what the coarse network knows about them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.models.backbone import spiking_backbone
from dvs_snn.nn import LeakyIntegrator, Sequential, State
from dvs_snn.nn.layers import conv_norm

KERNEL, STRIDE = 5, 2
"""Of the spiking convolution that sees the input's cells."""

TRACE_TAU = 2.0
"""Bins over which its spikes are remembered."""


class FineSight(nn.Module):
    """Adds to what a coarse network tells of `cells` [rows, columns], from spikes of finer resolution; causal.

    `see`: one spiking convolution (time constants `taus`, bins) on counts now and `delays` bins ago; leaky traces of
    its spikes become `width` channels at the cells told of. `tell`: they and `context`, channels of maps
    `finer` times coarser than the cells, pass `blocks`; a 1x1 convolution, zero at first, gives `told` channels.
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
    ) -> None:
        super().__init__()
        front = spiking_backbone(
            in_channels, (channels,), (KERNEL,), (STRIDE,), taus=taus, delays=delays, surrogate_slope=surrogate_slope
        )
        self.spikes = Sequential(front, LeakyIntegrator(beta=math.exp(-1.0 / TRACE_TAU)))
        self.places = stride // STRIDE
        self.finer, self.width = finer, width
        self.gather = nn.Conv2d(channels * self.places**2, width, 1, bias=False)
        self.context = nn.Conv2d(context, width * finer**2, 1, bias=False)
        self.blocks = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), *blocks)
        self.readout = nn.Conv2d(width, told, 1)
        nn.init.zeros_(self.readout.weight)
        assert self.readout.bias is not None
        nn.init.zeros_(self.readout.bias)

    @property
    def packed(self) -> int:
        """Channels of what `see` gives."""
        return self.width * self.finer**2

    def see(
        self, xs: Float[Tensor, "*lead channel height width"], cells: tuple[int, int], state: State, scan: bool
    ) -> tuple[Float[Tensor, "*lead packed rows columns"], State]:
        """Evidence for `cells`, packed at the resolution of the context; `scan` says that `xs` begin with time."""
        traces, state = self.spikes(xs, state) if scan else self.spikes.step(xs, state)
        lead, flat = traces.shape[:-3], traces.flatten(0, -4)
        rows, columns = (side * self.places for side in cells)
        flat = F.pad(flat, (0, columns - flat.shape[-1], 0, rows - flat.shape[-2]))
        seen = F.pixel_unshuffle(self.gather(F.pixel_unshuffle(flat, self.places)), self.finer)
        return seen.unflatten(0, tuple(lead)), state

    def tell(
        self, seen: Float[Tensor, "n packed rows columns"], context: Float[Tensor, "n context rows columns"]
    ) -> Float[Tensor, "n told cells_down cells_across"]:
        """Evidence to be added to that of the coarse network."""
        both = F.pixel_shuffle(seen + self.context(context), self.finer)
        told: Tensor = self.readout(self.blocks(both))
        return told


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
