"""One token through `baselines.Transformer` and its key-value cache in one compiled call (CPU).

The rival of `event_step`, compiled by the same means, so that their speeds compare mathematics and not call costs.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
import torch
from numba import njit
from torch import Tensor

from dvs_snn.text.baselines import Transformer
from dvs_snn.text.event_step import Array, mapped, normed, rows_of


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def _attend(q: Array, keys: Array, values: Array, count: int, scores: Array, y: Array) -> None:
    """`y = softmax(q Kᵀ / √size) V` of one head over the first `count` places."""
    size = q.shape[0]
    scale = q.dtype.type(1.0 / math.sqrt(size))
    highest = q.dtype.type(-np.inf)
    for t in range(count):
        key, total = keys[t], q.dtype.type(0.0)
        for i in range(size):
            total += q[i] * key[i]
        scores[t] = total * scale
        highest = max(highest, scores[t])
    whole = q.dtype.type(0.0)
    for t in range(count):
        scores[t] = math.exp(scores[t] - highest)
        whole += scores[t]
    y[:] = 0
    for t in range(count):
        value, share = values[t], scores[t] / whole
        for i in range(size):
            y[i] += share * value[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def _step(
    token: int,
    read: int,
    embedding: Array,
    norms: Array,  # [blocks, 4, width]: weight and bias of both norms
    qkv: Array,  # [blocks, width + 1, 3 width]: rows of weights, then the bias; so are the next
    out: Array,
    hidden_in: Array,
    hidden_out: Array,
    last: Array,  # [2, width]
    head: Array,
    frequencies: Array,
    keys: Array,  # cache: [blocks, heads, context, size]
    values: Array,
    scores: Array,  # [context], working space
    logits: Array,
) -> None:
    blocks, heads, context, size = keys.shape
    width, half = embedding.shape[1], size // 2
    place, count = read % context, min(read + 1, context)
    x = embedding[token].copy()
    n, mixed, both = np.empty_like(x), np.empty_like(x), np.empty(3 * width, x.dtype)
    currents = np.empty(hidden_in.shape[2], x.dtype)
    for k in range(blocks):
        normed(x, norms[k, 0], norms[k, 1], n)
        both[:] = qkv[k, width]
        mapped(n, qkv[k], both)
        for h in range(heads):
            q, key = both[h * size : (h + 1) * size], both[width + h * size : width + (h + 1) * size]
            for i in range(half):
                cos, sin = math.cos(read * frequencies[i]), math.sin(read * frequencies[i])
                q[i], q[half + i] = q[i] * cos - q[half + i] * sin, q[i] * sin + q[half + i] * cos
                key[i], key[half + i] = key[i] * cos - key[half + i] * sin, key[i] * sin + key[half + i] * cos
            keys[k, h, place] = key
            values[k, h, place] = both[2 * width + h * size : 2 * width + (h + 1) * size]
            _attend(q, keys[k, h], values[k, h], count, scores, mixed[h * size : (h + 1) * size])
        x += out[k, width]
        mapped(mixed, out[k], x)
        normed(x, norms[k, 2], norms[k, 3], n)
        currents[:] = hidden_in[k, width]
        mapped(n, hidden_in[k], currents)
        for i in range(currents.shape[0]):
            currents[i] *= 0.5 * (1 + math.erf(currents[i] / math.sqrt(2.0)))
        x += hidden_out[k, currents.shape[0]]
        mapped(currents, hidden_out[k], x)
    normed(x, last[0], last[1], n)
    logits[:] = head[width]
    mapped(n, head, logits)


class TransformerStep:
    """`Transformer.step` of one text up to the order of sums; its cache begins empty. Weights are read once."""

    def __init__(self, network: Transformer) -> None:
        blocks: Any = list(network.blocks)
        norms = [(block["attention_norm"], block["hidden_norm"]) for block in blocks]
        with torch.no_grad():
            parts = (
                network.embedding.weight,
                torch.stack([torch.stack([a.weight, a.bias, b.weight, b.bias]) for a, b in norms]),
                *(torch.stack([rows_of(block[name]) for block in blocks])
                  for name in ("qkv", "out", "hidden_in", "hidden_out")),
                torch.stack([network.norm.weight, network.norm.bias]),
                rows_of(network.head),
                network.frequencies,
            )  # fmt: skip
            self._weights = tuple(np.ascontiguousarray(part.detach().float().numpy()) for part in parts)
        keys, values = network.empty_cache()
        self.keys, self.values = (np.ascontiguousarray(part[:, 0].numpy()) for part in (keys, values))
        self._scores = np.empty(network.config.context, np.float32)
        self._logits = np.empty(network.config.vocabulary, np.float32)
        self.read = 0

    def __call__(self, token: int) -> Tensor:
        """Take in a token; the logits `[vocabulary]` of the next."""
        _step(token, self.read, *self._weights, self.keys, self.values, self._scores, self._logits)
        self.read += 1
        return torch.from_numpy(self._logits.copy())
