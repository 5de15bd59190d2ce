"""Neurons by name: presets of the linear multi-state neuron. Input is current, output spikes (0 or 1).

Time constants are in steps: a network trained at one bin length has other dynamics at another.
Parameters are per layer unless `shape` (it broadcasts to a sample: `(n,)`, `(C, 1, 1)`) makes them finer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.linear_neuron import (
    Coefficient,
    Coefficients,
    LinearNeuron,
    Reset,
    ResetTiming,
    Structure,
)
from dvs_snn.nn.surrogate import SlayerExponential, Surrogate, Triangle

Shape = tuple[int, ...]


class LIFState(NamedTuple):
    """Membrane of LIF and PLIF."""

    membrane: Tensor


class CUBALIFState(NamedTuple):
    """Synaptic current and membrane."""

    current: Tensor
    membrane: Tensor


class AdLIFState(NamedTuple):
    """Membrane and adaptation current."""

    membrane: Tensor
    adaptation: Tensor


class TCLIFState(NamedTuple):
    """The two compartments' potentials."""

    dendrite: Tensor
    soma: Tensor


def _check(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must lie between {low:g} and {high:g}, got {value:g}")


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name} must be above 0, got {value:g}")


def _resets(kind: Reset, states: tuple[int, ...], amounts: tuple[Coefficient, ...]) -> dict:
    """The reset's share of `Coefficients`."""
    if kind == "soft":
        return {"reset": dict(zip(states, amounts, strict=True))}
    if kind == "zero":
        return {"hard": states}
    if kind == "none":
        return {}
    raise ConfigError(f"reset is 'soft', 'zero' or 'none', got {kind!r}")


def _delayed(timing: ResetTiming) -> bool:
    if timing not in ("same", "next"):
        raise ConfigError(f"reset_timing is 'same' or 'next', got {timing!r}")
    return timing == "next"


class _Threshold(LinearNeuron):
    """A neuron with a threshold tensor, learnable or not."""

    threshold: Tensor

    def _hold(self, name: str, value: float | Tensor, learn: bool, shape: Shape = ()) -> None:
        tensor = torch.as_tensor(value, dtype=torch.get_default_dtype()).expand(shape).clone()
        if learn:
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor)


class LIF(_Threshold):
    """Leaky integrate-and-fire: `u <- β u + x`, `s = Θ(u - θ)`, reset.

    Args:
        beta: decay per step, clipped to [0, 1].
        threshold: θ.
        scale_input: False; True integrates `(1 - β) x`, so that a constant input is the membrane's fixed point.
        shape: () for one β and θ per layer, else the shape they have.
    """

    state_type = LIFState

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        *,
        reset: Reset = "soft",
        reset_timing: ResetTiming = "same",
        detach_reset: bool = True,
        scale_input: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        shape: Shape = (),
        surrogate: Surrogate | None = None,
        recurrent: int | nn.Conv2d = 0,
    ) -> None:
        _check("beta", beta, 0.0, 1.0)
        _positive("threshold", threshold)
        structure = Structure(1, delayed=_delayed(reset_timing))
        super().__init__(structure, surrogate=surrogate, detach_reset=detach_reset, recurrent=recurrent)
        self.reset: Reset = reset
        self.scale_input = scale_input
        self._hold("beta", beta, learn_beta, shape)
        self._hold("threshold", threshold, learn_threshold, shape)
        self.coefficients(torch.float32)

    beta: Tensor

    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        beta = self.beta.to(dtype).clamp(0, 1)
        threshold = self.threshold.to(dtype)
        return Coefficients(
            transition={(0, 0): beta},
            input={0: 1 - beta if self.scale_input else 1.0},
            threshold=threshold,
            **_resets(self.reset, (0,), (threshold,)),
        )

    def extra_repr(self) -> str:
        return f"beta={self.beta.mean():.4g}, threshold={self.threshold.mean():.4g}, reset={self.reset}"


class PLIF(_Threshold):
    """LIF whose time constant is learned: `u <- (1 - σ(w)) u + σ(w) x` (Fang et al., 2021), one `w` per layer.

    Args:
        tau: initial time constant in steps, above 1; `σ(w) = 1/τ`.
        scale_input: True; False integrates `x` itself.
    """

    state_type = LIFState
    decay_logit: Tensor

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        *,
        reset: Reset = "zero",
        reset_timing: ResetTiming = "same",
        detach_reset: bool = True,
        scale_input: bool = True,
        learn_threshold: bool = False,
        shape: Shape = (),
        surrogate: Surrogate | None = None,
        recurrent: int | nn.Conv2d = 0,
    ) -> None:
        if not tau > 1:
            raise ConfigError(f"tau must be above 1 step, got {tau:g}")
        _positive("threshold", threshold)
        structure = Structure(1, delayed=_delayed(reset_timing))
        super().__init__(structure, surrogate=surrogate, detach_reset=detach_reset, recurrent=recurrent)
        self.reset: Reset = reset
        self.scale_input = scale_input
        self._hold("decay_logit", -math.log(tau - 1), True, shape)
        self._hold("threshold", threshold, learn_threshold, shape)
        self.coefficients(torch.float32)

    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        rate = torch.sigmoid(self.decay_logit.to(dtype))
        threshold = self.threshold.to(dtype)
        return Coefficients(
            transition={(0, 0): 1 - rate},
            input={0: rate if self.scale_input else 1.0},
            threshold=threshold,
            **_resets(self.reset, (0,), (threshold,)),
        )

    def extra_repr(self) -> str:
        return f"tau={1 + torch.exp(-self.decay_logit.detach()).mean():.4g}, reset={self.reset}"


