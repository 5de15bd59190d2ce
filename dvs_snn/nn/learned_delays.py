"""Synapses whose delays are learned (DCLS, Hammouamri et al. 2024), forward and recurrent, on one ring buffer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.delays import Past, RingBuffer
from dvs_snn.nn.linear_neuron import LinearNeuron
from dvs_snn.nn.temporal import State, Temporal

FINAL_WIDTH = 0.23
"""Width of a tap, in steps, once it has narrowed: nearly all of it lies on one step."""
NARROWING = 0.25
"""Share of a training over which the taps narrow."""
REACH = 50.0
"""Steps of delay per unit of its parameter: a delay moves on another scale than a weight under one learning rate."""


class DelayedLinear(Temporal):
    """A linear map each of whose synapses has a delay of its own, in steps: `y_i[t] = Σ_j w_ij x_j[t - d_ij]`.

    In training a synapse is a tap of Gaussian shape over the steps 0..`delay`,

        k_ij[n] = w_ij exp(-(n - d_ij)² / 2σ²) / Σ_m exp(-(m - d_ij)² / 2σ²),

    whose place d_ij the gradient can move; σ narrows exponentially from `delay / 2` to 0.23 steps over the first
    quarter of a training (`anneal`). In evaluation mode delays are whole steps.
    """

    position: nn.Parameter
    width: Tensor

    def __init__(self, in_features: int, out_features: int, delay: int) -> None:
        super().__init__()
        if delay < 1:
            raise ConfigError(f"the longest delay must be at least 1 step, got {delay}")
        self.delay = delay
        self.buffer = RingBuffer(delay)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.uniform_(self.weight, -1.0 / math.sqrt(in_features), 1.0 / math.sqrt(in_features))
        self.position = nn.Parameter((torch.rand(out_features, in_features) - 0.5) * delay / REACH)
        self.register_buffer("width", torch.tensor(max(delay / 2.0, FINAL_WIDTH)))

    def delays(self) -> Float[Tensor, "out inputs"]:
        """d, in steps, 0..`delay`; the parameter is brought back into the range before every use in training."""
        bound = self.delay / 2.0 / REACH
        if self.training:
            self.position.data.clamp_(-bound, bound)
        return ((self.position + bound) * REACH).clamp(0.0, float(self.delay))

    def kernel(self) -> Float[Tensor, out in taps]:
        """k, by steps ago."""
        steps = torch.arange(self.delay + 1, device=self.weight.device, dtype=self.weight.dtype)
        delays = self.delays().unsqueeze(-1)
        if not self.training:
            return (steps == delays.round()).to(self.weight.dtype) * self.weight.unsqueeze(-1)
        shape = torch.softmax(-((steps - delays) ** 2) / (2.0 * self.width**2), dim=-1)
        return shape * self.weight.unsqueeze(-1)

    def anneal(self, progress: float) -> None:
        """Set σ for a share of the training done."""
        first = max(self.delay / 2.0, FINAL_WIDTH)
        self.width.fill_(first * (FINAL_WIDTH / first) ** min(progress / NARROWING, 1.0))

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> Past:
        return self.buffer.initial_state(batch, shape)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.weight.shape[0])

    def forward(self, xs: Float[Tensor, "time batch inputs"], state: State | None = None) -> tuple[Tensor, Past]:
        history, past = self.buffer.extend(xs, state)
        outputs = F.conv1d(history.permute(1, 2, 0), self.kernel().flip(-1))
        return outputs.permute(2, 0, 1).contiguous(), past

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, delay={self.delay}"


class DelayedRecurrentState(NamedTuple):
    """The neurons' own state and the spikes that are still under way."""

    neuron: State
    spikes: Past


class DelayedRecurrent(Temporal):
    """Neurons that hear their own spikes late (DelRec, 2025): their input is `x[t] + Σ_j w_ij s_j[t - 1 - d_ij]`."""

    def __init__(self, neuron: LinearNeuron, neurons: int, delay: int) -> None:
        super().__init__()
        if neuron.recurrent is not None:
            raise ConfigError("neurons with delayed recurrence have no other: give recurrent=0")
        self.neuron = neuron
        self.feedback = DelayedLinear(neurons, neurons, delay)
        self.buffer = RingBuffer(delay + 1)  # a spike is heard in the next step at the earliest

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> DelayedRecurrentState:
        return DelayedRecurrentState(self.neuron.initial_state(batch, shape), self.buffer.initial_state(batch, shape))

    def forward(
        self, xs: Float[Tensor, "time batch n"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch n"], DelayedRecurrentState]:
        state = self.initial_state(xs.shape[1], tuple(xs.shape[2:])) if state is None else state
        neuron, past = state[0], Past(state[1][0].to(xs))
        # Oldest spikes first, as they lie in the buffer: one matrix product per step.
        kernel = self.feedback.kernel().flip(-1).permute(2, 1, 0).flatten(0, 1)
        outputs = []
        for x in xs:
            spikes, neuron = self.neuron.step(x + past.values.flatten(1) @ kernel, neuron)
            _, past = self.buffer.extend(spikes.unsqueeze(0), past)
            outputs.append(spikes)
        return torch.stack(outputs), DelayedRecurrentState(neuron, past)
