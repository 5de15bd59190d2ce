"""Neurons that the laws are tested on: every preset, the options that change its step, and recurrent ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from dvs_snn.nn import CUBALIF, LIF, PLIF, TCLIF, AdLIF, LeakyIntegrator, LinearNeuron
from dvs_snn.nn.surrogate import Surrogate

N = 6

CASES: dict[str, Callable[[], LinearNeuron]] = {
    "LIF": LIF,
    "LIF zero": lambda: LIF(0.8, reset="zero", detach_reset=False),
    "LIF learned": lambda: LIF(0.8, scale_input=True, learn_beta=True, learn_threshold=True, detach_reset=False),
    "LIF per neuron": lambda: LIF(0.8, learn_beta=True, learn_threshold=True, shape=(N,)),
    "LIF next step": lambda: LIF(0.8, reset_timing="next", learn_beta=True, detach_reset=False),
    "LIF zero next step": lambda: LIF(0.8, reset="zero", reset_timing="next", learn_beta=True, detach_reset=False),
    "LIF no reset": lambda: LIF(0.5, reset="none"),
    "PLIF": PLIF,
    "CUBALIF": lambda: CUBALIF(learn_alpha=True, learn_beta=True, learn_threshold=True, detach_reset=False),
    "CUBALIF zero next step": lambda: CUBALIF(reset="zero", reset_timing="next", learn_beta=True),
    "AdLIF": lambda: AdLIF((N,)),
    "AdLIF soft": lambda: AdLIF((N,), reset="soft", detach_reset=False),
    "TCLIF": TCLIF,
    "TCLIF learned": lambda: TCLIF(0.3, -0.4, learn_threshold=True, learn_gamma=True, leak=0.9, shape=(N,)),
    "LeakyIntegrator": lambda: LeakyIntegrator(learn_beta=True, scale_input=True),
    "LIF recurrent": lambda: LIF(recurrent=N),
    "LIF recurrent next step": lambda: LIF(0.8, recurrent=N, reset_timing="next", learn_beta=True, detach_reset=False),
    "TCLIF recurrent": lambda: TCLIF(recurrent=N),
    "AdLIF recurrent": lambda: AdLIF((N,), recurrent=N),
}


def make(name: str, surrogate: Surrogate | None = None) -> LinearNeuron:
    """A neuron of this kind in float64."""
    neuron = CASES[name]().double()
    if surrogate is not None:
        neuron.surrogate = surrogate.double()
    return neuron


def currents(neuron: LinearNeuron, time: int, *sample: int) -> Tensor:
    """Input that makes this neuron fire now and then: adLIF divides it by its membrane's time constant."""
    gain = 40.0 if isinstance(neuron, AdLIF) else 1.5
    return gain * (0.3 + torch.randn(time, *sample, dtype=torch.float64))
