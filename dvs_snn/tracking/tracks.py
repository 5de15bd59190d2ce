"""What a tracker tells: the targets of a moment, each with identity, box, velocity and score."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("id", "x", "y", "w", "h", "vx", "vy", "score")
"""Columns of a table of tracks, `[tracks, 8]`: as the fields of `Track`."""


class Track(NamedTuple):
    """One target: centre and size of its box in px, velocity of the centre in px/s, score 0..1.

    Pixel (i, j) is centred at x = j, y = i. The id is given once in a run and never used again.
    """

    id: int
    x: float
    y: float
    w: float
    h: float
    vx: float
    vy: float
    score: float


@dataclass(frozen=True)
class Tracks:
    """The targets at sensor time `t_us`, sorted by id; none is an answer too."""

    t_us: int
    tracks: tuple[Track, ...] = ()

    @classmethod
    def of(cls, t_us: int, table: NDArray[np.float64]) -> Tracks:
        """From rows of `COLUMNS`."""
        return cls(t_us, tuple([Track(int(row[0]), *row[1:]) for row in table.tolist()]))

    def moved(self, scale: float, left: float, top: float) -> Tracks:
        """The same tracks on a sensor whose pixel edge (u, v) lies at `left + scale u`, `top + scale v`."""

        def placed(track: Track) -> Track:
            x, y = (track.x + 0.5) * scale + left - 0.5, (track.y + 0.5) * scale + top - 0.5
            w, h, vx, vy = (scale * value for value in (track.w, track.h, track.vx, track.vy))
            return Track(track.id, x, y, w, h, vx, vy, track.score)

        return Tracks(self.t_us, tuple(placed(track) for track in self.tracks))

    def to_json(self) -> str:
        """One JSON line of kind "tracks"."""
        rows = [
            {
                "id": track.id,
                "x": round(track.x, 2),
                "y": round(track.y, 2),
                "w": round(track.w, 2),
                "h": round(track.h, 2),
                "vx": round(track.vx, 1),
                "vy": round(track.vy, 1),
                "score": round(track.score, 3),
            }
            for track in self.tracks
        ]
        return json.dumps({"t_us": self.t_us, "kind": "tracks", "tracks": rows})
