"""`dvs-snn simulate`: write a recording of a simulated scene, and the truth about it."""

from __future__ import annotations

import argparse
import csv
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the verb with its options."""
    parser = subparsers.add_parser("simulate", help="write a recording of a simulated scene")
    parser.add_argument("scene", choices=("gesture",), help="what the camera sees")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="recording to write; the extension sets the format"
    )
    parser.add_argument("--label", default="0", metavar="L", help="gesture by index or name (default 0, hand clapping)")
    parser.add_argument("--seconds", type=float, default=1.5, metavar="S", help="length of the recording (default 1.5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides person, motion, light and sensor")
    parser.add_argument("--sensor", default="128x128", metavar="WxH", help="size of the sensor (default 128x128)")
    parser.add_argument("--truth", metavar="FILE", help="CSV to write: start_us,end_us,index,label")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, then write the recording and, if asked for, the truth."""
    from dvs_snn.errors import ConfigError
    from dvs_snn.events.files import write_recording
    from dvs_snn.events.simulate import GESTURES, gesture_index, simulate_gesture_sequence
    from dvs_snn.events.stream import Sensor, stream_of

    sensor = Sensor.parse(args.sensor)
    if not 0.01 <= args.seconds <= 3600:
        raise ConfigError(f"--seconds {args.seconds}: give 0.01 to 3600")
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: must not be negative")
    events, truth = simulate_gesture_sequence([gesture_index(args.label)], args.seconds, args.seed, sensor)
    write_recording(args.out, stream_of(events, sensor, source="simulated"))
    if args.truth:
        with open(args.truth, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["start_us", "end_us", "index", "label"])
            writer.writerows((start, end, index, GESTURES[index]) for start, end, index in truth)
    label = GESTURES[truth[0][2]]
    print(f"{args.out}: {len(events)} events of {label!r}, {args.seconds} s, {sensor}", file=sys.stderr)
    return 0
