"""One token through a whole text network in one compiled call, weights read only where a spike meets them (CPU).

A spike adds its row of weights and silence costs nothing, so the maps behind neurons are sums over the active rows, as
an event-driven chip computes them. `no_type_check` keeps run-time checkers of types from wrapping what numba compiles.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from dvs_snn.models import TextConfig, TextNet
from dvs_snn.nn import Temporal

Array = NDArray[np.floating]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def normed(x: Array, weight: Array, bias: Array, y: Array) -> None:
    """`y = norm(x)`, to mean 0 and variance 1, then scaled and shifted."""
    width = x.shape[0]
    mean = x.dtype.type(0.0)
    for i in range(width):
        mean += x[i]
    mean /= width
    variance = x.dtype.type(0.0)
    for i in range(width):
        variance += (x[i] - mean) * (x[i] - mean)
    scale = x.dtype.type(1.0 / math.sqrt(variance / width + 1e-5))
    for i in range(width):
        y[i] = (x[i] - mean) * scale * weight[i] + bias[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def mapped(x: Array, rows: Array, y: Array) -> None:
    """`y += x @ rows`, rows of zero inputs left out."""
    for i in range(x.shape[0]):
        value = x[i]
        if value != 0:
            row = rows[i]
            for j in range(row.shape[0]):
                y[j] += value * row[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def _filtered(x: Array, taps: Array, past: Array) -> None:
    """`x <- Σ_a taps_a x_{t-a}` in place; `past` moves on by this x."""
    older = past.shape[0]
    for i in range(x.shape[0]):
        now = x[i]
        value = taps[0, i] * now
        for a in range(older):
            value += taps[older - a, i] * past[a, i]
        for a in range(older - 1):
            past[a, i] = past[a + 1, i]
        if older:
            past[older - 1, i] = now
        x[i] = value


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def _fired(currents: Array, membrane: Array, beta: Array, threshold: Array, rows: Array, y: Array) -> int:
    """`u <- β u + x`; each neuron above θ adds its row of weights to y. Returns the number of spikes."""
    count = 0
    for c in range(currents.shape[0]):
        membrane[c] = beta[c] * membrane[c] + currents[c]
        if membrane[c] - threshold[c] > 0:
            count += 1
            row = rows[c]
            for j in range(row.shape[0]):
                y[j] += row[j]
    return count


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def _step(
    token: int,
    embedding: Array,
    norms: Array,  # [blocks, 4, width]: weight and bias of both norms
    decay: Array,  # [blocks, states, channels]
    gain: Array,
    skip: Array,  # [blocks, channels]
    mixed: Array,  # [blocks, 2, channels]: β, θ
    mixer_in: Array,  # [blocks, width + 1, width]: rows of weights, then the bias; [blocks, 0, width]: no such map
    mixer_out: Array,  # [blocks, channels + 1, 2 width]
    mixer_taps: Array,  # [blocks, taps, width]
    hidden_taps: Array,  # [blocks, taps, width]
    hidden_in: Array,  # [blocks, width + 1, hidden]
    hidden: Array,  # [blocks, 2, hidden]
    hidden_out: Array,  # [blocks, hidden + 1, width]
    last: Array,  # [2, width]: weight and bias of the last norm
    head: Array,  # [width + 1, vocabulary]
    memory: Array,  # state: [blocks, states, channels]
    mixed_u: Array,  # state: [blocks, channels]
    mixer_past: Array,  # state: [blocks, taps - 1, width]: what the filter read before, the newest last
    hidden_past: Array,  # state: the same
    hidden_u: Array,  # state: [blocks, hidden]
    logits: Array,
) -> int:
    blocks, states, channels = decay.shape
    width = embedding.shape[1]
    x = embedding[token].copy()
    n, y = np.empty_like(x), np.empty(channels, x.dtype)
    gated, currents = np.empty(2 * width, x.dtype), np.empty(hidden_u.shape[1], x.dtype)
    joined = np.empty_like(x)
    spikes = 0
    for k in range(blocks):
        normed(x, norms[k, 0], norms[k, 1], n)
        _filtered(n, mixer_taps[k], mixer_past[k])
        if mixer_in.shape[1]:
            joined[:] = mixer_in[k, width]
            mapped(n, mixer_in[k], joined)
            n[:] = joined
        for part in range(0, channels, width):
            for i in range(width):
                y[part + i] = skip[k, part + i] * n[i]
            for s in range(states):
                a, g, h = decay[k, s], gain[k, s], memory[k, s]
                for i in range(width):
                    value = a[part + i] * h[part + i] + n[i]
                    h[part + i] = value
                    y[part + i] += g[part + i] * value
        gated[:] = mixer_out[k, channels]
        spikes += _fired(y, mixed_u[k], mixed[k, 0], mixed[k, 1], mixer_out[k], gated)
        for i in range(width):
            x[i] += gated[i] / (1 + math.exp(-gated[width + i]))
        normed(x, norms[k, 2], norms[k, 3], n)
        _filtered(n, hidden_taps[k], hidden_past[k])
        currents[:] = hidden_in[k, width]
        mapped(n, hidden_in[k], currents)
        x += hidden_out[k, currents.shape[0]]
        spikes += _fired(currents, hidden_u[k], hidden[k, 0], hidden[k, 1], hidden_out[k], x)
    normed(x, last[0], last[1], n)
    logits[:] = head[width]
    mapped(n, head, logits)
    return spikes


def can_compile(network: Temporal) -> bool:
    """Whether `EventStep` computes this network: real state spaces, no-reset neurons, a language model, on the CPU.

    Not one with adapters, whose maps are more than their weights.
    """
    config = getattr(network, "config", None)
    if not isinstance(network, TextNet) or not isinstance(config, TextConfig):
        return False
    plain = config.mixer == "ssm" and config.neuron == "no_reset" and not config.twin and not config.classes
    blocks: Any = network.blocks
    plain = plain and all(type(layer) is nn.Linear for block in blocks for layer in block.maps)
    return plain and network.embedding.weight.device.type == "cpu" and network.embedding.weight.dtype == torch.float32


class EventStep:
    """A text network's step for one document; equal to `TextNet.step` up to the order of sums.

    Weights are read when it is made. `state` is the network's own, taken with `load` and given back by `dump`;
    `spikes` counts those of all tokens since.
    """

    def __init__(self, network: Temporal) -> None:
        if not can_compile(network):
            raise ValueError("EventStep computes language models of real state spaces and no-reset neurons")
        net: Any = network
        blocks = list(net.blocks)
        with torch.no_grad():
            pairs = [block.mixer.coefficients(torch.float32) for block in blocks]
            self._weights = (
                _array(net.embedding.weight),
                _stack([torch.stack([*_norm(block.mixer_norm), *_norm(block.hidden_norm)]) for block in blocks]),
                _stack([decay for decay, _ in pairs]),
                _stack([gain for _, gain in pairs]),
                _stack([block.mixer.skip for block in blocks]),
                _stack([_neuron(block.mixed) for block in blocks]),
                _stack([_rows_or_none(block) for block in blocks]),
                _stack([rows_of(block.mixer_out) for block in blocks]),
                _stack([block.mixer_filter.taps for block in blocks]),
                _stack([block.hidden_filter.taps for block in blocks]),
                _stack([rows_of(block.hidden_in) for block in blocks]),
                _stack([_neuron(block.hidden) for block in blocks]),
                _stack([rows_of(block.hidden_out) for block in blocks]),
                _array(torch.stack(_norm(net.norm))),
                _array(rows_of(net.head)),
            )
        self._state_type = type(net.initial_state(1))
        self._block_states = net.initial_state(1).blocks
        self._logits = np.empty(net.head.out_features, np.float32)
        self.neurons = sum(block.mixed.threshold.numel() + block.hidden.threshold.numel() for block in blocks)
        self.spikes = 0
        self.load(net.initial_state(1))

    def load(self, state: Any) -> None:
        """Go on from a state of one row."""
        blocks = state.blocks
        parts = (
            [block.mixer.hidden for block in blocks],
            [block.mixed.membrane for block in blocks],
            [block.mixer_filter.past for block in blocks],
            [block.hidden_filter.past for block in blocks],
            [block.hidden.membrane for block in blocks],
        )
        self._state = tuple(_stack([part[0] for part in tensors]) for tensors in parts)

    def dump(self) -> Any:
        """The state, as the network has it."""
        blocks = []
        for k, block in enumerate(self._block_states):
            memory, mixed, mixer_past, hidden_past, hidden = (
                torch.from_numpy(part[k].copy()).unsqueeze(0) for part in self._state
            )
            blocks.append(
                block._replace(
                    mixer_filter=type(block.mixer_filter)(mixer_past),
                    mixer=type(block.mixer)(memory),
                    mixed=type(block.mixed)(mixed),
                    hidden_filter=type(block.hidden_filter)(hidden_past),
                    hidden=type(block.hidden)(hidden),
                )
            )
        return self._state_type(tuple(blocks), ())

    def __call__(self, token: int) -> Tensor:
        """Take in a token; the logits `[vocabulary]` of the next."""
        self.spikes += _step(token, *self._weights, *self._state, self._logits)
        return torch.from_numpy(self._logits.copy())


def _array(tensor: Tensor) -> Array:
    found: Array = np.ascontiguousarray(tensor.detach().float().numpy())
    return found


def _stack(tensors: list[Tensor]) -> Array:
    return _array(torch.stack([tensor.detach() for tensor in tensors])).copy()


def rows_of(linear: Any) -> Tensor:
    """Weights, one row per input, and the bias as the last row."""
    return torch.cat([linear.weight.T, linear.bias.unsqueeze(0)])


def _rows_or_none(block: Any) -> Tensor:
    if block.mixer_in is None:
        return torch.empty(0, int(block.mixer.width))
    return rows_of(block.mixer_in)


def _norm(norm: Any) -> list[Tensor]:
    return [norm.weight, norm.bias]


def _neuron(neuron: Any) -> Tensor:
    return torch.stack([neuron.beta.clamp(0, 1), neuron.threshold])
