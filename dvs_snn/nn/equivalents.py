"""A Transformer's arithmetic as spikes over micro-steps (BrainTransformers, 2024): equal to its 8-bit quantised self.

A value is rounded to `round(x / scale)`, at most `limit` in size, and sent as that many ternary spikes: a count code.
Matrix products, softmax and SiLU of running sums are emitted as differences, which telescope: after the last micro-step
the sum of what was emitted is the function of the quantised values. What each step computes is stated per function; the
softmax and the SiLU inside stay ordinary functions of a running sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.count_neuron import encode

LIMIT = 127
"""Largest count of the 8-bit form."""


def quantised(x: Float[Tensor, "*shape"], limit: int = LIMIT) -> tuple[Tensor, Tensor]:
    """Counts `sign(x) min(limit, floor(|x| / scale + 1/2))` and the scale `max|x| / limit` of the whole tensor."""
    scale = (x.detach().abs().max() / limit).clamp_min(torch.finfo(x.dtype).tiny)
    return x.sign() * (x.abs() / scale + 0.5).floor().clamp(max=limit), scale


def expectation_spikes(x: Float[Tensor, "*shape"], scale: Tensor, steps: int = LIMIT) -> Float[Tensor, "steps ..."]:
    """The EI-IF neuron: gets the whole input at every step t, fires its sign where `|x| / scale >= t + 1/2`, forgets.

    Its spikes over `steps` are the ternary code of `quantised`.
    """
    thresholds = 0.5 + torch.arange(steps, dtype=x.dtype, device=x.device).view(-1, *(1,) * x.dim())
    return x.sign() * (x.abs() / scale >= thresholds).to(x.dtype)


def spiking_matmul(
    q: Float[Tensor, "steps ... rows d"], k: Float[Tensor, "steps ... columns d"]
) -> Float[Tensor, "steps ... rows columns"]:
    """Increments of `Q Kᵀ` from spikes of both: `S_Q k_tᵀ + q_t S_Kᵀ - q_t k_tᵀ`, S the sums so far, t included.

    A sum meets spikes, so a step adds. The increments telescope to `S_Q S_Kᵀ` after the last step.
    """
    if len(q) != len(k):
        raise ConfigError(f"both must have as many micro-steps, got {len(q)} and {len(k)}")
    sum_q, sum_k = q.cumsum(0), k.cumsum(0)
    return sum_q @ k.mT + q @ sum_k.mT - q @ k.mT


def spiking_function(
    function: Callable[[Tensor], Tensor], increments: Float[Tensor, "steps ..."]
) -> Float[Tensor, "steps ..."]:
    """`f(sum so far) - f(sum before)`: softmax and SiLU as they arrive; f of the whole sum (plus -f(0)) at the end."""
    values = function(torch.cat([torch.zeros_like(increments[:1]), increments.cumsum(0)]))
    return values[1:] - values[:-1]


def spiking_softmax(increments: Float[Tensor, "steps ..."]) -> Float[Tensor, "steps ..."]:
    """Softmax over the last axis of scores that arrive as increments; its own increments, the first from nothing."""
    values = torch.softmax(increments.cumsum(0), -1)
    return torch.cat([values[:1], values[1:] - values[:-1]])


def spiking_silu(increments: Float[Tensor, "steps ..."]) -> Float[Tensor, "steps ..."]:
    """SiLU of what arrives as increments, as increments."""
    return spiking_function(F.silu, increments)


class QuantisedBlock(nn.Module):
    """A causal Transformer block of one head (attention, a SiLU layer, residuals, RMS norms) with 8-bit activations.

    `forward` computes with rounded activations; `spiking` sends the same activations as ternary spikes over `limit`
    micro-steps. Both give the same numbers: conversion loses what rounding loses, and nothing else. Sequence first.
    """

    def __init__(self, width: int, hidden: int, limit: int = LIMIT) -> None:
        super().__init__()
        self.limit = limit
        self.norm, self.hidden_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "time width"]) -> Float[Tensor, "time width"]:
        """The block with rounded activations."""
        rounded = self._rounded(self.norm(x))
        q, k, v = (self._rounded(linear(rounded)) for linear in (self.query, self.key, self.value))
        weights = torch.softmax(self._masked(q @ k.mT / math.sqrt(x.shape[1])), -1)
        x = x + self.out(self._rounded(weights @ v))
        return x + self.down(self._rounded(F.silu(self.up(self._rounded(self.hidden_norm(x))))))

    def spiking(self, x: Float[Tensor, "time width"]) -> Float[Tensor, "time width"]:
        """The same by spikes; every linear map reads them, one micro-step after the other."""
        normed = self._spikes(self.norm(x))
        q, k, v = (self._spikes(self._sum(linear, *normed)) for linear in (self.query, self.key, self.value))
        scores = spiking_matmul(q[0], k[0]) * (q[1] * k[1] / math.sqrt(x.shape[1]))
        weights = spiking_softmax(self._masked(scores)).sum(0)
        x = x + self._sum(self.out, *self._spikes(weights @ (v[0].sum(0) * v[1])))
        hidden, scale = self._spikes(self.hidden_norm(x))
        active = spiking_silu(self.up(hidden) * scale).sum(0)
        return x + self._sum(self.down, *self._spikes(active))

    def _rounded(self, x: Tensor) -> Tensor:
        counts, scale = quantised(x, self.limit)
        return counts * scale

    def _spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        counts, scale = quantised(x, self.limit)
        return encode(counts, "ternary", self.limit), scale

    @staticmethod
    def _sum(linear: nn.Linear, spikes: Tensor, scale: Tensor) -> Tensor:
        return linear(spikes).sum(0) * scale

    @staticmethod
    def _masked(scores: Tensor) -> Tensor:
        """Scores of the future at a number that no sum of increments brings back: far below, in every step."""
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(future, -1e4)
