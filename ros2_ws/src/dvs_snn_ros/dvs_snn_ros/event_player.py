"""The node `event_player`: a recording as a camera's driver would send it."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from event_camera_msgs.msg import EventPacket
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor, open_recording
from dvs_snn.events.codecs import encoder
from dvs_snn_ros.convert import diagnostics, packet_message
from dvs_snn_ros.options import Options
from dvs_snn_ros.playback import Chunk, Playback
from dvs_snn_ros.report import OK, STALE, WARN, Report
from dvs_snn_ros.running import RESULTS, Once, events_qos, exit_main, told
from dvs_snn_ros.settings import PlayerSettings

LATE_MS = 50.0
"""Diagnostics say WARN when packets leave later than this."""


class EventPlayer(LifecycleNode):
    """Sends a recording's events at the pace of sensor time: opened by configure, played from its start by activate."""

    def __init__(self, **options: Any) -> None:
        super().__init__("event_player", **options)
        self._options = Options(self, PlayerSettings, lambda: self._stream is not None, self._changed)
        self._warn = Once(self.get_logger())
        self._stream: Any = None
        self._playback: Playback | None = None
        self._events: Any = None
        self._timer: Any = None
        self._last_late_ms = 0.0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RESULTS)

    @told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._settings = settings = self._options.read()
        if not settings.file:
            raise ConfigError("parameter file is empty: name the recording, e.g. -p file:=/path/recording.aedat4")
        stream = open_recording(settings.file, Sensor.parse(settings.sensor) if settings.sensor else None)
        encoder(settings.encoding, stream.sensor)
        self._stream = stream
        self.get_logger().info(f"{settings.file}: {stream.format}, {stream.sensor}")
        return TransitionCallbackReturn.SUCCESS

    @told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        settings = self._settings
        # A publisher of its own for each activation: listeners see the camera go when it is destroyed.
        self._events = self.create_publisher(
            EventPacket, "~/events", events_qos(settings.reliability, settings.queue_depth)
        )
        self._playback = Playback(self._stream, settings, self._send, self._subscribers, self._ended)
        self._playback.start()
        self._timer = self.create_timer(1.0, self._report)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        self._stream = None
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.on_cleanup(state)

    def close(self) -> None:
        """End the playback."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._playback is not None:
            self._playback.stop()
            self._playback = None
        events, self._events = self._events, None
        if events is not None:
            self.destroy_publisher(events)

    @property
    def progress(self) -> str:
        """What the player is doing."""
        return "inactive" if self._playback is None else self._playback.state

    def _changed(self) -> None:
        if self._playback is not None:
            settings = self._options.read()
            self._playback.set_pace(settings.rate, settings.loop)

    def _subscribers(self) -> int:
        events = self._events
        return events.get_subscription_count() if events is not None else 0

    def _send(self, chunk: Chunk) -> None:
        events, settings = self._events, self._settings
        if events is None:
            return
        stamp_ns = self.get_clock().now().nanoseconds - chunk.age_ns
        events.publish(
            packet_message(
                chunk.payload, self._stream.sensor, chunk.seq, chunk.time_base_ns, settings.encoding, stamp_ns,
                settings.frame_id,
            )
        )  # fmt: skip

    def _ended(self, error: str | None) -> None:
        """The recording is at its end, or damaged."""
        if error is not None:
            self.get_logger().error(f"playing stopped: {error}")
        elif self._playback is not None:
            counts = self._playback.counts
            for note in self._stream.tally.notes:
                self.get_logger().info(f"note: {note}")
            self.get_logger().info(
                f"end of the recording: {counts.events:,} events in {counts.packets} packets, "
                f"at most {counts.most_late_ms:.1f} ms late"
            )

    def _report(self) -> None:
        playback = self._playback
        if playback is None:
            return
        counts = playback.counts
        late_ms, playback.late_ms = playback.late_ms, 0.0
        values = {
            "file": self._settings.file,
            "packets": str(counts.packets),
            "events": str(counts.events),
            "passes": str(counts.passes),
            "late_ms": f"{late_ms:.1f}",
            "most_late_ms": f"{counts.most_late_ms:.1f}",
            "subscribers": str(self._subscribers()),
        }
        if playback.state == "playing":
            late = late_ms > LATE_MS
            report = Report(WARN if late else OK, f"late by {late_ms:.0f} ms" if late else "playing", values)
        else:
            report = Report(STALE if playback.state == "ended" else OK, playback.state, values)
        self._diagnostics.publish(
            diagnostics(
                [(f"{self.get_name()}: playback", self._settings.frame_id, report)], self.get_clock().now().nanoseconds
            )
        )


def main() -> None:
    """The process of the node."""
    exit_main(EventPlayer)


if __name__ == "__main__":
    main()
