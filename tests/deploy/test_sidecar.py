"""What of the side-car needs no Lava: messages, the edits of the import loader, errors of a start that fails."""

import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.deploy import LoihiPackage
from dvs_snn.deploy.lava_client import Sidecar, fixed_graph
from dvs_snn.deploy.sidecar.lava_shim import EDITS, edited
from dvs_snn.deploy.sidecar.wire import receive, send
from dvs_snn.errors import SidecarError


def test_messages_arrive_whole() -> None:
    ours, theirs = socket.socketpair()
    arrays = {"a": np.arange(12, dtype=np.int32).reshape(3, 4), "empty": np.zeros((0, 2))}
    send(ours, {"do": "run"}, **arrays)
    header, found = receive(theirs)
    assert header == {"do": "run"}
    for name, value in arrays.items():
        assert np.array_equal(found[name], value) and found[name].dtype == value.dtype
    ours.close()
    with pytest.raises(EOFError):
        receive(theirs)
    theirs.close()


def test_unknown_source_is_refused() -> None:
    for name in EDITS:
        with pytest.raises(ImportError, match=r"not the module of Lava 0\.10\.0"):
            edited(name, "class ByteEncoder: ...")


def test_lava_is_never_imported_here(package: LoihiPackage) -> None:
    import dvs_snn.deploy.lava_runtime  # noqa: F401

    assert not any(name == "lava" or name.startswith("lava.") for name in sys.modules)


@pytest.mark.parametrize(("program", "message"), [("/nowhere/python", "did not start"), ("/bin/false", "crashed")])
def test_a_start_that_fails_is_one_line(package: LoihiPackage, program: str, message: str) -> None:
    with pytest.raises(SidecarError, match=message):
        Sidecar(fixed_graph(package.layers[:-1]), python=program)


def test_missing_lava_says_how_to_get_it(package: LoihiPackage, tmp_path: Path) -> None:
    empty = tmp_path / "python"
    empty.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without site-packages
    empty.chmod(0o755)
    with pytest.raises(SidecarError):
        Sidecar(fixed_graph(package.layers[:-1]), python=str(empty))
