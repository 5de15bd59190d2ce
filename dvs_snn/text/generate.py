"""Generation: one token after another with recurrent state, so each costs the same time and memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.nn import State
from dvs_snn.text.checkpoint import TextModel
from dvs_snn.text.event_step import EventStep, can_compile
from dvs_snn.text.tokens import DOCUMENT

READ = 512
"""Tokens of a prompt that are scanned at once."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. `temperature` 0 takes the likeliest.

    `top_k` keeps the k likeliest (0: all), `top_p` the smallest set of likeliest tokens whose shares reach it (nucleus
    sampling, Holtzman et al. 2020). The same `seed` draws the same text; None draws a new one each time.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ConfigError(f"temperature is {self.temperature:g}: must not be negative")
        if self.top_k < 0:
            raise ConfigError(f"top-k is {self.top_k}: must not be negative")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top-p is {self.top_p:g}: must lie above 0, up to 1")

    def generator(self) -> torch.Generator:
        """Fresh random numbers for one text."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


def probabilities(logits: Float[Tensor, " tokens"], sampling: Sampling) -> Float[Tensor, " tokens"]:
    """The shares that tokens are drawn with; they sum to 1."""
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter(0, logits.argmax(0, keepdim=True), 1.0)
    shares = torch.softmax(logits / sampling.temperature, 0)
    if 0 < sampling.top_k < len(shares):
        least = shares.topk(sampling.top_k).values[-1]
        shares = shares.masked_fill(shares < least, 0)
    if sampling.top_p < 1:
        ordered, places = (shares / shares.sum()).sort(descending=True)
        before = ordered.cumsum(0) - ordered
        shares = shares.masked_fill(
            torch.zeros_like(shares, dtype=torch.bool).scatter(0, places, before >= sampling.top_p), 0
        )
    return shares / shares.sum()


class Writer:
    """Reads and writes one document; its `state` is all it remembers, of the same size after any number of tokens.

    `compiled` takes `EventStep` where it knows the network, else every token is `network.step`.
    """

    def __init__(self, model: TextModel, sampling: Sampling | None = None, compiled: bool = True) -> None:
        self.model, self.sampling = model, sampling or Sampling()
        self._event = EventStep(model.network) if compiled and can_compile(model.network) else None
        self.reset()

    def reset(self) -> None:
        """Begin a new document: state at rest, random numbers anew."""
        self._state: State | None = None
        if self._event is not None:
            self._event.load(self.model.network.initial_state(1, ()))
            self._event.spikes = 0
        self._taken = 0
        self.random = self.sampling.generator()
        self.logits = self.read([DOCUMENT])

    @torch.inference_mode()
    def read(self, tokens: Iterable[int]) -> Float[Tensor, " tokens"]:
        """Take tokens in; returns the logits of what may follow."""
        if self._event is not None:
            for token in tokens:
                self.step(int(token))
            return self.logits
        numbers = torch.tensor(list(map(int, tokens)), dtype=torch.int64)
        for part in numbers.split(READ):
            logits, self._state = self.model.network(part.unsqueeze(1), self._state)
            self.logits = logits[-1, 0].float()
            self._taken += len(part)
        return self.logits

    @torch.inference_mode()
    def write(self) -> int:
        """Draw the next token and take it in; `DOCUMENT` says that the document ends here."""
        token = int(torch.multinomial(probabilities(self.logits, self.sampling), 1, generator=self.random))
        if token != DOCUMENT:
            self.step(token)
        return token

    @torch.inference_mode()
    def step(self, token: int) -> None:
        """Take in one token."""
        self._taken += 1
        if self._event is not None:
            self.logits = self._event(token)
            return
        logits, self._state = self.model.network.step(self._one(token), self._state)
        self.logits = logits[0].float()

    @property
    def state(self) -> State | None:
        """The network's state after the last token."""
        return self._state if self._event is None else self._event.dump()

    @property
    def rate(self) -> float | None:
        """Spikes per neuron and token of this document, where they are counted."""
        event = self._event
        return None if event is None else event.spikes / (event.neurons * max(self._taken, 1))

    def _one(self, token: int) -> Int64[Tensor, " one"]:
        return torch.tensor([token])

    def stream(self, prompt: str, tokens: int, stop: str | Sequence[str] = "") -> Iterator[str]:
        """Read a prompt and write up to `tokens` tokens, in whole characters, until a `stop` (not given out)."""
        if prompt:
            self.read(self.model.tokenizer.encode(prompt).tolist())
        stops = [end for end in ([stop] if isinstance(stop, str) else stop) if end]
        decoder = self.model.tokenizer.stream()
        held = ""
        for _ in range(tokens):
            token = self.write()
            if token == DOCUMENT:
                break
            held += decoder.push(token)
            if found := [held.index(end) for end in stops if end in held]:
                if first := held[: min(found)]:
                    yield first
                return
            keep = max((_overlap(held, end) for end in stops), default=0)
            if len(held) > keep:
                yield held[: len(held) - keep]
                held = held[len(held) - keep :]
        if held:
            yield held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`: it may yet become the stop."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
