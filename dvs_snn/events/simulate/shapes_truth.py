"""The truth about a scene of shapes: exact boxes, velocities and what is visible, in memory and as CSV.

A box is the tight box, along the image's axes, of the whole shape, hidden parts and parts outside the image included;
pixel (x, y) is centred at (x, y), so a shape that fills columns 3 to 5 is centred at x = 4 with w = 3.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import RecordingError
from dvs_snn.events.simulate.shapes_kernel import visible_shares
from dvs_snn.events.simulate.shapes_scene import Motion, ShapesScene

Array = NDArray[np.float64]

TRUTH_DTYPE = np.dtype(
    [("t_us", "<i8"), ("id", "<i4"), *((name, "<f8") for name in ("x", "y", "w", "h", "vx", "vy", "visible"))]
)
_DIGITS = {"x": 3, "y": 3, "w": 3, "h": 3, "vx": 2, "vy": 2, "visible": 4}
_ABSENT = {"w": np.nan, "h": np.nan, "vx": np.nan, "vy": np.nan, "visible": 1.0}
_BLOCK = 2048  # instants whose outlines are held at once


@dataclass(frozen=True)
class ShapesTruth:
    """Rows of `TRUTH_DTYPE`, sorted by time, then id: centre and size in px, velocity in px/s, visible share of area.

    Every target has a row at every step, also while nothing of it is visible (`visible` 0).
    """

    rows: NDArray[Any]

    @property
    def ids(self) -> NDArray[np.int32]:
        return np.unique(self.rows["id"])

    @property
    def times_us(self) -> NDArray[np.int64]:
        return np.unique(self.rows["t_us"])

    def of(self, target: int) -> NDArray[Any]:
        """All rows of one target."""
        return self.rows[self.rows["id"] == target]

    def at(self, t_us: int) -> NDArray[Any]:
        """The rows of the last step at or before `t_us`; none before the first step."""
        t = self.rows["t_us"]
        end = int(np.searchsorted(t, t_us, side="right"))
        return self.rows[np.searchsorted(t, t[end - 1], side="left") : end] if end else self.rows[:0]

    def write(self, path: str | PathLike[str]) -> None:
        """Write as CSV with a header line."""
        names = TRUTH_DTYPE.names or ()
        formats = [f"%.{_DIGITS[name]}f" if name in _DIGITS else "%d" for name in names]
        line = ",".join(formats) + "\n"
        with open(path, "w", newline="") as file:
            file.write(",".join(names) + "\n")
            file.writelines(line % row for row in self.rows.tolist())

    @classmethod
    def read(cls, path: str | PathLike[str]) -> ShapesTruth:
        """Read a CSV whose header names at least `t_us,id,x,y`; sizes and velocities that it lacks are NaN.

        Raises `RecordingError` for a file that is no such table.
        """
        try:
            with open(path, newline="") as file:
                table = list(csv.reader(file))
        except UnicodeDecodeError:
            raise RecordingError(path, "not a text file; the truth is a CSV t_us,id,x,y[,w,h]") from None
        header = [name.strip() for name in table[0]] if table else []
        missing = [name for name in ("t_us", "id", "x", "y") if name not in header]
        if missing:
            raise RecordingError(path, f"no column {', '.join(missing)}; the truth is a CSV t_us,id,x,y[,w,h]")
        lines = [line for line in table[1:] if line]
        rows = np.zeros(len(lines), TRUTH_DTYPE)
        for name in TRUTH_DTYPE.names or ():
            if name not in header:
                rows[name] = _ABSENT[name]
                continue
            column = header.index(name)
            try:
                values = [line[column] for line in lines]
                rows[name] = np.array(values, TRUTH_DTYPE[name]) if values else 0
            except (ValueError, OverflowError, IndexError):
                raise RecordingError(path, f"column {name} holds something that is no number of its kind") from None
        return cls(rows[np.lexsort((rows["id"], rows["t_us"]))])


def scene_truth(scene: ShapesScene, times_us: NDArray[np.int64]) -> ShapesTruth:
    """The truth of a scene at given times; ids are 1, 2, ... in the order of the scene's targets."""
    rows = np.zeros((len(times_us), scene.targets), TRUTH_DTYPE)
    rows["t_us"] = times_us[:, None]
    rows["id"] = np.arange(1, scene.targets + 1)
    samples = scene.samples()
    for start in range(0, len(times_us) if scene.targets else 0, _BLOCK):
        block = rows[start : start + _BLOCK]
        motion = scene.motion(np.asarray(times_us[start : start + _BLOCK] * 1e-6, np.float64))
        boxes = np.empty((*block.shape, 4))
        for n in range(scene.targets):
            centre, velocity, size = box_of(scene.bodies[n].outline(), scene.geometry[n], motion, n)
            boxes[:, n, :2], boxes[:, n, 2:] = centre, size
            block["vx"][:, n], block["vy"][:, n] = velocity.T
        for k, name in enumerate(("x", "y", "w", "h")):
            block[name] = boxes[..., k]
        visible = np.empty(block.shape)
        visible_shares(
            visible, motion.poses(), boxes, scene.order, scene.targets, scene.geometry, scene.vertices, scene.counts,
            samples, scene.sensor.width, scene.sensor.height,
        )  # fmt: skip
        block["visible"] = visible
    return ShapesTruth(rows.reshape(-1))


def box_of(outline: Array | None, geometry: Array, motion: Motion, n: int) -> tuple[Array, Array, Array]:
    """Centre [n, 2], velocity of the centre [n, 2] and size [n, 2] of body `n`'s tight box.

    With R the rotation and s the scale, the box reaches from s min (R p) to s max (R p) over the outline's points p.
    The point at an extreme stays there to first order (envelope theorem), so the extreme's derivative is
    s' (R p) + s (R' p) at that point.
    """
    cos, sin = np.cos(motion.angle[:, n]), np.sin(motion.angle[:, n])
    scale, swell, spin = motion.scale[:, n], motion.swell[:, n], motion.spin[:, n]
    centre, velocity = motion.position[:, n].copy(), motion.velocity[:, n].copy()
    size = np.empty_like(centre)
    if outline is None:
        a, b = geometry[1], geometry[2]
        size[:, 0] = 2 * scale * np.hypot(a * cos, b * sin)
        size[:, 1] = 2 * scale * np.hypot(a * sin, b * cos)
        return centre, velocity, size
    instants = np.arange(len(cos))
    for axis, (u, v, du, dv) in enumerate(((cos, -sin, -sin, -cos), (sin, cos, cos, -sin))):
        along = u[:, None] * outline[:, 0] + v[:, None] * outline[:, 1]
        ends, rates = [], []
        for point in (along.argmin(axis=1), along.argmax(axis=1)):
            reach = along[instants, point]
            turned = du * outline[point, 0] + dv * outline[point, 1]
            ends.append(scale * reach)
            rates.append(swell * reach + scale * spin * turned)
        centre[:, axis] += (ends[0] + ends[1]) / 2
        velocity[:, axis] += (rates[0] + rates[1]) / 2
        size[:, axis] = ends[1] - ends[0]
    return centre, velocity, size
