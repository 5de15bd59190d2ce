"""Windows of a stream: half-open intervals of equal length on an absolute grid, `[k * size_us, (k + 1) * size_us)`.

The grid is absolute so that a recording cut at another place, or a camera that was joined later, has the same borders.
The push form serves live use; the pull form is a loop over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import Events, join_events
from dvs_snn.events.stream import EventStream, hold_times


@dataclass(frozen=True)
class Window:
    """The events of `[start_us, end_us)`; `first` marks the first of a sequence: state must be reset before it."""

    events: Events
    start_us: int
    end_us: int
    first: bool = False


class WindowBuffer:
    """Collects packets and gives out the windows that are complete; where packets are cut changes nothing.

    A window is complete when an event at or after its end has come, or when `tick` says that time has passed it. An
    event below the latest time goes into the open window; `late_events` counts those whose own window was closed before
    they came. A step back by more than `stream.RESTART_US` is a restarted sensor: the open window is closed and the
    next one has `first` set. So it is with a gap of more than `max_gap_us` between two events, instead of a long run of
    empty windows.
    """

    def __init__(self, size_us: int, max_gap_us: int = 10_000_000) -> None:
        if size_us <= 0:
            raise ConfigError(f"window of {size_us} us: must be above zero")
        self.size_us = size_us
        self.max_gap_us = max_gap_us
        self.late_events = 0
        self._parts: list[Events] = []
        self._start_us: int | None = None  # start of the open window
        self._last_us: int | None = None  # latest time of this sequence
        self._first = True

    def push(self, packet: Events) -> list[Window]:
        """Take a packet (its events are not copied until their window closes) and return the windows it completes."""
        if not len(packet):
            return []
        done: list[Window] = []
        t, last = packet["t"], self._last_us
        disorder = bool((last is not None and t[0] < last) or (t[1:] < t[:-1]).any())
        t, cuts = hold_times(t, last) if disorder else (t, np.empty(0, np.int64))
        if len(cuts) or t[-1] - (t[0] if last is None else last) > self.max_gap_us:
            cuts = np.union1d(
                cuts, np.flatnonzero(np.diff(t, prepend=t[0] if last is None else last) > self.max_gap_us)
            )
        begin = 0
        for end in [*cuts.tolist(), len(packet)]:  # one turn per restart or gap, not per event
            if end > begin:
                self._push_sequence(packet[begin:end], t[begin:end], disorder, done)
            if end < len(packet):
                done.extend(self.flush())
            begin = end
        return done

    def tick(self, now_us: int) -> list[Window]:
        """Close the windows that end at or before sensor time `now_us`; a still scene must close its windows too."""
        done: list[Window] = []
        if self._start_us is not None:
            self._close_until(now_us // self.size_us * self.size_us, done)
        return done

    def flush(self) -> list[Window]:
        """Close the open window at the end of a recording, so that its last events are used; the next is `first`."""
        done: list[Window] = []
        if self._start_us is not None and self._parts:
            self._close(done)
        self.reset()
        return done

    def reset(self) -> None:
        """Forget everything that is not closed."""
        self._parts, self._start_us, self._last_us, self._first = [], None, None, True

    def _push_sequence(self, events: Events, t: NDArray[np.int64], disorder: bool, done: list[Window]) -> None:
        """Sort events into windows by their held times `t`, which do not decrease and have neither restart nor gap."""
        if self._start_us is None:
            self._start_us = int(t[0]) // self.size_us * self.size_us
        if disorder or t[0] < self._start_us:  # else no event can have come after its window was closed
            starts = np.maximum(t // self.size_us * self.size_us, self._start_us)
            self.late_events += int(np.count_nonzero(events["t"] < starts))
        self._last_us = int(t[-1])
        final = max(self._last_us // self.size_us * self.size_us, self._start_us)
        borders = np.arange(self._start_us + self.size_us, final + self.size_us, self.size_us)
        begin = 0
        for end in np.searchsorted(t, borders).tolist():
            if end > begin:
                self._parts.append(events[begin:end])
            self._close(done)
            begin = end
        if begin < len(events):
            self._parts.append(events[begin:])

    def _close_until(self, border_us: int, done: list[Window]) -> None:
        assert self._start_us is not None
        if border_us - self._start_us > self.max_gap_us:  # a jump of the host's clock, not a still scene
            done.extend(self.flush())
            return
        while self._start_us < border_us:
            self._close(done)

    def _close(self, done: list[Window]) -> None:
        assert self._start_us is not None
        events = join_events(self._parts)
        end_us = self._start_us + self.size_us
        done.append(Window(events, self._start_us, end_us, self._first))
        self._parts, self._start_us, self._first = [], end_us, False


def windows(stream: EventStream | Iterable[Events], size_us: int) -> Iterator[Window]:
    """The windows of a finite stream, the last one closed at the stream's end."""
    buffer = WindowBuffer(size_us)
    for packet in stream:
        yield from buffer.push(packet)
    yield from buffer.flush()
