"""Causal attention over spikes as a recurrence: a matrix of co-occurrences per head that spikes write and read."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First, rowwise, scan_documents
from dvs_snn.nn.no_reset import NoResetLIF
from dvs_snn.nn.scan_function import Kernels, compiled, run_scan
from dvs_snn.nn.temporal import State, Temporal
from dvs_snn.nn.wkv_kernel import linear_attention_backward, linear_attention_forward

ATTENTION = Kernels(linear_attention_forward, linear_attention_backward, inputs=3, states=1)


class LinearAttentionState(NamedTuple):
    """Membranes of the neurons of queries, keys and values, and the matrices `[batch, heads, d, d]`."""

    query: Any
    key: Any
    value: Any
    matrix: Tensor


class SpikingLinearAttention(Temporal):
    """Spike-driven self-attention (Yao et al. 2023) along time, causal: `[time, batch, width]` to the same.

        q, k, v = spikes of W x        S_t = λ S_{t-1} + k_tᵀ v_t        y_t = q_t S_t / sqrt(d)

    per head of d channels; no softmax. λ is learned per head, and starts as `1 - 2^-(2 + head)`. All of q, k, v are 0
    or 1, so S is written and read by additions where two spikes meet.
    """

    takes_first: ClassVar[bool] = True

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        if width < 1 or heads < 1 or width % heads:
            raise ConfigError(f"linear attention: heads must divide width, got {heads} and {width}")
        self.width, self.heads = width, heads
        self.query_map, self.key_map, self.value_map = (nn.Linear(width, width) for _ in range(3))
        self.query, self.key, self.value = (NoResetLIF(width) for _ in range(3))
        decay = 1 - 2.0 ** -(2 + torch.arange(float(heads)))
        self.decay_logit = nn.Parameter(torch.logit(decay))

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> LinearAttentionState:
        self.output_shape(shape)
        query, key, value = (n.initial_state(batch, (self.width,)) for n in (self.query, self.key, self.value))
        size = self.width // self.heads
        return LinearAttentionState(query, key, value, self.decay_logit.new_zeros(batch, self.heads, size, size))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != (self.width,):
            raise ConfigError(f"linear attention: built for {self.width} channels, not {tuple(shape)}")
        return (self.width,)

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], LinearAttentionState]:
        if len(xs) == 0:
            raise ValueError("a sequence needs at least one step")
        if state is None:
            state = self.initial_state(xs.shape[1], tuple(xs.shape[2:]))
        parts, membranes = [], []
        maps = (self.query_map, self.key_map, self.value_map)
        neurons = (self.query, self.key, self.value)
        for linear, neuron, before in zip(maps, neurons, state[:3], strict=True):
            spikes, after = scan_documents(neuron, rowwise(linear, xs), before, first)
            parts.append(spikes.unflatten(2, (self.heads, -1)))
            membranes.append(after)
        q, k, v = parts
        ys, matrix = attention_scan(q, k, v, state.matrix, torch.sigmoid(self.decay_logit), first)
        query, key, value = membranes
        return ys.flatten(2) / math.sqrt(self.width / self.heads), LinearAttentionState(query, key, value, matrix)

    def products_per_step(self) -> int:
        """Multiplications per sample and step that no weight matrix shows: the decay; spikes only add."""
        return self.width * self.width // self.heads

    def extra_repr(self) -> str:
        return f"{self.width}, heads={self.heads}"


def attention_scan(
    q: Float[Tensor, "time batch heads d"],
    k: Float[Tensor, "time batch heads d"],
    v: Float[Tensor, "time batch heads d"],
    matrix: Float[Tensor, "batch heads d d"],
    decay: Float[Tensor, " heads"],
    first: First | None = None,
) -> tuple[Float[Tensor, "time batch heads d"], Float[Tensor, "batch heads d d"]]:
    """`S <- λ S + kᵀ v`, `y = q S`, and the last S; compiled on the CPU, plain torch elsewhere."""
    if compiled(q):
        ys, (end,) = run_scan(ATTENTION, first, q, q, k, v, matrix, decay)
        return ys, end
    outputs = []
    for t in range(len(q)):
        if first is not None:
            matrix = matrix.masked_fill(first[t].view(-1, 1, 1, 1), 0)
        matrix = decay.view(-1, 1, 1) * matrix + k[t].unsqueeze(-1) * v[t].unsqueeze(-2)
        outputs.append((q[t].unsqueeze(-1) * matrix).sum(-2))
    return torch.stack(outputs), matrix
