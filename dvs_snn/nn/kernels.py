"""The fused scans compiled (numba, CPU), once per kind of neuron; machine code is kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from dvs_snn.nn.kernel_text import LANES, Plan, backward_text, forward_text, history, replay_text

CACHE_BYTES = 512 * 1024
"""What the replayed membranes of one block may take."""


def block_lanes(plan: Plan, time: int, itemsize: int) -> int:
    """Lanes of a block whose replayed membranes fit the cache."""
    row = time * max(1, len(history(plan))) * itemsize
    return max(32, min(LANES, CACHE_BYTES // row // 32 * 32))


@cache
def forward_kernel(plan: Plan) -> Callable[..., None]:
    """The compiled forward scan; every thread gets its own lanes `start` to `stop`."""
    return _compile(forward_text(plan), ("forward",))


@cache
def backward_kernel(plan: Plan) -> Callable[..., None]:
    """The compiled backward scan; sums for scalar coefficients go into the place `part` of their gradients."""
    return _compile(replay_text(plan) + backward_text(plan), ("replay", "walk", "backward"))


def _compile(text: str, names: tuple[str, ...]) -> Any:
    import numba
    import numpy as np

    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = _keep(text, digest)
    # numba finds the globals of a function it has kept through the module's name.
    module = types.ModuleType(f"{__name__}_{digest}")
    sys.modules[module.__name__] = module
    namespace = vars(module)
    namespace["np"] = np
    exec(compile(text, str(path or f"<neuron kernel {digest}>"), "exec"), namespace)
    for function in names:
        # Contraction is for gradients alone: a membrane must fall on the same side of the threshold everywhere.
        fastmath = {"contract"} if function == "walk" else False
        decorate = numba.njit(nogil=True, cache=path is not None, fastmath=fastmath, error_model="numpy")
        namespace[function] = decorate(namespace[function])
    return namespace[names[-1]]


def _keep(text: str, digest: str) -> Path | None:
    """The text as a file, beside which numba keeps the machine code; None where nothing can be written."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dvs_snn" / "kernels"
    path = root / f"neuron_{digest}.py"
    try:
        if path.is_file() and path.read_text() == text:
            return path
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=root, suffix=".py", delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return None
    return path
