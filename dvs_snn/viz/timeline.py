"""A recording on one page: event rate, class posteriors, decisions against truth; and the confusion matrix."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from jaxtyping import Integer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dvs_snn.errors import ConfigError
from dvs_snn.events import Window
from dvs_snn.pipeline import Gesture
from dvs_snn.viz.files import replaced_when_done
from dvs_snn.viz.recorder import Truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLASS_COLOURS = (
    "#88CCEE", "#CC6677", "#DDCC77", "#117733", "#332288", "#AA4499",
    "#44AA99", "#999933", "#882255", "#EE7733", "#7D8590", "#6699CC",
)  # fmt: skip
"""Apart for every kind of colour vision (Tol 2021, muted, and three more); segments are named in words besides."""

NONE_COLOUR = "#E4E6EA"
ON_LINE, OFF_LINE = "#D98200", "#2F6FDE"
INK, FAINT = "#1C2128", "#6B7480"
STYLE: Any = {"font.size": 9.0, "axes.edgecolor": "#B8BEC8", "axes.labelcolor": INK, "text.color": INK}


class Timeline:
    """Collects (window, decision) pairs and draws them; memory grows by some hundred bytes per window."""

    def __init__(self, labels: Sequence[str], title: str = "", truth: Truth = ()) -> None:
        self.labels, self.title, self.truth = tuple(labels), title, tuple(truth)
        self._end_s: list[float] = []
        self._length_s: list[float] = []
        self._counts: list[tuple[int, int]] = []
        self._posteriors: list[np.ndarray] = []
        self._indices: list[int] = []

    def see(self, window: Window, decision: Gesture | None) -> None:
        """Take a window and the decision that holds at its end."""
        on = int(np.count_nonzero(window.events["p"]))
        self._counts.append((on, len(window.events) - on))
        self._end_s.append(window.end_us * 1e-6)
        self._length_s.append((window.end_us - window.start_us) * 1e-6)
        self._posteriors.append(np.zeros(len(self.labels)) if decision is None else decision.smoothed)
        self._indices.append(-1 if decision is None else decision.index)

    @matplotlib.rc_context(STYLE)
    def save(self, path: str | Path) -> None:
        """Write the picture (PNG, PDF or SVG by the name's ending), whole or not at all; an empty recording too.

        Raises `DvsSnnError` when it cannot be written.
        """
        figure = _figure(9.6, 4.3 + 0.17 * len(self.labels))
        heights = [1.1, 0.155 * len(self.labels) + 0.5, 0.75]
        rate, heat, rows = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.12})
        end_s, length_s = np.asarray(self._end_s), np.asarray(self._length_s)
        self._draw_rate(rate, end_s, length_s)
        self._draw_posteriors(figure, heat, end_s, length_s)
        present = self._draw_rows(rows, end_s, length_s)
        if len(end_s):
            rows.set_xlim(min(end_s - length_s), max(end_s))
        rows.set_xlabel("sensor time (s)")
        if self.title:
            rate.set_title(self.title, loc="left", fontsize=11, fontweight="bold")
        handles = [Patch(color=_colour(index), label=self.labels[index]) for index in present]
        handles.append(Patch(color=NONE_COLOUR, label="undecided"))
        rows.legend(
            handles=_across(handles, 4), loc="upper left", bbox_to_anchor=(0.0, -0.55), ncols=4, frameon=False,
            fontsize=8.5, handlelength=1.2, borderaxespad=0.0, columnspacing=1.6,
        )  # fmt: skip
        _save(figure, Path(path))

    def _draw_rate(self, axes: Axes, end_s: np.ndarray, length_s: np.ndarray) -> None:
        axes.set_ylabel("events/s")
        _plain(axes)
        if len(end_s):
            counts = np.asarray(self._counts, float)
            for column, (name, colour) in enumerate((("ON", ON_LINE), ("OFF", OFF_LINE))):
                axes.plot(end_s - length_s / 2, counts[:, column] / length_s, color=colour, lw=1.1, label=name)
            axes.set_ylim(bottom=0)
            axes.legend(loc="upper right", ncols=2, frameon=False, fontsize=8.5, bbox_to_anchor=(1.0, 1.2))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value * 1e-3:g} k" if value >= 1000 else f"{value:g}")
        for start_s in self._borders_s():
            axes.axvline(start_s, color=FAINT, lw=0.7, ls=(0, (4, 3)))

    def _draw_posteriors(self, figure: Figure, axes: Axes, end_s: np.ndarray, length_s: np.ndarray) -> None:
        axes.set_yticks(range(len(self.labels)), self.labels, fontsize=8.5)
        axes.set_ylim(len(self.labels) - 0.5, -0.5)
        axes.tick_params(length=0)
        if not len(end_s):
            axes.text(
                0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=12
            )
            return
        edges_s, columns = _with_gaps(end_s, length_s, np.stack(self._posteriors, axis=1))
        mesh = axes.pcolormesh(
            edges_s, np.arange(len(self.labels) + 1) - 0.5, columns, cmap="BuPu", vmin=0.0, vmax=1.0, rasterized=True
        )
        for start_s in self._borders_s():
            axes.axvline(start_s, color=FAINT, lw=0.7, ls=(0, (4, 3)))
        bar = figure.colorbar(mesh, cax=axes.inset_axes((1.012, 0.0, 0.014, 1.0)), ticks=[0.0, 0.5, 1.0])
        bar.set_label("smoothed posterior", fontsize=8.5)
        bar.outline.set_visible(False)  # type: ignore[operator]

    def _draw_rows(self, axes: Axes, end_s: np.ndarray, length_s: np.ndarray) -> list[int]:
        """Coloured bars, named in words where they are long enough; returns the classes that occur."""
        names = ["decided", "true"] if self.truth else ["decided"]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        _plain(axes)
        axes.grid(False)
        span_s = float(end_s[-1] - end_s[0] + length_s[0]) if len(end_s) else 1.0
        present = set()
        for first, last in _runs(np.asarray(self._indices), end_s, length_s):
            index = self._indices[first]
            start_s, stop_s = end_s[first] - length_s[first], end_s[last]
            _segment(axes, 0, start_s, stop_s, index, self._name(index, stop_s - start_s, span_s))
            present.add(index)
        for start_us, end_us, label in self.truth:
            start_s, stop_s = start_us * 1e-6, end_us * 1e-6
            _segment(axes, 1, start_s, stop_s, label, self._name(label, stop_s - start_s, span_s))
            present.add(label)
        return sorted(present - {-1})

    def _name(self, index: int, length_s: float, span_s: float) -> str:
        """The class name broken to what fits into its segment, empty where two lines do not do."""
        columns = int(118 * length_s / span_s)
        if index < 0 or columns < 5:
            return ""
        lines = textwrap.wrap(self.labels[index], columns, break_long_words=False)
        return "\n".join(lines) if len(lines) <= 2 and max(map(len, lines)) <= columns else ""

    def _borders_s(self) -> list[float]:
        return [start_us * 1e-6 for start_us, _, _ in self.truth[1:]]


@matplotlib.rc_context(STYLE)
def draw_confusion(
    path: str | Path, counts: Integer[np.ndarray, "true decided"], labels: Sequence[str], title: str = ""
) -> None:
    """Write the confusion matrix: rows are the truth, columns the decision; counts, shaded by their share of the row.

    `counts` may have one column more than rows: recordings for which nothing was decided.
    """
    rows, columns = counts.shape
    if rows != len(labels) or columns not in (rows, rows + 1):
        raise ConfigError(f"confusion matrix of {rows}x{columns} for {len(labels)} labels")
    names = [*labels, "undecided"][:columns]
    size = 2.6 + 0.46 * rows
    figure = _figure(size + 0.6, size)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(columns), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8.5)
    axes.set_yticks(range(rows), labels, fontsize=8.5)
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    for row, column in np.argwhere(counts > 0):
        colour = "white" if share[row, column] > 0.5 else INK
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8.5)
    axes.set_xlabel("decided")
    axes.set_ylabel("true")
    total, right = int(counts.sum()), int(np.trace(counts[:, :rows]))
    score = f"{right} of {total} right ({100 * right / total:.1f} %)" if total else "no recordings"
    axes.set_title(f"{title}: {score}" if title else score, loc="left", fontsize=11, fontweight="bold")
    _save(figure, Path(path))


def _figure(width_in: float, height_in: float) -> Figure:
    figure = Figure(figsize=(width_in, height_in), dpi=120)
    FigureCanvasAgg(figure)  # no window system and no global state
    return figure


def _save(figure: Figure, path: Path) -> None:
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"{path}: pictures are written as .png, .pdf or .svg")
    with replaced_when_done(path) as partial:
        figure.savefig(partial, bbox_inches="tight", pad_inches=0.12, facecolor="white")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E9EBEF", lw=0.8)
    axes.set_axisbelow(True)


def _colour(index: int) -> str:
    return NONE_COLOUR if index < 0 else CLASS_COLOURS[index % len(CLASS_COLOURS)]


def _segment(axes: Axes, row: int, start_s: float, stop_s: float, index: int, name: str) -> None:
    colour = _colour(index)
    axes.barh(row, stop_s - start_s, left=start_s, height=0.8, color=colour, edgecolor="white", lw=0.6)
    if name:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
        middle_s = (start_s + stop_s) / 2
        axes.text(middle_s, row, name, ha="center", va="center", fontsize=7.5, color=ink, linespacing=0.95)


def _across(handles: list[Patch], columns: int) -> list[Patch]:
    """A legend is filled column by column; this order makes it read line by line."""
    return [handle for column in range(columns) for handle in handles[column::columns]]


def _runs(indices: np.ndarray, end_s: np.ndarray, length_s: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of every run of equal decisions; a gap in time ends a run."""
    if not len(indices):
        return []
    apart = np.abs(np.diff(end_s) - length_s[1:]) > 0.5 * length_s[1:]
    cuts = np.flatnonzero((np.diff(indices) != 0) | apart)
    firsts = np.concatenate([[0], cuts + 1])
    return list(zip(firsts.tolist(), [*cuts.tolist(), len(indices) - 1], strict=True))


def _with_gaps(end_s: np.ndarray, length_s: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges and columns for a mesh; where windows are missing, or the clock restarted, an empty column stands."""
    order = np.argsort(end_s, kind="stable")
    end_s, length_s, columns = end_s[order], length_s[order], columns[:, order]
    keep = np.concatenate([[True], np.diff(end_s) > 1e-9])  # times seen twice after a restart: the first stays
    end_s, length_s, columns = end_s[keep], length_s[keep], columns[:, keep]
    gaps = np.flatnonzero(np.diff(end_s) > 1.5 * length_s[1:]) + 1
    edges = np.insert(np.concatenate([[end_s[0] - length_s[0]], end_s]), gaps + 1, end_s[gaps] - length_s[gaps])
    return edges, np.insert(columns, gaps, np.nan, axis=1)
