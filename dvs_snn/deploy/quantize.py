"""From a trained network to integers: scales, exponents and ranges, found on a calibration set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from dvs_snn.deploy import fixed_point as fp
from dvs_snn.deploy.layers import ChipLayer, ConvLIF, RecurrentTCLIF
from dvs_snn.deploy.split import SplitNetwork
from dvs_snn.errors import PackageError
from dvs_snn.nn import LIF, TCLIF
from dvs_snn.nn.linear_neuron import linear_step

HEADROOM = 1.5
"""States may become this many times larger than on the calibration set before they saturate."""


@dataclass(frozen=True)
class Peaks:
    """Largest membranes and inputs of a layer over the calibration set, in thresholds, per target."""

    state: NDArray[np.float64]
    entering: NDArray[np.float64]

    @property
    def most(self) -> NDArray[np.float64]:
        """What the 24 bits must hold; never below the threshold itself."""
        return np.maximum(np.maximum(self.state, self.entering), 1.0)


@torch.no_grad()
def measure_peaks(network: SplitNetwork, frames: Sequence[NDArray[np.float32]]) -> list[Peaks]:
    """Peaks of every chip layer of the float network; `frames` are counts `[time, channel, height, width]`."""
    longest = max(len(clip) for clip in frames)
    batch = np.zeros((longest, len(frames), *frames[0].shape[1:]), np.float32)
    for row, clip in enumerate(frames):
        batch[: len(clip), row] = clip
    dtype = next(network.host.parameters()).dtype
    xs, _ = network.host.frames(torch.from_numpy(batch).to(dtype), None)
    peaks = []
    for convolution, neuron in _pairs(network):
        currents = torch.stack([convolution(x) for x in xs])
        xs, found = _lif_peaks(neuron, currents)
        peaks.append(found)
    currents, _ = network.host.currents(xs, None)
    peaks.append(_tclif_peaks(_head(network), currents))
    return peaks


def _pairs(network: SplitNetwork) -> list[tuple[nn.Conv2d, LIF]]:
    layers = list(network.backbone)  # type: ignore[call-overload]
    return list(zip(layers[::2], layers[1::2], strict=True))


def _head(network: SplitNetwork) -> TCLIF:
    assert isinstance(network.head, TCLIF)
    return network.head


def _lif_peaks(neuron: LIF, currents: Float[Tensor, "time batch channel height width"]) -> tuple[Tensor, Peaks]:
    c = neuron.coefficients(currents.dtype)
    threshold = torch.as_tensor(c.threshold)
    beta, u = c.transition[0, 0], torch.zeros_like(currents[0])
    highest, spikes = torch.zeros_like(u), torch.empty_like(currents)
    for t, current in enumerate(currents):
        u = beta * u + current
        highest = torch.maximum(highest, u.abs())
        spikes[t] = u > threshold
        u = u * (1 - spikes[t])
    per_channel = (highest / threshold).amax((0, 2, 3)), (currents.abs() / threshold).amax((0, 1, 3, 4))
    return spikes, Peaks(*(part.double().numpy() for part in per_channel))


def _tclif_peaks(neuron: TCLIF, currents: Float[Tensor, "time batch n"]) -> Peaks:
    c = neuron.coefficients(currents.dtype)
    threshold = torch.as_tensor(c.threshold)
    assert neuron.recurrent is not None
    u: tuple[Tensor, ...] = (torch.zeros_like(currents[0]), torch.zeros_like(currents[0]))
    spikes = torch.zeros_like(currents[0])
    highest = entering = torch.zeros_like(currents[0])
    for current in currents:
        total = current + neuron.recurrent(spikes)
        spikes, u = linear_step(total, u, c, neuron.structure, neuron.surrogate, True)
        # The soma's reset takes at most a threshold away from what was compared.
        highest = torch.maximum(highest, torch.maximum(u[0].abs() + c.reset[0] * spikes, u[1].abs() + threshold))
        entering = torch.maximum(entering, total.abs())
    parts = (highest / threshold).amax(0), (entering / threshold).amax(0)
    return Peaks(*(part.double().numpy() for part in parts))


def quantize_layers(network: SplitNetwork, peaks: Sequence[Peaks], exponent: int | None = None) -> list[ChipLayer]:
    """The chip layers as integers; `exponent` fixes the weight exponent of all, else each gets the largest that fits.

    Raises `PackageError` when the ranges leave no room.
    """
    if exponent is not None and not 0 <= exponent <= fp.EXPONENT_MAX:
        raise PackageError(f"the weight exponent lies in 0..{fp.EXPONENT_MAX}, got {exponent}")
    found: list[ChipLayer] = []
    shape = _frame_shape(network)
    for number, ((convolution, neuron), peak) in enumerate(zip(_pairs(network), peaks, strict=False)):
        layer = _quantize_conv(f"conv{number + 1}", convolution, neuron, peak, shape, exponent)
        found.append(layer)
        shape = layer.output_shape
    found.append(_quantize_head(_head(network), peaks[-1], exponent))
    for each in found:
        each.check()
    return found


def _frame_shape(network: SplitNetwork) -> tuple[int, int, int]:
    channels, height, width = network.shape
    return (channels * len(network.host.taps.delays), height, width)


def _room(
    weights: NDArray[np.float64],
    threshold: NDArray[np.float64],
    peak: NDArray[np.float64],
    bias: NDArray[np.float64],
    exponent: int | None,
) -> tuple[NDArray[np.float64], int]:
    """Scale per group and exponent, such that thresholds, states with headroom, and biases fit.

    All arrays are per group. A group whose weights are so small that its threshold would not fit gets a coarser scale.
    """
    with np.errstate(divide="ignore"):
        most = np.minimum(fp.THRESHOLD_MAX / (HEADROOM * peak), _bias_room() * threshold / np.abs(bias))
    scale = np.maximum(weights, 1e-12) / fp.WEIGHT_MAX
    if exponent is None:
        fits = [e for e in range(fp.EXPONENT_MAX + 1) if (2 * threshold / scale * 2**e <= most).all()]
        exponent = fits[-1] if fits else 0  # bits of weights are worth more than finer states
    if (most < 2.0 ** (exponent + 2)).any():
        raise PackageError("membranes on the calibration set are too large for 24-bit states")
    return np.maximum(scale, 2 * threshold * 2**exponent / most), exponent


def _bias_room() -> float:
    return fp.BIAS_MAX * 2**fp.BIAS_EXPONENT_MAX / fp.STATE_ONE


def _quantize_conv(
    name: str, convolution: nn.Conv2d, neuron: LIF, peak: Peaks, shape: tuple[int, int, int], exponent: int | None
) -> ConvLIF:
    weight = convolution.weight.double().numpy()
    channels = len(weight)
    bias = np.zeros(channels) if convolution.bias is None else convolution.bias.double().numpy()
    c = neuron.coefficients(torch.float64)
    threshold, keep = (_spread(value, channels) for value in (c.threshold, c.transition[0, 0]))
    scale, exponent = _room(np.abs(weight).max((1, 2, 3)), threshold, peak.most, bias, exponent)
    input_unit = scale / 2 / 2**exponent
    mantissas, bias_exponent = fp.biases(bias / input_unit * fp.STATE_ONE)
    stride, padding = convolution.stride, convolution.padding
    assert isinstance(padding, tuple)
    return ConvLIF(
        name=name,
        exponent=exponent,
        bias_exponent=bias_exponent,
        mantissas=fp.mantissas(weight, scale),
        decay=fp.decays(keep),
        threshold=fp.round_half_away(threshold / input_unit).astype(np.int32),
        bias=mantissas,
        scale=scale,
        stride=int(stride[0]),
        padding=int(padding[0]),
        shape=shape,
    )


def _quantize_head(neuron: TCLIF, peak: Peaks, exponent: int | None) -> RecurrentTCLIF:
    assert neuron.recurrent is not None
    weight = neuron.recurrent.weight.double().numpy()
    count = len(weight)
    bias = np.zeros(count) if neuron.recurrent.bias is None else neuron.recurrent.bias.double().numpy()
    c = neuron.coefficients(torch.float64)
    own = c.transition[0, 0]
    threshold, gamma = _spread(c.threshold, count), _spread(c.reset[0], count)
    keep, feedback, feedforward = (
        _spread(value, count) for value in (own, -torch.as_tensor(c.transition[0, 1]), c.transition[1, 0])
    )
    high = np.array([np.argmax(threshold)])
    group = np.abs(weight).max(keepdims=True)[0], threshold[high], peak.most.max(keepdims=True)
    scale, exponent = _room(*group, np.abs(bias).max(keepdims=True), exponent)
    input_unit = scale / 2 / 2**exponent
    mantissas, bias_exponent = fp.biases(bias / input_unit * fp.STATE_ONE)
    return RecurrentTCLIF(
        name="head",
        exponent=exponent,
        bias_exponent=bias_exponent,
        mantissas=fp.mantissas(weight, scale),
        decay=fp.decays(keep),
        threshold=fp.round_half_away(threshold / input_unit).astype(np.int32),
        bias=mantissas,
        scale=scale,
        feedback=fp.factors(feedback),
        feedforward=fp.factors(feedforward),
        gamma=fp.round_half_away(gamma / input_unit).astype(np.int32),
    )


def _spread(value: Tensor | float, count: int) -> NDArray[np.float64]:
    """One number per target, whether the network has one or many."""
    flat = torch.as_tensor(value, dtype=torch.float64).detach().reshape(-1).numpy()
    return np.broadcast_to(flat, (count,)).copy()
