"""Batches of tokens: packed text in windows for a language model, sentences with a class, bucketed by length."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from dvs_snn.errors import ConfigError, TextError
from dvs_snn.learning import Clip
from dvs_snn.nn import State, Temporal
from dvs_snn.text.documents import Documents
from dvs_snn.text.tokens import DOCUMENT, Tokenizer

BUCKET = 50
"""Batches of sentences that are sorted by length together."""


@dataclass(frozen=True)
class TextClip(Clip):
    """Token numbers as inputs; `starts` is true where a document begins, so that its state is reset there.

    `teacher` are tokens that a teacher drew and how much each weighs, `[time, batch, draws]`, or None.
    """

    starts: Bool[Tensor, "time batch"]
    teacher: tuple[Int64[Tensor, "time batch draws"], Float[Tensor, "time batch draws"]] | None = None

    def scan(self, network: Temporal, state: State | None) -> tuple[Tensor, State]:
        """Logits at every token, the state reset where documents begin."""
        return network(self.inputs, state, self.starts)

    def to(self, device: torch.device | str) -> TextClip:
        """The clip on a device."""
        moved = super().to(device)
        teacher = None if self.teacher is None else (self.teacher[0].to(device), self.teacher[1].to(device))
        return TextClip(moved.inputs, moved.labels, moved.scored, moved.first, self.starts.to(device), teacher)

    def between(self, start: int, stop: int) -> TextClip:
        """The tokens `start` to `stop`."""
        cut = super().between(start, stop)
        teacher = None if self.teacher is None else (self.teacher[0][start:stop], self.teacher[1][start:stop])
        return TextClip(cut.inputs, cut.labels, cut.scored, cut.first, self.starts[start:stop], teacher)


def store_tokens(documents: Documents, tokenizer: Tokenizer) -> NDArray[np.unsignedinteger]:
    """All tokens of a file, each document after its mark, packed; they lie in a file, so memory does not grow."""
    kind = np.uint16 if tokenizer.size <= 1 << 16 else np.uint32
    count = 0
    with tempfile.TemporaryFile() as file:
        for piece in documents:
            numbers = tokenizer.encode(piece.text)
            if piece.first:
                numbers = np.concatenate((np.zeros(1, np.int64), numbers))
            numbers.astype(kind).tofile(file)
            count += len(numbers)
        file.flush()
        tokens: NDArray[np.unsignedinteger] = np.memmap(file, kind, "r", shape=(count,))
        return tokens


class WindowLoader:
    """Windows of `length` tokens from random places of a packed text, labelled with the token after each.

    State begins at rest in each window. An epoch is `updates` batches (0: as many as cover the text once). `share`
    (number, of) makes every `of`-th row of each batch. Raises `TextError` for a text shorter than one window.
    """

    def __init__(
        self, tokens: NDArray[np.unsignedinteger], length: int, batch: int, updates: int, seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        if len(tokens) < length + 1:
            raise TextError(
                f"the text has {len(tokens)} tokens, a window needs {length + 1}: give more text, or a smaller "
                "data.length"
            )
        if batch < 1 or batch % share[1]:
            raise ConfigError(f"train.batch is {batch}: must be above zero, and {share[1]} processes must share it")
        self.tokens, self.length, self.batch, self.seed, self.share = tokens, length, batch, seed, share
        self.batches = updates or max((len(tokens) - 1) // (length * batch), 1)
        self.teacher: TeacherRows | None = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TextClip]:
        """The batches of an epoch, from batch `start` on."""
        for number in range(start, self.batches):
            rng = np.random.default_rng((self.seed, epoch, number))
            places = rng.integers(len(self.tokens) - self.length, size=self.batch)
            yield self.at(places[self.share[0] :: self.share[1]])

    def at(self, places: NDArray[np.int64]) -> TextClip:
        """The windows that begin at these places."""
        rows = places[None, :] + np.arange(self.length + 1)[:, None]
        clip = next_token_clip(np.asarray(self.tokens[rows], np.int64))
        return clip if self.teacher is None else replace(clip, teacher=self.teacher.at(rows[:-1]))


class TeacherRows:
    """What a teacher drew after each token of a text: token numbers and weights, `[tokens, draws]`."""

    def __init__(self, drawn: NDArray[np.unsignedinteger], weights: NDArray[np.float16]) -> None:
        self.drawn, self.weights = drawn, weights

    def at(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Drawn tokens and weights at places `[time, batch]`."""
        drawn = torch.from_numpy(self.drawn[rows].astype(np.int64))
        return drawn, torch.from_numpy(self.weights[rows].astype(np.float32))


