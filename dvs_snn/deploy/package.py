"""The integer package: what a chip gets, as files with a schema, hashes, ranges and golden vectors.

A package is the folder `loihi` inside a checkpoint's own folder: `package.json`, `layers.safetensors` (integers),
`golden.npz` (inputs and the spikes they must give). So the folder around it still runs on every runtime, and the host's
float parts are the checkpoint's own weights, bound to the integers by a digest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from dvs_snn.deploy.integer import IntReference, LayerCounts
from dvs_snn.deploy.layers import ChipLayer, layer_from
from dvs_snn.errors import PackageError

FORMAT = 1
FOLDER = "loihi"
FILES = ("layers.safetensors", "golden.npz")
RESET = 2
RUN = 1
HOLD = 0
"""Flags that travel with a frame: what a layer does when it arrives. HOLD leaves its state as it is."""


@dataclass(frozen=True)
class Golden:
    """Frames and graded inputs with their flags, and every layer's spikes for them."""

    frames: NDArray[np.uint8]
    currents: NDArray[np.int32]
    flags: NDArray[np.uint8]
    spikes: tuple[NDArray[np.uint8], ...]
    """Per layer `[time, *shape]`, 0 or 1; the recurrent layer is the last."""


@dataclass(frozen=True)
class LoihiPackage:
    """A network's chip parts as integers.

    `source` is the digest of the float network; `parts` says which part of the work is done where, with its share;
    `calibration` what ranges were seen.
    """

    layers: tuple[ChipLayer, ...]
    golden: Golden
    source: str
    shape: tuple[int, ...]
    delays: tuple[int, ...]
    parts: list[dict[str, Any]] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    quantization: dict[str, Any] = field(default_factory=dict)

    def verify(self) -> None:
        """Raise `PackageError` unless the reference gives the golden spikes."""
        for layer, found, wanted in zip(self.layers, replay_golden(self), self.golden.spikes, strict=True):
            if not np.array_equal(found, wanted):
                count = int((found != wanted).sum())
                raise PackageError(f"layer {layer.name}: {count} spikes differ from the package's golden vectors")

    def save(self, folder: str | Path) -> None:
        """Write the package's files so that the folder is whole or as it was before."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            arrays = {f"{each.name}.{key}": value for each in self.layers for key, value in each.arrays().items()}
            save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, fresh / FILES[0])
            packed = {f"spikes{k}": np.packbits(part) for k, part in enumerate(self.golden.spikes)}
            inputs = {key: getattr(self.golden, key) for key in ("frames", "currents", "flags")}
            named: dict[str, Any] = {**inputs, **packed}
            np.savez_compressed(fresh / FILES[1], **named)
            about = {
                "format": FORMAT,
                "source": self.source,
                "input": {"shape": list(self.shape), "delays": list(self.delays)},
                "flags": {"hold": HOLD, "run": RUN, "reset": RESET},
                "layers": [layer.numbers() for layer in self.layers],
                "quantization": self.quantization,
                "parts": self.parts,
                "calibration": self.calibration,
                "golden": [list(part.shape) for part in self.golden.spikes],
                "files": {name: _digest_file(fresh / name) for name in FILES},
            }
            (fresh / "package.json").write_text(json.dumps(about, indent=1) + "\n")
            for file in fresh.iterdir():
                file.chmod(0o644)
            fresh.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def load_package(folder: str | Path, network: nn.Module | None = None) -> LoihiPackage:
    """Read a package; with `network`, refuse one that was made of another.

    Raises `PackageError` when it is missing, damaged, out of range, or not of that network.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "package.json").read_text())
        if about["format"] != FORMAT:
            raise PackageError(f"{folder}: package of format {about['format']!r}, this version reads {FORMAT}")
        for name in FILES:
            if _digest_file(folder / name) != about["files"][name]:
                raise PackageError(f"{folder}: {name} is not what package.json says (hash differs); export again")
        arrays = load_file(folder / FILES[0])
        layers = tuple(_layer(numbers, arrays) for numbers in about["layers"])
        with np.load(folder / FILES[1], allow_pickle=False) as file:
            spikes = tuple(_unpacked(file[f"spikes{k}"], shape) for k, shape in enumerate(about["golden"]))
            golden = Golden(file["frames"], file["currents"], file["flags"], spikes)
        package = LoihiPackage(
            layers,
            golden,
            about["source"],
            tuple(about["input"]["shape"]),
            tuple(about["input"]["delays"]),
            about["parts"],
            about["calibration"],
            about["quantization"],
        )
    except FileNotFoundError as error:
        raise PackageError(f"{folder}: not a package, {Path(error.filename).name} is missing") from None
    except (OSError, KeyError, TypeError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
        raise PackageError(f"{folder}: the package cannot be read: {error}") from None
    if network is not None and digest(network) != package.source:
        raise PackageError(f"{folder}: the integers are not of these weights; export the checkpoint again")
    return package


def _layer(numbers: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ChipLayer:
    start = f"{numbers['name']}."
    return layer_from(numbers, {key.removeprefix(start): v for key, v in arrays.items() if key.startswith(start)})


def _unpacked(packed: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)


def _digest_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(network: nn.Module) -> str:
    """A hash of a network's weights, whatever precision they are held in."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return found.hexdigest()


def replay_golden(package: LoihiPackage) -> list[NDArray[np.uint8]]:
    """Every layer's spikes for the golden inputs, by the reference."""
    golden = package.golden
    return run_layers(package.layers, golden.frames, golden.currents, golden.flags)[0]


def run_layers(
    layers: Sequence[ChipLayer],
    frames: NDArray[np.integer],
    currents: NDArray[np.integer],
    flags: NDArray[np.uint8],
) -> tuple[list[NDArray[np.uint8]], list[LayerCounts]]:
    """Spikes `[time, *shape]` of every layer and what they did, for chip frames and graded head inputs."""
    reference = IntReference(layers)
    found: list[list[NDArray[np.integer]]] = [[] for _ in layers]
    for frame, current, flag in zip(frames.astype(np.int32), currents.astype(np.int32), flags, strict=True):
        if flag == RESET:
            reference.reset()
        for spikes, part in zip((*reference.layers(frame), reference.head(current)), found, strict=True):
            part.append(spikes)
    return [np.stack(part).astype(np.uint8) for part in found], reference.counts


def ranges(counts: Sequence[LayerCounts]) -> list[dict[str, Any]]:
    """What was seen of each layer, for the package's report."""
    return [asdict(part) for part in counts]
