"""Loihi's number formats and the roundings between real values and them.

Widths are those of Loihi's own neuron as Lava 0.10 computes it: 8-bit weights, 12-bit decays, 13-bit bias mantissas
with a 3-bit exponent, 17-bit thresholds, 24-bit states. Synaptic input and thresholds are shifted left by 6 bits before
they meet a state; a product with a decay is rounded toward zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WEIGHT_MAX = 127
"""Largest mantissa: a chip weight is twice it, because weights of both signs have no lowest bit."""
DECAY_BITS = 12
DECAY_ONE = 1 << DECAY_BITS
THRESHOLD_MAX = (1 << 17) - 1
BIAS_MAX = (1 << 12) - 1
BIAS_EXPONENT_MAX = 7
STATE_MAX = (1 << 23) - 1
STATE_SHIFT = 6
STATE_ONE = 1 << STATE_SHIFT
EXPONENT_MAX = 6
"""Largest weight exponent: above it a threshold alone fills the state."""
INPUT_MAX = THRESHOLD_MAX
"""Largest graded input of a neuron: shifted, it fills the state."""


def round_half_away(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Nearest integers, halves away from zero, so that a weight and its negative have the same mantissa."""
    return (np.sign(values) * np.floor(np.abs(values) + 0.5)).astype(np.int64)


def mantissas(weights: NDArray[np.floating], scale: NDArray[np.floating]) -> NDArray[np.int8]:
    """Weights as 8-bit mantissas, `weights ≈ mantissa * scale`; `scale` broadcasts over the first axis (targets)."""
    scale = scale.reshape(-1, *(1,) * (weights.ndim - 1))
    return np.clip(round_half_away(weights / scale), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)


def decays(keep: NDArray[np.floating]) -> NDArray[np.int32]:
    """12-bit decays `d` for what a state keeps per step, `keep ≈ 1 - d / 4096`."""
    return np.clip(round_half_away((1.0 - keep) * DECAY_ONE), 0, DECAY_ONE - 1).astype(np.int32)


def factors(values: NDArray[np.floating]) -> NDArray[np.int32]:
    """12-bit factors in [0, 1)."""
    return np.clip(round_half_away(values * DECAY_ONE), 0, DECAY_ONE - 1).astype(np.int32)


def biases(values: NDArray[np.floating]) -> tuple[NDArray[np.int32], int]:
    """Mantissas and their common exponent for biases in state units, `values ≈ mantissa << exponent`."""
    most = float(np.abs(values).max(initial=0.0))
    exponent = 0
    while most / 2**exponent > BIAS_MAX and exponent < BIAS_EXPONENT_MAX:
        exponent += 1
    return np.clip(round_half_away(values / 2**exponent), -BIAS_MAX, BIAS_MAX).astype(np.int32), exponent


def bits(largest: int) -> int:
    """Bits of a signed number that holds `largest`."""
    return int(largest).bit_length() + 1
