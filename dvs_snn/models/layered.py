"""Networks that are one row of layers: maps in, class logits at every bin out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import Sequential, State, Temporal


@runtime_checkable
class Sizes(Protocol):
    """What a network's options say of what goes in and what comes out."""

    @property
    def classes(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class LayeredNet(Temporal):
    """`layers` one after another; refuses maps of another shape than its options say."""

    def __init__(self, name: str, sizes: Sizes, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self._name, self._sizes = name, sizes
        self.layers = Sequential(*layers)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return self.layers.initial_state(batch, shape)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != self._sizes.shape:
            raise ConfigError(f"{self._name}: built for maps of {self._sizes.shape}, not {tuple(shape)}")
        return (self._sizes.classes,)

    def forward(
        self, xs: Float[Tensor, "time batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch classes"], State]:
        return self.layers(xs, state)

    def step(
        self, x: Float[Tensor, "batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch classes"], State]:
        return self.layers.step(x, state)
