"""The overlay: recent events, what the network decides about them, and how sure it is of every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, Window
from dvs_snn.viz.surface import BACKGROUND, OFF_COLOUR, ON_COLOUR, EventSurface, EventView

Picture = UInt8[np.ndarray, "height width 3"]

PANEL = (24, 28, 36)
TRACK = (40, 46, 58)
INK = (236, 239, 244)
FAINT = (150, 158, 172)
ACCENT = (38, 132, 122)  # bars: white text stays readable on it
QUIET = (62, 74, 92)
RIGHT, WRONG = (64, 196, 160), (240, 120, 90)

SIDE_PX, MARGIN_PX, FOOT_PX = 328, 16, 36
HEAD_PX, ROW_PX = 112, 30
RATE_TAU_US = 100_000.0


@dataclass(frozen=True)
class Verdict:
    """What is said of a moment: the decision's label and score, the posterior of each class, the truth if known."""

    label: str = "none"
    score: float = 0.0
    posteriors: Float[np.ndarray, " classes"] | None = None
    truth: str | None = None
    lines: tuple[str, ...] | None = None  # in place of a class: what is tracked, line by line


@runtime_checkable
class Layer(Protocol):
    """Something else drawn over the events, in the sensor's coordinates by `view.place`: boxes, trails, ids."""

    def draw(self, picture: Picture, view: EventView) -> None: ...


