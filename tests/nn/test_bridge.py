"""The attention bridge against a literal transcription of its equations, and the laws of streaming."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.nn import bridge
from dvs_snn.nn.bridge import ASAB, DeformableTimewiseConv, TimewiseConv
from tests.temporal_laws import check_temporal_laws

VARIANTS = [
    pytest.param({}, id="default"),
    pytest.param({"score_scale": "none", "rate_source": "attention"}, id="published-scale-attention-rate"),
    pytest.param({"deformable": True}, id="deformable"),
    pytest.param({"spacing": 2, "bins": 3}, id="every-second-bin"),
]


def spikes(time: int, batch: int, channels: int, height: int, width: int, rate: float = 0.2) -> Tensor:
    return (torch.rand(time, batch, channels, height, width) < rate).double()


def build(bins: int = 4, kernel_size: int = 5, **options: object) -> ASAB:
    asab = ASAB(bins, kernel_size, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():  # away from the special values of the start
        for parameter in asab.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return asab


def literal(asab: ASAB, xs: Tensor) -> Tensor:
    """SAT and ERS window by window, bin by bin, with Q, K and V built: nothing shared, nothing clever."""
    bins = asab.bins
    out = torch.zeros_like(xs)
    time, batch, channels, height, width = xs.shape
    for t in range(time):
        for b in range(batch):
            for c in range(channels):
                seen = [t - (bins - 1 - j) * asab.convolution.spacing for j in range(bins)]
                window = [xs[s, b, c] if s >= 0 else torch.zeros_like(xs[0, b, c]) for s in seen]
                a_sc = []
                for j, spike_map in enumerate(window):
                    kernel = asab.convolution.weight[j]
                    radius = kernel.shape[-1] // 2
                    padded = F.pad(spike_map, (radius,) * 4)
                    response = torch.zeros_like(spike_map)
                    for dy in range(kernel.shape[0]):
                        for dx in range(kernel.shape[1]):
                            response += kernel[dy, dx] * padded[dy : dy + height, dx : dx + width]
                    a_sc.append(response.flatten())
                a = torch.stack(a_sc)  # [T, HW]
                q, k, v = asab.query @ a, asab.key @ a, asab.value @ a
                score = q @ k.T
                if asab.score_scale != "none":
                    score = score * asab.score_gain / (height * width) ** 0.5
                attended = torch.softmax(score, dim=1) @ v
                rate = attended.sum(0) if asab.rate_source == "attention" else torch.stack(window).sum(0).flatten()
                gate = 1 / (1 + torch.exp(-(asab.rate_gain * rate + asab.rate_offset)))
                out[t, b, c] = (gate * (asab.collapse @ attended)).view(height, width)
    return out


@pytest.mark.parametrize("source", ["spikes", "attention"])
@pytest.mark.parametrize("scale", ["learned", "fixed", "none"])
@pytest.mark.parametrize("spacing", [1, 3])
def test_equals_the_equations_written_out(spacing: int, scale: str, source: str) -> None:
    asab = build(spacing=spacing, bins=4 if spacing == 1 else 2, score_scale=scale, rate_source=source)
    xs = spikes(6, 2, 2, 4, 5)
    assert (asab(xs)[0] - literal(asab, xs)).abs().max() < 1e-12


@pytest.mark.parametrize("options", VARIANTS)
def test_laws_of_streaming(options: dict) -> None:
    # Products of another number of rows may be summed in another order by the BLAS: hence not quite to the bit.
    check_temporal_laws(build(**options), spikes(9, 3, 2, 6, 5), tolerance=1e-12)


def test_large_maps_take_the_convolution_and_agree_with_the_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    asab = build(bins=3)
    xs = spikes(5, 2, 2, 7, 6)
    expected = asab(xs)[0]
    monkeypatch.setattr(bridge, "MATRIX_PIXELS", 0)
    assert (asab(xs)[0] - expected).abs().max() < 1e-12
    check_temporal_laws(asab, spikes(7, 3, 2, 7, 6), tolerance=1e-12)


def test_blocks_of_time_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    asab = build()
    xs = spikes(11, 2, 3, 5, 5)
    expected = asab(xs)[0]
    gradient = torch.autograd.grad(expected.square().sum(), list(asab.parameters()))
    monkeypatch.setattr(bridge, "BLOCK_ELEMENTS", 2 * 4 * xs[0].numel())
    assert (asab(xs)[0] - expected).abs().max() < 1e-12
    blocked = torch.autograd.grad(asab(xs)[0].square().sum(), list(asab.parameters()))
    for one, other in zip(gradient, blocked, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS)
def test_gradients_are_those_of_finite_differences(options: dict) -> None:
    asab = build(**{"bins": 3, "kernel_size": 3, **options})
    xs = torch.rand(4, 1, 2, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: asab(x)[0], (xs,), atol=1e-6)
    parameters = [parameter for parameter in asab.parameters() if parameter.requires_grad]
    loss = asab(xs)[0].square().sum()
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                parameter.add_(direction, alpha=sign * 1e-6)
                ends.append(asab(xs)[0].square().sum())
                parameter.add_(direction, alpha=-sign * 1e-6)
        assert torch.isclose((ends[0] - ends[1]) / 2e-6, (gradient * direction).sum(), rtol=1e-5, atol=1e-7)


def test_deformable_with_zero_offsets_equals_plain() -> None:
    plain, deformable = TimewiseConv(3).double(), DeformableTimewiseConv(3).double()
    with torch.no_grad():
        deformable.weight.copy_(plain.weight)
    history = torch.randn(6, 4, 7, 5, dtype=torch.double)
    assert (plain.responses(history) - deformable.responses(history)).abs().max() < 1e-12


def test_deformable_tap_reads_where_its_offset_points() -> None:
    conv = DeformableTimewiseConv(1, 3).double()
    with torch.no_grad():
        conv.weight.zero_()[0, 1, 1] = 1.0  # the centre tap alone
        conv.offset[0].bias[4] = 1.0  # dy of the centre tap: one pixel down
        conv.offset[0].bias[9 + 4] = -2.5  # dx: two and a half pixels to the left
    image = torch.randn(1, 1, 6, 8, dtype=torch.double)
    seen = conv.responses(image).view(6, 8)
    assert torch.allclose(seen[2, 5], (image[0, 0, 3, 2] + image[0, 0, 3, 3]) / 2)
    assert seen[5].abs().max() == 0  # below the last row there is nothing


def test_offsets_are_learned_from_the_first_step() -> None:
    asab = ASAB(3, deformable=True)
    asab(spikes(4, 2, 2, 5, 5).float())[0].square().sum().backward()
    assert all(layer.weight.grad.abs().max() > 0 for layer in asab.convolution.offset)


@pytest.mark.parametrize("options", VARIANTS)
def test_attention_rows_are_distributions_over_keys(options: dict) -> None:
    asab = build(**options)
    attention = asab.attention(torch.randn(7, asab.bins, 30, dtype=torch.double))
    assert torch.allclose(attention.sum(1), torch.ones(asab.bins, 7, dtype=torch.double))
    assert attention.min() >= 0


def test_gate_halves_at_most_until_its_offset_is_learned() -> None:
    asab = ASAB(3).double()
    xs = spikes(5, 1, 2, 6, 6, rate=0.5)
    gated = asab(xs)[0]
    with torch.no_grad():
        asab.rate_offset.fill_(50.0)
    open_gate = asab(xs)[0]
    ratio = gated[open_gate.abs() > 1e-9] / open_gate[open_gate.abs() > 1e-9]
    assert ratio.min() >= 0.5 and ratio.max() < 1.0
    with torch.no_grad():
        asab.rate_offset.fill_(-50.0)
    assert asab(xs)[0].abs().max() < 1e-9


def test_silence_in_is_silence_out() -> None:
    assert build()(torch.zeros(6, 2, 3, 5, 5, dtype=torch.double))[0].abs().max() == 0


def test_window_is_forgotten_after_its_length() -> None:
    asab = build(bins=4)
    xs = torch.zeros(8, 1, 1, 5, 5, dtype=torch.double)
    xs[1, 0, 0, 2, 2] = 1.0
    active = asab(xs)[0].abs().amax((1, 2, 3, 4)) > 0
    assert active.tolist() == [False, True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 0}, "bins"),
        ({"spacing": 0}, "spacing"),
        ({"kernel_size": 4}, "odd"),
        ({"score_scale": "sqrt"}, "score_scale"),
        ({"rate_source": "both"}, "rate_source"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ASAB(**options)
