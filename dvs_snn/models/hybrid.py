"""What the networks for events share: spiking backbone, attention bridge, dense blocks, TC-LIF head, leaky read-out."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.models.backbone import spiking_backbone
from dvs_snn.nn import TCLIF, LeakyIntegrator, State, Temporal
from dvs_snn.nn.bridge import ASAB
from dvs_snn.nn.layers import Saturate

CURRENT = 0.3
"""Standard deviation of the head's input currents at the start: its oscillators pile up several bins of them."""


class HybridState(NamedTuple):
    """States of the network's parts."""

    backbone: Any
    bridge: Any
    head: Any
    integrator: Any


class HybridNet(Temporal):
    """Counts are capped, pass backbone and bridge, then the subclass's `blocks`, `head` and `_read`; causal.

    The subclass's configuration names the front's sizes as `GestureConfig` does.
    """

    blocks: nn.Sequential
    head: TCLIF
    integrator: LeakyIntegrator

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
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
        currents, state = self.features(xs, state)
        return self.decide(currents, state)

    def features(
        self, xs: Float[Tensor, "time batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch *hidden"], HybridState]:
        """The currents that the head gets; renews the states of backbone and bridge."""
        before = HybridState(None, None, None, None) if state is None else HybridState(*state)
        spikes, backbone = self.backbone(self.saturate(xs), before.backbone)
        features, bridge = self.bridge(spikes, before.bridge)
        currents = self.blocks(features.flatten(0, 1)).unflatten(0, tuple(xs.shape[:2]))
        return currents, before._replace(backbone=backbone, bridge=bridge)

    def decide(
        self, features: Float[Tensor, "time batch *hidden"], state: State
    ) -> tuple[Float[Tensor, "time batch *output"], HybridState]:
        """Outputs from the currents of `features`; renews the states of head and integrator."""
        before = HybridState(*state)
        spikes, head = self.head(features, before.head)
        outputs, integrator = self.integrator(self._read(spikes, features), before.integrator)
        return outputs, before._replace(head=head, integrator=integrator)

    def step(
        self, x: Float[Tensor, "batch channel height width"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch ..."], HybridState]:
        before = HybridState(None, None, None, None) if state is None else HybridState(*state)
        spikes, backbone = self.backbone.step(self.saturate(x), before.backbone)
        features, bridge = self.bridge.step(spikes, before.bridge)
        currents = self.blocks(features)
        decided, head = self.head.step(currents, before.head)
        outputs, integrator = self.integrator.step(self._read(decided, currents), before.integrator)
        return outputs, HybridState(backbone, bridge, head, integrator)

    def _read(self, spikes: Tensor, currents: Tensor) -> Tensor:
        """Evidence from the head's spikes and its input currents, of one bin or of `[time, batch]`."""
        raise NotImplementedError

    def _state(self, batch: int, shape: tuple[int, ...], hidden: tuple[int, ...], told: tuple[int, ...]) -> HybridState:
        """The state at rest for inputs of `shape`, head maps of `hidden` and outputs of `told`."""
        return HybridState(
            self.backbone.initial_state(batch, shape),
            self.bridge.initial_state(batch, self.backbone.output_shape(shape)),
            self.head.initial_state(batch, hidden),
            self.integrator.initial_state(batch, told),
        )
