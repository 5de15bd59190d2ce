"""Surrogates: the spike forward, a smooth pseudo-derivative backward.

Forward is always `S = 1 if x > 0 else 0` (strict: a membrane exactly at threshold is silent, as in snnTorch and Lava).
Backward is `dS/dx := g(x)`, one shape per class. The slope (or width) is a 0-dim tensor, so a schedule changes it
without recompiling anything. `learnable=True` makes it a parameter; its gradient is that of the smooth function whose
derivative g is, and the neuron then runs the plain scan.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dvs_snn.errors import ConfigError


class Surrogate(nn.Module, ABC):
    """A spike function with one shape parameter `scale` (slope or width)."""

    code: ClassVar[int]
    """The shape's number in the compiled kernels."""
    is_width: ClassVar[bool] = False
    """Whether a larger scale makes the pseudo-derivative wider; a slope makes it narrower."""

    scale: Tensor

    def __init__(self, scale: float, *, learnable: bool = False) -> None:
        super().__init__()
        if not scale > 0:
            raise ConfigError(f"surrogate {type(self).__name__} needs a slope or width above 0, got {scale}")
        value = torch.tensor(float(scale))
        if learnable:
            self.scale = nn.Parameter(value)
        else:
            self.register_buffer("scale", value)

    @property
    def learnable(self) -> bool:
        return isinstance(self.scale, nn.Parameter)

    def learn(self) -> None:
        """Make the scale a parameter, where it is not one; its name and value stay."""
        if not self.learnable:
            value = self.scale
            del self.scale
            self.scale = nn.Parameter(value)

    def set_steepness(self, factor: float, start: float) -> None:
        """Set the scale in place to `factor` times as steep as at the scale `start`; nothing is compiled anew."""
        with torch.no_grad():
            self.scale.fill_(start / factor if self.is_width else start * factor)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Spikes where `x > 0`; the gradient is `derivative(x)`."""
        return _Spike.apply(x, self.scale, self)

    def extra_repr(self) -> str:
        return f"{float(self.scale.detach()):g}, learnable={self.learnable}"

    @staticmethod
    @abstractmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        """g(x)."""

    @staticmethod
    def scale_derivative(x: Tensor, scale: Tensor, g: Tensor) -> Tensor:
        """dS/dscale of the smooth spike; here for shapes `S = F(scale · x)`."""
        return g * x / scale

    def kernel_parameters(self) -> tuple[float, float]:
        """Height and slope (or width) as the compiled kernels want them."""
        return self._kernel_parameters(float(self.scale.detach()))

    @staticmethod
    @abstractmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]: ...


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shape: Surrogate) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.shape = shape
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, scale = ctx.saved_tensors
        (grad,) = grads
        scale = scale.to(x.dtype)
        g = ctx.shape.derivative(x, scale)
        grad_scale = None
        if ctx.needs_input_grad[1]:
            grad_scale = (grad * ctx.shape.scale_derivative(x, scale, g)).sum()
        return grad * g, grad_scale, None


class ATan(Surrogate):
    """`g(x) = (α/2) / (1 + (π α x / 2)²)` (Fang et al., 2021)."""

    code = 0

    def __init__(self, alpha: float = 2.0, *, learnable: bool = False) -> None:
        super().__init__(alpha, learnable=learnable)

    @staticmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        return scale / 2 / (1 + (math.pi / 2 * scale * x) ** 2)

    @staticmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]:
        return scale / 2, math.pi / 2 * scale


class FastSigmoid(Surrogate):
    """`g(x) = 1 / (1 + k|x|)²` (Zenke and Ganguli, 2018, with its peak held at 1)."""

    code = 1

    def __init__(self, slope: float = 25.0, *, learnable: bool = False) -> None:
        super().__init__(slope, learnable=learnable)

    @staticmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        return 1 / (1 + scale * x.abs()) ** 2

    @staticmethod
    def scale_derivative(x: Tensor, scale: Tensor, g: Tensor) -> Tensor:
        return -x * x.abs() * g  # S = x / (1 + k|x|)

    @staticmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]:
        return 1.0, scale


class Triangle(Surrogate):
    """`g(x) = max(0, γ − |x|) / γ²` (Bellec et al., 2018; the shape of TET and TC-LIF)."""

    code = 2
    is_width = True

    def __init__(self, width: float = 1.0, *, learnable: bool = False) -> None:
        super().__init__(width, learnable=learnable)

    @staticmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        return (scale - x.abs()).clamp_min(0) / scale**2

    @staticmethod
    def scale_derivative(x: Tensor, scale: Tensor, g: Tensor) -> Tensor:
        return -g * x / scale  # S = F(x / γ)

    @staticmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]:
        return 1 / scale**2, scale


class Sigmoid(Surrogate):
    """`g(x) = α σ(αx) (1 − σ(αx))`."""

    code = 3

    def __init__(self, alpha: float = 4.0, *, learnable: bool = False) -> None:
        super().__init__(alpha, learnable=learnable)

    @staticmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        sigma = torch.sigmoid(scale * x)
        return scale * sigma * (1 - sigma)

    @staticmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]:
        return scale, scale


class Rectangle(Surrogate):
    """`g(x) = 1 / (2a) where |x| < a, else 0` (Wu et al., 2018)."""

    code = 4
    is_width = True

    def __init__(self, half_width: float = 0.5, *, learnable: bool = False) -> None:
        super().__init__(half_width, learnable=learnable)

    @staticmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        return (x.abs() < scale).to(x.dtype) / (2 * scale)

    @staticmethod
    def scale_derivative(x: Tensor, scale: Tensor, g: Tensor) -> Tensor:
        return -g * x / scale

    @staticmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]:
        return 1 / (2 * scale), scale


class SlayerExponential(Surrogate):
    """`g(x) = (c α / 2) exp(−α|x|)`, c = 0.4 (Shrestha and Orchard, 2018; the shape of adLIF's authors)."""

    code = 5
    amplitude: ClassVar[float] = 0.4

    def __init__(self, alpha: float = 5.0, *, learnable: bool = False) -> None:
        super().__init__(alpha, learnable=learnable)

    @staticmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        return SlayerExponential.amplitude / 2 * scale * torch.exp(-scale * x.abs())

    @staticmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]:
        return SlayerExponential.amplitude / 2 * scale, scale


class SuperSpike(Surrogate):
    """`g(x) = α / (1 + |x|)²` (Zenke and Ganguli, 2018)."""

    code = 6

    def __init__(self, alpha: float = 1.0, *, learnable: bool = False) -> None:
        super().__init__(alpha, learnable=learnable)

    @staticmethod
    def derivative(x: Tensor, scale: Tensor) -> Tensor:
        return scale / (1 + x.abs()) ** 2

    @staticmethod
    def scale_derivative(x: Tensor, scale: Tensor, g: Tensor) -> Tensor:
        return x / (1 + x.abs())  # S = α x / (1 + |x|)

    @staticmethod
    def _kernel_parameters(scale: float) -> tuple[float, float]:
        return scale, 1.0