def next_token_clip(numbers: NDArray[np.int64]) -> TextClip:
    """Token numbers `[time + 1, batch]` as inputs, and as labels one token later."""
    tokens = torch.from_numpy(numbers)
    inputs = tokens[:-1]
    return TextClip(
        inputs, tokens[1:].contiguous(), torch.ones_like(inputs, dtype=torch.bool),
        torch.ones(inputs.shape[1], dtype=torch.bool), inputs == DOCUMENT,
    )  # fmt: skip


@dataclass(frozen=True)
class Sentences:
    """Token numbers of documents, each with the index of its class, and where they come from."""

    tokens: Sequence[NDArray[np.int64]]
    labels: NDArray[np.int64]
    source: str

    def __len__(self) -> int:
        return len(self.tokens)


class SentenceLoader:
    """Batches of whole sentences of like length; the class is judged at the last token.

    In training each token is left out with probability `drop`. The last, smaller batch of an epoch is left out.
    """

    def __init__(
        self, sentences: Sentences, batch: int, seed: int, drop: float = 0.0, share: tuple[int, int] = (0, 1)
    ) -> None:
        if not 1 <= batch <= len(sentences):
            raise ConfigError(f"train.batch is {batch}: must lie in 1..{len(sentences)}, the sentences of this split")
        if batch % share[1]:
            raise ConfigError(f"train.batch is {batch}: {share[1]} processes cannot share it evenly")
        self.sentences, self.batch, self.seed, self.drop, self.share = sentences, batch, seed, drop, share
        self.batches = len(sentences) // batch
        self._lengths = np.array([len(tokens) for tokens in sentences.tokens])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TextClip]:
        """The batches of an epoch, from batch `start` on."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.sentences))[: self.batches * self.batch]
        size = BUCKET * self.batch
        buckets = [order[k : k + size] for k in range(0, len(order), size)]
        groups = [
            bucket[np.argsort(self._lengths[bucket], kind="stable")].reshape(-1, self.batch) for bucket in buckets
        ]
        rows = np.concatenate(groups)[rng.permutation(self.batches)]
        for number in range(start, self.batches):
            drawn = np.random.default_rng((self.seed, epoch, number))
            mine = rows[number][self.share[0] :: self.share[1]]
            tokens = [self._thinned(self.sentences.tokens[row], drawn) for row in mine]
            yield sentence_clip(tokens, self.sentences.labels[mine])

    def _thinned(self, tokens: NDArray[np.int64], rng: Generator) -> NDArray[np.int64]:
        kept = tokens[rng.random(len(tokens)) >= self.drop] if self.drop else tokens
        return kept if len(kept) else tokens[:1]


def sentence_clip(tokens: Sequence[NDArray[np.int64]], labels: NDArray[np.int64]) -> TextClip:
    """Sentences as the columns of a batch, each after its mark; the last token of each is scored."""
    longest = max(len(row) for row in tokens) + 1
    inputs = np.full((longest, len(tokens)), DOCUMENT, np.int64)
    scored = np.zeros((longest, len(tokens)), np.bool_)
    for column, row in enumerate(tokens):
        inputs[1 : len(row) + 1, column] = row
        scored[len(row), column] = True
    starts = np.zeros_like(scored)
    starts[0] = True
    label = np.broadcast_to(labels, inputs.shape).copy()
    return TextClip(
        torch.from_numpy(inputs), torch.from_numpy(label), torch.from_numpy(scored),
        torch.ones(len(tokens), dtype=torch.bool), torch.from_numpy(starts),
    )  # fmt: skip


def held_out_sentences(texts: Sequence[str], share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Which texts are for validation: `share` of the longest tenth, and nothing that overlaps with them is learned.

    SST-2's training texts are phrases of sentences: a plain split would ask for phrases whose sentence was seen. Two
    rows of marks, `[2, texts]`: what validation judges, and what training may use: no text that is a phrase of a
    held-out one, or has one as its phrase.
    """
    split = [tuple(text.split()) for text in texts]
    words = np.array([len(text) for text in split])
    long = np.flatnonzero(words >= max(np.quantile(words, 0.9), 1))
    chosen = np.random.default_rng(seed).permutation(long)[: max(round(share * len(long)), 1)]
    held = np.zeros(len(texts), np.bool_)
    held[chosen] = True
    wholes = {split[k] for k in chosen}
    phrases = {text[a:b] for text in wholes for a in range(len(text)) for b in range(a + 1, len(text) + 1)}
    lengths = sorted({len(text) for text in wholes})

    def holds_one(text: tuple[str, ...]) -> bool:
        sizes = (size for size in lengths if size < len(text))
        return any(text[a : a + size] in wholes for size in sizes for a in range(len(text) - size + 1))

    kept = np.array([text not in phrases and not holds_one(text) for text in split])
    return np.stack([held, kept & ~held])
