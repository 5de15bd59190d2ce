"""EVT 2.0 of Prophesee: 32-bit words, each a whole event but for the high part of its time.

Four bits of type (0 OFF, 1 ON, 8 time high, 10 external trigger; 14 and 15 belong to the maker and are skipped; others
are unknown, skipped and counted), then for an event 6 bits of time low, 11 of x, 11 of y; for time high 28 bits, in
units of 64 us. Time wraps every 4.8 hours, by the same rule as in `evt3`: time high that goes down by more than half
its range has wrapped, down by less is a step back.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.codecs.decoder import TRIGGER_DTYPE, Decoder, Payload, check_coordinates
from dvs_snn.events.stream import Sensor

WRAP_US = 1 << 34
"""Time wraps after so many microseconds."""


class Evt2Decoder(Decoder):
    """Decoder of EVT 2.0; `start_us` is added to all times."""

    encoding = "evt2"
    word_bytes = record_bytes = 4

    def __init__(self, is_bigendian: bool = False, start_us: int = 0) -> None:
        self._start_us = start_us
        super().__init__(is_bigendian)

    def reset(self) -> None:
        super().reset()
        self._state = np.zeros(2, np.int64)  # time high, unwrapped; whether it is known

    def _decode(self, words: NDArray[np.unsignedinteger], time_base_ns: int) -> Events:
        kinds = words >> np.uint32(28)
        events = np.empty(int(np.count_nonzero(kinds <= 1)), EVENT_DTYPE)
        triggers = np.empty(int(np.count_nonzero(kinds == 10)), TRIGGER_DTYPE)
        counts = _decode_words(words, self._state, self._start_us, events, triggers)
        return self._tell(events, triggers, counts)


class Evt2Encoder:
    """Encoder of EVT 2.0; keeps time high from call to call. Times are written modulo `WRAP_US`."""

    encoding = "evt2"

    def __init__(self, sensor: Sensor) -> None:
        check_coordinates(self.encoding, sensor, 2048)
        self._high: int | None = None

    def encode(self, events: Events, fresh: bool = False) -> Payload:
        """Bytes of the events; `fresh` states the time anew, so that a reader can join at this packet."""
        if not len(events):
            return np.empty(0, np.uint8)
        t = events["t"]
        high = t >> 6
        starts = np.empty(len(events), np.bool_)
        starts[0] = fresh or self._high is None or high[0] != self._high
        np.not_equal(high[1:], high[:-1], out=starts[1:])
        self._high = int(high[-1])
        places = np.arange(len(events)) + np.cumsum(starts)
        words = np.empty(int(places[-1]) + 1, np.uint32)
        words[places[starts] - 1] = (8 << 28) | (high[starts] & 0xFFF_FFFF)
        words[places] = (
            (events["p"].astype(np.uint32) << 28)
            | ((t & 63).astype(np.uint32) << 22)
            | (events["x"].astype(np.uint32) << 11)
            | events["y"]
        )
        return words.view(np.uint8)


@njit(cache=True, nogil=True)
def next_high(word, high, known):
    """Time high, unwrapped, after a word that states it; see the top for what has wrapped."""
    step = (word & 0xFFF_FFFF) - (high & 0xFFF_FFFF)
    if known:
        if step < -(1 << 27):
            step += 1 << 28
        elif step > (1 << 28) - 1024:
            step -= 1 << 28
    return high + step


@njit(cache=True, nogil=True)
def tell_trigger(word, base, edge):
    """Fill a row of `TRIGGER_DTYPE` from a trigger's word, `base` us being the time that time high stands for."""
    edge.t = base + ((word >> 22) & 63)
    edge.id = (word >> 8) & 0x1F
    edge.edge = (word & 1) != 0


@njit(cache=True, nogil=True)
def _decode_words(words, state, start_us, events, triggers):
    high = state[0]
    known = state[1] != 0
    base = start_us + (high << 6)
    count = 0
    edges = 0
    unknown = 0
    early = 0
    for i in range(words.size):
        word = np.int64(words[i])
        kind = word >> 28
        if kind <= 1:
            if not known:
                early += 1
                continue
            event = events[count]
            event.t = base + ((word >> 22) & 63)
            event.x = (word >> 11) & 0x7FF
            event.y = word & 0x7FF
            event.p = kind == 1
            count += 1
        elif kind == 8:
            high = next_high(word, high, known)
            known = True
            base = start_us + (high << 6)
        elif kind == 10:
            if known:
                tell_trigger(word, base, triggers[edges])
                edges += 1
        elif kind < 14:
            unknown += 1
    state[0] = high
    state[1] = known
    return count, edges, unknown, early
