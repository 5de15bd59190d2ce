"""The text network: tokens on the time axis -> blocks of a mixer and a spiking feed-forward layer -> logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import LIF, Committee, State, Temporal
from dvs_snn.nn.attention_ssm import AttentionSSM
from dvs_snn.nn.documents import First, rowwise, scan_documents
from dvs_snn.nn.linear_attention import SpikingLinearAttention
from dvs_snn.nn.no_reset import NoResetLIF
from dvs_snn.nn.ssm import ComplexSSM, DiagonalSSM, SelectiveSSM
from dvs_snn.nn.token_filter import TokenFilter
from dvs_snn.nn.wkv import WKVMixer

NEURONS = ("no_reset", "hard_reset")


@dataclass(frozen=True)
class TextConfig:
    """Sizes and kinds of `TextNet`."""

    vocabulary: int = 65
    classes: int = 0
    """0: a language model, one logit per token of the vocabulary; else a classifier of what was read so far."""
    members: int = 1
    """Whole networks that judge a document together (`nn.Committee`); classifiers only."""
    width: int = 128
    layers: int = 4
    hidden: int = 368
    """Spiking neurons of a feed-forward layer."""
    mixer: str = "ssm"
    expand: int = 2
    """State spaces, and neurons behind them, per channel of the stream; other mixers have one."""
    states: int = 16
    """Memories per channel of a state-space mixer."""
    steps: tuple[float, ...] = (0.01, 1.0)
    """Range of the state space's step Δ at the start; characters need short memories too."""
    mixer_in: bool = False
    """A dense map of each token's features before the mixer: what a memory keeps is then no single channel."""
    mixer_taps: int = 4
    """Newest tokens that a causal filter of each channel weighs before the mixer."""
    hidden_taps: int = 4
    """The same before W₁."""
    window: int = 16
    """Tokens that `attention_ssm` looks back."""
    heads: int = 4
    """Heads of `linear_attention`."""
    neuron: str = "no_reset"
    """`hard_reset` is the profile for chips: a spike sets the membrane to zero."""
    beta: float = 0.5
    threshold: float = 1.0
    tied: bool = False
    """The read-out's weights are the embedding's."""
    dropout: float = 0.0
    """Share of what blocks add that is left out in training."""
    spike_dropout: float = 0.0
    """Share of the spikes that are left out in training."""
    twin: bool = False
    """Leaky integration and GELU in place of spikes; the same sizes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))  # JSON has lists
        if self.vocabulary < 2 or min(self.width, self.layers, self.hidden, self.states, self.expand) < 1:
            raise ConfigError("text: need vocabulary >= 2 and width, layers, hidden, states, expand >= 1")
        if min(self.mixer_taps, self.hidden_taps) < 1:
            raise ConfigError("text: mixer_taps and hidden_taps are at least 1")
        if self.classes < 0 or self.classes == 1:
            raise ConfigError("text: classes is 0 for a language model, else at least 2")
        if self.members < 1 or (self.members > 1 and not self.classes):
            raise ConfigError("text: members is 1 or more for a classifier, 1 for a language model")
        if self.mixer not in MIXERS:
            raise ConfigError(f"text: mixer is one of {', '.join(MIXERS)}, got {self.mixer!r}")
        if self.neuron not in NEURONS:
            raise ConfigError(f"text: neuron is one of {', '.join(NEURONS)}, got {self.neuron!r}")
        if len(self.steps) != 2 or not 0 < self.steps[0] <= self.steps[1]:
            raise ConfigError(f"text: steps is a range above 0, low <= high, got {self.steps}")
        for name in ("dropout", "spike_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"text: {name} lies in [0, 1), got {getattr(self, name):g}")
        if self.twin and self.neuron != "no_reset":
            raise ConfigError("text: the twin has no spikes, so it has no reset; leave neuron at 'no_reset'")
        if self.tied and self.classes:
            raise ConfigError("text: tied goes with a language model, not with classes")


def _steps(config: TextConfig) -> tuple[float, float]:
    return config.steps[0], config.steps[1]


MIXERS: dict[str, Callable[[TextConfig, float], Temporal]] = {
    "ssm": lambda c, depth: DiagonalSSM(c.width, c.states, _steps(c), c.expand),
    "complex_ssm": lambda c, depth: ComplexSSM(c.width, c.states, _steps(c), c.expand),
    "selective_ssm": lambda c, depth: SelectiveSSM(c.width, c.states, _steps(c), c.expand),
    "attention_ssm": lambda c, depth: AttentionSSM(c.width, c.window, c.states, _steps(c), c.expand),
    "wkv": lambda c, depth: WKVMixer(c.width, depth),
    "linear_attention": lambda c, depth: SpikingLinearAttention(c.width, c.heads),
}
"""What links a token with those before it, by name; `depth` is the layer's place, 0 (first) to 1 (last)."""


