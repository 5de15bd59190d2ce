"""A recording becomes decisions: configuration, windows, encoding, runtime, decisions, checkpoints.

One `Pipeline` object serves training (`encode`), evaluation, replay and the robot (`push`, `tick`, `run`). May import
`models`, `tracking` and the rooms below them.
"""

from dvs_snn.pipeline.checkpoint import (
    Checkpoint,
    load_checkpoint,
    open_pipeline,
    save_checkpoint,
    shipped_checkpoints,
)
from dvs_snn.pipeline.config import DecisionConfig, PipelineConfig
from dvs_snn.pipeline.decisions import Decision, Gesture, GestureDecider, recording_label, softmax
from dvs_snn.pipeline.pipeline import Pipeline
from dvs_snn.pipeline.runtime import RUNTIMES, Runtime, TorchRuntime

__all__ = [
    "RUNTIMES",
    "Checkpoint",
    "Decision",
    "DecisionConfig",
    "Gesture",
    "GestureDecider",
    "Pipeline",
    "PipelineConfig",
    "Runtime",
    "TorchRuntime",
    "load_checkpoint",
    "open_pipeline",
    "recording_label",
    "save_checkpoint",
    "shipped_checkpoints",
    "softmax",
]
