"""A dense network that sets the first state of a spiking one, so that it need not start at rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

SCALE = 0.05
"""Standard deviation of the first weights of a head, times the root of its inputs: a start near rest."""


class StateStarter(nn.Module):
    """Initial membranes from the first bin of a sequence (Aydin et al. 2024: an ANN sets the state of an SNN).

    A stem of convolutions with the backbone's kernels and strides, each with group normalisation (one group: rows of a
    batch stay apart) and a leaky ReLU; from it, two 1x1 convolutions for each target, `(channels, level)`: the stage of
    the stem whose resolution it has. Returns one tensor per target. Biases of the last convolutions start at zero.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        kernels: Sequence[int],
        strides: Sequence[int],
        targets: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.stages, self.heads = nn.ModuleList(), nn.ModuleList()
        for kernel, stride in zip(kernels, strides, strict=True):
            convolution = nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False)
            self.stages.append(nn.Sequential(convolution, nn.GroupNorm(1, width), nn.LeakyReLU(0.1)))
            in_channels = width
        self.levels = [level for _, level in targets]
        for channels, _ in targets:
            last = nn.Conv2d(width, channels, 1)
            nn.init.normal_(last.weight, std=SCALE / width**0.5)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
            self.heads.append(nn.Sequential(nn.Conv2d(width, width, 1), nn.LeakyReLU(0.1), last))

    def forward(self, x: Float[Tensor, "batch channel rows columns"]) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [head(maps[level]) for head, level in zip(self.heads, self.levels, strict=True)]


def put_rows(state: Any, rows: Tensor, value: Tensor) -> Any:
    """A neuron's state with the given rows of its last field, its membrane, set; the other fields go to rest there."""
    mask = rows.view(-1, *(1,) * (value.dim() - 1))
    fields = [torch.where(mask, torch.zeros_like(old), old) for old in state[:-1]]
    return type(state)(*fields, torch.where(mask, value, state[-1]))
