"""The rule `rstdp`: a frozen network's read-out learns from right or wrong alone.

The read-out's class neurons compete: at a decision one of them fires, neuron i with probability π_i = softmax(W x)_i,
where x is the trace of the features in the read-out's own leaky integrator. Then

    E⁺_ij = s_i x_j / |x|²      the spike s_i of the winner, paired with the trace before it
    E⁻_ij = π_i x_j / |x|²      the depolarisation that makes neuron i fire, paired with the same trace

and `ΔW = η (r - r̄)(E⁺ - E⁻)` by the modules and bounds of `plasticity`: reward-modulated STDP of neurons with escape
noise (Florian 2007; Urbanczik & Senn 2009). The classes enter in `judge` alone, as one number per decision; no gradient
is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.learning.clips import Clip
from dvs_snn.learning.frozen import ReadOut
from dvs_snn.learning.plasticity import Amplitudes, Bounds, RewardBaseline, modulated
from dvs_snn.learning.team import Team
from dvs_snn.nn import State, Temporal, reset_where


@dataclass(frozen=True)
class RewardConfig:
    """How a read-out learns from reward.

    A decision falls every `every_bins` bins that are scored. `rate` is η, `window` the number of rewards that their
    running mean covers, `bound` the largest size of a weight (soft), `punishment` the strength of the punishment module
    against the reward module. `homeostasis` moves each class's bias towards equal rates, per decision.
    """

    rate: float = 2.0
    every_bins: int = 30
    window: float = 200.0
    bound: float = 20.0
    punishment: float = 1.0
    homeostasis: float = 0.0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.every_bins < 1 or self.bound <= 0 or min(self.punishment, self.homeostasis) < 0:
            raise ConfigError(
                "reward: rate, every_bins and bound must be above zero, punishment and homeostasis not negative"
            )


class RewardReadOut:
    """The weights `[classes, features]` of competing class neurons, and how a reward changes them."""

    def __init__(self, classes: int, features: int, config: RewardConfig | None = None) -> None:
        self.config = config = config if config is not None else RewardConfig()
        self.weight, self.bias = torch.zeros(classes, features), torch.zeros(classes)
        self.rate = torch.full((classes,), 1.0 / classes)
        self.bounds = Bounds(-config.bound, config.bound, 1.0)
        self.baseline = RewardBaseline(config.window, 1.0 / classes)

    def potentials(self, traces: Float[Tensor, "*shape features"]) -> Float[Tensor, "*shape classes"]:
        """Membranes of the class neurons: the logits."""
        return traces @ self.weight.t() + self.bias

    @torch.no_grad()
    def decide(self, traces: Float[Tensor, "batch features"]) -> Int64[Tensor, " batch"]:
        """The neuron that fires first, drawn by the probabilities."""
        return torch.multinomial(torch.softmax(self.potentials(traces), -1), 1)[:, 0]

    @torch.no_grad()
    def learn(
        self,
        traces: Float[Tensor, "batch features"],
        decided: Int64[Tensor, " batch"],
        reward: Float[Tensor, " batch"],
        counts: Float[Tensor, " batch"],
    ) -> None:
        """Change the weights by the rewards of decisions on these traces; rows with `counts` 0 change nothing."""
        rows = counts > 0
        if not rows.any():
            return
        traces, decided, reward = traces[rows], decided[rows], reward[rows]
        probability = torch.softmax(self.potentials(traces), -1)
        fired = F.one_hot(decided, len(self.bias)).to(traces.dtype)
        traces = traces / traces.square().sum(-1, keepdim=True).clamp_min(1e-6)
        amplitude = self.config.punishment
        change = modulated(
            self.weight,
            fired[:, :, None] * traces[:, None],
            probability[:, :, None] * traces[:, None],
            self.baseline.advantage(reward),
            Amplitudes(),
            Amplitudes(amplitude, amplitude),
            self.bounds,
        )
        self.weight = (self.weight + self.config.rate * change).clamp_(self.bounds.low, self.bounds.high)
        if self.config.homeostasis:
            self.rate = self.rate + (fired.mean(0) - self.rate) / 100
            self.bias = self.bias + self.config.homeostasis * (1.0 / len(self.bias) - self.rate)


Judge = Callable[[Int64[Tensor, " batch"], Int64[Tensor, " batch"]], Float[Tensor, " batch"]]


def judge(decided: Int64[Tensor, " batch"], labels: Int64[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The reward: 1 for a right decision, 0 for a wrong one. All that the rule ever learns of the labels."""
    return (decided == labels).float()


