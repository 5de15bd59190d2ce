"""SLTT: gradients stay in their bin inside the front and pass through time in the read-out, whatever T."""

import numpy as np
import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning import BPTT, SLTT, Clip, CrossEntropy, OptimizerConfig, RuleConfig, SpikeRates, TruncatedBPTT
from dvs_snn.learning.losses import rate_penalty
from dvs_snn.learning.stages import Staged
from dvs_snn.models import GestureConfig, GestureNet
from dvs_snn.nn import LIF, TCLIF, LeakyIntegrator, Sequential, Temporal
from dvs_snn.nn.linear_neuron import linear_step

TIME, BATCH, CLASSES = 6, 3, 2


def network(beta: float = 0.8, norm: bool = False) -> Sequential:
    torch.manual_seed(0)
    front = [nn.Conv2d(2, 4, 3, 2, 1), *([nn.BatchNorm2d(4)] if norm else []), LIF(beta), nn.Flatten()]
    return Sequential(*front, nn.Linear(64, 8), TCLIF(recurrent=8), nn.Linear(8, CLASSES), LeakyIntegrator())


def clip(time: int = TIME) -> Clip:
    random = torch.Generator().manual_seed(1)
    inputs = 2 * torch.rand(time, BATCH, 2, 8, 8, generator=random)
    labels = torch.tensor([0, 1, 1]).expand(time, BATCH).contiguous()
    return Clip(inputs, labels, torch.ones(time, BATCH, dtype=torch.bool), torch.ones(BATCH, dtype=torch.bool))


def rule(kind, net, loss="tet", **options):
    name = {BPTT: "bptt", SLTT: "sltt", TruncatedBPTT: "truncated"}[kind]
    return kind(net, CrossEntropy(loss, 0.0), RuleConfig(name=name, **options), OptimizerConfig(), 10)


def gradients(kind, net, part=None, **options):
    net.zero_grad()
    _, measures = rule(kind, net, **options).gradients(net, part or clip(), None)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}, measures


def assert_equal(a, b, close=1e-5):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name], b[name], rtol=close, atol=close * float(b[name].abs().max()) + 1e-9), name


@pytest.mark.parametrize("loss", ["tet", "mean", "max", "last"])
def test_without_memory_in_the_front_it_is_bptt(loss):
    net = network(beta=0.0)
    sltt, bptt = (gradients(kind, net, loss=loss) for kind in (SLTT, BPTT))
    assert_equal(sltt[0], bptt[0])
    assert sltt[1]["loss"] == pytest.approx(bptt[1]["loss"], rel=1e-5)
    assert sltt[1]["accuracy"] == pytest.approx(bptt[1]["accuracy"])


def test_one_chunk_is_bptt_and_outputs_are_those_of_bptt_anyway():
    net = network()
    bptt, whole, by_bin = (
        gradients(BPTT, net),
        gradients(SLTT, net, chunk_bins=TIME),
        gradients(SLTT, net, chunk_bins=1),
    )
    assert_equal(whole[0], bptt[0])
    assert by_bin[1]["loss"] == pytest.approx(bptt[1]["loss"], rel=1e-5)
    head = {name for name in bptt[0] if int(name.split(".")[1]) >= 3}
    assert_equal({n: by_bin[0][n] for n in head}, {n: bptt[0][n] for n in head})  # BPTT in the read-out
    assert not torch.allclose(by_bin[0]["layers.0.weight"], bptt[0]["layers.0.weight"], rtol=1e-2)


def test_front_has_the_published_gradient():
    """`u[t] = β sg(u[t-1]) + x[t]`: the membrane before a bin is a constant for that bin (Meng et al. 2023)."""
    net, part = network(), clip()
    conv, lif, _, *rest = net
    u, features = (torch.zeros(BATCH, 4, 4, 4),), []
    for x in part.inputs:
        how = (lif.coefficients(torch.float32), lif.structure, lif.surrogate, lif.detach_reset)
        spikes, u = linear_step(conv(x), tuple(part.detach() for part in u), *how)
        features.append(spikes)
    outputs, _ = Sequential(nn.Flatten(), *rest)(torch.stack(features))
    loss = CrossEntropy("tet", 0.0)
    net.zero_grad()
    (loss.total(outputs, part) / loss.weight(part)).backward()
    assert_equal(gradients(SLTT, net, part)[0], {n: p.grad for n, p in net.named_parameters() if p.grad is not None})


def test_same_weight_gradients_as_spikingjelly():
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    torch.manual_seed(2)
    conv, read = nn.Conv2d(2, 4, 3, 2, 1), nn.Linear(64, CLASSES)
    net = Sequential(conv, LIF(0.5), nn.Flatten(), read)
    part = clip()
    theirs = neuron.SLTTLIFNode(2.0, decay_input=False, v_reset=None, surrogate_function=surrogate.ATan(2.0))
    theirs.train()
    for x, labels in zip(part.inputs, part.labels, strict=True):  # each bin's loss goes back at once
        nn.functional.cross_entropy(read(theirs(conv(x)).flatten(1)), labels).div(TIME).backward()
    expected = {n: p.grad.clone() for n, p in net.named_parameters()}
    ours = gradients(SLTT, net, part)[0]
    # their reset is attached, ours detached: within a bin it does not reach that bin's spike
    assert_equal(ours, expected)


