"""Reward-modulated STDP: the closed form of two neurons, SpikingJelly's learners, and the laws of scans and batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning.plasticity import (
    Amplitudes,
    Bounds,
    PlasticLayer,
    RewardBaseline,
    RewardSTDP,
    STDPConfig,
)
from dvs_snn.nn import LIF

BARE = STDPConfig(rate=1.0)


def bernoulli(*shape: int, p: float = 0.3) -> torch.Tensor:
    return (torch.rand(*shape) < p).double()


def folded(rule: RewardSTDP, pres: torch.Tensor, posts: torch.Tensor):
    state = None
    for pre, post in zip(pres, posts, strict=True):
        state = rule.step(pre, post, state)
    return state


@settings(max_examples=15)
@given(st.integers(1, 30), st.integers(0, 30), st.booleans(), st.floats(-2, 2))
def test_two_neurons_change_as_the_closed_form_says(gap: int, wait: int, pre_first: bool, reward: float) -> None:
    """One spike each, `gap` steps apart, and a reward that arrives `wait` steps after the second."""
    config = STDPConfig(tau_pre=17.0, tau_post=29.0, tau_eligibility=41.0, rate=0.1)
    rule = RewardSTDP(nn.Linear(1, 1, dtype=torch.float64), config)
    pres, posts = torch.zeros(gap + 1 + wait, 1, 1).double(), torch.zeros(gap + 1 + wait, 1, 1).double()
    (pres if pre_first else posts)[0] = 1
    (posts if pre_first else pres)[gap] = 1
    change = rule.change(folded(rule, pres, posts), torch.tensor([reward], dtype=torch.float64))
    tau = 17.0 if pre_first else 29.0
    sign = 1 if pre_first else -1
    expected = sign * 0.1 * reward * math.exp(-gap / tau) * math.exp(-wait / 41.0) / 41.0
    assert change.item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", ["MSTDPETLearner", "MSTDPLearner"])
def test_the_weights_are_those_of_spikingjelly(name: str) -> None:
    """A row of spikes with a reward in every step; SpikingJelly applies it to the pairs of the steps before."""
    learning = pytest.importorskip("spikingjelly.activation_based.learning")
    steps, batch, traced = 40, 1 if name == "MSTDPETLearner" else 3, name == "MSTDPETLearner"
    ones = {"f_pre": torch.ones_like, "f_post": torch.ones_like}
    theirs, ours = nn.Linear(4, 3, bias=False).double(), nn.Linear(4, 3, bias=False).double()
    ours.load_state_dict(theirs.state_dict())
    fires = nn.Identity()
    extra = {"tau_trace": 11.0} if traced else {}
    learner = getattr(learning, name)("s", theirs, fires, tau_pre=5.0, tau_post=7.0, **extra, **ones)
    rule = RewardSTDP(ours, STDPConfig(tau_pre=5.0, tau_post=7.0, tau_eligibility=11.0 if traced else 0.0, rate=1.0))
    state = None
    for _ in range(steps):
        pre, post = bernoulli(batch, 4), bernoulli(batch, 3)
        reward = torch.randn(batch).double()
        theirs(pre[0] if traced else pre)
        fires(post[0] if traced else post)
        change = learner.step(reward[0] if traced else reward, on_grad=False)
        if state is not None:
            torch.testing.assert_close(rule.change(state, reward), change, rtol=1e-12, atol=1e-15)
            rule.apply(state, reward)
        theirs.weight.data += change
        state = rule.step(pre, post, state)
    assert (ours.weight - theirs.weight).abs().max() < 1e-12
    assert change.abs().max() > 0


@pytest.mark.parametrize("stride,padding", [(1, 0), (2, 1)])
def test_a_convolution_pairs_like_spikingjelly(stride: int, padding: int) -> None:
    """Its STDP has no reward and decays by 1 - 1/τ; one step's pairs are ours under a reward of one."""
    functional = pytest.importorskip("spikingjelly.activation_based.functional.learning")
    conv = nn.Conv2d(2, 3, 3, stride, padding, bias=False).double()
    pre = bernoulli(4, 2, 7, 6)
    post = bernoulli(*conv(pre).shape)
    x, y = torch.rand_like(pre), torch.rand_like(post)
    decay = 1 - 1 / 8.0
    tau = -1 / math.log(decay)
    padded = [nn.functional.pad(part, [padding] * 4) for part in (pre, x)]
    expected, _ = functional.stdp_conv2d_step(
        padded[0], post, (padded[1], y), conv.weight.detach(), stride=(stride, stride), tau_pre=8.0, tau_post=8.0,
        f_pre=torch.ones_like, f_post=torch.ones_like,
    )  # fmt: skip
    rule = RewardSTDP(conv, STDPConfig(tau_pre=tau, tau_post=tau, tau_eligibility=0.0, rate=1.0))
    state = rule.step(pre, post, rule.rest(pre, post)._replace(pre=x, post=y))
    torch.testing.assert_close(rule.change(state, torch.ones(4).double()), expected)


