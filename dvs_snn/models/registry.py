"""Networks by name, and their configurations to and from plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, fields
from typing import Any

from dvs_snn.errors import ConfigError
from dvs_snn.models.digits import DigitsConfig, DigitsNet
from dvs_snn.models.gesture import GestureConfig, GestureNet
from dvs_snn.models.nmnist import NMNISTConfig, NMNISTNet
from dvs_snn.models.text import TextConfig, text_network
from dvs_snn.models.text_gru import TextGRU, TextGRUConfig
from dvs_snn.models.tracker import TrackerConfig, TrackerNet
from dvs_snn.nn import Temporal, twin_of

MODELS: dict[str, tuple[type, Callable[[Any], Temporal]]] = {
    "gesture": (GestureConfig, GestureNet),
    "digits": (DigitsConfig, DigitsNet),
    "nmnist": (NMNISTConfig, NMNISTNet),
    "tracker": (TrackerConfig, TrackerNet),
    "text": (TextConfig, text_network),
    "text-gru": (TextGRUConfig, TextGRU),
}
"""Name -> (configuration, network)."""

TWIN = "-twin"
"""`gesture-twin` is the non-spiking twin of `gesture` (see `nn.Twin`), with the same configuration."""


def model_config(name: str, values: Mapping[str, Any]) -> Any:
    """The configuration of a named network; what is not given keeps its default.

    Raises `ConfigError` for an unknown name or key, or a value out of range.
    """
    name = name.removesuffix(TWIN)
    if name not in MODELS:
        raise ConfigError(f"model {name!r} is unknown; known: {', '.join(MODELS)}")
    kind = MODELS[name][0]
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"model {name!r} has no {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    return kind(**{field.name: _value(field, values[field.name]) for field in fields(kind) if field.name in values})


def _value(field: Field[Any], value: Any) -> Any:
    """A plain value as the field's default has it: JSON and YAML write tuples as lists and 4.0 as 4."""
    default = field.default
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        items = tuple(value)
        wanted = type(default[0])
        if wanted is float:
            items = tuple(float(item) if type(item) is int else item for item in items)
        if all(type(item) is wanted for item in items):
            return items
    elif type(default) is float and type(value) is int:
        return float(value)
    elif type(value) is type(default):
        return value
    raise ConfigError(f"model option {field.name} has the wrong type: {value!r}; a valid value is {default!r}")


def build_model(name: str, config: Mapping[str, Any] | None = None) -> Temporal:
    """A network with fresh weights, from its name and plain values as JSON keeps them."""
    values = model_config(name, config or {})
    network = MODELS[name.removesuffix(TWIN)][1](values)
    return twin_of(network) if name.endswith(TWIN) else network


def config_dict(config: Any) -> dict[str, Any]:
    """A network's configuration as plain values for JSON; `model_config` reads them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
