"""Counts of a cochlea's channels made alike for all voices: compressed, divided by their level, adapted to."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.nn import LeakyIntegrator, State, Temporal

SEMI_SATURATION = 0.1
"""Mean activity, in nepers per channel, at which the gain is half: silence is not blown up to speech."""


class Logarithm(nn.Module):
    """`log(1 + x)`: loudness differs by orders of magnitude, what is said does not."""

    def forward(self, counts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.log1p(counts)


class DivisiveGain(nn.Module):
    """`x / (2 (σ + mean x))`, the mean over all channels of the bin: the level goes, the spectrum's shape stays.

    Divisive normalisation (Carandini & Heeger 2012), without memory.
    """

    def forward(self, x: Float[Tensor, batch * shape]) -> Float[Tensor, batch * shape]:
        mean = x.flatten(1).mean(1).view(-1, *(1,) * (x.dim() - 1))
        return 0.5 * x / (SEMI_SATURATION + mean)


class Adaptation(Temporal):
    """`y = x - m`, `m <- m + (x - m) / τ` (m as just updated): onsets pass, a hum or a microphone's colour fades.

    `tau` in bins; a constant input c from rest gives `y[t] = c (1 - 1/τ)^(t+1)`.
    """

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.mean = LeakyIntegrator(1.0 - 1.0 / tau, scale_input=True)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return self.mean.initial_state(batch, shape)

    def forward(
        self, xs: Float[Tensor, "time batch channel"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch channel"], State]:
        means, state = self.mean(xs, state)
        return xs - means, state
