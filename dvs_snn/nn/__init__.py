"""Tensors in time: explicit state, neurons with fused scans, surrogates, layers, the attention bridge.

torch (and numba for the CPU kernels) only; knows no events and imports no other room.
"""
