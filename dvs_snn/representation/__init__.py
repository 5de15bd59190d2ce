"""A window becomes a map: counts, voxel grid, time surface; sparse until a layer wants it dense.

numpy and torch; may import `events` only. Each representation is a frozen dataclass, so its configuration, equality and
repr come free and it can be written into a checkpoint.
"""

from dvs_snn.representation.maps import ChannelCounts, EventCounts, Representation, TimeSurface, VoxelGrid
from dvs_snn.representation.sparse import SparseMap, dense_batch

__all__ = ["ChannelCounts", "EventCounts", "Representation", "SparseMap", "TimeSurface", "VoxelGrid", "dense_batch"]
