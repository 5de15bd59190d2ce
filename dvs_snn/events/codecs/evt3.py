"""EVT 3.0 of Prophesee: 16-bit words, of which the four highest bits say what the other twelve change.

Codes: 0 row, 2 one event, 3 base of a vector, 4 and 5 a mask of 12 or 8 events from that base on (which then moves on
by as much), 6 time low, 8 time high, 10 external trigger. 7, 14 and 15 belong to the maker and 9 pads: skipped. 1, 11,
12 and 13 are unknown: skipped and counted.

Time is 24 bits of microseconds, 12 high and 12 low, and wraps every 16.78 s. Rules:

- TIME_HIGH that goes down by more than half its range has wrapped. Down by less is a step back: jitter or a restarted
  clock, which `repair` tells apart. Up by all but the last 16 ticks (65 ms) of its range is a step back over a wrap.
- TIME_LOW that steps back with no TIME_HIGH is jitter of the sensor's read-out and never a wrap.
- Nothing is given out before the first TIME_LOW that follows a TIME_HIGH (in a file, where low time starts as 0, before
  the first TIME_HIGH), and no event before its row is known.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.codecs.decoder import TRIGGER_DTYPE, Decoder, Payload, check_coordinates
from dvs_snn.events.stream import Sensor

WRAP_US = 1 << 24
"""Time wraps after so many microseconds."""

_MAX_GAP_WORDS = 1 << 20  # words that only carry time over a gap, per call: beyond this the times are nonsense
_HIGH, _LOW, _Y, _BASE, _POLARITY, _KNOWN = range(6)  # places in the state arrays
_HAS_HIGH, _HAS_TIME, _HAS_Y, _HAS_BASE, _HAS_LOW = 1, 2, 4, 8, 16  # bits of state[_KNOWN]


class Evt3Decoder(Decoder):
    """Decoder of EVT 3.0; `start_us` is added to all times.

    `from_start` says that the words are those of a whole file, in which low time is 0 until the first TIME_LOW; of a
    live stream nothing is known before it. The time base of messages is not used: sensor time is complete in the words.
    """

    encoding = "evt3"
    word_bytes = record_bytes = 2

    def __init__(self, is_bigendian: bool = False, start_us: int = 0, from_start: bool = False) -> None:
        self._start_us, self._from_start = start_us, from_start
        super().__init__(is_bigendian)

    def reset(self) -> None:
        super().reset()
        self._state = np.zeros(6, np.int64)
        self._state[_KNOWN] = _HAS_LOW if self._from_start else 0

    def _decode(self, words: NDArray[np.unsignedinteger], time_base_ns: int) -> Events:
        most, edges = _bounds(words)
        events = np.empty(most, EVENT_DTYPE)
        triggers = np.empty(edges, TRIGGER_DTYPE)
        counts = _decode_words(words, self._state, self._start_us, events, triggers)
        return self._tell(events, triggers, counts)


class Evt3Encoder:
    """Encoder of EVT 3.0; keeps time and row from call to call, so that packets follow on each other.

    Times are written modulo `WRAP_US`: absolute time above that is lost unless the container keeps it. Gaps and steps
    back of any length are bridged with TIME_HIGH words, so that the decoder counts the wraps right. Three or more
    events of one time, row and polarity within 12 rising columns become a vector; the order of events is kept.
    """

    encoding = "evt3"

    def __init__(self, sensor: Sensor) -> None:
        check_coordinates(self.encoding, sensor, 2048)
        self._state = np.zeros(6, np.int64)

    def encode(self, events: Events, fresh: bool = False) -> Payload:
        """Bytes of the events; `fresh` states time and row anew, so that a reader can join at this packet.

        Raises ConfigError when a gap in time would need millions of words.
        """
        if fresh:
            self._state[_KNOWN] &= ~(_HAS_TIME | _HAS_Y)
        size, bridges = _encode_words(events, self._state.copy(), np.empty(0, np.uint16), False)
        if bridges > _MAX_GAP_WORDS:
            raise ConfigError("evt3 cannot hold a jump in time of years: write npz, or mono in a bag")
        words = np.empty(size, np.uint16)
        _encode_words(events, self._state, words, True)
        return words.view(np.uint8)


@njit(cache=True, nogil=True)
def _bounds(words):
    """At most how many events and triggers the words hold."""
    events = 0
    triggers = 0
    for i in range(words.size):
        word = words[i]
        code = word >> 12
        if code == 2:
            events += 1
        elif code == 4 or code == 5:
            mask = word & 0xFFF if code == 4 else word & 0xFF
            mask = mask - ((mask >> 1) & 0x5555)
            mask = (mask & 0x3333) + ((mask >> 2) & 0x3333)
            mask = (mask + (mask >> 4)) & 0x0F0F
            events += (mask + (mask >> 8)) & 0x1F
        elif code == 10:
            triggers += 1
    return events, triggers


@njit(cache=True, nogil=True)
def _decode_words(words, state, start_us, events, triggers):
    high, low, y = state[_HIGH], state[_LOW], state[_Y]
    base, polarity, known = state[_BASE], state[_POLARITY] != 0, state[_KNOWN]
    t = start_us + (high << 12) + low
    single = _HAS_TIME | _HAS_Y
    vector = single | _HAS_BASE
    count = 0
    edges = 0
    unknown = 0
    early = 0
    for i in range(words.size):
        word = np.int64(words[i])
        code = word >> 12
        if code == 2:
            if known & single == single:
                event = events[count]
                event.t = t
                event.x = word & 0x7FF
                event.y = y
                event.p = (word & 0x800) != 0
                count += 1
            else:
                early += 1
        elif code == 0:
            y = word & 0x7FF
            known |= _HAS_Y
        elif code == 6:
            low = word & 0xFFF
            t = start_us + (high << 12) + low
            if known & _HAS_HIGH:
                known |= _HAS_TIME
        elif code == 4 or code == 5:
            mask = word & 0xFFF if code == 4 else word & 0xFF
            column = base
            base += 12 if code == 4 else 8
            while mask:
                if mask & 1:
                    if known & vector == vector:
                        event = events[count]
                        event.t = t
                        event.x = column
                        event.y = y
                        event.p = polarity
                        count += 1
                    else:
                        early += 1
                mask >>= 1
                column += 1
        elif code == 3:
            base = word & 0x7FF
            polarity = (word & 0x800) != 0
            known |= _HAS_BASE
        elif code == 8:
            step = (word & 0xFFF) - (high & 0xFFF)
            if known & _HAS_HIGH:
                if step < -2048:
                    step += 4096
                elif step >= 4080:
                    step -= 4096
            known |= _HAS_HIGH | _HAS_TIME if known & _HAS_LOW else _HAS_HIGH
            high += step
            t = start_us + (high << 12) + low
        elif code == 10:
            if known & _HAS_TIME:
                edge = triggers[edges]
                edge.t = t
                edge.id = (word >> 8) & 0xF
                edge.edge = (word & 1) != 0
                edges += 1
        elif code == 1 or (code >= 11 and code <= 13):
            unknown += 1
    state[_HIGH], state[_LOW], state[_Y] = high, low, y
    state[_BASE], state[_POLARITY], state[_KNOWN] = base, polarity, known
    return count, edges, unknown, early


@njit(cache=True, nogil=True)
def _encode_words(events, state, words, write):
    """Number of words, and how many of them only bridge a gap; stores them when `write` is set."""
    high, low, y, known = state[_HIGH], state[_LOW], state[_Y], state[_KNOWN]
    count = 0
    bridges = 0
    i = 0
    while i < events.size:
        t = events[i].t
        column = np.int64(events[i].x)
        row = np.int64(events[i].y)
        polarity = events[i].p
        target = t >> 12
        if not known & _HAS_HIGH:
            high = target
        if target != high or not known & _HAS_TIME:
            while True:
                # The decoder takes a rise below half the range, a fall of at most half of it within one turn, and a
                # step of -1 over the wrap, each for what it is; a longer way is cut into such steps.
                turn = high & 0xFFF
                if target - high > 1024:
                    high += 1024
                elif high - target <= min(turn, 2048):
                    high = target
                else:
                    high -= min(turn, 2048) if turn else 1
                if write:
                    words[count] = 0x8000 | (high & 0xFFF)
                count += 1
                if high == target:
                    break
                bridges += 1
                if bridges > _MAX_GAP_WORDS:
                    return count, bridges
            low = -1
        if t & 0xFFF != low:
            low = t & 0xFFF
            if write:
                words[count] = 0x6000 | low
            count += 1
        if row != y or not known & _HAS_Y:
            y = row
            if write:
                words[count] = y
            count += 1
        known |= _HAS_HIGH | _HAS_TIME | _HAS_Y

        mask = np.int64(1)
        last = column
        run = 1
        while i + run < events.size:
            other = events[i + run]
            if other.x <= last or other.x - column >= 12 or other.y != y or other.t != t or other.p != polarity:
                break
            last = np.int64(other.x)
            mask |= 1 << (last - column)
            run += 1
        sign = 0x800 if polarity else 0
        if run >= 3:
            if write:
                words[count] = 0x3000 | sign | column
                words[count + 1] = 0x4000 | mask
            count += 2
            i += run
        else:
            if write:
                words[count] = 0x2000 | sign | column
            count += 1
            i += 1
    state[_HIGH], state[_LOW], state[_Y], state[_KNOWN] = high, low, y, known
    return count, bridges
