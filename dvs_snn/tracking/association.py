"""Which observation belongs to which track: gated costs, optimal assignment."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

_FORBIDDEN = 1e9


def assign(cost: Float[np.ndarray, "tracks observations"], gate: float | int) -> list[tuple[int, int]]:
    """Pairs (track, observation) of least total cost among those whose cost is at most `gate` (Kuhn 1955).

    As many pairs as the gate allows are made before their cost counts. A cost that is not finite is never paired.
    """
    if not cost.size:
        return []
    allowed = np.isfinite(cost) & (cost <= gate)
    rows, columns = linear_sum_assignment(np.where(allowed, cost, _FORBIDDEN))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c]]
