"""Counters and times become what diagnostics say: a level, a line, and values; no ROS in here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # the player needs no network
    from dvs_snn_ros.engine import EngineCounts
    from dvs_snn_ros.packets import Counts

OK, WARN, ERROR, STALE = 0, 1, 2, 3
"""Levels of `diagnostic_msgs/DiagnosticStatus`."""

LOSSES = ("missing_packets", "dropped_packets", "dropped_windows")
FAULTS = (
    "malformed_packets",
    "unknown_encoding_packets",
    "other_camera_packets",
    "unfit_packets",
    "camera_restarts",
    "clock_restarts",
    "failures",
)


@dataclass(frozen=True)
class Report:
    """What is said of a node at a moment."""

    level: int
    text: str
    values: dict[str, str]


class Times:
    """Durations in milliseconds since they were last taken; one thread adds, another takes."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def add(self, ms: float) -> None:
        self._values.append(ms)

    def take(self) -> tuple[float, float] | None:
        """Median and 99 % of what was added since the last call."""
        values, self._values = self._values, []
        return tuple(np.percentile(values, [50, 99]).tolist()) if values else None  # type: ignore[return-value]


class Reporter:
    """Compares counters with those of the report before, so that a fault of an hour ago does not warn for ever."""

    def __init__(self) -> None:
        self.latency, self.inference, self.response = Times(), Times(), Times()
        self._last: dict[str, int] = {}
        self._last_ns: int | None = None

    def make(
        self,
        now_ns: int,
        counts: Counts,
        engine: EngineCounts,
        silent_s: float | None,
        topic: str,
        publishers: int,
        stale_s: float,
        warn_latency_ms: float,
        about: dict[str, str],
    ) -> Report:
        """The report of the time since the last one; `silent_s` is the time since a packet arrived, None: none did."""
        totals: dict[str, int] = {**asdict(counts), **asdict(engine)}
        since = {name: value - self._last.get(name, 0) for name, value in totals.items()}
        span_s = 1.0 if self._last_ns is None else max((now_ns - self._last_ns) * 1e-9, 1e-3)
        self._last, self._last_ns = totals, now_ns
        values = {
            "event_rate_hz": f"{since['events'] / span_s:.0f}",
            "packet_rate_hz": f"{since['packets'] / span_s:.0f}",
        }
        values["decision_rate_hz"] = f"{since['windows'] / span_s:.1f}"
        tail_ms = None
        measured = {"latency": self.latency, "packet_to_decision": self.response, "inference": self.inference}
        for name, times in measured.items():
            taken = times.take()
            if taken is not None:
                values[f"{name}_p50_ms"], values[f"{name}_p99_ms"] = f"{taken[0]:.2f}", f"{taken[1]:.2f}"
                tail_ms = taken[1] if name == "latency" else tail_ms
        values |= {name: str(value) for name, value in totals.items()} | {"publishers": str(publishers)} | about
        level, text = self._judge(since, silent_s, topic, publishers, stale_s, tail_ms, warn_latency_ms)
        return Report(level, text, values)

    @staticmethod
    def _judge(
        since: dict[str, int],
        silent_s: float | None,
        topic: str,
        publishers: int,
        stale_s: float,
        tail_ms: float | None,
        warn_latency_ms: float,
    ) -> tuple[int, str]:
        if silent_s is None or silent_s > stale_s:
            who = f"{publishers} publisher(s) there, silent or incompatible" if publishers else "nobody publishes there"
            when = "yet" if silent_s is None else f"for {silent_s:.1f} s"
            return STALE, f"no event packets on {topic} {when}: {who}"
        problems = [f"{since[name]} {name.replace('_', ' ')}" for name in (*LOSSES, *FAULTS) if since[name]]
        if publishers > 1:
            problems.append(f"{publishers} publishers on {topic}")
        if tail_ms is not None and tail_ms > warn_latency_ms:
            problems.append(f"latency {tail_ms:.0f} ms")
        return (WARN, ", ".join(problems)) if problems else (OK, "deciding")
