"""Encodings of libcaer's driver: `libcaer`, the 8-byte events of the library, and `libcaer_cmp`, its 16-bit words.

`libcaer`: 32 bits of data (0 valid, 1 polarity, 2-16 y, 17-31 x), then 32 bits of signed microseconds since the
packet's time base. These go down within a packet when they overflow at 2**31; a fall by less than half the range is
jitter.

`libcaer_cmp`: like EVT 3.0 with the parts of x and y exchanged and other codes: 0 time high, 1 time low, 2 column, 3
one event (row, polarity), 4 base of a vector of rows, 5 a mask of 8 rows. Others are unknown, skipped and counted. Time
is microseconds since the packet's time base and starts at 0 in every packet; the column stays.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.codecs.decoder import Decoder, Payload, check_coordinates
from dvs_snn.events.stream import Sensor

_OVERFLOW_US = 1 << 31


class LibcaerDecoder(Decoder):
    """Decoder of `libcaer`; like the other decoders in use it does not look at the bit `valid`."""

    encoding = "libcaer"
    word_bytes = 4
    record_bytes = 8  # two words an event

    def _decode(self, words: NDArray[np.unsignedinteger], time_base_ns: int) -> Events:
        data, low = words[::2], words[1::2].astype(np.int64)
        events = np.empty(len(data), EVENT_DTYPE)
        events["t"] = low + time_base_ns // 1000
        events["t"][1:] += np.cumsum(np.diff(low) < -(_OVERFLOW_US // 2)) * _OVERFLOW_US
        events["x"] = data >> np.uint32(17)
        events["y"] = data >> np.uint32(2) & np.uint32(0x7FFF)
        events["p"] = data >> np.uint32(1) & np.uint32(1)
        return events


class LibcaerEncoder:
    """Encoder of `libcaer`."""

    encoding = "libcaer"

    def __init__(self, sensor: Sensor) -> None:
        check_coordinates(self.encoding, sensor, 32768)

    def encode(self, events: Events, time_base_ns: int) -> Payload:
        """Bytes of the events, none of them earlier than the time base, which is a whole number of microseconds."""
        offset_us = events["t"] - time_base_ns // 1000
        if time_base_ns % 1000 or (len(events) and offset_us.min() < 0):
            raise ConfigError("libcaer: the time base must be whole microseconds, and at or before the first event")
        words = np.empty((len(events), 2), "<u4")
        words[:, 0] = (
            events["x"].astype(np.uint32) << 17
            | events["y"].astype(np.uint32) << 2
            | events["p"].astype(np.uint32) << 1
            | 1
        )
        words[:, 1] = offset_us & (_OVERFLOW_US - 1)
        return words.reshape(-1).view(np.uint8)


class LibcaerCmpDecoder(Decoder):
    """Decoder of `libcaer_cmp`."""

    encoding = "libcaer_cmp"
    word_bytes = record_bytes = 2

    def reset(self) -> None:
        super().reset()
        self._column = np.array([-1], np.int64)

    def _decode(self, words: NDArray[np.unsignedinteger], time_base_ns: int) -> Events:
        events = np.empty(_bound(words), EVENT_DTYPE)
        count, unknown, early = _decode_words(words, self._column, time_base_ns // 1000, events)
        self.unknown_words += unknown
        self.early_events += early
        return events[:count]


@njit(cache=True, nogil=True)
def _bound(words):
    """At most how many events the words hold."""
    count = 0
    for i in range(words.size):
        code = words[i] >> 12
        if code == 3:
            count += 1
        elif code == 5:
            mask = words[i] & 0xFF
            mask = mask - ((mask >> 1) & 0x55)
            mask = (mask & 0x33) + ((mask >> 2) & 0x33)
            count += (mask + (mask >> 4)) & 0x0F
    return count


@njit(cache=True, nogil=True)
def _decode_words(words, state, base_us, events):
    column = state[0]
    high = low = np.int64(0)
    base = np.int64(-1)
    polarity = False
    count = 0
    unknown = 0
    early = 0
    for i in range(words.size):
        word = np.int64(words[i])
        code = word >> 12
        if code == 3:
            if column >= 0:
                event = events[count]
                event.t = base_us + high + low
                event.x = column
                event.y = word & 0x7FF
                event.p = (word & 0x800) != 0
                count += 1
            else:
                early += 1
        elif code == 2:
            column = word & 0x7FF
        elif code == 1:
            low = word & 0xFFF
        elif code == 5:
            mask = word & 0xFF
            row = base
            while mask:
                if mask & 1:
                    if column >= 0 and base >= 0:
                        event = events[count]
                        event.t = base_us + high + low
                        event.x = column
                        event.y = row
                        event.p = polarity
                        count += 1
                    else:
                        early += 1
                mask >>= 1
                row += 1
            if base >= 0:
                base += 8
        elif code == 4:
            base = word & 0x7FF
            polarity = (word & 0x800) != 0
        elif code == 0:
            high = (word & 0xFFF) << 12
        else:
            unknown += 1
    state[0] = column
    return count, unknown, early
