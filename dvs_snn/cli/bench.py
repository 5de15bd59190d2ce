"""`dvs-snn bench SUBJECT`: measure this machine; each subject is a module of `dvs_snn.bench` with `run(args)`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

OPTIONS = {
    "plot": ("memory",),
    "sequences": ("tracking_camera", "tracking_quality"),
    "data": ("nmnist", "text"),
    "minutes": ("nmnist",),
    "seed": ("nmnist",),
}
"""Options that belong to some subjects only."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb `bench`; the subjects are found by file name, nothing heavy is imported."""
    parser = subparsers.add_parser("bench", help="measure speed: kernels and training, decoding, latency")
    parser.add_argument("subject", choices=subjects(), help="what to measure")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--plot", metavar="PICTURE", help="memory: also draw the curves: FILE.png, .pdf or .svg")
    parser.add_argument(
        "--sequences", type=int, metavar="N", help="tracking_quality, tracking_camera: how many sequences (6)"
    )
    parser.add_argument("--data", metavar="DIR", help="nmnist: Train/ and Test/; text: SST-2 to learn (long)")
    parser.add_argument("--minutes", type=float, metavar="M", help="nmnist: processor time for each to learn (10)")
    parser.add_argument("--seed", type=int, metavar="N", help="nmnist: seed of weights and of order (1)")
    parser.set_defaults(run=run)


def subjects() -> list[str]:
    """Names of the benchmarks."""
    folder = Path(__file__).parents[1] / "bench"
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))


def run(args: argparse.Namespace) -> int:
    """Run one benchmark; its table goes to stdout. Raises `ConfigError` for an option that this one has not."""
    for option, owners in OPTIONS.items():
        if getattr(args, option) is not None and args.subject not in owners:
            from dvs_snn.errors import ConfigError

            raise ConfigError(f"bench {args.subject} has no --{option}: leave it out")
    return int(importlib.import_module(f"dvs_snn.bench.{args.subject}").run(args) or 0)
