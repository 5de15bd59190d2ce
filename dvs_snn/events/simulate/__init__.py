"""A camera to simulate: rendered scenes and a model of the sensor that watches them.

`DvsModel` turns frames of intensity into events; `simulate_gesture` puts an articulated person before it,
`simulate_shapes` moving shapes with exact boxes. numpy, scipy and numba only; imports `events` alone. Everything is
decided by a seed.
"""

from dvs_snn.events.simulate.dvs import DvsConfig, DvsModel
from dvs_snn.events.simulate.gestures import GESTURES, gesture_index, simulate_gesture, simulate_gesture_sequence
from dvs_snn.events.simulate.shapes import simulate_shapes
from dvs_snn.events.simulate.shapes_config import ShapesConfig
from dvs_snn.events.simulate.shapes_truth import ShapesTruth

__all__ = [
    "GESTURES",
    "DvsConfig",
    "DvsModel",
    "ShapesConfig",
    "ShapesTruth",
    "gesture_index",
    "simulate_gesture",
    "simulate_gesture_sequence",
    "simulate_shapes",
]
