"""A ring buffer is a pure delay."""

import pytest
import torch

from dvs_snn.errors import ConfigError
from dvs_snn.nn.delays import RingBuffer, Taps
from tests.temporal_laws import check_temporal_laws


@pytest.mark.parametrize("length", [0, 1, 3, 20])
def test_output_is_the_input_that_many_steps_ago(length: int) -> None:
    xs = torch.randn(12, 3, 2)
    ys, _ = RingBuffer(length)(xs)
    assert torch.equal(ys[length:], xs[: max(0, 12 - length)])
    assert ys[:length].abs().sum() == 0


@pytest.mark.parametrize("length", [0, 2, 5])
def test_laws_of_streaming(length: int) -> None:
    check_temporal_laws(RingBuffer(length), torch.rand(12, 3, 2, 4))


def test_state_does_not_keep_the_chunk_alive() -> None:
    _, past = RingBuffer(2)(torch.randn(1000, 1, 3))
    assert past.values.untyped_storage().nbytes() == past.values.numel() * 4


def test_the_future_is_refused() -> None:
    with pytest.raises(ConfigError, match="future"):
        RingBuffer(-1)


def test_taps_show_the_past_beside_the_present() -> None:
    xs = torch.randn(9, 2, 3, 4)
    ys, _ = Taps((0, 2, 5))(xs)
    assert torch.equal(ys[:, :, :3], xs)
    assert torch.equal(ys[2:, :, 3:6], xs[:-2])
    assert torch.equal(ys[5:, :, 6:], xs[:-5])
    assert ys[:5, :, 6:].abs().sum() == 0


@pytest.mark.parametrize("delays", [(0,), (1, 4), (0, 2, 5)])
def test_taps_obey_the_laws_of_streaming(delays: tuple[int, ...]) -> None:
    check_temporal_laws(Taps(delays), torch.rand(12, 3, 2, 4))


@pytest.mark.parametrize("delays", [(), (0, -1)])
def test_impossible_taps_are_refused(delays: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="taps"):
        Taps(delays)
