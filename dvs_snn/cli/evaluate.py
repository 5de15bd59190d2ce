"""`dvs-snn evaluate CHECKPOINT --data DIR`: judge a network on labelled recordings."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Options of the verb."""
    parser = subparsers.add_parser("evaluate", help="judge a network on labelled recordings", description=__doc__)
    parser.add_argument("checkpoint", help="folder of a checkpoint, or the name of one that ships with the package")
    parser.add_argument(
        "--data",
        required=True,
        help="folder of recordings whose names tell the class (3_right_arm_cw.aedat4), in sub-folders named by class, "
        "or with a labels.csv (file,label); or 'simulated'",
    )
    parser.add_argument("--split", default="test", help="split to judge on (default: test)")
    parser.add_argument("--recordings", type=int, help="how many simulated recordings (default: the whole split)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    import json
    import os

    from tqdm import tqdm

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see train

    from dvs_snn.cli.train import choose_device
    from dvs_snn.errors import ConfigError
    from dvs_snn.learning import (
        SIMULATED,
        RecordingSet,
        SimulatedGestures,
        SimulatedGesturesConfig,
        data_config,
        data_in,
        evaluate,
        open_data,
    )
    from dvs_snn.pipeline import load_checkpoint

    checkpoint = load_checkpoint(args.checkpoint)
    config = checkpoint.config
    if args.data == SIMULATED:
        if args.recordings is not None and args.recordings < 1:
            raise ConfigError(f"--recordings {args.recordings}: must be above zero")
        counts = {args.split: args.recordings} if args.recordings else {}
        if config.task != "gesture" or args.split not in ("train", "validation", "test"):
            raise ConfigError("simulated recordings are gestures in the splits train, validation and test")
        simulated = SimulatedGestures(SimulatedGesturesConfig(**counts), args.split, config.sensor)
        simulated.prepare()
        recordings: RecordingSet = simulated
    else:
        trained_on = checkpoint.metrics.get("recipe", {}).get("data", {"name": "folder"})
        data = data_config(data_in(args.data, trained_on))
        recordings = open_data(data, args.split, config.labels, config.sensor)
    with tqdm(total=len(recordings), desc="evaluate", unit="recording", file=sys.stderr) as bar:
        result = evaluate(config, checkpoint.model, recordings, device=choose_device(args.device), advance=bar.update)
    result = {"checkpoint": str(args.checkpoint), **result}
    print(json.dumps(result) if args.json else describe(result))
    return 0


def describe(result: dict[str, Any]) -> str:
    """The measures for a reader: accuracy, per class, confusion, latency."""
    lines = [
        f"{result['task']} on {result['data']}, split {result['split']}: {result['n']} recordings",
        f"accuracy {result['accuracy']:.4f} (95 %: {result['accuracy_low']:.4f} to {result['accuracy_high']:.4f})",
    ]
    latency = result["latency"]
    if latency["median_s"] is not None:
        lines.append(
            f"first right decision after {latency['median_s']:.2f} s (median), {latency['p90_s']:.2f} s "
            f"(90th percentile), in {latency['decided']:.1%} of the recordings"
        )
    lines.append("row: true class, column: decided class")
    for entry, row in zip(result["per_class"], result["confusion"], strict=True):
        counts = " ".join(f"{count:4d}" if count else "   ." for count in row)
        lines.append(f"{entry['index']:2d} {entry['label'][:18]:18s} {counts}   {entry['right']}/{entry['n']}")
    return "\n".join(lines)