SYNAPSES = {
    "linear": (lambda: nn.Linear(5, 4), (5,), (4,)),
    "convolution": (lambda: nn.Conv2d(2, 3, 3, 2, 1), (2, 6, 5), (3, 3, 3)),
}


@pytest.mark.parametrize("tau", [0.0, 13.0])
@pytest.mark.parametrize("kind", SYNAPSES)
def test_scan_equals_folded_steps_and_chunks_equal_the_whole(kind: str, tau: float) -> None:
    make, before, after = SYNAPSES[kind]
    rule = RewardSTDP(make().double(), STDPConfig(tau_eligibility=tau))
    pres, posts = bernoulli(12, 3, *before), bernoulli(12, 3, *after)
    whole = rule.scan(pres, posts)
    chunks = rule.scan(pres[5:], posts[5:], rule.scan(pres[:5], posts[:5]))
    for a, b, c in zip(whole, folded(rule, pres, posts), chunks, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(a, c, rtol=1e-12, atol=1e-14)


def test_rows_of_a_batch_add_up_and_do_not_touch_each_other() -> None:
    rule = RewardSTDP(nn.Linear(5, 4).double(), BARE)
    pres, posts, reward = bernoulli(9, 3, 5), bernoulli(9, 3, 4), torch.tensor([1.0, -0.5, 2.0]).double()
    whole = rule.change(rule.scan(pres, posts), reward)
    rows = [rule.change(rule.scan(pres[:, [k]], posts[:, [k]]), reward[[k]]) for k in range(3)]
    torch.testing.assert_close(whole, torch.stack(rows).sum(0))


@pytest.mark.parametrize("recurrent", [0, 4])
def test_a_layer_learns_the_same_by_scan_and_by_step(recurrent: int) -> None:
    layers = []
    for _ in range(2):
        torch.manual_seed(1)
        layers.append(PlasticLayer(nn.Linear(6, 4), LIF(recurrent=recurrent), STDPConfig(rate=0.5)).double())
    xs, advantage = bernoulli(20, 3, 6, p=0.6), torch.tensor([1.0, -1.0, 0.5]).double()
    spikes, state = layers[0](xs)
    folded_state, outputs = None, []
    for x in xs:
        out, folded_state = layers[1].step(x, folded_state)
        outputs.append(out)
    assert spikes.sum() > 5
    assert torch.equal(spikes, torch.stack(outputs))
    before = layers[0].synapse.weight.clone()
    layers[0].learn(state, advantage)
    layers[1].learn(folded_state, advantage)
    for a, b in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    assert not torch.equal(before, layers[0].synapse.weight)


def test_recurrent_synapses_pair_the_layers_spikes_with_those_of_the_step_before() -> None:
    torch.manual_seed(0)
    layer = PlasticLayer(nn.Linear(6, 4), LIF(recurrent=4), BARE).double()
    spikes, state = layer(bernoulli(20, 2, 6, p=0.6))
    heard = torch.cat((torch.zeros_like(spikes[:1]), spikes[:-1]))
    assert layer.recurrent_rule is not None
    expected = folded(layer.recurrent_rule, heard, spikes)
    torch.testing.assert_close(state.recurrent.plus, expected.plus)


def test_reward_and_punishment_are_modules_of_their_own() -> None:
    """Without a punishment module, what is worse than usual changes nothing, and the other way round."""
    none = Amplitudes(0.0, 0.0)
    pres, posts = bernoulli(9, 1, 5), bernoulli(9, 1, 4)
    for left_out, silent in (("punishment", -1.0), ("reward", 1.0)):
        rule = RewardSTDP(nn.Linear(5, 4).double(), STDPConfig(rate=1.0, **{left_out: none}))
        state = rule.scan(pres, posts)
        assert not rule.change(state, torch.tensor([silent]).double()).any()
        assert rule.change(state, torch.tensor([-silent]).double()).any()


@settings(max_examples=15)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_soft_bounds_hold_whatever_the_rewards(rewards: list[float]) -> None:
    torch.manual_seed(0)
    synapse = nn.Linear(5, 4).double()
    rule = RewardSTDP(synapse, STDPConfig(rate=1.0, bounds=Bounds(-0.5, 0.5, 1.0)))
    state = rule.scan(bernoulli(9, 1, 5), bernoulli(9, 1, 4))
    for reward in rewards:
        rule.apply(state, torch.tensor([reward]).double())
        assert synapse.weight.min() >= -0.5
        assert synapse.weight.max() <= 0.5


def test_a_weight_at_its_bound_only_comes_back() -> None:
    synapse = nn.Linear(1, 1).double()
    rule = RewardSTDP(synapse, STDPConfig(rate=0.1, bounds=Bounds(0.0, 1.0, 1.0)))
    synapse.weight.data.fill_(1.0)
    state = rule.scan(torch.ones(1, 1, 1).double(), torch.ones(1, 1, 1).double())._replace(
        minus=torch.zeros(1, 1, 1).double()
    )
    assert rule.change(state, torch.ones(1).double()).item() == 0.0
    assert rule.change(state, -torch.ones(1).double()).item() < 0.0


def test_homeostasis_brings_a_silent_and_a_busy_neuron_to_the_target() -> None:
    torch.manual_seed(0)
    config = STDPConfig(rate=0.0, homeostasis=0.3, target_rate=0.2, tau_rate=30.0)
    layer = PlasticLayer(nn.Linear(6, 2), LIF(beta=0.5), config).double()
    layer.synapse.bias.data = torch.tensor([-1.0, 2.0]).double()
    state = None
    for _ in range(60):
        _, state = layer(bernoulli(10, 4, 6), state)
        layer.learn(state, torch.zeros(4).double())
    assert state.synapse.rate.mean(0).tolist() == pytest.approx([0.2, 0.2], abs=0.1)


def test_the_baseline_is_the_mean_of_the_rewards_before() -> None:
    rewards = torch.rand(50).double()
    batched, single = RewardBaseline(10.0, 0.3), RewardBaseline(10.0, 0.3)
    advantages = batched.advantage(rewards)
    for reward in rewards:
        single.advantage(reward[None])
    assert batched.mean == pytest.approx(single.mean, rel=1e-12)
    torch.testing.assert_close(advantages, rewards - 0.3)
    assert RewardBaseline(0.0, 0.5).advantage(torch.ones(1)).item() == 0.5


def test_what_cannot_learn_is_refused() -> None:
    with pytest.raises(ConfigError, match="groups"):
        RewardSTDP(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(ConfigError, match="finite"):
        Bounds(power=1.0)
