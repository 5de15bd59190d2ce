"""Events of one sensor as another sensor would have seen them: centred crop to the same aspect, then area pooling.

An edge that sweeps over a target pixel sweeps over `scale**2` source pixels, and each of them fires: passing all of
those events on would make the scene `scale**2` times as busy. So every target pixel integrates, per polarity, and emits
one event for each `scale**2` it received; the rate per target pixel stays what that sensor would have given.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import Events, empty_events
from dvs_snn.events.stream import Sensor

MAX_ENLARGEMENT = 1.5
"""Enlarging leaves holes between pixels; beyond this a picture is no longer what the network was trained on."""


class Resample:
    """Packets of `source` as packets of `target`; state carries over, so it does not matter where packets are cut."""

    def __init__(self, source: Sensor, target: Sensor) -> None:
        self.source, self.target = source, target
        self.scale = min(source.width / target.width, source.height / target.height)
        if self.scale < 1.0 / MAX_ENLARGEMENT:
            raise ConfigError(
                f"recording of {source} is too small for a network of {target}: "
                f"it would be enlarged {1 / self.scale:.1f} times, at most {MAX_ENLARGEMENT} is accepted"
            )
        self._columns = self._lookup(source.width, target.width)
        self._rows = self._lookup(source.height, target.height)
        self._per_event = np.float32(1.0 / max(self.scale, 1.0) ** 2)
        self._charge = np.zeros((2, target.height, target.width), np.float32)
        self.reset()

    @property
    def offset(self) -> tuple[float, float]:
        """Source px left of and above the crop."""
        return (
            (self.source.width - self.target.width * self.scale) / 2,
            (self.source.height - self.target.height * self.scale) / 2,
        )

    def _lookup(self, source: int, target: int) -> np.ndarray:
        """Target coordinate of each source coordinate, -1 where the crop leaves it out."""
        offset = (source - target * self.scale) / 2
        position = np.floor((np.arange(source) + 0.5 - offset) / self.scale).astype(np.int32)
        position[(position < 0) | (position >= target)] = -1
        return position

    def reset(self) -> None:
        """Forget partial charges; half a charge, so that single events are rounded rather than lost."""
        self._charge.fill(0.5)

    def __call__(self, packet: Events) -> Events:
        """The events that the target sensor would have emitted for this packet."""
        out = empty_events(len(packet))
        count = _resample(
            packet["t"], packet["x"], packet["y"], packet["p"], self._columns, self._rows, self._per_event,
            self._charge, out["t"], out["x"], out["y"], out["p"],
        )  # fmt: skip
        return out[:count]

    def note(self) -> str:
        """What was done, for the reader of the report."""
        return f"sensor {self.source} resampled to the network's {self.target} (centred crop, {self.scale:.2f} to 1)"


@njit(cache=True, nogil=True)
def _resample(t, x, y, p, columns, rows, per_event, charge, out_t, out_x, out_y, out_p):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(t.shape[0]):
        column, row = columns[x[i]], rows[y[i]]
        if column < 0 or row < 0:
            continue
        channel = 0 if p[i] else 1
        level = charge[channel, row, column] + per_event
        if level >= 1.0:
            level -= np.float32(1.0)
            out_t[count] = t[i]
            out_x[count] = column
            out_y[count] = row
            out_p[count] = p[i]
            count += 1
        charge[channel, row, column] = level
    return count
