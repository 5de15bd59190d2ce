"""Rules lower the loss; truncation of the whole is no truncation; state is carried and cut where it should be."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning import (
    BPTT,
    Clip,
    ClipLoader,
    CrossEntropy,
    Encoding,
    OptimizerConfig,
    RuleConfig,
    SpikeRates,
    TruncatedBPTT,
)
from dvs_snn.learning.losses import rate_penalty, scored_accuracy
from dvs_snn.nn import LIF, LeakyIntegrator, Sequential
from dvs_snn.representation import EventCounts
from tests.learning.synthetic import BIN_US, SENSOR, bars, tiny_recipe


def network() -> Sequential:
    return Sequential(
        nn.Conv2d(2, 8, 5, 2, 2), LIF(), nn.Flatten(), nn.Linear(8 * 64, 32), LIF(), nn.Linear(32, 2), LeakyIntegrator()
    )


def loader(count=64, shuffled=False) -> ClipLoader:
    encoding = Encoding(EventCounts(), SENSOR, BIN_US)
    return ClipLoader(bars(count, shuffled=shuffled), encoding, tiny_recipe().clips, None, batch=16, seed=0)


def make_rule(kind, net, steps=40, **options):
    config = RuleConfig(name="truncated" if "chunk_bins" in options else "bptt", **options)
    return kind(net, CrossEntropy("tet", 0.0), config, OptimizerConfig(lr=5e-3), steps)


def train(rule, net, clips, epochs):
    losses = []
    for epoch in range(epochs):
        for clip in clips.epoch(epoch):
            _, measures = rule.update(net, clip, None)
            losses.append(measures["loss"])
    return losses


@pytest.mark.parametrize(
    ("kind", "options"), [(BPTT, {}), (TruncatedBPTT, {"chunk_bins": 8}), (BPTT, {"rate_weight": 1.0})], ids=str
)
def test_rule_lowers_the_loss(kind, options):
    torch.manual_seed(0)
    net = network()
    losses = train(make_rule(kind, net, **options), net, loader(), epochs=8)
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])


def gradients(kind, net, clip, **options):
    net.zero_grad()
    make_rule(kind, net, **options).gradients(net, clip, None)
    return [parameter.grad.clone() for parameter in net.parameters()]


def test_truncated_to_the_whole_clip_is_bptt():
    net, clip = network(), next(loader().epoch(0))
    whole = gradients(BPTT, net, clip)
    for truncated in (gradients(TruncatedBPTT, net, clip, chunk_bins=n) for n in (clip.bins, clip.bins + 5)):
        assert all(torch.equal(a, b) for a, b in zip(whole, truncated, strict=True))


def test_truncation_changes_gradients_but_not_outputs():
    net, clip = network(), next(loader().epoch(0))
    short = make_rule(TruncatedBPTT, net, chunk_bins=4).gradients(net, clip, None)[1]
    whole = make_rule(BPTT, net).gradients(net, clip, None)[1]
    assert short["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    a, b = gradients(BPTT, net, clip), gradients(TruncatedBPTT, net, clip, chunk_bins=4)
    assert not all(torch.allclose(x, y, rtol=1e-3) for x, y in zip(a, b, strict=True))


def test_state_is_carried_between_clips_and_reset_in_first_rows():
    net, clip = network(), next(loader().epoch(0))
    half = clip.bins // 2
    rule = make_rule(BPTT, net)
    state, _ = rule.gradients(net, clip.between(0, half), None)
    _, carried = rule.gradients(net, clip.between(half, clip.bins), state)
    with torch.no_grad():
        outputs, _ = net(clip.inputs)
    part = clip.between(half, clip.bins)
    loss = CrossEntropy("tet", 0.0)
    assert carried["loss"] == pytest.approx(float(loss.total(outputs[half:], part) / loss.weight(part)), rel=1e-5)
    fresh = Clip(part.inputs, part.labels, part.scored, torch.ones_like(part.first))
    _, again = rule.gradients(net, fresh, state)
    _, rest = rule.gradients(net, fresh, None)
    assert again["loss"] == pytest.approx(rest["loss"], rel=1e-6)


def test_padded_and_warm_up_bins_have_no_influence():
    net, clip = network(), next(loader().epoch(0))
    longer = Clip(
        torch.cat([clip.inputs, torch.randn(4, *clip.inputs.shape[1:])]),
        torch.cat([clip.labels, torch.zeros(4, clip.batch, dtype=torch.long)]),
        torch.cat([clip.scored, torch.zeros(4, clip.batch, dtype=torch.bool)]),
        clip.first,
    )
    for a, b in zip(gradients(BPTT, net, clip), gradients(BPTT, net, longer), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    wrong = clip.labels.clone()
    wrong[~clip.scored] = 1 - wrong[~clip.scored]
    same = Clip(clip.inputs, wrong, clip.scored, clip.first)
    outputs, _ = net(clip.inputs)
    loss = CrossEntropy("tet", 0.1)
    assert torch.equal(loss.total(outputs, clip), loss.total(outputs, same))
    assert scored_accuracy(outputs, clip) == scored_accuracy(outputs, same)


def test_a_clip_that_overflows_leaves_the_weights_alone():
    net, clip = network(), next(loader().epoch(0))
    before = [parameter.clone() for parameter in net.parameters()]
    bad = Clip(clip.inputs * float("nan"), clip.labels, clip.scored, clip.first)
    make_rule(BPTT, net).update(net, bad, None)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_rates_are_those_of_the_spiking_layers_and_can_be_pushed_down():
    torch.manual_seed(1)
    net, clip = network(), next(loader().epoch(0))
    with torch.no_grad(), SpikeRates(net) as rates:
        net(clip.inputs)
        first = LIF()(net[0](clip.inputs.flatten(0, 1)).unflatten(0, clip.inputs.shape[:2]))[0]
    assert len(rates.rates) == 2  # the leaky read-out does not spike
    assert float(next(iter(rates.rates.values()))) == pytest.approx(float(first.mean()), rel=1e-5)
    assert not any(module._forward_hooks for module in net.modules())
    busy = Clip(clip.inputs * 8, clip.labels, clip.scored, clip.first)
    pushed = make_rule(BPTT, net, rate_weight=1e4, rate_ceiling=0.0)
    measured = [pushed.update(net, busy, None)[1]["rate"] for _ in range(15)]
    assert measured[-1] < 0.7 * measured[0]


def test_rate_penalty_is_zero_below_the_ceiling():
    rates = {"a": torch.tensor(0.05), "b": torch.tensor(0.3)}
    assert float(rate_penalty(rates, 0.1)) == pytest.approx(0.02)
    assert float(rate_penalty(rates, 0.5)) == 0.0 and float(rate_penalty({}, 0.1)) == 0.0


def test_learning_rate_rises_then_falls_to_its_share():
    config = OptimizerConfig(lr=1.0, warmup=0.1, final=0.01)
    rates = [config.lr_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:])) and rates[-1] < 0.02


def test_rule_goes_on_from_its_tensors():
    clips = list(loader().epoch(0))
    torch.manual_seed(0)
    net = network()
    rule = make_rule(BPTT, net)
    rule.update(net, clips[0], None)
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    tensors = {name: tensor.clone() for name, tensor in rule.tensors().items()}
    rule.update(net, clips[1], None)
    other = network()
    other.load_state_dict(weights)
    resumed = make_rule(BPTT, other)
    resumed.load_tensors(tensors)
    resumed.update(other, clips[1], None)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_unknown_rule_and_missing_chunk_are_refused():
    with pytest.raises(ConfigError, match=r"rule\.name"):
        RuleConfig(name="hebb")
    with pytest.raises(ConfigError, match="chunk_bins"):
        RuleConfig(name="truncated")
