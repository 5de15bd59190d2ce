"""A network whose read-out alone learns: what the read-out sees, bin by bin, and a cache of it on disk.

A read-out is the linear maps that feed a leaky integrator, the network's last layer: `logits = leak(W f)`. Everything
before it is frozen, so its features f are computed once for each recording.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning.evaluate import scan_recordings
from dvs_snn.learning.recordings import Recording, RecordingSet, RecordingView
from dvs_snn.learning.simulated import cache_folder
from dvs_snn.nn import LeakyIntegrator, State, Temporal
from dvs_snn.pipeline import PipelineConfig

LAYERS = ("readout", "shortcut")
"""Names of the linear maps of a network's read-out; `integrator` is the leaky integrator after them."""

BLOCK = 55
"""Recordings whose features are kept in one file."""


class ReadOut:
    """A network's read-out as one matrix `[classes, features]` over the features of all its linear maps, in order.

    Features are watched by hooks, whichever way the network runs (`forward`, `step`, a pipeline). Raises `ConfigError`
    for a network that has no such read-out.
    """

    def __init__(self, network: nn.Module) -> None:
        named = [(name, getattr(network, name, None)) for name in LAYERS]
        self.layers: list[nn.Linear] = [layer for _, layer in named if isinstance(layer, nn.Linear)]
        self.names = [name for name, layer in named if isinstance(layer, nn.Linear)]
        integrator = getattr(network, "integrator", None)
        if not self.layers or not isinstance(integrator, LeakyIntegrator):
            raise ConfigError(
                f"{type(network).__name__} has no read-out that could learn alone: it needs a linear map named "
                f"{' or '.join(LAYERS)} and a leaky integrator named integrator"
            )
        self.integrator = integrator
        self._seen: dict[int, Tensor] = {}
        self._handles = [layer.register_forward_pre_hook(self._watch(k)) for k, layer in enumerate(self.layers)]

    @property
    def classes(self) -> int:
        """Rows of the matrix."""
        return self.layers[0].out_features

    @property
    def size(self) -> int:
        """Features: columns of the matrix."""
        return sum(layer.in_features for layer in self.layers)

    @property
    def decay(self) -> float:
        """Factor per bin by which the integrator forgets."""
        return float(self.integrator.beta.clamp(0, 1))

    @property
    def gain(self) -> float:
        """What the integrator multiplies its input by."""
        return 1.0 - self.decay if self.integrator.scale_input else 1.0

    def weight(self) -> Float[Tensor, "classes features"]:
        """The matrix, a copy."""
        return torch.cat([layer.weight.detach() for layer in self.layers], dim=1)

    def bias(self) -> Float[Tensor, " classes"]:
        """Sum of the maps' biases, a copy."""
        biases = [layer.bias.detach() for layer in self.layers if layer.bias is not None]
        return torch.stack(biases).sum(0) if biases else self.layers[0].weight.new_zeros(self.classes)

    @torch.no_grad()
    def write(self, weight: Float[Tensor, "classes features"], bias: Float[Tensor, " classes"] | None = None) -> None:
        """Put a matrix, and a bias where the network has one, into the network in place."""
        parts = weight.split([layer.in_features for layer in self.layers], dim=1)
        for layer, part in zip(self.layers, parts, strict=True):
            layer.weight.copy_(part)
        biased = [layer for layer in self.layers if layer.bias is not None]
        if bias is not None and biased:
            for layer in biased:
                layer.bias.zero_()
            biased[0].bias.copy_(bias)

    def features(self) -> Float[Tensor, "*shape features"]:
        """What the read-out saw in the network's last run, `[time, batch, features]` or `[batch, features]`."""
        if len(self._seen) != len(self.layers):
            raise RuntimeError("the network has not run since its features were last taken")
        features = torch.cat([self._seen[k] for k in range(len(self.layers))], dim=-1)
        self._seen.clear()
        return features

    def close(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()
        self._seen.clear()

    def _watch(self, index: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._seen[index] = inputs[0].detach()

        return hook


class Features(Temporal):
    """A network that gives out what its read-out sees, in the place of logits."""

    def __init__(self, network: Temporal) -> None:
        super().__init__()
        self.network = network
        self.read_out = ReadOut(network)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return self.network.initial_state(batch, shape)

    def step(self, x: Float[Tensor, "batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        _, state = self.network.step(x, state)
        return self.read_out.features(), state

    def forward(self, xs: Float[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        _, state = self.network(xs, state)
        return self.read_out.features(), state

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.read_out.size,)


@dataclass(frozen=True)
class FeatureSet:
    """Features of recordings, cut or padded with silence to the same number of bins, and their classes."""

    features: Float[Tensor, "recordings time features"]
    labels: Int64[Tensor, " recordings"]

    def __len__(self) -> int:
        return len(self.labels)


def frozen_features(
    config: PipelineConfig,
    network: Temporal,
    recordings: RecordingSet,
    bins: int,
    cache: str = "",
    advance: Callable[[int], object] = lambda count: None,
) -> FeatureSet:
    """Features of a set of recordings under a frozen network, from the cache where they are kept.

    They are kept in files of `BLOCK` recordings, so a run that is cut goes on where it was. A file is named by the
    network's weights (without the read-out), its configuration and the data: features of two networks never mix.
    """
    address = _address(config, network, recordings, bins)
    features, labels = [], []
    for start in range(0, len(recordings), BLOCK):
        part = _Part(recordings, start, min(start + BLOCK, len(recordings)))
        path = cache_folder(cache) / "features" / address / f"{part.start:06d}-{part.stop:06d}.safetensors"
        try:
            kept = load_file(path)
            block, classes = kept["features"], kept["labels"]
        except (OSError, SafetensorError, KeyError):
            block, classes = _compute(config, network, part, bins)
            _keep(path, {"features": block, "labels": classes})
        features.append(block)
        labels.append(classes)
        advance(len(part))
    joined = np.concatenate(features).astype(np.float32)
    return FeatureSet(torch.from_numpy(joined), torch.from_numpy(np.concatenate(labels)))


@dataclass(frozen=True)
class _Part(RecordingView):
    """Some of a set's recordings."""

    start: int
    stop: int

    @property
    def groups(self) -> Sequence[str]:
        return self.whole.groups[self.start : self.stop]

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Recording:
        return self.whole[self.start + index]


def _compute(
    config: PipelineConfig, network: Temporal, recordings: RecordingSet, bins: int
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    watched = Features(network)
    features = np.zeros((len(recordings), bins, watched.read_out.size), np.float16)
    labels = np.zeros(len(recordings), np.int64)
    try:
        for index, (encoded, seen) in enumerate(scan_recordings(config, watched, recordings)):
            features[index, : len(seen)] = seen[:bins]
            labels[index] = encoded.recording.label
    finally:
        watched.read_out.close()
    return features, labels


def _keep(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _address(config: PipelineConfig, network: Temporal, recordings: RecordingSet, bins: int) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.split(".")[0] not in LAYERS:
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    about = (recordings.source, recordings.split, bins, sorted(config.to_dict().items()))
    digest.update(repr(about).encode())
    return digest.hexdigest()[:16]
