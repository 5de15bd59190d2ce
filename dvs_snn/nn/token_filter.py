"""A short causal filter, channel by channel: `y_t = Σ_a w_a x_{t-a}`, the newest few steps weighted."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.documents import First
from dvs_snn.nn.temporal import State, Temporal


class FilterState(NamedTuple):
    """The inputs before the next one, the newest last, `[batch, taps - 1, width]`."""

    past: Tensor


class TokenFilter(Temporal):
    """Each channel sums its newest `taps` inputs with learned weights (the short convolution of H3: Fu et al. 2023).

    At the start the newest weighs 1 - μ and the one before it μ, 0 to `share` over the channels (the token shift of
    RWKV: Peng et al. 2023); older ones weigh nothing. Raises `ConfigError` for sizes below 1.
    """

    takes_first: ClassVar[bool] = True

    def __init__(self, width: int, taps: int = 2, share: float = 0.5) -> None:
        super().__init__()
        if min(width, taps) < 1:
            raise ConfigError(f"token filter: width and taps are at least 1, got {width}, {taps}")
        weights = torch.zeros(taps, width)
        weights[0] = 1
        if taps > 1:
            weights[1] = torch.linspace(0.0, share, width)
            weights[0] -= weights[1]
        self.taps = nn.Parameter(weights)

    def initial_state(self, batch: int, shape: tuple[int, ...]) -> FilterState:
        return FilterState(self.taps.new_zeros(batch, len(self.taps) - 1, *self.output_shape(shape)))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if tuple(shape) != tuple(self.taps.shape[1:]):
            raise ConfigError(f"token filter: built for {self.taps.shape[1]} channels, not {tuple(shape)}")
        return tuple(shape)

    def forward(
        self, xs: Float[Tensor, "time batch width"], state: State | None = None, first: First | None = None
    ) -> tuple[Float[Tensor, "time batch width"], FilterState]:
        if state is None:
            state = self.initial_state(xs.shape[1], tuple(xs.shape[2:]))
        time, older = len(xs), len(self.taps) - 1
        line = torch.cat([state.past.to(xs.dtype).transpose(0, 1), xs])
        ys = self.taps[0] * xs
        begun = first  # whether a document began after what lies `age` steps back
        for age in range(1, older + 1):
            before = line[older - age : older - age + time]
            if first is not None and begun is not None:
                before = before.masked_fill(begun.unsqueeze(2), 0)
                begun = begun | torch.cat([first.new_zeros(min(age, time), first.shape[1]), first[:-age]])
            ys = ys + self.taps[age] * before
        return ys, FilterState(self._kept(line[time:], first).transpose(0, 1))

    @staticmethod
    def _kept(last: Float[Tensor, "older batch width"], first: First | None) -> Float[Tensor, "older batch width"]:
        """The last inputs without those from before a beginning."""
        if first is None or not len(last):
            return last
        # of input `older - 1 - k` from the end, all beginnings after it: those in the last `older - 1 - k` rows
        rows = torch.cat([first.new_zeros(len(last), first.shape[1]), first])[-len(last) :].int()
        gone = rows.flip(0).cumsum(0).flip(0) - rows
        return last.masked_fill((gone > 0).unsqueeze(2), 0)

    def products_per_step(self) -> int:
        """Multiplications per sample and step."""
        return self.taps.numel()

    def extra_repr(self) -> str:
        return f"{self.taps.shape[1]}, taps={len(self.taps)}"
