"""The overlay as a stream of pictures, drawn in a thread so that no decision waits for it; no ROS in here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from dvs_snn.pipeline import Gesture, PipelineConfig, Tracks
from dvs_snn.viz import Layer, Overlay, Trails, Verdict
from dvs_snn.viz.recorder import say_track
from dvs_snn_ros.engine import Outcome

WAITING = 64
"""Windows that wait to be drawn; of more, the oldest are left out of the picture."""


class Painter:
    """Draws the windows it is shown, at most `rate_hz` pictures a second."""

    def __init__(self, config: PipelineConfig, show: Callable[[Any, Outcome], None], rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._config, self._show = config, show
        self._overlay: Overlay | None = None
        self._trails = Trails()
        self._waiting: deque[Outcome] = deque(maxlen=WAITING)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="painter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def see(self, outcome: Outcome) -> None:
        """Take a window into the next picture."""
        self._waiting.append(outcome)
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping:
                return
            begun = time.monotonic()
            outcome, layers = None, cast("Sequence[Layer]", ())
            while self._waiting:
                outcome = self._waiting.popleft()
                if self._overlay is None or self._overlay.sensor != outcome.view.seen:
                    self._overlay = Overlay(outcome.view.seen, self._config.labels)
                    self._trails = Trails()
                self._overlay.see(outcome.window)
                layers = self._trails(outcome.decision)
            if outcome is not None and self._overlay is not None:
                self._show(self._overlay.draw(verdict(outcome), layers), outcome)
            time.sleep(max(0.0, 1.0 / self.rate_hz - (time.monotonic() - begun)))


def verdict(outcome: Outcome) -> Verdict:
    """What the overlay says of a decision."""
    decision = outcome.decision
    if isinstance(decision, Gesture):
        return Verdict(decision.label, decision.score, decision.smoothed)
    if isinstance(decision, Tracks):
        return Verdict(lines=tuple([say_track(track) for track in decision.tracks]))
    return Verdict()
