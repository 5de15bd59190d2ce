"""The splits of a text data set: which file is which, what is held out where there is none, and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError, TextError
from dvs_snn.text.clips import Sentences, held_out_sentences, store_tokens
from dvs_snn.text.documents import READERS, Documents
from dvs_snn.text.recipe import TextDataConfig
from dvs_snn.text.tokens import Tokenizer

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class PackedText:
    """Tokens of a text, each document after its mark, and where they come from."""

    tokens: NDArray[np.unsignedinteger]
    source: str

    def __len__(self) -> int:
        return len(self.tokens)


def split_file(config: TextDataConfig, split: str) -> Path | None:
    """The file of a split: `path` itself if that is a file, else the file in it that the split's name names.

    None where there is none; raises `ConfigError` where there is nothing at all, or two files of that name.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; known: {', '.join(SPLITS)}")
    if not config.path:
        raise ConfigError("no text is given: --data FILE or FOLDER")
    path = Path(config.path)
    if not path.is_dir():
        return path if split == "train" else None
    texts = sorted(file for file in path.iterdir() if file.suffix in READERS)
    named = [file for file in texts if file.stem == getattr(config, split)]
    if len(named) > 1:
        raise ConfigError(f"{path}: {' and '.join(file.name for file in named)} are both the split {split}")
    if named:
        return named[0]
    if split == "train":
        if len(texts) == 1:
            return texts[0]
        raise ConfigError(f"{path}: holds no text named {config.train}{', '.join(READERS)}")
    return None


def training_documents(config: TextDataConfig, labels: Sequence[str] = ()) -> Documents:
    """The file that training reads; its tokenizer is learned from it."""
    file = split_file(config, "train")
    assert file is not None
    return Documents(file, labels, config.cut)


def open_text(config: TextDataConfig, tokenizer: Tokenizer, split: str) -> PackedText:
    """The packed tokens of a split; the test split of a single file is the whole of it.

    Without a validation file the last `held_out` of the training text are validation and are not trained on.
    """
    file = split_file(config, split)
    if file is not None and split != "train":
        return PackedText(store_tokens(Documents(file, cut=config.cut), tokenizer), file.name)
    documents = training_documents(config)
    tokens = store_tokens(documents, tokenizer)
    if split == "test":
        if Path(config.path).is_dir():
            raise ConfigError(f"{config.path}: holds no text of the split {split}")
        return PackedText(tokens, documents.path.name)
    if split_file(config, "validation") is not None:
        return PackedText(tokens, documents.path.name)
    cut = len(tokens) - round(config.held_out * len(tokens))
    part = slice(cut, None) if split == "validation" else slice(cut)
    which = f"the last {config.held_out:g}" if split == "validation" else f"all but the last {config.held_out:g}"
    return PackedText(tokens[part], f"{documents.path.name}, {which}")


def open_sentences(
    config: TextDataConfig, tokenizer: Tokenizer, labels: Sequence[str], split: str, seed: int = 0
) -> Sentences:
    """The labelled sentences of a split; where there is no validation file, see `held_out_sentences`."""
    file = split_file(config, split)
    documents = training_documents(config, labels) if file is None else Documents(file, labels, config.cut)
    if file is None and split == "test" and Path(config.path).is_dir():
        raise ConfigError(f"{config.path}: holds no text of the split {split}")
    pieces = [(piece.text, piece.label) for piece in documents if piece.text]
    source = documents.path.name
    if split in ("train", "validation") and split_file(config, "validation") is None:
        held, kept = held_out_sentences([text for text, _ in pieces], config.held_out, seed)
        marks, share = (held, "held-out sentences") if split == "validation" else (kept, "without held-out sentences")
        pieces = [piece for piece, mark in zip(pieces, marks, strict=True) if mark]
        source = f"{source}, {share}"
    if not pieces:
        raise TextError(f"{documents.path}: no sentences are left for the split {split}")
    tokens = [tokenizer.encode(text) for text, _ in pieces]
    return Sentences(tokens, np.array([label for _, label in pieces], np.int64), source)
