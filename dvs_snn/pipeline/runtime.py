"""Who runs the network: one step per window, state inside; torch here, other executors in `deploy`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.events import Sensor, Window
from dvs_snn.nn import Temporal
from dvs_snn.nn.layers import fold_batch_norm
from dvs_snn.representation import SparseMap
from dvs_snn.tracking import ClusterConfig, ClusterTracker


@runtime_checkable
class Runtime(Protocol):
    """Runs a network window by window; the state is the runtime's own and `reset` starts a sequence."""

    def reset(self) -> None: ...

    def step(self, x: SparseMap) -> NDArray[np.float32]: ...

    def close(self) -> None: ...


@runtime_checkable
class EventRuntime(Protocol):
    """Runs on the events of a window themselves, whatever the sensor; else as a `Runtime`."""

    def set_sensor(self, sensor: Sensor) -> None: ...

    def reset(self) -> None: ...

    def see(self, window: Window) -> NDArray[np.floating]: ...

    def close(self) -> None: ...


class ClusterRuntime:
    """The classical event tracker in a network's place: it has no weights and takes the sensor as it comes."""

    def __init__(self, config: ClusterConfig, sensor: Sensor) -> None:
        self.tracker = ClusterTracker(config)
        self._sensor = sensor
        self._state = self.tracker.initial_state(sensor)

    def set_sensor(self, sensor: Sensor) -> None:
        if sensor != self._sensor:
            self._sensor = sensor
            self.reset()

    def reset(self) -> None:
        self._state = self.tracker.initial_state(self._sensor, self._state)

    def see(self, window: Window) -> NDArray[np.floating]:
        """Rows of `tracking.COLUMNS` at the window's end."""
        table, self._state = self.tracker.step(window, self._state)
        return table

    def close(self) -> None:
        """Nothing is held."""


class TorchRuntime:
    """The network's own `step` on a CPU or GPU, batch 1, on one thread of the processor.

    It runs a copy whose normalisations are folded away: at batch 1 they cost a twentieth to a tenth of a step.
    """

    def __init__(self, model: Temporal, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = fold_batch_norm(model, strict=False).to(self.device)
        self._state: Any = None

    def reset(self) -> None:
        self._state = None

    @torch.inference_mode()
    def step(self, x: SparseMap) -> NDArray[np.float32]:
        """Output for one window's map, `[classes]`."""
        with one_thread():
            output, self._state = self.model.step(x.dense(self.device)[None], self._state)
        return output[0].float().cpu().numpy()

    def close(self) -> None:
        self._state = None


@contextmanager
def one_thread() -> Iterator[None]:
    """A step at batch 1 is too small to share: waiting for a second thread costs more than it brings.

    Held for a step only (0.3 us), so that whoever trains in the same thread keeps all processors.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


RUNTIMES: dict[str, type | str] = {
    "torch": TorchRuntime,
    "integer": "dvs_snn.deploy.runtime:IntegerRuntime",
    "lava": "dvs_snn.deploy.lava_runtime:LavaRuntime",
    "loihi-hw": "dvs_snn.deploy.lava_runtime:ChipRuntime",
}
"""Executors by the name that the command line gives them.

Those of other machines lie above this room and are named by module and class; `open(checkpoint)` makes one.
"""
