"""The side-car's main program: builds a Lava network, answers frames with spikes, and leaves nothing behind.

    python server.py FD        FD is the library's end of a Unix socket pair

It ends, with all its children and its shared memory, when the library closes the socket or dies, when a process model
raises, when a step takes too long, and when it is asked to stop. Lava's own way to stop waits for processes that may
wait for ever, so children are killed; none holds anything worth keeping.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
from wire import receive, send

DEATH_SIGNAL = 1
LOOK_S = 0.1
"""How often a waiting side-car looks whether its children and the library still live."""


class StepError(Exception):
    """What went wrong in a step, in one line."""


class Server:
    """One network for the life of the process."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.network: Any = None
        self.ports: list[Any] = []
        self.limit_s = 5.0

    def serve(self) -> None:
        """Answer until the library is gone or says stop."""
        while True:
            header, arrays = receive(self.connection)
            if header["do"] == "stop":
                self.clear()
                send(self.connection, {"stopped": True})
                return
            if header["do"] == "build":
                self.build(header, arrays)
                about = {"delay": self.network.delay, "segments": self.segments(), "pids": self.children()}
                send(self.connection, about)
            else:
                times, outputs = self.run(arrays["frames"], arrays["flags"])
                send(self.connection, {"seconds": times}, **outputs)

    def build(self, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Start the network; it then waits for frames."""
        import lava_shim

        lava_shim.install()
        # Children of a killed side-car would wait for ever.
        main = os.getpid()
        libc = ctypes.CDLL(None)

        def follow() -> None:
            libc.prctl(DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() == 1 and main != 1:
                os._exit(1)

        os.register_at_fork(after_in_child=follow)
        from lava.magma.core.run_conditions import RunContinuous
        from network import Network

        self.limit_s = about["limit_s"]
        self.network = Network(about, arrays)
        process = self.network.process
        process.create_runtime(run_cfg=self.network.run_config())
        self.actors = process.runtime._messaging_infrastructure.actors
        process.run(condition=RunContinuous())
        self.ports = [seen.out_port.external_pipe_csp_recv_port for seen in self.network.outputs]

    def run(self, frames: np.ndarray, flags: np.ndarray) -> tuple[list[float], dict[str, np.ndarray]]:
        """Spikes of the seen layers, channels first, for frames in torch's order and their flags."""
        from network import AHEAD

        count, delay = len(frames), self.network.delay
        found: list[list[np.ndarray]] = [[] for _ in self.ports]
        quiet = np.zeros_like(frames[0], dtype=float)
        times, sent = [], 0
        for t in range(count + delay):
            begun = time.perf_counter()
            while sent < min(count + delay, t + (AHEAD if delay else 1)):
                frame = frames[sent].astype(float) if sent < count else quiet
                self.network.frame.send(frame.transpose(*range(frame.ndim)[::-1]))
                if self.network.flag is not None:
                    self.network.flag.send(np.array([float(flags[sent]) if sent < count else 0.0]))
                sent += 1
            for part, port, late in zip(found, self.ports, self.network.delays):  # noqa: B905 - Python 3.9 runs this too
                spikes = self.wait(port)
                if late <= t < count + late:
                    part.append(spikes.transpose(*range(spikes.ndim)[::-1]) != 0)
            times.append(time.perf_counter() - begun)
        return times, {f"spikes{k}": np.packbits(np.stack(part)) for k, part in enumerate(found)} | {
            f"shape{k}": np.array([len(part), *part[0].shape]) for k, part in enumerate(found)
        }

    def wait(self, port: Any) -> np.ndarray:
        """The next output of a port, or the reason why there is none."""
        end = time.monotonic() + self.limit_s
        while True:
            try:
                port._queue.get(timeout=LOOK_S, peek=True)
                return port.recv()
            except Empty:
                self.look()
                if time.monotonic() > end:
                    raise StepError(f"a step took more than {self.limit_s:g} s") from None

    def look(self) -> None:
        """Raise when a process model has failed or the library is gone."""
        for actor in self.actors:
            failure = actor.exception
            if failure is not None:
                raise StepError(f"a process model failed: {type(failure[0]).__name__}: {failure[0]}")
            if not actor.is_alive():
                raise StepError("a process of the network was killed")
        ready, _, _ = select.select([self.connection], [], [], 0)
        if ready and not self.connection.recv(1, socket.MSG_PEEK):
            raise EOFError("the library is gone")

    def children(self) -> list[int]:
        """Process ids of all children, whoever they are."""
        return [
            int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        ]

    def segments(self) -> list[str]:
        """Names of the shared memory that this process and its children hold."""
        names: set[str] = set()
        for pid in (os.getpid(), *self.children()):
            with suppress(OSError):
                names |= set(re.findall(r"/dev/shm/(psm_\w+)", Path(f"/proc/{pid}/maps").read_text()))
        return sorted(names)

    def clear(self) -> None:
        """Kill the children and remove their shared memory."""
        names, pids = self.segments(), self.children()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(f"/dev/shm/{name}")


def main() -> None:
    """Serve, and say in one line why not when it cannot."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    server = Server(connection)
    try:
        server.serve()
    except EOFError:
        pass
    except BaseException as error:
        text = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
        with suppress(OSError):
            send(connection, {"error": " ".join(text.split()), "missing": isinstance(error, ImportError)})
    finally:
        server.clear()
        sys.stdout.flush()
        os._exit(0)  # threads of Lava's ports wait for ever


if __name__ == "__main__":
    main()
