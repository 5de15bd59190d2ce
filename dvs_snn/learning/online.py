"""Learning on the robot: a layer of action neurons behind the network's classes, changed by reward alone.

Each class of the network is a population that fires at the rate of its posterior. A population k drives the action
neuron a with the largest weight W[k, a], so a fresh layer passes every class on. When a decision a is rewarded,

    δ = r - r̄
    reward      ΔW[k, a] = η δ x_k (1 - W[k, a])   where δ > 0
    punishment  ΔW[k, a] = η δ x_k W[k, a]          where δ < 0

with x the populations' trace at the time of that decision: STDP of the winner with soft bounds, one module for reward,
one for punishment (Mozafari et al. 2018). W[k, a] moves to the share of rewards that action a earns while population
k fires; an action that fails falls below those not yet tried, and these get their turn.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.events import Window
from dvs_snn.learning.plasticity import RewardBaseline
from dvs_snn.learning.training_state import load_state, save_state
from dvs_snn.pipeline import Gesture, Pipeline, softmax


@dataclass(frozen=True)
class AdapterConfig:
    """How fast and from what a network adapts.

    `rate` is η; `own` and `other` the weights of a fresh layer to a class's own action and to the others; `sharpness`
    raises posteriors to this power before they become rates. `trace_s` is the time constant of the populations' trace,
    `memory_s` how long a decision can still be rewarded. The running mean r̄ starts at `usual` and averages `window`
    rewards; with a window of 0 it stays there: just after a change rewards are rare, and a mean that follows them would
    take the force out of punishments.
    """

    rate: float = 0.4
    own: float = 0.6
    other: float = 0.3
    sharpness: float = 2.0
    trace_s: float = 0.5
    memory_s: float = 60.0
    usual: float = 0.5
    window: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1 or not 0 <= self.other < self.own <= 1:
            raise ConfigError("adapter: need 0 < rate <= 1 and 0 <= other < own <= 1")
        if min(self.trace_s, self.memory_s, self.sharpness) <= 0 or not 0 <= self.usual <= 1:
            raise ConfigError("adapter: trace_s, memory_s and sharpness must be above 0, usual lies in 0..1")


class ActionLayer:
    """The plastic weights `[populations, actions]` and how they route and learn."""

    def __init__(self, classes: int, config: AdapterConfig | None = None) -> None:
        self.classes, self.config = classes, config if config is not None else AdapterConfig()
        self.baseline = RewardBaseline(self.config.window, self.config.usual)
        self.forget()

    def forget(self) -> None:
        """Back to a fresh layer: every class is its own action."""
        self.weight = np.full((self.classes, self.classes), self.config.other)
        np.fill_diagonal(self.weight, self.config.own)
        self.rewards = 0
        self.baseline.reset()

    def route(self, posterior: Float[np.ndarray, "... classes"]) -> NDArray[np.float64]:
        """Posterior over actions: each population's share goes to the action that it drives most."""
        chosen = self.weight.argmax(1)
        if (chosen == np.arange(self.classes)).all():
            return np.asarray(posterior, np.float64)
        return posterior @ np.eye(self.classes)[chosen]

    def rates(self, trace: Float[np.ndarray, "... classes"]) -> NDArray[np.float64]:
        """Firing rates of the populations: the trace of their posteriors, sharpened by lateral inhibition."""
        sharp = np.maximum(trace, 1e-12) ** self.config.sharpness
        return sharp / sharp.sum(-1, keepdims=True)

    def learn(self, rates: Float[np.ndarray, " classes"], action: int, reward: float) -> None:
        """Change the weights to one action by a reward in 0..1 (see the module's equations)."""
        advantage = float(self.baseline.advantage(torch.tensor([reward], dtype=torch.float64))[0])
        weight = self.weight[:, action]
        bound = 1.0 - weight if advantage > 0 else weight
        weight += self.config.rate * advantage * rates * bound
        self.rewards += 1


