"""What a network costs while it judges recordings: spikes, synaptic operations, sparsity; its size.

Synaptic operations are NeuroBench's (Yik et al. 2025): products of an input and a weight that are both not zero, biases
left out. A layer whose inputs are all -1, 0 or 1 accumulates (AC), any other multiplies and accumulates (MAC). Dense
counts every product. What normalisation, neurons and activations compute is in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dvs_snn.nn import LinearNeuron, Twin
from dvs_snn.nn.bridge import ASAB
from dvs_snn.nn.learned_delays import DelayedLinear

GATES = ((0.28, "green"), (0.45, "amber"))
"""T φ below which a spiking layer beats a quantised dense one that runs once (arXiv 2409.08290), and nearly does."""
PICOJOULE_MAC, PICOJOULE_AC = 4.6, 0.9
"""32-bit floating point in 45 nm (Horowitz 2014); memory is not in them."""


def gate(t_phi: float) -> str:
    """Colour of T φ, the spikes that a neuron sends where a dense network would send one number."""
    return next((colour for limit, colour in GATES if t_phi < limit), "red")


def size(network: nn.Module) -> dict[str, int]:
    """Number of parameters, and bytes of parameters and buffers (NeuroBench's footprint)."""
    held = [*network.parameters(), *network.buffers()]
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in held),
    }


@dataclass
class Activity:
    """A layer of neurons: how many it has, and how many outputs other than zero it gave."""

    neurons: int = 0
    active: float = 0.0


@dataclass
class Synapses:
    """A layer of connections: products with and without zeros, and whether its inputs were all -1, 0 or 1."""

    effective: float = 0.0
    dense: float = 0.0
    binary: bool = True
    reach: dict[tuple[int, ...], tuple[Tensor, float]] = field(default_factory=dict)


