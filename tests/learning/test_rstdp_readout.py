"""A read-out from reward alone: what it is told, what it changes, and that it learns."""

import pytest
import torch

from dvs_snn.errors import ConfigError
from dvs_snn.learning import rstdp
from dvs_snn.learning.clips import Clip
from dvs_snn.learning.rstdp import RSTDP, RewardConfig, RewardReadOut, leaky
from dvs_snn.learning.rules import RULES, RuleConfig
from dvs_snn.learning.team import Team
from dvs_snn.models import build_model
from dvs_snn.nn import LIF

SIZES = {
    "shape": [2, 16, 16],
    "channels": [4, 4],
    "kernels": [3, 3],
    "strides": [2, 2],
    "bridge_bins": 3,
    "block_channels": [8],
    "hidden": 16,
}


def network(seed: int = 3):
    torch.manual_seed(seed)
    return build_model("gesture", SIZES)


def clip(bins: int = 12, batch: int = 6) -> Clip:
    return Clip(
        torch.poisson(torch.full((bins, batch, 2, 16, 16), 0.4)),
        torch.arange(batch).repeat(bins, 1),
        torch.ones(bins, batch, dtype=torch.bool),
        torch.ones(batch, dtype=torch.bool),
    )


def rule_config(**options: object) -> RuleConfig:
    return RuleConfig(name="rstdp", reward=RewardConfig(every_bins=4, **options))  # type: ignore[arg-type]


def test_the_rule_changes_the_read_out_and_nothing_else() -> None:
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rule = RULES["rstdp"](net, None, rule_config(), None, 1, Team())
    for _ in range(3):
        _, measures = rule.update(net, clip(), None)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {"readout.weight", "readout.bias", "shortcut.weight"}
    assert net.training
    assert measures["loss"] == pytest.approx(1 - measures["accuracy"])
    assert all(parameter.grad is None for parameter in net.parameters())


def test_labels_enter_through_the_reward_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other labels under the same rewards give the same weights, bit for bit; other rewards do not."""

    def learned(labels: torch.Tensor, rewards: float | None) -> torch.Tensor:
        net = network()
        rule = RSTDP(net, None, rule_config())
        if rewards is not None:
            monkeypatch.setattr(rstdp, "judge", lambda decided, labels: torch.full((len(decided),), rewards))
        torch.manual_seed(7)
        one = clip()
        rule.update(net, Clip(one.inputs, labels, one.scored, one.first), None)
        return rule.read_out.weight()

    labels = clip().labels
    assert torch.equal(learned(labels, 1.0), learned((labels + 5) % 11, 1.0))
    assert not torch.equal(learned(labels, 1.0), learned(labels, 0.0))


def test_the_learners_potentials_are_the_networks_logits() -> None:
    net = network()
    rule = RSTDP(net, None, rule_config())
    one = clip()
    rule.learner.weight.normal_()
    rule.read_out.write(rule.learner.weight, rule.learner.bias)
    net.eval()
    with torch.no_grad():
        logits, _ = net(one.inputs)
    traces = leaky(rule.read_out.features(), rule.read_out.decay, rule.read_out.gain)
    torch.testing.assert_close(rule.learner.potentials(traces), logits, rtol=1e-4, atol=1e-5)


def test_a_cut_run_goes_on_where_it_was() -> None:
    straight, cut = network(), network()
    rule, first = (RSTDP(net, None, rule_config(homeostasis=0.1)) for net in (straight, cut))
    clips = [clip(), clip()]
    torch.manual_seed(1)
    for one in clips:
        rule.update(straight, one, None)
    torch.manual_seed(1)
    first.update(cut, clips[0], None)
    again = RSTDP(cut, None, rule_config(homeostasis=0.1))  # as after a restart: the read-out begins from zero
    again.load_tensors({name: tensor.clone() for name, tensor in first.tensors().items()})
    again.update(cut, clips[1], None)
    for name, tensor in rule.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name


@pytest.mark.parametrize("seed", [1, 2])
def test_classes_are_learned_from_right_or_wrong(seed: int) -> None:
    """Ten noisy patterns, five classes; chance is 0.2."""
    torch.manual_seed(seed)
    patterns = torch.rand(10, 40)
    learner = RewardReadOut(5, 40)
    for _ in range(500):
        which = torch.randint(10, (8,))
        traces = (patterns[which] + 0.1 * torch.randn(8, 40)).clamp_min(0)
        decided = learner.decide(traces)
        learner.learn(traces, decided, rstdp.judge(decided, which % 5), torch.ones(8))
    assert (learner.potentials(patterns).argmax(-1) == torch.arange(10) % 5).float().mean() >= 0.9


def test_rows_that_do_not_count_change_nothing() -> None:
    learner = RewardReadOut(3, 4)
    learner.learn(torch.rand(2, 4), torch.tensor([0, 1]), torch.tensor([1.0, 0.0]), torch.zeros(2))
    assert not learner.weight.any()
    assert learner.baseline.mean == pytest.approx(1 / 3)


def test_a_network_without_a_read_out_and_several_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="no read-out"):
        RSTDP(LIF(), None, rule_config())
    with pytest.raises(ConfigError, match="one process"):
        RSTDP(network(), None, rule_config(), team=Team(0, 2))
