"""Lets Lava 0.10.0 import on Python 3.11 and numpy 2: three of its modules are compiled from edited source.

- `var_model`: Python 3.11 refuses a dataclass instance as default unless its class is hashable;
- `ports`: numpy 2.4 has no `np.reshape(newshape=...)`;
- `conv.models`: numpy 2 keeps int8 arithmetic in int8, so sides of 128 pixels overflow.

A module whose text is not the expected one raises ImportError: better no Lava than one edited blindly. Import this
before any `lava`. Nothing else in the process is touched.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

EDITS: dict[str, list[tuple[str, str]]] = {
    "lava.magma.compiler.var_model": [
        ("@dataclass\nclass ByteEncoder:", "@dataclass(unsafe_hash=True)\nclass ByteEncoder:"),
    ],
    "lava.magma.core.process.ports.ports": [
        ("ft.partial(np.reshape, newshape=self.shape)", "(lambda data, shape=self.shape: np.reshape(data, shape))"),
        (
            "ft.partial(np.reshape, newshape=self.old_shape)",
            "(lambda data, shape=self.old_shape: np.reshape(data, shape))",
        ),
    ],
    "lava.proc.conv.models": [("LavaPyType(np.ndarray, np.int8,", "LavaPyType(np.ndarray, np.int32,")],
}


def edited(name: str, source: str) -> str:
    """The module's source with its edits; raises ImportError when the text to be edited is not there."""
    for old, new in EDITS[name]:
        if old not in source:
            raise ImportError(f"{name} is not the module of Lava 0.10.0 that is known to run on this Python")
        source = source.replace(old, new)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str):  # type: ignore[no-untyped-def]  # past the cache of compiled files
        source = edited(fullname, self.get_data(self.path).decode())
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target: ModuleType | None = None):  # type: ignore[no-untyped-def]
        if fullname not in EDITS:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        if found is None or found.origin is None:
            return None
        return importlib.util.spec_from_file_location(fullname, found.origin, loader=_Loader(fullname, found.origin))


def install() -> None:
    """Edit those modules when they are imported; does nothing before Python 3.11."""
    if sys.version_info >= (3, 11) and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
