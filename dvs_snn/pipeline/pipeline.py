"""The one object that turns events into decisions; training uses its `encode`, everything live its `push` or `run`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, EventStream, Sensor, Window, WindowBuffer
from dvs_snn.events.resample import Resample
from dvs_snn.models import MODELS, TWIN, model_config
from dvs_snn.pipeline.config import DecisionConfig, PipelineConfig
from dvs_snn.pipeline.decisions import Decider, Decision, DigitDecider, GestureDecider, HeatDecider, TracksDecider
from dvs_snn.pipeline.runtime import EventRuntime, Runtime
from dvs_snn.representation import SparseMap
from dvs_snn.tracking import BoxTracker, TrackLife, Tracks

DECIDERS: dict[str, type[GestureDecider] | type[TracksDecider]] = {
    "gesture": GestureDecider,
    "digit": DigitDecider,
    "tracks": TracksDecider,
}
"""Decision rules by task."""


def heat_cell_px(config: PipelineConfig) -> int | None:
    """Side in px of a cell of the network's heat map; None for one that has no such map."""
    if config.task != "tracks" or config.model.removesuffix(TWIN) not in MODELS:
        return None
    stride: int = model_config(config.model, config.model_config).stride
    return stride * int(getattr(config.representation, "pool", 1))


def decider_of(config: PipelineConfig) -> Decider:
    """The decision rule of a pipeline: that of its task, or, for a network of heat maps, `HeatDecider`."""
    cell_px = heat_cell_px(config)
    if cell_px is None:
        return DECIDERS[config.task](config.decision, config.labels, config.bin_us)
    tracker = BoxTracker(config.tracks or TrackLife(), config.sensor)
    return HeatDecider(config.decision, tracker, cell_px, config.bin_us)


class Pipeline:
    """Windows, encoding, network, decision; the same decisions whatever the packet sizes.

    An `EventRuntime` takes windows of events in place of maps, on any sensor. Raises `ConfigError` when the task has
    no decision rule.
    """

    def __init__(self, config: PipelineConfig, runtime: Runtime | EventRuntime) -> None:
        if config.task not in DECIDERS:
            raise ConfigError(f"task {config.task!r} has no decisions; known: {', '.join(DECIDERS)}")
        self.config = config
        self.runtime = runtime
        self.notes: list[str] = []
        self.buffer = WindowBuffer(config.bin_us)
        self._decider = decider_of(config)
        self._resample: Resample | None = None
        self._output = runtime.see if isinstance(runtime, EventRuntime) else self._step

    def set_sensor(self, sensor: Sensor) -> None:
        """Say which sensor the packets come from; another than the network's is resampled, and that is noted."""
        if isinstance(self.runtime, EventRuntime):
            self.runtime.set_sensor(sensor)
            self.reset()
            return
        if sensor != (self._resample.source if self._resample else self.config.sensor):
            self._resample = None if sensor == self.config.sensor else Resample(sensor, self.config.sensor)
            if self._resample and self._resample.note() not in self.notes:
                self.notes.append(self._resample.note())
            self.reset()

    def set_decision(self, decision: DecisionConfig) -> None:
        """Decide by another rule from the next window on; what was smoothed so far stays."""
        self.config = replace(self.config, decision=decision)
        self._decider.config = decision

    def fit(self, packet: Events) -> Events:
        """The packet as the network's sensor would have seen it; `buffer` takes it, whose windows wait for `decide`."""
        return packet if self._resample is None else self._resample(packet)

    def encode(self, window: Window) -> SparseMap:
        """The network's input for a window of events on the network's sensor."""
        return self.config.representation(window, self.config.sensor)

    def infer(self, window: Window) -> NDArray[np.floating]:
        """The network's output for the next window; the first of a sequence resets its state."""
        if window.first:
            self.runtime.reset()
            self._decider.reset()
        return self._output(window)

    def _step(self, window: Window) -> NDArray[np.floating]:
        assert not isinstance(self.runtime, EventRuntime)
        return self.runtime.step(self.encode(window))

    def decide(self, window: Window) -> Decision:
        """The decision of the next window; tracks are told in px of the sensor that the packets come from."""
        decision = self._decider(self.infer(window), window)
        if self._resample is not None and isinstance(decision, Tracks):
            return decision.moved(self._resample.scale, *self._resample.offset)
        return decision

    def push(self, packet: Events) -> list[Decision]:
        """Take a packet and return the decisions of the windows it completes."""
        return [self.decide(window) for window in self.buffer.push(self.fit(packet))]

    def tick(self, now_us: int) -> list[Decision]:
        """Decisions of the windows that sensor time `now_us` has passed; a still scene goes on deciding."""
        return [self.decide(window) for window in self.buffer.tick(now_us)]

    def flush(self) -> list[Decision]:
        """The decision of the last, open window at the end of a recording."""
        return [self.decide(window) for window in self.buffer.flush()]

    def run(self, stream: EventStream) -> Iterator[Decision]:
        """Decisions of a whole recording, from a fresh state."""
        self.set_sensor(stream.sensor)
        self.reset()
        for packet in stream:
            yield from self.push(packet)
        yield from self.flush()

    def reset(self) -> None:
        """Forget the scene: the next window is the first of a sequence."""
        self.buffer.reset()
        if self._resample is not None:
            self._resample.reset()

    def close(self) -> None:
        """End the runtime."""
        self.runtime.close()
