"""What a training run tells while it goes: lines in `metrics.jsonl`, and the same for tensorboard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class Journal:
    """Appends to a run's journal, of which `position` bytes are kept: a resumed run writes the later lines again."""

    def __init__(self, out: Path, position: int, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = out / "metrics.jsonl"
        self._file = open(path, "ab")  # noqa: SIM115
        if self._file.tell() > position:
            self._file.truncate(position)
            self._file.seek(position)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step or None)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """One line: kind, number of updates so far, values; numbers go to tensorboard as `kind/name`."""
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}
        self._file.write((json.dumps({"kind": kind, "step": step, **rounded}) + "\n").encode())
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def position(self) -> int:
        """Length of the journal, on disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()
