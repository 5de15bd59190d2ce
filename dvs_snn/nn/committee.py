"""Several networks of one kind that decide together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.temporal import State, Temporal, map_state


class Committee(Temporal):
    """The mean of its members' outputs, `y[t] = (1/M) Σ_m f_m(x)[t]` (Hansen & Salamon 1990).

    In training each row of a batch is heard by one member alone, row i by member i mod M: each learns from its own
    loss and they stay different, which is what their mean gains by (Lakshminarayanan et al. 2017); an epoch costs what
    it costs one network, and teaches each member an M-th of it. State: a tuple of the members' states, whole batches;
    in training the rows that a member does not hear stay at rest.
    """

    def __init__(self, members: Iterable[Temporal]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise ConfigError("a committee needs one member or more")

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return tuple(member.initial_state(batch, shape) for member in self.members)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        found: tuple[int, ...] = self.members[0].output_shape(shape)
        return found

    def forward(
        self, xs: Float[Tensor, "time batch ..."], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch ..."], State]:
        if self.training:
            return self._shared_out(xs, state)
        total, states = None, []
        for member, before in zip(self.members, self._parts(state), strict=True):
            output, after = member(xs, before)
            total = output if total is None else total + output
            states.append(after)
        return total / len(self.members), tuple(states)

    def step(
        self, x: Float[Tensor, "batch ..."], state: State | None = None
    ) -> tuple[Float[Tensor, "batch ..."], State]:
        if self.training:
            outputs, state = self._shared_out(x.unsqueeze(0), state)
            return outputs[0], state
        total, states = None, []
        for member, before in zip(self.members, self._parts(state), strict=True):
            output, after = member.step(x, before)
            total = output if total is None else total + output
            states.append(after)
        return total / len(self.members), tuple(states)

    def _shared_out(self, xs: Tensor, state: State | None) -> tuple[Tensor, State]:
        of, batch = len(self.members), xs.shape[1]
        outputs: Tensor | None = None
        states = []
        for first, (member, before) in enumerate(zip(self.members, self._parts(state), strict=True)):
            if first >= batch:
                states.append(before)
                continue
            rows = slice(first, None, of)
            output, after = member(xs[:, rows], map_state(before, lambda tensor, rows=rows: tensor[rows]))
            if outputs is None:
                outputs = output.new_zeros(len(xs), batch, *output.shape[2:])
            outputs[:, rows] = output
            states.append(map_state(after, lambda tensor, rows=rows: _among_others(tensor, batch, rows)))
        assert outputs is not None
        return outputs, tuple(states)

    def _parts(self, state: State | None) -> Iterable[Any]:
        return [None] * len(self.members) if state is None else state


def _among_others(tensor: Tensor, batch: int, rows: slice) -> Tensor:
    """A state of some rows as one of the whole batch, the others at rest."""
    whole = tensor.new_zeros(batch, *tensor.shape[1:])
    whole[rows] = tensor
    return whole
