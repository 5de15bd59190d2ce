"""`dvs-snn bench SUBJECT`: measure this machine; each subject is a module of `dvs_snn.bench` with `run(args)`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb `bench`; the subjects are found by file name, nothing heavy is imported."""
    parser = subparsers.add_parser("bench", help="measure speed: kernels and training, decoding, latency")
    parser.add_argument("subject", choices=subjects(), help="what to measure")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--plot", metavar="PICTURE", help="memory: also draw the curves: FILE.png, .pdf or .svg")
    parser.add_argument(
        "--sequences", type=int, metavar="N", help="tracking_quality: how many sequences, 60 for all (6)"
    )
    parser.set_defaults(run=run)


def subjects() -> list[str]:
    """Names of the benchmarks."""
    folder = Path(__file__).parents[1] / "bench"
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))


def run(args: argparse.Namespace) -> int:
    """Run one benchmark; its table goes to stdout. Raises `ConfigError` for a picture of one that draws none."""
    if args.sequences is not None and args.subject != "tracking_quality":
        from dvs_snn.errors import ConfigError

        raise ConfigError(f"bench {args.subject} has no sequences: leave --sequences out")
    if args.plot and args.subject != "memory":
        from dvs_snn.errors import ConfigError

        raise ConfigError(f"bench {args.subject} draws no picture: leave --plot out")
    return int(importlib.import_module(f"dvs_snn.bench.{args.subject}").run(args) or 0)
