"""A text model is a checkpoint folder like any other, with `tokenizer.json` beside the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.models import build_model, config_dict, model_config
from dvs_snn.nn import Temporal
from dvs_snn.pipeline.checkpoint import TEXT_TASKS, load_weights, open_folder, read_table, write_folder
from dvs_snn.text.tokens import Tokenizer, tokenizer_from

LANGUAGE, SENTENCES = TEXT_TASKS


@dataclass(frozen=True)
class TextModel:
    """A network for tokens with its tokenizer; `labels` are the classes of sentences, none for a language model."""

    task: str
    model: str
    network: Temporal
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    metrics: dict[str, Any]
    path: Path

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self.network.config


def save_text_model(
    path: str | Path,
    task: str,
    model: str,
    network: Temporal,
    tokenizer: Tokenizer,
    labels: tuple[str, ...],
    metrics: dict[str, Any],
) -> None:
    """Write a checkpoint folder; at every moment either the old one or the new one is whole."""
    config: Any = network.config
    table = {"task": task, "model": model, "model_config": config_dict(config), "labels": list(labels)}
    write_folder(path, table, network, metrics, tokenizer=tokenizer.to_dict())


def load_text_model(name: str | Path, task: str | None = None) -> TextModel:
    """Read a text model, by its folder or the name of one that ships with the package; `task` is what it must be for.

    Raises `CheckpointError` when it is missing, damaged, or one for events.
    """
    path, data = open_folder(name)
    found = data.get("task")
    if found not in TEXT_TASKS:
        raise CheckpointError(f"{path}: is a model for events ({found}), not for text; see 'dvs-snn replay'")
    if task is not None and found != task:
        does = "judges sentences, it does not write" if task == LANGUAGE else "writes, it does not judge sentences"
        raise CheckpointError(f"{path}: {does}")
    try:
        network = build_model(data["model"], data["model_config"])
        labels = tuple(map(str, data["labels"]))
        tokenizer = tokenizer_from(read_table(path / "tokenizer.json"))
        config: Any = model_config(data["model"], data["model_config"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: config.json is incomplete: {error}") from None
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if tokenizer.size != config.vocabulary:
        raise CheckpointError(
            f"{path}: a tokenizer of {tokenizer.size} tokens for a network of {config.vocabulary}; "
            "tokenizer.json belongs to another model"
        )
    if config.classes != len(labels):
        raise CheckpointError(f"{path}: {len(labels)} labels for a network of {config.classes} classes")
    load_weights(path, network)
    return TextModel(found, data["model"], network.eval(), tokenizer, labels, read_table(path / "metrics.json"), path)
