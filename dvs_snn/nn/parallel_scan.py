"""A linear recurrence over time in few parallel rounds, for devices where a loop over time is slow."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

from dvs_snn.nn.documents import First


def parallel_scan(
    xs: Shaped[Tensor, "time batch *shape"],
    decay: Shaped[Tensor, "steps rows *shape"],
    begin: Shaped[Tensor, batch * shape],
    first: First | None = None,
) -> Shaped[Tensor, "time batch *shape"]:
    """`h_t = a_t h_{t-1} + x_t` for all t at once, real or complex; `begin` is h before the first step.

    ⌈log2 time⌉ rounds, each joining what lies 1, 2, 4 … steps apart (Hillis & Steele 1986): the same sums as step by
    step in another order. `decay` is one for all (`steps` 1) or one for each; h begins at 0 where `first` is true.
    """
    time = len(xs)
    if first is not None:
        decay = decay.expand(time, *begin.shape).masked_fill(first.view(*first.shape, *(1,) * (xs.dim() - 2)), 0)
    hs = torch.cat([xs[:1] + decay[:1] * begin, xs[1:]])
    apart = 1
    while apart < time:
        if len(decay) == 1:
            hs, decay = torch.cat([hs[:apart], hs[apart:] + decay * hs[:-apart]]), decay * decay
        else:
            hs = torch.cat([hs[:apart], hs[apart:] + decay[apart:] * hs[:-apart]])
            decay = torch.cat([decay[:apart], decay[apart:] * decay[:-apart]])
        apart *= 2
    return hs
