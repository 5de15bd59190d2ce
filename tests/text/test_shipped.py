"""The language model that ships: loads, foresees real text better than the recurrent network without spikes."""

from pathlib import Path

import pytest
import torch

from dvs_snn.text import load_text_model


def test_the_shipped_model_is_a_small_spiking_language_model() -> None:
    model = load_text_model("text")
    assert sum(parameter.numel() for parameter in model.network.parameters()) < 0.72e6
    assert {"command", "seed", "trained_on", "validation"} <= set(model.metrics)
    assert model.metrics["validation"]["loss"] < 1.65


@pytest.mark.data
@torch.inference_mode()
def test_the_shipped_model_foresees_the_held_out_text(data_dir: Path) -> None:
    """Windows of 64 characters from rest, all over the last tenth of tinyshakespeare, which it never saw."""
    model = load_text_model("text")
    text = (data_dir / "text" / "tinyshakespeare" / "input.txt").read_text()
    numbers = torch.from_numpy(model.tokenizer.encode(text[-len(text) // 10 :]))
    starts = torch.arange(0, len(numbers) - 65, 440)
    windows = numbers[starts + torch.arange(65).unsqueeze(1)]
    logits, _ = model.network(windows[:-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[1:].flatten())
    assert loss < 1.72
