"""Several documents in one scan: state goes back to rest where one begins, and functions of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from dvs_snn.nn.temporal import State, Temporal, reset_where

First: TypeAlias = Bool[Tensor, "time batch"]
"""True where a document begins: state is at rest before that step."""


def scan_documents(
    module: Temporal, xs: Tensor, state: State | None = None, first: Tensor | None = None
) -> tuple[Tensor, State]:
    """`module(xs, state)` with the state of a row at rest wherever `first` is true.

    Modules with `takes_first` do it inside their scan; others are scanned from one beginning (of any row) to the next.
    """
    if first is None or not bool(first.any()):
        return module(xs, state)
    if getattr(module, "takes_first", False):
        return module(xs, state, first)
    cuts = [0, *(t for t in range(1, len(xs)) if bool(first[t].any())), len(xs)]
    parts = []
    for start, stop in itertools.pairwise(cuts):
        if state is not None:
            state = reset_where(state, first[start])
        part, state = module(xs[start:stop], state)
        parts.append(part)
    return torch.cat(parts), state


NO_MASK: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)


def mask_array(first: Tensor | None) -> NDArray[np.bool_]:
    """`first` as the compiled kernels take it; empty where no document begins."""
    return NO_MASK if first is None else first.contiguous().numpy()


def rowwise(function: Callable[[Tensor], Tensor], xs: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows out"]:
    """A function of every row; in float64 row by row, so that a row's result never depends on how many there are.

    A BLAS orders its sums by the number of rows, and vector units round `exp` differently at the end of an array.
    float64 is the precision of comparisons, where `step` equals the scan to the bit; in float32 all rows are one call.
    """
    if xs.dtype != torch.float64 or xs.dim() == 1:
        return function(xs)
    rows = xs.reshape(-1, xs.shape[-1])
    found = torch.cat([function(row) for row in rows.split(1)])
    return found.view(*xs.shape[:-1], found.shape[-1])
