"""A recording becomes a clip: the maps of consecutive windows as one dense array, and clips become a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from dvs_snn.events import Events, Sensor, Window
from dvs_snn.nn import State, Temporal
from dvs_snn.representation import ChannelCounts, EventCounts, Representation, dense_batch


@dataclass(frozen=True)
class Clip:
    """A batch of training sequences of equal length.

    `labels` holds the class that each bin shows (a clip may change from one recording to another); `scored` marks the
    bins that count for loss and accuracy: recorded, not padded, and past the warm-up. `first` marks rows whose state
    must be reset before the clip.
    """

    inputs: Shaped[Tensor, "time batch *map"]
    labels: Int64[Tensor, "time batch"]
    scored: Bool[Tensor, "time batch"]
    first: Bool[Tensor, " batch"]

    @property
    def bins(self) -> int:
        return int(self.inputs.shape[0])

    @property
    def batch(self) -> int:
        return int(self.inputs.shape[1])

    def scan(self, network: Temporal, state: State | None) -> tuple[Tensor, State]:
        """The network's outputs at every bin, and its state after the last."""
        return network(self.inputs, state)

    def to(self, device: torch.device | str) -> Clip:
        """The clip on a device."""
        parts = (self.inputs, self.labels, self.scored, self.first)
        return Clip(*(part.to(device, non_blocking=True) for part in parts))

    def between(self, start: int, stop: int) -> Clip:
        """The bins `start` to `stop` (views); rows are `first` only where the clip's own start is included."""
        first = self.first if start == 0 else torch.zeros_like(self.first)
        return Clip(self.inputs[start:stop], self.labels[start:stop], self.scored[start:stop], first)


def encode_clip(
    representation: Representation, events: Events, sensor: Sensor, start_us: int, bin_us: int, bins: int
) -> NDArray[np.float32]:
    """The maps of `bins` consecutive windows from `start_us`, dense, `[time, channel, height, width]`.

    Equal to encoding window by window. For event counts one bincount over the whole clip, with the bin as the most
    significant digit of the cell's number, replaces a call per window; events need not be sorted for it. Events outside
    the clip are left out.
    """
    t = events["t"]
    if isinstance(representation, EventCounts | ChannelCounts):
        return _count_clip(representation, events, sensor, start_us, bin_us, bins)
    if len(t) > 1 and (t[1:] < t[:-1]).any():
        events = events[np.argsort(t, kind="stable")]
        t = events["t"]
    borders = start_us + bin_us * np.arange(bins + 1, dtype=np.int64)
    cuts = np.searchsorted(t, borders)
    maps = [
        representation(Window(events[cuts[k] : cuts[k + 1]], int(borders[k]), int(borders[k + 1])), sensor)
        for k in range(bins)
    ]
    return dense_batch(maps).numpy() if maps else np.zeros((0, *representation.shape(sensor)), np.float32)


def encode_windows(representation: Representation, windows: Sequence[Window], sensor: Sensor) -> NDArray[np.float32]:
    """The maps of windows that a `WindowBuffer` gave out, dense; those that follow each other as one clip."""
    parts = []
    begin = 0
    for stop in range(1, len(windows) + 1):
        if stop == len(windows) or windows[stop].first or windows[stop].start_us != windows[stop - 1].end_us:
            run = windows[begin:stop]
            size_us = run[0].end_us - run[0].start_us
            # a restarted clock may leave late events in a window: hold them inside, as the window did
            events = [_held(window) for window in run]
            merged = np.concatenate(events)
            parts.append(encode_clip(representation, merged, sensor, run[0].start_us, size_us, len(run)))
            begin = stop
    return np.concatenate(parts) if parts else np.zeros((0, *representation.shape(sensor)), np.float32)


def _held(window: Window) -> Events:
    t = window.events["t"]
    if not len(t) or (t[0] >= window.start_us and int(t.min()) >= window.start_us and int(t.max()) < window.end_us):
        return window.events
    events = window.events.copy()
    events["t"] = np.clip(t, window.start_us, window.end_us - 1)
    return events


def _count_clip(
    counts: EventCounts | ChannelCounts, events: Events, sensor: Sensor, start_us: int, bin_us: int, bins: int
) -> NDArray[np.float32]:
    shape = counts.shape(sensor)
    channels, height, width = shape
    size = channels * height * width
    t = events["t"]
    end_us = start_us + bins * bin_us
    if len(t) and (int(t.min()) < start_us or int(t.max()) >= end_us):
        events = events[(t >= start_us) & (t < end_us)]
        t = events["t"]
    y: NDArray[np.int32] = events["y"].astype(np.int32)
    x: NDArray[np.int32] = events["x"].astype(np.int32)
    x = _divided(x, counts.pool)
    y = _divided(y, counts.pool if isinstance(counts, EventCounts) else 1)
    y *= width
    y += x
    narrow = np.int32 if end_us - start_us <= np.iinfo(np.int32).max else np.int64  # divides twice as fast
    since: NDArray[Any] = (t - start_us).astype(narrow)
    cells: NDArray[np.intp] = (since // bin_us).astype(np.intp)
    cells *= size
    cells += y
    if channels == 2:
        cells += np.where(events["p"], 0, height * width)
    sums = np.bincount(cells, minlength=bins * size)
    if counts.limit:
        np.minimum(sums, counts.limit, out=sums)
    return sums.astype(np.float32).reshape(bins, *shape)


def _divided(values: NDArray[np.int32], by: int) -> NDArray[np.int32]:
    """In place; a shift is several times faster than a division."""
    if by & (by - 1) == 0:
        values >>= by.bit_length() - 1
    else:
        values //= by
    return values


def collate(
    inputs: Sequence[NDArray[np.float32]],
    labels: Sequence[NDArray[np.int64]],
    scored: Sequence[NDArray[np.bool_]],
    bins: int | None = None,
) -> Clip:
    """Clips of single recordings as one batch, padded with silence that is not scored, to the longest or to `bins`."""
    longest = max(len(part) for part in inputs) if bins is None else bins
    batch = len(inputs)
    stacked = np.zeros((longest, batch, *inputs[0].shape[1:]), np.float32)
    label = np.zeros((longest, batch), np.int64)
    score = np.zeros((longest, batch), np.bool_)
    for row in range(batch):
        stacked[: len(inputs[row]), row] = inputs[row]
        label[: len(labels[row]), row] = labels[row]
        score[: len(scored[row]), row] = scored[row]
    return Clip(
        torch.from_numpy(stacked),
        torch.from_numpy(label),
        torch.from_numpy(score),
        torch.ones(batch, dtype=torch.bool),
    )
