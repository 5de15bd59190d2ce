"""Mixers in time: the laws to the bit, gradients, closed forms, the compiled scan against plain torch."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dvs_snn.nn import Temporal, reset_where
from dvs_snn.nn import attention_ssm as attention_ssm_module
from dvs_snn.nn import linear_attention as linear_attention_module
from dvs_snn.nn import no_reset as no_reset_module
from dvs_snn.nn import ssm as ssm_module
from dvs_snn.nn import wkv as wkv_module
from dvs_snn.nn.attention_ssm import AttentionSSM
from dvs_snn.nn.linear_attention import SpikingLinearAttention, attention_scan
from dvs_snn.nn.no_reset import NoResetLIF
from dvs_snn.nn.parallel_scan import parallel_scan
from dvs_snn.nn.ssm import ComplexSSM, DiagonalSSM, SelectiveSSM
from dvs_snn.nn.token_filter import TokenFilter
from dvs_snn.nn.wkv import WKVMixer, wkv_scan
from tests.temporal_laws import assert_close, check_temporal_laws, leaves

WIDTH = 6
MIXERS: dict[str, Callable[[], Temporal]] = {
    "real": lambda: DiagonalSSM(WIDTH, 3),
    "real, expanded": lambda: DiagonalSSM(WIDTH, 3, expand=2),
    "complex": lambda: ComplexSSM(WIDTH, 3),
    "selective": lambda: SelectiveSSM(WIDTH, 3),
    "wkv": lambda: WKVMixer(WIDTH, 0.5),
    "linear attention": lambda: SpikingLinearAttention(WIDTH, 2),
    "attention in the state space": lambda: AttentionSSM(WIDTH, 3, 2),
    "attention, query from the state": lambda: AttentionSSM(WIDTH, 3, 2, query="state"),
    "token filter": lambda: TokenFilter(WIDTH, 4),
    "token shift": lambda: TokenFilter(WIDTH, 2),
    "no reset": lambda: NoResetLIF(WIDTH),
    "no reset, smooth": lambda: NoResetLIF(WIDTH, smooth=True),
}


def make(name: str) -> Any:
    return MIXERS[name]().double()


def inputs(time: int = 9, batch: int = 3) -> Tensor:
    return 2 * torch.randn(time, batch, WIDTH, dtype=torch.float64)


@pytest.mark.parametrize("name", MIXERS)
def test_laws_hold_to_the_bit(name: str) -> None:
    check_temporal_laws(make(name), inputs())


@pytest.mark.parametrize("name", MIXERS)
@torch.no_grad()
def test_a_document_inside_a_scan_is_a_new_document(name: str) -> None:
    mixer, xs = make(name), inputs()
    first = torch.zeros(9, 3, dtype=torch.bool)
    first[4, 1] = first[7, 1] = first[0, 2] = first[5, 2] = True
    whole, end = mixer(xs, None, first)
    assert_close(whole[:, 0], mixer(xs)[0][:, 0], 0)
    assert_close(whole[:4, 1], mixer(xs[:4])[0][:, 1], 0)
    assert_close(whole[4:7, 1], mixer(xs[4:7])[0][:, 1], 0)
    assert_close(whole[7:, 1], mixer(xs[7:])[0][:, 1], 0)
    state, rows = None, []
    for t, x in enumerate(xs):  # the same by steps: a state that is reset before a beginning
        state = reset_where(state, first[t])
        y, state = mixer.step(x, state)
        rows.append(y)
    assert_close(torch.stack(rows), whole, 0)
    kept = [leaf[1:] for leaf in leaves(end)]
    assert_close(kept, [leaf[1:] for leaf in leaves(state)], 0)


@pytest.mark.parametrize("name", [name for name in MIXERS if name not in ("linear attention", "no reset")])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    mixer, xs = make(name), inputs(6, 2).requires_grad_()
    first = torch.rand(6, 2) < 0.3
    parameters = dict(mixer.named_parameters())

    def run(xs: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(parameters, values, strict=True))
        ys, state = torch.func.functional_call(mixer, named, (xs[:3], None, first[:3]))
        more, _ = torch.func.functional_call(mixer, named, (xs[3:], state, first[3:]))
        return ys, more

    assert torch.autograd.gradcheck(run, (xs, *parameters.values()))


def test_gradients_of_the_attention_matrix() -> None:
    q, k, v = (torch.randn(5, 2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    matrix = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    decay = torch.rand(2, dtype=torch.float64, requires_grad=True)
    first = torch.rand(5, 2) < 0.3
    assert torch.autograd.gradcheck(lambda *a: attention_scan(*a, first), (q, k, v, matrix, decay))


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("name", MIXERS)
def test_the_compiled_scan_is_that_of_other_devices(
    name: str, documents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixer, xs = make(name), inputs(13).requires_grad_()
    with torch.no_grad():
        _, state = mixer(inputs(5))
    first = torch.rand(13, 3) < 0.3 if documents else None
    weights = [*mixer.parameters(), xs]

    def scanned() -> list[Any]:
        ys, end = mixer(xs, state, first)
        loss = (ys * torch.arange(ys.shape[-1]).cos()).sum()
        return [ys, end, torch.autograd.grad(loss, weights, materialize_grads=True)]

    found = scanned()
    modules = (ssm_module, wkv_module, linear_attention_module, attention_ssm_module, no_reset_module)
    for module in modules:
        monkeypatch.setattr(module, "compiled", lambda xs: False)
    for mine, other in zip(found, scanned(), strict=True):
        assert_close(mine, other, 1e-11)


@pytest.mark.parametrize("time", [1, 2, 3, 8, 9])
@torch.no_grad()
def test_a_parallel_scan_is_the_loop(time: int) -> None:
    xs, begin = torch.randn(time, 2, 4, dtype=torch.complex128), torch.randn(2, 4, dtype=torch.complex128)
    every, first = torch.rand(time, 2, 4, dtype=torch.complex128), torch.rand(time, 2) < 0.3
    for decay, starts in ((every, first), (every, None), (every[:1], first), (every[:1, :1], None)):
        h, hs = begin, []
        for t, x in enumerate(xs):
            h = h if starts is None else h.masked_fill(starts[t].unsqueeze(1), 0)
            h = decay[t if len(decay) > 1 else 0] * h + x
            hs.append(h)
        assert_close(parallel_scan(xs, decay, begin, starts), torch.stack(hs), 1e-13)


@torch.no_grad()
def test_a_filter_is_a_sum_over_the_newest_tokens() -> None:
    token_filter = TokenFilter(WIDTH, 3).double()
    assert_close(token_filter.taps.sum(0), torch.ones(WIDTH, dtype=torch.float64), 1e-7)
    token_filter.taps.copy_(torch.randn(3, WIDTH))
    xs, (w0, w1, w2) = inputs(4, 2), token_filter.taps
    expected = [w0 * xs[0], w0 * xs[1] + w1 * xs[0], *(w0 * xs[t] + w1 * xs[t - 1] + w2 * xs[t - 2] for t in (2, 3))]
    assert_close(token_filter(xs)[0], torch.stack(expected), 1e-15)


@torch.no_grad()
def test_a_real_state_space_is_a_sum_of_exponentials() -> None:
    space = DiagonalSSM(2, 3).double()
    xs = torch.zeros(20, 1, 2, dtype=torch.float64)
    xs[0] = 1
    decay = torch.exp(-torch.exp(space.log_rate))
    ages = torch.arange(20.0, dtype=torch.float64).view(-1, 1, 1)
    kernel = (space.out * (1 - decay) * decay**ages).sum(1)
    kernel[0] += space.skip
    assert_close(space(xs)[0][:, 0], kernel, 1e-14)


@torch.no_grad()
def test_a_constant_input_meets_the_gain_of_each_state() -> None:
    space = DiagonalSSM(1, 4).double()
    ys, _ = space(torch.ones(6000, 1, 1, dtype=torch.float64))
    assert ys[-1].item() == pytest.approx((space.skip + space.out.sum()).item(), rel=1e-9)


@torch.no_grad()
def test_a_complex_state_space_turns_at_its_frequency() -> None:
    space = ComplexSSM(1, 1, (0.1, 0.1)).double()
    space.frequency.fill_(2 * math.pi)
    space.log_damping.fill_(math.log(0.5))
    space.skip.zero_()
    xs = torch.zeros(40, 1, 1, dtype=torch.float64)
    xs[0] = 1
    decay, gain = space.coefficients()
    ages = torch.arange(40.0, dtype=torch.float64)
    expected = (gain * torch.exp(torch.log(decay) * ages)).real.flatten()
    assert_close(space(xs)[0].flatten(), expected, 1e-13)
    assert space(xs)[0][30].item() / space(xs)[0][20].item() == pytest.approx(math.exp(-0.5), rel=1e-6)  # one turn


@torch.no_grad()
def test_selection_forgets_at_a_large_step_and_waits_at_a_small_one() -> None:
    space = SelectiveSSM(1, 1).double()
    space.skip.zero_()
    space.out.fill_(1.0)
    last = space.select[-1]
    last.weight.zero_()
    xs = torch.tensor([3.0, 5.0], dtype=torch.float64).view(2, 1, 1)
    last.bias.fill_(50.0)
    assert_close(space(xs)[0], xs, 1e-12)
    last.bias.fill_(-50.0)
    assert space(xs)[0].abs().max() < 1e-12


@torch.no_grad()
def test_wkv_is_the_weighted_average_of_all_values() -> None:
    k, v = inputs(7, 1), inputs(7, 1)
    w, u = -torch.rand(WIDTH, dtype=torch.float64), torch.randn(WIDTH, dtype=torch.float64)
    zeros = torch.zeros(1, WIDTH, dtype=torch.float64)
    found, _ = wkv_scan(k, v, (zeros, zeros, zeros), w, u)
    for t in range(7):
        weights = [torch.exp(w * (t - 1 - i) + k[i]) for i in range(t)] + [torch.exp(u + k[t])]
        expected = sum(weight * v[i] for i, weight in enumerate(weights)) / sum(weights)
        assert_close(found[t], expected, 1e-12)


@torch.no_grad()
def test_wkv_survives_keys_of_any_size() -> None:
    """Exponentials of 1e4 would overflow: a mean stays between the smallest and the largest value."""
    k = 1e4 * torch.randn(50, 2, WIDTH, dtype=torch.float64)
    v = torch.randn(50, 2, WIDTH, dtype=torch.float64)
    zeros = torch.zeros(2, WIDTH, dtype=torch.float64)
    found, _ = wkv_scan(k, v, (zeros, zeros, zeros), -torch.ones(WIDTH).double(), torch.zeros(WIDTH).double())
    assert torch.isfinite(found).all()
    assert (found <= v.max()).all() and (found >= v.min()).all()


@torch.no_grad()
def test_linear_attention_is_the_sum_over_pairs() -> None:
    q, k, v = (torch.randn(6, 1, 1, 4, dtype=torch.float64) for _ in range(3))
    decay = torch.tensor([0.8], dtype=torch.float64)
    found, _ = attention_scan(q, k, v, torch.zeros(1, 1, 4, 4, dtype=torch.float64), decay)
    for t in range(6):
        expected = sum(0.8 ** (t - i) * (q[t, 0, 0] @ k[i, 0, 0]) * v[i, 0, 0] for i in range(t + 1))
        assert_close(found[t, 0, 0], expected, 1e-12)


@torch.no_grad()
def test_queries_keys_and_values_of_linear_attention_are_spikes() -> None:
    mixer = SpikingLinearAttention(8, 2).double()
    mixer.decay_logit.fill_(100.0)  # nothing fades: S counts how often two neurons fired together
    _, state = mixer(3 * torch.randn(30, 2, 8, dtype=torch.float64))
    assert_close(state.matrix, state.matrix.round(), 1e-9)
    assert state.matrix.max() > 0


@torch.no_grad()
def test_attention_sees_its_window_and_no_further() -> None:
    mixer = AttentionSSM(WIDTH, window=3, states=1).double()
    seen = []
    original = attention_ssm_module.window_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, oldest: Tensor) -> Tensor:
        found = original(q, k, v, oldest)
        for t in range(len(q)):
            places = range(int(oldest[t, 0]), t + len(k) - len(q) + 1)
            scores = torch.stack([q[t, 0] @ k[i, 0] for i in places]) / math.sqrt(WIDTH)
            expected = sum(
                w * v[i, 0] for w, i in zip(torch.softmax(scores, 0), places, strict=True)
            )  # by the definition
            assert_close(found[t, 0], expected, 1e-12)
            seen.append(len(places))
        return found

    attention_ssm_module.window_attention = spy
    try:
        mixer(inputs(7, 1))
    finally:
        attention_ssm_module.window_attention = original
    assert seen == [1, 2, 3, 4, 4, 4, 4]


@torch.no_grad()
def test_without_a_reset_the_membrane_is_a_closed_form() -> None:
    neuron = NoResetLIF(1, beta=0.5, threshold=1.0).double()
    xs = torch.randn(12, 1, 1, dtype=torch.float64)
    powers = torch.tensor([[0.5 ** (t - i) if i <= t else 0.0 for i in range(12)] for t in range(12)]).double()
    membrane = powers @ xs.flatten()
    assert torch.equal(neuron(xs)[0].flatten(), (membrane > 1).double())
    smooth = NoResetLIF(1, beta=0.5, threshold=1.0, smooth=True).double()
    assert_close(smooth(xs)[0].flatten(), torch.nn.functional.gelu(membrane - 1), 1e-12)
