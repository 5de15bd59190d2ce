"""Published data sets as recordings, from the folders that people have them in; nothing is copied or converted first.

A loader recognises Tonic's layout and the origin's own, says what to get where nothing is found, and calls by a
published name only what a check sum proves. May import `events` and `learning.recordings`.
"""

from dvs_snn.learning.data.cochlea import COCHLEA, CochleaRecordings, SHDConfig, SSCConfig
from dvs_snn.learning.data.dvs128 import DVS128Config, DVS128Gestures
from dvs_snn.learning.data.folder import FolderConfig, LabelledFolder
from dvs_snn.learning.data.nmnist import NMNISTConfig, NMNISTRecordings
from dvs_snn.learning.data.tonic_door import TonicRecordings

__all__ = [
    "COCHLEA",
    "CochleaRecordings",
    "DVS128Config",
    "DVS128Gestures",
    "FolderConfig",
    "LabelledFolder",
    "NMNISTConfig",
    "NMNISTRecordings",
    "SHDConfig",
    "SSCConfig",
    "TonicRecordings",
]
