"""A recipe is all that decides a training run: data, clips, network, rule, schedule, seed; a YAML file, validated.

Unknown keys and values of the wrong type are errors that name the key; `key=value` on the command line replaces one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from dvs_snn.errors import ConfigError
from dvs_snn.learning.augment import MIRRORED, Augmentation
from dvs_snn.learning.augment_cochlea import CochleaAugmentation
from dvs_snn.learning.data.tonic_door import parse_steps
from dvs_snn.learning.datasets import DATASETS, DataConfig, data_in
from dvs_snn.learning.loader import ClipConfig
from dvs_snn.learning.losses import CrossEntropy
from dvs_snn.learning.optimizers import OptimizerConfig
from dvs_snn.learning.rules import RuleConfig
from dvs_snn.learning.tracking_targets import CentreLoss
from dvs_snn.models import TWIN, model_config
from dvs_snn.pipeline import PipelineConfig
from dvs_snn.pipeline.config import refuse_unknown

Section = TypeVar("Section")
Built = TypeVar("Built")


@dataclass(frozen=True)
class TrainConfig:
    """How long and how often. `patience` epochs without a better validation end the run (0: never).

    `ema` is the decay of the averaged weights, which are validated and kept (0: the weights themselves);
    `checkpoint_minutes` is how much work a cut run can lose at most; `threads` 0 is torch's own choice. `start` is a
    checkpoint (a folder or a shipped name) whose weights the run begins with, empty for fresh ones. `keep` is the epoch
    that becomes the checkpoint: `best` by validation, or the `last`, where validation chooses by chance or learns too.
    `qat` is the number of bits that the synapses of spiking neurons are rounded to while the network computes (0: not),
    for a network that is to go to a chip: 8, from a trained `start`, at a low rate.
    """

    epochs: int = 30
    batch: int = 16
    patience: int = 0
    ema: float = 0.995
    checkpoint_minutes: float = 3.0
    log_every: int = 10
    threads: int = 0
    loader_threads: int = 1
    start: str = ""
    keep: str = "best"
    qat: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.threads) < 0 or min(self.log_every, self.loader_threads) < 1:
            raise ConfigError(
                "train: epochs, patience, threads must not be negative; log_every, loader_threads at least 1"
            )
        if self.keep not in ("best", "last"):
            raise ConfigError(f"train.keep is {self.keep!r}: must be 'best' or 'last'")
        if self.keep == "last" and self.patience:
            raise ConfigError("train.patience waits for a better validation, which train.keep='last' does not look at")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"train.ema is {self.ema}: must lie in 0..1, 1 excluded")


@dataclass(frozen=True)
class Recipe:
    """One training run, complete; `augment` None trains on the recordings as they are.

    `twin` trains the non-spiking twin of the network.
    """

    name: str
    pipeline: PipelineConfig
    data: DataConfig
    seed: int = 1
    twin: bool = False
    clips: ClipConfig = field(default_factory=ClipConfig)
    augment: Augmentation | CochleaAugmentation | None = None
    loss: CrossEntropy | CentreLoss = field(default_factory=CrossEntropy)
    rule: RuleConfig = field(default_factory=RuleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every default written out; `recipe_from` reads them back."""
        data = asdict(self)
        data["pipeline"] = self.pipeline.to_dict()
        data["data"] = self.data.to_dict()
        return _plain(data)

    @staticmethod
    def completed(values: Mapping[str, Any]) -> dict[str, Any]:
        """What `to_dict` of an earlier version wrote, with the defaults of the options that it did not know."""
        return recipe_from(values).to_dict()


SECTIONS: dict[str, type] = {
    "clips": ClipConfig,
    "loss": CrossEntropy,
    "rule": RuleConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
}


AUGMENTATIONS: dict[str, type] = {"camera": Augmentation, "cochlea": CochleaAugmentation}
"""By the name that a recipe's section `augment` gives; a camera's where it gives none."""


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    root = Path(str(resources.files("dvs_snn"))) / "recipes"
    return {path.stem: path for path in sorted(root.glob("*.yaml"))}


def load_recipe(name: str, overrides: Sequence[str] = (), data: str | None = None) -> Recipe:
    """Read a recipe file, or one that ships with the package by its name, and apply `key=value` overrides.

    `data` is a folder to train on instead of where the recipe looks; what lies in it decides which data set it is.
    Raises `ConfigError` that names the recipe and the key.
    """
    return read_recipe(
        name, shipped_recipes(), overrides, lambda values: recipe_from(aimed_at(values, data) if data else values)
    )


def read_recipe(
    name: str, shipped: Mapping[str, Path], overrides: Sequence[str], build: Callable[[dict[str, Any]], Built]
) -> Built:
    """What `build` makes of the values of a YAML file, or of a shipped recipe by its name, overrides applied.

    The file's stem is the value of `name` where it has none. Raises `ConfigError` that names the recipe and the key.
    """
    path = Path(name)
    if not path.is_file():
        if name not in shipped:
            known = ", ".join(shipped) or "none"
            raise ConfigError(f"{name}: no such recipe file, and none of that name ships (shipped: {known})")
        path = shipped[name]
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a table of sections")
    for override in overrides:
        override_value(values, override)
    try:
        return build({"name": path.stem, **values})
    except ConfigError as error:
        raise ConfigError(f"recipe {path.name}: {error}") from None