class OnlineAdapter:
    """Keeps learning while a pipeline runs: `reward(decision, reward)`, at any time within `memory_s` of the decision.

    `AdaptivePipeline` calls `see` with each window's logits. The network itself, whatever runtime runs it, stays as it
    is: `forget` undoes all that was learned.
    """

    def __init__(self, classes: int, bin_us: int, config: AdapterConfig | None = None) -> None:
        self.config = config if config is not None else AdapterConfig()
        self.layer = ActionLayer(classes, self.config)
        self._decay = math.exp(-bin_us * 1e-6 / self.config.trace_s)
        places = max(1, round(self.config.memory_s * 1e6 / bin_us))
        self._times = np.full(places, np.iinfo(np.int64).min, np.int64)
        self._traces = np.zeros((places, classes), np.float32)
        self.reset()

    def reset(self) -> None:
        """Start of a sequence: the trace begins anew; what was learned, and decisions that wait for a reward, stay."""
        self._trace = np.zeros(self.layer.classes)
        self._seen = 0.0
        self._place = getattr(self, "_place", 0)

    def forget(self) -> None:
        """Undo all that was learned, and forget the decisions."""
        self.layer.forget()
        self._times[:] = np.iinfo(np.int64).min
        self.reset()

    def see(self, logits: NDArray[np.floating], t_us: int) -> NDArray[np.floating]:
        """Remember what fired in the window that ends at `t_us`; returns the actions' logits."""
        posterior = softmax(logits)
        self._trace *= self._decay
        self._trace += (1.0 - self._decay) * posterior
        self._seen = self._decay * self._seen + 1.0 - self._decay
        self._times[self._place] = t_us
        self._traces[self._place] = self._trace / self._seen
        self._place = (self._place + 1) % len(self._times)
        routed = self.layer.route(posterior)
        return logits if routed is posterior else np.log(np.maximum(routed, 1e-12)).astype(np.float32)

    def reward(self, decision: Gesture, reward: float) -> bool:
        """Learn from a reward (1: right, 0: wrong) for a decision; False where there is nothing to learn from.

        That is a decision of no class, or one that is older than `memory_s`. Raises `ConfigError` for a reward outside
        0..1.
        """
        return self.reward_at(decision.t_us, decision.index, reward)

    def reward_at(self, t_us: int, index: int, reward: float) -> bool:
        """As `reward`, for the decision `index` at sensor time `t_us`."""
        if not 0.0 <= reward <= 1.0:
            raise ConfigError(f"a reward lies in 0..1 (1: right, 0: wrong), got {reward}")
        if index >= self.layer.classes:
            raise ConfigError(f"decision {index}: the network has classes 0..{self.layer.classes - 1}")
        places = np.flatnonzero(self._times == t_us)
        if index < 0 or not len(places):
            return False
        age = (self._place - 1 - places) % len(self._times)  # a restarted clock may show a time twice: the newest
        trace = self._traces[places[age.argmin()]].astype(np.float64)
        self.layer.learn(self.layer.rates(trace), index, reward)
        return True

    def save(self, path: str | Path) -> None:
        """Write what was learned; replaces an older file atomically."""
        record = {"rewards": self.layer.rewards, "mean": self.layer.baseline.mean, "config": asdict(self.config)}
        save_state(Path(path), {"weight": torch.from_numpy(self.layer.weight)}, record)

    def load(self, path: str | Path) -> None:
        """The inverse of `save`; raises `CheckpointError` for a file that is missing, damaged, or of other classes."""
        if not Path(path).is_file():
            raise CheckpointError(f"{path}: no such file of a saved adapter")
        tensors, record = load_state(Path(path))
        weight = tensors.get("weight")
        if weight is None or tuple(weight.shape) != self.layer.weight.shape or not torch.isfinite(weight).all():
            raise CheckpointError(f"{path}: not a saved adapter for {self.layer.classes} classes")
        self.layer.weight = weight.double().numpy().copy()
        self.layer.rewards, self.layer.baseline.mean = int(record["rewards"]), float(record["mean"])


class AdaptivePipeline(Pipeline):
    """A pipeline whose decisions an adapter changes; use it in the place of the one it is made from."""

    def __init__(self, pipeline: Pipeline, adapter: OnlineAdapter | None = None, **options: Any) -> None:
        super().__init__(pipeline.config, pipeline.runtime)
        if pipeline.config.task != "gesture":
            raise ConfigError(f"an adapter learns which class to decide; the task {pipeline.config.task!r} has none")
        if adapter is None:
            adapter = OnlineAdapter(len(self.config.labels), self.config.bin_us, AdapterConfig(**options))
        self.adapter = adapter

    def infer(self, window: Window) -> NDArray[np.floating]:
        logits = super().infer(window)
        if window.first:
            self.adapter.reset()
        return self.adapter.see(logits, window.end_us)


class RewardLines:
    """Rewards from a file of JSON lines, each given when its time has come in the recording.

    `{"t_us": 1200000, "reward": 1, "at_us": 1900000}`: the decision at `t_us` earns the reward, told at `at_us` (`t_us`
    where it is left out). Raises `ConfigError` that names the line.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            lines = Path(path).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: rewards cannot be read: {error}") from None
        waiting = [self._entry(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
        self._waiting = sorted(waiting, reverse=True)
        self._decided = {t_us: -1 for _, t_us, _ in waiting}
        self.given = self.missed = 0

    def give(self, decision: Gesture, adapter: OnlineAdapter) -> None:
        """Take note of a decision, and give the rewards that are due by then."""
        if decision.t_us in self._decided:
            self._decided[decision.t_us] = decision.index
        while self._waiting and self._waiting[-1][0] <= decision.t_us:
            _, t_us, reward = self._waiting.pop()
            learned = adapter.reward_at(t_us, self._decided[t_us], reward)
            self.given, self.missed = self.given + learned, self.missed + (not learned)

    def report(self) -> str:
        """How many rewards were of use; a line for a person."""
        missed = self.missed + len(self._waiting)
        return f"{self.given} rewards learned from, {missed} without a decision to go with"

    @staticmethod
    def _entry(line: str, where: str) -> tuple[int, int, float]:
        try:
            entry = json.loads(line)
            t_us, reward = int(entry["t_us"]), float(entry["reward"])
            at_us = int(entry.get("at_us", t_us))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigError(f'{where}: expected a line like {{"t_us": 1200000, "reward": 1}}') from None
        if not 0.0 <= reward <= 1.0 or at_us < t_us:
            raise ConfigError(f"{where}: reward must lie in 0..1, and at_us not before t_us")
        return at_us, t_us, reward
