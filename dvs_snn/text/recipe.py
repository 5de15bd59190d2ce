"""A recipe of a text model: data, tokenizer, network, and the same loss, rule, optimizer and schedule as any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dvs_snn.errors import ConfigError
from dvs_snn.learning import CrossEntropy, OptimizerConfig, RuleConfig
from dvs_snn.learning.recipe import TrainConfig, build_section, read_recipe
from dvs_snn.models import config_dict, model_config
from dvs_snn.pipeline.checkpoint import TEXT_TASKS
from dvs_snn.pipeline.config import refuse_unknown


@dataclass(frozen=True)
class TokenizerConfig:
    """`characters`, or `bpe` with `size` tokens, learned from the training text."""

    kind: str = "characters"
    size: int = 1024

    def __post_init__(self) -> None:
        if self.kind not in ("characters", "bpe"):
            raise ConfigError(f"tokenizer.kind is {self.kind!r}: must be characters or bpe")


@dataclass(frozen=True)
class TextDataConfig:
    """Which files. `path` is a file, or a folder with files named after splits (`train`, `validation`, `test`).

    Where there is no validation file, `held_out` of the training data is kept for it: the end of a text, or whole
    sentences. `cut` says what a document is in a plain text: file, line or paragraph. A language model trains on
    windows of `length` tokens, `updates` batches to an epoch (0: as many as cover the text once). `drop` leaves out
    each token of a training sentence with this probability.
    """

    path: str = ""
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    held_out: float = 0.1
    cut: str = "file"
    length: int = 64
    updates: int = 0
    drop: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1 or not 0 <= self.drop < 1:
            raise ConfigError("data: held_out must lie between 0 and 1, drop in 0..1")
        if self.length < 1 or self.updates < 0:
            raise ConfigError("data: length must be at least 1, updates must not be negative")


@dataclass(frozen=True)
class DistillConfig:
    """`logits`: a folder that `dvs-snn text distill` wrote; loss `(1 - w) CE + w T² KD` (Hinton et al. 2015)."""

    logits: str = ""
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ConfigError(f"distill.weight is {self.weight}: must lie in 0..1")


@dataclass(frozen=True)
class AdaptConfig:
    """Low-rank adaptation (LoRA, Hu et al. 2022) of the checkpoint `start`: only the adapters learn, and thresholds.

    `rank` of the adapters of every synapse layer (`targets`: names of linear layers), scaled by `alpha / rank`;
    `thresholds` lets the neurons' thresholds learn too.
    """

    start: str = ""
    rank: int = 2
    alpha: float = 8.0
    targets: tuple[str, ...] = ("mixer_out", "hidden_in", "hidden_out")
    thresholds: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ConfigError("adapt: rank must be at least 1, alpha above zero")


@dataclass(frozen=True)
class TextRecipe:
    """One training run of a text model, complete.

    `embedding_spread` is the standard deviation of the token vectors at the start (0: the network's own choice); small
    vectors let rare words weigh little.
    """

    name: str
    task: str = "language"
    seed: int = 1
    model: str = "text"
    labels: tuple[str, ...] = ()
    embedding_spread: float = 0.0
    model_config: dict[str, Any] = field(default_factory=dict)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: TextDataConfig = field(default_factory=TextDataConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    loss: CrossEntropy = field(default_factory=lambda: CrossEntropy(label_smoothing=0.0))
    rule: RuleConfig = field(default_factory=RuleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.task not in TEXT_TASKS:
            raise ConfigError(f"task is {self.task!r}: must be one of {', '.join(TEXT_TASKS)}")
        if (self.task == "sentences") != (len(self.labels) > 1):
            raise ConfigError("labels: the task 'sentences' needs two or more, the task 'language' has none")
        if self.distill.logits and self.task != "language":
            raise ConfigError("distill: is for the task 'language'")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every default written out; `text_recipe_from` reads them back."""
        plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(_lists(asdict(self))))
        return plain

    @staticmethod
    def completed(values: Mapping[str, Any]) -> dict[str, Any]:
        """What `to_dict` of an earlier version wrote, with the defaults of the options that it did not know."""
        return text_recipe_from(values).to_dict()

    def network_config(self, vocabulary: int) -> dict[str, Any]:
        """The network's options with the sizes that data and labels decide."""
        return {**self.model_config, "vocabulary": vocabulary, "classes": len(self.labels)}


SECTIONS: dict[str, type] = {
    "tokenizer": TokenizerConfig,
    "data": TextDataConfig,
    "distill": DistillConfig,
    "adapt": AdaptConfig,
    "loss": CrossEntropy,
    "rule": RuleConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
}


def shipped_text_recipes() -> dict[str, Path]:
    """The recipes of text models that come with the package, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}


def load_text_recipe(name: str, overrides: Sequence[str] = (), data: str | None = None) -> TextRecipe:
    """Read a recipe file, or a shipped one by its name, apply `key=value` overrides; `data` replaces its `data.path`.

    Raises `ConfigError` that names the recipe and the key.
    """
    extra = [f"data.path={yaml.safe_dump(data).splitlines()[0]}"] if data else []
    return read_recipe(name, shipped_text_recipes(), [*overrides, *extra], text_recipe_from)


def text_recipe_from(values: Mapping[str, Any]) -> TextRecipe:
    """A recipe from plain values; raises `ConfigError` that names an unknown key or a value of the wrong type."""
    refuse_unknown(TextRecipe, values, "recipe")
    found: dict[str, Any] = dict(values)
    for key, kind in SECTIONS.items():
        if key in found:
            section = found[key]
            if key == "loss" and isinstance(section, Mapping):
                section = {"label_smoothing": 0.0, **section}
            found[key] = build_section(kind, section, key)
    for key, wanted in {"name": str, "task": str, "model": str, "seed": int}.items():
        if key in found and type(found[key]) is not wanted:
            raise ConfigError(f"{key} is {found[key]!r}: must be {'a word' if wanted is str else 'an integer'}")
    spread = found.get("embedding_spread", 0.0)
    if type(spread) not in (int, float) or not spread >= 0:
        raise ConfigError(f"embedding_spread is {spread!r}: must be a number, not negative")
    found["embedding_spread"] = float(spread)
    labels = found.get("labels", ())
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ConfigError("labels must be a list of words")
    found["labels"] = tuple(labels)
    recipe = TextRecipe(**found)
    options = recipe.network_config(max(int(recipe.model_config.get("vocabulary", 2)), 2))
    config_dict(model_config(recipe.model, options))  # refuses what the network does not have
    return recipe


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(entry) for key, entry in value.items()}
    return [_lists(entry) for entry in value] if isinstance(value, list | tuple) else value
