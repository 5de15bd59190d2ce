"""Several networks of one kind that decide together."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First, scan_documents
from dvs_snn.nn.temporal import State, Temporal, map_state


class Committee(Temporal):
    """The mean of its members' outputs, `y[t] = (1/M) Σ_m f_m(x)[t]` (Hansen & Salamon 1990).

    In training each row of a batch is heard by one member alone, row i by member i mod M: each learns from its own
    loss and they stay different, which is what their mean gains by (Lakshminarayanan et al. 2017); an epoch costs what
    it costs one network, and teaches each member an M-th of it. State: a tuple of the members' states, whole batches;
    in training the rows that a member does not hear stay at rest.
    """

    takes_first: ClassVar[bool] = True

    def __init__(self, members: Iterable[Temporal]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise ConfigError("a committee needs one member or more")

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> State:
        return tuple(member.initial_state(batch, shape) for member in self._temporal)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._temporal[0].output_shape(shape)

    def forward(
        self, xs: Shaped[Tensor, "time batch ..."], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch ..."], State]:
        """A scan over time; where `first` is true a document begins, and all members start anew."""
        if self.training:
            return self._shared_out(xs, state, first)
        told = [
            scan_documents(member, xs, before, first)
            for member, before in zip(self._temporal, self._parts(state), strict=True)
        ]
        return torch.stack([output for output, _ in told]).mean(0), tuple(after for _, after in told)

    def step(
        self, x: Shaped[Tensor, "batch ..."], state: State | None = None
    ) -> tuple[Float[Tensor, "batch ..."], State]:
        if self.training:
            outputs, state = self._shared_out(x.unsqueeze(0), state, None)
            return outputs[0], state
        told = [member.step(x, before) for member, before in zip(self._temporal, self._parts(state), strict=True)]
        return torch.stack([output for output, _ in told]).mean(0), tuple(after for _, after in told)

    def _shared_out(self, xs: Tensor, state: State | None, first: First | None) -> tuple[Tensor, State]:
        of, batch = len(self.members), xs.shape[1]
        outputs = xs.new_empty(0)
        states = []
        for number, (member, before) in enumerate(zip(self._temporal, self._parts(state), strict=True)):
            if number >= batch:
                states.append(before)
                continue
            rows = slice(number, None, of)
            begins = None if first is None else first[:, rows]
            output, after = scan_documents(member, xs[:, rows], map_state(before, itemgetter(rows)), begins)
            if number == 0:
                outputs = output.new_zeros(len(xs), batch, *output.shape[2:])
            outputs[:, rows] = output
            states.append(map_state(after, partial(_among_others, batch=batch, rows=rows)))
        return outputs, tuple(states)

    @property
    def _temporal(self) -> list[Temporal]:
        return [cast(Temporal, member) for member in self.members]

    def _parts(self, state: State | None) -> Iterable[Any]:
        return [None] * len(self.members) if state is None else state


def _among_others(tensor: Tensor, batch: int, rows: slice) -> Tensor:
    """A state of some rows as one of the whole batch, the others at rest."""
    whole = tensor.new_zeros(batch, *tensor.shape[1:])
    whole[rows] = tensor
    return whole
