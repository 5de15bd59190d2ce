"""A recording at the pace of its own clock, in a thread; no ROS in here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dvs_snn.errors import DvsSnnError
from dvs_snn.events import Events, EventStream, copy_events
from dvs_snn.events.codecs import Encode, Payload, encoder
from dvs_snn.events.codecs.messages import message_packets
from dvs_snn.events.stream import RESTART_US
from dvs_snn_ros.settings import PlayerSettings

PULSE_S = 0.05
"""An empty packet with the time goes out at least this often, so that listeners know that nothing is missing."""

LEAD_S = 1.0
"""Empty packets before the first event: discovery ends on one side before it does on the other."""

TAIL_S = 0.2
"""Empty packets after the last event, for best effort may lose one."""

PASS_GAP_US = 20_000_000
"""Sensor time between two passes, and after the last: more than any listener takes for one sequence; whole seconds."""

LONGEST_PAUSE_US = 10_000_000
"""A longer gap in a recording is not waited for."""

_NOTHING = np.empty(0, np.uint8)


@dataclass(frozen=True)
class Chunk:
    """A packet to be sent now; its first event was due `age_ns` ago."""

    payload: Payload
    seq: int
    time_base_ns: int
    age_ns: int


@dataclass
class PlaybackCounts:
    """What was sent."""

    packets: int = 0
    events: int = 0
    passes: int = 0
    most_late_ms: float = 0.0


class Playback:
    """Reads, encodes and sends packets when their last event is due; late ones go at once, and none is left out."""

    def __init__(
        self,
        stream: EventStream,
        settings: PlayerSettings,
        send: Callable[[Chunk], None],
        subscribers: Callable[[], int],
        ended: Callable[[str | None], None],
    ) -> None:
        self.counts = PlaybackCounts()
        self.state = "waiting for a subscriber"
        self.late_ms = 0.0  # of the latest packet since it was last set to zero
        self._stream, self._settings = stream, settings
        self._send, self._subscribers, self._ended = send, subscribers, ended
        self._rate, self._loop = settings.rate, settings.loop
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self._seq = 0
        self._anchor = (0.0, 0)  # host second, sensor microsecond

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End soon, in the middle of a pause too."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def set_pace(self, rate: float, loop: bool) -> None:
        """Go on at another speed from here."""
        if rate != self._rate:
            self._anchor = (time.perf_counter(), self._sensor_us(time.perf_counter()))
            self._rate = rate
        self._loop = loop

    def _run(self) -> None:
        error = None
        try:
            while self._subscribers() < self._settings.wait_for_subscribers:
                if self._stop.wait(0.02):
                    return
            self.state = "playing"
            shift_us = 0
            while not self._stop.is_set():
                last_us = self._play(shift_us)
                self.counts.passes += 1
                if last_us is None or not self._loop or self._stop.is_set():
                    break
                shift_us = (last_us + PASS_GAP_US) // 1_000_000 * 1_000_000
        except DvsSnnError as failure:
            error = str(failure)
        finally:
            self.state = "ended"
            if not self._stop.is_set():
                self._ended(error)

    def _play(self, shift_us: int) -> int | None:
        """One pass, moved in time so that it begins about `shift_us`; returns the last time, None if there is none."""
        encode = encoder(self._settings.encoding, self._stream.sensor)
        span_us, most = self._settings.packet_ms * 1000, self._settings.max_packet_bytes // 8
        offset_us, last_us = 0, None
        for events in message_packets(self._stream, span_us, most):
            if last_us is None:
                first_us = int(events["t"][0])
                if shift_us:
                    offset_us = shift_us - first_us // 1_000_000 * 1_000_000
                if first_us + offset_us < 0:
                    raise DvsSnnError(
                        "the recording begins at a negative time, which packets do not hold: shift it first"
                    )
                self._begin(first_us + offset_us)
            if offset_us:
                events = copy_events(events)
                events["t"] += offset_us
            first_us = int(events["t"][0])
            if last_us is not None and not -RESTART_US <= first_us - last_us <= LONGEST_PAUSE_US:
                self._anchor = (time.perf_counter(), first_us)
            last_us = int(events["t"][-1])
            if not self._wait_for(first_us, last_us, span_us):
                return last_us
            self._emit(encode, events)
        if last_us is not None and not self._loop:
            # The time goes on so far that listeners decide the open window, as at the end of a file, and wait for a new
            # sequence. This comes in order with the packets; a publisher that went away would take unread ones along.
            self._pulse_for(TAIL_S, last_us + PASS_GAP_US)
        return last_us

    def _begin(self, first_us: int) -> None:
        if not self.counts.passes and self._settings.wait_for_subscribers:
            self._pulse_for(LEAD_S, first_us)
        self._anchor = (time.perf_counter(), first_us)

    def _emit(self, encode: Encode, events: Events) -> None:
        first_us, last_us = int(events["t"][0]), int(events["t"][-1])
        payload = encode(events, first_us * 1000)
        now_s = time.perf_counter()
        self.late_ms = max(self.late_ms, (now_s - self._due_s(last_us)) * 1e3)
        self.counts.most_late_ms = max(self.counts.most_late_ms, self.late_ms)
        self.counts.packets += 1
        self.counts.events += len(events)
        self._put(payload, first_us * 1000, max(0, int((now_s - self._due_s(first_us)) * 1e9)))

    def _put(self, payload: Payload, time_base_ns: int, age_ns: int = 0) -> None:
        self._send(Chunk(payload, self._seq, time_base_ns, age_ns))
        self._seq += 1

    def _wait_for(self, first_us: int, last_us: int, span_us: int) -> bool:
        """Wait until `last_us` is due, and tell the time while nothing is sent; False when stopped."""
        begun_us = first_us // span_us * span_us  # everything before it has been sent
        pulsed_s = time.perf_counter()
        while not self._stop.is_set():
            now_s = time.perf_counter()
            left_s = self._due_s(last_us) - now_s
            if left_s <= 0:
                return True
            if now_s - pulsed_s >= PULSE_S:
                self._put(_NOTHING, max(min(begun_us, self._sensor_us(now_s)), 0) * 1000)
                pulsed_s = now_s
            self._stop.wait(min(left_s, pulsed_s + PULSE_S - now_s) if left_s > 1e-4 else left_s)
        return False

    def _pulse_for(self, seconds: float, t_us: int) -> None:
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s and not self._stop.is_set():
            self._put(_NOTHING, t_us * 1000)
            self._stop.wait(PULSE_S)

    def _due_s(self, t_us: int) -> float:
        return self._anchor[0] + (t_us - self._anchor[1]) * 1e-6 / self._rate

    def _sensor_us(self, now_s: float) -> int:
        return self._anchor[1] + int((now_s - self._anchor[0]) * 1e6 * self._rate)
