"""The fused scan as a torch function: layouts, threads, autograd around the compiled kernels (CPU).

On CUDA, for half precision and for learnable surrogates the plain scan of `linear_neuron` is used.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dvs_snn.nn.buffers import empty_like
from dvs_snn.nn.kernel_text import LANES, Form, Plan
from dvs_snn.nn.kernels import backward_kernel, block_lanes, forward_kernel
from dvs_snn.nn.surrogate import Surrogate

if TYPE_CHECKING:
    from dvs_snn.nn.linear_neuron import Coefficients, Structure

PARALLEL_ELEMENTS = 1 << 16
"""Below so many currents a second thread costs more than it brings."""
CHUNKS_PER_THREAD = 4


def fusable(xs: Tensor, surrogate: Surrogate) -> bool:
    """Whether the compiled scan serves this input."""
    return (
        xs.device.type == "cpu"
        and xs.dtype in (torch.float32, torch.float64)
        and xs.numel() > 0
        and not surrogate.learnable
        and not torch.compiler.is_compiling()
    )


def fused_scan(
    xs: Tensor,
    u: tuple[Tensor, ...] | None,
    c: Coefficients,
    structure: Structure,
    surrogate: Surrogate,
    detach_reset: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same as `linear_scan`, in one pass over memory; `u=None` starts at rest."""
    order = _memory_order(xs)
    if order is None:
        xs = xs.contiguous()
        order = tuple(range(xs.dim()))
    scan, used = plan_scan(xs, order, c, structure, surrogate, detach_reset)
    states = list(u) if u is not None else []
    if torch.is_grad_enabled() and (scan.learned or any(tensor.requires_grad for tensor in (xs, *states))):
        outputs = _Function.apply(scan, len(states), xs, *states, *used)
    else:
        outputs = scan.forward(xs, states, used)
    return outputs[0], tuple(outputs[1:])


def plan_scan(
    xs: Tensor,
    order: tuple[int, ...],
    c: Coefficients,
    structure: Structure,
    surrogate: Surrogate,
    detach_reset: bool,
) -> tuple[Scan, list[Tensor]]:
    """The scan for these inputs, and the coefficients that it takes as tensors."""
    names, forms, tensors = _flatten(c, structure, xs, order)
    taken = [(n, tensor) for n, form, tensor in zip(names, forms, tensors, strict=True) if form != "one"]
    learned = tuple(n for n, tensor in taken if torch.is_grad_enabled() and tensor.requires_grad)
    plan = Plan(**vars(structure), hard=c.hard, coefficients=tuple(zip(names, forms, strict=True)))
    return Scan(plan, learned, order, surrogate, not detach_reset), [tensor for _, tensor in taken]


def _memory_order(xs: Tensor) -> tuple[int, ...] | None:
    """Dimensions such that the permuted tensor is contiguous with time first; None if there are none."""
    strides = tuple(xs.stride())
    order = (0, *sorted(range(1, xs.dim()), key=lambda d: (-strides[d], d)))
    return order if xs.permute(order).is_contiguous() else None


def _flatten(
    c: Coefficients, structure: Structure, xs: Tensor, order: tuple[int, ...]
) -> tuple[list[str], list[Form], list[Any]]:
    """Coefficients by name, in a fixed order; those finer than a layer are spread over the lanes of a step."""
    named: dict[str, Any] = {f"a{k}{j}": value for (k, j), value in sorted(c.transition.items())}
    named |= {f"b{k}": value for k, value in sorted(c.input.items())}
    if structure.spiking:
        named |= {f"r{k}": value for k, value in sorted(c.reset.items())}
        named |= {f"q{k}": value for k, value in sorted(c.kick.items())}
        named["th"] = c.threshold
    names: list[str] = []
    forms: list[Form] = []
    tensors: list[Any] = []
    for name, value in named.items():
        if isinstance(value, Tensor):
            form: Form = "scalar" if value.numel() == 1 else "lanes"
            if form == "scalar":
                value = value.reshape(())
            else:
                value = value.expand(xs.shape[1:]).permute([d - 1 for d in order[1:]]).reshape(-1)
        elif value == 0 and name != "th":
            continue
        else:
            form = "one" if value == 1 else "scalar"
            value = torch.tensor(value, dtype=xs.dtype)
        names.append(name)
        forms.append(form)
        tensors.append(value)
    return names, forms, tensors


