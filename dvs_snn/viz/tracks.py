"""Tracks drawn: boxes, trails and ids over the events, and the courses x(t), y(t) as a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dvs_snn.events.simulate import ShapesTruth
from dvs_snn.pipeline import Decision, Track, Tracks
from dvs_snn.viz.files import replaced_when_done
from dvs_snn.viz.overlay import Layer, Picture
from dvs_snn.viz.surface import EventView

TRAIL_US = 400_000
_STEP_US = 4_000  # between two points of a trail
_COLOURS = ((64, 220, 160), (255, 110, 150), (190, 150, 255), (250, 230, 90), (90, 220, 250), (255, 160, 90),
            (160, 230, 90), (250, 130, 230))  # fmt: skip


def track_colour(number: int) -> tuple[int, int, int]:
    """The colour of an id; eight of them, apart from those of events."""
    return _COLOURS[number % len(_COLOURS)]


@dataclass(frozen=True)
class TrackLayer:
    """The tracks of a moment with where they have been: points (x, y) by id."""

    tracks: tuple[Track, ...]
    trails: dict[int, list[tuple[float, float]]]

    def draw(self, picture: Picture, view: EventView) -> None:
        """Boxes, trails, ids and a line to where each target will be in 50 ms; nothing outside the events' view."""
        part = picture[view.top_px : view.top_px + view.height_px, view.left_px : view.left_px + view.width_px]
        origin = np.array([view.left_px, view.top_px])

        def place(x: float, y: float) -> tuple[int, int]:
            u, v = np.array(view.place(x + 0.5, y + 0.5)) - origin  # pixel (x, y) is centred at (x, y)
            return int(u), int(v)

        for track in self.tracks:
            colour = track_colour(track.id)
            trail = [place(x, y) for x, y in self.trails.get(track.id, [])]
            if len(trail) > 1:
                cv2.polylines(part, [np.array(trail, np.int32)], False, colour, 1, cv2.LINE_AA)
            low = place(track.x - track.w / 2, track.y - track.h / 2)
            high = place(track.x + track.w / 2, track.y + track.h / 2)
            cv2.rectangle(part, low, high, colour, 1 if track.score < 0.5 else 2, cv2.LINE_AA)
            centre = place(track.x, track.y)
            cv2.circle(part, centre, 2, colour, cv2.FILLED, cv2.LINE_AA)
            ahead = place(track.x + 0.05 * track.vx, track.y + 0.05 * track.vy)
            cv2.line(part, centre, ahead, colour, 1, cv2.LINE_AA)
            name = (max(low[0], 0), max(low[1] - 5, 12))
            cv2.putText(part, str(track.id), name, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)


class Trails:
    """Remembers where each track has been; called with every decision, gives the layer to draw."""

    def __init__(self, length_us: int = TRAIL_US) -> None:
        self.length_us = length_us
        self._points: dict[int, list[tuple[int, float, float]]] = {}
        self._last_us: int | None = None

    def __call__(self, decision: Decision) -> Sequence[Layer]:
        if not isinstance(decision, Tracks):
            return ()
        if self._last_us is not None and decision.t_us < self._last_us:  # a restarted clock
            self._points.clear()
        self._last_us = decision.t_us
        since = decision.t_us - self.length_us
        for track in decision.tracks:
            points = self._points.setdefault(track.id, [])
            if not points or decision.t_us - points[-1][0] >= _STEP_US:
                points.append((decision.t_us, track.x, track.y))
            while points[0][0] < since:
                points.pop(0)
        self._points = {number: points for number, points in self._points.items() if points and points[-1][0] >= since}
        trails = {number: [(x, y) for _, x, y in points] for number, points in self._points.items()}
        return (TrackLayer(decision.tracks, trails),)


class TrackPlot:
    """A plot of x(t) and y(t) of every track, the truth beneath it where there is one; `see` every decision."""

    def __init__(self, title: str = "", truth: ShapesTruth | None = None) -> None:
        self.title, self.truth = title, truth
        self._rows: dict[int, list[tuple[int, float, float]]] = {}

    def see(self, decision: Decision | None) -> None:
        """Take the next decision; what is not of tracks is passed over."""
        if isinstance(decision, Tracks):
            for track in decision.tracks:
                self._rows.setdefault(track.id, []).append((decision.t_us, track.x, track.y))

    def save(self, path: str | Path) -> None:
        """Write the plot, in the format that the extension names."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True)
        for place, (axis, name) in enumerate(zip(axes, ("x", "y"), strict=True)):
            if self.truth is not None:
                for target in self.truth.ids.tolist():
                    rows = self.truth.of(target)
                    axis.plot(rows["t_us"] * 1e-6, rows[name], color="0.75", linewidth=3, zorder=0)
            for number, points in self._rows.items():
                table = np.array(points, float)
                gaps = np.flatnonzero(np.diff(table[:, 0]) > 50_000) + 1  # a line would tell what nobody saw
                table = np.insert(table, gaps, np.nan, axis=0)
                colour = np.array(track_colour(number)) / 255 * 0.8
                axis.plot(table[:, 0] * 1e-6, table[:, 1 + place], color=colour, linewidth=1.2, label=f"{number}")
            axis.set_ylabel(f"{name} (px)")
            axis.grid(alpha=0.3)
        axes[1].invert_yaxis()  # as in the image: y points down
        axes[1].set_xlabel("sensor time (s)")
        axes[0].set_title(self.title)
        if 0 < len(self._rows) <= 12:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", title="track")
        with replaced_when_done(Path(path)) as partial:
            figure.savefig(partial, dpi=130)


Layers = Callable[[Decision], Sequence[Layer]]
