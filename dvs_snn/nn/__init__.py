"""Tensors in time: explicit state, neurons with fused scans, surrogates, layers, the attention bridge.

torch (and numba for the CPU kernels) only; knows no events and imports no other room.
"""

from dvs_snn.nn.attention_ssm import AttentionSSM
from dvs_snn.nn.committee import Committee
from dvs_snn.nn.count_neuron import SpikeCount
from dvs_snn.nn.documents import scan_documents
from dvs_snn.nn.gif import GIF, MicroSteps
from dvs_snn.nn.linear_attention import SpikingLinearAttention
from dvs_snn.nn.linear_neuron import LinearNeuron, RecurrentState
from dvs_snn.nn.neurons import CUBALIF, LIF, PLIF, TCLIF, AdLIF, LeakyIntegrator
from dvs_snn.nn.no_reset import NoResetLIF
from dvs_snn.nn.sequential import Sequential
from dvs_snn.nn.ssm import ComplexSSM, DiagonalSSM, SelectiveSSM
from dvs_snn.nn.surrogate import (
    ATan,
    FastSigmoid,
    Rectangle,
    Sigmoid,
    SlayerExponential,
    SuperSpike,
    Surrogate,
    Triangle,
)
from dvs_snn.nn.temporal import State, Temporal, detach, reset_where
from dvs_snn.nn.token_filter import TokenFilter
from dvs_snn.nn.twin import Twin, twin_of
from dvs_snn.nn.wkv import WKVMixer

__all__ = [
    "CUBALIF",
    "GIF",
    "LIF",
    "PLIF",
    "TCLIF",
    "ATan",
    "AdLIF",
    "AttentionSSM",
    "Committee",
    "ComplexSSM",
    "DiagonalSSM",
    "FastSigmoid",
    "LeakyIntegrator",
    "LinearNeuron",
    "MicroSteps",
    "NoResetLIF",
    "Rectangle",
    "RecurrentState",
    "SelectiveSSM",
    "Sequential",
    "Sigmoid",
    "SlayerExponential",
    "SpikeCount",
    "SpikingLinearAttention",
    "State",
    "SuperSpike",
    "Surrogate",
    "Temporal",
    "TokenFilter",
    "Triangle",
    "Twin",
    "WKVMixer",
    "detach",
    "reset_where",
    "scan_documents",
    "twin_of",
]
