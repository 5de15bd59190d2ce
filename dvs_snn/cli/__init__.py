"""The command line `dvs-snn`: one file per verb; the only room that prints results and sets exit statuses.

Results go to stdout, progress and notes to stderr. Bad input ends with one line and exit status 2. Heavy imports stay
inside a verb's `run`, so that `dvs-snn info` does not wait for torch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from dvs_snn import __version__
from dvs_snn.errors import DvsSnnError

ORDER = ("demo", "simulate", "info", "convert", "train", "evaluate", "replay", "bench", "export", "compare", "text")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse alone prints the whole usage before it."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"dvs-snn: {message} (see '{self.prog} --help')", file=sys.stderr)
        raise SystemExit(2)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every verb; each verb's module adds its own options and names its `run`."""
    parser = _Parser(prog="dvs-snn", description="Event-camera perception with spiking neural networks.")
    parser.add_argument("--version", action="version", version=f"dvs-snn {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    verbs = {module.name for module in pkgutil.iter_modules(__path__)}
    for verb in sorted(verbs, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        module = importlib.import_module(f"dvs_snn.cli.{verb}")
        module.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status: 0 done, 2 bad input, 130 interrupted."""
    try:
        args = build_parser().parse_args(argv)
        return int(args.run(args) or 0)
    except DvsSnnError as error:
        print(f"dvs-snn: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # full disk, no permission, a folder where a file should be
        print(f"dvs-snn: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dvs-snn: interrupted; what was written is kept", file=sys.stderr)
        return 130
