"""The two kinds of chip layers as integers: a convolution into LIF, a recurrent layer of TC-LIF."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from dvs_snn.deploy.fixed_point import (
    BIAS_EXPONENT_MAX,
    BIAS_MAX,
    DECAY_ONE,
    EXPONENT_MAX,
    STATE_ONE,
    STATE_SHIFT,
    THRESHOLD_MAX,
    WEIGHT_MAX,
)
from dvs_snn.errors import PackageError


@dataclass(frozen=True, eq=False)
class ChipLayer:
    """What both kinds have. A chip weight is `mantissas * 2 << exponent`; a state is worth `unit` per integer.

    `scale` is the value of a mantissa, per target group: a channel of a convolution, or the whole recurrent layer.
    """

    kind: ClassVar[str]
    limits: ClassVar[dict[str, tuple[int, int]]] = {
        "mantissas": (-WEIGHT_MAX, WEIGHT_MAX),
        "decay": (0, DECAY_ONE - 1),
        "threshold": (1, THRESHOLD_MAX),
        "bias": (-BIAS_MAX, BIAS_MAX),
    }

    name: str
    exponent: int
    bias_exponent: int
    mantissas: NDArray[np.int8]
    decay: NDArray[np.int32]
    threshold: NDArray[np.int32]
    bias: NDArray[np.int32]
    scale: NDArray[np.float64]

    @property
    def weights(self) -> NDArray[np.int32]:
        """Whole chip weights."""
        return self.mantissas.astype(np.int32) * 2 << self.exponent

    @property
    def keep(self) -> NDArray[np.int64]:
        """What a state keeps per step, in 4096ths."""
        return (DECAY_ONE - self.decay).astype(np.int64)

    @property
    def state_threshold(self) -> NDArray[np.int64]:
        """Threshold in state units."""
        return self.threshold.astype(np.int64) << STATE_SHIFT

    @property
    def state_bias(self) -> NDArray[np.int64]:
        """Bias in state units."""
        return self.bias.astype(np.int64) << self.bias_exponent

    @property
    def input_unit(self) -> NDArray[np.float64]:
        """Value of one integer of input, before the shift into the state."""
        return self.scale / 2.0 / 2**self.exponent

    @property
    def unit(self) -> NDArray[np.float64]:
        """Value of one integer of state."""
        return self.input_unit / STATE_ONE

    def check(self) -> None:
        """Raise `PackageError` when a number does not fit its width on the chip."""
        for name, (low, high) in self.limits.items():
            values = getattr(self, name)
            if values.size and not low <= int(values.min()) <= int(values.max()) <= high:
                raise PackageError(f"layer {self.name}: {name} leave their range {low}..{high} on the chip")
        if not 0 <= self.exponent <= EXPONENT_MAX or not 0 <= self.bias_exponent <= BIAS_EXPONENT_MAX:
            raise PackageError(f"layer {self.name}: an exponent leaves its range on the chip")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The layer's arrays by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}

    def numbers(self) -> dict[str, Any]:
        """Everything else, as plain values."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: value for name, value in found.items() if not isinstance(value, np.ndarray)}
        return {"kind": self.kind, **plain}


@dataclass(frozen=True, eq=False)
class ConvLIF(ChipLayer):
    """A convolution into LIF with zero reset: `u <- keep u + input + bias`, a spike where `u > threshold`, then 0.

    `mantissas` [target, source, k, k]; decay, threshold, bias and scale [target]; `shape` is the input's.
    """

    kind: ClassVar[str] = "conv_lif"

    stride: int
    padding: int
    shape: tuple[int, int, int]

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of its spikes."""
        kernel = self.mantissas.shape[-1]
        height, width = ((side + 2 * self.padding - kernel) // self.stride + 1 for side in self.shape[1:])
        return (len(self.mantissas), height, width)


@dataclass(frozen=True, eq=False)
class RecurrentTCLIF(ChipLayer):
    """TC-LIF neurons that hear their own last spikes through `mantissas` [target, source] and graded input.

        u_D <- keep u_D - feedback u_S + input + bias;  u_S <- keep u_S + feedforward u_D
        a spike where u_S > threshold, then u_D <- u_D - gamma, u_S <- u_S - threshold

    decay, feedback and feedforward are 12-bit; all vectors are [n], `scale` is [1].
    """

    kind: ClassVar[str] = "recurrent_tclif"
    limits: ClassVar[dict[str, tuple[int, int]]] = {
        **ChipLayer.limits,
        "feedback": (0, DECAY_ONE - 1),
        "feedforward": (0, DECAY_ONE - 1),
        "gamma": (0, THRESHOLD_MAX),
    }

    feedback: NDArray[np.int32]
    feedforward: NDArray[np.int32]
    gamma: NDArray[np.int32]

    @property
    def state_gamma(self) -> NDArray[np.int64]:
        """The dendrite's reset in state units."""
        return self.gamma.astype(np.int64) << STATE_SHIFT


KINDS: dict[str, type[ChipLayer]] = {kind.kind: kind for kind in (ConvLIF, RecurrentTCLIF)}
"""Layers by the name that a package gives their kind."""


def layer_from(numbers: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ChipLayer:
    """The inverse of `numbers` and `arrays`; raises `PackageError`."""
    values = dict(numbers)
    kind = KINDS.get(values.pop("kind", ""))
    if kind is None:
        raise PackageError(f"a layer's kind is none of {', '.join(KINDS)}")
    if "shape" in values:
        values["shape"] = tuple(values["shape"])
    try:
        layer = kind(**values, **cast(dict[str, Any], arrays))
    except TypeError as error:
        raise PackageError(f"layer {values.get('name', '?')}: {error}") from None
    layer.check()
    return layer
