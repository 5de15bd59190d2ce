"""The attention bridge: the last T spike maps become one dense feature map, at every bin.

ASAB (attention-based SNN-ANN bridge, CVPR 2025) in a form that streams. All channels share the weights, so the channel
axis is folded into the batch; below, `n` counts (time, batch, channel) and `p` the pixels of a map.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dvs_snn.errors import ConfigError
from dvs_snn.nn.delays import Past, RingBuffer
from dvs_snn.nn.temporal import State, Temporal

# A 5x5 kernel reaches most of a map of this size: then one small matrix product beats a one-channel convolution by far.
MATRIX_PIXELS = 144
# Windows overlap T-fold: they are made and used in blocks that fit the cache.
BLOCK_ELEMENTS = 1 << 20


class TimewiseConv(nn.Module):
    """One k x k kernel per bin of the window, shared by all channels: the plain form of TSDC.

    `response(j, maps)` is what position j of the window makes of its bin. No bias: an empty bin answers with zero, so
    zeros before the start of a recording and a silent camera are the same thing.
    """

    matrix_form = True

    def __init__(self, bins: int, kernel_size: int = 5, spacing: int = 1) -> None:
        super().__init__()
        if bins < 1 or spacing < 1 or kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(
                "the bridge needs bins and spacing of 1 or more and an odd kernel size, "
                f"got bins={bins}, spacing={spacing}, kernel_size={kernel_size}"
            )
        self.bins = bins
        self.spacing = spacing
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(bins, kernel_size, kernel_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A centre tap plus noise: at first the window shows its spike maps, a little mixed with their surroundings."""
        centre = self.kernel_size // 2
        with torch.no_grad():
            self.weight.normal_(std=0.5 / self.kernel_size)
            self.weight[:, centre, centre] += 1.0

    def matrices(self, height: int, width: int) -> Float[Tensor, "bins p p"]:
        """The convolutions on maps of this size as matrices: response = map @ matrix."""
        k, centre = self.kernel_size, self.kernel_size // 2
        y = torch.arange(height, device=self.weight.device)
        x = torch.arange(width, device=self.weight.device)
        tap_y = y[:, None] - y[None, :] + centre  # [from, to]
        tap_x = x[:, None] - x[None, :] + centre
        inside = ((tap_y >= 0) & (tap_y < k))[:, None, :, None] & ((tap_x >= 0) & (tap_x < k))[None, :, None, :]
        tap = tap_y.clamp(0, k - 1)[:, None, :, None] * k + tap_x.clamp(0, k - 1)[None, :, None, :]
        pixels = height * width
        taps = torch.where(inside, tap, k * k).reshape(-1)
        return F.pad(self.weight.flatten(1), (0, 1)).index_select(1, taps).view(-1, pixels, pixels)

    def positions(self, history: Float[Tensor, "length rows ..."]) -> list[Tensor]:
        """What each position of the window sees, for all windows that end inside: `T` tensors `[time, rows, ...]`."""
        time = len(history) - (self.bins - 1) * self.spacing
        return [history[j * self.spacing : j * self.spacing + time] for j in range(self.bins)]

    def responses(self, history: Float[Tensor, "length rows height width"]) -> Float[Tensor, "n bins p"]:
        """The windows; `history` starts one window (less one bin) before the first of them ends."""
        height, width = history.shape[-2:]
        if not self.matrix_form:
            maps = [x.flatten(0, 1) for x in self.positions(history)]
            return torch.stack([self.response(j, x).flatten(1) for j, x in enumerate(maps)], dim=1)
        if height * width > MATRIX_PIXELS:
            last = self.positions(history.contiguous(memory_format=torch.channels_last))
            return torch.stack([self.depthwise(j, x).flatten(0, 1).flatten(1) for j, x in enumerate(last)], dim=1)
        matrices = self.matrices(height, width)
        rows = [x.flatten(0, 1) for x in self.positions(history.flatten(2))]
        return torch.stack([x @ matrices[j] for j, x in enumerate(rows)], dim=1)

    def response(self, j: int, maps: Float[Tensor, "n height width"]) -> Float[Tensor, "n height width"]:
        kernel = self.weight[j, None, None]
        return F.conv2d(maps.unsqueeze(1), kernel, padding=self.kernel_size // 2).squeeze(1)

    def depthwise(
        self, j: int, maps: Float[Tensor, "time rows height width"]
    ) -> Float[Tensor, "time rows height width"]:
        """`response` with the rows as channels: its gradient is 20 times as fast as that of one-channel maps."""
        rows = maps.shape[1]
        kernel = self.weight[j].expand(rows, 1, -1, -1).contiguous()
        return F.conv2d(maps, kernel, padding=self.kernel_size // 2, groups=rows)


class DeformableTimewiseConv(TimewiseConv):
    """TSDC with deformable kernels (DCNv2, Zhu et al. 2019): every tap looks where the input tells it to.

    Per position of the window a k x k convolution of its bin gives, at each pixel and for each tap, an offset (dy, dx)
    in pixels and a weight 2 sigmoid(m) in (0, 2); the tap reads the map there by bilinear interpolation, zeros outside.
    With zero offset weights (the start) it equals `TimewiseConv`.
    """

    matrix_form = False

    def __init__(self, bins: int, kernel_size: int = 5, spacing: int = 1) -> None:
        super().__init__(bins, kernel_size, spacing)
        self.offset = nn.ModuleList(
            nn.Conv2d(1, 3 * kernel_size**2, kernel_size, padding=kernel_size // 2) for _ in range(bins)
        )
        for layer in self.offset:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def response(self, j: int, maps: Float[Tensor, "n height width"]) -> Float[Tensor, "n height width"]:
        rows, height, width = maps.shape
        k, taps = self.kernel_size, self.kernel_size**2
        source = maps.unsqueeze(1)
        dy, dx, weight = self.offset[j](source).view(rows, 3, taps, height, width).unbind(1)
        tap = torch.arange(taps, device=maps.device)
        y = torch.arange(height, device=maps.device)[:, None] + (tap // k - k // 2)[:, None, None] + dy
        x = torch.arange(width, device=maps.device)[None, :] + (tap % k - k // 2)[:, None, None] + dx
        # grid_sample wants x before y, from -1 to 1 over the outer borders of the map (align_corners=False).
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        seen = F.grid_sample(source, grid.flatten(1, 2), align_corners=False).view(rows, taps, height, width)
        return torch.einsum("nthw,t->nhw", seen * (2 * torch.sigmoid(weight)), self.weight[j].flatten())


class _Gram(torch.autograd.Function):
    """A A^T per row; its backward as one product instead of autograd's two."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return a @ a.transpose(-2, -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (a,) = ctx.saved_tensors
        return (grad + grad.transpose(-2, -1)) @ a


class _Permute(torch.autograd.Function):
    """A permuted copy; its gradient is a permuted copy too, because batched products crawl on permuted views."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *dims: int) -> Tensor:
        ctx.inverse = [dims.index(i) for i in range(len(dims))]
        return x.permute(dims).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return grad.permute(ctx.inverse).contiguous(), *[None] * len(ctx.inverse)


class ASAB(Temporal):
    """Spatial-aware temporal attention over the last T bins, gated by event rate (arXiv 2403.10173, CVPR 2025).

    Per channel, with A [T, p] the `TimewiseConv` responses of the bins t-T+1 .. t (zeros before the start; `spacing` k
    takes every k-th bin back from t, so that the same work sees slower motion):

        Q = Wq A,  K = Wk A,  V = Wv A                    1x1 convolutions over the window's positions
        P = softmax over keys of  g Q K^T / sqrt(p)       [T, T]
        out = sigmoid(a rate + b) * (c^T P V)             c: a 1x1 convolution that collapses the window

    `rate` is the number of spikes in the window (`rate_source="spikes"`) or the sum over the window of P V
    ("attention"). Published: g / sqrt(p) = 1 (`score_scale="none"`; softmax saturates on larger maps), a = 1, b = 0,
    which can only halve; here a and b are learned from there, and g is learned from 1 ("learned") or stays 1 ("fixed").

    Only T x T products look at pixels: Q K^T = Wq (A A^T) Wk^T, and c^T P Wv is one weight per position, so neither Q,
    K nor V is ever built.
    """

    def __init__(
        self,
        bins: int = 8,
        kernel_size: int = 5,
        *,
        spacing: int = 1,
        deformable: bool = False,
        score_scale: str = "learned",
        rate_source: str = "spikes",
    ) -> None:
        super().__init__()
        if score_scale not in ("learned", "fixed", "none"):
            raise ConfigError(f"score_scale must be learned, fixed or none, not {score_scale!r}")
        if rate_source not in ("spikes", "attention"):
            raise ConfigError(f"rate_source must be spikes or attention, not {rate_source!r}")
        self.bins = bins
        self.score_scale = score_scale
        self.rate_source = rate_source
        self.convolution = (DeformableTimewiseConv if deformable else TimewiseConv)(bins, kernel_size, spacing)
        self.buffer = RingBuffer((bins - 1) * spacing)
        self.query = nn.Parameter(torch.empty(bins, bins))
        self.key = nn.Parameter(torch.empty(bins, bins))
        self.value = nn.Parameter(torch.empty(bins, bins))
        self.collapse = nn.Parameter(torch.empty(bins))
        self.score_gain = nn.Parameter(torch.ones(()), requires_grad=score_scale == "learned")
        self.rate_gain = nn.Parameter(torch.ones(()))
        self.rate_offset = nn.Parameter(torch.zeros(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Projections near the identity and a mean over the window: at first the bridge is a soft average in time."""
        with torch.no_grad():
            for projection in (self.query, self.key, self.value):
                projection.normal_(std=0.5 / math.sqrt(self.bins)).add_(torch.eye(self.bins))
            self.collapse.normal_(1.0 / self.bins, 0.5 / self.bins)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Past:
        return Past(self.collapse.new_zeros(batch, self.buffer.length, *shape))

    def attention(self, windows: Float[Tensor, "n bins p"]) -> Float[Tensor, "query_bin key_bin n"]:
        """How much each position (first axis) takes from each position (second axis, sums to 1), per row of windows."""
        scores = self.query @ _Gram.apply(windows) @ self.key.T
        if self.score_scale != "none":
            scores = scores * (self.score_gain / math.sqrt(windows.shape[-1]))
        # Rows last: a softmax over eight neighbouring numbers runs at a twentieth of the speed.
        return torch.softmax(_Permute.apply(scores, 1, 2, 0), dim=1)

    def _block(
        self, history: Float[Tensor, "length batch channel height width"]
    ) -> Float[Tensor, "time batch channel height width"]:
        """One block of time; what is as large as the windows, or larger, is made twice rather than kept."""
        maps = history.flatten(1, 2)
        if not torch.is_grad_enabled():
            return self._attend(self.convolution.responses(maps), history)
        if self.convolution.matrix_form:
            windows = self.convolution.responses(maps)
        else:  # offsets and samples of every tap
            windows = checkpoint(self.convolution.responses, maps, use_reentrant=False, preserve_rng_state=False)
        return checkpoint(self._attend, windows, history, use_reentrant=False, preserve_rng_state=False)

    def _attend(
        self, windows: Float[Tensor, "n bins p"], history: Float[Tensor, "length batch channel height width"]
    ) -> Float[Tensor, "time batch channel height width"]:
        attention = self.attention(windows)
        readers = self.collapse.unsqueeze(0)
        if self.rate_source == "attention":
            readers = torch.stack([self.collapse, torch.ones_like(self.collapse)])
        weights = self.value.T @ (readers @ attention.flatten(1)).view(len(readers), self.bins, -1)
        features, *rates = (_Permute.apply(weights, 2, 0, 1) @ windows).unbind(1)
        rate = rates[0] if rates else self._rate(history).flatten(0, 2).flatten(1)
        gate = torch.sigmoid(self.rate_gain * rate + self.rate_offset)
        return (gate * features).view(-1, *history.shape[1:])

    def _rate(self, history: Float[Tensor, "length batch *shape"]) -> Float[Tensor, "time batch *shape"]:
        """Spikes of each window, summed in one fixed order so that step and scan agree to the bit."""
        first, *others = self.convolution.positions(history)
        rate = first
        for spikes in others:
            rate = rate + spikes
        return rate

    def forward(
        self, xs: Float[Tensor, "time batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch channel height width"], Past]:
        history, past = self.buffer.extend(xs, state)
        block = max(1, BLOCK_ELEMENTS // (self.bins * xs[0].numel()))
        starts = range(0, len(xs), block)
        return torch.cat([self._block(history[t : t + block + self.buffer.length]) for t in starts]), past

    def extra_repr(self) -> str:
        window = f"bins={self.bins}, spacing={self.convolution.spacing}"
        return f"{window}, score_scale={self.score_scale}, rate_source={self.rate_source}"