class Overlay:
    """Draws a stream of windows: `see` each window, `draw` whenever a picture is wanted.

    Events left, grown by a whole factor; decision and class posteriors right; time and event rate below.
    """

    def __init__(self, sensor: Sensor, labels: Sequence[str], fade_us: float | int = 40_000.0, title: str = "") -> None:
        self.sensor = sensor
        self.labels = tuple(labels)
        self.title = title
        view = EventView.fitted(sensor)
        body_px = max(view.height_px, HEAD_PX + ROW_PX * min(len(self.labels), 11) + MARGIN_PX)
        self.view = replace(view, left_px=0, top_px=(body_px - view.height_px) // 2)
        self.width_px = (view.width_px + SIDE_PX + 1) // 2 * 2  # H.264 wants even sizes
        self.height_px = (body_px + FOOT_PX + 1) // 2 * 2
        self._body_px = body_px
        self._rows = (body_px - HEAD_PX - MARGIN_PX // 2) // ROW_PX
        self._blank = np.empty((self.height_px, self.width_px, 3), np.uint8)
        self._blank[:] = PANEL
        self._blank[:body_px, : view.width_px] = BACKGROUND
        self._surface = EventSurface(self.view, fade_us)
        self._time_us = 0
        self._rate_hz = 0.0

    def see(self, window: Window) -> None:
        """Take a window into the fading picture and the event rate."""
        self._surface.push(window)
        length_us = window.end_us - window.start_us
        keep = 0.0 if window.first else float(np.exp(-length_us / RATE_TAU_US))
        self._rate_hz = keep * self._rate_hz + (1.0 - keep) * len(window.events) / (length_us * 1e-6)
        self._time_us = window.end_us

    def draw(self, verdict: Verdict | None = None, layers: Sequence[Layer] = ()) -> Picture:
        """The picture in RGB after the last window that was seen."""
        verdict = verdict or Verdict()
        if verdict.posteriors is not None and len(verdict.posteriors) != len(self.labels):
            raise ConfigError(f"{len(verdict.posteriors)} posteriors for {len(self.labels)} labels")
        picture, view = self._blank.copy(), self.view
        events = picture[view.top_px : view.top_px + view.height_px, : view.width_px]
        events[:] = self._surface.picture()
        for layer in layers:
            layer.draw(picture, view)
        if verdict.lines is None:
            self._draw_decision(picture, verdict)
            self._draw_posteriors(picture, verdict)
        else:
            self._draw_lines(picture, verdict.lines)
        self._draw_foot(picture)
        return picture

    def _draw_decision(self, picture: Picture, verdict: Verdict) -> None:
        left, right = self.view.width_px + MARGIN_PX, self.view.width_px + SIDE_PX - MARGIN_PX
        undecided = verdict.label == "none"
        _text(picture, "DECISION", (left, 26), 0.42, FAINT)
        if verdict.truth is not None and not undecided:
            right_or_wrong = verdict.label == verdict.truth
            word, colour = ("right", RIGHT) if right_or_wrong else ("wrong", WRONG)
            _text(picture, word, (right, 26), 0.42, colour, align_right=True)
        name = "undecided" if undecided else verdict.label
        scale = min(0.72, 0.72 * (right - left) / max(1, _text_width(name, 0.72)))
        _text(picture, name, (left, 56), scale, FAINT if undecided else INK, thickness=1 if undecided else 2)
        _bar(picture, (left, 70, right, 78), 0.0 if undecided else verdict.score, RIGHT)
        line = self.title if verdict.truth is None else f"true: {verdict.truth}"
        if line:
            _text(picture, line, (left, 99), 0.42, FAINT)

    def _draw_lines(self, picture: Picture, lines: tuple[str, ...]) -> None:
        left = self.view.width_px + MARGIN_PX
        _text(picture, "TRACKS", (left, 26), 0.42, FAINT)
        _text(picture, str(len(lines)), (left, 56), 0.72, INK if lines else FAINT, thickness=2)
        if self.title:
            _text(picture, self.title, (left, 86), 0.42, FAINT)
        for row, line in enumerate(lines[: max(0, (self._body_px - HEAD_PX) // 20)]):
            _text(picture, line, (left, HEAD_PX + 10 + row * 20), 0.42, INK)

    def _draw_posteriors(self, picture: Picture, verdict: Verdict) -> None:
        left, right = self.view.width_px + MARGIN_PX, self.view.width_px + SIDE_PX - MARGIN_PX
        posteriors = np.zeros(len(self.labels)) if verdict.posteriors is None else verdict.posteriors
        order = np.arange(len(self.labels))
        if len(order) > self._rows:  # too many to list: the likeliest
            order = np.argsort(-posteriors, kind="stable")[: self._rows]
        for row, index in enumerate(order):
            top = HEAD_PX + row * ROW_PX
            label, value = self.labels[index], float(posteriors[index])
            decided = label == verdict.label
            _bar(picture, (left, top, right, top + ROW_PX - 4), value, ACCENT if decided else QUIET)
            if label == verdict.truth:  # what is really there
                cv2.rectangle(picture, (left, top), (right - 1, top + ROW_PX - 5), FAINT, 1)
            _text(picture, label, (left + 8, top + 18), 0.44, INK if decided or value > 0.1 else FAINT)
            if value >= 0.005:
                _text(picture, f"{100 * value:.0f}", (right - 7, top + 18), 0.42, INK, align_right=True)

    def _draw_foot(self, picture: Picture) -> None:
        base = self._body_px + 23
        x = _text(picture, f"{self._time_us * 1e-6:8.2f} s", (8, base), 0.48, INK) + 22
        x = _text(picture, f"{_rate(self._rate_hz)} events/s", (x, base), 0.48, INK)
        right = self.width_px - MARGIN_PX
        right = _text(picture, "OFF", (right, base), 0.42, OFF_COLOUR, align_right=True) - 14
        right = _text(picture, "ON", (right, base), 0.42, ON_COLOUR, align_right=True) - 22
        size = str(self.sensor)
        if x + 22 + _text_width(size, 0.42) < right:
            _text(picture, size, (right, base), 0.42, FAINT, align_right=True)


def _rate(rate_hz: float) -> str:
    if rate_hz >= 1e6:
        return f"{rate_hz * 1e-6:.1f} M"
    return f"{rate_hz * 1e-3:.1f} k" if rate_hz >= 1e3 else f"{rate_hz:.0f} "


def _bar(picture: Picture, box: tuple[int, int, int, int], value: float, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    filled = left + round(min(max(value, 0.0), 1.0) * (right - left))
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), TRACK, cv2.FILLED)
    if filled > left:
        cv2.rectangle(picture, (left, top), (filled - 1, bottom - 1), colour, cv2.FILLED)


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])


def _text(
    picture: Picture,
    text: str,
    at: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int],
    thickness: int = 1,
    align_right: bool = False,
) -> int:
    """Write on the base line `at`; returns the x where the text ends (or, aligned right, where it begins)."""
    width = _text_width(text, scale)
    x = at[0] - width if align_right else at[0]
    cv2.putText(picture, text, (x, at[1]), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)
    return x if align_right else x + width
