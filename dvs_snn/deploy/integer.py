"""The integer network itself: what an integer package means, computed by numpy and numba alone.

`IntReference` streams one sequence. `IntegerBackbone` and `IntegerHead` are the same arithmetic as layers in time, for
batches and for the laws that every network here obeys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dvs_snn.deploy.fixed_point import INPUT_MAX
from dvs_snn.deploy.integer_kernel import conv_lif_scan, tclif_scan
from dvs_snn.deploy.layers import ChipLayer, ConvLIF, RecurrentTCLIF
from dvs_snn.nn import State, Temporal


@dataclass
class LayerCounts:
    """What a layer did, exactly; potentials in state integers."""

    name: str
    steps: int = 0
    neurons: int = 0
    graded: bool = False
    """Whether inputs are counts, so that an operation is a multiplication; else they are spikes."""
    operations: int = 0
    """Synaptic operations: an input that is not zero, times a weight that is not zero."""
    inputs: int = 0
    """Inputs that were not zero: messages that arrived."""
    spikes: int = 0
    wrapped: int = 0
    """Synaptic sums that left 24 bits."""
    saturated: int = 0
    largest_state: int = 0
    largest_input: int = 0

    def add(self, steps: int, inputs: int, report: NDArray[np.int64]) -> None:
        """Add the report of one call of a kernel."""
        self.steps += steps
        self.inputs += inputs
        self.operations += int(report[0])
        self.spikes += int(report[1])
        self.wrapped += int(report[2])
        self.saturated += int(report[3])
        self.largest_state = max(self.largest_state, int(report[4]))
        self.largest_input = max(self.largest_input, int(report[5]))


class ConvLIFScan:
    """A convolution layer made ready for the kernel: weights channels last."""

    def __init__(self, layer: ConvLIF, graded: bool = False) -> None:
        self.layer = layer
        self._weights = np.ascontiguousarray(layer.weights.transpose(2, 3, 1, 0).astype(np.int64))
        self._fan_out = np.count_nonzero(self._weights, axis=-1)
        self._neuron = layer.keep, layer.state_threshold, layer.state_bias
        channels, self._height, self._width = layer.output_shape
        self._channels = channels
        self.counts = LayerCounts(layer.name, neurons=channels * self._height * self._width, graded=graded)

    def rest(self, *batch: int) -> NDArray[np.int32]:
        """State at rest, `[*batch, height, width, channel]`."""
        return np.zeros((*batch, self._height, self._width, self._channels), np.int32)

    def __call__(self, x: NDArray[np.int32], v: NDArray[np.int32]) -> NDArray[np.int32]:
        """Spikes `[time, height, width, channel]` for inputs of that order; renews `v` in place."""
        out = np.empty((len(x), *v.shape), np.int32)
        report = np.zeros(6, np.int64)
        keep, threshold, bias = self._neuron
        how = self.layer.stride, self.layer.padding, keep, threshold, bias
        conv_lif_scan(x, self._weights, self._fan_out, *how, v, out, report)
        self.counts.add(len(x), int(np.count_nonzero(x)), report)
        return out


def _conv_scans(layers: Sequence[ConvLIF]) -> list[ConvLIFScan]:
    """The first hears counts, the others spikes."""
    return [ConvLIFScan(layer, graded=number == 0) for number, layer in enumerate(layers)]


class TCLIFScan:
    """A recurrent TC-LIF layer made ready for the kernel."""

    def __init__(self, layer: RecurrentTCLIF) -> None:
        self.layer = layer
        self._weights = np.ascontiguousarray(layer.weights.T.astype(np.int64))
        self._fan_out = np.count_nonzero(self._weights, axis=1)
        factors = layer.feedback.astype(np.int64), layer.feedforward.astype(np.int64)
        self._neuron = (layer.keep, *factors, layer.state_threshold, layer.state_gamma, layer.state_bias)
        self.counts = LayerCounts(layer.name, neurons=len(layer.decay))

    def rest(self, *batch: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Compartments `[*batch, 2, n]` and last spikes `[*batch, n]` at rest."""
        count = len(self.layer.decay)
        return np.zeros((*batch, 2, count), np.int32), np.zeros((*batch, count), np.int32)

    def round(self, currents: NDArray[np.floating]) -> NDArray[np.int32]:
        """Real currents as graded input; in double precision, so that every executor rounds alike."""
        return np.clip(np.rint(currents.astype(np.float64) / self.layer.input_unit), -INPUT_MAX, INPUT_MAX).astype(
            np.int32
        )

    def __call__(self, x: NDArray[np.int32], u: NDArray[np.int32], last: NDArray[np.int32]) -> NDArray[np.int32]:
        """Spikes `[time, n]` for graded inputs; renews `u` and `last` in place."""
        out = np.empty(x.shape, np.int32)
        report = np.zeros(6, np.int64)
        tclif_scan(x, self._weights, self._fan_out, *self._neuron, u, last, out, report)
        self.counts.add(len(x), int(np.count_nonzero(x)), report)
        return out


