"""The linear multi-state neuron: every neuron here is a choice of coefficients for one step.

A neuron has K <= 4 states u (its membrane among them). One step, rows in order, each row seeing what the rows before it
have just made (so two coupled rows are two shears, not one matrix):

    rows `before`:  u_k <- Σ_j A_kj u_j + B_k x
    spike:          s = 1 if u_f > θ else 0
    reset:          u_k <- u_k - R_k s  (soft)      or  u_k <- 0 where s (hard, states of `hard`)
    rows `after`:   u_k <- Σ_j A_kj u_j + G_k s

With `reset_timing="next"` the reset of a spike is done at the beginning of the step that follows it (soft: `- R_k s` is
added to the row's sum at its end), which is snnTorch's `reset_delay=True`. LIF is K = 1; the other presets are K = 2.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.fused import fusable, fused_scan
from dvs_snn.nn.recurrent import fused_recurrent_scan
from dvs_snn.nn.surrogate import ATan, Surrogate
from dvs_snn.nn.temporal import State, Temporal

Coefficient: TypeAlias = Tensor | float
"""0-dim, or broadcastable to one sample (`[n]`, `[C, 1, 1]`); the floats 0 and 1 mean absent and bare."""

Reset: TypeAlias = Literal["soft", "zero", "none"]
ResetTiming: TypeAlias = Literal["same", "next"]


@dataclass(frozen=True)
class Structure:
    """What is fixed about a kind of neuron; the compiled kernels are made per structure."""

    states: int
    fires: int = 0
    """The state that is compared with the threshold."""
    before: tuple[int, ...] = (0,)
    """Rows updated by the input, in order."""
    after: tuple[int, ...] = ()
    """Rows updated after the reset, in order; never the one that fires."""
    delayed: bool = False
    """The reset is done in the next step."""
    spiking: bool = True
    """If not, there is no threshold and the output is the state `fires`."""


@dataclass(frozen=True)
class Coefficients:
    """A, B, R, G and θ of one step; what is not named is absent. Keys are states (row, or row and column)."""

    transition: dict[tuple[int, int], Coefficient]
    input: dict[int, Coefficient] = field(default_factory=lambda: {0: 1.0})
    reset: dict[int, Coefficient] = field(default_factory=dict)
    hard: tuple[int, ...] = ()
    kick: dict[int, Coefficient] = field(default_factory=dict)
    threshold: Coefficient = 1.0


def linear_step(
    x: Tensor,
    u: tuple[Tensor, ...],
    c: Coefficients,
    structure: Structure,
    surrogate: Surrogate,
    detach_reset: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step in plain torch: the reference that the fused scans equal (see the module's docstring)."""
    states = list(u)

    def row(k: int) -> Tensor:
        own = _times(c.transition.get((k, k), 0.0), states[k])
        parts = [_times(c.transition.get((k, j), 0.0), states[j]) for j in range(structure.states) if j != k]
        total = own
        for part in parts:
            total = _plus(total, part)
        return torch.zeros_like(x) if total is None else total

    def reset(signal: Tensor) -> None:
        for k in range(structure.states):
            if k in c.hard:
                states[k] = states[k] * (1 - signal)

    previous: Tensor | None = None
    if structure.delayed and structure.spiking:
        previous = surrogate(states[structure.fires] - c.threshold)
        previous = previous.detach() if detach_reset else previous
        reset(previous)
    for k in structure.before:
        states[k] = row(k)
        part = _times(c.input.get(k, 0.0), x)
        if part is not None:
            states[k] = states[k] + part
        if previous is not None and k in c.reset:
            states[k] = states[k] - c.reset[k] * previous
    if not structure.spiking:
        return states[structure.fires], tuple(states)
    spikes = surrogate(states[structure.fires] - c.threshold)
    signal = spikes.detach() if detach_reset else spikes
    if not structure.delayed:
        reset(signal)
        for k, amount in c.reset.items():
            states[k] = states[k] - amount * signal
    for k in structure.after:
        states[k] = row(k)
        part = _times(c.kick.get(k, 0.0), spikes)
        if part is not None:
            states[k] = states[k] + part
    return spikes, tuple(states)


