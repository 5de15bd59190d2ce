"""Recent events as a picture: every pixel shows its last event, which fades exponentially, so that motion is seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, Window

BACKGROUND = (14, 17, 22)
ON_COLOUR = (255, 186, 73)  # amber against blue: told apart by every kind of colour vision, and by brightness
OFF_COLOUR = (72, 140, 255)

LEVELS = 512
_WEIGHTS = np.linspace(0.0, 1.0, LEVELS)[:, None]
FADES = np.rint(
    np.concatenate([BACKGROUND + _WEIGHTS * np.subtract(colour, BACKGROUND) for colour in (OFF_COLOUR, ON_COLOUR)])
).astype(np.uint8)
"""Colours from the background to full, first of OFF, then of ON: a table is read faster than colours are mixed."""

MAX_WIDTH_PX, MAX_HEIGHT_PX = 720, 544


@dataclass(frozen=True)
class EventView:
    """Where a sensor's pixels lie in a picture: `shrink` of them share a cell, a cell is `grow` picture pixels wide.

    Small sensors grow by a whole factor, so that an event stays a crisp square; large ones shrink by a whole factor,
    and a cell shows its newest event, so that none is lost between the samples.
    """

    sensor: Sensor
    shrink: int
    grow: int
    left_px: int = 0
    top_px: int = 0

    @classmethod
    def fitted(cls, sensor: Sensor, width_px: int = MAX_WIDTH_PX, height_px: int = MAX_HEIGHT_PX) -> EventView:
        """The largest view of `sensor` that fits, at the picture's origin."""
        shrink = max(-(-sensor.width // width_px), -(-sensor.height // height_px))
        columns, rows = -(-sensor.width // shrink), -(-sensor.height // shrink)
        return cls(sensor, shrink, max(1, min(width_px // columns, height_px // rows)))

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return -(-self.sensor.height // self.shrink), -(-self.sensor.width // self.shrink)

    @property
    def width_px(self) -> int:
        return self.cells[1] * self.grow

    @property
    def height_px(self) -> int:
        return self.cells[0] * self.grow

    def place(self, x: float | int, y: float | int) -> tuple[int, int]:
        """Picture position of a point given in sensor pixels."""
        scale = self.grow / self.shrink
        return self.left_px + round(x * scale), self.top_px + round(y * scale)


class EventSurface:
    """Time and polarity of each cell's last event, drawn with weight `exp(-age / fade_us)` (Lagorce et al. 2017)."""

    def __init__(self, view: EventView, fade_us: float | int = 40_000.0) -> None:
        if fade_us <= 0:
            raise ConfigError(f"fade of {fade_us} us: must be above zero")
        self.view = view
        self.fade_us = fade_us
        self._weight = np.zeros(view.cells, np.float32)
        self._on = np.zeros(view.cells, np.bool_)

    def reset(self) -> None:
        """Back to an empty scene."""
        self._weight[:] = 0.0

    def push(self, window: Window) -> None:
        """Fade what is there by the window's length and put the window's events on top."""
        if window.first:
            self.reset()
        self._weight *= np.float32(np.exp((window.start_us - window.end_us) / self.fade_us))
        events = window.events
        if not len(events):
            return
        row, column = events["y"] // self.view.shrink, events["x"] // self.view.shrink
        age_us = np.clip(window.end_us - events["t"], 0, window.end_us - window.start_us)
        self._weight[row, column] = np.exp(
            age_us * np.float32(-1.0 / self.fade_us)
        )  # of equal cells the last one stays
        self._on[row, column] = events["p"]

    def picture(self) -> UInt8[np.ndarray, "height width 3"]:
        """The surface in RGB, grown to the view's size."""
        level = (self._weight * np.float32(LEVELS - 1) + np.float32(0.5)).astype(np.intp)
        level += np.where(self._on, LEVELS, 0)
        cells = FADES[level]
        if self.view.grow == 1:
            return cells
        size = (self.view.width_px, self.view.height_px)
        return np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST), np.uint8)
