"""The one object that turns events into decisions; training uses its `encode`, everything live its `push` or `run`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, EventStream, Sensor, Window, WindowBuffer
from dvs_snn.events.resample import Resample
from dvs_snn.pipeline.config import PipelineConfig
from dvs_snn.pipeline.decisions import Gesture, GestureDecider
from dvs_snn.pipeline.runtime import Runtime
from dvs_snn.representation import SparseMap

DECIDERS = {"gesture": GestureDecider}


class Pipeline:
    """Windows, encoding, network, decision; the same decisions whatever the packet sizes.

    Raises `ConfigError` when the task has no decision rule.
    """

    def __init__(self, config: PipelineConfig, runtime: Runtime) -> None:
        if config.task not in DECIDERS:
            raise ConfigError(f"task {config.task!r} has no decisions; known: {', '.join(DECIDERS)}")
        self.config = config
        self.runtime = runtime
        self.notes: list[str] = []
        self._windows = WindowBuffer(config.bin_us)
        self._decider = DECIDERS[config.task](config.decision, config.labels, config.bin_us)
        self._resample: Resample | None = None

    def set_sensor(self, sensor: Sensor) -> None:
        """Say which sensor the packets come from; another than the network's is resampled, and that is noted."""
        if sensor != (self._resample.source if self._resample else self.config.sensor):
            self._resample = None if sensor == self.config.sensor else Resample(sensor, self.config.sensor)
            if self._resample and self._resample.note() not in self.notes:
                self.notes.append(self._resample.note())
            self.reset()

    def encode(self, window: Window) -> SparseMap:
        """The network's input for a window of events on the network's sensor."""
        return self.config.representation(window, self.config.sensor)

    def infer(self, window: Window) -> NDArray[np.float32]:
        """The network's output for the next window; the first of a sequence resets its state."""
        if window.first:
            self.runtime.reset()
            self._decider.reset()
        return self.runtime.step(self.encode(window))

    def decide(self, window: Window) -> Gesture:
        """The decision of the next window."""
        return self._decider(self.infer(window), window)

    def push(self, packet: Events) -> list[Gesture]:
        """Take a packet and return the decisions of the windows it completes."""
        if self._resample is not None:
            packet = self._resample(packet)
        return [self.decide(window) for window in self._windows.push(packet)]

    def tick(self, now_us: int) -> list[Gesture]:
        """Decisions of the windows that sensor time `now_us` has passed; a still scene goes on deciding."""
        return [self.decide(window) for window in self._windows.tick(now_us)]

    def flush(self) -> list[Gesture]:
        """The decision of the last, open window at the end of a recording."""
        return [self.decide(window) for window in self._windows.flush()]

    def run(self, stream: EventStream) -> Iterator[Gesture]:
        """Decisions of a whole recording, from a fresh state."""
        self.set_sensor(stream.sensor)
        self.reset()
        for packet in stream:
            yield from self.push(packet)
        yield from self.flush()

    def reset(self) -> None:
        """Forget the scene: the next window is the first of a sequence."""
        self._windows.reset()
        if self._resample is not None:
            self._resample.reset()

    def close(self) -> None:
        """End the runtime."""
        self.runtime.close()
