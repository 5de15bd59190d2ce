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
        "or with a labels.csv (file,label); for a tracker recordings with a truth NAME.truth.csv beside each "
        "(t_us,id,x,y[,w,h]); or 'simulated'",
    )
    parser.add_argument("--split", default="test", help="split to judge on (default: test)")
    parser.add_argument("--recordings", type=int, help="how many simulated recordings (default: the whole split)")
    parser.add_argument("--confusion", metavar="PICTURE", help="also draw the confusion matrix: FILE.png, .pdf or .svg")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    import json
    import os

    import numpy as np
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
    if config.task == "tracks":
        return _evaluate_tracks(args, checkpoint)
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
        if hasattr(recordings, "prepare"):
            recordings.prepare()
    with tqdm(total=len(recordings), desc="evaluate", unit="recording", file=sys.stderr) as bar:
        device = choose_device(args.device)
        result = evaluate(config, checkpoint.model, recordings, device=device, advance=bar.update, costs=True)
    result = {"checkpoint": str(args.checkpoint), **result}
    if args.confusion:
        from dvs_snn.viz import draw_confusion

        title = f"{result['data']}, {result['split']}"
        draw_confusion(args.confusion, np.array(result["confusion"]), config.labels, title)
    print(json.dumps(result) if args.json else describe(result))
    return 0


def _evaluate_tracks(args: argparse.Namespace, checkpoint: Any) -> int:
    """Judge a tracker on simulated shapes or on recordings with a truth beside them."""
    import json

    from tqdm import tqdm

    from dvs_snn.learning.tracking_evaluation import describe_tracks, evaluate_tracks, open_tracking_data
    from dvs_snn.pipeline import open_pipeline

    recordings = open_tracking_data(args.data, args.split, args.recordings)
    pipeline = open_pipeline(checkpoint, device="cpu" if args.device == "auto" else args.device)
    with tqdm(total=len(recordings), desc="evaluate", unit="recording", file=sys.stderr) as bar:
        result = evaluate_tracks(pipeline, recordings, advance=bar.update)
    pipeline.close()
    named = {"task": "tracks", "data": recordings.source, "split": recordings.split}
    result = {"checkpoint": str(args.checkpoint), **named, **result}
    print(json.dumps(result) if args.json else describe_tracks(result))
    return 0


def describe(result: dict[str, Any]) -> str:
    """The measures for a reader: accuracy, latency, costs, confusion."""
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
    lines += describe_costs(result["costs"])
    lines.append("row: true class, column: decided class")
    for entry, row in zip(result["per_class"], result["confusion"], strict=True):
        counts = " ".join(f"{count:4d}" if count else "   ." for count in row)
        lines.append(f"{entry['index']:2d} {entry['label'][:18]:18s} {counts}   {entry['right']}/{entry['n']}")
    return "\n".join(lines)


def describe_costs(costs: dict[str, Any]) -> list[str]:
    """Operations and size in two lines, then a line per layer of neurons."""
    operations = costs["synaptic_operations"]
    what = "spikes" if costs["spiking"] else "activations that are not zero"
    lines = [
        f"per bin: {costs['spikes_per_bin']:.0f} {what}, {operations['effective_acs'] / 1e3:.0f} k accumulates, "
        f"{operations['effective_macs'] / 1e3:.0f} k multiply-accumulates (dense {operations['dense'] / 1e3:.0f} k)",
        f"{costs['parameters']} parameters, {costs['bytes']} bytes, "
        f"activation sparsity {costs['activation_sparsity']:.3f}",
        f"layer, neurons, rate, T phi at every bin (T = 1) and once (T = {costs['bins_to_decision']:.0f} bins):",
    ]
    longest = max(map(len, costs["layers"]), default=0)
    for name, layer in costs["layers"].items():
        each, once = layer["each_bin"], layer["once"]
        lines.append(
            f"  {name:{longest}s} {layer['neurons']:6d} {layer['rate']:.4f}  {each['t_phi']:.3f} {each['gate']:5s}  "
            f"{once['t_phi']:.2f} {once['gate']}"
        )
    return lines
