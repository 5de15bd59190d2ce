"""The non-spiking twin of a network: the same layers and sizes, neurons that leak and rectify in place of spikes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.nn.linear_neuron import LinearNeuron, RecurrentState, linear_step
from dvs_snn.nn.neurons import TCLIF
from dvs_snn.nn.temporal import State, Temporal

Network = TypeVar("Network", bound=nn.Module)

DAMPING = 0.95


class Twin(Temporal):
    """A linear neuron without threshold and reset, rectified: `u <- A u + B x`, output `max(0, u_f)`.

    LIF becomes leaky integrate -> ReLU. Parameters keep their number; thresholds and what follows a spike (the
    adaptation of `AdLIF`) go unused. A recurrent layer hears its rectified outputs of the step before. A TC-LIF without
    a leak gets one (`DAMPING`): nothing else would take the energy out of its loop that the reset takes out.
    """

    def __init__(self, neuron: LinearNeuron) -> None:
        super().__init__()
        self.neuron = neuron
        neuron.structure = replace(neuron.structure, spiking=False, delayed=False)
        if isinstance(neuron, TCLIF):
            neuron.leak = min(neuron.leak, DAMPING)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return self.neuron.initial_state(batch, shape)

    def forward(self, xs: Float[Tensor, "time batch *sample"], state: State | None = None) -> tuple[Tensor, State]:
        neuron = self.neuron
        if neuron.recurrent is None:
            potentials, state = neuron(xs, state)
            return torch.relu(potentials), state
        if state is None:
            state = neuron.initial_state(xs.shape[1], tuple(xs.shape[2:]))
        coefficients = neuron.coefficients(xs.dtype)
        u, active = tuple(state.neuron), state.spikes
        outputs = []
        for x in xs:
            how = (coefficients, neuron.structure, neuron.surrogate, neuron.detach_reset)
            potential, u = linear_step(x + neuron.recurrent(active), u, *how)
            active = torch.relu(potential)
            outputs.append(active)
        return torch.stack(outputs), RecurrentState(neuron.state_type(*u), active)


def twin_of(network: Network) -> Network:
    """A copy whose spiking neurons are `Twin`s; leaky read-outs stay as they are."""
    twin = copy.deepcopy(network)
    for parent in list(twin.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, LinearNeuron) and module.structure.spiking:
                setattr(parent, name, Twin(module))
    return twin
