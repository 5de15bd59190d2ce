"""`dvs-snn info FILE`: what a recording is, read once from end to end."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvs_snn.events import EventStream


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb `info`."""
    parser = subparsers.add_parser("info", help="format, sensor, events, span, rate, disorder, polarity balance")
    parser.add_argument("file", metavar="FILE", help="a recording: a file, or a rosbag2 folder")
    parser.add_argument("--sensor", metavar="WxH", help="the sensor's size, where the file does not say it or is wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the facts of a recording; notes on what was assumed or mended go to stderr."""
    from dvs_snn.events import Sensor
    from dvs_snn.events.files import open_recording

    stream = open_recording(args.file, Sensor.parse(args.sensor) if args.sensor else None)
    for _ in stream:
        pass
    facts = describe(stream)
    print(json.dumps(facts) if args.json else as_text(stream, facts))
    for note in stream.tally.notes:
        print(f"dvs-snn: {args.file}: {note}", file=sys.stderr)
    return 0


def describe(stream: EventStream) -> dict[str, Any]:
    """The facts of a stream that was read to its end; counts and times are those of the file, before any repair."""
    tally = stream.tally
    span_us = tally.span_us if tally.events else None
    return {
        "format": stream.format,
        "width": stream.sensor.width,
        "height": stream.sensor.height,
        "sensor_assumed": stream.sensor_assumed,
        "events": tally.events,
        "on": tally.on,
        "off": tally.off,
        "triggers": tally.triggers,
        "first_us": tally.first_us,
        "last_us": tally.last_us,
        "span_us": span_us,
        "rate_hz": tally.events / (span_us * 1e-6) if span_us else None,
        "backward_steps": tally.backward_steps,
        "out_of_sensor": tally.out_of_sensor,
    }


def as_text(stream: EventStream, facts: dict[str, Any]) -> str:
    """The same facts for people."""
    tally = stream.tally
    lines = [
        ("format", facts["format"]),
        ("sensor", f"{stream.sensor}{' (assumed)' if facts['sensor_assumed'] else ''}"),
        ("events", f"{facts['events']:,}"),
    ]
    if tally.events:
        share = 100 * tally.on / tally.events
        lines += [
            ("polarity", f"{tally.on:,} ON ({share:.1f} %), {tally.off:,} OFF"),
            ("time", f"{tally.first_us} to {tally.last_us} us"),
            ("span", f"{tally.span_us * 1e-6:.6f} s"),
            ("rate", "-" if facts["rate_hz"] is None else f"{facts['rate_hz']:,.0f} events/s"),
        ]
    lines += [
        ("triggers", f"{tally.triggers:,}"),
        ("backward steps", f"{tally.backward_steps:,} (clock restarts: {tally.restarts:,})"),
        ("out of sensor", f"{tally.out_of_sensor:,}"),
    ]
    if tally.unknown_words:
        lines.append(("unknown words", f"{tally.unknown_words:,}"))
    return "\n".join(f"{name:<15} {value}" for name, value in lines)