class CUBALIF(_Threshold):
    """LIF driven by a synaptic current: `i <- α i + x`, `u <- β u + i`, `s = Θ(u - θ)`, reset of u alone.

    `scale_input=True` integrates `(1 - α) x` and `(1 - β) i`. The same as snnTorch's `Synaptic` otherwise.
    """

    state_type = CUBALIFState
    alpha: Tensor
    beta: Tensor

    def __init__(
        self,
        alpha: float = 0.8,
        beta: float = 0.9,
        threshold: float = 1.0,
        *,
        reset: Reset = "soft",
        reset_timing: ResetTiming = "same",
        detach_reset: bool = True,
        scale_input: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        shape: Shape = (),
        surrogate: Surrogate | None = None,
        recurrent: int | nn.Conv2d = 0,
    ) -> None:
        _check("alpha", alpha, 0.0, 1.0)
        _check("beta", beta, 0.0, 1.0)
        _positive("threshold", threshold)
        structure = Structure(2, fires=1, before=(0, 1), delayed=_delayed(reset_timing))
        super().__init__(structure, surrogate=surrogate, detach_reset=detach_reset, recurrent=recurrent)
        self.reset: Reset = reset
        self.scale_input = scale_input
        self._hold("alpha", alpha, learn_alpha, shape)
        self._hold("beta", beta, learn_beta, shape)
        self._hold("threshold", threshold, learn_threshold, shape)
        self.coefficients(torch.float32)

    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        alpha, beta = self.alpha.to(dtype).clamp(0, 1), self.beta.to(dtype).clamp(0, 1)
        threshold = self.threshold.to(dtype)
        return Coefficients(
            transition={(0, 0): alpha, (1, 0): 1 - beta if self.scale_input else 1.0, (1, 1): beta},
            input={0: 1 - alpha if self.scale_input else 1.0},
            threshold=threshold,
            **_resets(self.reset, (1,), (threshold,)),
        )

    def extra_repr(self) -> str:
        return f"alpha={self.alpha.mean():.4g}, beta={self.beta.mean():.4g}, reset={self.reset}"


class AdLIF(_Threshold):
    """Adaptive LIF in symplectic Euler form (Baronig et al., 2025): the adaptation sees the new, reset membrane.

        u <- d_u u + (1 - d_u)(x - w)
        s = Θ(u - 1),  u <- 0 where s
        w <- d_w w + (1 - d_w) q (a u + b s)

    `d = exp(-1/τ)` with τ in steps inside its range, a in [0, 1] and b in [0, 2]; all four are learned, begin
    uniform over their ranges, and are projected back into them before every use in training.
    """

    state_type = AdLIFState

    def __init__(
        self,
        shape: Shape,
        *,
        threshold: float = 1.0,
        adaptation: float = 120.0,
        tau_u: tuple[float, float] = (5.0, 25.0),
        tau_w: tuple[float, float] = (60.0, 300.0),
        reset: Reset = "zero",
        detach_reset: bool = True,
        surrogate: Surrogate | None = None,
        recurrent: int | nn.Conv2d = 0,
    ) -> None:
        _positive("threshold", threshold)
        for name, (low, high) in (("tau_u", tau_u), ("tau_w", tau_w)):
            if not 0 < low <= high:
                raise ConfigError(f"{name} is a range of steps, 0 < low <= high, got {low:g}..{high:g}")
        structure = Structure(2, before=(0,), after=(1,))
        surrogate = surrogate if surrogate is not None else SlayerExponential()
        super().__init__(structure, surrogate=surrogate, detach_reset=detach_reset, recurrent=recurrent)
        self.reset: Reset = reset
        self.adaptation = adaptation
        self.tau_u, self.tau_w = tau_u, tau_w
        self._hold("threshold", threshold, False)
        self.a = nn.Parameter(torch.rand(shape))
        self.b = nn.Parameter(2 * torch.rand(shape))
        # Places of the two time constants inside their ranges, 0 to 1.
        self.place_u = nn.Parameter(torch.rand(shape))
        self.place_w = nn.Parameter(torch.rand(shape))
        self.coefficients(torch.float32)

    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        if self.training:
            for parameter, high in ((self.a, 1.0), (self.b, 2.0), (self.place_u, 1.0), (self.place_w, 1.0)):
                parameter.data.clamp_(0.0, high)
        decay_u = _decay(self.place_u.to(dtype), self.tau_u)
        decay_w = _decay(self.place_w.to(dtype), self.tau_w)
        gain = (1 - decay_w) * self.adaptation
        threshold = self.threshold.to(dtype)
        return Coefficients(
            transition={(0, 0): decay_u, (0, 1): decay_u - 1, (1, 1): decay_w, (1, 0): gain * self.a.to(dtype)},
            input={0: 1 - decay_u},
            kick={1: gain * self.b.to(dtype)},
            threshold=threshold,
            **_resets(self.reset, (0,), (threshold,)),
        )

    def extra_repr(self) -> str:
        return f"{tuple(self.a.shape)}, reset={self.reset}"


