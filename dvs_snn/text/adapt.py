"""Low-rank adaptation of spiking blocks: adapters by `peft`, thresholds that learn, merging, rates set right after it.

`peft` (the extra `text`) knows nothing of thresholds: they are trained beside its adapters and kept in the same file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.learning import SpikeRates
from dvs_snn.learning.recipe import build_section
from dvs_snn.nn import LinearNeuron, Temporal
from dvs_snn.pipeline.checkpoint import read_table, write_json
from dvs_snn.text.recipe import AdaptConfig


def find_synapses(network: nn.Module) -> list[str]:
    """Names of the linear layers of a network, its read-out left out."""
    return [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear) and "head" not in name]


def neurons_of(network: nn.Module) -> dict[str, LinearNeuron]:
    """The spiking layers, by name."""
    found = {name: layer for name, layer in network.named_modules() if isinstance(layer, LinearNeuron)}
    return {name: layer for name, layer in found.items() if layer.structure.spiking}


def add_adapters(network: Temporal, config: AdaptConfig) -> Temporal:
    """Adapters in place: each target computes `(W + alpha / rank B A) x`, and only A, B and thresholds learn.

    B starts at zero, so the network computes what it did. Raises `ConfigError` for targets that it does not have.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model

        from dvs_snn.text.lora import MergedLora
    except ImportError:
        raise ConfigError("adapt needs the package 'peft': pip install 'dvs_snn[text]'") from None
    known = {name.rsplit(".", 1)[-1] for name in find_synapses(network)}
    unknown = sorted(set(config.targets) - known)
    if unknown or not config.targets:
        raise ConfigError(f"adapt.targets: {', '.join(unknown) or 'none given'}; the network has {', '.join(known)}")
    alpha: Any = config.alpha  # peft takes any number
    options = LoraConfig(r=config.rank, lora_alpha=alpha, target_modules=list(config.targets), bias="none")
    options._register_custom_module({nn.Linear: MergedLora})
    inject_adapter_in_model(options, network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" in name)
    if config.thresholds:
        for neuron in neurons_of(network).values():
            threshold = getattr(neuron, "threshold", None)
            if isinstance(threshold, nn.Parameter):
                threshold.requires_grad_(True)
    return network


def trained_share(network: nn.Module) -> float:
    """Share of the weights that learn, of those that the network has without adapters."""
    own = sum(p.numel() for name, p in network.named_parameters() if "lora_" not in name)
    return sum(p.numel() for p in network.parameters() if p.requires_grad) / own


def merged(network: Temporal) -> Temporal:
    """A copy whose adapters are added to the weights: a network like any other, equal to the adapted one to the bit."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = copy.deepcopy(network)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
    if hasattr(plain, "peft_config"):
        del plain.peft_config
    for parameter in plain.parameters():
        parameter.requires_grad_(True)
    return plain


def save_adapter(folder: str | Path, network: nn.Module, config: AdaptConfig) -> None:
    """Write what learned, and how it was added: `adapter.safetensors`, `adapter.json`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    learned = {name: p.detach().cpu().contiguous() for name, p in network.named_parameters() if p.requires_grad}
    fresh = folder / ".adapter.safetensors"
    save_file(learned, fresh)
    fresh.replace(folder / "adapter.safetensors")
    write_json(folder / "adapter.json", asdict(config))


def load_adapter(folder: str | Path, network: Temporal) -> Temporal:
    """Add a saved adapter to the network that it was trained on (in place).

    Raises `CheckpointError` when it is missing, damaged, or of a network of other sizes.
    """
    folder = Path(folder)
    table = read_table(folder / "adapter.json")
    table["targets"] = list(table.get("targets", ()))
    config = build_section(AdaptConfig, table, "adapter")
    try:
        learned = load_file(folder / "adapter.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: adapter.safetensors cannot be read: {error}") from None
    add_adapters(network, config)
    wanted = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if learned.keys() != wanted.keys() or any(learned[name].shape != p.shape for name, p in wanted.items()):
        raise CheckpointError(f"{folder}: the adapter is of another network")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(learned[name])
    return network


@torch.no_grad()
def firing_rates(network: Temporal, tokens: Tensor) -> dict[str, float]:
    """Spikes per neuron and token of each layer, for tokens `[time, batch]` read from rest."""
    with SpikeRates(network) as rates:
        network(tokens)
    return {name: float(rate) for name, rate in rates.rates.items()}


@torch.no_grad()
def recalibrate(
    network: Temporal, tokens: Tensor, targets: Mapping[str, float], tolerance: float = 0.005, rounds: int = 20
) -> dict[str, float]:
    """Shift each layer's thresholds until it fires at its target rate on these tokens; returns the rates reached.

    Layers are set in the order of the data, by bisection: a higher threshold fires less. For weights that changed
    without their thresholds (rounded, pruned, merged); `tolerance` is relative.
    """
    for name, neuron in neurons_of(network).items():
        if name not in targets:
            continue
        threshold: Any = neuron.threshold
        begin = threshold.clone()
        span = float(begin.abs().mean()) or 1.0
        low, high = -4.0 * span, 4.0 * span
        shift = 0.0
        for _ in range(rounds):
            threshold.copy_(begin + shift)
            error = firing_rates(network, tokens)[name] - targets[name]
            if abs(error) <= tolerance * targets[name]:
                break
            low, high = (shift, high) if error > 0 else (low, shift)
            shift = (low + high) / 2
    return firing_rates(network, tokens)
