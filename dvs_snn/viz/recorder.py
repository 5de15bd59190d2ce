"""Windows and decisions of a replay brought together, and the overlay video drawn of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, Sensor, Window, WindowBuffer
from dvs_snn.pipeline import Decision, Gesture, Track, Tracks
from dvs_snn.viz.files import replaced_when_done
from dvs_snn.viz.overlay import Layer, Overlay, Verdict
from dvs_snn.viz.video import VideoWriter

Truth = Sequence[tuple[int, int, int]]
"""Rows (start_us, end_us, label index)."""


class Pairing:
    """Pairs the windows of the recording's own sensor with the decisions that a pipeline makes of the same packets.

    The pipeline may see a resampled stream, whose windows close later or not at all where the resampling left nothing;
    a window without a decision of its own is paired with the one before it.
    """

    def __init__(self, bin_us: int) -> None:
        self._buffer = WindowBuffer(bin_us)
        self._waiting: deque[Window] = deque()
        self._decision: Decision | None = None

    def push(self, packet: Events) -> None:
        """Take the packet that the pipeline is about to get."""
        self._waiting.extend(self._buffer.push(packet))

    def decide(self, decision: Decision) -> list[tuple[Window, Decision | None]]:
        """Take the pipeline's next decision and return the windows up to it."""
        restarted = self._decision is not None and decision.t_us <= self._decision.t_us
        pairs = self._until_restart() if restarted else []
        while self._waiting and self._waiting[0].end_us < decision.t_us:
            pairs.append(self._pair())
        self._decision = decision
        if self._waiting and self._waiting[0].end_us == decision.t_us:
            pairs.append(self._pair())
        return pairs

    def flush(self) -> None:
        """The recording has ended: close its last window, so that the last decision finds it."""
        self._waiting.extend(self._buffer.flush())

    def rest(self) -> list[tuple[Window, Decision | None]]:
        """The windows that no decision came for."""
        return [self._pair() for _ in range(len(self._waiting))]

    def _pair(self) -> tuple[Window, Decision | None]:
        return self._waiting.popleft(), self._decision

    def _until_restart(self) -> list[tuple[Window, Decision | None]]:
        pairs = []
        while self._waiting and not self._waiting[0].first:
            pairs.append(self._pair())
        return pairs


class OverlayVideo:
    """A context that draws the overlay of (window, decision) pairs into an MP4 of constant frame rate.

    `speed` 1 plays in sensor time, 0.25 four times slower. Time is the sum of the windows' lengths, so that a restarted
    clock or a gap in the recording leaves no hole.
    """

    def __init__(
        self,
        path: str | Path,
        sensor: Sensor,
        labels: Sequence[str],
        fps: float | int = 30.0,
        speed: float | int = 1.0,
        title: str = "",
        truth: Truth = (),
        layers: Callable[[Decision], Sequence[Layer]] | None = None,
    ) -> None:
        if not 0.0 < speed <= 1000.0:
            raise ConfigError(f"playback speed {speed:g}: choose above 0, at most 1000 (1 is sensor time)")
        self.writer = VideoWriter(path, fps)
        self.overlay = Overlay(sensor, labels, title=title)
        self._labels, self._truth, self._layers = tuple(labels), truth, layers
        self._pictures_per_us = fps / (1e6 * speed)
        self._elapsed_us = 0
        self._verdict = Verdict()

    def __enter__(self) -> OverlayVideo:
        self.writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.writer.pictures and error[0] is None:  # an empty or very short recording still gives a video
            self.writer.write(self.overlay.draw(self._verdict))
        self.writer.__exit__(*error)  # type: ignore[arg-type]

    def see(self, window: Window, decision: Decision | None) -> None:
        """Take a window, and draw the pictures that fall due with its end."""
        self.overlay.see(window)
        self._verdict = self._say(window, decision)
        layers = self._layers(decision) if self._layers is not None and decision is not None else ()
        self._elapsed_us += window.end_us - window.start_us
        due = int(self._elapsed_us * self._pictures_per_us + 1e-6) - self.writer.pictures
        if due <= 0:
            return
        picture = self.overlay.draw(self._verdict, layers)
        for _ in range(due):  # slowed down: the same window is shown for several pictures
            self.writer.write(picture)

    def save_still(self, path: str | Path) -> None:
        """Write the overlay as it stands as a PNG, whole or not at all; `DvsSnnError` if that fails."""
        data = cv2.imencode(".png", cv2.cvtColor(self.overlay.draw(self._verdict), cv2.COLOR_RGB2BGR))[1]
        with replaced_when_done(Path(path)) as partial:
            partial.write_bytes(data.tobytes())

    def _say(self, window: Window, decision: Decision | None) -> Verdict:
        truth = true_label(self._truth, window.end_us)
        named = None if truth is None else self._labels[truth]
        if decision is None:
            return Verdict(truth=named)
        if isinstance(decision, Tracks):
            return Verdict(lines=tuple([say_track(track) for track in decision.tracks]))
        assert isinstance(decision, Gesture)
        return Verdict(decision.label, decision.score, decision.smoothed, named)


def say_track(track: Track) -> str:
    """A track in a line: id, centre, speed."""
    return f"{track.id:>3}   {track.x:6.1f} {track.y:6.1f} px   {np.hypot(track.vx, track.vy):6.0f} px/s"


def true_label(truth: Truth, t_us: int) -> int | None:
    """The true label at `t_us` (a window's end, which belongs to the window), None where there is none."""
    for start_us, end_us, label in truth:
        if start_us < t_us <= end_us:
            return int(label)
    return None