def aimed_at(values: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """A recipe's values with the data of a folder; recordings without labels of their own get those of the recipe."""
    section, pipeline = values.get("data"), values.get("pipeline")
    if not isinstance(section, Mapping) or not isinstance(pipeline, Mapping):
        return dict(values)
    aimed = data_in(folder, section)
    if aimed["name"] == "folder" and "labels" not in pipeline:
        pipeline = {**pipeline, "labels": DATASETS[section["name"]].labels(data_config(section).options)}
    return {**values, "data": aimed, "pipeline": pipeline}


def data_config(section: Mapping[str, Any]) -> DataConfig:
    """A recipe's section `data`, checked."""
    options = dict(section)
    name = options.pop("name", None)
    if name not in DATASETS:
        raise ConfigError(f"data.name {name!r} is unknown; known: {', '.join(DATASETS)}")
    steps = parse_steps(options.pop("transforms", ()))
    return DataConfig(str(name), build_section(DATASETS[name].config, options, "data"), steps)


def override_value(data: dict[str, Any], override: str) -> None:
    """Set the value at a dotted key, `train.epochs=3`; the value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip("."):
        raise ConfigError(f"{override!r}: write key=value, for example train.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{override!r}: the value cannot be read as YAML") from None
    *path, last = key.split(".")
    for depth, part in enumerate(path):
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{override!r}: {'.'.join(path[: depth + 1])} is a value, not a section")
    data[last] = value


def recipe_from(recipe: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values; raises `ConfigError` that names an unknown key or a value of the wrong type."""
    refuse_unknown(Recipe, recipe, "recipe")
    values = dict(recipe)
    for key in ("pipeline", "data"):
        if not isinstance(values.get(key), Mapping):
            raise ConfigError(f"section {key!r} is missing")
    data = data_config(values.pop("data"))
    pipeline = values.pop("pipeline")
    if "labels" not in pipeline:
        pipeline = {"labels": DATASETS[data.name].labels(data.options), **pipeline}
    sections: dict[str, Any] = {
        key: build_section(kind, values[key], key) for key, kind in SECTIONS.items() if key in values and key != "loss"
    }
    sections["loss"] = _loss(values.get("loss", {}), str(pipeline.get("task", "")))
    if values.get("augment") is not None:
        sections["augment"] = _augmentation(values["augment"], tuple(pipeline["labels"]))
    if not isinstance(values.get("seed", 0), int) or not isinstance(values.get("name"), str):
        raise ConfigError("seed must be an integer and name a word")
    twin = values.get("twin", False)
    if not isinstance(twin, bool):
        raise ConfigError(f"twin is {twin!r}: must be true or false")
    if twin and isinstance(pipeline.get("model"), str):
        pipeline = {**pipeline, "model": pipeline["model"].removesuffix(TWIN) + TWIN}
    config = PipelineConfig.from_dict(_with_classes(pipeline))
    check_network(config)
    return Recipe(
        name=values["name"],
        seed=values.get("seed", 1),
        twin=twin,
        pipeline=config,
        data=data,
        **sections,
    )


def _with_classes(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """As many outputs as there are labels, where the recipe does not say how many."""
    labels, options = pipeline["labels"], pipeline.get("model_config", {})
    if isinstance(labels, list | tuple) and isinstance(options, Mapping) and "classes" not in options:
        network = model_config(str(pipeline.get("model")), options)
        if getattr(network, "classes", len(labels)) != len(labels):
            return {**pipeline, "model_config": {**options, "classes": len(labels)}}
    return dict(pipeline)


def _loss(values: Any, task: str) -> CrossEntropy | CentreLoss:
    kind: type[CrossEntropy | CentreLoss] = CentreLoss if task == "tracks" else CrossEntropy
    return build_section(kind, values, "loss")


def _augmentation(values: Any, labels: tuple[str, ...]) -> Augmentation | CochleaAugmentation:
    name = values.get("name", "camera") if isinstance(values, Mapping) else "camera"
    if name not in AUGMENTATIONS:
        raise ConfigError(f"augment.name {name!r} is unknown; known: {', '.join(AUGMENTATIONS)}")
    augmentation: Any = build_section(AUGMENTATIONS[name], values, "augment")
    if getattr(augmentation, "mirror", 0.0) and len(labels) != len(MIRRORED):
        raise ConfigError("augment.mirror: what a mirror makes of a class is known of gestures only; leave it at 0")
    return augmentation


def check_network(config: PipelineConfig) -> None:
    """Refuse a network that does not exist, or whose input or output does not fit its pipeline."""
    network = model_config(config.model, config.model_config)
    maps = config.representation.shape(config.sensor)
    if getattr(network, "shape", maps) != maps:
        raise ConfigError(
            f"pipeline.model_config.shape is {network.shape}, but the representation gives maps of {maps}"
        )
    classes = getattr(network, "classes", len(config.labels))
    if classes != len(config.labels):
        raise ConfigError(f"pipeline.model_config.classes is {classes}, but there are {len(config.labels)} labels")


def build_section(kind: type[Section], values: Any, where: str) -> Section:
    """A frozen dataclass from plain values, types checked."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a table of options, found {values!r}")
    refuse_unknown(kind, values, where)
    for key, value in values.items():
        if value is None:
            raise ConfigError(f"{where}.{key} has no value")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, where)
    try:
        return parser.instantiate(parser.parse_object({where: dict(values)}))[where]
    except ArgumentError as error:
        raise ConfigError(" ".join(str(error).replace("Parser key ", "").split())) from None


def _plain(value: Any) -> Any:
    """Tuples as lists, so that YAML and JSON give back what was written."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
