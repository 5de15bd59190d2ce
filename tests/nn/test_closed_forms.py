"""What a neuron must do where its answer is known on paper."""

import math

import pytest
import torch

from dvs_snn.errors import ConfigError
from dvs_snn.nn import (
    CUBALIF,
    LIF,
    PLIF,
    TCLIF,
    AdLIF,
    ATan,
    FastSigmoid,
    LeakyIntegrator,
    Rectangle,
    Sigmoid,
    SlayerExponential,
    SuperSpike,
    Surrogate,
    Triangle,
)

SHAPES = [ATan, FastSigmoid, Triangle, Sigmoid, Rectangle, SlayerExponential, SuperSpike]


def constant(value: float, steps: int) -> torch.Tensor:
    return torch.full((steps, 1, 1), value, dtype=torch.float64)


def test_lif_below_threshold_settles_and_is_silent() -> None:
    neuron = LIF(0.75).double()
    spikes, state = neuron(constant(0.24, 200))  # fixed point x / (1 - β) = 0.96
    assert not spikes.any()
    assert state.membrane.item() == pytest.approx(0.96)


@pytest.mark.parametrize("drive", [0.3, 0.5, 0.9])
def test_lif_with_zero_reset_has_the_period_of_its_closed_form(drive: float) -> None:
    beta = 0.75
    spikes, _ = LIF(beta, reset="zero").double()(constant(drive, 300))
    # u(n) = x (1 - βⁿ) / (1 - β) passes 1 first at this n
    period = math.floor(math.log(1 - (1 - beta) / drive) / math.log(beta)) + 1
    times = spikes.flatten().nonzero().flatten()
    assert times[0].item() == period - 1
    assert (times.diff() == period).all()


def test_perfect_integrator_with_soft_reset_fires_at_the_input_rate() -> None:
    spikes, state = LIF(1.0).double()(constant(0.3, 1000))
    assert spikes.sum().item() + state.membrane.item() == pytest.approx(300)
    assert spikes.mean().item() == pytest.approx(0.3, abs=2e-3)


@pytest.mark.parametrize("make", [LIF, PLIF, CUBALIF, TCLIF])
def test_a_membrane_at_threshold_is_silent(make: type) -> None:
    neuron = make(threshold=1.0).double()
    state = neuron.initial_state(1, (1,))
    for part in state:
        part.zero_()
    if make is LIF:
        spikes, _ = neuron.step(torch.ones(1, 1, dtype=torch.float64), state)
        assert spikes.item() == 0
        spikes, _ = neuron.step(torch.full((1, 1), 1 + 1e-12, dtype=torch.float64), state)
        assert spikes.item() == 1
    else:
        spikes, _ = neuron.step(torch.zeros(1, 1, dtype=torch.float64), state)
        assert spikes.item() == 0


def test_leaky_integrator_is_a_geometric_filter() -> None:
    neuron = LeakyIntegrator(0.5).double()
    impulse = torch.zeros(10, 1, 1, dtype=torch.float64)
    impulse[0] = 1
    ys, _ = neuron(impulse)
    assert torch.equal(ys.flatten(), 0.5 ** torch.arange(10, dtype=torch.float64))
    total, _ = LeakyIntegrator(1.0).double()(constant(0.25, 16))
    assert total[-1].item() == 4


def test_cuba_current_decays_and_the_membrane_follows_it() -> None:
    neuron = CUBALIF(0.5, 0.25, reset="none").double()
    impulse = torch.zeros(6, 1, 1, dtype=torch.float64)
    impulse[0] = 1
    _, state = neuron(impulse)
    expected = sum(0.25 ** (5 - t) * 0.5**t for t in range(6))
    assert state.current.item() == 0.5**5
    assert state.membrane.item() == pytest.approx(expected, rel=1e-15)


