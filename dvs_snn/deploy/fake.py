"""The fake-quantised network: torch in float64 with the package's weights, decays, thresholds and biases.

It works in the chip's own integers (a weight is a whole number, a spike is 1), so sums are exact. States are real
numbers, or rounded toward zero after every product as on the chip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.deploy.fixed_point import DECAY_ONE, INPUT_MAX, STATE_MAX, STATE_ONE
from dvs_snn.deploy.layers import ChipLayer, ConvLIF, RecurrentTCLIF
from dvs_snn.nn import LIF, TCLIF, Sequential, State, Temporal
from dvs_snn.nn.linear_neuron import Coefficients, RecurrentState
from dvs_snn.nn.neurons import TCLIFState


def fake_backbone(layers: Sequence[ConvLIF], rounded: bool = False) -> Sequential:
    """The convolution layers; `rounded` rounds states as the chip does."""
    modules: list[nn.Module] = []
    for layer in layers:
        targets, sources, kernel, _ = layer.mantissas.shape
        convolution = nn.Conv2d(sources, targets, kernel, layer.stride, layer.padding).double()
        shape = (targets, 1, 1)
        beta, threshold = (torch.from_numpy(v).double().view(shape) for v in (layer.keep, layer.state_threshold))
        neuron = LIF(reset="zero", shape=shape).double()
        with torch.no_grad():
            convolution.weight.copy_(torch.from_numpy(layer.weights) * STATE_ONE)
            assert convolution.bias is not None
            convolution.bias.copy_(torch.from_numpy(layer.state_bias))
            neuron.beta.copy_(beta / DECAY_ONE)
            neuron.threshold.copy_(threshold)
        modules += [convolution, RoundedLIF(beta, threshold) if rounded else neuron]
    return Sequential(*modules).requires_grad_(False).eval()


def fake_head(layer: RecurrentTCLIF, rounded: bool = False) -> GradedHead:
    """The recurrent layer, which gets the host's currents; `rounded` as above."""
    return GradedHead(layer, RoundedTCLIF(layer) if rounded else FixedTCLIF(layer)).requires_grad_(False).eval()


def fake_parts(layers: Sequence[ChipLayer], rounded: bool = False) -> tuple[Sequential, GradedHead]:
    """Backbone and head of a package's layers."""
    convolutions = [layer for layer in layers if isinstance(layer, ConvLIF)]
    (head,) = [layer for layer in layers if isinstance(layer, RecurrentTCLIF)]
    return fake_backbone(convolutions, rounded), fake_head(head, rounded)


class FixedTCLIF(TCLIF):
    """TC-LIF whose coefficients are a package's integers."""

    def __init__(self, layer: RecurrentTCLIF) -> None:
        count = len(layer.decay)
        super().__init__(recurrent=count, detach_reset=True)
        vectors = layer.keep, layer.feedback, layer.feedforward, layer.state_threshold, layer.state_gamma
        self.fixed = [torch.from_numpy(vector).double() for vector in vectors]
        assert isinstance(self.recurrent, nn.Linear)
        self.double()
        with torch.no_grad():
            self.recurrent.weight.copy_(torch.from_numpy(layer.weights) * STATE_ONE)
            self.recurrent.bias.copy_(torch.from_numpy(layer.state_bias))

    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        keep, feedback, feedforward, threshold, gamma = (part.to(dtype) for part in self.fixed)
        return Coefficients(
            transition={
                (0, 0): keep / DECAY_ONE,
                (0, 1): -feedback / DECAY_ONE,
                (1, 0): feedforward / DECAY_ONE,
                (1, 1): keep / DECAY_ONE,
            },
            reset={0: gamma, 1: threshold},
            threshold=threshold,
        )


class GradedHead(Temporal):
    """A head behind the rounding of the host's currents to graded input."""

    def __init__(self, layer: RecurrentTCLIF, neuron: Temporal) -> None:
        super().__init__()
        self.neuron = neuron
        self.input_unit = torch.from_numpy(layer.input_unit)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return self.neuron.initial_state(batch, shape)

    def graded(self, xs: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """Whole numbers of input, in state units."""
        # The same division in the same precision as the integer head's: a half must not fall to the other side.
        return (xs.double() / self.input_unit).round().clamp(-INPUT_MAX, INPUT_MAX) * STATE_ONE

    def step(self, x: Float[Tensor, "batch n"], state: State | None = None) -> tuple[Tensor, State]:
        spikes, state = self.neuron.step(self.graded(x), state)
        return spikes.to(x.dtype), state

    def forward(self, xs: Float[Tensor, "time batch n"], state: State | None = None) -> tuple[Tensor, State]:
        spikes, state = self.neuron(self.graded(xs), state)
        return spikes.to(xs.dtype), state


def _kept(state: Tensor, factor: Tensor) -> Tensor:
    """A product with a 12-bit factor, rounded toward zero; exact, because 24 + 12 bits fit a double."""
    return torch.trunc(state * factor / DECAY_ONE)


class RoundedLIF(Temporal):
    """LIF with zero reset whose membrane is rounded and saturates as on the chip."""

    def __init__(self, keep: Tensor, threshold: Tensor) -> None:
        super().__init__()
        self.keep, self.threshold = keep, threshold

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(batch, *shape, dtype=torch.float64)

    def step(self, x: Float[Tensor, "batch channel height width"], state: State | None = None) -> tuple[Tensor, State]:
        u = torch.zeros_like(x) if state is None else state
        u = (_kept(u, self.keep) + x).clamp(-STATE_MAX, STATE_MAX)
        spikes = (u > self.threshold).to(x)
        return spikes, u * (1 - spikes)


class RoundedTCLIF(Temporal):
    """Recurrent TC-LIF whose compartments are rounded and saturate as on the chip."""

    def __init__(self, layer: RecurrentTCLIF) -> None:
        super().__init__()
        self.fixed = FixedTCLIF(layer)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Any:
        return self.fixed.initial_state(batch, shape)

    def step(self, x: Float[Tensor, "batch n"], state: State | None = None) -> tuple[Tensor, State]:
        before = self.initial_state(len(x), tuple(x.shape[1:])) if state is None else state
        (dendrite, soma), spikes = before
        keep, feedback, feedforward, threshold, gamma = self.fixed.fixed
        assert self.fixed.recurrent is not None
        entering = x + self.fixed.recurrent(spikes)
        dendrite = (_kept(dendrite, keep) - _kept(soma, feedback) + entering).clamp(-STATE_MAX, STATE_MAX)
        soma = (_kept(soma, keep) + _kept(dendrite, feedforward)).clamp(-STATE_MAX, STATE_MAX)
        spikes = (soma > threshold).to(x)
        dendrite = (dendrite - gamma * spikes).clamp(min=-STATE_MAX)
        return spikes, RecurrentState(TCLIFState(dendrite, soma - threshold * spikes), spikes)
