"""Reward-modulated STDP of any synapse: pair traces, eligibility, a reward against what is usual, bounded weights.

    pre trace   x ← x e^(-1/τ_pre) + s_pre              post trace   y ← y e^(-1/τ_post) + s_post
    eligibility E⁺ ← E⁺ e^(-1/τ_e) + (s_post x) / τ_e                E⁻ ← E⁻ e^(-1/τ_e) + (y s_pre) / τ_e
    advantage   δ = r - r̄,  r̄ the running mean of the rewards before r
    reward      ΔW = η δ (A_r⁺ E⁺ f⁺(W) - A_r⁻ E⁻ f⁻(W))       where δ > 0
    punishment  ΔW = η |δ| (A_p⁻ E⁻ f⁺(W) - A_p⁺ E⁺ f⁻(W))     where δ < 0

(Izhikevich 2007; Florian 2007; two modules: Mozafari et al. 2018.) `f⁺` and `f⁻` are the soft bounds of a weight that
grows or shrinks.

Time, in steps: a step first decays the traces and adds its spikes, then pairs them, so spikes of one step pair
both ways. A reward acts on the pairs of the steps before it: give it between two steps, or, if it comes during a step,
before that step. With η = A = 1, r̄ = 0 and no bounds it is SpikingJelly's `MSTDPETLearner` with `f_pre = f_post = 1`;
with `tau_eligibility` 0, where only the last step's pairs are eligible, it is its `MSTDPLearner`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import LinearNeuron, RecurrentState, State, Temporal

Synapse: TypeAlias = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Amplitudes:
    """How much pre-before-post pairs (`plus`) and post-before-pre pairs (`minus`) count."""

    plus: float = 1.0
    minus: float = 1.0


@dataclass(frozen=True)
class Bounds:
    """Weights stay in [low, high]; a change slows down towards the bound that it heads for (Gütig et al. 2003).

    `f⁺ = ((high - w) / (high - low))^power`, `f⁻ = ((w - low) / (high - low))^power`; power 0 only cuts off.
    """

    low: float = -math.inf
    high: float = math.inf
    power: float = 0.0

    def __post_init__(self) -> None:
        if not self.low < self.high or self.power < 0:
            raise ConfigError(f"bounds: need low < high and power >= 0, not {self.low}, {self.high}, {self.power}")
        if self.power and not math.isfinite(self.high - self.low):
            raise ConfigError("bounds: a power above 0 needs finite low and high")

    def growing(self, weight: Tensor) -> Tensor | float:
        """f⁺"""
        return ((self.high - weight).clamp_min(0) / (self.high - self.low)) ** self.power if self.power else 1.0

    def shrinking(self, weight: Tensor) -> Tensor | float:
        """f⁻"""
        return ((weight - self.low).clamp_min(0) / (self.high - self.low)) ** self.power if self.power else 1.0


@dataclass(frozen=True)
class STDPConfig:
    """Time constants in steps, amplitudes of the two modules, bounds, and the pace at which neurons keep their rate.

    `homeostasis` moves each neuron's bias by `homeostasis (target_rate - rate)` per reward, with the rate averaged over
    `tau_rate` steps; zero leaves biases alone.
    """

    tau_pre: float = 20.0
    tau_post: float = 20.0
    tau_eligibility: float = 50.0
    rate: float = 1e-3
    reward: Amplitudes = field(default_factory=Amplitudes)
    punishment: Amplitudes = field(default_factory=Amplitudes)
    bounds: Bounds = field(default_factory=Bounds)
    homeostasis: float = 0.0
    target_rate: float = 0.03
    tau_rate: float = 100.0

    def __post_init__(self) -> None:
        if min(self.tau_pre, self.tau_post, self.tau_rate) <= 0 or self.tau_eligibility < 0:
            raise ConfigError("stdp: tau_pre, tau_post and tau_rate must be above 0 steps, tau_eligibility not below")
        if self.rate < 0 or self.homeostasis < 0 or not 0 <= self.target_rate <= 1:
            raise ConfigError("stdp: rate and homeostasis must not be negative, target_rate lies in 0..1")


class RewardBaseline:
    """The running mean r̄ of the rewards, and the advantage `r - r̄` (in which r̄ has not yet seen this r).

    `r̄ ← r̄ + (r - r̄) / window`; before the first reward it is `start`. Rows of a batch are held against the same mean,
    which then takes them in one after the other. A window of 0 keeps r̄ at `start`.
    """

    def __init__(self, window: float = 100.0, start: float = 0.0) -> None:
        if window < 0 or 0 < window < 1:
            raise ConfigError(f"the window of the running mean of rewards is {window:g}: at least 1, or 0 for none")
        self.window, self.start, self.mean = window, start, start

    def advantage(self, reward: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """`r - r̄` of every row; then r̄ moves."""
        advantage = reward - self.mean
        if self.window and len(reward):
            keep = 1.0 - 1.0 / self.window
            weights = keep ** torch.arange(len(reward) - 1, -1, -1, dtype=torch.float64) / self.window
            self.mean = self.mean * keep ** len(reward) + float((weights * reward.double().cpu()).sum())
        return advantage

    def reset(self) -> None:
        """Forget all rewards."""
        self.mean = self.start


class PairState(NamedTuple):
    """Traces and eligibilities `[batch, *weight]` of a synapse, and the neurons' rates `[batch, out]`."""

    pre: Tensor
    post: Tensor
    plus: Tensor
    minus: Tensor
    rate: Tensor


