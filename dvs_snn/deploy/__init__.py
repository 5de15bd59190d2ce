"""Other machines: integer package and its reference, NIR graph, Lava side-car, energy estimate.

`quantize` makes a `LoihiPackage` of a network, `IntReference` says what it means, other executors must equal it. May
import `pipeline` and below.
"""

from dvs_snn.deploy.export import package_of, quantize, simulated_calibration
from dvs_snn.deploy.fake import fake_parts
from dvs_snn.deploy.integer import IntReference, integer_parts
from dvs_snn.deploy.layers import ConvLIF, RecurrentTCLIF
from dvs_snn.deploy.package import LoihiPackage, load_package
from dvs_snn.deploy.runtime import IntegerRuntime
from dvs_snn.deploy.split import SplitNetwork, split

__all__ = [
    "ConvLIF",
    "IntReference",
    "IntegerRuntime",
    "LoihiPackage",
    "RecurrentTCLIF",
    "SplitNetwork",
    "fake_parts",
    "integer_parts",
    "load_package",
    "package_of",
    "quantize",
    "simulated_calibration",
    "split",
]
