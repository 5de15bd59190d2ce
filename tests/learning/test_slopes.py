"""Slopes of surrogates are tensors: schedules and learning reach every scan and every compiled network."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning import BPTT, CrossEntropy, OptimizerConfig, RuleConfig
from dvs_snn.learning.slopes import REACH
from dvs_snn.nn import LIF, ATan, LeakyIntegrator, Sequential, Surrogate, Triangle
from tests.learning.test_sltt import BATCH, TIME, clip


def network(surrogate: Surrogate) -> Sequential:
    torch.manual_seed(0)
    return Sequential(nn.Flatten(), nn.Linear(128, 8), LIF(surrogate=surrogate), nn.Linear(8, 2), LeakyIntegrator())


def rule(net, steps=5, **options) -> BPTT:
    return BPTT(net, CrossEntropy("tet", 0.0), RuleConfig(**options), OptimizerConfig(lr=0.1), steps)


@pytest.mark.parametrize(("surrogate", "last"), [(ATan(2.0), 8.0), (Triangle(1.0), 0.25)], ids=str)
def test_scheduled_slopes_grow_in_equal_ratios_and_widths_shrink(surrogate, last):
    net = network(surrogate)
    learner = rule(net, slope_end=4.0)
    seen = []
    for _ in range(6):  # one more than was planned: the slope stays
        learner.update(net, clip(), None)
        seen.append(float(surrogate.scale))
    start = seen[0]
    assert seen[-1] == seen[-2] == pytest.approx(last)
    assert seen[2] / start == pytest.approx((last / start) ** 0.5)
    assert not surrogate.learnable and "layers.2.surrogate.scale" in dict(net.named_buffers())


def test_learned_slopes_move_and_stay_in_their_range():
    surrogate = ATan(2.0)
    net = network(surrogate)
    names = set(net.state_dict())
    learner = rule(net, steps=200, learn_slopes=True)
    assert set(net.state_dict()) == names and surrogate.learnable
    learner.update(net, clip(), None)
    assert surrogate.scale.grad is not None and surrogate.scale.item() != 2.0
    with torch.no_grad():
        surrogate.scale.fill_(-1.0)
    learner.slopes.hold()
    assert surrogate.scale.item() == pytest.approx(2.0 / REACH)


def test_fused_and_plain_scan_follow_a_slope_that_changes():
    from dvs_snn.nn.fused import fused_scan
    from dvs_snn.nn.linear_neuron import linear_scan

    neuron = LIF(surrogate=ATan(2.0))
    xs = torch.randn(TIME, BATCH, 5)
    how = (neuron.coefficients(torch.float32), neuron.structure, neuron.surrogate, True)
    found = []
    for slope in (2.0, 7.0):
        neuron.surrogate.set_steepness(slope / 2.0, 2.0)
        leaves = [xs.clone().requires_grad_() for _ in range(2)]
        fused_scan(leaves[0], None, *how)[0].sum().backward()
        linear_scan(leaves[1], (torch.zeros(BATCH, 5),), *how)[0].sum().backward()
        assert torch.allclose(leaves[0].grad, leaves[1].grad, rtol=1e-5)
        found.append(leaves[0].grad)
    assert not torch.allclose(found[0], found[1])


COMPILED = """
import torch
from dvs_snn.nn import ATan

graphs = []

def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward

surrogate = ATan(2.0)
compiled = torch.compile(surrogate, backend=backend)
for slope in (2.0, 5.0):
    surrogate.set_steepness(slope, 1.0)
    x = torch.linspace(-1, 1, 7).requires_grad_()
    compiled(x).sum().backward()
    assert torch.allclose(x.grad, ATan.derivative(x.detach(), torch.tensor(slope))), slope
    assert len(graphs) == 1, len(graphs)
"""


def test_a_compiled_network_sees_a_new_slope_without_compiling_again():
    """In a process of its own: the checks of shapes in tests are nothing to compile."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_slopes_are_learned_or_scheduled():
    with pytest.raises(ConfigError, match="slope_end"):
        RuleConfig(learn_slopes=True, slope_end=2.0)
    with pytest.raises(ConfigError, match="slope_end"):
        RuleConfig(slope_end=0.0)
