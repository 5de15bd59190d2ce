"""Windows and inference in a thread of their own, behind bounded queues; no ROS in here.

Packets wait in one queue until they are cut into windows, windows wait in another until they are decided. Both are
bounded: what does not fit is dropped and counted, so that latency and memory stay bounded whatever arrives.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from dvs_snn.errors import DvsSnnError
from dvs_snn.events import Events, Sensor, Window, empty_events
from dvs_snn.events.filters import Filter, Region, SpatialDecimation, start_filters
from dvs_snn.pipeline import Decision, EventRuntime, Pipeline, Tracks
from dvs_snn_ros.hostclock import HostClock
from dvs_snn_ros.packets import Received

T = TypeVar("T")
DropPolicy = Literal["oldest", "newest"]


@dataclass(frozen=True)
class Limits:
    """Bounds of the queues, and which end is dropped: `oldest` keeps latency low, `newest` keeps the past unbroken."""

    windows: int = 20
    events: int = 4_000_000
    policy: DropPolicy = "oldest"


@dataclass(frozen=True)
class View:
    """The part of a camera's sensor that decisions are made of: pixels of `seen`, each `scale` wide, from (x, y) on.

    `fit` is scale and corner of the last step, the pipeline's own: which it undoes in the tracks it tells.
    """

    camera: Sensor
    seen: Sensor
    scale: float = 1.0
    x: float = 0.0
    y: float = 0.0
    fit: tuple[float, float, float] = (1.0, 0.0, 0.0)

    def within(self, seen: Sensor, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> View:
        """The view of a part of this view: its corner and the width of its pixels are given in pixels of this one."""
        return View(self.camera, seen, self.scale * scale, self.x + x * self.scale, self.y + y * self.scale)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the view lies on the camera's sensor; the centre of a pixel has whole coordinates."""
        return self.x + (x + 0.5) * self.scale - 0.5, self.y + (y + 0.5) * self.scale - 0.5


@dataclass(frozen=True)
class Outcome:
    """A decision and what it was made of; `view` is where its pixels lie on the camera's sensor.

    `stamp_ns` is the host's time of the newest event before the window's end (as stamps say), `live_ns` the same by the
    host's clock now; `arrived_ns` when the packet that completed the window arrived.
    """

    decision: Decision
    window: Window
    view: View
    frame_id: str
    stamp_ns: int
    live_ns: int
    arrived_ns: int
    infer_ms: float


@dataclass
class EngineCounts:
    """What the engine did since it was started."""

    windows: int = 0
    dropped_windows: int = 0
    dropped_packets: int = 0
    dropped_events: int = 0
    unfit_packets: int = 0
    late_events: int = 0
    failures: int = 0


@dataclass(frozen=True)
class _Ready:
    """A window that waits for its decision, and when it was."""

    window: Window
    view: View
    frame_id: str
    stamp_ns: int
    live_ns: int
    arrived_ns: int


@dataclass(frozen=True)
class _Tick:
    """All events before sensor time `until_us` have come; without a time: the camera is gone."""

    until_us: int | None
    now_ns: int


