"""The non-spiking twin: leaky integrate, then rectify; same names and sizes, laws of time kept."""

import pytest
import torch
from torch import nn

from dvs_snn.models import build_model
from dvs_snn.nn import CUBALIF, LIF, TCLIF, AdLIF, LeakyIntegrator, Sequential, Twin, twin_of
from tests.learning.tiny_run import plain_scans

NEURONS = [LIF(0.7), CUBALIF(), AdLIF((5,)), TCLIF(), LIF(recurrent=5), TCLIF(recurrent=5)]


def test_lif_becomes_leaky_integrate_and_rectify():
    xs = torch.randn(6, 2, 3)
    outputs, state = Twin(LIF(0.5))(xs)
    u = torch.zeros(2, 3)
    for t in range(6):
        u = 0.5 * u + xs[t]
        assert torch.allclose(outputs[t], u.clamp_min(0), atol=1e-6)
    assert torch.allclose(state.membrane, u, atol=1e-6)


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{type(n).__name__}{'r' if n.recurrent else ''}")
def test_chunks_and_steps_are_the_whole(neuron):
    torch.manual_seed(0)
    twin = twin_of(nn.ModuleList([neuron]))[0]
    xs = torch.randn(7, 2, 5)
    whole, _ = twin(xs)
    first, state = twin(xs[:3])
    second, _ = twin(xs[3:], state)
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-6)
    state = None
    for t in range(7):
        output, state = twin.step(xs[t], state)
        assert torch.allclose(output, whole[t], atol=1e-6)
    assert (whole >= 0).all() and not torch.equal(whole, (whole > 0).float())


def test_undamped_resonator_does_not_grow_without_end():
    torch.manual_seed(1)
    outputs, _ = Twin(TCLIF())(torch.randn(3000, 4, 8))
    assert outputs[-500:].abs().mean() < 3 * outputs[:500].abs().mean()


def test_every_parameter_that_is_used_learns():
    net = twin_of(Sequential(nn.Linear(4, 5), TCLIF(shape=(5,), recurrent=5), nn.Linear(5, 2), LeakyIntegrator()))
    outputs, _ = net(torch.randn(6, 3, 4))
    outputs.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())


def test_network_by_name():
    sizes = {"classes": 2, "shape": [2, 16, 16], "channels": [4], "kernels": [3], "strides": [2], "hidden": 8}
    network, twin = build_model("gesture", sizes), build_model("gesture-twin", sizes)
    count = [sum(p.numel() for p in net.parameters()) for net in (network, twin)]
    assert count[0] == count[1] and isinstance(twin.head, Twin) and isinstance(twin.integrator, LeakyIntegrator)
    with plain_scans():
        outputs, state = twin.eval()(torch.rand(4, 2, 2, 16, 16))
        again, _ = twin.step(torch.rand(2, 2, 16, 16), state)
    assert outputs.shape == (4, 2, 2) and again.shape == (2, 2) and bool(outputs.isfinite().all())
    assert twin.initial_state(2, (2, 16, 16)).head.spikes.shape == (2, 8)
