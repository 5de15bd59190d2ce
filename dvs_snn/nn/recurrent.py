"""The fused scan of a layer that hears its own last spikes: one product (or convolution) and one kernel per step (CPU).

Forward: `current[t] = x[t] + (bias + s[t-1] Wᵀ)`, then the neuron's step. Backward goes through the steps with the
states kept from forward; the gradient of W is a single product, or convolution, over all steps at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from dvs_snn.nn.fused import Scan, plan_scan
from dvs_snn.nn.kernel_text import LANES
from dvs_snn.nn.kernels import backward_kernel, forward_kernel
from dvs_snn.nn.surrogate import Surrogate

if TYPE_CHECKING:
    from dvs_snn.nn.linear_neuron import Coefficients, Structure


def fused_recurrent_scan(
    xs: Tensor,
    u: tuple[Tensor, ...],
    spikes: Tensor,
    recurrent: nn.Linear | nn.Conv2d,
    c: Coefficients,
    structure: Structure,
    surrogate: Surrogate,
    detach_reset: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Spikes `[time, batch, n]` and the last states, for currents xs and the states and spikes before them."""
    scan, used = plan_scan(xs, tuple(range(xs.dim())), c, structure, surrogate, detach_reset)
    inputs = (xs, recurrent.weight, recurrent.bias, spikes, *u, *used)
    learning = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs)
    outputs = _Recurrent.apply(scan, learning, *inputs)
    return outputs[0], tuple(outputs[1:])


class _Recurrent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scan: Scan,
        learning: bool,
        xs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        spikes: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        states, used = tensors[: scan.plan.states], tensors[scan.plan.states :]
        time, lanes = len(xs), xs[0].numel()
        out = torch.empty_like(xs, memory_format=torch.contiguous_format)
        currents = torch.empty_like(out) if learning else torch.empty_like(out[:1])
        # States before each step; row `time` is the end. Without gradients one row is enough.
        past = torch.empty(time + 1 if learning else 1, len(states), lanes, dtype=xs.dtype)
        for k, state in enumerate(states):
            past[0, k] = state.reshape(-1)
        kernel = forward_kernel(scan.plan)
        x, o, u = currents.view(-1, 1, lanes).numpy(), out.view(time, 1, lanes).numpy(), past.numpy()
        scalars, vectors = scan.split(used, x.dtype)
        for t in range(time):
            current = currents[t if learning else 0]
            _heard(spikes, weight, bias, current).add_(xs[t])
            now = u[0]
            if learning:
                now = u[t + 1]
                now[:] = u[t]
            kernel(x[t if learning else 0], o[t], *now, scalars, *vectors, 0, lanes, LANES)
            if t == 0:
                first = spikes
            spikes = out[t]
        ctx.scan = scan
        ctx.set_materialize_grads(False)
        if learning:
            ctx.save_for_backward(weight, first, out, currents, past, *used)
        return out, *(past[-1, k].clone().view(xs.shape[1:]) for k in range(len(states)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        scan = ctx.scan
        weight, first, out, currents, past, *used = ctx.saved_tensors
        time, lanes = len(out), out[0].numel()
        grad_out = torch.zeros_like(out) if grads[0] is None else grads[0]
        grad_currents = torch.empty_like(out)
        plan = scan.backward_plan
        grad_u = np.zeros((plan.states, lanes), currents.numpy().dtype)
        for k, grad in enumerate(grads[1:]):
            if grad is not None:
                grad_u[k] = grad.reshape(-1).numpy()
        x, gx, u = currents.view(time, 1, lanes).numpy(), grad_currents.view(time, 1, lanes).numpy(), past.numpy()
        scalars, vectors = scan.split(used, x.dtype)
        learned = scan.no_gradients(1, lanes, x.dtype)
        p0, p1 = (x.dtype.type(p) for p in scan.surrogate.kernel_parameters())
        rest = (*grad_u, scalars, *vectors, p0, p1, x.dtype.type(scan.attached), *learned.values(), 0, lanes, LANES, 0)
        kernel = backward_kernel(plan)
        total = torch.empty_like(out[0])
        arriving = total.view(1, lanes).numpy()
        for t in range(time - 1, -1, -1):
            if t == time - 1:
                total.copy_(grad_out[t])
            else:
                _told(grad_currents[t + 1], weight, grad_out[t], total)
            kernel(x[t], arriving, gx[t], *u[t], *rest)
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[3]:
            grad_weight = _weight_gradient(grad_currents[0], first, weight)
            if time > 1:
                grad_weight += _weight_gradient(grad_currents[1:].flatten(0, 1), out[:-1].flatten(0, 1), weight)
        if ctx.needs_input_grad[4]:
            grad_bias = grad_currents.movedim(2, -1).flatten(0, -2).sum(0)
        grad_states = [torch.from_numpy(grad).view(out.shape[1:]) for grad in grad_u]
        coefficients = scan.as_tensors(learned, out.dtype)
        grad_spikes = None
        if ctx.needs_input_grad[5]:
            grad_spikes = _told(grad_currents[0], weight, torch.zeros_like(first), torch.empty_like(first))
        taken = (coefficients.get(name) for name in scan.taken)
        return None, None, grad_currents, grad_weight, grad_bias, grad_spikes, *grad_states, *taken


def _heard(spikes: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """What the last spikes bring as current."""
    if weight.dim() == 4:
        return out.copy_(F.conv2d(spikes, weight, bias, padding="same"))
    return torch.mm(spikes, weight.t(), out=out) if bias is None else torch.addmm(bias, spikes, weight.t(), out=out)


def _told(grad_currents: Tensor, weight: Tensor, grad_out: Tensor, out: Tensor) -> Tensor:
    """The gradient that arrives at the spikes that a step heard, and `grad_out`."""
    if weight.dim() == 4:
        rows, columns = (side // 2 for side in weight.shape[2:])
        return torch.add(grad_out, F.conv_transpose2d(grad_currents, weight, padding=(rows, columns)), out=out)
    return torch.addmm(grad_out, grad_currents, weight, out=out)


def _weight_gradient(grad_currents: Tensor, heard: Tensor, weight: Tensor) -> Tensor:
    """Of as many steps as there are rows for."""
    if weight.dim() == 4:
        rows, columns = (side // 2 for side in weight.shape[2:])
        return conv2d_weight(heard, weight.shape, grad_currents, padding=(rows, columns))
    return grad_currents.t() @ heard
