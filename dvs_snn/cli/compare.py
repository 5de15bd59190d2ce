"""`dvs-snn compare CHECKPOINT FILE`: float, fake-quantised, integer and Lava networks on a recording, step by step."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Options of the verb."""
    parser = subparsers.add_parser("compare", help="a network in its forms for other machines", description=__doc__)
    parser.add_argument("checkpoint", help="folder of a checkpoint, or the name of one that ships with the package")
    parser.add_argument("file", nargs="?", metavar="FILE", help="recording")
    parser.add_argument("--sensor", metavar="WxH", help="sensor size, for files that do not state it")
    parser.add_argument("--lava", action="store_true", help="run Lava too (make loihi)")
    parser.add_argument("--plot", metavar="X.png", help="draw where the forms part")
    parser.add_argument("--exponent", type=int, help="weight exponent, in place of the package's own")
    parser.add_argument(
        "--recordings",
        type=int,
        metavar="N",
        help="in place of FILE: accuracy of float and integer on N simulated ones",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    import json
    from dataclasses import asdict

    from dvs_snn.deploy.export import package_of, quantize, simulated_calibration
    from dvs_snn.errors import ConfigError
    from dvs_snn.pipeline import load_checkpoint

    if (args.file is None) == (args.recordings is None):
        raise ConfigError("compare needs a recording, or --recordings N")
    checkpoint = load_checkpoint(args.checkpoint)
    if args.exponent is None:
        package = package_of(checkpoint)
    else:
        package = quantize(checkpoint.model, simulated_calibration(checkpoint.config), args.exponent)
    if args.recordings is not None:
        return _accuracy(args, checkpoint, package)

    from dvs_snn.deploy.compare import compare, describe
    from dvs_snn.deploy.energy import TABLES, estimate, report, spikes_per_neuron, twin_macs
    from dvs_snn.events import Sensor, windows
    from dvs_snn.events.files import open_recording
    from dvs_snn.events.resample import Resample
    from dvs_snn.representation import dense_batch

    config = checkpoint.config
    stream = open_recording(args.file, Sensor.parse(args.sensor) if args.sensor else None)
    if stream.sensor != config.sensor:
        fit = Resample(stream.sensor, config.sensor)
        stream = stream.through(lambda packets: map(fit, packets), config.sensor)
    found = list(windows(stream, config.bin_us))
    if not found:
        raise ConfigError(f"{args.file}: no events, so there is nothing to compare")
    maps = dense_batch([config.representation(window, config.sensor) for window in found]).numpy()
    result = compare(checkpoint.model, package, maps, args.lava)
    decided = _recording_decisions(config, found, result.traces)
    if args.plot:
        from dvs_snn.viz.agreement import draw_agreement

        draw_agreement(args.plot, result.traces, config.labels, config.bin_us)
    if args.json:
        energy = [asdict(estimate(result.counts, name)) for name in TABLES]
        about = {
            "checkpoint": str(args.checkpoint),
            "file": args.file,
            "steps": len(maps),
            "differences": [asdict(each) for each in result.differences],
            "decisions": decided,
            "energy": energy,
            "twin_macs": twin_macs(package.layers),
            "spikes_per_neuron": spikes_per_neuron(result.counts),
            "parts": package.parts,
        }
        print(json.dumps(about))
        return 0
    print(f"{args.file}: {len(maps)} steps")
    for line in (*describe(result), _agreed(decided), *report(package.layers, result.counts)):
        print(line)
    for part in package.parts:
        print(f"  {part['part']:8s} on the {part['runs_on']:5s} {part['share']:6.1%} of the operations")
    return 0


def _recording_decisions(config: Any, found: list[Any], traces: Any) -> dict[str, str]:
    """The class of the whole recording by every form's logits, as `evaluate` decides it."""
    import numpy as np

    from dvs_snn.pipeline import decider_of, recording_label

    labels = {}
    for name, trace in traces.items():
        decider = decider_of(config)
        decisions: list[Any] = []
        for window, logits in zip(found, trace.logits.astype(np.float32), strict=True):
            if window.first:
                decider.reset()
            decisions.append(decider(logits, window))
        rule = config.decision
        labels[name] = config.labels[recording_label(decisions, config.bin_us, rule.warmup_us, rule.whole)]
    return labels


def _agreed(decided: dict[str, str]) -> str:
    if len(set(decided.values())) == 1:
        return f"decision of the recording, by every form: {next(iter(decided.values()))}"
    return "decision of the recording: " + ", ".join(f"{name}: {label}" for name, label in decided.items())


def _accuracy(args: argparse.Namespace, checkpoint: Any, package: Any) -> int:
    """Decisions on simulated test recordings; a batch of them is in memory at a time."""
    import json
    import time

    import numpy as np
    from tqdm import tqdm

    from dvs_snn.deploy import integer_parts, split
    from dvs_snn.errors import ConfigError
    from dvs_snn.learning import SimulatedGestures, SimulatedGesturesConfig
    from dvs_snn.learning.evaluate import decisions_of
    from dvs_snn.learning.metrics import classification
    from dvs_snn.pipeline import recording_label

    if args.recordings < 1:
        raise ConfigError(f"--recordings {args.recordings}: must be above zero")
    config = checkpoint.config
    rule = config.decision
    recordings = SimulatedGestures(SimulatedGesturesConfig(test=args.recordings), "test", config.sensor)
    recordings.prepare()
    networks = {
        "float": checkpoint.model,
        "integer": split(checkpoint.model).with_parts(*integer_parts(package.layers)),
    }
    truth = [recordings.label_and_seed(index)[0] for index in range(len(recordings))]
    results: dict[str, dict[str, Any]] = {}
    labels: dict[str, Any] = {}
    each_window: dict[str, Any] = {}
    for name, network in networks.items():
        decided, said = [], []
        begun = time.monotonic()
        with tqdm(total=len(recordings), desc=name, unit="recording", file=sys.stderr) as bar:
            for _, decisions in decisions_of(config, network, recordings):
                decided.append(recording_label(decisions, config.bin_us, rule.warmup_us, rule.whole))
                said.append(np.array([decision.index for decision in decisions]))
                bar.update()
        spent_s = time.monotonic() - begun
        labels[name], each_window[name] = np.array(decided), np.concatenate(said)
        found = classification(truth, decided, config.labels)
        results[name] = {key: found[key] for key in ("n", "accuracy", "accuracy_low", "accuracy_high")}
        results[name]["seconds_per_recording"] = round(spent_s / len(recordings), 4)
    right = {name: found == np.array(truth) for name, found in labels.items()}
    both = {
        "lost_points": round(100 * float(right["float"].mean() - right["integer"].mean()), 3),
        "only_float_right": int((right["float"] & ~right["integer"]).sum()),
        "only_integer_right": int((right["integer"] & ~right["float"]).sum()),
        "same_decision": float((labels["float"] == labels["integer"]).mean()),
        "same_window": float((each_window["float"] == each_window["integer"]).mean()),
    }
    if args.json:
        print(json.dumps({"checkpoint": str(args.checkpoint), "data": recordings.source, **results, "both": both}))
        return 0
    for name, found in results.items():
        interval = f"95 %: {found['accuracy_low']:.4f} to {found['accuracy_high']:.4f}"
        print(
            f"{name:8s} accuracy {found['accuracy']:.4f} ({interval}) on {found['n']} simulated recordings, "
            f"{found['seconds_per_recording']:.3f} s each"
        )
    print(
        f"integer loses {both['lost_points']:.2f} points ({both['only_float_right']} recordings right in float only, "
        f"{both['only_integer_right']} in integers only); same decision on {both['same_decision']:.1%} of the "
        f"recordings, {both['same_window']:.1%} of the windows"
    )
    return 0
