"""Several processes train one network: each makes and learns its share of every batch, and all stay equal.

Started by `torchrun` or `accelerate launch`, which say through the environment who is who. Gradients are summed over
the processes and batch normalisation uses the statistics of the whole batch, so that two processes make the updates
that one would make (data-parallel training; Li et al. 2020). Without such a launcher a team is one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError

PATIENCE = timedelta(hours=6)
"""How long the others wait for rank 0 while it simulates data or validates."""

Found = TypeVar("Found")


class Team:
    """The processes that share a training run; `rank` 0 is the one that writes files and shows progress."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def join(cls, device: str = "cpu") -> Team:
        """The team that the launcher's environment describes (gloo between CPUs, NCCL between GPUs).

        Raises `ConfigError` when the environment is there but the others cannot be reached.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size < 2:
            return cls()
        if not dist.is_initialized():
            try:
                dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
            except (RuntimeError, ValueError) as error:
                cause = str(error).splitlines()[0]
                raise ConfigError(f"WORLD_SIZE is {size}, but the other processes are not there: {cause}") from None
        return cls(dist.get_rank(), size)

    def leave(self) -> None:
        """End the team's connections."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, the same number in each."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(float(flag))).item())

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            dist.barrier()

    def told(self, find: Callable[[], Found]) -> Found:
        """What rank 0 finds, known to all; the others wait, and rank 0 may use their share of this machine."""
        if self.size == 1:
            return find()
        found: list[Any] = [None]
        if self.leads:
            threads = torch.get_num_threads()
            torch.set_num_threads(threads * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
            found = [find()]
            torch.set_num_threads(threads)
        dist.broadcast_object_list(found)
        return found[0]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes, in one message."""
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(joined)
        for parameter, part in zip(trained, joined.split([p.numel() for p in trained]), strict=True):
            parameter.grad = part.view_as(parameter)

    def share_norms(self, network: nn.Module) -> None:
        """Let every batch normalisation of the network see the statistics of all processes; names stay the same."""
        if self.size == 1:
            return
        for parent in list(network.modules()):
            for name, module in list(parent.named_children()):
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(module, _SharedNorm):
                    setattr(parent, name, _SharedNorm.around(module, self))


class _SharedNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batches of all processes (torch has its own for GPUs alone)."""

    team: Team

    @classmethod
    def around(cls, norm: nn.BatchNorm1d | nn.BatchNorm2d, team: Team) -> _SharedNorm:
        """Takes over the parameters and buffers of `norm`."""
        shared = cls(norm.num_features, norm.eps, norm.momentum)
        shared.weight, shared.bias = norm.weight, norm.bias
        shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
        shared.num_batches_tracked = norm.num_batches_tracked
        shared.team = team
        return shared.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected a batch of channels, got {input.dim()} dimensions")

    def forward(self, input: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels *space"]:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        output, mean, variance, count = _SharedNormFunction.apply(input, self.weight, self.bias, self.eps, self.team)
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        with torch.no_grad():
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1)), share)
        return output


class _SharedNormFunction(torch.autograd.Function):
    """`y = (x - μ) / sqrt(σ² + ε) γ + β` with μ, σ² of all processes, and the gradient through them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, team: Team
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        count = x.numel() // x.shape[1]
        variance, mean = torch.var_mean(x, axes, correction=0)
        variance, mean = variance.double(), mean.double()  # so that moments can be added up
        moments = team.sum(torch.stack([mean, variance + mean**2, torch.ones_like(mean)]) * count)
        total = moments[2, 0]
        mean = moments[0] / total
        variance = moments[1] / total - mean**2
        mean, variance = mean.to(x.dtype), variance.clamp_min(0).to(x.dtype)
        ctx.save_for_backward(x, weight, mean, variance, total)
        ctx.eps, ctx.team = eps, team
        ctx.mark_non_differentiable(mean, variance, total)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, variance, total = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad.contiguous(), x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        # what the statistics themselves depend on: dx -= γ / σ (mean(dy) + x̂ mean(dy x̂)), means over all processes
        shared_bias, shared_weight = (ctx.team.sum(torch.stack([grad_bias, grad_weight])) / total.to(x.dtype)).unbind()
        inverse = torch.rsqrt(variance + ctx.eps)
        slope = weight * inverse * inverse * shared_weight
        offset = weight * inverse * shared_bias - slope * mean
        shape = [1, -1, *[1] * (x.dim() - 2)]
        grad_x.addcmul_(x, slope.view(shape), value=-1.0).sub_(offset.view(shape))
        return grad_x, grad_weight, grad_bias, None, None
