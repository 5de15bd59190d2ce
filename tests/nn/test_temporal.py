"""The laws of time, for every neuron and for networks of them."""

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from dvs_snn.nn import LIF, TCLIF, LeakyIntegrator, Sequential, Temporal, detach, reset_where
from tests.nn.neuron_cases import CASES, N, currents, make

TIME, BATCH = 9, 3


def network() -> Sequential:
    torch.manual_seed(1)
    layers = (nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), LIF(), nn.Flatten(), nn.Linear(3 * N, N))
    return Sequential(*layers, TCLIF(recurrent=N), LeakyIntegrator()).double().eval()


def subject(name: str) -> tuple[Temporal, Tensor]:
    if name == "Sequential":
        return network(), 3 * torch.rand(TIME, BATCH, 2, 4, 6, dtype=torch.float64)
    neuron = make(name)
    return neuron, currents(neuron, TIME, BATCH, N)


def tensors(state: object) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [t for part in state for t in tensors(part)]  # type: ignore[attr-defined]


def close(a: object, b: object) -> bool:
    """Equal, but for the last bits: a matrix product may add up in another order when more steps are folded into it."""
    pairs = zip(tensors(a), tensors(b), strict=True)
    return all(torch.allclose(x, y, rtol=1e-12, atol=1e-12) for x, y in pairs)


def equal(a: object, b: object) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


SUBJECTS = [*CASES, "Sequential"]


@pytest.mark.parametrize("name", SUBJECTS)
def test_scan_equals_folded_step(name: str) -> None:
    model, xs = subject(name)
    same = close if name == "Sequential" else equal
    ys, end = model(xs)
    state = model.initial_state(BATCH, tuple(xs.shape[2:]))
    rows = []
    for x in xs:
        y, state = model.step(x, state)
        rows.append(y)
    assert same(torch.stack(rows), ys)
    assert same(state, end)
    assert ys.abs().sum() > 0


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("cut", [1, 4, TIME - 1])
def test_chunks_equal_whole(name: str, cut: int) -> None:
    model, xs = subject(name)
    same = close if name == "Sequential" else equal
    whole, end = model(xs)
    first, state = model(xs[:cut])
    second, state = model(xs[cut:], state)
    assert same(torch.cat([first, second]), whole)
    assert same(state, end)


@pytest.mark.parametrize("name", SUBJECTS)
def test_future_leaves_past(name: str) -> None:
    model, xs = subject(name)
    before, _ = model(xs)
    changed = xs.clone()
    changed[5:] += 1
    after, _ = model(changed)
    assert torch.equal(before[:5], after[:5])


@pytest.mark.parametrize("name", SUBJECTS)
def test_rows_are_independent(name: str) -> None:
    model, xs = subject(name)
    before, _ = model(xs)
    changed = xs.clone()
    changed[:, 1] += 1
    after, _ = model(changed)
    assert close(before[:, [0, 2]], after[:, [0, 2]])
    alone, _ = model(xs[:, 1:2])
    assert close(alone[:, 0], before[:, 1])


@pytest.mark.parametrize("name", SUBJECTS)
def test_reset_touches_only_its_rows(name: str) -> None:
    model, xs = subject(name)
    _, state = model(xs)
    mask = torch.tensor([False, True, False])
    new = reset_where(state, mask)
    assert type(new) is type(state)
    for tensor, old in zip(tensors(new), tensors(state), strict=True):
        assert torch.equal(tensor[[0, 2]], old[[0, 2]])
        assert not tensor[1].any()
    fresh, _ = model(xs)
    going_on, _ = model(xs, new)
    assert close(going_on[:, 1], fresh[:, 1])


@pytest.mark.parametrize("name", SUBJECTS)
def test_survives_save_and_load(name: str) -> None:
    model, xs = subject(name)
    _, state = model(xs[:4])
    expected, _ = model(xs[4:], state)
    parameters = load(save({k: v.clone() for k, v in model.state_dict().items()}))
    numbered = load(save({str(n): t.detach().clone() for n, t in enumerate(tensors(state))}))
    other, _ = subject(name)
    other.load_state_dict(parameters)
    again = rebuild(state, iter(numbered[str(n)] for n in range(len(numbered))))
    continued, _ = other(xs[4:], again)
    assert torch.equal(continued, expected)


def rebuild(state: object, saved: object) -> object:
    if isinstance(state, Tensor):
        return next(saved)  # type: ignore[call-overload]
    parts = [rebuild(part, saved) for part in state]  # type: ignore[attr-defined]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def test_detach_cuts_the_graph_and_keeps_values() -> None:
    model, xs = subject("Sequential")
    _, state = model(xs.requires_grad_())
    assert any(t.requires_grad for t in tensors(state))
    cut = detach(state)
    assert not any(t.requires_grad for t in tensors(cut))
    assert equal(cut, state)


def test_no_gradient_through_reset_rows() -> None:
    neuron = make("TCLIF")
    xs = currents(neuron, 4, 2, N).requires_grad_()
    _, state = neuron(xs)
    ys, _ = neuron(xs.detach(), reset_where(state, torch.tensor([True, False])))
    ys.sum().backward()
    assert xs.grad is not None
    assert not xs.grad[:, 0].any()
    assert xs.grad[:, 1].any()


def test_sequential_knows_its_shapes_without_running() -> None:
    model = network().train()
    statistics = model[1].running_mean.clone()
    assert model.output_shape((2, 4, 6)) == (N,)
    states = model.initial_state(5, (2, 4, 6))
    assert [tuple(t.shape) for t in tensors(states)] == [(5, 3, 2, 3), (5, N), (5, N), (5, N), (5, N)]
    assert torch.equal(model[1].running_mean, statistics)


def test_state_of_another_batch_is_refused() -> None:
    neuron = make("LIF")
    state = neuron.initial_state(1, (N,))
    with pytest.raises(ValueError, match="does not fit"):
        neuron(currents(neuron, 2, 3, N), state)
