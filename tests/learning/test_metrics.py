"""Measures against their definitions."""

import numpy as np
import pytest

from dvs_snn.learning.metrics import classification, confusion_matrix, latency, wilson_interval


def test_wilson_interval_of_known_cases():
    low, high = wilson_interval(8, 10)  # Newcombe 1998: 81/263 -> 0.2553, 0.3662
    assert low < 0.8 < high
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(550, 550)[1] == pytest.approx(1.0) and wilson_interval(0, 20)[0] == pytest.approx(0.0)


def test_wilson_interval_covers_the_true_share():
    rng = np.random.default_rng(0)
    covered = [low <= 0.9 <= high for low, high in (wilson_interval(int(k), 60) for k in rng.binomial(60, 0.9, 2000))]
    assert 0.93 < np.mean(covered) < 0.98


def test_confusion_rows_are_truth():
    matrix = confusion_matrix([0, 0, 1, 2], [0, 1, 1, 0], 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_classification_counts_per_class():
    result = classification([0, 0, 1], [0, 1, 1], ("a", "b"))
    assert result["accuracy"] == pytest.approx(2 / 3) and result["n"] == 3
    assert [(c["right"], c["n"]) for c in result["per_class"]] == [(1, 2), (1, 1)]


def test_latency_leaves_out_the_undecided():
    assert latency([100_000, None, 300_000, 200_000]) == {
        "decided": 0.75,
        "median_s": 0.2,
        "p90_s": pytest.approx(0.28),
    }
    assert latency([None]) == {"decided": 0.0, "median_s": None, "p90_s": None}
