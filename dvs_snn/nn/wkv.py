"""The spiking WKV mixer (SpikeGPT: Zhu et al. 2023): RWKV-4's weighted average of the past, with explicit state."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First, rowwise
from dvs_snn.nn.scan_function import Kernels, compiled, run_scan
from dvs_snn.nn.temporal import State, Temporal
from dvs_snn.nn.wkv_kernel import wkv_backward, wkv_forward

WKV = Kernels(wkv_forward, wkv_backward, inputs=2, states=3)


class WKVState(NamedTuple):
    """The last input, and the two sums `A = a e^p`, `B = b e^p` (b = 0: at rest), `[batch, width]` each."""

    last: Tensor
    a: Tensor
    b: Tensor
    p: Tensor


class WKVMixer(Temporal):
    """`[time, batch, width]` to the same: a receptance times the average of all past values, weighted by key and age.

        x'_t = μ x_t + (1 - μ) x_{t-1}       (its own μ for k, v and r)
        k = W_k x', v = W_v x', r = σ(W_r x'), w = -exp(ω)
        y_t = r (Σ_{i<t} e^{w (t-1-i) + k_i} v_i + e^{u + k_t} v_t) / (the same without v)

    The output map of RWKV-4 is left to what follows: with neurons before it, it reads spikes. The sums are kept with
    their largest exponent apart, in training as in `step`, and no weight is rescaled between the two.
    """

    takes_first: ClassVar[bool] = True

    def __init__(self, width: int, depth: float = 0.0) -> None:
        """`depth` is the layer's place in the network, 0 (first) to 1 (last): later layers begin with longer memory."""
        super().__init__()
        if width < 2 or not 0 <= depth <= 1:
            raise ConfigError(f"WKV: need width >= 2 and depth in 0..1, got {width} and {depth:g}")
        self.width = width
        place = torch.arange(width) / width
        self.share_k = nn.Parameter(place ** (1 - depth))
        self.share_v = nn.Parameter(place ** (1 - depth) + 0.3 * depth)
        self.share_r = nn.Parameter(place ** (0.5 * (1 - depth)))
        ramp = torch.arange(width) / (width - 1)
        self.log_decay = nn.Parameter(-5 + 8 * ramp ** (0.7 + 1.3 * depth))
        self.bonus = nn.Parameter(math.log(0.3) + 0.5 * ((torch.arange(width) + 1) % 3 - 1.0))
        self.key, self.value, self.receptance = (nn.Linear(width, width, bias=False) for _ in range(3))

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> WKVState:
        self.output_shape(shape)
        return WKVState(*(self.log_decay.new_zeros(batch, self.width) for _ in range(4)))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != (self.width,):
            raise ConfigError(f"WKV: built for {self.width} channels, not {tuple(shape)}")
        return (self.width,)

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], WKVState]:
        if len(xs) == 0:
            raise ValueError("a sequence needs at least one step")
        if state is None:
            state = self.initial_state(xs.shape[1], tuple(xs.shape[2:]))
        before = _previous(xs, state.last.to(xs.dtype), first)
        k = rowwise(self.key, _mix(before, xs, self.share_k))
        v = rowwise(self.value, _mix(before, xs, self.share_v))
        r = rowwise(torch.sigmoid, rowwise(self.receptance, _mix(before, xs, self.share_r)))
        average, sums = wkv_scan(k, v, (state.a, state.b, state.p), -torch.exp(self.log_decay), self.bonus, first)
        return r * average, WKVState(xs[-1], *sums)

    def products_per_step(self) -> int:
        """Multiplications and divisions per sample and step that no weight matrix shows (exponentials not counted)."""
        return self.width * 15

    def extra_repr(self) -> str:
        return f"{self.width}"


def _mix(before: Tensor, now: Tensor, share: Tensor) -> Tensor:
    return before + share * (now - before)


def wkv_scan(
    k: Float[Tensor, "time batch width"],
    v: Float[Tensor, "time batch width"],
    sums: tuple[Tensor, Tensor, Tensor],
    w: Float[Tensor, " width"],
    u: Float[Tensor, " width"],
    first: First | None = None,
) -> tuple[Float[Tensor, "time batch width"], tuple[Tensor, ...]]:
    """The weighted average at every step and the sums (a, b, p) after the last; compiled on the CPU."""
    if compiled(k):
        return run_scan(WKV, first, k, k, v, *sums, w, u)
    a, b, p = sums
    outputs = []
    for t in range(len(k)):
        if first is not None:
            a, b, p = (part.masked_fill(first[t].unsqueeze(1), 0) for part in (a, b, p))
        p = torch.where(b == 0, k[t] - 1e4, p)  # rest: far below anything that comes
        q = torch.maximum(p, u + k[t])
        old, new = torch.exp(p - q), torch.exp(u + k[t] - q)
        outputs.append((old * a + new * v[t]) / (old * b + new))
        q = torch.maximum(p + w, k[t])
        old, new = torch.exp(p + w - q), torch.exp(k[t] - q)
        a, b, p = old * a + new * v[t], old * b + new, q
    return torch.stack(outputs), (a, b, p)


def _previous(
    xs: Float[Tensor, "time batch width"], last: Float[Tensor, "batch width"], first: First | None
) -> Float[Tensor, "time batch width"]:
    """What came one step before each step: `last` before the first, nothing where a document begins."""
    before = torch.cat([last.unsqueeze(0), xs[:-1]])
    return before if first is None else before.masked_fill(first.unsqueeze(2), 0)