def _neurons(config: TextConfig, count: int) -> LIF:
    if config.neuron == "no_reset":
        return NoResetLIF(count, config.beta, config.threshold, smooth=config.twin)
    return LIF(
        config.beta, config.threshold, reset="zero", learn_beta=True, learn_threshold=True, shape=(count,)
    )  # fmt: skip


class BlockState(NamedTuple):
    """States of a block's two filters, of its mixer and of its two layers of neurons."""

    mixer_filter: Any
    mixer: Any
    mixed: Any
    hidden_filter: Any
    hidden: Any


class TextBlock(Temporal):
    """`x + GLU(W spikes(mix(W₀ filter(norm x))))`, then `x + W₂ spikes(W₁ filter(norm x))`; W₀ on demand.

    The output map of the mixer and W₂ read spikes (`spike_in`); the residual stream is of real numbers, as is what W₀
    and W₁ read.
    """

    takes_first: ClassVar[bool] = True

    def __init__(self, config: TextConfig, depth: float = 0.0) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.mixer_norm = nn.LayerNorm(width)
        self.mixer_filter = TokenFilter(width, config.mixer_taps, share=0.0)
        self.mixer_in = nn.Linear(width, width) if config.mixer_in else None
        self.mixer = MIXERS[config.mixer](config, depth)
        mixed = self.mixer.output_shape((width,))[0]
        self.mixed = _neurons(config, mixed)
        self.mixer_out = nn.Linear(mixed, 2 * width)
        self.hidden_norm = nn.LayerNorm(width)
        self.hidden_filter = TokenFilter(width, config.hidden_taps)
        self.hidden_in = nn.Linear(width, hidden)
        self.hidden = _neurons(config, hidden)
        self.hidden_out = nn.Linear(hidden, width)
        self.dropout, self.spike_dropout = nn.Dropout(config.dropout), nn.Dropout(config.spike_dropout)
        with torch.no_grad():  # what blocks add to the stream must not grow with their number
            for linear in (self.mixer_out, self.hidden_out):
                linear.weight.mul_(1 / math.sqrt(2 * config.layers))

    @property
    def maps(self) -> list[nn.Module]:
        """Its dense maps: W₀ where it has one, W, W₁ and W₂."""
        before = [] if self.mixer_in is None else [self.mixer_in]
        return [*before, self.mixer_out, self.hidden_in, self.hidden_out]

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> BlockState:
        return BlockState(
            self.mixer_filter.initial_state(batch, shape),
            self.mixer.initial_state(batch, shape),
            self.mixed.initial_state(batch, self.mixer.output_shape(shape)),
            self.hidden_filter.initial_state(batch, shape),
            self.hidden.initial_state(batch, (self.hidden_in.out_features,)),
        )

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], BlockState]:
        before = BlockState(None, None, None, None, None) if state is None else state
        ys, mixer_filter = scan_documents(self.mixer_filter, self.mixer_norm(xs), before.mixer_filter, first)
        if self.mixer_in is not None:
            ys = rowwise(self.mixer_in, ys)
        ys, mixer = scan_documents(self.mixer, ys, before.mixer, first)
        spikes, mixed = scan_documents(self.mixed, ys, before.mixed, first)
        xs = xs + self.dropout(rowwise(F.glu, rowwise(self.mixer_out, self.spike_dropout(spikes))))
        ys, hidden_filter = scan_documents(self.hidden_filter, self.hidden_norm(xs), before.hidden_filter, first)
        currents = rowwise(self.hidden_in, ys)
        spikes, hidden = scan_documents(self.hidden, currents, before.hidden, first)
        xs = xs + self.dropout(rowwise(self.hidden_out, self.spike_dropout(spikes)))
        return xs, BlockState(mixer_filter, mixer, mixed, hidden_filter, hidden)


