"""A recurrent network without spikes for tokens: what the spiking text network is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import State, Temporal
from dvs_snn.nn.documents import First, scan_documents


@dataclass(frozen=True)
class TextGRUConfig:
    """Sizes of `TextGRU`; the default has the size of the default `TextConfig`, 0.70 M parameters."""

    vocabulary: int = 65
    classes: int = 0
    """0: a language model; else a classifier of what was read so far."""
    width: int = 236
    layers: int = 2
    dropout: float = 0.0
    """Share of what a layer tells the next, or the read-out, that is left out in training."""

    def __post_init__(self) -> None:
        if self.vocabulary < 2 or min(self.width, self.layers) < 1:
            raise ConfigError("text-gru: need vocabulary >= 2, width and layers >= 1")
        if self.classes < 0 or self.classes == 1:
            raise ConfigError("text-gru: classes is 0 for a language model, else at least 2")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"text-gru: dropout lies in [0, 1), got {self.dropout:g}")


class GRUState(NamedTuple):
    """Hidden state of the layers `[batch, layers, width]`."""

    hidden: Tensor


class _Layers(Temporal):
    """`nn.GRU` with its state handed in and out, rows of the batch first."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, layers, dropout=dropout if layers > 1 else 0.0)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> GRUState:
        like = next(self.gru.parameters())
        return GRUState(like.new_zeros(batch, self.gru.num_layers, self.gru.hidden_size))

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch width"], GRUState]:
        begin = None if state is None else state.hidden.transpose(0, 1).contiguous()
        ys, hidden = self.gru(xs, begin)
        return ys, GRUState(hidden.transpose(0, 1))


class TextGRU(Temporal):
    """Token numbers `[time, batch]` -> logits `[time, batch, vocabulary or classes]` by layers of GRU."""

    takes_first: ClassVar[bool] = True

    def __init__(self, config: TextGRUConfig | None = None) -> None:
        super().__init__()
        self.config = config = config if config is not None else TextGRUConfig()
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.layers = _Layers(config.width, config.layers, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, config.classes or config.vocabulary)

    def initial_state(self, batch: int, shape: tuple[int, ...] = ()) -> GRUState:
        return self.layers.initial_state(batch, shape)

    def output_shape(self, shape: tuple[int, ...] = ()) -> tuple[int, ...]:
        if tuple(shape) != ():
            raise ConfigError(f"text-gru: reads token numbers, not maps of {tuple(shape)}")
        return (self.head.out_features,)

    def forward(  # type: ignore[override]
        self, tokens: Int[Tensor, "time batch"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch outputs"], GRUState]:
        """Logits and the state after the last token; `first` is true where a document begins."""
        if first is not None and state is None and not bool(first[1:].any()):
            first = None
        ys, state = scan_documents(self.layers, self.embedding(tokens), state, first)
        return self.head(self.dropout(ys)), state
