"""Networks by name, and their configurations to and from plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from dvs_snn.errors import ConfigError
from dvs_snn.models.gesture import GestureConfig, GestureNet
from dvs_snn.nn import Temporal

MODELS: dict[str, tuple[type, type[Temporal]]] = {
    "gesture": (GestureConfig, GestureNet),
}
"""Name -> (configuration, network)."""


def model_config(name: str, values: Mapping[str, Any]) -> Any:
    """The configuration of a named network; what is not given keeps its default.

    Raises `ConfigError` for an unknown name or key, or a value out of range.
    """
    if name not in MODELS:
        raise ConfigError(f"model {name!r} is unknown; known: {', '.join(MODELS)}")
    kind = MODELS[name][0]
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"model {name!r} has no {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"model {name!r}: a value has the wrong type ({error})") from error


def build_model(name: str, config: Mapping[str, Any] | None = None) -> Temporal:
    """A network with fresh weights, from its name and plain values as JSON keeps them."""
    kind = MODELS[name][1] if name in MODELS else None
    values = model_config(name, config or {})
    assert kind is not None  # model_config refuses unknown names
    return kind(values)  # type: ignore[call-arg]


def config_dict(config: Any) -> dict[str, Any]:
    """A network's configuration as plain values for JSON; `model_config` reads them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
