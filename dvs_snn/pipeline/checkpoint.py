"""A checkpoint is a folder of `config.json`, `model.safetensors` and `metrics.json`; never a pickle."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.models import build_model, config_dict, model_config
from dvs_snn.nn import Temporal
from dvs_snn.pipeline.config import PipelineConfig
from dvs_snn.pipeline.pipeline import Pipeline, heat_cell_px
from dvs_snn.pipeline.runtime import RUNTIMES, ClusterRuntime
from dvs_snn.tracking import ClusterConfig, TrackLife

FORMAT = 1
CLUSTERS = "clusters"
"""The model that has no weights: it works on events directly."""
TEXT_TASKS = ("language", "sentences")
"""Tasks of checkpoints that take tokens, not events: next token, class of a sentence."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with all that is needed to run it, and the figures that were measured on it.

    The classical tracker is a checkpoint too: `model` is then its `ClusterConfig`, and there is no file of weights.
    """

    config: PipelineConfig
    model: Any
    metrics: dict[str, Any]
    path: Path


def shipped_checkpoints() -> dict[str, Path]:
    """The checkpoints that come with the package, by name."""
    root = Path(str(resources.files("dvs_snn"))) / "checkpoints"
    return {folder.name: folder for folder in sorted(root.glob("*")) if (folder / "config.json").is_file()}


def save_checkpoint(path: str | Path, config: PipelineConfig, model: torch.nn.Module, metrics: dict[str, Any]) -> None:
    """Write a checkpoint of a pipeline.

    The network's sizes and the rule of tracks are written in full: a default that changes later must not change an old
    checkpoint.
    """
    config = replace(config, model_config=config_dict(model_config(config.model, config.model_config)))
    if heat_cell_px(config) is not None and config.tracks is None:
        config = replace(config, tracks=TrackLife())
    write_folder(path, config.to_dict(), model, metrics)


def write_folder(
    path: str | Path, config: dict[str, Any], model: torch.nn.Module, metrics: dict[str, Any], **more: dict[str, Any]
) -> None:
    """Write a checkpoint folder so that at every moment either the old one or the new one is whole.

    `more` are further tables, each in a JSON file of its name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, fresh / "model.safetensors"
        )
        (fresh / "model.safetensors").chmod(0o644)  # safetensors makes it private to its writer
        write_json(fresh / "config.json", {"format": FORMAT, **config})
        write_json(fresh / "metrics.json", metrics)
        for name, table in more.items():
            write_json(fresh / f"{name}.json", table)
        fresh.chmod(0o755)
        old = fresh.with_name(fresh.name + ".old")
        if path.exists():
            path.rename(old)
        fresh.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """JSON that is on disk when this returns."""
    with open(path, "w") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(name: str | Path) -> Checkpoint:
    """Read a checkpoint folder, or one that ships with the package by its name.

    Raises `CheckpointError` when it is missing, damaged, or not of this kind.
    """
    path, data = open_folder(name)
    if data.get("task") in TEXT_TASKS:
        raise CheckpointError(f"{path}: is a text model, not one for events; use it with 'dvs-snn text'")
    try:
        config = PipelineConfig.from_dict(data)
        if config.model == CLUSTERS:
            tracker = ClusterConfig.from_dict(config.model_config)
            return Checkpoint(config, tracker, read_table(path / "metrics.json"), path)
        model = build_model(config.model, config.model_config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    load_weights(path, model)
    _check_fit(path, config, model)
    return Checkpoint(config, model.eval(), read_table(path / "metrics.json"), path)


def open_folder(name: str | Path) -> tuple[Path, dict[str, Any]]:
    """Where a checkpoint is, by its folder or the name of a shipped one, and its `config.json`.

    Raises `CheckpointError` when there is none, or one of another version.
    """
    path = Path(name)
    shipped = shipped_checkpoints()
    if not path.is_dir():
        if str(name) not in shipped:
            known = ", ".join(shipped) or "none"
            raise CheckpointError(f"{name}: no such checkpoint folder, and none of that name ships (shipped: {known})")
        path = shipped[str(name)]
    data = read_table(path / "config.json")
    found = data.pop("format", None)
    if found != FORMAT:
        raise CheckpointError(f"{path}: config.json has format {found!r}, this version reads {FORMAT}")
    return path, data


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Fill a network from the folder's `model.safetensors`; raises `CheckpointError` where that cannot be."""
    try:
        weights = load_file(path / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: model.safetensors cannot be read: {error}") from None
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(f"{path}: model.safetensors does not fit config.json: {detail}") from None
    broken = [key for key, value in weights.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{path}: weights are not finite in {broken[0]}")


def _check_fit(path: Path, config: PipelineConfig, model: Temporal) -> None:
    """Refuse a configuration whose map the network cannot take, or whose labels are not its classes."""
    shape = config.representation.shape(config.sensor)
    try:
        classes = model.output_shape(shape)[-1]
    except (RuntimeError, ValueError, ConfigError) as error:
        detail = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: a map of {shape} does not fit the network: {detail}") from None
    if config.task != "tracks" and classes != len(config.labels):
        raise CheckpointError(f"{path}: {len(config.labels)} labels for a network of {classes} classes")


def read_table(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint; raises `CheckpointError` when there is none."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent}: not a checkpoint, {path.name} is missing") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return data


def open_pipeline(checkpoint: Checkpoint | str | Path, runtime: str = "torch", device: str = "cpu") -> Pipeline:
    """A pipeline that runs a checkpoint; raises `CheckpointError` for a runtime that is not there."""
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint)
    if isinstance(checkpoint.model, ClusterConfig):
        if runtime != "torch":
            raise CheckpointError(
                f"{checkpoint.path.name} runs on events themselves: runtime {runtime!r} is not for it"
            )
        return Pipeline(checkpoint.config, ClusterRuntime(checkpoint.model, checkpoint.config.sensor))
    if runtime not in RUNTIMES:
        raise CheckpointError(f"runtime {runtime!r} is not available; available: {', '.join(RUNTIMES)}")
    kind = RUNTIMES[runtime]
    if isinstance(kind, str):
        module, _, name = kind.partition(":")
        return Pipeline(checkpoint.config, getattr(importlib.import_module(module), name).open(checkpoint))
    return Pipeline(checkpoint.config, kind(checkpoint.model, device))
