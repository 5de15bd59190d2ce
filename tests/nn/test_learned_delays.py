"""Learned delays: pure delays where taps are sharp, a gradient that finds an echo, the laws of streaming."""

import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import LIF, TCLIF
from dvs_snn.nn.learned_delays import FINAL_WIDTH, REACH, DelayedLinear, DelayedRecurrent
from tests.temporal_laws import check_temporal_laws


def with_delays(layer: DelayedLinear, delays: torch.Tensor) -> DelayedLinear:
    with torch.no_grad():
        layer.position.copy_((delays - layer.delay / 2) / REACH)
    return layer


def test_evaluation_is_a_sum_of_inputs_each_so_many_steps_ago() -> None:
    torch.manual_seed(0)
    layer = DelayedLinear(5, 4, 6).double().eval()
    delays = layer.delays().round().long()
    assert delays.unique().numel() > 3
    xs = torch.randn(20, 2, 5, dtype=torch.double)
    ys, _ = layer(xs)
    late = torch.cat([torch.zeros(6, 2, 5, dtype=torch.double), xs])
    for t in range(20):
        for i in range(4):
            heard = torch.stack([late[6 + t - delays[i, j], :, j] for j in range(5)], -1)
            assert torch.allclose(ys[t, :, i], heard @ layer.weight[i])


def test_narrow_taps_in_training_are_what_evaluation_computes() -> None:
    layer = with_delays(DelayedLinear(5, 4, 6), torch.randint(0, 7, (4, 5)).float())
    layer.anneal(1.0)
    assert float(layer.width) == pytest.approx(FINAL_WIDTH)
    xs = torch.randn(12, 3, 5)
    assert torch.allclose(layer.train()(xs)[0], layer.eval()(xs)[0], atol=1e-3)


def test_taps_narrow_exponentially_over_the_first_quarter_and_keep_their_sum() -> None:
    layer = DelayedLinear(3, 2, 10)
    widths = []
    for progress in (0.0, 0.125, 0.25, 0.6):
        layer.anneal(progress)
        widths.append(float(layer.width))
        assert torch.allclose(layer.kernel().sum(-1), layer.weight)
    assert widths[0] == pytest.approx(5.0)
    assert widths[1] == pytest.approx((5.0 * FINAL_WIDTH) ** 0.5)
    assert widths[2] == widths[3] == pytest.approx(FINAL_WIDTH)


def test_the_gradient_finds_the_delay_of_an_echo() -> None:
    torch.manual_seed(0)
    layer = with_delays(DelayedLinear(1, 1, 12), torch.tensor([[3.0]]))
    nn.init.ones_(layer.weight)
    optimiser = torch.optim.Adam([layer.position], 0.005)
    xs = torch.randn(200, 1, 1)
    echo = torch.cat([torch.zeros(8, 1, 1), xs[:-8]])
    for step in range(120):
        layer.anneal(step / 120)
        loss = ((layer(xs)[0] - echo) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert int(layer.eval().delays().round()) == 8
    assert torch.allclose(layer(xs)[0], echo)


def test_delays_stay_in_their_range() -> None:
    layer = DelayedLinear(3, 3, 4)
    layer.position.data.fill_(1e3)
    assert (layer.delays() == 4).all()
    layer.position.data.fill_(-1e3)
    assert (layer.delays() == 0).all()


def test_recurrence_hears_a_spike_one_step_and_its_delay_later() -> None:
    """Neuron 0 is driven once; neuron 1 hears it alone, with weight 2 and delay 3: it fires 4 steps later."""
    net = DelayedRecurrent(LIF(0.5, reset="zero"), 2, 5)
    with_delays(net.feedback, torch.full((2, 2), 3.0))
    with torch.no_grad():
        net.feedback.weight.copy_(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    xs = torch.zeros(10, 1, 2)
    xs[1, 0, 0] = 1.5
    spikes, _ = net.eval()(xs)
    assert spikes.nonzero().tolist() == [[1, 0, 0], [5, 0, 1]]


def test_shortest_delay_is_the_plain_recurrence() -> None:
    torch.manual_seed(0)
    plain = TCLIF(recurrent=6).double()
    assert plain.recurrent is not None
    nn.init.zeros_(plain.recurrent.bias)
    net = DelayedRecurrent(TCLIF(), 6, 3).double().eval()
    with_delays(net.feedback, torch.zeros(6, 6, dtype=torch.double))
    with torch.no_grad():
        net.feedback.weight.copy_(plain.recurrent.weight)
    xs = torch.rand(15, 2, 6, dtype=torch.double)
    with torch.no_grad():
        assert torch.equal(net(xs)[0], plain(xs)[0]) and plain(xs)[0].sum() > 0


@pytest.mark.parametrize("delay", [1, 4])
def test_laws_of_streaming(delay: int) -> None:
    torch.manual_seed(1)
    xs = torch.rand(12, 3, 5, dtype=torch.double)
    check_temporal_laws(DelayedLinear(5, 4, delay).double(), xs, tolerance=1e-12)
    net = DelayedRecurrent(LIF(), 5, delay).double()
    assert net.eval()(xs)[0].sum() > 0
    check_temporal_laws(net, xs, tolerance=1e-12)


def test_gradients_reach_weights_and_delays_through_the_recurrence() -> None:
    net = DelayedRecurrent(LIF(), 4, 3)
    net(torch.rand(12, 2, 4))[0].sum().backward()
    for parameter in (net.feedback.weight, net.feedback.position):
        assert parameter.grad is not None and parameter.grad.abs().max() > 0


def test_impossible_delays_are_refused() -> None:
    with pytest.raises(ConfigError, match="delay"):
        DelayedLinear(2, 2, 0)
    with pytest.raises(ConfigError, match="recurrent=0"):
        DelayedRecurrent(LIF(recurrent=3), 3, 2)