class CostMeter:
    """While entered, counts what the layers of a network do in the bins that `watch` names.

    Seen are convolutions, linear maps (with delays too), the recurrent maps of neurons, the attention bridge and the
    mixers of text (their dense arithmetic, all MAC); not recurrence with delays. Weights must not change meanwhile.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.bins = 0
        self.recordings = 0
        self.activity: dict[str, Activity] = {}
        self.synapses: dict[str, Synapses] = {}
        self._mask: Tensor | None = None
        self._handles: list[Any] = []

    def __enter__(self) -> CostMeter:
        modules = list(self.network.modules())
        inner = {id(module.neuron) for module in modules if isinstance(module, Twin)}
        inner |= {id(module.recurrent) for module in modules if isinstance(module, LinearNeuron)}
        for name, module in self.network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear | DelayedLinear) and id(module) not in inner:
                hook: Any = self._connections(name)
            elif isinstance(module, LinearNeuron | Twin) and id(module) not in inner:
                hook = self._neurons(name)
            elif isinstance(module, ASAB):
                hook = self._bridge(name)
            elif hasattr(module, "products_per_step"):
                hook = self._mixer(name)
            else:
                continue
            self._handles.append(module.register_forward_hook(hook))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def watch(self, mask: Bool[Tensor, "time batch"]) -> None:
        """Say which bins of the next call count; the others are padding."""
        self._mask = mask
        self.bins += int(mask.sum())

    def report(self, bins_to_decision: float | None = None) -> dict[str, Any]:
        """Per bin: spikes and synaptic operations; per layer: rate φ, sparsity, T φ and its gate; and the size.

        `each_bin`: T = 1, against a dense network that also runs at every bin. `once`: T = the bins to a decision
        (default: of a recording), against one that sees all of them and runs once.
        """
        bins = max(self.bins, 1)
        steps = bins_to_decision or bins / max(self.recordings, 1)
        layers = {}
        for name, seen in self.activity.items():
            rate = seen.active / (seen.neurons * bins)
            layers[name] = {
                "neurons": seen.neurons,
                "rate": rate,
                "sparsity": 1 - rate,
                "each_bin": {"t_phi": rate, "gate": gate(rate)},
                "once": {"t_phi": steps * rate, "gate": gate(steps * rate)},
            }
        macs = sum(s.effective for s in self.synapses.values() if not s.binary) / bins
        acs = sum(s.effective for s in self.synapses.values() if s.binary) / bins
        dense = sum(s.dense for s in self.synapses.values())
        active = sum(seen.active for seen in self.activity.values())
        neurons = sum(seen.neurons for seen in self.activity.values())
        return {
            "bins": self.bins,
            "bins_to_decision": steps,
            "spiking": not any(
                isinstance(module, Twin) or getattr(module, "smooth", False) for module in self.network.modules()
            ),
            "spikes_per_bin": active / bins,
            "activation_sparsity": 1 - active / (neurons * bins) if neurons else 0.0,
            "synaptic_operations": {
                "per": "bin",
                "effective_macs": macs,
                "effective_acs": acs,
                "dense": dense / bins,
                "driven_by_spikes": sum(s.dense for s in self.synapses.values() if s.binary) / dense if dense else 0.0,
                "nanojoule_45nm": (macs * PICOJOULE_MAC + acs * PICOJOULE_AC) * 1e-3,
                "layers": {
                    name: {
                        "kind": "ac" if s.binary else "mac",
                        "effective": s.effective / bins,
                        "dense": s.dense / bins,
                    }
                    for name, s in self.synapses.items()
                },
            },
            "layers": layers,
            **size(self.network),
        }

    def _rows(self, count: int) -> Tensor:
        """The mask over rows that are (time, batch) folded."""
        if self._mask is None or self._mask.numel() != count:
            raise ValueError("the bins of this call were not named: call watch first, with a mask [time, batch]")
        return self._mask.flatten()

    def _connections(self, name: str) -> Any:
        def hook(layer: nn.Conv2d | nn.Linear | DelayedLinear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0].detach()
            self._count(name, layer, x if x.dim() in (2, 4) else x.flatten(0, 1))

        return hook

    def _count(self, name: str, layer: nn.Conv2d | nn.Linear | DelayedLinear, x: Float[Tensor, "n ..."]) -> None:
        rows = self._rows(len(x)).to(x.device)
        seen = self.synapses.setdefault(name, Synapses())
        shape = tuple(x.shape[1:])
        if shape not in seen.reach:
            effective, every = _fan_out(layer, shape, True), _fan_out(layer, shape, False)
            seen.reach[shape] = effective.flatten().double(), float(every.double().sum())
        reach, every_product = seen.reach[shape]
        x = x[rows].flatten(1)
        present = x != 0
        seen.effective += float(present.sum(0).double() @ reach)
        seen.dense += every_product * len(x)
        seen.binary = seen.binary and bool((present <= (x.abs() == 1)).all())

    def _neurons(self, name: str) -> Any:
        def hook(layer: LinearNeuron | Twin, inputs: tuple[Any, ...], output: Any) -> None:
            neuron = layer.neuron if isinstance(layer, Twin) else layer
            outputs = output[0].detach()
            rows = self._rows(outputs.shape[0] * outputs.shape[1]).to(outputs.device)
            if neuron.structure.spiking or isinstance(layer, Twin):
                seen = self.activity.setdefault(name, Activity())
                seen.neurons = outputs[0, 0].numel()
                seen.active += float((outputs.flatten(0, 1)[rows] != 0).sum())
            if neuron.recurrent is not None:
                begin = inputs[1].spikes if len(inputs) > 1 and inputs[1] is not None else torch.zeros_like(outputs[0])
                heard = torch.cat([begin.unsqueeze(0), outputs[:-1]])
                self._count(f"{name}.recurrent", neuron.recurrent, heard.flatten(0, 1))

        return hook

    def _bridge(self, name: str) -> Any:
        def hook(layer: ASAB, inputs: tuple[Any, ...], output: Any) -> None:
            self._dense(name, inputs[0], bridge_products(layer, tuple(inputs[0].shape[2:])))

        return hook

    def _mixer(self, name: str) -> Any:
        def hook(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
            self._dense(name, inputs[0], layer.products_per_step())

        return hook

    def _dense(self, name: str, xs: Tensor, products: int) -> None:
        """So many multiplications in each watched bin of an input `[time, batch, ...]`."""
        total = products * float(self._rows(xs.shape[0] * xs.shape[1]).sum())
        seen = self.synapses.setdefault(name, Synapses(binary=False))
        seen.effective += total
        seen.dense += total


def bridge_products(bridge: ASAB, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the bridge per bin, as it computes them when it streams (see `ASAB`)."""
    channels, pixels = shape[0], shape[1] * shape[2]
    bins, taps = bridge.bins, bridge.convolution.kernel_size**2
    window = bins * pixels * taps  # responses of every position
    scores = bins * bins * pixels + 2 * bins**3  # A Aᵀ, then the two projections
    reading = 2 * bins * bins + bins * pixels  # cᵀ P Wv, then times A
    return channels * (window + scores + reading)


def _fan_out(layer: nn.Conv2d | nn.Linear | DelayedLinear, shape: tuple[int, ...], effective: bool) -> Tensor:
    """How many weights each input of a sample meets: those that are not zero, or all."""
    weight = layer.weight.detach()
    weight = (weight != 0).to(weight) if effective else torch.ones_like(weight)
    if not isinstance(layer, nn.Conv2d):
        return weight.sum(0)
    with torch.inference_mode(False), torch.enable_grad():
        example = torch.zeros(1, *shape, dtype=weight.dtype, device=weight.device, requires_grad=True)
        how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
        output = F.conv2d(example, weight.clone(), None, **how)  # type: ignore[arg-type]
        return torch.autograd.grad(output.sum(), example)[0][0]
