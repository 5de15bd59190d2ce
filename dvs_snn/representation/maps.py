"""The representations: event or channel counts, a voxel grid (linear time weights), an exponential time surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, Sensor, Window
from dvs_snn.representation.sparse import SparseMap


@runtime_checkable
class Representation(Protocol):
    """Turns a window into a map; `shape` tells the map's size for a sensor without any data."""

    def shape(self, sensor: Sensor) -> tuple[int, int, int]: ...

    def __call__(self, window: Window, sensor: Sensor) -> SparseMap: ...


def _pooled(sensor: Sensor, pool: int) -> tuple[int, int]:
    if pool < 1 or sensor.height % pool or sensor.width % pool:
        raise ConfigError(f"pool {pool} does not divide the sensor {sensor}")
    return sensor.height // pool, sensor.width // pool


def _cells(events: Events, pool: int, width: int) -> NDArray[np.int64]:
    """Row-major cell of each event on a pooled plane `width` cells wide, in 64 bits."""
    return (events["y"] // pool).astype(np.int64) * width + events["x"] // pool


def _gather(cells: np.ndarray, weights: np.ndarray | None, shape: tuple[int, int, int]) -> SparseMap:
    """Sum weights (or count) per cell.

    bincount over the whole map is faster than sorting the events once the window holds more than a few per cent of it,
    and never slower by much: maps are small after pooling.
    """
    sums = np.bincount(cells, weights, minlength=shape[0] * shape[1] * shape[2])
    indices = np.flatnonzero(sums)
    return SparseMap(indices.astype(np.int32), sums[indices].astype(np.float32), shape)


@dataclass(frozen=True)
class EventCounts:
    """Number of events per polarity and cell of `pool` x `pool` pixels: channel 0 ON, channel 1 OFF.

    `limit` (0 = none) caps a cell's count, so that a hot pixel or a flash cannot outweigh the scene.
    """

    pool: int = 1
    limit: int = 0

    def shape(self, sensor: Sensor) -> tuple[int, int, int]:
        return (2, *_pooled(sensor, self.pool))

    def __call__(self, window: Window, sensor: Sensor) -> SparseMap:
        shape = self.shape(sensor)
        _, height, width = shape
        events = window.events
        cells = _cells(events, self.pool, width)
        cells += np.where(events["p"], 0, height * width)
        counts = _gather(cells, None, shape)
        if self.limit:
            np.minimum(counts.values, self.limit, out=counts.values)
        return counts


@dataclass(frozen=True)
class ChannelCounts:
    """Number of events per group of `pool` neighbouring columns: for a cochlea, whose x is the channel.

    Polarity, which a cochlea does not have, is not looked at. `limit` (0 = none) caps a group's count.
    """

    pool: int = 5
    limit: int = 0

    def shape(self, sensor: Sensor) -> tuple[int, int, int]:
        if self.pool < 1 or sensor.width % self.pool:
            raise ConfigError(f"pool {self.pool} does not divide the {sensor.width} channels")
        return (1, sensor.height, sensor.width // self.pool)

    def __call__(self, window: Window, sensor: Sensor) -> SparseMap:
        shape = self.shape(sensor)
        events = window.events
        counts = _gather(events["y"].astype(np.int64) * shape[2] + events["x"] // self.pool, None, shape)
        if self.limit:
            np.minimum(counts.values, self.limit, out=counts.values)
        return counts


@dataclass(frozen=True)
class VoxelGrid:
    """Polarity spread over `bins` time slices with linear weights (Zhu et al. 2019): the sum over bins is ON - OFF.

    An event at time t has position `(t - start) / (end - start) * (bins - 1)` and is shared by the two bins around it,
    so no mass is lost at either end; a window's own borders are used, so equal timestamps are no special case.
    """

    bins: int = 5
    pool: int = 1

    def shape(self, sensor: Sensor) -> tuple[int, int, int]:
        return (self.bins, *_pooled(sensor, self.pool))

    def __call__(self, window: Window, sensor: Sensor) -> SparseMap:
        shape = self.shape(sensor)
        _, height, width = shape
        events = window.events
        position = (events["t"] - window.start_us) * ((self.bins - 1) / (window.end_us - window.start_us))
        position = np.clip(position, 0.0, self.bins - 1)  # late events were put into this window
        left = np.minimum(position.astype(np.int64), max(self.bins - 2, 0))
        share = position - left
        cells = _cells(events, self.pool, width) + left * height * width
        sign = np.where(events["p"], 1.0, -1.0)
        if self.bins == 1:
            return _gather(cells, sign, shape)
        return _gather(
            np.concatenate([cells, cells + height * width]),
            np.concatenate([sign * (1.0 - share), sign * share]),
            shape,
        )


@dataclass(frozen=True)
class TimeSurface:
    """`exp(-(end - t_last) / decay_us)` of each cell's last event in the window (Lagorce et al. 2017), per polarity."""

    decay_us: float = 10_000.0
    pool: int = 1

    def shape(self, sensor: Sensor) -> tuple[int, int, int]:
        return (2, *_pooled(sensor, self.pool))

    def __call__(self, window: Window, sensor: Sensor) -> SparseMap:
        shape = self.shape(sensor)
        _, height, width = shape
        events = window.events
        cells = _cells(events, self.pool, width)
        cells += np.where(events["p"], 0, height * width)
        latest = np.full(shape[0] * height * width, np.iinfo(np.int64).min)
        np.maximum.at(latest, cells, events["t"])
        indices = np.flatnonzero(latest != np.iinfo(np.int64).min)
        values = np.exp((latest[indices] - window.end_us) / self.decay_us)
        return SparseMap(indices.astype(np.int32), values.astype(np.float32), shape)
