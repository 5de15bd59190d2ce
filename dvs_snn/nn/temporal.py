"""What lives in time: a module whose state is passed in and handed back, never hidden in a buffer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

State: TypeAlias = Any
"""Tensors `[batch, ...]`, alone or in (nested, mostly named) tuples."""


class Temporal(nn.Module, ABC):
    """A map from sequences to sequences with explicit state: neuron, layer or network.

    Laws (tested for every subclass): `forward` over time equals `step` folded over time; a sequence run chunk by chunk
    equals the whole; the future does not change the past; rows of a batch do not touch each other. A subclass gives
    `step`, `forward`, or both where each has a faster way of its own: what it leaves out follows from the other.
    """

    additions: ClassVar[tuple[str, ...]] = ()
    """Names of parts that may be added to a trained network that lacks them."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.step is Temporal.step and cls.forward is Temporal.forward:
            raise TypeError(f"{cls.__name__}: a Temporal gives step, forward, or both")

    @abstractmethod
    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        """State at rest (zeros) for inputs `[batch, *shape]`."""

    def step(self, x: Shaped[Tensor, "batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        """One tick; `state=None` starts at rest. The same as a scan of length one."""
        outputs, state = self.forward(x.unsqueeze(0), state)
        return outputs[0], state

    def forward(self, xs: Float[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, State]:
        """A scan over time; the same as folding `step`."""
        outputs = []
        for x in xs:
            output, state = self.step(x, state)
            outputs.append(output)
        if state is None:
            raise ValueError("a sequence needs at least one step")
        return torch.stack(outputs), state

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one output sample for one input sample; a neuron keeps it, other layers override this."""
        return shape


def reset_where(state: State, mask: Bool[Tensor, " batch"]) -> State:
    """Rows of the batch where `mask` is true go back to rest (zeros); the others are untouched, gradients too."""

    def reset(tensor: Tensor) -> Tensor:
        return tensor.masked_fill(mask.view(-1, *(1,) * (tensor.dim() - 1)), 0)

    return map_state(state, reset)


def detach(state: State) -> State:
    """The same state cut from the graph: between chunks of truncated backpropagation."""
    return map_state(state, Tensor.detach)


def map_state(state: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same state with every tensor replaced by what `function` makes of it."""
    if state is None:  # a part that has not begun
        return None
    if isinstance(state, Tensor):
        return function(state)
    parts = [map_state(part, function) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def fold(module: nn.Module, xs: Float[Tensor, "time batch ..."]) -> Tensor:
    """A module without memory applied to every step in one call, time folded into the batch."""
    return module(xs.flatten(0, 1)).unflatten(0, tuple(xs.shape[:2]))


def folded_shape(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one output sample of a module without memory, found without computing (on the meta device)."""
    meta = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    dtype = next((tensor.dtype for tensor in meta.values() if tensor.is_floating_point()), torch.get_default_dtype())
    with torch.no_grad():  # two rows: batch normalisation refuses one
        output = torch.func.functional_call(module, meta, (torch.empty(2, *shape, dtype=dtype, device="meta"),))
    return tuple(output.shape[1:])
