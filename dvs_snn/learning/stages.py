"""Networks in two stages: features of each bin, large inside and small outside, and what reads them over time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from dvs_snn.nn import State


@runtime_checkable
class Staged(Protocol):
    """`forward` is `decide` of `features`; each takes the whole state and renews its own part of it.

    In a state that has not begun, the parts are None.
    """

    def features(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]: ...

    def decide(self, features: Tensor, state: State) -> tuple[Tensor, State]: ...


@contextmanager
def norms_remembering(network: nn.Module, share: float) -> Iterator[None]:
    """While entered, each call of a batch normalisation moves its running statistics as `share` of a call would.

    With share 0 they stay; with `1 / n` each, n calls together weigh as one.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            if norm.momentum is not None:
                norm.momentum = 1.0 - (1.0 - norm.momentum) ** share
        yield
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
