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
    """Counts `sign(x) min(limit, floor(|x| / scale + 1/2))` and the scale `max|x| / limit` of each row (last axis)."""
    scale = (x.detach().abs().amax(-1, keepdim=True) / limit).clamp_min(torch.finfo(x.dtype).tiny)
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


def spiking_product(a: Float[Tensor, "steps ..."], b: Float[Tensor, "steps ..."]) -> Float[Tensor, "steps ..."]:
    """Increments of an elementwise product from increments of both, as in `spiking_matmul`."""
    return a.cumsum(0) * b + a * b.cumsum(0) - a * b


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
    """A causal Transformer block in Llama's layout (rotary attention, gated SiLU, RMS norms) with 8-bit activations.

    `forward` computes with rounded activations; `spiking` sends the same activations as ternary spikes over `limit`
    micro-steps. Both give the same numbers: conversion loses what rounding loses, and nothing else. Each token is
    rounded by its own scale, so the future changes nothing. Sequence first, one sequence.
    """

    frequencies: Tensor

    def __init__(self, width: int, hidden: int, heads: int = 1, key_heads: int | None = None, limit: int = LIMIT,
                 bias: bool = False, eps: float = 1e-6) -> None:  # fmt: skip
        super().__init__()
        key_heads = heads if key_heads is None else key_heads
        if width % heads or heads % key_heads or (width // heads) % 2:
            raise ConfigError(f"{heads} heads of keys {key_heads} do not divide a width of {width} into even parts")
        self.heads, self.key_heads, self.limit = heads, key_heads, limit
        self.norm, self.hidden_norm = nn.RMSNorm(width, eps), nn.RMSNorm(width, eps)
        size = width // heads
        self.query = nn.Linear(width, width, bias)
        self.key, self.value = (nn.Linear(width, key_heads * size, bias) for _ in range(2))
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)
        self.register_buffer("frequencies", 1e4 ** (-2 * torch.arange(size // 2) / size))

    def forward(self, x: Float[Tensor, "time width"]) -> Float[Tensor, "time width"]:
        """The block with rounded activations."""
        normed = self._rounded(self.norm(x))
        q, k, v = (self._rounded(part) for part in self._heads(*(f(normed) for f in self._maps())))
        weights = torch.softmax(_masked(q @ k.mT / math.sqrt(q.shape[-1])), -1)
        x = x + self.out(self._rounded(_joined(weights @ v)))
        normed = self._rounded(self.hidden_norm(x))
        return x + self.down(self._rounded(F.silu(self.gate(normed)) * self.up(normed)))

    def spiking(self, x: Float[Tensor, "time width"]) -> Float[Tensor, "time width"]:
        """The same by spikes; every linear map reads them, one micro-step after the other."""
        normed = self._spikes(self.norm(x))
        q, k, v = (self._spikes(part) for part in self._heads(*(_sum(f, *normed) for f in self._maps())))
        scores = spiking_matmul(q[0], k[0]) * (q[1] * k[1].mT / math.sqrt(q[0].shape[-1]))
        weights = spiking_softmax(_masked(scores))
        mixed = spiking_matmul(weights * v[1].mT, v[0].mT).sum(0)
        x = x + _sum(self.out, *self._spikes(_joined(mixed)))
        spikes, scale = self._spikes(self.hidden_norm(x))
        active = spiking_silu(self.gate(spikes) * scale)
        return x + _sum(self.down, *self._spikes(spiking_product(active, self.up(spikes) * scale).sum(0)))

    def _maps(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.query, self.key, self.value

    def _heads(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Heads first; queries and keys turned by their place; a head of keys serves several of queries."""
        q, k, v = (part.unflatten(-1, (n, -1)).transpose(0, 1)
                   for part, n in ((q, self.heads), (k, self.key_heads), (v, self.key_heads)))  # fmt: skip
        angles = torch.outer(torch.arange(q.shape[1], device=q.device).to(q.dtype), self.frequencies.to(q.dtype))
        k, v = (part.repeat_interleave(self.heads // self.key_heads, 0) for part in (k, v))
        return _turned(q, angles), _turned(k, angles), v

    def _rounded(self, x: Tensor) -> Tensor:
        counts, scale = quantised(x, self.limit)
        return counts * scale

    def _spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        counts, scale = quantised(x, self.limit)
        return encode(counts, "ternary", self.limit), scale


def _sum(linear: nn.Linear, spikes: Tensor, scale: Tensor) -> Tensor:
    """A linear map of what spikes sum up to."""
    y = F.linear(spikes, linear.weight).sum(0) * scale
    return y if linear.bias is None else y + linear.bias


def _joined(heads: Tensor) -> Tensor:
    return heads.transpose(0, 1).flatten(1)


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) of `[heads, time, size]`."""
    low, high = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


def _masked(scores: Tensor) -> Tensor:
    """Scores of the future at a number that no sum of increments brings back: far below, in every step."""
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -1e4)
