"""A task that tiny networks learn in seconds: a bar that moves to the right (class 0) or to the left (class 1)."""

from typing import Any

import numpy as np

from dvs_snn.events import Events, Sensor, make_events
from dvs_snn.learning import ListedRecordings, Recipe, Recording, recipe_from

SENSOR = Sensor(16, 16)
LABELS = ("right", "left")
BIN_US = 10_000


def moving_bar(label: int, seed: int, seconds: float) -> Events:
    """A leading ON edge and a trailing OFF edge two pixels behind, with noise; speed and phase from the seed."""
    rng = np.random.default_rng(seed)
    count, noise = int(3750 * seconds), int(375 * seconds)
    t = np.sort(rng.integers(0, int(seconds * 1e6), count + noise))
    position = (rng.uniform(60, 90) * t * 1e-6 + rng.uniform(0, 16)) % 16
    on = rng.random(count + noise) < 0.5
    x = np.floor(position - np.where(on, 0, 2)).astype(int) % 16
    x = x if label == 0 else 15 - x
    random = rng.permutation(count + noise) < noise
    x = np.where(random, rng.integers(0, 16, count + noise), x)
    return make_events(t, x, rng.integers(0, 16, count + noise), on)


def bars(
    count: int, seed: int = 0, split: str = "train", shuffled: bool = False, seconds: float = 0.2
) -> ListedRecordings:
    """`shuffled`: exactly half of each class carries the other's label."""
    labels = np.arange(count) // 2 % 2 if shuffled else np.arange(count) % 2
    recordings = [Recording(moving_bar(i % 2, seed + i, seconds), int(labels[i]), f"{split}{i}") for i in range(count)]
    return ListedRecordings(recordings, LABELS, SENSOR, "moving bars", split)


def tiny_recipe(**sections: Any) -> Recipe:
    """A run of seconds on `bars`."""
    return recipe_from(
        {
            "name": "tiny",
            "seed": 3,
            "pipeline": {
                "labels": LABELS,
                "sensor": {"width": 16, "height": 16},
                "bin_us": BIN_US,
                "representation": {"name": "EventCounts", "pool": 1},
                "model": "gesture",
                "model_config": {
                    "classes": 2, "shape": [2, 16, 16], "channels": [8, 8], "kernels": [5, 3], "strides": [2, 2],
                    "bridge_bins": 3, "block_channels": [8], "hidden": 16, "dropout": 0.1,
                },
                "decision": {"warmup_us": 30_000, "smoothing_us": 50_000},
            },
            "data": {"name": "simulated_gestures"},
            "clips": {"seconds": [0.1, 0.14], "warmup_s": 0.03, "splice": 0.2, "settle_s": 0.03},
            "optimizer": {"lr": 0.03},
            "train": {"epochs": 2, "batch": 8, "log_every": 1, "threads": 1, "ema": 0.9},
            **sections,
        }
    )  # fmt: skip
