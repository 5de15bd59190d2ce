"""Who runs the network: one step per window, state inside; torch here, other executors in `deploy`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.nn import Temporal
from dvs_snn.representation import SparseMap


@runtime_checkable
class Runtime(Protocol):
    """Runs a network window by window; the state is the runtime's own and `reset` starts a sequence."""

    def reset(self) -> None: ...

    def step(self, x: SparseMap) -> NDArray[np.float32]: ...

    def close(self) -> None: ...


class TorchRuntime:
    """The network's own `step` on a CPU or GPU, batch 1."""

    def __init__(self, model: Temporal, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self._state: Any = None

    def reset(self) -> None:
        self._state = None

    @torch.inference_mode()
    def step(self, x: SparseMap) -> NDArray[np.float32]:
        """Output for one window's map, `[classes]`."""
        output, self._state = self.model.step(x.dense(self.device)[None], self._state)
        return output[0].float().cpu().numpy()

    def close(self) -> None:
        self._state = None


RUNTIMES: dict[str, type] = {"torch": TorchRuntime}
"""Executors by the name that the command line gives them; `deploy` adds those of other machines."""