def _decay(place: Tensor, tau: tuple[float, float]) -> Tensor:
    """exp(-1/τ) with τ at a place (0 to 1) inside its range."""
    return torch.exp(-1 / (tau[0] + (tau[1] - tau[0]) * place))


class TCLIF(_Threshold):
    """Two-compartment LIF (Zhang et al., 2024): dendrite and soma in a loss-free loop of two shears.

        u_D <- u_D - σ(c1) u_S + x
        u_S <- u_S + σ(c2) u_D            (the dendrite as just updated: so det = 1)
        s = Θ(u_S - θ),  u_D <- u_D - γ s,  u_S <- u_S - θ s

    Args:
        c1, c2: logits, one learned pair per layer, or per neuron with `shape`.
        threshold, gamma: θ and the dendrite's reset γ.
        leak: 1; below 1 both states are multiplied by it at the start of each step, so that noise does not pile up in a
            stream without end (silent eigenvalues have modulus `leak`).
        detach_reset: False here, as published for SHD.
    """

    state_type = TCLIFState
    recurrent_bias = True
    c1: Tensor
    c2: Tensor
    gamma: Tensor

    def __init__(
        self,
        c1: float = 0.0,
        c2: float = 0.0,
        threshold: float = 1.0,
        gamma: float = 0.5,
        *,
        leak: float = 1.0,
        detach_reset: bool = False,
        learn_threshold: bool = False,
        learn_gamma: bool = False,
        shape: Shape = (),
        surrogate: Surrogate | None = None,
        recurrent: int | nn.Conv2d = 0,
    ) -> None:
        _positive("threshold", threshold)
        _check("leak", leak, 0.0, 1.0)
        structure = Structure(2, fires=1, before=(0, 1))
        surrogate = surrogate if surrogate is not None else Triangle()
        super().__init__(structure, surrogate=surrogate, detach_reset=detach_reset, recurrent=recurrent)
        self._hold("c1", c1, True, shape)
        self._hold("c2", c2, True, shape)
        self._hold("threshold", threshold, learn_threshold, shape)
        self._hold("gamma", gamma, learn_gamma, shape)
        self.leak = leak

    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        to_dendrite, to_soma = -torch.sigmoid(self.c1.to(dtype)), torch.sigmoid(self.c2.to(dtype))
        threshold = self.threshold.to(dtype)
        own: Coefficient = self.leak if self.leak == 1 else to_soma.new_tensor(self.leak)
        return Coefficients(
            transition={(0, 0): own, (0, 1): to_dendrite * own, (1, 0): to_soma, (1, 1): own},
            reset={0: self.gamma.to(dtype), 1: threshold},
            threshold=threshold,
        )

    def extra_repr(self) -> str:
        return f"c1={self.c1.mean():.4g}, c2={self.c2.mean():.4g}, threshold={self.threshold.mean():.4g}"


class LeakyIntegrator(_Threshold):
    """A membrane without a threshold, the usual readout: `u <- β u + x`, output u; β = 1 sums over time."""

    state_type = LIFState
    beta: Tensor

    def __init__(
        self, beta: float = 0.9, *, scale_input: bool = False, learn_beta: bool = False, shape: Shape = ()
    ) -> None:
        _check("beta", beta, 0.0, 1.0)
        super().__init__(Structure(1, spiking=False), surrogate=None)
        self.scale_input = scale_input
        self._hold("beta", beta, learn_beta, shape)

    def coefficients(self, dtype: torch.dtype) -> Coefficients:
        beta = self.beta.to(dtype).clamp(0, 1)
        return Coefficients(transition={(0, 0): beta}, input={0: 1 - beta if self.scale_input else 1.0})

    def extra_repr(self) -> str:
        return f"beta={self.beta.mean():.4g}"
