"""Settings as ROS parameters: declared from a dataclass, read back into it, refused with the reason."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Generic, TypeVar

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from dvs_snn.errors import ConfigError
from dvs_snn_ros.settings import (
    Checked,
    GestureSettings,
    PlayerSettings,
    TrackerSettings,
    checked,
    default_of,
    limits_of,
)

S = TypeVar("S", bound=Checked)


class Options(Generic[S]):
    """The parameters of a node, from a dataclass of settings.

    A wrong value that was given at the start is found by `read` (so that configure can say it); a wrong one that is set
    later is refused with the reason, and so is one that cannot change while `fixed()` is true. After a change that was
    accepted, `changed()` is called. `fits(settings)` may raise ConfigError for what does not go with the node's model.
    """

    def __init__(
        self,
        node: Node,
        kind: type[S],
        fixed: Callable[[], bool],
        changed: Callable[[], None],
        fits: Callable[[S], None] = lambda settings: None,
    ) -> None:
        self._node, self._kind, self._fixed, self._changed, self._fits = node, kind, fixed, changed, fits
        self._fields = {entry.name: entry for entry in fields(kind)}
        for name, entry in self._fields.items():
            # Dynamic typing, so that `rate:=2` is a number too and a wrong type gets an answer of one line.
            descriptor = ParameterDescriptor(
                name=name,
                description=entry.metadata["about"],
                additional_constraints="; ".join(
                    [limits_of(entry)] * bool(limits_of(entry))
                    + ["may change at any time" if entry.metadata["live"] else "takes effect at configure"]
                ),
                dynamic_typing=True,
            )
            node.declare_parameter(name, default_of(entry), descriptor)
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._after)

    def read(self) -> S:
        """The settings as they are now; ConfigError names the parameter that is wrong."""
        return self._kind(**{name: self._node.get_parameter(name).value for name in self._fields})

    def _judge(self, changes: list[Parameter]) -> SetParametersResult:
        ours = {each.name: each.value for each in changes if each.name in self._fields}
        try:
            for name, value in ours.items():
                entry = self._fields[name]
                checked(entry, value)
                if self._fixed() and not entry.metadata["live"] and value != self._node.get_parameter(name).value:
                    raise ConfigError(
                        f"{name}: takes effect at configure; deactivate and clean up the node first "
                        f"(ros2 lifecycle set {self._node.get_fully_qualified_name()} deactivate, then cleanup)"
                    )
            values = {name: self._node.get_parameter(name).value for name in self._fields} | ours
            if ours and self._valid_now():
                self._fits(self._kind(**values))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _after(self, changes: list[Parameter]) -> None:
        if any(each.name in self._fields for each in changes):
            self._changed()

    def _valid_now(self) -> bool:
        """Where something else is still wrong from the start, one thing after the other may be put right."""
        try:
            self.read()
        except ConfigError:
            return False
        return True


NODES: dict[str, type[Checked]] = {
    "event_player": PlayerSettings,
    "gesture": GestureSettings,
    "tracker": TrackerSettings,
}
"""Settings of each node."""


def table(kind: type[Checked]) -> str:
    """The parameters as a Markdown table."""
    rows = ["| parameter | default | range | live | what it does |", "|---|---|---|---|---|"]
    for entry in fields(kind):
        default = default_of(entry)
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        live = "yes" if entry.metadata["live"] else ""
        rows.append(
            f"| `{entry.name}` | `{shown or chr(34) * 2}` | {limits_of(entry)} | {live} | {entry.metadata['about']} |"
        )
    return "\n".join(rows)


def insert_tables(text: str) -> str:
    """A document with the tables between its marks `<!-- parameters NODE -->` and `<!-- end -->` made anew."""
    for name, kind in NODES.items():
        begin, end = f"<!-- parameters {name} -->\n", "<!-- end -->"
        before, mark, rest = text.partition(begin)
        if not mark:
            raise ConfigError(f"the document has no mark {begin.strip()}")
        text = before + mark + table(kind) + "\n" + end + rest.partition(end)[2]
    return text


def main(arguments: list[str] | None = None) -> None:
    """`python -m dvs_snn_ros.options docs/ros.md` writes the tables into the document."""
    from pathlib import Path

    path = Path((arguments or sys.argv[1:])[0])
    path.write_text(insert_tables(path.read_text()))


if __name__ == "__main__":
    main()
