"""A map kept as the cells that are not zero: cached, batched and sent so; dense only where a layer wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SparseMap:
    """Values at flat row-major cells of a `[channel, height, width]` map; each cell appears at most once, ascending."""

    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    shape: tuple[int, int, int]

    def dense(self, device: torch.device | str = "cpu") -> Float[Tensor, "channel height width"]:
        """The map as a tensor, scattered on the device."""
        return dense_batch([self], device)[0]

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]


def dense_batch(
    maps: Sequence[SparseMap], device: torch.device | str = "cpu"
) -> Float[Tensor, "n channel height width"]:
    """Several maps of one shape as one tensor; only indices and values travel to the device."""
    shape = maps[0].shape
    size = maps[0].size
    counts = [len(m.indices) for m in maps]
    offsets = np.repeat(np.arange(len(maps), dtype=np.int64) * size, counts)
    flat = np.concatenate([m.indices for m in maps]).astype(np.int64) + offsets
    values = np.concatenate([m.values for m in maps])
    dense = torch.zeros(len(maps) * size, device=device)
    dense[torch.from_numpy(flat).to(device)] = torch.from_numpy(values).to(device)
    return dense.view(len(maps), *shape)
