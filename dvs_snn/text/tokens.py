"""Text becomes token numbers and back: characters, or byte-level BPE; both travel in the checkpoint's `tokenizer.json`.

Number 0 is the document mark in both: it begins every document, and foreseeing it means that the document ends.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError, TextError

DOCUMENT = 0
"""Number of the document mark."""
MARK = "<|document|>"
"""How the mark is written in a BPE vocabulary; the same letters in a text are plain text."""
SHOWN = 5
Numbers: TypeAlias = Iterable[int] | NDArray[np.int64]


@runtime_checkable
class TextStream(Protocol):
    """Turns tokens into text one by one; what is not yet a whole character waits for the next token."""

    def push(self, token: int) -> str: ...


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token numbers below `size` and back: `decode(encode(text)) == text`."""

    @property
    def kind(self) -> str: ...
    @property
    def size(self) -> int: ...
    def encode(self, text: str) -> NDArray[np.int64]: ...
    def decode(self, tokens: Numbers) -> str: ...
    def stream(self) -> TextStream: ...
    def to_dict(self) -> dict[str, Any]: ...


class Characters:
    """One number per character that the training text had; raises `TextError` for any other."""

    kind = "characters"

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = sorted(set(characters))
        if not self.characters:
            raise TextError("a tokenizer of characters needs a text with at least one")
        self._codes = np.array([ord(character) for character in self.characters], np.uint32)

    @property
    def size(self) -> int:
        """Characters, and the document mark."""
        return len(self.characters) + 1

    def encode(self, text: str) -> NDArray[np.int64]:
        """Numbers 1 and up; raises `TextError` that names the characters it does not know."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        places = np.searchsorted(self._codes, codes)
        known = self._codes[np.minimum(places, len(self._codes) - 1)] == codes
        if not known.all():
            unknown = list(dict.fromkeys(text[place] for place in np.flatnonzero(~known)))
            named = ", ".join(map(_named, unknown[:SHOWN])) + (", ..." if len(unknown) > SHOWN else "")
            raise TextError(
                f"the model does not know the characters {named}: leave them out, "
                "or use a model with byte-level tokens (tokenizer.kind=bpe)"
            )
        return places.astype(np.int64) + 1

    def decode(self, tokens: Numbers) -> str:
        """Text; document marks are nothing."""
        return "".join(self.push(int(token)) for token in tokens)

    def push(self, token: int) -> str:
        """The character of one token."""
        return self.characters[token - 1] if token != DOCUMENT else ""

    def stream(self) -> TextStream:
        """A character is whole at once, so this is the tokenizer itself."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, "characters": "".join(self.characters)}


class ByteBPE:
    """Byte-level byte-pair encoding of any text (Sennrich et al. 2016; of bytes: Radford et al. 2019).

    Needs the package `tokenizers` (the extra `text`).
    """

    kind = "bpe"

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # the mark's letters in a text are letters
        self._bytes = {value: key for key, value in _byte_letters().items()}
        self.size = int(tokenizer.get_vocab_size())

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> ByteBPE:
        """Merges learned from texts; `size` counts the mark and the 256 bytes too."""
        library = _library()
        if size < 257:
            raise ConfigError(f"tokenizer.size is {size}: byte-level BPE has at least 257 tokens")
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size, special_tokens=[MARK], show_progress=False,
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Numbers 1 and up."""
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, tokens: Numbers) -> str:
        """Text; bytes that are no character become the replacement character."""
        return self.bytes_of(tokens).decode("utf-8", "replace")

    def bytes_of(self, tokens: Numbers) -> bytes:
        """The bytes that tokens stand for; document marks are none."""
        letters = (self.tokenizer.id_to_token(int(token)) for token in tokens if token != DOCUMENT)
        return bytes(self._bytes[letter] for token in letters for letter in token)

    def stream(self) -> TextStream:
        """A decoder that holds back the bytes of an unfinished character."""
        return _ByteStream(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, "tokenizer": json.loads(self.tokenizer.to_str())}


class _ByteStream:
    def __init__(self, tokenizer: ByteBPE) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(self._tokenizer.bytes_of((token,)))


def tokenizer_from(table: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `to_dict` described; raises `ConfigError` for what none described."""
    kind = table.get("kind")
    try:
        if kind == Characters.kind:
            return Characters(table["characters"])
        if kind == ByteBPE.kind:
            return ByteBPE(_library().Tokenizer.from_str(json.dumps(table["tokenizer"])))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"tokenizer.json is incomplete: {error}") from None
    except ConfigError:
        raise
    except Exception as error:  # the library raises plain Exception for a damaged description
        raise ConfigError(f"tokenizer.json cannot be used: {error}") from None
    raise ConfigError(f"tokenizer.json has kind {kind!r}; known: {Characters.kind}, {ByteBPE.kind}")


def learn_tokenizer(kind: str, size: int, texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of a kind for these texts."""
    if kind == Characters.kind:
        found: set[str] = set()
        for text in texts:
            found.update(text)
        return Characters(found)
    if kind == ByteBPE.kind:
        return ByteBPE.learn(texts, size)
    raise ConfigError(f"tokenizer.kind {kind!r} is unknown; known: {Characters.kind}, {ByteBPE.kind}")


def fingerprint(tokenizer: Tokenizer) -> str:
    """Equal for tokenizers that give equal numbers; stored with all that was made of their numbers."""
    text = json.dumps(tokenizer.to_dict(), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@lru_cache(1)
def _byte_letters() -> dict[int, str]:
    """The printable letter of each byte in byte-level vocabularies: itself where it prints, else one from 256 on."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others: Iterator[int] = (byte for byte in range(256) if byte not in printing)
    return {**{byte: chr(byte) for byte in printing}, **{byte: chr(256 + k) for k, byte in enumerate(others)}}


def _named(character: str) -> str:
    return f"{character!r} (U+{ord(character):04X})"


def _library() -> Any:
    try:
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise ConfigError("byte-level BPE needs the package 'tokenizers': pip install 'dvs_snn[text]'") from None
    del decoders, models, pre_tokenizers, trainers  # sub-modules are attributes once imported
    return tokenizers


def joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Documents one after another, each after its mark."""
    mark = np.array([DOCUMENT], np.int64)
    return np.concatenate([piece for part in parts for piece in (mark, part)])