def test_dropout_in_the_front_is_the_same_in_both_runs_and_norms_move_once():
    torch.manual_seed(0)
    config = GestureConfig(
        2, (2, 16, 16), channels=(4,), kernels=(3,), strides=(2,), bridge_bins=2, block_channels=(4,), hidden=8
    )
    net = GestureNet(config)
    seen = []
    net.blocks.register_forward_hook(lambda module, x, y: seen.append(y.detach().clone()))
    random = torch.Generator().manual_seed(3)
    part = Clip(
        torch.poisson(torch.rand(TIME, BATCH, 2, 16, 16, generator=random)), clip().labels, clip().scored, clip().first
    )
    norm = net.backbone[2]
    before = norm.running_mean.clone()
    rule(SLTT, net).gradients(net, part, None)
    assert len(seen) == 2 * TIME
    assert all(torch.equal(a, b) for a, b in zip(seen[:TIME], seen[TIME:], strict=True))
    assert norm.momentum == 0.1
    share = 1 - 0.9 ** (1 / TIME)
    with torch.no_grad():
        expected = before
        taps, convolution = net.backbone[0], net.backbone[1]
        for x in taps(net.saturate(part.inputs))[0]:
            expected = expected.lerp(convolution(x).mean((0, 2, 3)), share)
    assert torch.allclose(norm.running_mean, expected, atol=1e-6)


def test_rates_in_front_and_read_out_are_those_of_the_whole_clip():
    net, part = network(beta=0.0), clip()
    ours, measures = gradients(SLTT, net, part, rate_weight=3.0, rate_ceiling=0.01)
    net.zero_grad()
    with SpikeRates(net) as rates:
        outputs, _ = net(part.inputs)
    loss = CrossEntropy("tet", 0.0)
    (loss.total(outputs, part) / loss.weight(part) + 3.0 * rate_penalty(rates.rates, 0.01)).backward()
    assert_equal(ours, {n: p.grad for n, p in net.named_parameters() if p.grad is not None})
    assert measures["rate"] == pytest.approx(rates.mean(), rel=1e-5)


def test_graph_of_the_front_does_not_grow_with_the_clip():
    """Bytes that autograd keeps at once: constant for the front, a few features per bin for the read-out."""
    kept = {}
    for kind in (SLTT, BPTT):
        for time in (8, 32):
            now, peak = [0], [0]

            def pack(tensor, now=now, peak=peak):
                now[0] += tensor.numel() if tensor.dim() > 3 else 0  # maps, not features
                peak[0] = max(peak[0], now[0])
                return tensor

            net = network(norm=True)
            part = rule(kind, net)
            begin = net.features

            def features(xs, state=None, now=now, begin=begin):
                now[0] = 0  # the graph of the call before is gone
                return begin(xs, state)

            net.features = features
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                part.gradients(net, clip(time), None)
            kept[kind, time] = peak[0]
    assert kept[SLTT, 32] == kept[SLTT, 8] > 0
    assert kept[BPTT, 32] > 3.9 * kept[BPTT, 8]


def test_state_is_carried_on():
    net, whole = network(), clip(8)
    state, _ = rule(SLTT, net).gradients(net, whole.between(0, 4), None)
    state, _ = rule(SLTT, net).gradients(net, whole.between(4, 8), state)
    with torch.no_grad():
        _, expected = net(whole.inputs)

    def tensors(tree):
        return [tree] if isinstance(tree, torch.Tensor) else [t for part in tree for t in tensors(part)]

    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(tensors(state), tensors(expected), strict=True))


def test_features_and_decide_are_the_network():
    net = network()
    xs = clip().inputs
    features, state = net.features(xs)
    outputs, state = net.decide(features, state)
    expected, end = net(xs)
    assert torch.equal(outputs, expected) and features.shape == (TIME, BATCH, 8) and len(state) == len(end)
    assert isinstance(net, Staged) and isinstance(GestureNet(), Staged)


def test_it_learns():
    net = network(norm=True)
    learner = SLTT(net, CrossEntropy("tet", 0.0), RuleConfig(name="sltt"), OptimizerConfig(lr=1e-2), 60)
    losses = [learner.update(net, clip(), None)[1]["loss"] for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


class Plain(Temporal):
    """A network whose features nobody knows."""

    def initial_state(self, batch, shape):
        return ()

    def step(self, x, state=None):
        return x, ()


def test_networks_and_losses_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"sltt.*Plain"):
        rule(SLTT, Plain())
    with pytest.raises(ConfigError, match="tet"):
        rule(TruncatedBPTT, network(), loss="mean", chunk_bins=2)
