"""The library's end of the Lava side-car: starts it, asks it, and leaves nothing behind when either side fails.

Lava is never imported here: it forks, hangs on any exception in a process model, and orphans its children (see
`sidecar.server`). `DVS_SNN_LAVA_PYTHON` names another interpreter that has Lava.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvs_snn.deploy.layers import ChipLayer, ConvLIF, RecurrentTCLIF
from dvs_snn.deploy.sidecar.wire import receive, send
from dvs_snn.deploy.split import SplitNetwork
from dvs_snn.errors import SidecarError
from dvs_snn.nn import TCLIF

SERVER = Path(__file__).with_name("sidecar") / "server.py"
PYTHON_VARIABLE = "DVS_SNN_LAVA_PYTHON"
START_S = 120.0
STOP_S = 5.0

Graph = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""Numbers and arrays of a Lava network, as `sidecar.network` reads them."""


class Sidecar:
    """A Lava network in a process of its own; `run` gives the spikes for frames.

    Raises `SidecarError` when Lava is missing, a process model fails, the side-car dies, or a step takes longer than
    `limit_s`; the side-car is then gone, with its children and its shared memory.
    """

    def __init__(self, graph: Graph, python: str | None = None, limit_s: float = 5.0, start_s: float = START_S) -> None:
        about, arrays = graph
        self.limit_s = limit_s
        self.seconds: list[float] = []
        """Time of each Lava step of the last run."""
        self._segments: list[str] = []
        program = python or os.environ.get(PYTHON_VARIABLE) or sys.executable
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the side-car
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        environment.pop("PYTHONPATH", None)
        try:
            self._process = subprocess.Popen(
                [program, str(SERVER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            ours.close()
            self._log.close()
            raise SidecarError(f"the Lava side-car did not start: {program}: {error.strerror or error}") from None
        finally:
            theirs.close()
        self._connection: socket.socket | None = ours
        self.pids: list[int] = []
        self._end = weakref.finalize(self, _end, self._process, ours, self._segments)
        ready, _ = self._ask({"do": "build", "limit_s": limit_s, **about}, arrays, start_s)
        self.delay = int(ready["delay"])
        self._segments += ready["segments"]
        self.pids = [self._process.pid, *ready["pids"]]

    @property
    def segments(self) -> list[str]:
        """Names of the shared memory that the side-car uses."""
        return list(self._segments)

    def run(self, frames: NDArray[Any], flags: Sequence[int] | NDArray[Any]) -> list[NDArray[np.bool_]]:
        """Spikes `[time, *shape]` of every layer that is seen, for frames `[time, *shape]` with their flags."""
        limit_s = self.limit_s * (len(frames) + 1) + STOP_S
        about, found = self._ask({"do": "run"}, {"frames": frames, "flags": np.asarray(flags, np.uint8)}, limit_s)
        self.seconds = about["seconds"]
        shapes = [found[f"shape{k}"] for k in range(len(found) // 2)]
        return [
            np.unpackbits(found[f"spikes{k}"], count=int(np.prod(shape))).reshape(shape).astype(bool)
            for k, shape in enumerate(shapes)
        ]

    def _ask(self, header: dict[str, Any], arrays: Mapping[str, NDArray[Any]], limit_s: float) -> tuple[dict, dict]:
        if self._connection is None:
            raise SidecarError("the Lava side-car has ended; open the runtime again")
        try:
            self._connection.settimeout(limit_s)
            send(self._connection, header, **arrays)
            answer, found = receive(self._connection)
        except TimeoutError:
            self.close()
            raise SidecarError(f"the Lava side-car did not answer within {limit_s:g} s") from None
        except (EOFError, OSError):
            text = self._last_words()
            self.close()
            raise SidecarError(f"the Lava side-car was killed or has crashed{text}") from None
        if "error" in answer:
            self.close()
            hint = ": install Lava by `make loihi`" if answer.get("missing") else ""
            raise SidecarError(f"Lava side-car: {answer['error']}{hint}")
        return answer, found

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def close(self) -> None:
        """End the side-car; safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(OSError, EOFError, ValueError):
            connection.settimeout(STOP_S)
            send(connection, {"do": "stop"})
            receive(connection)
        self._end()
        self._log.close()

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _end(process: subprocess.Popen, connection: socket.socket, segments: list[str]) -> None:
    """Close the socket, which ends a side-car that lives; kill its session if it does not; sweep shared memory."""
    connection.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for name in segments:
        with suppress(FileNotFoundError):
            os.unlink(f"/dev/shm/{name}")


def fixed_graph(layers: Sequence[ChipLayer], convolution: str = "instant", record: bool = False) -> Graph:
    """The integer network of some layers, all convolutions or one recurrent layer.

    `convolution`: "instant", "buffered" (one step per convolution, as on the chip) or "stock" (Lava's own, slow).
    """
    numbers: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for index, layer in enumerate(layers):
        own: dict[str, NDArray[Any]] = {
            "weights": layer.weights,
            "keep": layer.keep,
            "bias": layer.state_bias,
            "threshold": layer.state_threshold,
        }
        about: dict[str, Any] = {"kind": layer.kind}
        if isinstance(layer, ConvLIF):
            about |= {"shape": list(layer.shape), "stride": layer.stride, "padding": layer.padding}
        elif isinstance(layer, RecurrentTCLIF):
            own |= {"feedback": layer.feedback, "feedforward": layer.feedforward, "gamma": layer.state_gamma}
        numbers.append(about)
        arrays |= {f"{index}.{name}": np.asarray(value) for name, value in own.items()}
    return {"mode": "fixed", "convolution": convolution, "record": record, "layers": numbers}, arrays


def float_backbone_graph(
    network: SplitNetwork, layers: Sequence[ConvLIF], convolution: str = "instant", record: bool = False
) -> Graph:
    """The float backbone of a split network, in double precision; shapes are those of its integer `layers`."""
    modules = list(network.backbone)  # type: ignore[call-overload]
    numbers: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for index, (layer, module, neuron) in enumerate(zip(layers, modules[::2], modules[1::2], strict=True)):
        c = neuron.coefficients(torch.float64)
        channels = len(layer.mantissas)
        vectors = {"keep": c.transition[0, 0], "threshold": c.threshold, "bias": module.bias}
        numbers.append(
            {"kind": layer.kind, "shape": list(layer.shape), "stride": layer.stride, "padding": layer.padding}
        )
        arrays[f"{index}.weights"] = module.weight.detach().double().numpy()
        arrays |= {f"{index}.{name}": _vector(value, channels) for name, value in vectors.items()}
    return {"mode": "float", "convolution": convolution, "record": record, "layers": numbers}, arrays


def float_head_graph(head: TCLIF) -> Graph:
    """The float recurrent layer in double precision."""
    assert head.recurrent is not None
    c = head.coefficients(torch.float64)
    count = len(head.recurrent.weight)
    vectors = {
        "keep": c.transition[0, 0],
        "feedback": -torch.as_tensor(c.transition[0, 1]),
        "feedforward": c.transition[1, 0],
        "bias": head.recurrent.bias,
        "threshold": c.threshold,
        "gamma": c.reset[0],
    }
    arrays: dict[str, NDArray[Any]] = {f"0.{name}": _vector(value, count) for name, value in vectors.items()}
    arrays["0.weights"] = head.recurrent.weight.detach().double().numpy()
    about = {"mode": "float", "convolution": "instant", "record": False, "layers": [{"kind": RecurrentTCLIF.kind}]}
    return about, arrays


def _vector(value: Any, count: int) -> NDArray[np.float64]:
    """One number per target; absent is zero."""
    flat = torch.as_tensor(0.0 if value is None else value, dtype=torch.float64).detach().reshape(-1).numpy()
    return np.broadcast_to(flat, (count,)).copy()
