"""Tokenizers: what is encoded is decoded, streams are whole characters, what is unknown is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError, TextError
from dvs_snn.text import DOCUMENT, ByteBPE, Characters, fingerprint, learn_tokenizer, tokenizer_from
from dvs_snn.text.tokens import MARK

TEXTS = ["Now is the winter of our discontent", "the the the cat", "naïve 漢字 🙂"]


@pytest.fixture(scope="module")
def bpe():
    pytest.importorskip("tokenizers")
    return learn_tokenizer("bpe", 300, TEXTS)


@given(st.text())
def test_characters_round_trip(text):
    if not text:
        return
    tokenizer = Characters(text)
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokens.min() > DOCUMENT and tokens.max() < tokenizer.size


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_bytes_know_every_text(text):
    pytest.importorskip("tokenizers")
    tokenizer = _BPE[0] if _BPE else _BPE.append(learn_tokenizer("bpe", 300, TEXTS)) or _BPE[0]
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    stream = tokenizer.stream()
    assert "".join(stream.push(int(token)) for token in tokens) == text


_BPE: list[ByteBPE] = []


def test_a_character_of_several_tokens_waits_until_it_is_whole(bpe):
    stream = bpe.stream()
    tokens = bpe.tokenizer.encode("鼻").ids  # not in the training text: three bytes
    assert [stream.push(token) for token in tokens] == ["", "", "鼻"]


def test_the_marks_letters_in_a_text_are_letters(bpe):
    tokens = bpe.encode(f"a{MARK}b")
    assert DOCUMENT not in tokens
    assert bpe.decode(tokens) == f"a{MARK}b"


def test_unknown_characters_are_named():
    tokenizer = Characters("abc")
    with pytest.raises(TextError, match=r"'é' \(U\+00E9\), '漢'"):
        tokenizer.encode("abé漢é")


def test_they_survive_the_checkpoint(bpe):
    for tokenizer in (Characters("xyz a"), bpe):
        again = tokenizer_from(tokenizer.to_dict())
        assert again.size == tokenizer.size and fingerprint(again) == fingerprint(tokenizer)
        np.testing.assert_array_equal(again.encode("xyz a"), tokenizer.encode("xyz a"))
    assert fingerprint(Characters("abc")) != fingerprint(Characters("abd"))


@pytest.mark.parametrize(
    "table", [{}, {"kind": "words"}, {"kind": "characters"}, {"kind": "bpe", "tokenizer": {"model": 3}}]
)
def test_a_damaged_description_is_one_clear_error(table):
    if table.get("kind") == "bpe":
        pytest.importorskip("tokenizers")
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        tokenizer_from(table)


def test_bpe_of_fewer_tokens_than_bytes_is_refused():
    pytest.importorskip("tokenizers")
    with pytest.raises(ConfigError, match="at least 257"):
        learn_tokenizer("bpe", 100, TEXTS)
