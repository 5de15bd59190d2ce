"""Decisions, reports and pictures as messages, and events as packets; functions without memory."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from dvs_snn_msgs.msg import Gesture
from event_camera_msgs.msg import EventPacket
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dvs_snn.events import Sensor
from dvs_snn.events.codecs import Payload
from dvs_snn_ros.report import Report

if TYPE_CHECKING:  # the player needs no network
    from dvs_snn_ros.engine import Outcome

NS = 1_000_000_000


def time_message(ns: int) -> Time:
    """Nanoseconds as a message; times before 1970 or after 2106 do not exist in it."""
    seconds, rest = divmod(min(max(ns, 0), (1 << 31) * NS - 1), NS)
    return Time(sec=seconds, nanosec=rest)


def time_ns(stamp: Time) -> int:
    """A message's time in nanoseconds."""
    return int(stamp.sec) * NS + int(stamp.nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def octets(data: np.ndarray[Any, Any]) -> array.array[int]:
    """Bytes in the one type that rclpy takes without looking at each of them."""
    out = array.array("B")
    out.frombytes(memoryview(np.ascontiguousarray(data)).cast("B"))
    return out


def packet_message(
    payload: Payload, sensor: Sensor, seq: int, time_base_ns: int, encoding: str, stamp_ns: int, frame_id: str
) -> EventPacket:
    """A packet of encoded events, little endian."""
    message = EventPacket(
        header=header(stamp_ns, frame_id),
        height=sensor.height,
        width=sensor.width,
        seq=seq,
        time_base=time_base_ns,
        encoding=encoding,
        is_bigendian=False,
    )
    message.events = octets(payload)
    return message


def gesture_message(outcome: Outcome, latency_ms: float) -> Gesture:
    """What the network decided of a window."""
    decision: Any = outcome.decision
    window = outcome.window
    message = Gesture(
        header=header(outcome.stamp_ns, outcome.frame_id),
        t_us=decision.t_us,
        window_us=window.end_us - window.start_us,
        index=decision.index,
        label=decision.label,
        score=decision.score,
        events=len(window.events),
        rate_hz=float(decision.rate_hz),
        latency_ms=latency_ms,
        first=window.first,
    )
    message.posterior = array.array("f", decision.smoothed.tobytes())
    return message


def diagnostics(reports: Sequence[tuple[str, str, Report]], stamp_ns: int) -> DiagnosticArray:
    """Reports as (name, hardware, report)."""
    return DiagnosticArray(
        header=header(stamp_ns, ""),
        status=[
            DiagnosticStatus(
                level=bytes([report.level]),
                name=name,
                message=report.text,
                hardware_id=hardware,
                values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
            )
            for name, hardware, report in reports
        ],
    )


def image_message(picture: np.ndarray[Any, Any], stamp_ns: int, frame_id: str) -> Image:
    """A picture `[height, width, 3]` in RGB."""
    height, width, _ = picture.shape
    message = Image(
        header=header(stamp_ns, frame_id), height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width
    )
    message.data = octets(picture)
    return message
