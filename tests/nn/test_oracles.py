"""Neurons against other implementations and against their equations written out once more."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dvs_snn.nn import CUBALIF, LIF, PLIF, TCLIF, AdLIF, ATan, FastSigmoid, Sigmoid, SuperSpike, Surrogate, Triangle
from dvs_snn.nn.surrogate import Rectangle, SlayerExponential

TIME, BATCH, N = 30, 4, 25


SINGLE = 2e-6
"""snnTorch's spikes, and so its gradients, are float32 whatever the membrane is."""


def both(ours: Any, theirs: Any, xs: Tensor, tolerance: float = 1e-10) -> tuple[Tensor, Tensor]:
    """Spikes of both and gradients of the same loss: equal."""
    weight = torch.randn_like(xs)
    found = []
    for scan in (ours, theirs):
        leaf = xs.clone().requires_grad_()
        spikes = scan(leaf)
        (spikes * weight).sum().backward()
        assert leaf.grad is not None
        found.append((spikes.detach(), leaf.grad))
    (spikes, grad), (their_spikes, their_grad) = found
    assert torch.equal(spikes, their_spikes)
    assert 0.02 < spikes.mean() < 0.8
    assert torch.allclose(grad, their_grad, rtol=tolerance, atol=tolerance * float(grad.abs().max()))
    return spikes, grad


def over_time(cell: Any, state: Any) -> Any:
    def scan(xs: Tensor) -> Tensor:
        rows, now = [], state(xs[0])
        for x in xs:
            spikes, *now = cell(x, *now)
            rows.append(spikes)
        return torch.stack(rows)

    return scan


def drive() -> Tensor:
    """Below twice the threshold: there snnTorch with an immediate reset would subtract once more in the next step."""
    return 0.7 * torch.rand(TIME, BATCH, N, dtype=torch.float64) - 0.1


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("delay", [True, False])
def test_snntorch_leaky(reset: str, delay: bool) -> None:
    snntorch = pytest.importorskip("snntorch")
    cell = snntorch.Leaky(beta=0.75, reset_mechanism=reset, reset_delay=delay).double()
    neuron = LIF(
        0.75,
        reset={"subtract": "soft", "zero": "zero", "none": "none"}[reset],  # type: ignore[arg-type]
        reset_timing="next" if delay else "same",
        detach_reset=delay,
        surrogate=ATan(2.0),
    ).double()
    both(lambda xs: neuron(xs)[0], over_time(cell, lambda x: [torch.zeros_like(x)]), drive(), SINGLE)


def test_snntorch_synaptic() -> None:
    snntorch = pytest.importorskip("snntorch")
    cell = snntorch.Synaptic(alpha=0.5, beta=0.75).double()
    neuron = CUBALIF(0.5, 0.75, reset_timing="next").double()
    both(
        lambda xs: neuron(xs)[0],
        over_time(cell, lambda x: [torch.zeros_like(x), torch.zeros_like(x)]),
        0.5 * drive(),
        SINGLE,
    )


@pytest.mark.parametrize("v_reset", [0.0, None])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("detach", [True, False])
def test_spikingjelly_lif(v_reset: float | None, decay_input: bool, detach: bool) -> None:
    spikingjelly = pytest.importorskip("spikingjelly.activation_based.neuron")
    node = spikingjelly.LIFNode(
        tau=2.0, decay_input=decay_input, v_reset=v_reset, detach_reset=detach, step_mode="m"
    ).double()
    neuron = LIF(
        0.5,
        reset="soft" if v_reset is None else "zero",
        detach_reset=detach,
        scale_input=decay_input,
        surrogate=Sigmoid(4.0),
    ).double()

    def theirs(xs: Tensor) -> Tensor:
        node.reset()
        return node(xs)

    both(lambda xs: neuron(xs)[0], theirs, 2.5 * drive())


def test_spikingjelly_plif() -> None:
    spikingjelly = pytest.importorskip("spikingjelly.activation_based.neuron")
    node = spikingjelly.ParametricLIFNode(init_tau=3.0, step_mode="m").double()
    neuron = PLIF(3.0, detach_reset=False, surrogate=Sigmoid(4.0)).double()
    with torch.no_grad():
        node.w.copy_(neuron.decay_logit)

    def theirs(xs: Tensor) -> Tensor:
        node.reset()
        return node(xs)

    both(lambda xs: neuron(xs)[0], theirs, 4 * drive())
    assert torch.allclose(neuron.decay_logit.grad, node.w.grad)  # type: ignore[arg-type]


