"""Compiled scans as torch functions: what every pair of forward and backward kernels needs around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dvs_snn.nn.documents import mask_array


@dataclass(frozen=True)
class Kernels:
    """A scan in two compiled functions, with arrays in the order inputs, states, coefficients.

    `forward(*inputs, *states, *coefficients, first, y)` changes the states in place and fills y;
    `backward(*inputs, *states, *coefficients, first, gy, *gstates, *ginputs, *gcoefficients)` gets the states of the
    beginning, turns the gradients of the end states into those of the beginning, fills those of the inputs and adds to
    those of the coefficients.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    inputs: int
    states: int


def compiled(xs: Tensor) -> bool:
    """Whether the compiled scans serve this input."""
    return xs.device.type == "cpu" and xs.dtype in (torch.float32, torch.float64)


def run_scan(
    kernels: Kernels, first: Tensor | None, like: Tensor, *tensors: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outputs shaped as `like` and the end states, for inputs, states and coefficients in `tensors`."""
    outputs = _Scan.apply(kernels, first, like.shape, *(tensor.to(like.dtype) for tensor in tensors))
    return outputs[0], tuple(outputs[1:])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernels: Kernels, first: Tensor | None, shape: tuple[int, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        begin, end = kernels.inputs, kernels.inputs + kernels.states
        tensors = tuple(tensor.contiguous() for tensor in tensors)
        states = [tensor.clone() for tensor in tensors[begin:end]]
        arrays = [tensor.numpy() for tensor in (*tensors[:begin], *states, *tensors[end:])]
        ys = tensors[0].new_empty(shape)
        kernels.forward(*arrays, mask_array(first), ys.numpy())
        ctx.save_for_backward(*tensors)
        ctx.kernels, ctx.first, ctx.shape = kernels, first, shape
        ctx.set_materialize_grads(False)
        return ys, *states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kernels, tensors = ctx.kernels, ctx.saved_tensors
        begin, end = kernels.inputs, kernels.inputs + kernels.states
        gy = tensors[0].new_zeros(ctx.shape) if grads[0] is None else grads[0].contiguous()
        gstates = [
            torch.zeros_like(state) if grad is None else grad.clone(memory_format=torch.contiguous_format)
            for state, grad in zip(tensors[begin:end], grads[1:], strict=True)
        ]
        ginputs = [torch.empty_like(tensor) for tensor in tensors[:begin]]
        gcoefficients = [torch.zeros_like(tensor) for tensor in tensors[end:]]
        arrays = [tensor.numpy() for tensor in tensors]
        arrays += [mask_array(ctx.first), gy.numpy()]
        kernels.backward(*arrays, *(grad.numpy() for grad in (*gstates, *ginputs, *gcoefficients)))
        return None, None, None, *ginputs, *gstates, *gcoefficients
