"""Learning rules: what changes a network's weights when a clip has been seen. Exchangeable objects.

A rule owns all it needs to go on after a cut (optimizer, step count) and gives it out as tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning.clips import Clip
from dvs_snn.learning.half import HalfConvolutions
from dvs_snn.learning.losses import Loss, rate_penalty, scored_accuracy
from dvs_snn.learning.optimizers import OptimizerConfig, make_optimizer
from dvs_snn.learning.rstdp import RSTDP, RewardConfig
from dvs_snn.learning.slopes import Slopes
from dvs_snn.learning.stages import Staged, norms_remembering
from dvs_snn.learning.team import Team
from dvs_snn.learning.training_state import random_state, set_random_state
from dvs_snn.nn import LinearNeuron, State, Temporal, detach, reset_where


@dataclass(frozen=True)
class RuleConfig:
    """Which rule: `bptt`, `truncated` with chunks of `chunk_bins`, or `sltt` (there chunks of 1 unless set).

    `rate_weight` times `rate_penalty` of the spiking layers' rates above `rate_ceiling` is added to the loss.
    `slope_end` is how many times steeper the surrogates are at the end of training than at its start; `learn_slopes`
    makes their slopes parameters.
    `autocast` computes in bfloat16 where torch finds it safe: for GPUs; a CPU without bfloat16 units is slower by it.
    `half_convolutions` computes only convolutions so (`HalfConvolutions`): for CPUs with such units.
    `reward` holds the options of the rule `rstdp`, which none of the others concern.
    """

    name: str = "bptt"
    chunk_bins: int = 0
    rate_weight: float = 0.0
    rate_ceiling: float = 0.1
    autocast: bool = False
    half_convolutions: bool = False
    reward: RewardConfig = RewardConfig()
    slope_end: float = 1.0
    learn_slopes: bool = False

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ConfigError(f"rule.name {self.name!r} is unknown; known: {', '.join(RULES)}")
        if self.chunk_bins < 0 or (self.name == "truncated" and not self.chunk_bins):
            raise ConfigError("rule.chunk_bins must be above zero for the rule 'truncated'")
        if self.chunk_bins and self.name not in ("truncated", "sltt"):
            raise ConfigError(f"rule: chunk_bins goes with the rules 'truncated' and 'sltt', not with {self.name!r}")
        if not self.slope_end > 0 or (self.learn_slopes and self.slope_end != 1.0):
            raise ConfigError("rule.slope_end must be above zero, and 1 where slopes are learned")
        if self.autocast and self.half_convolutions:
            raise ConfigError("rule: give autocast or half_convolutions, not both")
        if self.rate_weight < 0:
            raise ConfigError("rule.rate_weight must not be negative")


@runtime_checkable
class LearningRule(Protocol):
    """One update from one clip; `state` is the network's before it (None: rest), the state after it comes back."""

    step: int
    """Updates so far."""

    def update(self, network: Temporal, clip: Clip, state: State | None) -> tuple[State, dict[str, float]]: ...

    def tensors(self) -> dict[str, Tensor]: ...

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None: ...


