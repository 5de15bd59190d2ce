"""Counts and their codes, generalised integrate and fire, a Transformer block by spikes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.count_neuron import CODES, Code, SpikeCount, code_steps, decode, encode, spiking_linear
from dvs_snn.nn.equivalents import (
    QuantisedBlock,
    expectation_spikes,
    quantised,
    spiking_matmul,
    spiking_silu,
    spiking_softmax,
)
from dvs_snn.nn.gif import GIF, MicroSteps, allocate_steps, saliency
from tests.temporal_laws import assert_close, check_temporal_laws

NEURONS = {
    "count": lambda: SpikeCount(),
    "count, three bits": lambda: SpikeCount(2.0, limit=7),
    "GIF": lambda: GIF(3, 0.5),
    "GIF, leaky and signed": lambda: GIF(2, 0.7, 0.8, signed=True),
    "GIF in micro-steps": lambda: MicroSteps(GIF(1, 0.5, signed=True), torch.tensor([1, 2, 3, 1, 1, 2])),
}


@pytest.mark.parametrize("name", NEURONS)
def test_laws_hold_to_the_bit(name: str) -> None:
    check_temporal_laws(NEURONS[name]().double(), torch.randn(9, 3, 6, dtype=torch.float64))


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=20), st.sampled_from(CODES))
def test_a_code_gives_back_its_counts(values: list[int], code: Code) -> None:
    counts = torch.tensor(values, dtype=torch.float64)
    counts = counts.abs() if code == "binary" else counts
    spikes = encode(counts, code)
    allowed = {"binary": {0.0, 1.0}, "twos_complement": {0.0, 1.0}}.get(code, {-1.0, 0.0, 1.0})
    assert set(spikes.unique().tolist()) <= allowed
    assert torch.equal(decode(spikes, code), counts)


@pytest.mark.parametrize(("code", "steps"), [("binary", 255), ("ternary", 255), ("bitwise", 8), ("twos_complement", 9)])
def test_bits_need_logarithmically_many_steps(code: Code, steps: int) -> None:
    assert code_steps(255, code) == steps
    assert len(encode(torch.tensor([255.0]), code)) == steps


def test_what_a_code_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigError, match="no sign"):
        encode(torch.tensor([-1.0]), "binary")
    with pytest.raises(ConfigError, match="whole"):
        encode(torch.tensor([0.5]), "bitwise")
    with pytest.raises(ConfigError, match="need 3 steps"):
        encode(torch.tensor([5.0]), "bitwise", steps=2)


@pytest.mark.parametrize("code", ["ternary", "bitwise", "twos_complement"])
def test_a_linear_map_fed_by_spikes_is_the_map_of_the_counts(code: Code) -> None:
    neuron, linear = SpikeCount(), nn.Linear(8, 5).double()
    counts, threshold = neuron.counts(torch.randn(4, 8, dtype=torch.float64))
    expected = linear(counts * threshold)
    assert_close(spiking_linear(linear, counts, threshold, code), expected, 1e-12)


def test_counts_round_to_the_nearest_multiple_of_the_threshold() -> None:
    x = torch.tensor([[0.2, -0.4, 1.0, 2.4]], dtype=torch.float64, requires_grad=True)
    counts, threshold = SpikeCount(k=2.0).counts(x)
    assert threshold.item() == pytest.approx(0.5)  # mean 1.0 over k
    assert counts.tolist() == [[0.0, -1.0, 2.0, 5.0]]
    (counts * threshold).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, torch.ones_like(x))


def test_gif_with_one_level_is_integrate_and_fire() -> None:
    xs = torch.full((10, 1, 1), 0.25, dtype=torch.float64)
    sent, _ = GIF(1, 1.0).double()(xs)
    assert sent.flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]


def test_gif_sends_all_it_gets() -> None:
    """Nothing is lost: what is sent and what is left is the input."""
    xs = torch.rand(50, 2, 3, dtype=torch.float64)
    sent, state = GIF(3, 0.4).double()(xs)
    assert_close(sent.sum(0) + state.membrane, xs.sum(0), 1e-12)
    assert state.membrane.max() < 0.4


def test_more_levels_need_fewer_steps_for_the_same_number() -> None:
    x = torch.full((1, 1), 2.75, dtype=torch.float64)
    assert MicroSteps(GIF(3, 0.25), 4).double().step(x)[0].item() == 2.75  # 11 = 3 + 3 + 3 + 2
    assert MicroSteps(GIF(1, 0.25), 4).double().step(x)[0].item() == 1.0


def test_gradient_of_the_staircase_is_one_inside_and_zero_outside() -> None:
    x = torch.tensor([[-0.5, 0.5, 3.5, 4.5]], dtype=torch.float64, requires_grad=True)
    GIF(3, 1.0).double().step(x)[0].sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[0.0, 1.0, 1.0, 0.0]]


def test_salient_channels_get_the_steps_and_the_error_falls() -> None:
    inputs = torch.randn(200, 10, dtype=torch.float64)
    inputs[:, 3] *= 20
    linear = nn.Linear(10, 4, bias=False).double()
    steps = allocate_steps(saliency(linear, inputs), share=0.1, steps=8)
    assert steps.tolist() == [8 if channel == 3 else 1 for channel in range(10)]
    plain, salient = (MicroSteps(GIF(7, 0.5, signed=True), s).double() for s in (1, steps))
    errors = [(linear(neuron.step(inputs)[0]) - linear(inputs)).square().mean() for neuron in (plain, salient)]
    assert errors[1] < errors[0] / 5


def test_the_expectation_neuron_is_rounding_to_eight_bits() -> None:
    x = torch.randn(6, 7, dtype=torch.float64)
    counts, scale = quantised(x)
    assert torch.equal(expectation_spikes(x, scale).sum(0), counts)
    assert torch.equal(expectation_spikes(x, scale), encode(counts, "ternary", 127))
    assert (counts.abs().amax(-1) == 127).all()


def test_products_and_functions_of_spikes_telescope() -> None:
    q, k = (torch.randint(-1, 2, (9, 5, 4)).double() for _ in range(2))
    products = spiking_matmul(q, k)
    assert torch.equal(products.sum(0), q.sum(0) @ k.sum(0).mT)
    scores = products * 0.1
    assert_close(spiking_softmax(scores).sum(0), torch.softmax(scores.sum(0), -1), 1e-14)
    assert_close(spiking_silu(scores).sum(0), nn.functional.silu(scores.sum(0)), 1e-14)


@torch.no_grad()
def test_a_transformer_block_by_spikes_is_the_quantised_block() -> None:
    block = QuantisedBlock(16, 32, heads=4, key_heads=2, bias=True).double()
    x = torch.randn(12, 16, dtype=torch.float64)
    assert_close(block.spiking(x), block(x), 1e-10)
    changed = torch.cat([x[:8], 30 * torch.randn(4, 16, dtype=torch.float64)])
    assert torch.equal(block(changed)[:8], block(x)[:8]), "the future changes nothing"
    fine = QuantisedBlock(16, 32, heads=4, key_heads=2, bias=True, limit=1 << 14).double()
    fine.load_state_dict(block.state_dict())
    whole = fine(x)  # nearly without rounding: what 8 bits cost
    error = (block(x) - whole).square().mean() / (whole - x).square().mean()
    assert 0 < error < 1e-3
