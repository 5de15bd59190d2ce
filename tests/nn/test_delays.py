"""A ring buffer is a pure delay."""

import pytest
import torch

from dvs_snn.errors import ConfigError
from dvs_snn.nn.delays import RingBuffer
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
