"""A small language and small models of it, for tests."""

from pathlib import Path

import numpy as np
import torch

from dvs_snn.models import build_model
from dvs_snn.text import DOCUMENT, LANGUAGE, Characters, TextModel, load_text_model, save_text_model, text_recipe_from

SIZES = {"width": 16, "layers": 2, "hidden": 32, "states": 4}
ABC = "abcdefgh \n"


def chant(length: int = 4000, seed: int = 0) -> str:
    """Lines in which each letter is followed by the next of the alphabet, or by a space: easy to foresee."""
    rng = np.random.default_rng(seed)
    words = ["abcdefgh"[start : start + size] for start, size in rng.integers((0, 2), (5, 5), size=(length // 4, 2))]
    lines = [" ".join(words[k : k + 6]) for k in range(0, len(words), 6)]
    return "\n".join(lines)[:length] + "\n"


def save_tiny(path: Path, seed: int = 3, **changes: object) -> Path:
    """An untrained language model, its weights large enough that what it foresees changes with what it read."""
    torch.manual_seed(seed)
    tokenizer = Characters(ABC)
    network = build_model("text", {**SIZES, "vocabulary": tokenizer.size, **changes})
    with torch.no_grad():
        network.head.weight.mul_(30)
        if not network.config.classes:
            network.head.bias[DOCUMENT] = -40.0  # it goes on
    save_text_model(path, LANGUAGE, "text", network, tokenizer, (), {})
    return path


def tiny_model(path: Path, **changes: object) -> TextModel:
    return load_text_model(save_tiny(path, **changes))


def tiny_recipe(path: Path, **changes: object):
    sections = {
        "name": "tiny",
        "model_config": SIZES,
        "data": {"path": str(path), "length": 16, "updates": 10},
        "optimizer": {"lr": 0.01},
        "train": {"epochs": 2, "batch": 4, "ema": 0.0, "threads": 1, "log_every": 1},
    }
    return text_recipe_from({**sections, **changes})
