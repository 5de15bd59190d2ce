"""Executors of a package behind the pipeline's `Runtime`: integers here; Lava's are in `lava_runtime`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.deploy.export import package_of
from dvs_snn.deploy.integer import integer_parts
from dvs_snn.deploy.package import LoihiPackage
from dvs_snn.deploy.split import split
from dvs_snn.pipeline import Checkpoint
from dvs_snn.pipeline.runtime import TorchRuntime
from dvs_snn.representation import SparseMap


class IntegerRuntime:
    """Chip parts in integers, host parts in torch; batch 1, one thread."""

    def __init__(self, network: torch.nn.Module, package: LoihiPackage) -> None:
        self._torch = TorchRuntime(split(network).with_parts(*integer_parts(package.layers)))

    @classmethod
    def open(cls, checkpoint: Checkpoint) -> IntegerRuntime:
        """The runtime of a checkpoint, quantised now if it has no package."""
        return cls(checkpoint.model, package_of(checkpoint))

    def reset(self) -> None:
        """All states to rest."""
        self._torch.reset()

    def step(self, x: SparseMap) -> NDArray[np.float32]:
        """Output for one window's map, `[classes]`."""
        return self._torch.step(x)

    def close(self) -> None:
        """Nothing is held."""
        self._torch.close()
