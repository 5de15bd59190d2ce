"""Generalised integrate and fire (SpikeLLM): a step may send a small whole number, salient channels get more."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.temporal import State, Temporal


class GIFState(NamedTuple):
    """The membrane."""

    membrane: Tensor


class GIF(Temporal):
    """`u <- β u + x`, `s` the whole part of `u / θ` in 0..L, `u <- u - θ s`, output `θ s` (Xing et al. 2024).

    A step of L levels carries `log2(L + 1)` bits where a spike carries one; L = 1 is integrate and fire that fires at
    `u >= θ`. The gradient of the staircase is 1 between 0 and θ (L + 1), else 0. `signed` lets a membrane below 0 send
    negative numbers, `-L` at most, for inputs of both signs.
    """

    def __init__(self, levels: int = 3, threshold: float = 1.0, beta: float = 1.0, *, signed: bool = False) -> None:
        super().__init__()
        if levels < 1 or not threshold > 0 or not 0 <= beta <= 1:
            raise ConfigError(
                f"GIF: needs levels >= 1, threshold > 0 and beta in 0..1, got {levels}, {threshold:g}, {beta:g}"
            )
        self.levels, self.signed = levels, signed
        self.register_buffer("threshold", torch.tensor(threshold))
        self.register_buffer("beta", torch.tensor(beta))

    threshold: Tensor
    beta: Tensor

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> GIFState:
        return GIFState(self.threshold.new_zeros(batch, *shape))

    def step(self, x: Float[Tensor, "batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        membrane = torch.zeros_like(x) if state is None else state.membrane
        membrane = self.beta.to(x.dtype) * membrane + x
        threshold = self.threshold.to(x.dtype)
        level = membrane / threshold
        count = _staircase(level, -self.levels if self.signed else 0, self.levels)
        sent = count * threshold
        return sent, GIFState(membrane - sent.detach())

    def extra_repr(self) -> str:
        return f"levels={self.levels}, threshold={float(self.threshold):g}, signed={self.signed}"


def _staircase(level: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers towards zero, clipped; the gradient is that of the clipped line."""
    line = level.clamp(low - 1 if low else 0, high + 1)
    return line + (level.trunc().clamp(low, high) - line).detach()


class MicroSteps(Temporal):
    """Each step of the sequence takes several steps of a neuron: the input at the first, what was sent summed up.

    `steps` is one number, or one per channel `[features]` (see `allocate_steps`): a channel is silent after its last.
    The neuron's membrane begins at rest at every step of the sequence, so the state is empty.
    """

    def __init__(self, neuron: Temporal, steps: int | Int[Tensor, " features"]) -> None:
        super().__init__()
        self.neuron = neuron
        self.register_buffer("steps", torch.as_tensor(steps))
        if int(self.steps.min()) < 1:
            raise ConfigError("micro-steps: every channel needs at least one")

    steps: Tensor

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return ()

    def step(self, x: Float[Tensor, "batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        total, inner = self.neuron.step(x)
        silence = torch.zeros_like(x)
        for number in range(1, int(self.steps.max())):
            sent, inner = self.neuron.step(silence, inner)
            total = total + sent * (number < self.steps)
        return total, ()


def saliency(linear: nn.Linear, inputs: Float[Tensor, "samples features"]) -> Float[Tensor, " features"]:
    """How much each input channel matters to the output on calibration data: mean of `|x ⊙ (x Wᵀ W)|` (first order)."""
    with torch.no_grad():
        felt = (inputs @ linear.weight.t()) @ linear.weight
        return (inputs * felt).abs().mean(0)


def allocate_steps(scores: Float[Tensor, " features"], share: float = 0.1, steps: int = 2) -> Int[Tensor, " features"]:
    """`steps` micro-steps for the `share` of channels with the highest scores, one for the others."""
    if not 0 <= share <= 1 or steps < 1:
        raise ConfigError(f"allocate_steps: share lies in 0..1 and steps is at least 1, got {share:g} and {steps}")
    chosen = torch.ones(len(scores), dtype=torch.long, device=scores.device)
    chosen[scores.argsort(descending=True)[: round(share * len(scores))]] = steps
    return chosen