def linear_scan(
    xs: Tensor,
    u: tuple[Tensor, ...],
    c: Coefficients,
    structure: Structure,
    surrogate: Surrogate,
    detach_reset: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`linear_step` folded over time: the plain scan."""
    outputs = []
    for x in xs:
        output, u = linear_step(x, u, c, structure, surrogate, detach_reset)
        outputs.append(output)
    return torch.stack(outputs), u


def recurrent_scan(
    xs: Tensor,
    u: tuple[Tensor, ...],
    spikes: Tensor,
    recurrent: nn.Linear | nn.Conv2d,
    c: Coefficients,
    structure: Structure,
    surrogate: Surrogate,
    detach_reset: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`linear_step` folded over time, with the layer's last spikes added to its input through `recurrent`."""
    outputs = []
    for x in xs:
        spikes, u = linear_step(x + recurrent(spikes), u, c, structure, surrogate, detach_reset)
        outputs.append(spikes)
    return torch.stack(outputs), u


def _times(coefficient: Coefficient, tensor: Tensor) -> Tensor | None:
    if isinstance(coefficient, Tensor):
        return coefficient * tensor
    if coefficient == 0:
        return None
    return tensor if coefficient == 1 else coefficient * tensor


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return a if b is None else b
    return a + b


def _check_map(recurrent: nn.Conv2d) -> None:
    rows, columns = recurrent.kernel_size
    kept = recurrent.in_channels == recurrent.out_channels and recurrent.padding in ("same", (rows // 2, columns // 2))
    plain = (*recurrent.stride, *recurrent.dilation, recurrent.groups) == (1, 1, 1, 1, 1)
    if not kept or not plain or rows % 2 == 0 or columns % 2 == 0:
        raise ConfigError("a recurrent convolution keeps channels and sides: odd kernel, padded by its half, stride 1")


class RecurrentState(NamedTuple):
    """The neuron's own state and its last spikes, which it hears in the next step."""

    neuron: Any
    spikes: Tensor


class LinearNeuron(Temporal):
    """Base of the presets: subclasses name their states, their structure and their coefficients.

    Options, with their defaults:
        reset: "soft" subtracts, "zero" sets to zero, "none" leaves the membrane.
        reset_timing: "same" step as the spike; "next" as snnTorch's `reset_delay=True`.
        detach_reset: True; no gradient flows through the reset's spike.
        recurrent: 0; n adds a linear map `[n, n]` of the layer's own last spikes to the input `[batch, n]`; a
            `nn.Conv2d` that keeps channels and sides does so for maps `[batch, channel, row, column]`.
    """

    state_type: ClassVar[Any]
    recurrent_bias: ClassVar[bool] = False
    structure: Structure

    def __init__(
        self,
        structure: Structure,
        *,
        surrogate: Surrogate | None,
        detach_reset: bool = True,
        recurrent: int | nn.Conv2d = 0,
    ) -> None:
        super().__init__()
        if not 1 <= structure.states <= 4 or structure.fires in structure.after:
            raise ConfigError(
                "a linear neuron has 1 to 4 states, and the one that fires is not updated after the reset"
            )
        if isinstance(recurrent, nn.Conv2d):
            _check_map(recurrent)
        elif recurrent < 0:
            raise ConfigError(f"recurrent is the number of neurons of the layer, 0 for none; got {recurrent}")
        self.structure = structure
        self.surrogate = surrogate if surrogate is not None else ATan()
        self.detach_reset = detach_reset
        self.recurrent: nn.Linear | nn.Conv2d | None = None
        if isinstance(recurrent, nn.Conv2d):
            self.recurrent = recurrent
        elif recurrent:
            self.recurrent = nn.Linear(recurrent, recurrent, bias=self.recurrent_bias)
            nn.init.orthogonal_(self.recurrent.weight)

    @abstractmethod
    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        """The step's coefficients from the parameters, in the scan's precision."""

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        like = self.surrogate.scale
        return self._rest(torch.empty(0, dtype=like.dtype, device=like.device), (batch, *shape))

    def _rest(self, like: Tensor, shape: tuple[int, ...]) -> State:
        zeros = (like.new_zeros(shape) for _ in itertools.repeat(None))
        neuron = self.state_type(*itertools.islice(zeros, self.structure.states))
        return neuron if self.recurrent is None else RecurrentState(neuron, next(zeros))

    def forward(self, xs: Float[Tensor, "time batch *sample"], state: State | None = None) -> tuple[Tensor, State]:
        if len(xs) == 0:
            raise ValueError("a sequence needs at least one step")
        if state is not None:
            self._check(state, tuple(xs.shape[1:]))
        c = self.coefficients(xs.dtype)
        how = (c, self.structure, self.surrogate, self.detach_reset)
        fused = fusable(xs, self.surrogate)
        if self.recurrent is None:
            if fused:
                outputs, u = fused_scan(xs, None if state is None else tuple(state), *how)
            else:
                outputs, u = linear_scan(xs, tuple(state or self._rest(xs, tuple(xs.shape[1:]))), *how)
            return outputs, self.state_type(*u)
        state = state or self._rest(xs, tuple(xs.shape[1:]))
        scan = fused_recurrent_scan if fused else recurrent_scan
        outputs, u = scan(xs, tuple(state.neuron), state.spikes, self.recurrent, *how)
        return outputs, RecurrentState(self.state_type(*u), outputs[-1])

    def _check(self, state: State, shape: tuple[int, ...]) -> None:
        """A state of another batch would be broadcast without a word."""
        tensors = state if self.recurrent is None else (*state.neuron, state.spikes)
        for tensor in tensors:
            if tuple(tensor.shape) != shape:
                raise ValueError(f"state of shape {tuple(tensor.shape)} does not fit an input of shape {shape}")
