"""A tiny untrained network as a checkpoint, for tests of the commands."""

from pathlib import Path

import torch

from dvs_snn.events import Sensor
from dvs_snn.events.simulate import GESTURES
from dvs_snn.models import build_model
from dvs_snn.pipeline import DecisionConfig, PipelineConfig, save_checkpoint
from dvs_snn.representation import EventCounts

SIZES = {
    "shape": [2, 16, 16],
    "channels": [4, 4],
    "kernels": [3, 3],
    "strides": [2, 2],
    "bridge_bins": 3,
    "block_channels": [8],
    "hidden": 16,
}


def save_tiny(path: Path, sensor: Sensor = Sensor(128, 128)) -> Path:  # noqa: B008
    """Weights large enough that decisions change with the scene, thresholds low enough that there are decisions."""
    torch.manual_seed(3)
    model = build_model("gesture", SIZES)
    with torch.no_grad():
        model.train()
        for _ in range(20):  # settle the normalisation, so that the neurons fire
            model(torch.poisson(torch.full((8, 4, 2, 16, 16), 0.3)))
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and ("readout" in name or "shortcut" in name):
                weight.mul_(12.0)
    config = PipelineConfig(
        model="gesture",
        labels=GESTURES,
        model_config=SIZES,
        sensor=sensor,
        representation=EventCounts(pool=sensor.width // 16),
        decision=DecisionConfig(smoothing_us=20_000, threshold=0.15, release=0.1, warmup_us=20_000, min_rate_hz=0.0),
    )
    save_checkpoint(path, config, model, {})
    return path
