"""`dvs-snn train RECIPE`: train a network; `--resume` goes on where a cut run stopped."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Options of the verb."""
    parser = subparsers.add_parser("train", help="train a network by a recipe", description=__doc__)
    parser.add_argument("recipe", help="name of a recipe that ships with the package, or a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="replace a value of the recipe: train.epochs=3"
    )
    parser.add_argument(
        "--data", help="folder of a data set (its layout tells which), or with train/ and validation/ recordings"
    )
    parser.add_argument("--out", help="folder of the run (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly where it was cut")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--prepare", action="store_true", help="make the recordings that the recipe needs, then stop")
    parser.set_defaults(run=run)
    parse = parser.parse_known_args

    def parse_interleaved(words: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        """argparse takes positional words in one row only; key=value may also stand after the options."""
        found, rest = parse(words, namespace)
        found.overrides = [*found.overrides, *(word for word in rest if "=" in word and not word.startswith("-"))]
        return found, [word for word in rest if word not in found.overrides]

    parser.parse_known_args = parse_interleaved


def run(args: argparse.Namespace) -> int:
    """Train; prints one JSON line with the best epoch's measures and the checkpoint's folder."""
    import json
    import os
    from pathlib import Path

    # torch's threads wait for each other by spinning, unless told: next to any other process that costs several times
    # their work. It is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from dvs_snn.learning import EventTask, Team, Trainer, load_recipe, open_data

    recipe = load_recipe(args.recipe, args.overrides, args.data)
    config = recipe.pipeline
    device = choose_device(args.device)
    train, validation = (
        open_data(recipe.data, split, config.labels, config.sensor) for split in ("train", "validation")
    )
    if train.split == "all":
        from dvs_snn.errors import ConfigError

        raise ConfigError(f"{args.data}: training needs the sub-folders train and validation")
    team = Team.join(device)
    for recordings in (train, validation):
        if hasattr(recordings, "prepare"):
            team.told(recordings.prepare)
    if args.prepare:
        print(f"{len(train)} training and {len(validation)} validation recordings are ready", file=sys.stderr)
        return 0
    out = Path(args.out or f"runs/{recipe.name}")
    try:
        kind: Any = EventTask
        if config.task == "tracks":
            from dvs_snn.learning.tracking_task import TrackingTask as kind  # type: ignore[no-redef]
        best = Trainer(kind(recipe, train, validation, team), out, device, command(args), args.resume, team=team).fit()
    finally:
        team.leave()
    if not team.leads:
        return 0
    summary = {"checkpoint": str(out / "checkpoint"), "epoch": best["epoch"]}
    print(
        json.dumps(
            {**summary, **{k: best["validation"][k] for k in ("accuracy", "accuracy_low", "accuracy_high", "n")}}
        )
    )
    return 0


def choose_device(name: str) -> str:
    """`auto` is a GPU where there is one; asking for one that is not there is an error."""
    import os

    import torch

    from dvs_snn.errors import ConfigError

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("--device cuda: no GPU is available here; use --device cpu")
    chosen = name if name != "auto" else "cuda" if available else "cpu"
    # a launcher of several processes says which GPU is whose
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if chosen == "cuda" else chosen


def command(args: argparse.Namespace) -> str:
    """The command that makes this network again, as it goes into its metrics."""
    words = ["dvs-snn", "train", args.recipe, *args.overrides]
    if args.data:
        words[3:3] = ["--data", args.data]
    return shlex.join(words)
