"""The compiled scans equal the plain ones: spikes and states bit by bit in float64, gradients within rounding."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import (
    LIF,
    TCLIF,
    ATan,
    FastSigmoid,
    LinearNeuron,
    Rectangle,
    Sequential,
    Sigmoid,
    SlayerExponential,
    SuperSpike,
    Triangle,
    buffers,
    fused,
)
from dvs_snn.nn.fused import fused_scan
from dvs_snn.nn.linear_neuron import linear_scan, recurrent_scan
from dvs_snn.nn.recurrent import fused_recurrent_scan
from tests.nn.neuron_cases import CASES, N, currents, make

Results = list[Tensor]


def results(neuron: LinearNeuron, xs: Tensor, compiled: bool, weights: Results, begin: Results) -> Results:
    """Spikes and end states, then the gradients of input, initial states and parameters."""
    neuron.zero_grad()
    xs = xs.clone().requires_grad_()
    u = [state.clone().requires_grad_() for state in begin]
    how = (neuron.coefficients(xs.dtype), neuron.structure, neuron.surrogate, neuron.detach_reset)
    if neuron.recurrent is None:
        ys, end = (fused_scan if compiled else linear_scan)(xs, tuple(u), *how)
    else:
        scan = fused_recurrent_scan if compiled else recurrent_scan
        ys, end = scan(xs, tuple(u[:-1]), u[-1], neuron.recurrent, *how)
    outputs = [ys, *end]
    sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True)).backward()  # type: ignore[union-attr]
    grads = [t.grad if t.grad is not None else torch.zeros_like(t) for t in (xs, *u, *neuron.parameters())]
    return [t.detach() for t in outputs] + grads


def assert_same(neuron: LinearNeuron, xs: Tensor, tolerance: float = 1e-11) -> None:
    shape = xs.shape[1:]
    count = neuron.structure.states
    weights = [torch.randn(xs.shape, dtype=xs.dtype), *(torch.randn(shape, dtype=xs.dtype) for _ in range(count))]
    begin = [0.3 * torch.randn(shape, dtype=xs.dtype) for _ in range(count)]
    if neuron.recurrent is not None:
        begin.append((torch.rand(shape) < 0.3).to(xs.dtype))
    plain = results(neuron, xs, False, weights, begin)
    compiled = results(neuron, xs, True, weights, begin)
    for n, (a, b) in enumerate(zip(plain, compiled, strict=True)):
        if n <= count:
            assert torch.equal(a, b)
        else:
            assert torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(1 + a.abs().max()))


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(CASES)),
    time=st.integers(1, 12),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_equal_to_the_plain_scan(name: str, time: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    neuron = make(name)
    assert_same(neuron, currents(neuron, time, batch, N))


@pytest.mark.parametrize("kernel, padding, bias", [(3, 1, False), (5, 2, True), ((1, 3), "same", True)])
def test_recurrent_maps_equal_the_plain_scan(kernel: int, padding: int, bias: bool) -> None:
    """Maps that hear their own last spikes through a convolution; also without gradients."""
    heard = nn.Conv2d(4, 4, kernel, padding=padding, bias=bias)
    neuron = TCLIF(shape=(4, 1, 1), recurrent=heard).double()
    xs = currents(neuron, 7, 2, 4, 5, 6)
    assert_same(neuron, xs)
    with torch.no_grad():
        quiet, _ = neuron(xs)
    assert torch.equal(quiet, neuron(xs)[0])
    assert 0 < quiet.mean() < 1


def test_recurrent_maps_keep_their_sizes() -> None:
    for wrong in (nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 2)):
        with pytest.raises(ConfigError, match="keeps channels and sides"):
            LIF(recurrent=wrong)


SURROGATES = [ATan(3.0), FastSigmoid(5.0), Triangle(0.7), Sigmoid(), Rectangle(), SlayerExponential(), SuperSpike(2.0)]


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_every_surrogate(surrogate: nn.Module) -> None:
    neuron = make("LIF", surrogate)  # type: ignore[arg-type]
    assert_same(neuron, currents(neuron, 8, 4, 33))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_surrogate_in_the_kernel_is_its_formula(surrogate: nn.Module) -> None:
    """From rest a step of LIF has the membrane x, so the gradient of the spikes is g(x - θ)."""
    neuron = make("LIF", surrogate)  # type: ignore[arg-type]
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64).view(1, 1, -1).requires_grad_()
    ys, _ = neuron(x)
    ys.sum().backward()
    expected = neuron.surrogate.derivative(x.detach() - 1, neuron.surrogate.scale)
    assert x.grad is not None
    assert torch.allclose(x.grad, expected, rtol=1e-12, atol=1e-14)


def test_float32_spikes_are_equal() -> None:
    for name in ("LIF", "TCLIF"):
        neuron = make(name).float()
        xs = currents(neuron, 16, 4, N, 50).float()
        assert_same(neuron, xs, 1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (0, 1, 3, 4, 2), (0, 1, 4, 2, 3), (1, 0, 2, 3, 4)])
def test_any_memory_layout(order: tuple[int, ...]) -> None:
    """Channels last, transposed maps, and batch before time (which has to be copied)."""
    neuron = make("LIF learned")
    shape = (7, 2, 3, 4, 5)
    stored = currents(neuron, *(shape[d] for d in order))
    inverse = [order.index(d) for d in range(5)]
    xs = stored.permute(inverse)
    assert tuple(xs.shape) == shape
    per_channel = LIF(0.7, learn_beta=True, shape=(3, 1, 1)).double()
    for model in (neuron, per_channel):
        for parameter in model.parameters():
            parameter.grad = None
        xs_a = xs.clone(memory_format=torch.preserve_format).requires_grad_()
        xs_b = xs.clone(memory_format=torch.contiguous_format).requires_grad_()
        ys_a, end_a = model(xs_a)
        (ys_a * torch.arange(7.0).view(7, 1, 1, 1, 1)).sum().backward()
        first = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        ys_b, end_b = model(xs_b)
        (ys_b * torch.arange(7.0).view(7, 1, 1, 1, 1)).sum().backward()
        assert torch.equal(ys_a, ys_b)
        assert torch.equal(end_a.membrane, end_b.membrane)
        assert torch.allclose(xs_a.grad, xs_b.grad)  # type: ignore[arg-type]
        for a, p in zip(first, model.parameters(), strict=True):
            assert torch.allclose(a, p.grad)  # type: ignore[arg-type]


def test_threads_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "PARALLEL_ELEMENTS", 1)
    threads = torch.get_num_threads()
    neuron = make("TCLIF")
    xs = currents(neuron, 5, 3, 4000)
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert_same(neuron, xs)
    finally:
        torch.set_num_threads(threads)


def test_pooled_outputs_are_not_overwritten_while_in_use() -> None:
    neuron = LIF()
    xs = torch.randn(8, 4, 16, 32, 32).requires_grad_()
    assert xs.numel() * 4 >= buffers.POOLED_BYTES
    first, _ = neuron(xs)
    kept = first.detach().clone()
    view = first.detach()[3:, 1]
    other, _ = neuron(torch.randn_like(xs))
    assert other.data_ptr() != first.data_ptr()
    (first * first).sum().backward()
    assert torch.equal(first.detach(), kept)
    place = first.data_ptr()
    del first
    gc.collect()
    third, _ = neuron(torch.randn_like(xs))
    assert torch.equal(view, kept[3:, 1])
    assert third.data_ptr() != place  # a view is still looking at it
    del view
    again = [neuron(torch.randn_like(xs.detach()))[0] for _ in range(4)]
    assert place in {tensor.data_ptr() for tensor in again}


def test_saves_nothing_without_gradients() -> None:
    neuron = LIF()
    xs = torch.randn(5, 2, 7)
    ys, state = neuron(xs)
    assert ys.grad_fn is None and not state.membrane.requires_grad
    with torch.no_grad():
        ys, _ = neuron(xs.requires_grad_())
    assert ys.grad_fn is None


def test_half_precision_and_learnable_surrogates_take_the_plain_scan() -> None:
    xs = torch.randn(5, 2, 7)
    ys, _ = LIF()(xs.bfloat16())
    assert ys.dtype == torch.bfloat16
    neuron = TCLIF(surrogate=Triangle(1.0, learnable=True))
    neuron(xs)[0].sum().backward()
    assert neuron.surrogate.scale.grad is not None


def test_second_derivatives_are_refused_not_wrong() -> None:
    xs = torch.randn(3, 2, 4, requires_grad=True)
    ys, _ = LIF()(xs)
    (grad,) = torch.autograd.grad((ys * ys).sum(), xs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_works_inside_a_network_in_channels_last() -> None:
    torch.manual_seed(3)
    plain = Sequential(nn.Conv2d(2, 4, 3), LIF(0.5), nn.Conv2d(4, 4, 3), LIF(0.5)).double()
    xs = 3 * torch.rand(5, 2, 2, 9, 9, dtype=torch.float64)
    expected, _ = plain(xs)
    last = plain.to(memory_format=torch.channels_last)
    folded = xs.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (5, 2))
    found, _ = last(folded)
    assert torch.equal(found, expected)
