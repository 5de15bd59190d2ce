"""Decisions as the command line prints them, from a replay and from messages."""

from __future__ import annotations

import json
from pathlib import Path

from dvs_snn_msgs.msg import Gesture

from dvs_snn.cli import main


def replayed(recording: str, model: str, out: Path) -> list[str]:
    """The lines of `dvs-snn replay`."""
    assert main(["replay", recording, "--model", model, "--out", str(out)]) == 0
    return out.read_text().splitlines()


def line(message: Gesture) -> str:
    """A message as such a line."""
    return json.dumps(
        {
            "t_us": message.t_us,
            "kind": "gesture",
            "index": message.index,
            "label": message.label,
            "score": round(message.score, 4),
        }
    )
