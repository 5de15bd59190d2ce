"""Layers in a row: those with memory get their state, the others are folded over time."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.nn.temporal import State, Temporal, fold, folded_shape


class Sequential(Temporal):
    """Modules one after another; the state is a tuple with one entry per `Temporal` module, in their order.

    A module without memory (convolution, batch normalisation, linear) sees all steps in one call, time folded into the
    batch; so a batch normalisation in training mode normalises over time too, and then `step` differs from `forward`.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(modules)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> nn.Module:
        return self.layers[index]

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        states = []
        for layer in self.layers:
            if isinstance(layer, Temporal):
                states.append(layer.initial_state(batch, shape))
            shape = _output_shape(layer, shape)
        return tuple(states)

    def step(self, x: Float[Tensor, "batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        before = None if state is None else iter(state)
        after = []
        for layer in self.layers:
            if isinstance(layer, Temporal):
                x, layer_state = layer.step(x, None if before is None else next(before))
                after.append(layer_state)
            else:
                x = layer(x)
        return x, tuple(after)

    def forward(self, xs: Float[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        return self._run(0, len(self.layers), xs, state)

    def features(self, xs: Float[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        """The layers up to the currents of the first neurons that follow a linear map; `decide` has the others."""
        return self._run(0, self._cut, xs, state)

    def decide(self, features: Float[Tensor, "time batch ..."], state: State) -> tuple[Tensor, State]:
        """The layers after `features`; takes its state and completes it."""
        return self._run(self._cut, len(self.layers), features, state)

    @property
    def _cut(self) -> int:
        kinds = [isinstance(layer, nn.Linear) for layer in self.layers]
        start = kinds.index(True) if True in kinds else len(kinds)
        neurons = (k for k, layer in enumerate(self.layers) if k > start and isinstance(layer, Temporal))
        return next(neurons, len(kinds))

    def _run(self, start: int, stop: int, xs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Layers `start` to `stop`; the states of the others stay as they are."""
        memories = [k for k, layer in enumerate(self.layers) if isinstance(layer, Temporal)]
        states = dict(zip(memories, [None] * len(memories) if state is None else state, strict=True))
        for k in range(start, stop):
            layer = self.layers[k]
            if isinstance(layer, Temporal):
                xs, states[k] = layer(xs, states[k])
            else:
                xs = fold(layer, xs)
        return xs, tuple(states.values())

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for layer in self.layers:
            shape = _output_shape(layer, shape)
        return shape


def _output_shape(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    return layer.output_shape(shape) if isinstance(layer, Temporal) else folded_shape(layer, shape)