class Engine:
    """Runs a pipeline in a thread: `put` packets, `tick` in a still scene; `tell` gets every outcome in that thread."""

    def __init__(
        self,
        pipeline: Pipeline,
        tell: Callable[[Outcome], None],
        warn: Callable[[str, str], None],
        limits: Limits,
        filters: tuple[Filter, ...] = (),
    ) -> None:
        self.counts = EngineCounts()
        self.limits = limits
        self.clock = HostClock()
        self.sensor: Sensor | None = None  # of the camera, as it was last accepted
        self._pipeline, self._tell, self._warn = pipeline, tell, warn
        self._filters = filters
        self._packets: deque[Received | _Tick] = deque()
        self._waiting_events = 0
        self._calls: deque[Callable[[Pipeline], None]] = deque()
        self._ready: deque[_Ready] = deque()
        self._step: Callable[[Events], Events] | None = None
        self._unfit: Sensor | None = None
        self._lost_first = self._keep_first = self._busy = False
        self._frame_id = ""
        self._view = View(pipeline.config.sensor, pipeline.config.sensor)
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    # From any thread

    def start(self) -> None:
        """Begin to decide, from a fresh state."""
        self._pipeline.reset()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the decision that is being made; what waits is forgotten."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def put(self, received: Received) -> None:
        """Append a packet; drops by the policy when too many events wait."""
        with self._wake:
            count = len(received.events)
            while self._waiting_events + count > self.limits.events and self._waiting_events:
                if self.limits.policy == "newest":
                    self._drop(received)
                    return
                self._drop_oldest()
            self._packets.append(received)
            self._waiting_events += count
            self._wake.notify()

    def tick(self, until_us: int, now_ns: int) -> None:
        """All events before sensor time `until_us` have come: close the windows before it."""
        self._append(_Tick(until_us, now_ns))

    def flush(self, now_ns: int) -> None:
        """The camera is gone: decide the open window; what comes next is the first of a sequence."""
        self._append(_Tick(None, now_ns))

    def call(self, change: Callable[[Pipeline], None]) -> None:
        """Run `change(pipeline)` between two decisions."""
        with self._wake:
            self._calls.append(change)
            self._wake.notify()

    def do(self, change: Callable[[Pipeline], None], timeout_s: float) -> None:
        """The same, and wait for it: raises what it raises, and TimeoutError when it is not done in time."""
        done = threading.Event()
        failures: list[Exception] = []

        def change_and_tell(pipeline: Pipeline) -> None:
            try:
                change(pipeline)
            except Exception as error:  # it is the caller's
                failures.append(error)
            done.set()

        self.call(change_and_tell)
        if not done.wait(timeout_s):
            raise TimeoutError(f"the engine was busy for {timeout_s:g} s; try again")
        if failures:
            raise failures[0]

    def set_filters(self, filters: tuple[Filter, ...]) -> None:
        """Clean or crop by other filters from the next packet on; the scene begins anew."""

        def change(pipeline: Pipeline) -> None:
            self._filters, self.sensor, self._unfit = filters, None, None

        self.call(change)

    def settle(self, timeout_s: float = 10.0) -> bool:
        """Wait until nothing waits to be decided; whether that came to be."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with self._wake:
                if not (self._packets or self._ready or self._calls or self._busy):
                    return True
            time.sleep(0.002)
        return False

    def _append(self, tick: _Tick) -> None:
        with self._wake:
            last = self._packets[-1] if self._packets else None
            if isinstance(last, _Tick) and last.until_us is not None and tick.until_us is not None:
                self._packets.pop()  # a later time says all that an earlier one said
            self._packets.append(tick)
            self._wake.notify()

    def _drop_oldest(self) -> None:
        while self._packets:
            oldest = self._packets.popleft()
            if isinstance(oldest, Received):
                self._waiting_events -= len(oldest.events)
                self._drop(oldest)
                return
            self._lost_first |= oldest.until_us is None

    def _drop(self, packet: Received) -> None:
        self.counts.dropped_packets += 1
        self.counts.dropped_events += len(packet.events)
        self._lost_first |= packet.fresh
        self._warn("overload", "more events arrive than can be decided: packets are dropped (counted in diagnostics)")

    # In the engine's thread

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                while not (self._packets or self._ready or self._calls or self._stopping):
                    self._wake.wait()
                if self._stopping:
                    return
                self._busy = True
                packets, self._packets = self._packets, deque()
                calls, self._calls = self._calls, deque()
                self._waiting_events = 0
                lost_first, self._lost_first = self._lost_first, False
            for change in calls:
                self._guard(change, self._pipeline)
            if lost_first:
                self._anew()
            for packet in packets:
                self._guard(self._collect, packet)
            if self._ready:
                self._guard(self._decide, self._ready.popleft())

    def _guard(self, action: Callable[[T], None], what: T) -> None:
        """Whatever goes wrong with one packet or window, the robot's next decision matters more."""
        try:
            action(what)
        except Exception as error:
            self.counts.failures += 1
            self._warn(f"failure {type(error).__name__}", f"a packet or window could not be decided: {error!r}")
            self._pipeline.reset()

    def _collect(self, item: Received | _Tick) -> None:
        """Cut what has come into windows."""
        buffer = self._pipeline.buffer
        if isinstance(item, _Tick):
            windows = buffer.flush() if item.until_us is None else buffer.tick(item.until_us)
            self._queue(windows, item.now_ns)
            if item.until_us is None:
                self._anew()
            return
        if item.fresh or item.sensor != self.sensor:
            self._queue(buffer.flush(), item.arrived_ns)
            self._frame_id = item.frame_id
            if not self._accept(item.sensor):
                return
        if item.until_us is not None:
            self._queue(buffer.tick(item.until_us), item.arrived_ns)
        if len(item.events):
            self.clock.note(item)
            events = item.events if self._step is None else self._step(item.events)
            self._queue(buffer.push(self._pipeline.fit(events)), item.arrived_ns)
            self.counts.late_events = buffer.late_events

    def _accept(self, sensor: Sensor) -> bool:
        """Begin anew with the packets of a sensor, unless it cannot be fitted to the network."""
        self.sensor = sensor
        self._step = None
        if sensor == self._unfit:
            self.counts.unfit_packets += 1
            self.sensor = None
            return False
        try:
            view = View(sensor, sensor)
            for each in self._filters:
                corner = (each.x, each.y) if isinstance(each, Region) else (0, 0)
                scale = each.factor if isinstance(each, SpatialDecimation) else 1
                view = view.within(each.sensor_after(view.seen), scale, *corner)
            if self._filters:
                self._step = start_filters(sensor, self._filters)
            self._pipeline.set_sensor(view.seen)
            self._view = self._fitted(view)
        except DvsSnnError as error:
            self._unfit, self.sensor = sensor, None
            self.counts.unfit_packets += 1
            self._warn(f"unfit {sensor}", f"the events of this camera cannot be used: {error}")
            return False
        self._unfit = None
        self._anew()
        return True

    def _fitted(self, view: View) -> View:
        """The view after the pipeline's own fitting to the network's sensor, a centred crop (see `events.resample`)."""
        target = self._pipeline.config.sensor
        if isinstance(self._pipeline.runtime, EventRuntime) or view.seen == target:
            return view
        scale = min(view.seen.width / target.width, view.seen.height / target.height)
        x, y = (view.seen.width - target.width * scale) / 2, (view.seen.height - target.height * scale) / 2
        return replace(view.within(target, scale, x, y), fit=(scale, x, y))

    def _anew(self) -> None:
        self._pipeline.reset()
        self.clock.forget()

    def _queue(self, windows: list[Window], arrived_ns: int) -> None:
        """Append windows to those that wait; by the policy, the oldest or the newest of too many go."""
        for window in windows:
            if len(self._ready) >= self.limits.windows:
                self.counts.dropped_windows += 1
                self._warn(
                    "windows", "windows come faster than they are decided: some are dropped (counted in diagnostics)"
                )
                if self.limits.policy == "newest":
                    self._keep_first = window.first or self._keep_first
                    continue
                lost = self._ready.popleft()
                if lost.window.first and self._ready:
                    self._ready[0] = replace(self._ready[0], window=replace(self._ready[0].window, first=True))
                elif lost.window.first:
                    self._keep_first = True
            if self._keep_first:
                window, self._keep_first = replace(window, first=True), False
            newest_us = int(window.events["t"][-1]) if len(window.events) else window.end_us
            stamp_ns, live_ns = self.clock.stamp_ns(newest_us), self.clock.live_ns(newest_us)
            self._ready.append(_Ready(window, self._view, self._frame_id, stamp_ns, live_ns, arrived_ns))

    def _decide(self, ready: _Ready) -> None:
        begun = time.perf_counter()
        decision = self._pipeline.decide(ready.window)
        if isinstance(decision, Tracks):  # told in px of the packets; the view is that of the window's own px
            scale, x, y = ready.view.fit
            decision = decision.moved(1 / scale, -x / scale, -y / scale)
        infer_ms = (time.perf_counter() - begun) * 1e3
        self.counts.windows += 1
        self._tell(
            Outcome(
                decision,
                ready.window,
                ready.view,
                ready.frame_id,
                ready.stamp_ns,
                ready.live_ns,
                ready.arrived_ns,
                infer_ms,
            )
        )


def warm(pipeline: Pipeline) -> None:
    """Load and compile what the first decision needs, so that no packet waits for it."""
    pipeline.infer(Window(empty_events(), 0, pipeline.config.bin_us, first=True))
    pipeline.reset()
