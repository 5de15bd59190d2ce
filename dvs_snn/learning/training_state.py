"""All that a cut run needs to go on bit for bit: one file of tensors with a JSON record, replaced atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dvs_snn.errors import CheckpointError


def save_state(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON record so that at every moment the file is either the old or the new one, whole."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(plain, fresh, {"record": json.dumps(record)})
        with open(fresh, "rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `save_state`; raises `CheckpointError` when the file is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent}: holds no training state to resume") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: training state cannot be read: {error}") from None


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `with_prefix` put under this prefix."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators; the clips' own generators are made anew from seed, epoch and place."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class AveragedWeights:
    """Exponential moving average of a network's weights and buffers; often better than the last (Polyak 1992).

    The decay grows from 0.1 to `decay` over the first updates, so that the random beginning is soon forgotten. Zero
    decay is the network itself.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.decay else 0.0
        for name, tensor in network.state_dict().items():
            if decay and tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)
