"""`dvs-snn convert IN OUT`: a recording in another format; the extensions say which."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvs_snn.events import Events, EventStream


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb `convert`."""
    parser = subparsers.add_parser("convert", help="write a recording in another format, chosen by the extension")
    parser.add_argument("source", metavar="IN", help="a recording: a file, or a rosbag2 folder")
    parser.add_argument(
        "target", metavar="OUT", help="file to write (.aedat4 .aedat .es .npz .csv .h5 .raw .dat .bag ...)"
    )
    parser.add_argument("--sensor", metavar="WxH", help="the sensor's size, where the file does not say it or is wrong")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, tell the progress on stderr, and say what was mended or lost."""
    from dataclasses import replace
    from pathlib import Path

    from dvs_snn.errors import ConfigError
    from dvs_snn.events import Sensor
    from dvs_snn.events.files import open_recording, write_recording

    source, target = Path(args.source), Path(args.target)
    if target.exists() and source.exists() and source.samefile(target):
        raise ConfigError(f"{target}: input and output are the same file; choose another name")
    stream = open_recording(source, Sensor.parse(args.sensor) if args.sensor else None)
    progress = _Progress(stream)
    write_recording(target, replace(stream, packets=progress))
    progress.close()
    tally = stream.tally
    for line in [*tally.notes, *_losses(stream)]:
        print(f"dvs-snn: {source}: {line}", file=sys.stderr)
    print(f"{target}: {progress.events} events, {stream.sensor}, {tally.span_us * 1e-6:.6f} s")
    return 0


def _losses(stream: EventStream) -> list[str]:
    tally = stream.tally
    lines = []
    if tally.triggers:
        lines.append(f"{tally.triggers} triggers were not written: only events are")
    if tally.out_of_sensor:
        lines.append(f"{tally.out_of_sensor} events outside of {stream.sensor} were not written")
    if tally.backward_steps:
        held = tally.backward_steps - tally.restarts
        lines.append(f"time stepped back {tally.backward_steps} times: {held} held, {tally.restarts} restarts kept")
    if tally.unknown_words:
        lines.append(f"{tally.unknown_words} unknown words were skipped")
    return lines


class _Progress:
    """Packets as they pass, with a line on stderr twice a second where someone is looking."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self.events = 0
        self._begin = self._shown = time.monotonic()

    def __iter__(self) -> Iterator[Events]:
        self.events = 0
        for packet in self._stream:
            self.events += len(packet)
            yield packet
            now = time.monotonic()
            if now - self._shown > 0.5 and sys.stderr.isatty():
                self._shown = now
                print(f"\r{self._line(now)}", end="", file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        rate = self.events / max(now - self._begin, 1e-9)
        return f"{self.events:,} events, {rate / 1e6:.1f} million/s"

    def close(self) -> None:
        """Leave one line with the total rate."""
        start = "\r" if sys.stderr.isatty() else ""
        print(f"{start}{self._line(time.monotonic())}", file=sys.stderr)
