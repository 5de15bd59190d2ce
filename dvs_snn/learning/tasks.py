"""What a `Trainer` trains: batches, a network, how it is judged and kept; recordings of events are one kind of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from dvs_snn.learning.clips import Clip
from dvs_snn.learning.evaluate import evaluate
from dvs_snn.learning.loader import ClipLoader, Encoding
from dvs_snn.learning.losses import Loss
from dvs_snn.learning.optimizers import OptimizerConfig
from dvs_snn.learning.recipe import Recipe, TrainConfig
from dvs_snn.learning.recordings import RecordingSet
from dvs_snn.learning.rules import RuleConfig
from dvs_snn.learning.team import Team
from dvs_snn.models import build_model
from dvs_snn.nn import Temporal
from dvs_snn.pipeline import load_checkpoint, save_checkpoint


@runtime_checkable
class TrainingRecipe(Protocol):
    """The sections that every training run has, whatever it trains on."""

    @property
    def seed(self) -> int: ...
    @property
    def rule(self) -> RuleConfig: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def train(self) -> TrainConfig: ...
    def to_dict(self) -> dict[str, Any]: ...
    @staticmethod
    def completed(values: Mapping[str, Any]) -> dict[str, Any]: ...


@runtime_checkable
class Batches(Protocol):
    """Batches of an epoch in an order fixed by seed and epoch; `start` is the first one of a resumed run."""

    @property
    def batches(self) -> int: ...
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Clip]: ...


@runtime_checkable
class Task(Protocol):
    """A recipe with its data: what there is to learn from, the network, its judge, its checkpoint."""

    @property
    def recipe(self) -> TrainingRecipe: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def loader(self) -> Batches: ...
    @property
    def sources(self) -> tuple[str, str]:
        """Where training and validation data come from: a run is resumed on the same only."""
        ...

    @property
    def judged(self) -> tuple[int, str]:
        """How many things `validate` judges, and what one is called."""
        ...

    def build(self) -> Temporal: ...
    def read(self, start: str) -> tuple[Temporal, Mapping[str, Any]]:
        """The network of a checkpoint and its metrics."""
        ...

    def validate(self, model: Temporal, device: torch.device, advance: Callable[[int], object]) -> dict[str, Any]:
        """Measures, among them `accuracy`, its interval, `loss` and `n`."""
        ...

    def better(self, measures: Mapping[str, Any], best: Mapping[str, Any]) -> bool: ...
    def save(self, path: Path, model: Temporal, metrics: dict[str, Any]) -> None: ...


class EventTask:
    """Recordings of events by a recipe; `team` are the processes that share every batch."""

    def __init__(self, recipe: Recipe, train: RecordingSet, validation: RecordingSet, team: Team | None = None) -> None:
        team = team or Team()
        self.recipe, self.validation, self.loss = recipe, validation, recipe.loss
        config = recipe.pipeline
        self.loader = ClipLoader(
            train, Encoding(config.representation, config.sensor, config.bin_us), recipe.clips, recipe.augment,
            recipe.train.batch, recipe.seed, threads=recipe.train.loader_threads, share=(team.rank, team.size),
        )  # fmt: skip
        self.sources = (train.source, validation.source)
        self.judged = (len(validation), "recording")

    def build(self) -> Temporal:
        """The recipe's network with fresh weights."""
        return build_model(self.recipe.pipeline.model, self.recipe.pipeline.model_config)

    def read(self, start: str) -> tuple[Temporal, Mapping[str, Any]]:
        """The network of a checkpoint and its metrics."""
        checkpoint = load_checkpoint(start)
        return checkpoint.model, checkpoint.metrics

    def validate(self, model: Temporal, device: torch.device, advance: Callable[[int], object]) -> dict[str, Any]:
        """What `evaluate` finds on the validation recordings."""
        return evaluate(self.recipe.pipeline, model, self.validation, device=device, advance=advance)

    def better(self, measures: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
        """Higher accuracy, or the same accuracy at a lower loss."""
        return (measures["accuracy"], -measures["loss"]) > (best["accuracy"], -best["loss"])

    def save(self, path: Path, model: Temporal, metrics: dict[str, Any]) -> None:
        """Write a checkpoint of the pipeline."""
        save_checkpoint(path, self.recipe.pipeline, model, metrics)
