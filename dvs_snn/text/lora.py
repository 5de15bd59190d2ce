"""The layer that `text.adapt` gives to `peft`; apart from it because importing this imports `peft`."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor


class MergedLora(LoraLinear):
    """LoRA (Hu et al. 2022) as `(W + alpha / rank B A) x`, the sum of weights first: merging changes no bit.

    `W x + alpha / rank B (A x)` rounds otherwise than the merged map does, and a membrane that lies at its threshold
    within that rounding would fire in one and not in the other.
    """

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """The map of the merged weights."""
        if self.merged or self.disable_adapters:
            return super().forward(x, *args, **options)
        base: Any = self.get_base_layer()
        weight = base.weight
        for name in self.active_adapters:
            if name in self.lora_A:
                weight = weight + self.get_delta_weight(name)
        return F.linear(x, weight, base.bias)
