"""What spiking text models are compared with: a Transformer with a key-value cache, and a bag of embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dvs_snn.nn import Committee, State, Temporal


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of `Transformer`; the defaults have as many weights as `TextConfig`'s (within 5 %)."""

    vocabulary: int = 65
    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 416
    context: int = 64


class CacheState(NamedTuple):
    """Keys and values `[layers, batch, heads, context, size]`."""

    keys: Tensor
    values: Tensor


class Transformer(nn.Module):
    """A pre-norm causal Transformer with rotary positions (Su et al. 2021); `step` reads the cache of `context` tokens.

    Older tokens than `context` are forgotten: the newest takes the oldest's place.
    """

    frequencies: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = nn.Embedding(config.vocabulary, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention_norm": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "hidden_norm": nn.LayerNorm(width),
                    "hidden_in": nn.Linear(width, config.hidden),
                    "hidden_out": nn.Linear(config.hidden, width),
                }
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.vocabulary)
        half = width // config.heads // 2
        frequencies = 1e4 ** (-torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def empty_cache(self, batch: int = 1) -> CacheState:
        """Room for `context` tokens, none read."""
        config = self.config
        shape = (config.layers, batch, config.heads, config.context, config.width // config.heads)
        return CacheState(torch.zeros(shape), torch.zeros(shape))

    def forward(self, tokens: Int64[Tensor, "time batch"]) -> Float[Tensor, "time batch vocabulary"]:
        """Logits of all tokens at once, with a causal mask; for training, and to check `step`."""
        x = self.embedding(tokens.T)
        angles = torch.outer(torch.arange(len(tokens)), self.frequencies)
        for block in self.blocks:
            q, k, v = self._heads(block, x)
            q, k = _rotated(q, angles), _rotated(k, angles)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = self._after(block, x, mixed)
        return self.head(self.norm(x)).transpose(0, 1)

    @torch.inference_mode()
    def step(self, token: int, cache: CacheState, read: int) -> Float[Tensor, " vocabulary"]:
        """Logits after one more token, of which `read` came before; the cache is changed in place."""
        x = self.embedding(torch.tensor([[token]]))
        angles = read * self.frequencies[None]
        place, count = read % self.config.context, min(read + 1, self.config.context)
        for number, block in enumerate(self.blocks):
            q, k, v = self._heads(block, x)
            cache.keys[number, :, :, place] = _rotated(k, angles)[:, :, 0]
            cache.values[number, :, :, place] = v[:, :, 0]
            keys, values = cache.keys[number, :, :, :count], cache.values[number, :, :, :count]
            x = self._after(block, x, F.scaled_dot_product_attention(_rotated(q, angles), keys, values))
        return self.head(self.norm(x))[0, 0]

    def _heads(self, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layers: nn.ModuleDict = block  # type: ignore[assignment]
        heads = layers["qkv"](layers["attention_norm"](x)).unflatten(-1, (3, self.config.heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind()
        return q, k, v

    def _after(self, block: nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
        layers: nn.ModuleDict = block  # type: ignore[assignment]
        x = x + layers["out"](mixed.transpose(1, 2).flatten(2))
        return x + layers["hidden_out"](F.gelu(layers["hidden_in"](layers["hidden_norm"](x))))


def _rotated(x: Float[Tensor, "batch heads time size"], angles: Float[Tensor, "time half"]) -> Tensor:
    low, high = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((low * cos - high * sin, low * sin + high * cos), -1)


@dataclass(frozen=True)
class BagConfig:
    """Sizes of `Bag`."""

    vocabulary: int = 8000
    classes: int = 2
    width: int = 128
    dropout: float = 0.3
    spread: float = 0.1
    """Standard deviation of the embeddings at the start."""


class BagState(NamedTuple):
    """Sum of the embeddings read `[batch, width]`, and their number `[batch, 1]`."""

    total: Tensor
    tokens: Tensor


class Bag(Temporal):
    """A linear map of the mean embedding of what was read: order means nothing (the bar for a judge of sentences)."""

    def __init__(self, config: BagConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=config.spread)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, config.classes)

    def initial_state(self, batch: int, shape: tuple[int, ...] = ()) -> BagState:
        weight = self.head.weight
        return BagState(weight.new_zeros(batch, self.config.width), weight.new_zeros(batch, 1))

    def output_shape(self, shape: tuple[int, ...] = ()) -> tuple[int, ...]:
        return (self.config.classes,)

    def forward(  # type: ignore[override]
        self, tokens: Int64[Tensor, "time batch"], state: State | None = None, first: Tensor | None = None
    ) -> tuple[Float[Tensor, "time batch classes"], BagState]:
        """Logits at every token; a document begins where the batch does (`first` further on is refused)."""
        if first is not None and bool(first[1:].any()):
            raise ValueError("a bag holds one document per row")
        begin = self.initial_state(tokens.shape[1]) if state is None else state
        totals = begin.total + self.dropout(self.embedding(tokens)).cumsum(0)
        counts = begin.tokens + torch.arange(1, len(tokens) + 1, device=totals.device).view(-1, 1, 1)
        return self.head(totals / counts), BagState(totals[-1], counts[-1].expand_as(begin.tokens))


class Bags(Committee):
    """Several bags that judge a sentence together."""

    def __init__(self, config: BagConfig, members: int) -> None:
        super().__init__(Bag(config) for _ in range(members))
        self.config = config
