"""Large arrays that are used again: on the CPU the first touch of fresh memory costs more than a whole scan.

A training step frees and allocates the same sizes over and over, and the system hands out (and clears) new pages each
time. An array lies in huge pages where the system has them, and is free again as soon as nothing but the pool holds it.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
import torch
from torch import Tensor

POOLED_BYTES = 1 << 20
"""Smaller arrays come from torch."""
KEPT_BYTES = 1 << 30
"""At most so much is kept for later; free arrays of other sizes go first."""
ALIGNMENT = 64

_kept: list[np.ndarray] = []
_lock = threading.Lock()


def empty_like(tensor: Tensor) -> Tensor:
    """A tensor of the same shape, strides and type whose values are left over from earlier."""
    size = tensor.numel() * tensor.itemsize
    if size < POOLED_BYTES:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    with _lock:
        raw = _take(size + ALIGNMENT)
        # The tensor refers to this view and so to its base, until the last tensor on the same storage is gone.
        aligned = raw[-raw.ctypes.data % ALIGNMENT :][:size]
    return torch.from_numpy(aligned).view(tensor.dtype).as_strided(tensor.shape, tensor.stride())


def _take(size: int) -> np.ndarray:
    free = [n for n in range(len(_kept)) if sys.getrefcount(_kept[n]) == 2]  # the list and the question itself
    for n in free:
        if len(_kept[n]) == size:
            return _kept[n]
    total = sum(len(raw) for raw in _kept)
    for n in reversed(free):
        if total + size <= KEPT_BYTES:
            break
        total -= len(_kept[n])
        del _kept[n]
    raw = np.empty(size, np.uint8)  # numpy asks the system for huge pages, torch does not
    if total + size <= KEPT_BYTES:
        _kept.append(raw)
    return raw