class RSTDP:
    """Reward-modulated STDP of a fresh read-out on a frozen network (see the module's equations).

    The network keeps its weights (give the run a checkpoint: `train.start`); its read-out starts from zero and is
    written into it after every clip, so validation, checkpoints and pipelines see an ordinary network. The measure
    `loss` is the share of wrong decisions. `config` is a `RuleConfig`; loss and optimizer, which need a gradient, go
    unused.
    """

    def __init__(
        self,
        network: Temporal,
        loss: object,
        config: Any,
        optimizer: object = None,
        steps: int = 0,
        team: Team | None = None,
    ) -> None:
        if team is not None and team.size > 1:
            raise ConfigError("rule 'rstdp' takes decision after decision: run it in one process")
        self.config: RewardConfig = config.reward
        self.read_out = ReadOut(network)
        self.learner = RewardReadOut(self.read_out.classes, self.read_out.size, self.config)
        self.step = 0
        self.read_out.write(self.learner.weight, self.learner.bias)

    @torch.no_grad()
    def update(self, network: Temporal, clip: Clip, state: State | None) -> tuple[State, dict[str, float]]:
        """Run a clip through the frozen network, decide every so often, and learn from each decision's reward."""
        was_training = network.training
        network.eval()  # no dropout, and normalisation as it was trained
        _, state = network(clip.inputs, None if state is None else reset_where(state, clip.first))
        network.train(was_training)
        traces = self._traces(self.read_out.features().float().cpu())
        labels, scored = clip.labels.cpu(), clip.scored.cpu().float()
        right = count = 0.0
        for t in range(self.config.every_bins - 1, clip.bins, self.config.every_bins):
            decided = self.learner.decide(traces[t])
            reward = judge(decided, labels[t])
            self.learner.learn(traces[t], decided, reward, scored[t])
            right, count = right + float((reward * scored[t]).sum()), count + float(scored[t].sum())
        self.read_out.write(self.learner.weight, self.learner.bias)
        self.step += 1
        share = right / max(count, 1.0)
        return state, {"loss": 1.0 - share, "accuracy": share, "usual_reward": self.learner.baseline.mean}

    def _traces(self, features: Float[Tensor, "time batch features"]) -> Float[Tensor, "time batch features"]:
        return leaky(features, self.read_out.decay, self.read_out.gain)

    def tensors(self) -> dict[str, Tensor]:
        """All that is needed to go on, for a file."""
        learner = self.learner
        return {
            "step": torch.tensor(self.step),
            "weight": learner.weight,
            "bias": learner.bias,
            "rate": learner.rate,
            "mean": torch.tensor(learner.baseline.mean, dtype=torch.float64),
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        learner = self.learner
        self.step, learner.baseline.mean = int(tensors["step"]), float(tensors["mean"])
        learner.weight, learner.bias, learner.rate = (tensors[key].clone() for key in ("weight", "bias", "rate"))
        self.read_out.write(learner.weight, learner.bias)


def leaky(
    features: Float[Tensor, "time batch features"], decay: float, gain: float
) -> Float[Tensor, "time batch features"]:
    """What a leaky integrator makes of features, before any weight."""
    traces = torch.empty_like(features)
    trace = torch.zeros_like(features[0])
    for t, now in enumerate(features):
        trace = torch.add(now * gain, trace, alpha=decay, out=traces[t])
    return traces