class BPTT:
    """Backpropagation through time over the whole clip with surrogate gradients (Neftci et al. 2019), and an optimizer.

    `steps` is the number of updates of the whole training, which the learning rate's descent is fitted to; `team` are
    the processes that each bring a share of every batch.
    """

    def __init__(
        self,
        network: Temporal,
        loss: Loss,
        config: RuleConfig,
        optimizer: OptimizerConfig,
        steps: int,
        team: Team | None = None,
    ) -> None:
        self.loss, self.config, self.schedule, self.steps = loss, config, optimizer, steps
        self.team = team or Team()
        self.step = 0
        self.accuracy: Callable[[Tensor, Clip], Tensor] = getattr(loss, "accuracy", scored_accuracy)
        self.slopes = Slopes(network, config.learn_slopes, config.slope_end)
        self.optimizer = make_optimizer(network, optimizer)

    def update(self, network: Temporal, clip: Clip, state: State | None) -> tuple[State, dict[str, float]]:
        """Change the weights by one clip; returns the state after it and loss, accuracy, gradient norm, rate."""
        lr = self.schedule.lr_at(self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.slopes.set(min(self.step / max(self.steps - 1, 1), 1.0))
        self.optimizer.zero_grad(set_to_none=True)
        state, measures = self.gradients(network, clip, state)
        self.team.sum_gradients(network.parameters())
        limit = self.schedule.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(network.parameters(), limit)
        if torch.isfinite(norm):  # one overflowing clip must not spoil the weights
            self.optimizer.step()
            self.slopes.hold()
        self.step += 1
        return state, {**measures, "grad_norm": float(norm), "lr": lr}

    def gradients(self, network: Temporal, clip: Clip, state: State | None) -> tuple[State, dict[str, float]]:
        """Add the clip's gradients to the parameters', chunk by chunk; the graph ends at a chunk's start."""
        if state is not None:
            state = reset_where(detach(state), clip.first)
        chunk = self.config.chunk_bins or clip.bins
        weight = self.team.sum(self.loss.weight(clip))  # of the whole batch: gradients of its shares then add up
        scored = self._scored(clip)
        loss, right, rate = 0.0, 0.0, 0.0
        for start in range(0, clip.bins, chunk):
            part = clip.between(start, min(start + chunk, clip.bins))
            share = part.bins / clip.bins
            with SpikeRates(network, self.config.rate_weight > 0) as rates:
                with self._precision(clip.inputs.device):
                    outputs, state = part.scan(network, state)
                outputs = outputs.float()
                total = self.loss.total(outputs, part) / weight
                if self.config.rate_weight:
                    penalty = rate_penalty(rates.rates, self.config.rate_ceiling) / self.team.size
                    total = total + self.config.rate_weight * share * penalty
                    rate += share * rates.mean()
            total.backward()
            state = detach(state)
            loss += float(total.detach())
            right += float(self.accuracy(outputs.detach(), part) * part.scored.sum() / scored)
        assert state is not None
        return state, self._measures(loss, right, rate)

    def _scored(self, clip: Clip) -> float:
        """Scored bins of the whole batch, which a clip's share of the accuracy is taken of."""
        return float(self.team.sum(clip.scored.sum().clamp_min(1).float()))

    def _measures(self, loss: float, right: float, rate: float) -> dict[str, float]:
        loss, right = self.team.sum(torch.tensor([loss, right])).tolist()
        measures = {"loss": loss, "accuracy": right}
        return {**measures, "rate": rate} if self.config.rate_weight else measures

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.config.half_convolutions:
            return HalfConvolutions()
        return torch.autocast(device.type, torch.bfloat16) if self.config.autocast else nullcontext()

    def tensors(self) -> dict[str, Tensor]:
        """Step count and optimizer, for a file."""
        tensors = {"step": torch.tensor(self.step)}
        for index, entries in self.optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer.{index}.{key}"] = value
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.step = int(tensors["step"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


class TruncatedBPTT(BPTT):
    """BPTT whose graph reaches back at most to the start of a chunk of `chunk_bins` (Williams & Peng 1990).

    State is carried from chunk to chunk, gradients of the chunks add up to one update, so memory does not grow with the
    clip. One chunk over the whole clip is `BPTT`.
    """

    def __init__(self, network: Temporal, loss: Loss, *rest: Any, **options: Any) -> None:
        if not loss.additive:
            raise ConfigError("rule 'truncated' judges chunks one by one: it needs the loss 'tet'")
        super().__init__(network, loss, *rest, **options)


class SLTT(BPTT):
    """Spatial learning through time (Meng et al. 2023) up to the features of each bin, BPTT through what reads them.

    In the front, gradients of a bin stay in that bin: `u[t] = β sg(u[t-1]) + x[t]`. The features are small and are
    kept for all T bins, so the read-out learns by full BPTT; the front runs twice, first for the features, then bin by
    bin with their gradients, and only one bin's graph is in memory. With `chunk_bins` above 1 gradients also pass
    between the bins of a chunk. In the front, batch normalisation sees a chunk at a time.

    Raises `ConfigError` for a network that is not `Staged`, or one with a starter: its share of the
    read-out's first state would get no gradient.
    """

    def __init__(self, network: Temporal, *rest: Any, **options: Any) -> None:
        if not isinstance(network, Staged):
            raise ConfigError(
                f"rule 'sltt' needs a network with features and a read-out, which {type(network).__name__} does not "
                "tell apart: use 'bptt' or 'truncated'"
            )
        if getattr(network, "starter", None) is not None:
            raise ConfigError("rule 'sltt' does not teach what sets the first state: use 'bptt' or 'truncated'")
        super().__init__(network, *rest, **options)

    def gradients(self, network: Temporal, clip: Clip, state: State | None) -> tuple[State, dict[str, float]]:
        """Add the clip's gradients to the parameters'; returns the state after it and the measures."""
        assert isinstance(network, Staged)
        if state is not None:
            state = reset_where(detach(state), clip.first)
        device = clip.inputs.device
        chunk = self.config.chunk_bins or 1
        parts = [clip.between(start, min(start + chunk, clip.bins)) for start in range(0, clip.bins, chunk)]
        shares = [part.bins / clip.bins for part in parts]
        watched = self.config.rate_weight > 0
        before, chance = state, random_state(device)
        joined, front, start = torch.empty(0), _Rates(), 0
        with torch.no_grad(), norms_remembering(network, 0.0):
            for part, share in zip(parts, shares, strict=True):
                with SpikeRates(network, watched) as rates, self._precision(device):
                    found, state = network.features(part.inputs, state)
                if not start:  # one block: many small ones would lie between the large ones and keep them from reuse
                    joined = found.new_empty(clip.bins, *found.shape[1:], dtype=torch.float32)
                joined[start : start + part.bins] = found
                front.add(rates.rates, share)
                start += part.bins
        joined.requires_grad_()
        with SpikeRates(network, watched) as rates:
            with self._precision(device):
                outputs, after = network.decide(joined, state)
            outputs = outputs.float()
            total = self.loss.total(outputs, clip) / self.team.sum(self.loss.weight(clip))
            layers = {**front.rates, **rates.rates}
            if watched:
                penalty = rate_penalty(layers, self.config.rate_ceiling) / self.team.size
                total = total + self.config.rate_weight * penalty
        total.backward()
        arriving = torch.zeros_like(joined) if joined.grad is None else joined.grad
        later, state = random_state(device), before
        set_random_state(chance, device)  # the same dropout as in the first run
        start = 0
        for part, share in zip(parts, shares, strict=True):
            with norms_remembering(network, share), SpikeRates(network, watched) as rates, self._precision(device):
                found, state = network.features(part.inputs, state)
            tensors, grads = [found], [arriving[start : start + part.bins].to(found.dtype)]
            for name, rate in rates.rates.items():
                tensors.append(rate)
                grads.append(front.gradient(name) * share)
            learning = [k for k, tensor in enumerate(tensors) if tensor.requires_grad]
            torch.autograd.backward([tensors[k] for k in learning], [grads[k] for k in learning])
            state, start = detach(state), start + part.bins
        set_random_state(later, device)
        right = float(self.accuracy(outputs.detach(), clip) * clip.scored.sum() / self._scored(clip))
        mean = float(torch.stack([layer.detach() for layer in layers.values()]).mean()) if layers else 0.0
        return detach(after), self._measures(float(total.detach()), right, mean)


class _Rates:
    """Mean rates of layers over chunks, as leaves whose gradients the chunks take on."""

    def __init__(self) -> None:
        self.rates: dict[str, Tensor] = {}

    def add(self, rates: Mapping[str, Tensor], share: float) -> None:
        for name, rate in rates.items():
            known = self.rates.get(name)
            fresh = rate.detach() * share if known is None else known.detach() + rate.detach() * share
            self.rates[name] = fresh.requires_grad_()

    def gradient(self, name: str) -> Tensor:
        leaf = self.rates[name]
        return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


RULES: dict[str, Callable[..., LearningRule]] = {"bptt": BPTT, "truncated": TruncatedBPTT, "sltt": SLTT, "rstdp": RSTDP}


class SpikeRates:
    """While entered, the mean output of every spiking layer that runs: spikes per neuron and bin, with gradients.

    A spiking layer is a neuron whose structure fires (`LinearNeuron`, not a leaky read-out).
    """

    def __init__(self, network: nn.Module, on: bool = True) -> None:
        self.rates: dict[str, Tensor] = {}
        neurons = [(n, m) for n, m in network.named_modules() if isinstance(m, LinearNeuron)] if on else []
        self._layers = [(name, neuron) for name, neuron in neurons if neuron.structure.spiking]
        self._handles: list[Any] = []

    def __enter__(self) -> SpikeRates:
        for name, module in self._layers:
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def mean(self) -> float:
        """Mean over layers."""
        return float(torch.stack([rate.detach() for rate in self.rates.values()]).mean()) if self.rates else 0.0

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: Any) -> None:
            self.rates[name] = output[0].float().mean()

        return hook
