"""The assignment is the best one within its gate."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.tracking import assign


@given(st.integers(0, 10_000), st.integers(0, 4), st.integers(0, 4))
def test_no_pairing_is_better(seed: int, tracks: int, observations: int) -> None:
    cost = np.random.default_rng(seed).uniform(0, 2, (tracks, observations))
    pairs = assign(cost, 1.0)
    assert all(cost[pair] <= 1.0 for pair in pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    wide = cost if tracks <= observations else cost.T
    best = (0, 0.0)
    for chosen in permutations(range(wide.shape[1]), wide.shape[0]):
        values = [wide[i, j] for i, j in enumerate(chosen) if wide[i, j] <= 1.0]
        best = min(best, (-len(values), sum(values)))
    assert len(pairs) == -best[0]
    assert np.isclose(sum(cost[pair] for pair in pairs), best[1])


def test_what_is_not_finite_is_never_paired() -> None:
    assert assign(np.array([[np.inf, np.nan]]), 1e12) == []
    assert assign(np.empty((0, 3)), 1.0) == []
