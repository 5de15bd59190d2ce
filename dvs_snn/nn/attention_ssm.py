"""A state space whose input is joined by what attention finds in a window of the past; causal, with explicit state."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First, rowwise
from dvs_snn.nn.scan_function import compiled
from dvs_snn.nn.ssm import DiagonalSSM, SSMState
from dvs_snn.nn.temporal import State, Temporal
from dvs_snn.nn.window_kernel import window_backward, window_forward


class AttentionSSMState(NamedTuple):
    """Keys and values of the window `[batch, window, width]`, latest last; how many there are; the state space's."""

    keys: Tensor
    values: Tensor
    filled: Tensor
    space: SSMState


class AttentionSSM(Temporal):
    """`[time, batch, width]` to `[..., width · expand]`: attention repairs the recall that a decaying state lacks.

        m_t = Σ_i softmax_i(q_t · k_i / sqrt(d)) v_i      i over this token and the `window` before it
        h_t = a h_{t-1} + x_t + σ(g) m_t                  y = D x + C h (`DiagonalSSM`, its input `x + σ(g) m`)

    `q = W x`, so that all steps are known at once; with `query="state"` it is `W (C h_{t-1})`, read from what is
    remembered, which makes training sequential too. The gate σ(g) is learned per channel.
    """

    takes_first: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        window: int = 16,
        states: int = 16,
        steps: tuple[float, float] = (0.01, 1.0),
        expand: int = 1,
        query: str = "input",
    ) -> None:
        super().__init__()
        if window < 1:
            raise ConfigError(f"attention in the state space: window must be at least 1, got {window}")
        if query not in ("input", "state"):
            raise ConfigError(f"attention in the state space: query is 'input' or 'state', got {query!r}")
        self.width, self.window, self.query = width, window, query
        self.space = DiagonalSSM(width, states, steps, expand)
        self.query_map = nn.Linear(width if query == "input" else width * expand, width, bias=False)
        self.key_map, self.value_map = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.gate = nn.Parameter(torch.zeros(width))

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> AttentionSSMState:
        space = self.space.initial_state(batch, shape)
        past = self.gate.new_zeros(batch, self.window, self.width)
        return AttentionSSMState(past, past.clone(), self.gate.new_zeros(batch, 1), space)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.space.output_shape(shape)

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch channels"], AttentionSSMState]:
        if len(xs) == 0:
            raise ValueError("a sequence needs at least one step")
        if state is None:
            state = self.initial_state(xs.shape[1], tuple(xs.shape[2:]))
        if self.query == "input":
            return self._attend(xs, rowwise(self.query_map, xs), state, first)
        outputs = []
        for t in range(len(xs)):
            begins = None if first is None else first[t : t + 1]
            hidden = state.space.hidden
            if begins is not None:
                hidden = hidden.masked_fill(begins[0].view(-1, 1, 1), 0)
            query = rowwise(self.query_map, self.space.read(hidden, xs.dtype)).unsqueeze(0)
            ys, state = self._attend(xs[t : t + 1], query, state, begins)
            outputs.append(ys)
        return torch.cat(outputs), state

    def _attend(
        self, xs: Tensor, queries: Tensor, state: AttentionSSMState, first: First | None
    ) -> tuple[Tensor, AttentionSSMState]:
        time = len(xs)
        keys = torch.cat([state.keys.to(xs.dtype).transpose(0, 1), rowwise(self.key_map, xs)])
        values = torch.cat([state.values.to(xs.dtype).transpose(0, 1), rowwise(self.value_map, xs)])
        oldest, filled = self._oldest(time, state.filled, first)
        found = window_attention(queries, keys, values, oldest)
        ys, space = self.space(xs + torch.sigmoid(self.gate) * found, state.space, first)
        gone = torch.arange(self.window, device=xs.device) < self.window - filled  # of a document that has ended
        keys, values = (part[time:].transpose(0, 1).masked_fill(gone.unsqueeze(2), 0) for part in (keys, values))
        return ys, AttentionSSMState(keys, values, filled, space)

    def _oldest(self, time: int, filled: Tensor, first: First | None) -> tuple[Tensor, Tensor]:
        """The first place of the window and of its document, at each step, and how many there are after the last."""
        places = torch.arange(time, device=filled.device).unsqueeze(1)
        begin = self.window - filled.view(1, -1).long()  # where the documents of the rows began
        if first is not None:
            starts = torch.where(first, places + self.window, 0).cummax(0).values
            begin = torch.maximum(begin, starts)
        oldest = torch.maximum(begin.expand(time, -1), places)
        count = (self.window + time - begin.expand(time, -1)[-1:]).clamp(max=self.window)
        return oldest, count.view(-1, 1).to(filled.dtype)

    def products_per_step(self) -> int:
        """Multiplications per sample and step that no weight matrix shows; the state space counts its own."""
        return self.width * (2 * (self.window + 1) + 1)

    def extra_repr(self) -> str:
        return f"{self.width}, window={self.window}, query={self.query}"


def window_attention(
    q: Float[Tensor, "time batch d"],
    k: Float[Tensor, "places batch d"],
    v: Float[Tensor, "places batch d"],
    oldest: Int[Tensor, "time batch"],
) -> Float[Tensor, "time batch d"]:
    """Softmax attention of each step to the places from `oldest` to its own, `t + places - time`."""
    if compiled(q):
        return _Window.apply(q, k, v, oldest)
    place = torch.arange(len(k), device=q.device)
    own = torch.arange(len(q), device=q.device) + len(k) - len(q)
    seen = (place >= oldest.unsqueeze(2)) & (place <= own.view(-1, 1, 1))
    scores = torch.einsum("tbd,pbd->tbp", q, k) / math.sqrt(q.shape[2])
    return torch.einsum("tbp,pbd->tbd", torch.softmax(scores.masked_fill(~seen, -torch.inf), 2), v)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, oldest: Tensor) -> Tensor:
        q, k, v, oldest = (tensor.contiguous() for tensor in (q, k, v, oldest))
        window = len(k) - len(q)
        ys, weights = torch.empty_like(q), q.new_zeros(*q.shape[:2], window + 1)
        arrays = (q.numpy(), k.numpy(), v.numpy(), oldest.numpy())
        window_forward(*arrays, window, ys.numpy(), weights.numpy())
        ctx.save_for_backward(q, k, v, oldest, weights)
        return ys

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, oldest, weights = ctx.saved_tensors
        gq, gk, gv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        arrays = [tensor.numpy() for tensor in (weights, grads[0].contiguous(), gq, gk, gv)]
        window_backward(q.numpy(), k.numpy(), v.numpy(), oldest.numpy(), len(k) - len(q), *arrays)
        return gq, gk, gv, None