@dataclass(frozen=True)
class Scan:
    """One call of the kernels, without autograd."""

    plan: Plan
    learned: tuple[str, ...]
    order: tuple[int, ...]
    surrogate: Surrogate
    attached: bool

    @property
    def backward_plan(self) -> Plan:
        return replace(self.plan, learned=self.learned, surrogate=self.surrogate.code)

    @property
    def taken(self) -> list[str]:
        """Names of the coefficients that are tensors."""
        return [name for name, form in self.plan.coefficients if form != "one"]

    def lanes(self, tensor: Tensor) -> np.ndarray:
        """Tensor `[time, batch, ...]` in memory order as an array `[time, lanes]`."""
        return tensor.detach().permute(self.order).reshape(len(tensor), -1).numpy()

    def flat(self, tensor: Tensor) -> np.ndarray:
        """One step `[batch, ...]` as an array `[lanes]`; a view where the layout allows it."""
        return self.lanes(tensor.unsqueeze(0))[0]

    def like_step(self, xs: Tensor, values: Tensor | None) -> Tensor:
        """A new tensor for one step, laid out as the steps of xs."""
        new = empty_like(xs[0])
        return new.zero_() if values is None else new.copy_(values.detach())

    def split(self, used: Sequence[Tensor], dtype: np.dtype) -> tuple[np.ndarray, list[np.ndarray]]:
        """Scalar coefficients as one array, the others as one array each."""
        forms = [form for _, form in self.plan.coefficients if form != "one"]
        pairs = list(zip(forms, used, strict=True))
        scalars = np.array([float(tensor.detach()) for form, tensor in pairs if form == "scalar"], dtype)
        return scalars, [tensor.detach().numpy() for form, tensor in pairs if form == "lanes"]

    def forward(self, xs: Tensor, states: Sequence[Tensor], used: Sequence[Tensor]) -> tuple[Tensor, ...]:
        out = empty_like(xs)
        ends = [self.like_step(xs, states[k] if states else None) for k in range(self.plan.states)]
        x = self.lanes(xs)
        scalars, vectors = self.split(used, x.dtype)
        kernel = forward_kernel(self.plan)
        arguments = (x, self.lanes(out), *(self.flat(end) for end in ends), scalars, *vectors)
        _share(x.shape, lambda start, stop, part: kernel(*arguments, start, stop, LANES))
        return out, *ends

    def backward(
        self,
        xs: Tensor,
        states: Sequence[Tensor],
        used: Sequence[Tensor],
        grad_out: Tensor | None,
        grad_ends: Sequence[Tensor | None],
    ) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Gradients of the input, the initial states and the learned coefficients."""
        plan = self.backward_plan
        if grad_out is None:
            grad_out = torch.zeros_like(xs)
        elif not grad_out.permute(self.order).is_contiguous():
            grad_out = empty_like(xs).copy_(grad_out)
        grad_x = empty_like(xs)
        grad_u = [self.like_step(xs, grad) for grad in grad_ends]
        x = self.lanes(xs)
        time, count = x.shape
        begin = [self.flat(state) for state in states] or [_zeros(count, x.dtype)] * plan.states
        scalars, vectors = self.split(used, x.dtype)
        parts = _parts(x.shape)
        grads = self.no_gradients(len(parts), count, x.dtype)
        p0, p1 = (x.dtype.type(p) for p in self.surrogate.kernel_parameters())
        kernel = backward_kernel(plan)
        arguments = (x, self.lanes(grad_out), self.lanes(grad_x), *begin, *(self.flat(g) for g in grad_u))
        arguments += (scalars, *vectors, p0, p1, x.dtype.type(self.attached), *grads.values())
        block = block_lanes(plan, time, x.itemsize)
        _share(x.shape, lambda start, stop, part: kernel(*arguments, start, stop, block, part))
        return grad_x, grad_u, self.as_tensors(grads, xs.dtype)

    def no_gradients(self, parts: int, lanes: int, dtype: np.dtype) -> dict[str, np.ndarray]:
        """Where the kernels add the gradients of the learned coefficients."""
        scalars = self.plan.scalars
        return {n: np.zeros(parts) if n in scalars else np.zeros(lanes, dtype) for n in self.learned}

    def as_tensors(self, grads: dict[str, np.ndarray], dtype: torch.dtype) -> dict[str, Tensor]:
        """Gradients of the coefficients; those of scalars are summed over the chunks of lanes."""
        return {
            name: torch.tensor(grad.sum(), dtype=dtype) if name in self.plan.scalars else torch.from_numpy(grad)
            for name, grad in grads.items()
        }


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scan: Scan, state_count: int, xs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.scan, ctx.state_count = scan, state_count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(xs, *tensors)
        return scan.forward(xs, tensors[:state_count], tensors[state_count:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        xs, *tensors = ctx.saved_tensors
        states, used = tensors[: ctx.state_count], tensors[ctx.state_count :]
        grad_x, grad_u, learned = ctx.scan.backward(xs, states, used, grads[0], grads[1:])
        return None, None, grad_x, *grad_u[: ctx.state_count], *(learned.get(name) for name in ctx.scan.taken)


@lru_cache(maxsize=4)
def _zeros(count: int, dtype: np.dtype) -> np.ndarray:
    """The state at rest, read only."""
    return np.zeros(count, dtype)


_threads: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_threads.clear)  # threads do not survive a fork


def _parts(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Lanes cut into chunks, several per thread so that a busy core does not hold up the others."""
    time, lanes = shape
    threads = torch.get_num_threads()
    if threads == 1 or time * lanes < PARALLEL_ELEMENTS:
        return [(0, lanes)]
    size = -(-lanes // (threads * CHUNKS_PER_THREAD * 16)) * 16
    return [(start, min(start + size, lanes)) for start in range(0, lanes, size)]


def _share(shape: tuple[int, int], work: Callable[[int, int, int], None]) -> None:
    """`work(start, stop, part)` for every chunk of lanes, by as many threads as torch uses."""
    parts = _parts(shape)
    if len(parts) == 1:
        work(*parts[0], 0)
        return
    counter = itertools.count()  # `next` on it is one indivisible step

    def run() -> None:
        while (part := next(counter)) < len(parts):
            work(*parts[part], part)

    helpers = min(torch.get_num_threads(), len(parts)) - 1
    if helpers not in _threads:
        _threads[helpers] = ThreadPoolExecutor(helpers, thread_name_prefix="neurons")
    futures = [_threads[helpers].submit(run) for _ in range(helpers)]
    try:
        run()
    finally:
        wait(futures)
    for future in futures:
        future.result()
