"""Networks by name: gesture, tracker, digits, text; backbones and heads.

May import `nn` and `representation`; every network is a `Temporal`.
"""

from dvs_snn.models.backbone import spiking_backbone
from dvs_snn.models.digits import DigitsConfig, DigitsNet
from dvs_snn.models.gesture import GestureConfig, GestureNet
from dvs_snn.models.hybrid import HybridNet, HybridState
from dvs_snn.models.nmnist import NMNISTConfig, NMNISTNet
from dvs_snn.models.registry import MODELS, TWIN, build_model, config_dict, model_config
from dvs_snn.models.text import TextConfig, TextNet, TextState
from dvs_snn.models.tracker import TrackerConfig, TrackerNet

__all__ = [
    "MODELS",
    "TWIN",
    "DigitsConfig",
    "DigitsNet",
    "GestureConfig",
    "GestureNet",
    "HybridNet",
    "HybridState",
    "NMNISTConfig",
    "NMNISTNet",
    "TextConfig",
    "TextNet",
    "TextState",
    "TrackerConfig",
    "TrackerNet",
    "build_model",
    "config_dict",
    "model_config",
    "spiking_backbone",
]
