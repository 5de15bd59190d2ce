"""Which part of a network does how much of the work, on the chip and on its host, per bin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dvs_snn.deploy.integer import LayerCounts
from dvs_snn.deploy.split import SplitNetwork


def work_of(parts: SplitNetwork, counts: Sequence[LayerCounts]) -> list[dict[str, Any]]:
    """Operations per bin of every part, in the order of the data, and its share of the sum.

    Chip: synaptic operations, as counted on recordings. Host: multiplications, from the layers' sizes; every input
    counts, because a host does not skip zeros.
    """
    host = host_macs(parts)
    on_chip = [
        {"part": part.name, "runs_on": "chip", "per_bin": part.operations / max(part.steps, 1)} for part in counts
    ]
    found: list[dict[str, Any]] = [
        *on_chip[:-1],
        {"part": "bridge", "runs_on": "host", "per_bin": host["bridge"]},
        {"part": "blocks", "runs_on": "host", "per_bin": host["blocks"]},
        on_chip[-1],
        {"part": "readout", "runs_on": "host", "per_bin": host["readout"]},
    ]
    total = sum(part["per_bin"] for part in found)
    return [{**part, "per_bin": round(part["per_bin"]), "share": part["per_bin"] / total} for part in found]


def host_macs(parts: SplitNetwork) -> dict[str, int]:
    """Multiplications of the host's parts per bin."""
    shape = parts.shape
    channels, height, width = shape[0] * len(parts.host.taps.delays), *shape[1:]
    for layer in parts.backbone.modules():
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
            height, width = (math.ceil(side / layer.stride[0]) for side in (height, width))
    bridge, pixels = parts.host.bridge, height * width
    bins, kernel = bridge.bins, bridge.convolution.kernel_size
    # Per channel: convolutions of the window, A A^T with its two projections, the weights of the positions, the sum.
    per_channel = bins * pixels * kernel**2 + bins**2 * pixels + 2 * bins**3 + 2 * bins**2 + bins * pixels
    read = [layer for layer in (parts.host.readout, parts.host.shortcut) if layer is not None]
    return {
        "bridge": channels * per_channel,
        "blocks": _dense_macs(parts.host.blocks, (channels, height, width)),
        "readout": sum(layer.in_features * layer.out_features for layer in read),
    }


@torch.no_grad()
def _dense_macs(blocks: nn.Sequential, shape: tuple[int, int, int]) -> int:
    x = torch.zeros(1, *shape, dtype=next(blocks.parameters()).dtype)
    total = 0
    for layer in blocks:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            total += x[0].numel() * layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * layer.out_features
    return total
