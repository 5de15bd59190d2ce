"""Windows of a stream: half-open intervals of equal length on an absolute grid, `[k * size_us, (k + 1) * size_us)`.

The grid is absolute so that a recording cut at another place, or a camera that was joined later, has the same borders.
The push form serves live use; the pull form is a loop over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import Events, empty_events
from dvs_snn.events.stream import RESTART_US, EventStream


@dataclass(frozen=True)
class Window:
    """The events of `[start_us, end_us)`; `first` marks the first window of a sequence: state must be reset before it."""

    events: Events
    start_us: int
    end_us: int
    first: bool = False


class WindowBuffer:
    """Collects packets and gives out the windows that are complete.

    A window is complete when an event at or after its end has come, or when `tick` says that time has passed it. A step
    back in time by more than `RESTART_US` is a restarted sensor: the open window is closed as it is and the next one
    has `first` set. Smaller steps back count in `late_events`; such events go into the open window.

    A gap of more than `max_gap_us` between two events also starts a new sequence, instead of a long run of empty windows.
    """

    def __init__(self, size_us: int, max_gap_us: int = 10_000_000) -> None:
        if size_us <= 0:
            raise ConfigError(f"window of {size_us} us: must be above zero")
        self.size_us = size_us
        self.max_gap_us = max_gap_us
        self.late_events = 0
        self._parts: list[Events] = []
        self._start_us: int | None = None  # start of the open window
        self._last_us = 0  # time of the newest event; restarts and gaps are measured from it, so packets do not matter
        self._first = True

    def push(self, packet: Events) -> list[Window]:
        """Take a packet (its events are not copied until their window closes) and return the windows it completes."""
        if not len(packet):
            return []
        done: list[Window] = []
        t = packet["t"]
        if len(t) > 1 and (t[1:] < t[:-1]).any():
            restarts = np.flatnonzero(t[:-1] - t[1:] > RESTART_US) + 1
            for piece in np.split(packet, restarts):
                self._push_piece(piece, done)
        else:
            self._push_piece(packet, done)
        return done

    def tick(self, now_us: int) -> list[Window]:
        """Close the windows that end at or before sensor time `now_us`; a still scene must close its windows too."""
        done: list[Window] = []
        if self._start_us is not None:
            self._close_until(now_us // self.size_us * self.size_us, done)
        return done

    def flush(self) -> list[Window]:
        """Close the open window at the end of a recording, so that its last events are used; the next one is `first`."""
        done: list[Window] = []
        if self._start_us is not None and self._parts:
            self._close(done)
        self.reset()
        return done

    def reset(self) -> None:
        """Forget everything that is not closed."""
        self._parts, self._start_us, self._first = [], None, True

    def _push_piece(self, piece: Events, done: list[Window]) -> None:
        t = piece["t"]
        begin = int(t[0])
        if self._start_us is not None and (
            self._last_us - begin > RESTART_US or begin - self._last_us > self.max_gap_us
        ):
            done.extend(self.flush())
        if self._start_us is None:
            self._start_us = begin // self.size_us * self.size_us
        if len(t) > 1 and (t[1:] < t[:-1]).any():
            t = np.maximum.accumulate(t)
        late = int(np.searchsorted(t, self._start_us))
        self.late_events += late
        last = int(t[-1])
        self._last_us = max(last, self._last_us) if late == len(t) else last
        if last - self._start_us > self.max_gap_us:
            wide = np.flatnonzero(np.diff(t) > self.max_gap_us)
            if len(wide):  # one Python turn per gap, not per event
                cut = int(wide[0]) + 1
                self._push_piece(piece[:cut], done)
                self._push_piece(piece[cut:], done)
                return
        final = max(last // self.size_us * self.size_us, self._start_us)
        borders = np.arange(self._start_us + self.size_us, final + self.size_us, self.size_us)
        begin_index = 0
        for end_index in np.searchsorted(t, borders):
            if end_index > begin_index:
                self._parts.append(piece[begin_index:end_index])
            self._close(done)
            begin_index = end_index
        if begin_index < len(piece):
            self._parts.append(piece[begin_index:])

    def _close_until(self, border_us: int, done: list[Window]) -> None:
        assert self._start_us is not None
        if border_us - self._start_us > self.max_gap_us:  # a jump of the host's clock, not a still scene
            done.extend(self.flush())
            self._start_us = border_us
            return
        while self._start_us < border_us:
            self._close(done)

    def _close(self, done: list[Window]) -> None:
        assert self._start_us is not None
        parts = self._parts
        events = empty_events() if not parts else parts[0] if len(parts) == 1 else np.concatenate(parts)
        end_us = self._start_us + self.size_us
        done.append(Window(events, self._start_us, end_us, self._first))
        self._parts, self._start_us, self._first = [], end_us, False


def windows(stream: EventStream | Iterable[Events], size_us: int) -> Iterator[Window]:
    """The windows of a finite stream, the last one closed at the stream's end."""
    buffer = WindowBuffer(size_us)
    for packet in stream:
        yield from buffer.push(packet)
    yield from buffer.flush()