class MeanState(NamedTuple):
    """Sum of what was read `[batch, width]` and number of tokens `[batch, 1]`."""

    total: Tensor
    tokens: Tensor


class TextState(NamedTuple):
    """States of the blocks, and of the classifier's running mean (`()` in a language model)."""

    blocks: tuple[BlockState, ...]
    mean: Any


class TextNet(Temporal):
    """Token numbers `[time, batch]` -> logits `[time, batch, vocabulary or classes]`; causal, constant state.

    Logits at a token foresee the next one (language model), or judge the document up to here by the mean of its
    features, normalised after it so that words can weigh little (classifier: the logits of its last token count).
    """

    takes_first: ClassVar[bool] = True

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__()
        self.config = config = config if config is not None else TextConfig()
        if config.members != 1:
            raise ConfigError("text: a TextNet is one network; build_model makes a committee")
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(TextBlock(config, k / max(config.layers - 1, 1)) for k in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.classes or config.vocabulary)
        nn.init.normal_(self.embedding.weight, std=0.02 if config.tied else 1.0)
        nn.init.zeros_(self.head.bias)
        if config.tied:
            self.head.weight = self.embedding.weight
        else:
            nn.init.normal_(self.head.weight, std=0.02)

    def initial_state(self, batch: int, shape: tuple[int, ...] = ()) -> TextState:
        """State at rest; one sample is a single number, so `shape` is ()."""
        width = (self.config.width,)
        blocks = tuple(block.initial_state(batch, width) for block in self.blocks)  # type: ignore[operator]
        return TextState(blocks, self._no_mean(batch))

    def _no_mean(self, batch: int) -> Any:
        if not self.config.classes:
            return ()
        weight = self.embedding.weight
        return MeanState(weight.new_zeros(batch, self.config.width), weight.new_zeros(batch, 1))

    def output_shape(self, shape: tuple[int, ...] = ()) -> tuple[int, ...]:
        if tuple(shape) != ():
            raise ConfigError(f"text: reads token numbers, not maps of {tuple(shape)}")
        return (self.head.out_features,)

    def forward(  # type: ignore[override]
        self, tokens: Int[Tensor, "time batch"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch outputs"], TextState]:
        """Logits and the state after the last token; `first` is true where a document begins."""
        if first is not None and not bool((first[1:] if state is None else first).any()):
            first = None  # state is at rest where it should be
        xs, blocks = self.features(tokens, state, first)
        mean: Any = ()
        if self.config.classes:
            before = self._no_mean(tokens.shape[1]) if state is None else state.mean
            xs, mean = _running_mean(xs, before, first)
        return rowwise(self.head, self.norm(xs)), TextState(blocks, mean)

    def features(
        self, tokens: Int[Tensor, "time batch"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], tuple[BlockState, ...]]:
        """The stream behind the last block, and the states of the blocks."""
        if len(tokens) == 0:
            raise ValueError("a sequence needs at least one step")
        before = [None] * len(self.blocks) if state is None else state.blocks
        xs = self.embedding(tokens)
        after = []
        for block, block_state in zip(self.blocks, before, strict=True):
            xs, block_state = block(xs, block_state, first)
            after.append(block_state)
        return xs, tuple(after)


class TextCommittee(Committee):
    """Several `TextNet`s that judge a document together."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__(TextNet(replace(config, members=1)) for _ in range(config.members))
        self.config = config


def text_network(config: TextConfig) -> Temporal:
    """A `TextNet`, or as many of them as `config.members` says."""
    return TextNet(config) if config.members == 1 else TextCommittee(config)


def _running_mean(
    xs: Float[Tensor, "time batch width"], before: MeanState, first: First | None
) -> tuple[Float[Tensor, "time batch width"], MeanState]:
    """Mean of a document's features up to each token; one addition after the other, as `step` does it."""
    total, count = before
    means = []
    for t, x in enumerate(xs):
        if first is not None:
            total, count = (part.masked_fill(first[t].unsqueeze(1), 0) for part in (total, count))
        total, count = total + x, count + 1
        means.append(total / count)
    return torch.stack(means), MeanState(total, count)