def test_tclif_is_its_equations() -> None:
    neuron = TCLIF(0.4, -0.6, threshold=1.2, gamma=0.5).double()
    triangle = Triangle(1.0).double()
    c1 = neuron.c1.detach().clone().requires_grad_()
    c2 = neuron.c2.detach().clone().requires_grad_()

    def equations(xs: Tensor) -> Tensor:
        dendrite = soma = torch.zeros_like(xs[0])
        spikes = []
        for x in xs:
            dendrite = dendrite - torch.sigmoid(c1) * soma + x
            soma = soma + torch.sigmoid(c2) * dendrite
            s = triangle(soma - 1.2)
            dendrite = dendrite - 0.5 * s
            soma = soma - 1.2 * s
            spikes.append(s)
        return torch.stack(spikes)

    with torch.no_grad():
        neuron.threshold.fill_(1.2)  # the buffer was made in float32
    both(lambda xs: neuron(xs)[0], equations, drive())
    assert torch.allclose(neuron.c1.grad, c1.grad)  # type: ignore[arg-type]
    assert torch.allclose(neuron.c2.grad, c2.grad)  # type: ignore[arg-type]


def test_adlif_is_its_equations() -> None:
    neuron = AdLIF((N,), recurrent=N).double()
    assert neuron.recurrent is not None
    weight = neuron.recurrent.weight.detach()
    spike = SlayerExponential().double()
    a, b = neuron.a.detach(), neuron.b.detach()
    d_u = torch.exp(-1 / (5 + 20 * neuron.place_u.detach()))
    d_w = torch.exp(-1 / (60 + 240 * neuron.place_w.detach()))

    def equations(xs: Tensor) -> Tensor:
        u = w = z = torch.zeros_like(xs[0])
        spikes = []
        for x in xs:
            u = d_u * u + (1 - d_u) * (x + z @ weight.t() - w)
            z = spike(u - 1)
            u = u * (1 - z.detach())
            w = d_w * w + (1 - d_w) * 120 * (a * u + b * z)
            spikes.append(z)
        return torch.stack(spikes)

    both(lambda xs: neuron(xs)[0], equations, 60 * drive())


def test_adlif_parameters_stay_in_their_ranges() -> None:
    neuron = AdLIF((N,))
    with torch.no_grad():
        for parameter in neuron.parameters():
            parameter.add_(torch.randn(N))
    neuron(torch.randn(2, 1, N))
    assert all(p.min() >= 0 and p.max() <= high for p, high in zip(neuron.parameters(), (1, 2, 1, 1), strict=True))


SNNTORCH = [(ATan(1.5), "atan", 1.5), (FastSigmoid(10.0), "fast_sigmoid", 10.0)]
SPIKINGJELLY = [
    (ATan(1.5), "ATan", {"alpha": 1.5}),
    (Sigmoid(3.0), "Sigmoid", {"alpha": 3.0}),
    (SuperSpike(1.5), "SuperSpike", {"alpha": 1.5}),
    (Rectangle(0.5), "Rect", {"alpha": 1.0}),
]


def gradient(spike: Any, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    spike(leaf).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize(("ours", "name", "slope"), SNNTORCH)
def test_snntorch_surrogates(ours: Surrogate, name: str, slope: float) -> None:
    module = pytest.importorskip("snntorch.surrogate")
    x = torch.linspace(-3, 3, 401)
    assert torch.allclose(gradient(ours, x), gradient(getattr(module, name)(slope), x), rtol=1e-5)


@pytest.mark.parametrize(("ours", "name", "options"), SPIKINGJELLY)
def test_spikingjelly_surrogates(ours: Surrogate, name: str, options: dict[str, float]) -> None:
    module = pytest.importorskip("spikingjelly.activation_based.surrogate")
    if not hasattr(module, name):
        pytest.skip(f"this version has no {name}")
    x = torch.linspace(-3, 3, 402)
    assert torch.allclose(gradient(ours, x), gradient(getattr(module, name)(**options), x), rtol=1e-5, atol=1e-7)
