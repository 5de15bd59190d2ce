"""The two clocks: sensor time of events, host time of the packets that brought them."""

from __future__ import annotations

from bisect import bisect_right

from dvs_snn_ros.packets import Received

REMEMBERED = 256
"""Packets whose times are kept: a window's newest event came with one of the last few."""


class HostClock:
    """Tells the host's time of a sensor time, from the packet that the event came with.

    A packet's stamp is the host's time of its first event (the drivers' custom). Where a driver stamps when it sends
    instead, its events would lie in the future; they are then taken to end when the packet arrived.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The sensor's clock began anew."""
        self._first_us: list[int] = []
        self._stamps: list[tuple[int, int]] = []  # of the first event: as the message says, as it can have been
        self._last_us: int | None = None
        self._last_arrived_ns = 0

    def note(self, received: Received) -> None:
        """Take the times of a packet with events."""
        first_us, last_us = int(received.events["t"][0]), int(received.events["t"][-1])
        if self._last_us is not None and first_us < self._last_us - 1_000_000:
            self.forget()
        span_ns = (last_us - first_us) * 1000
        latest_ns = received.arrived_ns - span_ns
        live_ns = latest_ns if received.recorded else min(received.stamp_ns, latest_ns)
        self._first_us.append(first_us)
        self._stamps.append((received.stamp_ns, live_ns))
        self._last_us, self._last_arrived_ns = last_us, received.arrived_ns
        if len(self._first_us) > REMEMBERED:
            del self._first_us[: REMEMBERED // 2], self._stamps[: REMEMBERED // 2]

    def stamp_ns(self, t_us: int) -> int:
        """Host time of sensor time `t_us` as the packets' stamps say it; 0 before the first packet."""
        return self._at(t_us, 0)

    def live_ns(self, t_us: int) -> int:
        """The same by the host's clock, also when stamps are those of a recording: what latency is measured from."""
        return self._at(t_us, 1)

    def sensor_us(self, now_ns: int) -> int | None:
        """Sensor time at a host time after the last packet, if the sensor's clock runs on."""
        return None if self._last_us is None else self._last_us + (now_ns - self._last_arrived_ns) // 1000

    def _at(self, t_us: int, which: int) -> int:
        if not self._first_us:
            return 0
        place = max(bisect_right(self._first_us, t_us) - 1, 0)
        return self._stamps[place][which] + (t_us - self._first_us[place]) * 1000
