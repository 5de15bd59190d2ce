"""`dvs-snn simulate`: write a recording of a simulated scene, and the truth about it."""

from __future__ import annotations

import argparse
import csv
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvs_snn.events.stream import Sensor


def add_parser(subparsers: Any) -> None:
    """Add the verb with its options."""
    parser = subparsers.add_parser("simulate", help="write a recording of a simulated scene")
    parser.add_argument("scene", choices=("gesture", "shapes"), help="what the camera sees")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="recording to write; the extension sets the format"
    )
    parser.add_argument("--label", metavar="L", help="gesture by index or name (default 0, hand clapping)")
    parser.add_argument("--seconds", type=float, default=1.5, metavar="S", help="length of the recording (default 1.5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides scene, motion, light and sensor")
    parser.add_argument(
        "--sensor", metavar="WxH", help="size of the sensor (default 128x128 for gestures, 240x180 for shapes)"
    )
    parser.add_argument(
        "--truth",
        metavar="FILE",
        help="CSV to write: start_us,end_us,index,label of a gesture, t_us,id,x,y,w,h,vx,vy,visible of shapes",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, then write the recording and, if asked for, the truth."""
    from dvs_snn.errors import ConfigError
    from dvs_snn.events.stream import Sensor

    sensor = Sensor.parse(args.sensor or ("128x128" if args.scene == "gesture" else "240x180"))
    if not 0.01 <= args.seconds <= 3600:
        raise ConfigError(f"--seconds {args.seconds}: give 0.01 to 3600")
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: must not be negative")
    if args.scene == "gesture":
        return _gesture(args, sensor)
    if args.label is not None:
        raise ConfigError(f"--label {args.label}: shapes have no label; leave the option out")
    return _shapes(args, sensor)


def _gesture(args: argparse.Namespace, sensor: Sensor) -> int:
    from dvs_snn.events.files import write_recording
    from dvs_snn.events.simulate import GESTURES, gesture_index, simulate_gesture_sequence
    from dvs_snn.events.stream import stream_of

    label = gesture_index("0" if args.label is None else args.label)
    events, truth = simulate_gesture_sequence([label], args.seconds, args.seed, sensor)
    write_recording(args.out, stream_of(events, sensor, source="simulated"))
    if args.truth:
        with open(args.truth, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["start_us", "end_us", "index", "label"])
            writer.writerows((start, end, index, GESTURES[index]) for start, end, index in truth)
    print(f"{args.out}: {len(events)} events of {GESTURES[label]!r}, {args.seconds} s, {sensor}", file=sys.stderr)
    return 0


def _shapes(args: argparse.Namespace, sensor: Sensor) -> int:
    from dvs_snn.events.files import write_recording
    from dvs_snn.events.simulate import simulate_shapes
    from dvs_snn.events.stream import stream_of

    events, truth = simulate_shapes(args.seconds, args.seed, sensor)
    write_recording(args.out, stream_of(events, sensor, source="simulated"))
    if args.truth:
        truth.write(args.truth)
    print(f"{args.out}: {len(events)} events of {len(truth.ids)} shapes, {args.seconds} s, {sensor}", file=sys.stderr)
    return 0
