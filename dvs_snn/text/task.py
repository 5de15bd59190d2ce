"""A text recipe as a task for the trainer: language models and judges of sentences train like any other network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dvs_snn.errors import ConfigError
from dvs_snn.learning import Loss, Team
from dvs_snn.models import build_model
from dvs_snn.nn import Temporal
from dvs_snn.text.adapt import add_adapters, merged, save_adapter, trained_share
from dvs_snn.text.checkpoint import LANGUAGE, load_text_model, save_text_model
from dvs_snn.text.clips import SentenceLoader, Sentences, WindowLoader
from dvs_snn.text.data import PackedText, open_sentences, open_text, training_documents
from dvs_snn.text.distill import Distilled, open_teacher
from dvs_snn.text.evaluate import evaluate_sentences, evaluate_text, windows_in
from dvs_snn.text.recipe import TextRecipe
from dvs_snn.text.tokens import Tokenizer, fingerprint, learn_tokenizer


class TextTask:
    """Text by a recipe; `team` are the processes that share every batch.

    The tokenizer is that of the checkpoint which training starts from, else learned from the training text.
    """

    def __init__(self, recipe: TextRecipe, team: Team | None = None) -> None:
        team = team or Team()
        share = (team.rank, team.size)
        self.recipe = recipe
        self.tokenizer = self._tokenizer()
        self.loss: Loss = recipe.loss
        self.loader: WindowLoader | SentenceLoader
        self.validation: PackedText | Sentences
        data, batch = recipe.data, recipe.train.batch
        if recipe.task == LANGUAGE:
            train = open_text(data, self.tokenizer, "train")
            self.validation = open_text(data, self.tokenizer, "validation")
            windows = WindowLoader(train.tokens, data.length, batch, data.updates, recipe.seed, share)
            if recipe.distill.logits:
                windows.teacher, manifest = open_teacher(recipe.distill.logits, self.tokenizer, train.tokens)
                self.loss = Distilled(recipe.loss, recipe.distill.weight, float(manifest["temperature"]))
            self.loader = windows
            self.judged = (windows_in(self.validation, data.length), "window")
            sources = (train.source, self.validation.source)
        else:
            sentences = open_sentences(data, self.tokenizer, recipe.labels, "train")
            self.validation = open_sentences(data, self.tokenizer, recipe.labels, "validation")
            self.loader = SentenceLoader(sentences, batch, recipe.seed, data.drop, share)
            self.judged = (len(self.validation), "sentence")
            sources = (sentences.source, self.validation.source)
        self.sources = (f"{sources[0]} (tokenizer {fingerprint(self.tokenizer)})", sources[1])

    def _tokenizer(self) -> Tokenizer:
        recipe = self.recipe
        if recipe.train.start and recipe.adapt.start:
            raise ConfigError("give train.start (all weights learn) or adapt.start (adapters learn), not both")
        if start := recipe.train.start or recipe.adapt.start:
            return load_text_model(start, recipe.task).tokenizer
        texts = training_documents(recipe.data, recipe.labels).texts()
        return learn_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.size, texts)

    def build(self) -> Temporal:
        """The recipe's network with fresh weights, or the one to adapt, with its adapters."""
        adapt = self.recipe.adapt
        if adapt.start:
            return add_adapters(load_text_model(adapt.start, self.recipe.task).network, adapt)
        network = build_model(self.recipe.model, self.recipe.network_config(self.tokenizer.size))
        if self.recipe.embedding_spread:
            for module in network.modules():
                if isinstance(module, torch.nn.Embedding):
                    torch.nn.init.normal_(module.weight, std=self.recipe.embedding_spread)
        return network

    def read(self, start: str) -> tuple[Temporal, Mapping[str, Any]]:
        """The network of a checkpoint and its metrics."""
        model = load_text_model(start, self.recipe.task)
        return model.network, model.metrics

    def validate(self, model: Temporal, device: torch.device, advance: Callable[[int], object]) -> dict[str, Any]:
        """Loss and accuracy on the validation text or sentences."""
        if isinstance(self.validation, PackedText):
            return evaluate_text(model, self.validation, self.recipe.data.length, device=device, advance=advance)
        return evaluate_sentences(model, self.validation, self.recipe.labels, device=device, advance=advance)

    def better(self, measures: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
        """A lower loss for a language model; higher accuracy, then lower loss, for sentences."""
        if self.recipe.task == LANGUAGE:
            return bool(measures["loss"] < best["loss"])
        return bool((measures["accuracy"], -measures["loss"]) > (best["accuracy"], -best["loss"]))

    def save(self, path: Path, model: Temporal, metrics: dict[str, Any]) -> None:
        """Write a text model; an adapted one merged, its adapter in a folder beside it."""
        recipe, name = self.recipe, self.recipe.model
        if recipe.adapt.start:
            save_adapter(path.parent / "adapter", model, recipe.adapt)
            metrics = {**metrics, "adapted_from": recipe.adapt.start, "trained_share": trained_share(model)}
            model, name = merged(model), load_text_model(recipe.adapt.start).model
        save_text_model(path, recipe.task, name, model, self.tokenizer, recipe.labels, metrics)