def silent_orbit(c1: float, c2: float, steps: int, leak: float = 1.0) -> tuple[torch.Tensor, TCLIF]:
    """Largest |U| in a silent run from U_D = 1, per hundred steps."""
    neuron = TCLIF(c1, c2, threshold=1e9, leak=leak).double()
    with torch.no_grad():
        neuron.threshold.fill_(1e9)
    state = neuron.initial_state(1, (1,))
    state.dendrite.fill_(1.0)
    rows = []
    for _ in range(steps // 100):
        _, state = neuron(torch.zeros(100, 1, 1, dtype=torch.float64), state)
        rows.append(math.hypot(state.dendrite.item(), state.soma.item()))
    return torch.tensor(rows), neuron


@pytest.mark.parametrize(("c1", "c2"), [(0.0, 0.0), (1.5, -0.5), (-1.4, 1.4), (1.4, 1.4)])
def test_tclif_silent_orbit_neither_dies_nor_explodes(c1: float, c2: float) -> None:
    """The two shears keep β2 U_D² + |β1| U_S² - |β1| β2 U_D U_S: the orbit is an ellipse."""
    orbit, neuron = silent_orbit(c1, c2, 10_000)
    to_dendrite = torch.sigmoid(neuron.c1).item()
    to_soma = torch.sigmoid(neuron.c2).item()
    form = torch.tensor([[to_soma, -to_dendrite * to_soma / 2], [-to_dendrite * to_soma / 2, to_dendrite]])
    values = torch.linalg.eigvalsh(form)
    bounds = (to_soma / values.flip(0)).sqrt()  # radii of the ellipse through (1, 0)
    assert orbit.max() < 1.1 * bounds.max()
    assert orbit.min() > bounds.min() / 1.1
    shear = torch.tensor([[1.0, -to_dendrite], [to_soma, 1 - to_dendrite * to_soma]])
    assert torch.linalg.det(shear).item() == pytest.approx(1, abs=1e-6)
    old_states = torch.tensor([[1.0, -to_dendrite], [to_soma, 1.0]])  # both from the old state: the natural mistake
    assert torch.linalg.eigvals(old_states).abs().max() > 1.05


def test_tclif_leak_shrinks_the_orbit_at_its_own_rate() -> None:
    orbit, _ = silent_orbit(0.0, 0.0, 3000, leak=0.99)
    free, _ = silent_orbit(0.0, 0.0, 3000)
    expected = 0.99 ** torch.arange(100, 3001, 100)
    # the leak is kept as float32, so its 3000th power is off by some 1e-5
    assert torch.allclose(orbit / free, expected, rtol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_surrogate_integrates_to_a_step_or_to_its_named_mass(shape: type[Surrogate]) -> None:
    surrogate = shape().double()
    x = torch.linspace(-40, 40, 800_001, dtype=torch.float64)
    mass = torch.trapezoid(surrogate.derivative(x, surrogate.scale), x).item()
    expected = {FastSigmoid: 2 / 25, SuperSpike: 2.0, SlayerExponential: 0.4}.get(shape, 1.0)
    assert mass == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_learnable_scale_has_the_gradient_of_the_smooth_spike(shape: type[Surrogate]) -> None:
    """d/dscale of F, where F is the running integral of g: compared by finite differences."""
    surrogate = shape(0.8, learnable=True).double()
    x = torch.tensor([-1.2, -0.3, 0.2, 0.5, 1.7], dtype=torch.float64)

    def smooth(scale: float) -> torch.Tensor:
        grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
        g = surrogate.derivative(x[:, None] * grid, torch.tensor(scale, dtype=torch.float64))
        return torch.trapezoid(g, grid, dim=1) * x

    for n in range(len(x)):
        if shape is Rectangle and abs(abs(x[n].item()) - 0.8) < 0.1:
            continue
        surrogate.scale.grad = None
        surrogate(x[n : n + 1]).sum().backward()
        step = 1e-4
        expected = (smooth(0.8 + step) - smooth(0.8 - step))[n] / (2 * step)
        if shape is Rectangle and abs(x[n]) < 0.8:
            expected = -x[n] / (2 * 0.8**2)
        elif shape is Rectangle:
            expected = torch.zeros(())
        assert surrogate.scale.grad is not None
        assert surrogate.scale.grad.item() == pytest.approx(expected.item(), abs=2e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LIF(1.5),
        lambda: LIF(threshold=0.0),
        lambda: LIF(reset="hard"),
        lambda: LIF(reset_timing="later"),
        lambda: PLIF(1.0),
        lambda: CUBALIF(-0.1),
        lambda: TCLIF(leak=1.1),
        lambda: AdLIF((3,), tau_u=(5.0, 1.0)),
        lambda: ATan(0.0),
        lambda: TCLIF(recurrent=-1),
    ],
)
def test_options_out_of_range_are_refused(wrong: object) -> None:
    # annotations are checked at run time in tests, so a wrong literal may be caught there first
    with pytest.raises(Exception, match=r"must|range|needs|'soft'|'same'|recurrent|[Tt]ype-check") as found:
        wrong()  # type: ignore[operator]
    assert isinstance(found.value, ConfigError) or "TypeCheck" in type(found.value).__name__
