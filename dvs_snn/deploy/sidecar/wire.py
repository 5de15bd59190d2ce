"""Messages between library and side-car: a JSON header, then arrays as raw bytes, over a Unix stream socket."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import numpy as np

START = struct.Struct("<I")


def send(connection: socket.socket, header: dict[str, Any], **arrays: np.ndarray) -> None:
    """Write one message."""
    about = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    text = json.dumps({**header, "arrays": about}).encode()
    parts = [START.pack(len(text)), text, *(np.ascontiguousarray(array).tobytes() for array in arrays.values())]
    connection.sendall(b"".join(parts))


def receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one message; `EOFError` when the other side is gone."""
    (length,) = START.unpack(_read(connection, START.size))
    header = json.loads(_read(connection, length))
    arrays = {}
    for name, (kind, shape) in header.pop("arrays").items():
        dtype = np.dtype(kind)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        arrays[name] = np.frombuffer(_read(connection, size), dtype).reshape(shape)
    return header, arrays


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the other side is gone")
        data += part
    return bytes(data)
