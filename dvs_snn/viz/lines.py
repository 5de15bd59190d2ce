"""Curves on one pair of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from dvs_snn.errors import ConfigError
from dvs_snn.viz.files import replaced_when_done
from dvs_snn.viz.timeline import STYLE

COLOURS = ("#1F5FA8", "#C8443C", "#2E8B57", "#8A5AA8", "#B8860B", "#5B6470")


@matplotlib.rc_context(STYLE)
def draw_lines(
    path: str | Path,
    rows: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    title: str = "",
    *,
    logarithmic: bool = False,
) -> None:
    """Write named curves of (x, y) points as a picture, the name at each curve's end.

    `logarithmic`: both axes in powers of two. Raises `ConfigError` for a name that is not .png, .pdf or .svg.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"{path}: pictures are written as .png, .pdf or .svg")
    figure = Figure(figsize=(6.0, 3.8), dpi=120)
    FigureCanvasAgg(figure)  # no window system and no global state
    axes = figure.subplots()
    for colour, (name, points) in zip(cycle(COLOURS), rows.items(), strict=False):
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=colour, marker="o", lw=2.0)
        axes.annotate(
            name, (x[-1], y[-1]), (7, 0), textcoords="offset points", va="center", color=colour, weight="bold"
        )
        for place in (0, -1):
            axes.annotate(
                f"{y[place]:.4g}", (x[place], y[place]), (0, 7), textcoords="offset points", ha="center", fontsize=8
            )
    if logarithmic:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        low, high = axes.get_ylim()
        axes.set_ylim(low / 1.3, high * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(sorted({x for points in rows.values() for x, _ in points})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.margins(x=0.16)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E9EBEF", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    with replaced_when_done(path) as partial:
        figure.savefig(partial, bbox_inches="tight", pad_inches=0.12, facecolor="white")
