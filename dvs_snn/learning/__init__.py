"""Data sets become clips, clips train networks: losses, rules, metrics, trainer. May import `pipeline` and below.

A `Recipe` decides a run; a `RecordingSet` gives labelled recordings; `ClipLoader` makes batches of them; a
`LearningRule` changes the network by each; `Trainer` does it for epochs; `evaluate` judges the result.
"""

from dvs_snn.learning.augment import MIRRORED, Augmentation, Augments
from dvs_snn.learning.augment_cochlea import CochleaAugmentation
from dvs_snn.learning.clips import Clip, collate, encode_clip, encode_windows
from dvs_snn.learning.data import LabelledFolder
from dvs_snn.learning.datasets import DATASETS, SIMULATED, DataConfig, data_in, open_data
from dvs_snn.learning.evaluate import decisions_of, evaluate, scan_recordings
from dvs_snn.learning.loader import ClipConfig, ClipLoader, Encoding
from dvs_snn.learning.losses import CrossEntropy, Loss
from dvs_snn.learning.metrics import classification, confusion_matrix, wilson_interval
from dvs_snn.learning.optimizers import Muon, OptimizerConfig
from dvs_snn.learning.recipe import Recipe, data_config, load_recipe, recipe_from, shipped_recipes
from dvs_snn.learning.recordings import ListedRecordings, Recording, RecordingSet, RecordingView
from dvs_snn.learning.rules import (
    BPTT,
    RULES,
    SLTT,
    LearningRule,
    RuleConfig,
    SpikeRates,
    TruncatedBPTT,
)
from dvs_snn.learning.simulated import SimulatedGestures, SimulatedGesturesConfig
from dvs_snn.learning.tasks import EventTask, Task, TrainingRecipe
from dvs_snn.learning.team import Team
from dvs_snn.learning.trainer import Trainer

__all__ = [
    "BPTT",
    "DATASETS",
    "MIRRORED",
    "RULES",
    "SIMULATED",
    "SLTT",
    "Augmentation",
    "Augments",
    "Clip",
    "ClipConfig",
    "ClipLoader",
    "CochleaAugmentation",
    "CrossEntropy",
    "DataConfig",
    "Encoding",
    "EventTask",
    "LabelledFolder",
    "LearningRule",
    "ListedRecordings",
    "Loss",
    "Muon",
    "OptimizerConfig",
    "Recipe",
    "Recording",
    "RecordingSet",
    "RecordingView",
    "RuleConfig",
    "SimulatedGestures",
    "SimulatedGesturesConfig",
    "SpikeRates",
    "Task",
    "Team",
    "Trainer",
    "TrainingRecipe",
    "TruncatedBPTT",
    "classification",
    "collate",
    "confusion_matrix",
    "data_config",
    "data_in",
    "decisions_of",
    "encode_clip",
    "encode_windows",
    "evaluate",
    "load_recipe",
    "open_data",
    "recipe_from",
    "scan_recordings",
    "shipped_recipes",
    "wilson_interval",
]
