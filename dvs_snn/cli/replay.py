"""`dvs-snn replay`: a recording through a checkpoint, as a robot would see it; a JSON line per window."""

from __future__ import annotations

import argparse
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvs_snn.errors import ConfigError, DvsSnnError

if TYPE_CHECKING:
    from dvs_snn.events import Events, EventStream
    from dvs_snn.pipeline import Decision, Pipeline
    from dvs_snn.viz import Pairing

RUNTIME_NAMES = ("torch", "event", "integer", "lava", "loihi-hw")
SLICE_US = 1_000
"""Packets are cut to this length for --realtime: a window is then decided at most this long after its end."""

RESTART_US, GAP_US = 100_000, 10_000_000
"""Steps of the sensor's clock that start the pacing anew: backward, forward."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Options of `replay`."""
    parser = subparsers.add_parser(
        "replay",
        help="run a recording through a checkpoint",
        description="Run a recording through a checkpoint and print a decision for each window as a line of JSON.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="recording: aedat, aedat4, raw, dat, es, csv, npz, hdf5, rosbag ..."
    )
    parser.add_argument("--model", required=True, metavar="CHECKPOINT", help="folder, or name of one that is shipped")
    parser.add_argument("--runtime", choices=RUNTIME_NAMES, default="torch", help="what runs the network (torch)")
    parser.add_argument("--out", metavar="X.jsonl", help="write the lines there, not to stdout; replaces an older file")
    parser.add_argument("--video", metavar="X.mp4", help="draw events and decisions into a video")
    parser.add_argument("--plot", metavar="X.png", help="draw x(t) and y(t) of every track")
    parser.add_argument("--fps", type=float, default=30.0, help="pictures per second of the video (30)")
    parser.add_argument("--speed", type=float, default=1.0, help="playback speed of the video, 1 is sensor time (1)")
    parser.add_argument("--sensor", metavar="WxH", help="sensor size, for files that do not state it")
    parser.add_argument("--realtime", action="store_true", help="keep pace with sensor time and report lateness")
    parser.add_argument(
        "--rewards", metavar="X.jsonl", help='learn from rewards: lines {"t_us": .., "reward": 0..1, "at_us": ..}'
    )
    parser.add_argument(
        "--adapter", metavar="FILE", help="what rewards have taught: read if it exists, written at the end"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay `args.file`; bad options are found before anything is written."""
    from dvs_snn.events import Sensor
    from dvs_snn.events.files import open_recording
    from dvs_snn.pipeline import load_checkpoint, open_pipeline

    _refuse_overwriting(args.file, args.out, args.video, args.plot)
    rewards = None
    sensor = Sensor.parse(args.sensor) if args.sensor else None
    checkpoint = load_checkpoint(args.model)
    pipeline = open_pipeline(checkpoint, args.runtime)
    if args.rewards or args.adapter:
        from dvs_snn.learning.online import AdaptivePipeline, RewardLines

        pipeline = adaptive = AdaptivePipeline(pipeline)
        rewards = RewardLines(args.rewards) if args.rewards else None
        if args.adapter and os.path.exists(args.adapter):
            adaptive.adapter.load(args.adapter)
    if args.plot and pipeline.config.task != "tracks":
        raise ConfigError(f"--plot draws tracks; {args.model} gives none")
    stream = open_recording(args.file, sensor)
    with ExitStack() as stack:
        stack.callback(pipeline.close)
        replay = Replay(stream, pipeline, args.realtime)
        if args.video:
            from dvs_snn.viz import OverlayVideo, Pairing, Trails

            title = f"{checkpoint.path.name} · {Path(args.file).name}".encode("ascii", "replace").decode()
            video = OverlayVideo(
                args.video,
                stream.sensor,
                pipeline.config.labels,
                args.fps,
                args.speed,
                title.replace("?", "-"),
                layers=Trails() if pipeline.config.task == "tracks" else None,
            )
            stack.enter_context(video)
            replay.watch(Pairing(pipeline.config.bin_us), video.see)
        plot = None
        if args.plot:
            from dvs_snn.viz import TrackPlot

            plot = TrackPlot(f"{checkpoint.path.name}, {Path(args.file).name}")
        lines = stack.enter_context(Lines(args.out))
        progress = stack.enter_context(Progress(shown=bool(args.out) or not sys.stdout.isatty()))
        try:
            for decision in replay:
                lines.write(decision.to_json())
                if plot is not None:
                    plot.see(decision)
                progress.show(replay)
                if rewards is not None:
                    rewards.give(decision, adaptive.adapter)  # type: ignore[arg-type]
            lines.open()  # a recording without events gives a file without lines
            if plot is not None:
                plot.save(args.plot)
        finally:
            progress.close()
            for line in replay.report():
                print(line, file=sys.stderr)
            if rewards is not None:
                print(rewards.report(), file=sys.stderr)
                if args.adapter:
                    adaptive.adapter.save(args.adapter)
    return 0


class Replay:
    """Iterates over the decisions of a recording; afterwards, or when it was broken off, `report` tells how it went."""

    def __init__(self, stream: EventStream, pipeline: Pipeline, realtime: bool = False) -> None:
        self.stream, self.pipeline = stream, pipeline
        self.windows = self.events = 0
        self.busy_s = 0.0
        self._pace = Pace() if realtime else None
        self._pairing: Pairing | None = None
        self._see: Callable[..., None] | None = None

    def watch(self, pairing: Pairing, see: Callable[..., None]) -> None:
        """Call `see(window, decision)` for each window of the recording; its time does not count as the replay's."""
        self._pairing, self._see = pairing, see

    @property
    def sensor_s(self) -> float:
        """Sensor time that has been decided on."""
        return self.windows * self.pipeline.config.bin_us * 1e-6

    @property
    def speed(self) -> float:
        """Sensor time per time spent on reading, windows, network and decision: above 1 is faster than the camera."""
        return self.sensor_s / self.busy_s if self.busy_s > 0 else 0.0

    def __iter__(self) -> Iterator[Decision]:
        self._warm()
        stream = self.stream if self._pace is None else self.stream.through(self._pace.packets)
        decisions = self.pipeline.run(stream.through(self._counted))
        while True:
            begun = time.perf_counter()
            slept = self._pace.slept_s if self._pace else 0.0
            decision = next(decisions, None)
            self.busy_s += time.perf_counter() - begun - ((self._pace.slept_s if self._pace else 0.0) - slept)
            if decision is None:
                break
            self.windows += 1
            if self._pace is not None:
                self._pace.decided(decision.t_us)
            yield decision
            if self._pairing is not None and self._see is not None:
                for pair in self._pairing.decide(decision):
                    self._see(*pair)
        if self._pairing is not None and self._see is not None:
            for pair in self._pairing.rest():
                self._see(*pair)

    def report(self) -> list[str]:
        """What was assumed or mended, how much was read, how fast; lines for a person."""
        tally, stream = self.stream.tally, self.stream
        lines = [f"note: {note}" for note in (*tally.notes, *self.pipeline.notes)]
        if stream.sensor_assumed and not any("assumed" in note for note in tally.notes):
            lines.append(f"note: sensor {stream.sensor} assumed, the file does not state it (--sensor WxH says it)")
        if tally.backward_steps:
            lines.append(f"note: time stepped back {tally.backward_steps} times (of these {tally.restarts} restarts)")
        if tally.out_of_sensor:
            lines.append(f"note: {tally.out_of_sensor} events outside the sensor {stream.sensor} were dropped")
        if tally.unknown_words:
            lines.append(f"note: {tally.unknown_words} unknown words were skipped")
        if not self.windows:
            return [*lines, f"note: {stream.source}: no events, so nothing was decided"]
        lines.append(
            f"{self.windows} windows, {self.events:,} events: {self.sensor_s:.2f} s of sensor time "
            f"in {self.busy_s:.2f} s ({self.speed:.1f}x real time)"
        )
        if self._pace is not None:
            lines.append(self._pace.report())
        return lines

    def _warm(self) -> None:
        """Load and compile what the first step needs, so that neither speed nor lateness tells of it."""
        from dvs_snn.events import Window, empty_events

        self.pipeline.infer(Window(empty_events(), 0, self.pipeline.config.bin_us, first=True))
        self.pipeline.reset()

    def _counted(self, packets: Iterable[Events]) -> Iterator[Events]:
        for packet in packets:
            self.events += len(packet)
            if self._pairing is not None:
                self._pairing.push(packet)
            yield packet
        if self._pairing is not None:
            self._pairing.flush()


class Pace:
    """Holds events back until their sensor time has come, and measures how late decisions are."""

    def __init__(self) -> None:
        self.slept_s = 0.0
        self._anchor: tuple[float, int] | None = None  # host second, sensor microsecond
        self._last_us = 0
        self._late_s = array("f")

    def packets(self, packets: Iterable[Events]) -> Iterator[Events]:
        """The same events in packets of at most a millisecond, each given out when its last event is due."""
        for packet in packets:
            cuts = np.flatnonzero(np.diff(packet["t"] // SLICE_US)) + 1
            for piece in np.split(packet, cuts):
                if len(piece):
                    self._wait(int(piece["t"][0]), int(piece["t"][-1]))
                    yield piece

    def _wait(self, first_us: int, last_us: int) -> None:
        now_s = time.perf_counter()
        step_us = first_us - self._last_us
        if self._anchor is None or step_us < -RESTART_US or step_us > GAP_US:
            self._anchor = (now_s, first_us)
        self._last_us = last_us
        pause_s = self._due_s(last_us) - now_s
        if pause_s > 0:
            time.sleep(pause_s)
            self.slept_s += time.perf_counter() - now_s

    def _due_s(self, t_us: int) -> float:
        assert self._anchor is not None
        return self._anchor[0] + (t_us - self._anchor[1]) * 1e-6

    def decided(self, t_us: int) -> None:
        """Note when the window that ends at `t_us` was decided."""
        if t_us <= self._last_us:  # the window that a restart, a gap or the end closes has no due time
            self._late_s.append(time.perf_counter() - self._due_s(t_us))

    def report(self) -> str:
        """Lateness of decisions after their window's end in real time."""
        if not self._late_s:
            return "lateness: no window was decided in time order"
        late_ms = np.asarray(self._late_s) * 1e3
        half, most = np.percentile(late_ms, [50, 99])
        return (
            f"lateness of decisions after their window's end: median {half:.1f} ms, 99 % below {most:.1f} ms, "
            f"most {late_ms.max():.1f} ms"
        )


class Lines:
    """Lines to a file or stdout, each flushed, so that an interrupt loses none; the file is opened by the first line.

    A run that fails before its first decision therefore leaves an older file as it was.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file: Any = None if path else sys.stdout

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        if self._path and self._file is not None:
            with suppress(OSError):  # every line was flushed: what fails here has been said
                self._file.close()

    def open(self) -> None:
        """Make the file, empty, if it is not there yet."""
        if self._file is None and self._path is not None:
            self._file = open(self._path, "w", encoding="utf-8")  # noqa: SIM115 - closed by __exit__

    def write(self, line: str) -> None:
        """A line that is with the system when this returns."""
        self.open()
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            if self._path is None:  # a closed pipe is the reader's way to say enough
                raise
            raise DvsSnnError(f"{self._path}: line could not be written: {error.strerror or error}") from error


class Progress:
    """A bar with rates on stderr; nothing where stderr is no terminal or the lines go to the same one."""

    def __init__(self, shown: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            unit=" windows", disable=None if shown else True, file=sys.stderr, dynamic_ncols=True, leave=False
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def show(self, replay: Replay) -> None:
        """One window more."""
        if not self._bar.disable:
            text = f"{replay.sensor_s:.1f} s of sensor time, {replay.speed:.1f}x real time, {replay.events:,} events"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()

    def close(self) -> None:
        self._bar.close()


def _refuse_overwriting(recording: str, out: str | None, video: str | None, plot: str | None = None) -> None:
    """The outputs must be neither the recording nor each other."""
    named = [("--out", out), ("--video", video), ("--plot", plot)]
    for option, path in named:
        if path and (os.path.abspath(path) == os.path.abspath(recording) or _same_file(path, recording)):
            raise ConfigError(f"{option} {path} is the recording itself; name another file")
    if out and video and os.path.abspath(out) == os.path.abspath(video):
        raise ConfigError(f"--out and --video are the same file {out}; name two")


def _same_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False
