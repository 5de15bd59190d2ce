"""What the pipeline tells: a decision per window, and the rule that makes gestures of class posteriors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dvs_snn.events import Window
from dvs_snn.pipeline.config import DecisionConfig
from dvs_snn.tracking import BoxTracker, Tracks, observations


@runtime_checkable
class Decision(Protocol):
    """What is published for a window; `t_us` is sensor time at the window's end."""

    @property
    def t_us(self) -> int: ...

    def to_json(self) -> str: ...


@runtime_checkable
class Decider(Protocol):
    """Makes decisions of a runtime's outputs, window by window; `reset` starts a sequence, `config` may change."""

    config: DecisionConfig

    def reset(self) -> None: ...

    def __call__(self, output: NDArray[np.floating], window: Window) -> Decision: ...


@dataclass(frozen=True)
class Gesture:
    """The decided class, or index -1 and "none"; `score` is the smoothed posterior of that class (or of the best)."""

    t_us: int
    index: int
    label: str
    score: float
    posterior: NDArray[np.float32]  # of this bin alone
    smoothed: NDArray[np.float32]
    rate_hz: float
    kind: str = "gesture"

    def to_json(self) -> str:
        return json.dumps(
            {
                "t_us": self.t_us,
                "kind": self.kind,
                "index": self.index,
                "label": self.label,
                "score": round(self.score, 4),
            }
        )


class GestureDecider:
    """Smoothing, threshold, hysteresis and `none` (see `DecisionConfig`)."""

    kind = "gesture"

    def __init__(self, config: DecisionConfig, labels: tuple[str, ...], bin_us: int) -> None:
        self.config, self.labels, self.bin_us = config, labels, bin_us
        self._gain = 1.0 if not config.smoothing_us else -np.expm1(-bin_us / config.smoothing_us)
        self.reset()

    def reset(self) -> None:
        """Start of a sequence: no class is known, all are equally likely."""
        self._smoothed = np.full(len(self.labels), 1.0 / len(self.labels))
        self._rate_hz = 0.0
        self._current = -1
        self._elapsed_us = 0

    def __call__(self, output: NDArray[np.floating], window: Window) -> Gesture:
        posterior = softmax(output)
        self._elapsed_us += self.bin_us
        rate_hz = len(window.events) * 1e6 / self.bin_us
        # the first bins' average is over what was seen, not over an imagined silence before
        gain = max(self._gain, self.bin_us / self._elapsed_us)
        self._rate_hz += gain * (rate_hz - self._rate_hz)
        self._smoothed += self._gain * (posterior - self._smoothed)
        best = int(self._smoothed.argmax())
        if self._elapsed_us <= self.config.warmup_us or self._rate_hz < self.config.min_rate_hz:
            self._current = -1
        elif self._smoothed[best] >= self.config.threshold:
            self._current = best
        elif self._current >= 0 and self._smoothed[self._current] < self.config.release:
            self._current = -1
        index = self._current
        return Gesture(
            t_us=window.end_us,
            index=index,
            label=self.labels[index] if index >= 0 else "none",
            score=float(self._smoothed[index if index >= 0 else best]),
            posterior=posterior.astype(np.float32),
            smoothed=self._smoothed.astype(np.float32),
            rate_hz=self._rate_hz,
            kind=self.kind,
        )


class DigitDecider(GestureDecider):
    """The same rule; the decision says that it is a digit."""

    kind = "digit"


class TracksDecider:
    """Names the rows that a tracker gives (`tracking.COLUMNS`); births, identity and deaths are the tracker's own."""

    def __init__(self, config: DecisionConfig, labels: tuple[str, ...], bin_us: int) -> None:
        self.config = config  # not used, as the rest: the rule of a track's life is the tracker's

    def reset(self) -> None:
        """Nothing is remembered here."""

    def __call__(self, output: NDArray[np.floating], window: Window) -> Tracks:
        return Tracks.of(window.end_us, np.asarray(output, np.float64))


class HeatDecider:
    """Peaks of a heat map (`models.tracker.OUTPUTS`) followed as tracks, in px of the network's sensor.

    `cell_px` is the side of the map's cells. Ids go on over a reset.
    """

    def __init__(self, config: DecisionConfig, tracker: BoxTracker, cell_px: float | int, bin_us: int) -> None:
        self.config = config  # not used: the rule of a track's life is the tracker's
        self.tracker, self.cell_px, self.bin_us = tracker, cell_px, bin_us
        self._state = tracker.initial_state()

    def reset(self) -> None:
        """Start of a sequence: nothing is followed."""
        self._state = self.tracker.initial_state(self._state)

    def __call__(self, output: NDArray[np.floating], window: Window) -> Tracks:
        seen = observations(np.asarray(output, np.float64), self.cell_px, self.bin_us, self.tracker.life.low)
        table, self._state = self.tracker.step(seen, window.end_us, self._state)
        return Tracks.of(window.end_us, table)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Posterior over the last axis, in float64 so that it sums to one whatever the logits."""
    values = np.asarray(logits, np.float64)
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def recording_label(decisions: Iterable[Gesture], bin_us: int, warmup_us: int, whole: str = "mean") -> int:
    """One class for a whole recording: the largest mean posterior over the bins after the warm-up (if any), or the
    largest of the last bin where `whole` is "last".

    `evaluate` counts these; the bins' own posteriors are used, so it does not depend on the decision thresholds.
    """
    posteriors = np.stack([decision.posterior for decision in decisions])
    if whole == "last":
        return int(posteriors[-1].argmax())
    skip = warmup_us // bin_us
    return int(posteriors[skip if len(posteriors) > skip else 0 :].mean(axis=0).argmax())
