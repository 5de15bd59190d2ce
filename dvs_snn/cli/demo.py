"""`dvs-snn demo`: simulated gestures through the shipped network; needs no data, no ROS, no network connection."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvs_snn.errors import CheckpointError

if TYPE_CHECKING:
    from dvs_snn.events import Window
    from dvs_snn.pipeline import Gesture

GESTURE_INDICES = (0, 7, 1, 8, 3)
SECONDS_EACH = 2.0
SEED = 30_000_005  # beyond the seeds of every split; a person who stands well inside the picture
WIDTH_PX = HEIGHT_PX = 128


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Options of `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="watch the shipped network recognise simulated gestures",
        description="Simulate a recording of five gestures, replay it through the shipped checkpoint 'gesture', "
        "and write what happened as an overlay video with a still, a time-line picture and decisions.jsonl.",
    )
    parser.add_argument("--out", metavar="DIR", default="demo_out", help="folder for what is made (demo_out)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Find the shipped checkpoint, then `demonstrate` it."""
    from dvs_snn.pipeline import shipped_checkpoints

    checkpoint = shipped_checkpoints().get("gesture")
    if checkpoint is None:
        raise CheckpointError(
            "the checkpoint 'gesture' is missing from this installation: reinstall the package, "
            "or train it by `dvs-snn train gesture`"
        )
    demonstrate(checkpoint, Path(args.out))
    return 0


def demonstrate(
    checkpoint: Path, out: Path, labels: Sequence[int] = GESTURE_INDICES, seconds_each: float = SECONDS_EACH
) -> Score:
    """Simulate, write, replay that file, and tell; everything is decided by fixed seeds."""
    from dvs_snn.cli.replay import Lines, Replay
    from dvs_snn.events import Sensor, stream_of
    from dvs_snn.events.files import open_recording, write_recording
    from dvs_snn.events.simulate import simulate_gesture_sequence
    from dvs_snn.pipeline import Gesture, open_pipeline
    from dvs_snn.viz import OverlayVideo, Pairing, Timeline

    out.mkdir(parents=True, exist_ok=True)
    pipeline = open_pipeline(checkpoint)
    names = pipeline.config.labels
    sensor = Sensor(WIDTH_PX, HEIGHT_PX)
    _say(f"simulating {len(labels)} gestures, {seconds_each:g} s each, on a {sensor} event camera ...")
    events, truth = simulate_gesture_sequence(labels, seconds_each, SEED, sensor)
    write_recording(out / "recording.npz", stream_of(events, sensor))
    _say(f"replaying {out / 'recording.npz'} ({len(events):,} events) through the network '{checkpoint.name}' ...")

    replay = Replay(open_recording(out / "recording.npz"), pipeline)
    start_us, end_us, _ = truth[-1]
    still_us = (start_us + (end_us - start_us) * 4 // 5) // pipeline.config.bin_us * pipeline.config.bin_us
    timeline = Timeline(names, "Five simulated gestures, replayed through the spiking network", truth)
    score = Score(names, truth)
    with ExitStack() as stack:
        stack.callback(pipeline.close)
        lines = stack.enter_context(Lines(str(out / "decisions.jsonl")))
        video = stack.enter_context(OverlayVideo(out / "overlay.mp4", sensor, names, truth=truth))

        def see(window: Window, decision: Gesture | None) -> None:
            timeline.see(window, decision)
            video.see(window, decision)
            if window.end_us == still_us:
                video.save_still(out / "overlay.png")

        replay.watch(Pairing(pipeline.config.bin_us), see)
        print(f"{'time':>8}  {'decision':<28}{'score':>5}")
        for decision in replay:
            lines.write(decision.to_json())
            assert isinstance(decision, Gesture)
            change = score.see(decision)
            if change:
                print(change, flush=True)
    timeline.save(out / "timeline.png")
    print(f"{score.summary()}; {replay.speed:.1f}x real time")
    print(f"see {out}/overlay.mp4 (a still: overlay.png), {out}/timeline.png, {out}/decisions.jsonl")
    return score


class Score:
    """Compares decisions with the truth of a sequence: which gestures were recognised, and how soon.

    A gesture counts as right when its own class is the one that was decided longest while it lasted; its latency is the
    time from its beginning to the first right decision.
    """

    def __init__(self, labels: Sequence[str], truth: Sequence[tuple[int, int, int]]) -> None:
        self._labels, self._truth = labels, truth
        self._decided: list[Counter[int]] = [Counter() for _ in truth]
        self._latency_us: list[int | None] = [None] * len(truth)
        self._index = -1

    def see(self, decision: Gesture) -> str | None:
        """Take a decision; returns a line for a person when it is another than the one before."""
        row = self._row(decision.t_us)
        if row is not None and decision.index >= 0:
            start_us, _, label = self._truth[row]
            self._decided[row][decision.index] += 1
            if decision.index == label and self._latency_us[row] is None:
                self._latency_us[row] = decision.t_us - start_us
        if decision.index == self._index:
            return None
        self._index = decision.index
        time_s = f"{decision.t_us * 1e-6:6.2f} s"
        if decision.index < 0:
            return f"{time_s}  undecided"
        line = f"{time_s}  {decision.label:<28}{decision.score:5.2f}"
        if row is None:
            return line
        true = self._truth[row][2]
        return f"{line}  right" if true == decision.index else f"{line}  wrong, true: {self._labels[true]}"

    @property
    def right(self) -> int:
        """Gestures recognised."""
        return sum(self._is_right(row) for row in range(len(self._truth)))

    @property
    def latency_ms(self) -> float | None:
        """Mean over the recognised gestures."""
        taken = [value for row, value in enumerate(self._latency_us) if value is not None and self._is_right(row)]
        return 1e-3 * sum(taken) / len(taken) if taken else None

    def summary(self) -> str:
        """One line without an end."""
        latency = self.latency_ms
        soon = "" if latency is None else f", {latency:.0f} ms after their beginning on average"
        return f"{self.right} of {len(self._truth)} gestures right{soon}"

    def _is_right(self, row: int) -> bool:
        decided = self._decided[row].most_common(1)
        return bool(decided) and decided[0][0] == self._truth[row][2]

    def _row(self, t_us: int) -> int | None:
        """The gesture that a window with this end belongs to."""
        for row, (start_us, end_us, _) in enumerate(self._truth):
            if start_us < t_us <= end_us:
                return row
        return None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
