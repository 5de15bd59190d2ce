"""The fused scan of a layer that hears its own last spikes: one matrix product and one kernel per step (CPU).

Forward: `current[t] = x[t] + (bias + s[t-1] Wᵀ)`, then the neuron's step. Backward goes through the steps with the
states kept from forward; the gradient of W is a single product over all steps at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
    recurrent: nn.Linear,
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
        step_weight = weight.t()
        for t in range(time):
            current = currents[t if learning else 0]
            _linear(spikes, step_weight, bias, current).add_(xs[t])
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
                torch.addmm(grad_out[t], grad_currents[t + 1], weight, out=total)
            kernel(x[t], arriving, gx[t], *u[t], *rest)
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[3]:
            grad_weight = grad_currents[0].t() @ first
            if time > 1:
                grad_weight.addmm_(grad_currents[1:].flatten(0, 1).t(), out[:-1].flatten(0, 1))
        if ctx.needs_input_grad[4]:
            grad_bias = grad_currents.sum((0, 1))
        grad_states = [torch.from_numpy(grad).view(out.shape[1:]) for grad in grad_u]
        coefficients = scan.as_tensors(learned, out.dtype)
        grad_spikes = grad_currents[0] @ weight if ctx.needs_input_grad[5] else None
        taken = (coefficients.get(name) for name in scan.taken)
        return None, None, grad_currents, grad_weight, grad_bias, grad_spikes, *grad_states, *taken


def _linear(spikes: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    return torch.mm(spikes, weight, out=out) if bias is None else torch.addmm(bias, spikes, weight, out=out)
