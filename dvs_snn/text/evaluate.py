"""A text model judged: loss and accuracy of the next token, or accuracy over sentences; what it costs, if asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from math import exp, log
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dvs_snn.errors import TextError
from dvs_snn.learning import classification, wilson_interval
from dvs_snn.learning.measures import CostMeter
from dvs_snn.nn import State, Temporal
from dvs_snn.text.clips import Sentences, next_token_clip, sentence_clip
from dvs_snn.text.data import PackedText

STREAM = 256
"""Tokens of a stream that are scanned at once."""


def windows_in(text: PackedText, length: int) -> int:
    """How many windows tile a text; raises `TextError` for one shorter than a window."""
    windows = (len(text) - 1) // length
    if windows < 1:
        raise TextError(
            f"{text.source}: has {len(text)} tokens, a window of {length} needs {length + 1}; give more text or a "
            "shorter window (--length, data.length)"
        )
    return windows


@torch.inference_mode()
def evaluate_text(
    network: Temporal,
    text: PackedText,
    length: int,
    batch: int = 64,
    device: torch.device | str = "cpu",
    advance: Callable[[int], object] = lambda count: None,
    meter: CostMeter | None = None,
) -> dict[str, Any]:
    """Mean loss (nats per token) and accuracy over windows of `length` tokens that tile the text, each from rest.

    `n` is the number of tokens foreseen. Raises `TextError` for a text shorter than a window.
    """
    windows = windows_in(text, length)
    network = network.to(device).eval()
    rows = np.arange(length + 1)[:, None] + length * np.arange(windows)[None, :]
    loss = right = 0.0
    for start in range(0, windows, batch):
        clip = next_token_clip(np.asarray(text.tokens[rows[:, start : start + batch]], np.int64)).to(device)
        if meter is not None:
            meter.watch(clip.scored)
            meter.recordings += clip.batch
        with meter or nullcontext():
            logits, _ = clip.scan(network, None)
        logits = logits.flatten(0, 1).float()
        loss += float(F.cross_entropy(logits, clip.labels.flatten(), reduction="sum"))
        right += float((logits.argmax(-1) == clip.labels.flatten()).sum())
        advance(clip.batch)
    return _language_measures(loss, right, windows * length)


@torch.inference_mode()
def evaluate_stream(network: Temporal, text: PackedText, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The same over the text as one stream, token after token with its state kept: memory has no window."""
    network = network.to(device).eval()
    tokens = np.asarray(text.tokens, np.int64)[:, None]
    state: State | None = None
    loss = right = 0.0
    for start in range(0, len(tokens) - 1, STREAM):
        clip = next_token_clip(tokens[start : start + STREAM + 1]).to(device)
        logits, state = clip.scan(network, state)
        logits = logits.flatten(0, 1).float()
        loss += float(F.cross_entropy(logits, clip.labels.flatten(), reduction="sum"))
        right += float((logits.argmax(-1) == clip.labels.flatten()).sum())
    return _language_measures(loss, right, len(tokens) - 1)


def _language_measures(loss: float, right: float, n: int) -> dict[str, Any]:
    low, high = wilson_interval(round(right), n)
    mean = loss / n
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "loss": mean,
        "bits_per_token": mean / log(2),
        "perplexity": exp(min(mean, 700.0)),
    }


@torch.inference_mode()
def evaluate_sentences(
    network: Temporal,
    sentences: Sentences,
    labels: tuple[str, ...],
    batch: int = 64,
    device: torch.device | str = "cpu",
    advance: Callable[[int], object] = lambda count: None,
    meter: CostMeter | None = None,
) -> dict[str, Any]:
    """Accuracy with its interval, confusion, and the mean loss over sentences."""
    network = network.to(device).eval()
    order = np.argsort([len(tokens) for tokens in sentences.tokens], kind="stable")
    decided = np.zeros(len(sentences), np.int64)
    loss = 0.0
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        clip = sentence_clip([sentences.tokens[row] for row in rows], sentences.labels[rows]).to(device)
        ends = clip.scored.int().argmax(0)
        if meter is not None:
            meter.watch(torch.arange(clip.bins, device=ends.device).unsqueeze(1) <= ends)
            meter.recordings += clip.batch
        with meter or nullcontext():
            logits, _ = clip.scan(network, None)
        last: Tensor = logits[ends, torch.arange(clip.batch, device=ends.device)].float()
        truth = torch.from_numpy(sentences.labels[rows]).to(last.device)
        loss += float(F.cross_entropy(last, truth, reduction="sum"))
        decided[rows] = last.argmax(-1).cpu().numpy()
        advance(len(rows))
    found = classification(sentences.labels.tolist(), decided.tolist(), labels)
    return {**found, "loss": loss / len(sentences)}
