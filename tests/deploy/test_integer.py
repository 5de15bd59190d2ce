"""The integer network: equal to fake-quantised torch, a law-abiding layer in time, closed forms, exact counts."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.deploy import ConvLIF, IntReference, LoihiPackage, fake_parts, integer_parts, quantize, split
from dvs_snn.deploy.integer import IntegerBackbone, IntegerHead
from dvs_snn.deploy.integer_kernel import kept, wrap
from dvs_snn.errors import PackageError
from dvs_snn.models import GestureNet
from tests.deploy.conftest import clips, counts


@pytest.mark.parametrize("exponent", [None, 0, 2, 4])
def test_equals_fake_quantised_torch_spike_for_spike(network: GestureNet, exponent: int | None) -> None:
    layers = quantize(network, clips(), exponent).layers
    parts = split(deepcopy(network).double())
    xs = counts(60, 3, 7).double()
    with torch.inference_mode():
        _, _, spikes, fired = parts.with_parts(*integer_parts(layers)).trace(xs)
        _, _, wanted, wanted_fired = parts.with_parts(*fake_parts(layers, rounded=True)).trace(xs)
    assert spikes.sum() > 1000 and fired.sum() > 50
    assert torch.equal(spikes, wanted)
    assert torch.equal(fired, wanted_fired)


def test_unrounded_states_change_few_spikes(network: GestureNet) -> None:
    layers = quantize(network, clips(), 3).layers
    parts = split(deepcopy(network).double())
    xs = counts(60, 3, 7).double()
    with torch.inference_mode():
        spikes = parts.with_parts(*integer_parts(layers)).trace(xs)[2]
        free = parts.with_parts(*fake_parts(layers)).trace(xs)[2]
    assert (spikes != free).sum() < 1e-3 * spikes.sum()


def test_streaming_laws(package: LoihiPackage, network: GestureNet) -> None:
    net = split(network).with_parts(*integer_parts(package.layers))
    xs = counts(20, 3, 5)
    with torch.inference_mode():
        whole, end = net(xs)
        state, outputs = None, []
        for x in xs:
            y, state = net.step(x, state)
            outputs.append(y)
        assert (torch.stack(outputs) - whole).abs().max() < 1e-4
        assert state is not None and torch.equal(end.backbone[1], state.backbone[1])
        first, middle = net.trace(xs[:7])[1:3]
        second = net.trace(xs[7:], first)[2]
        assert torch.equal(torch.cat([middle, second]), net.trace(xs)[2])
        alone = net.trace(xs[:, 1:2])[2]
        assert torch.equal(alone, net.trace(xs)[2][:, 1:2])


def test_reference_is_the_integer_network(package: LoihiPackage) -> None:
    convolutions = [layer for layer in package.layers if isinstance(layer, ConvLIF)]
    reference = IntReference(package.layers)
    frames = package.golden.frames[:20].astype(np.int32)
    backbone, head = integer_parts(package.layers)
    assert isinstance(backbone, IntegerBackbone) and isinstance(head, IntegerHead)
    spikes, _ = backbone(torch.from_numpy(frames)[:, None].float())
    for frame, wanted in zip(frames, spikes[:, 0].numpy(), strict=True):
        assert np.array_equal(reference.step(frame), wanted)
    assert [count.steps for count in reference.counts[: len(convolutions)]] == [20] * len(convolutions)


def test_operations_are_inputs_times_their_targets(package: LoihiPackage) -> None:
    """The count against a convolution of ones over what is not zero."""
    layer = next(layer for layer in package.layers if isinstance(layer, ConvLIF))
    reference = IntReference(package.layers)
    frame = package.golden.frames[5].astype(np.int32)
    reference.step(frame)
    ones = torch.from_numpy((layer.mantissas != 0).astype(np.float64))
    active = torch.from_numpy((frame != 0).astype(np.float64))[None]
    wanted = torch.nn.functional.conv2d(active, ones, stride=layer.stride, padding=layer.padding).sum()
    assert reference.counts[0].operations == int(wanted)


def test_constant_input_fires_at_the_closed_form(package: LoihiPackage) -> None:
    """Without decay, bias and weights other than one: a spike each ceil(threshold / input) steps, after its excess."""
    one = np.zeros((1, 1, 1, 1), np.int8) + 10
    vector = [np.array([value], np.int32) for value in (0, 100, 0)]
    layer = ConvLIF("one", 0, 0, one, *vector, np.ones(1), 1, 0, (1, 1, 1))
    reference = IntReference([layer])
    times = [t for t in range(60) if reference.step(np.ones((1, 1, 1), np.int32))[0, 0, 0]]
    assert np.diff(times).tolist() == [6] * 9  # 5 * 20 is the threshold itself: strictly above it fires
    assert times[0] == 5


@given(st.integers(-(2**23) + 1, 2**23 - 1), st.integers(0, 4096))
def test_products_are_rounded_toward_zero(state: int, factor: int) -> None:
    exact = state * factor / 4096
    assert kept(state, factor) == int(exact)


@given(st.integers(-(2**18), 2**18))
def test_sums_wrap_in_24_bits(total: int) -> None:
    found = wrap(total)
    if abs(total << 6) <= 3 * 2**22:
        assert (found - (total << 6)) % 2**24 == 0
        assert -(2**23) < found <= 2**23


def test_large_states_saturate_and_are_counted() -> None:
    weight = np.zeros((1, 1, 1, 1), np.int8) - 127
    vector = [np.array([value], np.int32) for value in (0, 131071, 0)]
    layer = ConvLIF("down", 6, 0, weight, *vector, np.ones(1), 1, 0, (1, 1, 1))
    reference = IntReference([layer])
    for _ in range(20):
        reference.step(np.ones((1, 1, 1), np.int32))
    assert reference.membranes[0].item() == -(2**23) + 1
    assert reference.counts[0].saturated > 0


def test_calibration_that_is_missing_is_refused(network: GestureNet) -> None:
    with pytest.raises(PackageError, match="calibration"):
        quantize(network, [])
    with pytest.raises(PackageError, match="exponent"):
        quantize(network, clips(), 9)


def test_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PackageError, match="gesture network"):
        quantize(torch.nn.Linear(2, 2), clips())


def test_pruned_weights_stay_zero(network: GestureNet, package: LoihiPackage) -> None:
    pruned = quantize(network, clips(), prune=0.5)
    for layer, other in zip(pruned.layers, package.layers, strict=True):
        assert np.mean(layer.mantissas == 0) >= 0.49
        assert np.mean(other.mantissas == 0) < np.mean(layer.mantissas == 0)
