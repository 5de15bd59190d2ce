"""Decisions, reports and pictures as messages, and events as packets; functions without memory."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from dvs_snn_msgs.msg import Gesture, Track, TrackArray
from event_camera_msgs.msg import EventPacket
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

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
    out.frombytes(np.ascontiguousarray(data).data.cast("B"))
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


def tracks_message(outcome: Outcome, latency_ms: float) -> TrackArray:
    """The tracks at a window's end, in pixels of the camera."""
    decision: Any = outcome.decision
    window, view = outcome.window, outcome.view
    tracks = []
    for track in decision.tracks:
        x, y = view.place(track.x, track.y)
        tracks.append(
            Track(
                id=track.id,
                x=x,
                y=y,
                w=track.w * view.scale,
                h=track.h * view.scale,
                vx=track.vx * view.scale,
                vy=track.vy * view.scale,
                score=track.score,
            )
        )
    return TrackArray(
        header=header(outcome.stamp_ns, outcome.frame_id),
        t_us=decision.t_us,
        window_us=window.end_us - window.start_us,
        width=view.camera.width,
        height=view.camera.height,
        tracks=tracks,
        events=len(window.events),
        latency_ms=latency_ms,
        first=window.first,
    )


COLOURS = ((0.25, 0.77, 0.63), (1.0, 0.73, 0.29), (0.28, 0.55, 1.0), (0.94, 0.47, 0.35), (0.75, 0.55, 0.95))
"""Of tracks, by their id."""

AHEAD_S = 0.1
"""The line of a track's velocity shows where it will be after this time."""


def marker_array(message: TrackArray, metres_per_px: float) -> MarkerArray:
    """Box, velocity and id of each track in the plane z = 0 of the camera's frame, x to the right, y down."""
    markers = [Marker(header=message.header, action=Marker.DELETEALL)]
    for track in message.tracks:
        red, green, blue = COLOURS[track.id % len(COLOURS)]
        colour = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        left, right = track.x - track.w / 2, track.x + track.w / 2
        top, bottom = track.y - track.h / 2, track.y + track.h / 2
        box = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        ahead = [(track.x, track.y), (track.x + track.vx * AHEAD_S, track.y + track.vy * AHEAD_S)]
        for kind, corners in (("box", box), ("velocity", ahead)):
            line = Marker(
                header=message.header, ns=kind, id=track.id & 0x7FFF_FFFF, type=Marker.LINE_STRIP, color=colour
            )
            line.pose.orientation.w = 1.0
            line.scale.x = metres_per_px
            line.points = [Point(x=x * metres_per_px, y=y * metres_per_px, z=0.0) for x, y in corners]
            markers.append(line)
        name = Marker(
            header=message.header,
            ns="id",
            id=track.id & 0x7FFF_FFFF,
            type=Marker.TEXT_VIEW_FACING,
            color=colour,
            text=str(track.id),
        )
        name.pose.orientation.w = 1.0
        name.pose.position.x, name.pose.position.y = track.x * metres_per_px, (top - 4) * metres_per_px
        name.scale.z = 8 * metres_per_px
        markers.append(name)
    return MarkerArray(markers=markers)


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