class IntReference:
    """The chip parts of a package, step by step for one sequence: spikes from integer frames, in host integers.

    The truth of the package: other executors are right when they equal it.
    """

    def __init__(self, layers: Sequence[ChipLayer]) -> None:
        self.convolutions = _conv_scans([layer for layer in layers if isinstance(layer, ConvLIF)])
        self.heads = [TCLIFScan(layer) for layer in layers if isinstance(layer, RecurrentTCLIF)]
        self.reset()

    def reset(self) -> None:
        """All states to rest: the next frame is the first of a sequence."""
        self._membranes = [layer.rest() for layer in self.convolutions]
        self._compartments = [layer.rest() for layer in self.heads]

    def layers(self, frame: NDArray[np.int32]) -> list[NDArray[np.int32]]:
        """Spikes of every convolution layer, channels first, for one frame `[channel, height, width]`."""
        x = np.ascontiguousarray(frame.transpose(1, 2, 0))[None]
        spikes = []
        for layer, v in zip(self.convolutions, self._membranes, strict=True):
            x = layer(x, v)
            spikes.append(x[0].transpose(2, 0, 1))
        return spikes

    def step(self, frame: NDArray[np.int32]) -> NDArray[np.int32]:
        """Spikes of the last convolution layer, `[channel, height, width]`."""
        return self.layers(frame)[-1]

    def head(self, currents: NDArray[np.int32]) -> NDArray[np.int32]:
        """Spikes of the recurrent layer for graded input `[n]`."""
        (layer,), ((u, last),) = self.heads, self._compartments
        return layer(currents[None], u, last)[0]

    @property
    def membranes(self) -> list[NDArray[np.int32]]:
        """States of the convolution layers, `[height, width, channel]`."""
        return self._membranes

    @property
    def compartments(self) -> NDArray[np.int32]:
        """Dendrites and somata of the recurrent layer, `[2, n]`."""
        return self._compartments[0][0]

    @property
    def counts(self) -> list[LayerCounts]:
        """What every layer has done since it was made."""
        return [*(layer.counts for layer in self.convolutions), *(layer.counts for layer in self.heads)]


class IntegerBackbone(Temporal):
    """The convolution layers over time; the state is one int32 tensor `[batch, height, width, channel]` per layer."""

    def __init__(self, layers: Sequence[ConvLIF]) -> None:
        super().__init__()
        self.scans = _conv_scans(layers)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return tuple(torch.from_numpy(scan.rest(batch)) for scan in self.scans)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.scans[-1].layer.output_shape

    def forward(self, xs: Float[Tensor, "time batch *map"], state: State | None = None) -> tuple[Tensor, State]:
        renewed = self.initial_state(xs.shape[1], ()) if state is None else tuple(part.clone() for part in state)
        frames = xs.permute(1, 0, 3, 4, 2).to(torch.int32).contiguous().numpy()
        rows = []
        for row, x in enumerate(frames):
            for scan, v in zip(self.scans, renewed, strict=True):
                x = scan(x, v[row].numpy())
            rows.append(torch.from_numpy(x))
        return torch.stack(rows, dim=1).permute(0, 1, 4, 2, 3).to(xs.dtype).contiguous(), renewed


class HeadState(NamedTuple):
    """Compartments `[batch, 2, n]` and last spikes `[batch, n]`, int32."""

    compartments: Tensor
    spikes: Tensor


class IntegerHead(Temporal):
    """The recurrent layer over time; it rounds the host's currents to graded input."""

    def __init__(self, layer: RecurrentTCLIF) -> None:
        super().__init__()
        self.scan = TCLIFScan(layer)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> HeadState:
        return HeadState(*(torch.from_numpy(part) for part in self.scan.rest(batch)))

    def forward(self, xs: Float[Tensor, "time batch n"], state: State | None = None) -> tuple[Tensor, HeadState]:
        old = self.initial_state(xs.shape[1], ()) if state is None else state
        renewed = HeadState(*(part.clone() for part in old))
        graded = np.ascontiguousarray(self.scan.round(xs.detach().numpy()).swapaxes(0, 1))
        rows = [
            torch.from_numpy(self.scan(x, u.numpy(), last.numpy()))
            for x, u, last in zip(graded, renewed.compartments, renewed.spikes, strict=True)
        ]
        return torch.stack(rows, dim=1).to(xs.dtype), renewed


def integer_parts(layers: Sequence[ChipLayer]) -> tuple[IntegerBackbone, IntegerHead]:
    """Backbone and head of a package's layers."""
    (head,) = [layer for layer in layers if isinstance(layer, RecurrentTCLIF)]
    return IntegerBackbone([layer for layer in layers if isinstance(layer, ConvLIF)]), IntegerHead(head)
