"""Local text files as documents, read as a stream: `.txt`, `.tsv` and `.jsonl`, with labels where they have them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dvs_snn.errors import ConfigError, TextError

PIECE_BYTES = 1 << 18
"""Bytes of a plain text that are in memory at once."""
TEXT_COLUMNS = ("text", "sentence", "content")
LABEL_COLUMN = "label"


@dataclass(frozen=True)
class Piece:
    """A part of a document; `first` where one begins, `label` the index of its class or -1."""

    text: str
    first: bool
    label: int = -1


class Documents:
    """A file's pieces, anew at each iteration, in constant memory.

    `.txt` is one document (`cut` "file"), or one per "line" or "paragraph" (empty lines between). `.tsv` has a header
    and a document per row, without quoting; `.jsonl` an object per line. The text is in the column or key `text`,
    `sentence` or `content`, its class in `label`: a number or one of `labels`.

    Raises `TextError` for a file that is missing, empty, not UTF-8 or broken, with the line where that is.
    """

    def __init__(self, path: str | Path, labels: Sequence[str] = (), cut: str = "file") -> None:
        self.path, self.labels, self.cut = Path(path), tuple(labels), cut
        if self.path.suffix not in READERS:
            raise ConfigError(f"{self.path}: text is read from {', '.join(READERS)} files")
        if cut not in ("file", "line", "paragraph"):
            raise ConfigError(f"data.cut is {cut!r}: must be file, line or paragraph")
        if labels and self.path.suffix == ".txt":
            raise ConfigError(f"{self.path}: a .txt file has no labels; give .tsv or .jsonl")
        if not self.path.is_file():
            raise TextError(f"{self.path}: no such file")

    def __iter__(self) -> Iterator[Piece]:
        empty = True
        with open(self.path, "rb") as file:
            for piece in READERS[self.path.suffix](self, file):
                empty = empty and not piece.text.strip()
                yield piece
        if empty:
            raise TextError(f"{self.path}: is empty, there is no text in it")

    def texts(self) -> Iterator[str]:
        """The texts alone."""
        return (piece.text for piece in self)

    def label(self, value: object, line: int) -> int:
        """The index of a class from what the file says."""
        if not self.labels:
            return -1
        if str(value) in self.labels:
            return self.labels.index(str(value))
        try:
            index = int(str(value))
        except ValueError:
            index = -1
        if not 0 <= index < len(self.labels):
            raise TextError(f"{self.path}, line {line}: label {value!r} is none of {', '.join(self.labels)}")
        return index


def _lines(documents: Documents, file: BinaryIO) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise TextError(f"{documents.path}, line {number}: is not UTF-8 text ({error.reason})") from None


def _read_txt(documents: Documents, file: BinaryIO) -> Iterator[Piece]:
    if documents.cut == "file":
        yield from _read_whole(documents, file)
        return
    paragraph: list[str] = []
    for _, line in _lines(documents, file):
        if documents.cut == "line":
            if line.strip():
                yield Piece(line, True)
        elif line.strip():
            paragraph.append(line)
        elif paragraph:
            yield Piece("\n".join(paragraph), True)
            paragraph = []
    if paragraph:
        yield Piece("\n".join(paragraph), True)


def _read_whole(documents: Documents, file: BinaryIO) -> Iterator[Piece]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    first, at = True, 0
    while True:
        data = file.read(PIECE_BYTES)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise TextError(f"{documents.path}: is not UTF-8 text (near byte {at + error.start})") from None
        at += len(data)
        if text:
            yield Piece(text, first)
            first = False
        if not data:
            return


def _read_tsv(documents: Documents, file: BinaryIO) -> Iterator[Piece]:
    rows = _lines(documents, file)
    header = next(rows, (1, ""))[1].split("\t")
    column = next((name for name in TEXT_COLUMNS if name in header), None)
    if header == [""]:
        return
    if column is None:
        raise TextError(f"{documents.path}: no column {', '.join(TEXT_COLUMNS)}; its first line must name the columns")
    if documents.labels and LABEL_COLUMN not in header:
        raise TextError(f"{documents.path}: no column {LABEL_COLUMN}")
    for number, row in rows:
        if not row:
            continue
        cells = row.split("\t")
        if len(cells) != len(header):
            raise TextError(f"{documents.path}, line {number}: {len(cells)} cells, the header has {len(header)}")
        label = documents.label(cells[header.index(LABEL_COLUMN)], number) if documents.labels else -1
        yield Piece(cells[header.index(column)].strip(), True, label)


def _read_jsonl(documents: Documents, file: BinaryIO) -> Iterator[Piece]:
    for number, line in _lines(documents, file):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise TextError(f"{documents.path}, line {number}: is not JSON: {error.msg}") from None
        key = next((name for name in TEXT_COLUMNS if isinstance(entry, dict) and name in entry), None)
        if key is None or not isinstance(entry[key], str):
            raise TextError(f"{documents.path}, line {number}: needs a text under {' or '.join(TEXT_COLUMNS)}")
        if documents.labels and LABEL_COLUMN not in entry:
            raise TextError(f"{documents.path}, line {number}: has no {LABEL_COLUMN}")
        yield Piece(entry[key], True, documents.label(entry.get(LABEL_COLUMN), number))


READERS: dict[str, Callable[[Documents, BinaryIO], Iterator[Piece]]] = {
    ".txt": _read_txt,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
}
