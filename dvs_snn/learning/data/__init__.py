"""Published data sets as recordings, from the folders that people have them in; nothing is copied or converted first.

A loader recognises Tonic's layout and the origin's own, says what to get where nothing is found, and calls by a
published name only what a check sum proves. May import `events` and `learning.recordings`.
"""

from dvs_snn.learning.data.cochlea import COCHLEA, CochleaRecordings, SHDConfig, SSCConfig
from dvs_snn.learning.data.folder import FolderConfig, LabelledFolder
from dvs_snn.learning.data.nmnist import NMNISTConfig, NMNISTRecordings

__all__ = [
    "COCHLEA",
    "CochleaRecordings",
    "FolderConfig",
    "LabelledFolder",
    "NMNISTConfig",
    "NMNISTRecordings",
    "SHDConfig",
    "SSCConfig",
]
