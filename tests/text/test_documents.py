"""Files become documents as a stream, then packed windows or sentences; what is broken is said with its line."""

import json

import numpy as np
import pytest

from dvs_snn.errors import ConfigError, TextError
from dvs_snn.text import (
    DOCUMENT,
    Characters,
    Documents,
    SentenceLoader,
    Sentences,
    TextDataConfig,
    WindowLoader,
    open_text,
    sentence_clip,
    store_tokens,
)
from dvs_snn.text.clips import held_out_sentences
from tests.text.tiny import chant

LABELS = ("bad", "good")


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_three_formats_say_the_same(tmp_path):
    rows = [("one", 0), ("two words", 1), ('a "quote" \'inside', 1)]
    tsv = write(tmp_path / "a.tsv", "label\tsentence\n" + "".join(f"{label}\t{text}\n" for text, label in rows))
    jsonl = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": t, "label": LABELS[n]}) + "\n\n" for t, n in rows))
    txt = write(tmp_path / "a.txt", "\n".join(text for text, _ in rows))
    for documents in (Documents(tsv, LABELS), Documents(jsonl, LABELS)):
        assert [(piece.text, piece.label) for piece in documents] == rows
        assert list(documents.texts()) == list(documents.texts()), "a file can be read again"
    assert list(Documents(txt, cut="line").texts()) == [text for text, _ in rows]


def test_a_long_text_comes_in_pieces_that_are_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("dvs_snn.text.documents.PIECE_BYTES", 7)
    text = "naïve 漢字 🙂 " * 20
    pieces = list(Documents(write(tmp_path / "a.txt", text)))
    assert len(pieces) > 20 and "".join(piece.text for piece in pieces) == text
    assert [piece.first for piece in pieces] == [True] + [False] * (len(pieces) - 1)


def test_paragraphs_are_documents(tmp_path):
    path = write(tmp_path / "a.txt", "a\nb\n\n\nc\n")
    assert list(Documents(path, cut="paragraph").texts()) == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "is empty"),
        ("a.txt", "  \n ", "is empty"),
        ("a.txt", b"abc\xff\xfedef", "not UTF-8"),
        ("a.tsv", "", "is empty"),
        ("a.tsv", "label\ttext\n", "is empty"),
        ("a.tsv", "label\tstuff\n1\tx\n", "no column text, sentence, content"),
        ("a.tsv", "text\nx\n", "no column label"),
        ("a.tsv", "label\ttext\n1\tx\ty\n", "line 2: 3 cells"),
        ("a.tsv", "label\ttext\nmaybe\tx\n", "line 2: label 'maybe' is none of bad, good"),
        ("a.tsv", b"label\ttext\n1\t\xff\n", "line 2: is not UTF-8"),
        ("a.jsonl", '{"text": "x"\n', "line 1: is not JSON"),
        ("a.jsonl", '{"label": 1}\n', "line 1: needs a text"),
        ("a.jsonl", '{"text": "x"}\n', "line 1: has no label"),
    ],
)
def test_broken_files_say_what_and_where(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(TextError, match=message):
        list(Documents(path, () if name.endswith("txt") else LABELS))


def test_what_is_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\.txt, \.tsv, \.jsonl"):
        Documents(write(tmp_path / "a.pdf", "x"))
    with pytest.raises(TextError, match="no such file"):
        Documents(tmp_path / "a.txt")


def test_packed_text_marks_where_documents_begin(tmp_path):
    tokenizer = Characters("abc")
    tokens = store_tokens(Documents(write(tmp_path / "a.txt", "ab\n\nc\n"), cut="line"), tokenizer)
    assert tokens.tolist() == [DOCUMENT, 1, 2, DOCUMENT, 3]


def test_a_window_asks_for_the_next_token_and_resets_at_marks(tmp_path):
    tokens = np.array([0, 1, 2, 3, 0, 4, 5, 6], np.uint16)
    clip = WindowLoader(tokens, 5, 1, 1, seed=0).at(np.array([1]))
    assert clip.inputs[:, 0].tolist() == [1, 2, 3, 0, 4]
    assert clip.labels[:, 0].tolist() == [2, 3, 0, 4, 5]
    assert clip.starts[:, 0].tolist() == [False, False, False, True, False]
    assert clip.between(3, 5).starts[:, 0].tolist() == [True, False]


def test_a_resumed_epoch_gives_the_same_batches():
    loader = WindowLoader(np.arange(1, 200, dtype=np.uint16), 8, 4, 6, seed=5)
    whole, rest = list(loader.epoch(1)), list(loader.epoch(1, 4))
    assert all((a.inputs == b.inputs).all() for a, b in zip(whole[4:], rest, strict=True))
    assert not (whole[0].inputs == next(iter(loader.epoch(2))).inputs).all()


def test_two_processes_make_the_batch_of_one():
    tokens = np.arange(1, 200, dtype=np.uint16)
    whole = next(iter(WindowLoader(tokens, 8, 4, 6, seed=5).epoch(0)))
    parts = [next(iter(WindowLoader(tokens, 8, 4, 6, seed=5, share=(k, 2)).epoch(0))) for k in (0, 1)]
    assert all((part.inputs == whole.inputs[:, k::2]).all() for k, part in enumerate(parts))


def test_text_shorter_than_a_window_is_refused():
    with pytest.raises(TextError, match="9 tokens, a window needs 17"):
        WindowLoader(np.zeros(9, np.uint16), 16, 1, 1, seed=0)


def test_held_out_text_is_not_trained_on(tmp_path):
    path = write(tmp_path / "a.txt", chant(1000))
    tokenizer = Characters(chant(1000))
    parts = [open_text(TextDataConfig(str(path), held_out=0.2), tokenizer, split) for split in ("train", "validation")]
    assert np.concatenate([part.tokens for part in parts]).tolist() == [0, *tokenizer.encode(chant(1000))]
    assert len(parts[1]) == 200


def test_sentences_are_judged_at_their_last_token():
    clip = sentence_clip([np.array([1, 2]), np.array([3])], np.array([0, 1]))
    assert clip.inputs.T.tolist() == [[0, 1, 2], [0, 3, 0]]
    assert clip.scored.T.tolist() == [[False, False, True], [False, True, False]]
    assert clip.starts.T.tolist() == [[True, False, False]] * 2, "padding begins no document"


def test_every_sentence_comes_once_in_an_epoch():
    rng = np.random.default_rng(0)
    tokens = [np.full(int(n), k + 1) for k, n in enumerate(rng.integers(1, 30, 24))]
    loader = SentenceLoader(Sentences(tokens, np.zeros(24, np.int64), "test"), 4, seed=1)
    seen = [int(column[1]) for clip in loader.epoch(0) for column in clip.inputs.T]
    assert sorted(seen) == list(range(1, 25))


def test_no_phrase_of_a_held_out_sentence_is_trained_on():
    rng = np.random.default_rng(1)
    sentences = [" ".join(map(str, rng.integers(0, 500, 20))) for _ in range(30)]
    phrases = [" ".join(s.split()[a : a + n]) for s in sentences for a, n in rng.integers((0, 1), (15, 6), (12, 2))]
    texts = sentences + phrases + [f"so {sentence}" for sentence in sentences]
    held, kept = held_out_sentences(texts, 0.3)
    validation = [f" {text} " for text, mark in zip(texts, held, strict=True) if mark]
    assert validation and not (held & kept).any() and kept.sum() > len(texts) // 3
    for text in (text for text, mark in zip(texts, kept, strict=True) if mark):
        assert not any(f" {text} " in other or other in f" {text} " for other in validation)
