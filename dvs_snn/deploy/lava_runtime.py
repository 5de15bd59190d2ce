"""Lava behind the pipeline's `Runtime`: chip parts in two side-cars, the host's parts here."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.deploy.export import package_of
from dvs_snn.deploy.integer import TCLIFScan
from dvs_snn.deploy.lava_client import Sidecar, fixed_graph
from dvs_snn.deploy.layers import ConvLIF, RecurrentTCLIF
from dvs_snn.deploy.package import RESET, RUN, LoihiPackage
from dvs_snn.deploy.split import split
from dvs_snn.errors import SidecarError
from dvs_snn.pipeline import Checkpoint
from dvs_snn.pipeline.runtime import one_thread
from dvs_snn.representation import SparseMap


class LavaRuntime:
    """A package in Lava's simulation, in lock-step: one window in, one Lava step of each part, logits out."""

    def __init__(
        self, network: torch.nn.Module, package: LoihiPackage, python: str | None = None, limit_s: float = 5.0
    ) -> None:
        self.host = split(network).host
        convolutions = [layer for layer in package.layers if isinstance(layer, ConvLIF)]
        (head,) = [layer for layer in package.layers if isinstance(layer, RecurrentTCLIF)]
        self._round = TCLIFScan(head).round
        self.backbone = Sidecar(fixed_graph(convolutions), python, limit_s)
        try:
            self.head = Sidecar(fixed_graph([head]), python, limit_s)
        except SidecarError:
            self.backbone.close()
            raise
        self.reset()

    @classmethod
    def open(cls, checkpoint: Checkpoint) -> LavaRuntime:
        """The runtime of a checkpoint, quantised now if it has no package."""
        return cls(checkpoint.model, package_of(checkpoint))

    def reset(self) -> None:
        """The next frame carries the flag that restarts every layer it reaches."""
        self._taps: Any = None
        self._bridge: Any = None
        self._integrator: Any = None
        self._flag = RESET

    @torch.inference_mode()
    def step(self, x: SparseMap) -> NDArray[np.float32]:
        """Output for one window's map, `[classes]`; raises `SidecarError`, after which the runtime is closed."""
        with one_thread():
            frame, self._taps = self.host.frames(x.dense()[None, None], self._taps)
            (spikes,) = self._ask(self.backbone, frame[0, 0].numpy())
            shown = torch.from_numpy(spikes).float()[:, None]
            currents, self._bridge = self.host.currents(shown, self._bridge)
            (fired,) = self._ask(self.head, self._round(currents[0, 0].numpy()))
            heard = torch.from_numpy(fired).float()[:, None]
            logits, self._integrator = self.host.logits(heard, currents, self._integrator)
        self._flag = RUN
        return logits[0, 0].numpy()

    def _ask(self, part: Sidecar, frame: NDArray[Any]) -> list[NDArray[np.bool_]]:
        try:
            return part.run(frame[None], [self._flag])
        except SidecarError:
            self.close()
            raise

    def close(self) -> None:
        """End both side-cars."""
        self.backbone.close()
        self.head.close()


class ChipRuntime:
    """The place of a real Loihi 2, which only Intel's closed package can talk to."""

    @classmethod
    def open(cls, checkpoint: Checkpoint) -> ChipRuntime:
        """Says in one line what is missing: nothing here pretends to be a chip."""
        package_of(checkpoint)
        found = importlib.util.find_spec("lava_loihi") or importlib.util.find_spec("lava_nc_loihi")
        if found is None:
            raise SidecarError(
                "runtime loihi-hw needs Intel's closed package lava-loihi (members of the INRC) and a board; "
                "without them use --runtime integer, which gives the same spikes"
            )
        raise SidecarError("lava-loihi is here, but TC-LIF has no microcode: only the backbone can be mapped")
