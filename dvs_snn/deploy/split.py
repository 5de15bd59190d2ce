"""The gesture network cut where spikes end: what a chip may run, and what stays on its host.

Host: counts, cap and delays; then the bridge and the dense blocks, whose softmax and multiplications no spiking core
has; at last read-out, shortcut and integrator, because the shortcut reads the host's own currents. Chip: the
convolutions with LIF, and the recurrent TC-LIF layer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import PackageError
from dvs_snn.models import GestureNet
from dvs_snn.nn import LIF, TCLIF, Sequential, State, Temporal
from dvs_snn.nn.delays import Taps
from dvs_snn.nn.layers import fold_batch_norm


class SplitState(NamedTuple):
    """States of the parts, in the order of the data."""

    taps: Any = None
    backbone: Any = None
    bridge: Any = None
    head: Any = None
    integrator: Any = None


class Host(nn.Module):
    """The parts of a gesture network that run beside the chip, batch normalisation folded."""

    def __init__(self, network: GestureNet) -> None:
        super().__init__()
        first = network.backbone[0]
        self.saturate = network.saturate
        self.taps = first if isinstance(first, Taps) else Taps((0,))
        self.bridge, self.blocks = network.bridge, network.blocks
        self.readout, self.shortcut, self.integrator = network.readout, network.shortcut, network.integrator

    def frames(self, xs: Float[Tensor, "time batch *map"], state: State) -> tuple[Tensor, State]:
        """What the chip gets for the counts of each bin: capped, with those of earlier bins beside them."""
        return self.taps(self.saturate(xs), state)

    def currents(self, spikes: Float[Tensor, "time batch *map"], state: State) -> tuple[Tensor, State]:
        """The head's input currents from the backbone's spikes."""
        features, state = self.bridge(spikes, state)
        return self.blocks(features.flatten(0, 1)).unflatten(0, tuple(spikes.shape[:2])), state

    def logits(
        self, spikes: Float[Tensor, "time batch n"], currents: Float[Tensor, "time batch n"], state: State
    ) -> tuple[Float[Tensor, "time batch classes"], State]:
        """The network's output from the head's spikes and its currents."""
        evidence = self.readout(spikes)
        if self.shortcut is not None:
            evidence = evidence + self.shortcut(torch.relu(currents))
        return self.integrator(evidence, state)


class SplitNetwork(Temporal):
    """Host and two chip parts as one network; whoever computes the chip parts, the way of the data is this."""

    def __init__(
        self, host: Host, backbone: Temporal, head: Temporal, classes: int, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.host, self.backbone, self.head, self.classes, self.shape = host, backbone, head, classes, shape

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> SplitState:
        return SplitState()

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.classes,)

    def with_parts(self, backbone: Temporal, head: Temporal) -> SplitNetwork:
        """The same host with the chip parts computed by others."""
        return SplitNetwork(self.host, backbone, head, self.classes, self.shape)

    def forward(
        self, xs: Float[Tensor, "time batch *map"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch classes"], SplitState]:
        logits, state, _, _ = self.trace(xs, state)
        return logits, state

    def trace(
        self, xs: Float[Tensor, "time batch *map"], state: State | None = None
    ) -> tuple[Tensor, SplitState, Tensor, Tensor]:
        """Logits and state, and the spikes of backbone and head."""
        before = SplitState() if state is None else state
        frames, taps = self.host.frames(xs, before.taps)
        spikes, backbone = self.backbone(frames, before.backbone)
        currents, bridge = self.host.currents(spikes, before.bridge)
        fired, head = self.head(currents, before.head)
        logits, integrator = self.host.logits(fired, currents, before.integrator)
        return logits, SplitState(taps, backbone, bridge, head, integrator), spikes, fired


def split(network: object) -> SplitNetwork:
    """A gesture network in evaluation mode, batch normalisation folded, cut into host and chip parts.

    Raises `PackageError` for a network whose backbone or head the chip's neurons do not cover.
    """
    if not isinstance(network, GestureNet):
        raise PackageError(f"a chip package is made of a gesture network, not of {type(network).__name__}")
    folded = fold_batch_norm(network).requires_grad_(False)
    layers = [layer for layer in folded.backbone if not isinstance(layer, Taps)]
    for convolution, neuron in zip(layers[::2], layers[1::2], strict=True):
        ours = isinstance(convolution, nn.Conv2d) and isinstance(neuron, LIF)
        if not ours or neuron.reset != "zero" or neuron.scale_input or neuron.structure.delayed:  # type: ignore
            raise PackageError("a chip runs convolutions into LIF with zero reset in the same step and unscaled input")
    if not isinstance(folded.head, TCLIF) or folded.head.recurrent is None:
        raise PackageError("a chip runs a recurrent TC-LIF head")
    channels, height, width = folded.config.shape
    return SplitNetwork(
        Host(folded), Sequential(*layers), folded.head, folded.config.classes, (channels, height, width)
    )
