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
from dvs_snn.pipeline.decisions import (
    Decider,
    Decision,
    Gesture,
    GestureDecider,
    HeatDecider,
    TracksDecider,
    recording_label,
    softmax,
)
from dvs_snn.pipeline.pipeline import DECIDERS, Pipeline, decider_of, heat_cell_px
from dvs_snn.pipeline.runtime import RUNTIMES, ClusterRuntime, EventRuntime, Runtime, TorchRuntime
from dvs_snn.tracking import Track, Tracks

__all__ = [
    "DECIDERS",
    "RUNTIMES",
    "Checkpoint",
    "ClusterRuntime",
    "Decider",
    "Decision",
    "DecisionConfig",
    "EventRuntime",
    "Gesture",
    "GestureDecider",
    "HeatDecider",
    "Pipeline",
    "PipelineConfig",
    "Runtime",
    "TorchRuntime",
    "Track",
    "Tracks",
    "TracksDecider",
    "decider_of",
    "heat_cell_px",
    "load_checkpoint",
    "open_pipeline",
    "recording_label",
    "save_checkpoint",
    "shipped_checkpoints",
    "softmax",
]
