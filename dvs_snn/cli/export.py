"""`dvs-snn export CHECKPOINT --to nir|loihi --out PATH`: a network for other machines."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Options of the verb."""
    parser = subparsers.add_parser("export", help="write a network for other machines", description=__doc__)
    parser.add_argument("checkpoint", help="folder of a checkpoint, or the name of one that ships with the package")
    parser.add_argument("--to", required=True, choices=("nir", "loihi"), help="NIR graphs, or an integer package")
    parser.add_argument("--out", required=True, metavar="PATH", help="folder to write")
    parser.add_argument(
        "--exponent", type=int, help="weight exponent of all layers (default: the largest that fits each layer)"
    )
    parser.add_argument("--prune", type=float, default=0.0, help="share of each layer's smallest weights to zero first")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write, and tell what was written."""
    import shutil
    from pathlib import Path

    from dvs_snn.deploy.export import quantize, simulated_calibration
    from dvs_snn.deploy.package import FOLDER
    from dvs_snn.errors import ConfigError
    from dvs_snn.pipeline import load_checkpoint
    from dvs_snn.pipeline.checkpoint import TEXT_TASKS, open_folder

    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; --out names a folder")
    if open_folder(args.checkpoint)[1].get("task") in TEXT_TASKS:
        return _export_text(args.checkpoint, args.to, out)
    checkpoint = load_checkpoint(args.checkpoint)
    if args.to == "nir":
        from dvs_snn.deploy.nir_graph import write_nir

        for path in write_nir(checkpoint.model, out, checkpoint.config.bin_us):
            print(path)
        return 0
    print("calibrating on simulated gestures ...", file=sys.stderr)
    calibration = simulated_calibration(checkpoint.config)
    package = quantize(checkpoint.model, calibration, args.exponent, args.prune)
    package.verify()
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() != Path(checkpoint.path).resolve():
        for name in ("config.json", "model.safetensors", "metrics.json"):
            shutil.copyfile(Path(checkpoint.path) / name, out / name)
    package.save(out / FOLDER)
    for layer in package.layers:
        print(f"{layer.name:8s} {layer.mantissas.size:7d} weights, exponent {layer.exponent}")
    for part in package.parts:
        work = f"{part['per_bin']:10,d} operations/bin {part['share']:6.1%}"
        print(f"{part['part']:8s} on the {part['runs_on']:5s} {work}")
    print(out)
    return 0


def _export_text(name: str, to: str, out: Any) -> int:
    from dvs_snn.errors import ConfigError
    from dvs_snn.text import load_text_model
    from dvs_snn.text.nir_graph import write_blocks

    if to != "nir":
        raise ConfigError(f"{name}: a text model has no integer package; use --to nir")
    for path in write_blocks(load_text_model(name).network, out):
        print(path)
    return 0