class RewardSTDP:
    """Eligibility of one synapse (`nn.Linear`, or `nn.Conv2d` without groups), for batches, by `step` or by `scan`."""

    def __init__(self, synapse: Synapse, config: STDPConfig | None = None) -> None:
        if isinstance(synapse, nn.Conv2d) and (synapse.groups != 1 or synapse.padding_mode != "zeros"):
            raise ConfigError("reward-modulated STDP of convolutions: groups must be 1 and padding zeros")
        if isinstance(synapse, nn.Conv2d) and isinstance(synapse.padding, str):
            raise ConfigError("reward-modulated STDP of convolutions: give the padding as a number")
        if not isinstance(synapse, nn.Linear | nn.Conv2d):
            raise ConfigError(
                f"reward-modulated STDP learns linear maps and convolutions, not {type(synapse).__name__}"
            )
        self.synapse = synapse
        self.config = config if config is not None else STDPConfig()
        self.decay_pre = math.exp(-1.0 / self.config.tau_pre)
        self.decay_post = math.exp(-1.0 / self.config.tau_post)
        self.decay_rate = math.exp(-1.0 / self.config.tau_rate)
        tau = self.config.tau_eligibility
        self.decay, self.gain = (math.exp(-1.0 / tau), 1.0 / tau) if tau else (0.0, 1.0)

    def rest(self, pre: Float[Tensor, "batch ..."], post: Float[Tensor, "batch ..."]) -> PairState:
        """State before the first step, for spikes of these shapes."""
        eligibility = post.new_zeros(len(post), *self.synapse.weight.shape)
        return PairState(
            torch.zeros_like(pre), torch.zeros_like(post), eligibility, eligibility, post.new_zeros(post.shape[:2])
        )

    def pairs(self, pre: Float[Tensor, "time batch *pre"], post: Float[Tensor, "time batch *post"]) -> Tensor:
        """Products of what meets at each weight, summed over time and a convolution's places: `[batch, *weight]`."""
        if isinstance(self.synapse, nn.Linear):
            return torch.einsum("tbo,tbi->boi", post, pre)
        conv, (time, batch) = self.synapse, pre.shape[:2]
        places = F.unfold(pre.flatten(0, 1), conv.kernel_size, conv.dilation, conv.padding, conv.stride)  # type: ignore[arg-type]
        places = places.unflatten(0, (time, batch))
        return torch.einsum("tbol,tbkl->bok", post.flatten(3), places).view(batch, *conv.weight.shape)

    @torch.no_grad()
    def step(
        self, pre: Float[Tensor, "batch ..."], post: Float[Tensor, "batch ..."], state: PairState | None = None
    ) -> PairState:
        """State after one more step of spikes."""
        state = self.rest(pre, post) if state is None else state
        x, y = self.decay_pre * state.pre + pre, self.decay_post * state.post + post
        return PairState(
            x,
            y,
            self.decay * state.plus + self.gain * self.pairs(x[None], post[None]),
            self.decay * state.minus + self.gain * self.pairs(pre[None], y[None]),
            self.decay_rate * state.rate + (1 - self.decay_rate) * self._rate(post),
        )

    @torch.no_grad()
    def scan(
        self,
        pres: Float[Tensor, "time batch *pre"],
        posts: Float[Tensor, "time batch *post"],
        state: PairState | None = None,
    ) -> PairState:
        """State after a row of steps: the same as folding `step`, with one product over all of time."""
        state = self.rest(pres[0], posts[0]) if state is None else state
        x, y = _traces(pres, state.pre, self.decay_pre), _traces(posts, state.post, self.decay_post)
        rates = _traces(self._rate(posts) * (1 - self.decay_rate), state.rate, self.decay_rate)
        time = len(pres)
        age = torch.arange(time - 1, -1, -1, device=posts.device, dtype=posts.dtype)
        share = (self.gain * self.decay**age).view(-1, *(1,) * (posts.dim() - 1))
        return PairState(
            x[-1],
            y[-1],
            self.decay**time * state.plus + self.pairs(x, share * posts),
            self.decay**time * state.minus + self.pairs(pres, share * y),
            rates[-1],
        )

    def _rate(self, spikes: Float[Tensor, "*shape"]) -> Tensor:
        """Mean over a map's places: one rate per neuron or channel."""
        return spikes.mean((-1, -2)) if isinstance(self.synapse, nn.Conv2d) else spikes

    def change(self, state: PairState, advantage: Float[Tensor, " batch"]) -> Tensor:
        """ΔW for one advantage per row, summed over rows (see the module's equations)."""
        return self.config.rate * modulated(
            self.synapse.weight.detach(), state.plus, state.minus, advantage,
            self.config.reward, self.config.punishment, self.config.bounds,
        )  # fmt: skip

    @torch.no_grad()
    def apply(self, state: PairState, advantage: Float[Tensor, " batch"]) -> None:
        """Change the synapse's weights in place, and its biases by homeostasis."""
        bounds, config = self.config.bounds, self.config
        self.synapse.weight.add_(self.change(state, advantage)).clamp_(bounds.low, bounds.high)
        if config.homeostasis and self.synapse.bias is not None:
            self.synapse.bias.add_(config.homeostasis * (config.target_rate - state.rate.mean(0)))


