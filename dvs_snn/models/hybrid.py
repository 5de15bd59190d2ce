"""What the networks for events share: spiking backbone, attention bridge, dense blocks, TC-LIF head, leaky read-out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.models.backbone import spiking_backbone
from dvs_snn.models.starter import StateStarter, put_rows
from dvs_snn.nn import TCLIF, LeakyIntegrator, State, Temporal
from dvs_snn.nn.bridge import ASAB
from dvs_snn.nn.layers import Saturate
from dvs_snn.nn.neurons import LIFState
from dvs_snn.nn.temporal import map_state

CURRENT = 0.3
"""Standard deviation of the head's input currents at the start: its oscillators pile up several bins of them."""


class HybridState(NamedTuple):
    """States of the network's parts; `begun`, [batch], is 0 in rows whose first state is still to be set by a starter,
    `beside` the state of what a subclass computes beside the backbone, `memory` that of what it reads out with.

    Zeros are rest: what resets rows of a state also has them started anew.
    """

    backbone: Any
    bridge: Any
    head: Any
    integrator: Any
    begun: Any = None
    beside: Any = None
    memory: Any = None


class HybridNet(Temporal):
    """Counts are capped, pass backbone and bridge, then the subclass's `blocks`, `head` and `_read`; causal.

    The subclass's configuration names the front's sizes as `GestureConfig` does.
    """

    additions: ClassVar[tuple[str, ...]] = ("starter",)
    blocks: nn.Sequential
    head: TCLIF
    integrator: LeakyIntegrator
    starter: StateStarter | None
    """Sets the first state of a sequence from its first bin; without one a sequence starts at rest."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.starter = None
        self.saturate = Saturate(config.count_limit)
        self.backbone = spiking_backbone(
            config.shape[0],
            config.channels,
            config.kernels,
            config.strides,
            taus=config.taus,
            delays=config.delays,
            surrogate_slope=config.surrogate_slope,
        )
        self.bridge = ASAB(
            config.bridge_bins,
            spacing=config.bridge_spacing,
            deformable=config.deformable,
            score_scale=config.score_scale,
            rate_source=config.rate_source,
        )

    def forward(
        self, xs: Float[Tensor, "time batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch *output"], HybridState]:
        return self._decide(*self._see(xs, state))

    def features(
        self, xs: Float[Tensor, "time batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch *hidden"], HybridState]:
        """The currents that the head gets, and what lies beside them; renews all states before the head's."""
        currents, beside, state = self._see(xs, state)
        return self._joined(currents, beside), state

    def decide(
        self, features: Float[Tensor, "time batch *hidden"], state: State
    ) -> tuple[Float[Tensor, "time batch *output"], HybridState]:
        """Outputs from the currents of `features`; renews the states of head and integrator."""
        return self._decide(*self._parted(features), HybridState(*state))

    def _see(
        self, xs: Float[Tensor, "time batch channel height width"], state: State | None
    ) -> tuple[Float[Tensor, "time batch *hidden"], Tensor | None, HybridState]:
        before = self._begin(xs[0], state)
        spikes, backbone = self.backbone(self._counts(xs), before.backbone)
        dense, bridge = self.bridge(spikes, before.bridge)
        currents = self.blocks(dense.flatten(0, 1)).unflatten(0, tuple(xs.shape[:2]))
        seen, beside = self._beside(xs, currents, before.beside, scan=True)
        return currents, seen, before._replace(backbone=backbone, bridge=bridge, beside=beside)

    def _decide(
        self, currents: Float[Tensor, "time batch *hidden"], beside: Tensor | None, before: HybridState
    ) -> tuple[Float[Tensor, "time batch *output"], HybridState]:
        spikes, head = self.head(currents, before.head)
        evidence, memory = self._read(spikes, currents, beside, before.memory, scan=True)
        outputs, integrator = self.integrator(evidence, before.integrator)
        return outputs, before._replace(head=head, integrator=integrator, memory=memory)

    def step(
        self, x: Float[Tensor, "batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch ..."], HybridState]:
        before = self._begin(x, state)
        spikes, backbone = self.backbone.step(self._counts(x), before.backbone)
        dense, bridge = self.bridge.step(spikes, before.bridge)
        currents = self.blocks(dense)
        more, beside = self._beside(x, currents, before.beside, scan=False)
        decided, head = self.head.step(currents, before.head)
        evidence, memory = self._read(decided, currents, more, before.memory, scan=False)
        outputs, integrator = self.integrator.step(evidence, before.integrator)
        return outputs, HybridState(backbone, bridge, head, integrator, before.begun, beside, memory)

    def _begin(self, x: Float[Tensor, "batch channel height width"], state: State | None) -> HybridState:
        """The state before a bin: given or at rest, and set by the starter in the rows that have not begun."""
        if self.starter is None:
            return HybridState(None, None, None, None) if state is None else HybridState(*state)
        if state is None:
            state = map_state(self.initial_state(len(x), tuple(x.shape[1:])), lambda tensor: tensor.to(x))
        before = HybridState(*state)
        fresh = before.begun == 0
        if not bool(fresh.any()):
            return before
        membranes = iter(self._start(self._counts(x)))
        backbone = tuple(
            put_rows(part, fresh, next(membranes)) if isinstance(part, LIFState) else part for part in before.backbone
        )
        head = put_rows(before.head, fresh, next(membranes))
        integrator = put_rows(before.integrator, fresh, next(membranes))
        return before._replace(backbone=backbone, head=head, integrator=integrator, begun=torch.ones_like(before.begun))

    def _start(self, x: Float[Tensor, "batch channel height width"]) -> list[Tensor]:
        """Membranes of the backbone's layers in their order, the head's somas and the outputs."""
        assert self.starter is not None
        return self.starter(x)  # type: ignore[no-any-return]

    def _counts(self, x: Tensor) -> Tensor:
        """What the backbone sees of an input."""
        return self.saturate(x)  # type: ignore[no-any-return]

    def _beside(
        self, x: Tensor, currents: Tensor, state: State | None, scan: bool
    ) -> tuple[Tensor | None, State | None]:
        """What else than the head's currents is to be read; `scan` says that `x` begins with time."""
        return None, state

    def _joined(self, currents: Tensor, beside: Tensor | None) -> Tensor:
        """The head's currents and what lies beside them as one tensor."""
        return currents

    def _parted(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """The inverse of `_joined`."""
        return features, None

    @abstractmethod
    def _read(
        self, spikes: Tensor, currents: Tensor, beside: Tensor | None, memory: Any, scan: bool
    ) -> tuple[Tensor, Any]:
        """Evidence from the head's spikes, its currents and what lies beside, of one bin or of `[time, batch]`."""

    def _state(self, batch: int, shape: tuple[int, ...], hidden: tuple[int, ...], told: tuple[int, ...]) -> HybridState:
        """The state at rest for maps of `shape` at the backbone, head maps of `hidden` and outputs of `told`."""
        return HybridState(
            self.backbone.initial_state(batch, shape),
            self.bridge.initial_state(batch, self.backbone.output_shape(shape)),
            self.head.initial_state(batch, hidden),
            self.integrator.initial_state(batch, told),
            None if self.starter is None else torch.zeros(batch),
        )
