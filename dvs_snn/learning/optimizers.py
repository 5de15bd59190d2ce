"""Optimizers and their schedule: AdamW, and Muon for the matrices inside a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError

OPTIMIZERS = ("adamw", "muon")
READS_OUT = ("head", "readout", "shortcut")
"""Names of layers whose weights Muon leaves to AdamW."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov & Hutter 2019) with a linear warm-up and a cosine descent to `final` times the rate.

    `name` muon moves the matrices between layers by `Muon`, the rest by AdamW. `warmup` is a share of all steps;
    gradients are scaled down to the norm `clip_norm` (0: never). Weight decay spares vectors and scalars: biases,
    normalisation, thresholds and time constants.
    """

    lr: float = 2e-3
    weight_decay: float = 1e-2
    warmup: float = 0.03
    final: float = 0.01
    clip_norm: float = 1.0
    name: str = "adamw"

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.weight_decay < 0 or self.clip_norm < 0:
            raise ConfigError("optimizer: lr must be above zero, weight_decay and clip_norm not negative")
        if not 0 <= self.warmup < 1 or not 0 <= self.final <= 1:
            raise ConfigError("optimizer: warmup and final are shares, in 0..1")
        if self.name not in OPTIMIZERS:
            raise ConfigError(f"optimizer.name {self.name!r} is unknown; known: {', '.join(OPTIMIZERS)}")

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of update number `step` of `steps`."""
        warm = round(self.warmup * steps)
        if step < warm:
            return self.lr * (step + 1) / warm
        progress = min((step - warm) / max(steps - warm, 1), 1.0)
        return self.lr * (self.final + (1 - self.final) * 0.5 * (1 + cos(pi * progress)))


class Muon(torch.optim.AdamW):
    """AdamW whose groups marked `orthogonal` hold matrices that move along their momentum made orthogonal.

        B <- μ B + G        W <- W - η (λ W + 0.2 √max(m, n) · NS(G + μ B)),   μ = 0.95, W of m x n

    NS makes all singular values about 1 (Jordan et al. 2024); by the factor an entry moves as far as one of AdamW's, so
    both take one rate η (Liu et al. 2025). A convolution's weights are one matrix, a row per channel that it makes.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # type: ignore[override]
        for group in self.param_groups:
            if group.get("orthogonal"):
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._move(weight, weight.grad, group)
                        weight.grad = None  # done: what follows moves the others
        return super().step(closure)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(weight)
        state["step"] += 1
        momentum = state["momentum"].mul_(0.95).add_(gradient)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        way = (gradient + 0.95 * momentum).flatten(1)
        weight.sub_(orthogonal(way).view_as(weight), alpha=0.2 * group["lr"] * max(way.shape) ** 0.5)


def orthogonal(matrix: Float[Tensor, "rows columns"], rounds: int = 5) -> Float[Tensor, "rows columns"]:
    """`U Vᵀ` of `U S Vᵀ`, about: singular values between 0.7 and 1.2, by Newton-Schulz steps in bfloat16.

    `X <- a X + (b A + c A²) X, A = X Xᵀ` with a = 3.4445, b = -4.775, c = 2.0315 (Jordan et al. 2024).
    """
    a, b, c = 3.4445, -4.775, 2.0315
    x = matrix.bfloat16()
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """The optimizer of a network's parameters that learn."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    inner = matrices_inside(network) if config.name == "muon" else set()
    decayed = [p for p in trained if p.dim() > 1]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in decayed if p not in inner], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        {"params": [p for p in decayed if p in inner], "weight_decay": config.weight_decay, "orthogonal": True},
    ]
    kind = Muon if config.name == "muon" else torch.optim.AdamW
    return kind([group for group in groups if group["params"]], lr=config.lr)


def matrices_inside(network: nn.Module) -> set[nn.Parameter]:
    """The weights of linear and recurrent layers and of convolutions over all channels, without those that read out.

    What reads out is called `head` where that is a layer, or `readout` or `shortcut`.
    """
    inside = set()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            continue
        if isinstance(layer, nn.Linear | nn.RNNBase | nn.Conv2d) and name.rpartition(".")[2] not in READS_OUT:
            inside |= {p for p in layer.parameters(recurse=False) if p.dim() >= 2}
    return inside