def modulated(
    weight: Float[Tensor, "*weight"],
    plus: Float[Tensor, "batch ..."],
    minus: Float[Tensor, "batch ..."],
    advantage: Float[Tensor, " batch"],
    reward: Amplitudes,
    punishment: Amplitudes,
    bounds: Bounds,
) -> Float[Tensor, "*weight"]:
    """The reward and the punishment module's change of a weight, for eligibilities and one advantage per row."""
    good, bad = advantage.clamp_min(0), (-advantage).clamp_min(0)
    up = reward.plus * _weighted(good, plus) + punishment.minus * _weighted(bad, minus)
    down = reward.minus * _weighted(good, minus) + punishment.plus * _weighted(bad, plus)
    return up * bounds.growing(weight) - down * bounds.shrinking(weight)


class PlasticState(NamedTuple):
    """The neuron's state and the eligibility of its input synapse and of its recurrent one (None without)."""

    neuron: State
    synapse: PairState
    recurrent: PairState | None


class PlasticLayer(Temporal):
    """A synapse and its neurons that collect eligibility while they run, by `forward` or `step`; `learn` spends it.

    With a recurrent neuron (`LIF(..., recurrent=n)`) its recurrent weights learn by the same rule; their presynaptic
    spikes in a step are the layer's own of the step before.
    """

    def __init__(self, synapse: Synapse, neuron: LinearNeuron, config: STDPConfig | None = None) -> None:
        super().__init__()
        self.synapse, self.neuron = synapse, neuron
        self.rule = RewardSTDP(synapse, config)
        self.recurrent_rule = RewardSTDP(neuron.recurrent, config) if neuron.recurrent is not None else None

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> PlasticState:
        pre = self.synapse.weight.new_zeros(batch, *shape)
        with torch.no_grad():
            post = torch.zeros_like(self.synapse(pre))
        recurrent = None if self.recurrent_rule is None else self.recurrent_rule.rest(post, post)
        neuron = self.neuron.initial_state(batch, tuple(post.shape[1:]))
        return PlasticState(neuron, self.rule.rest(pre, post), recurrent)

    @torch.no_grad()
    def step(self, x: Float[Tensor, "batch ..."], state: State | None = None) -> tuple[Tensor, PlasticState]:
        outputs, state = self.forward(x[None], state)
        return outputs[0], state

    @torch.no_grad()
    def forward(self, xs: Float[Tensor, "time batch ..."], state: State | None = None) -> tuple[Tensor, PlasticState]:
        before = self.initial_state(xs.shape[1], tuple(xs.shape[2:])) if state is None else PlasticState(*state)
        currents = self.synapse(xs.flatten(0, 1)).unflatten(0, tuple(xs.shape[:2]))
        spikes, neuron = self.neuron(currents, before.neuron)
        recurrent = None
        if self.recurrent_rule is not None and isinstance(before.neuron, RecurrentState):
            heard = torch.cat((before.neuron.spikes[None], spikes[:-1]))
            recurrent = self.recurrent_rule.scan(heard, spikes, before.recurrent)
        return spikes, PlasticState(neuron, self.rule.scan(xs, spikes, before.synapse), recurrent)

    def learn(self, state: PlasticState, advantage: Float[Tensor, " batch"]) -> None:
        """Change the weights by what is eligible, for one advantage per row of the batch."""
        self.rule.apply(state.synapse, advantage)
        if self.recurrent_rule is not None and state.recurrent is not None:
            self.recurrent_rule.apply(state.recurrent, advantage)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        with torch.no_grad():
            return tuple(self.synapse(self.synapse.weight.new_zeros(1, *shape)).shape[1:])


def _weighted(share: Float[Tensor, " batch"], eligibility: Float[Tensor, "batch ..."]) -> Float[Tensor, "*weight"]:
    return torch.tensordot(share.to(eligibility.dtype), eligibility, dims=1)


def _traces(spikes: Float[Tensor, "time ..."], before: Float[Tensor, "*shape"], decay: float) -> Tensor:
    """The trace after every step."""
    traces = torch.empty_like(spikes)
    for t, now in enumerate(spikes):
        before = torch.add(now, before, alpha=decay, out=traces[t])
    return traces
