"""EVT 2.1 of Prophesee: words of EVT 2.0, each with 32 more bits that say which of 32 columns from x on fired.

The two 32-bit parts come in one of two orders, which the file's header calls `endianness=legacy` (word, then columns;
IMX636 and Gen4.1) and `endianness=little` (columns, then word; GenX320). Types and times are those of `evt2`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.codecs.decoder import TRIGGER_DTYPE, Decoder, Payload
from dvs_snn.events.codecs.evt2 import next_high, tell_trigger

Order = Literal["legacy", "little"]

_KNOWN_TYPES = np.array([0, 1, 8, 10, 14, 15])


class Evt21Decoder(Decoder):
    """Decoder of EVT 2.1; `start_us` is added to all times."""

    encoding = "evt21"
    word_bytes = 4
    record_bytes = 8

    def __init__(self, order: Order, start_us: int = 0) -> None:
        self._word_at, self._start_us = (0 if order == "legacy" else 1), start_us
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._state = np.zeros(2, np.int64)  # time high, unwrapped; whether it is known

    def _decode(self, words: NDArray[np.unsignedinteger], time_base_ns: int) -> Events:
        pairs = words.reshape(-1, 2)
        heads, columns = pairs[:, self._word_at], pairs[:, 1 - self._word_at]
        kinds = heads >> np.uint32(28)
        events = np.empty(int(np.bitwise_count(columns[kinds <= 1]).sum()), EVENT_DTYPE)
        triggers = np.empty(int(np.count_nonzero(kinds == 10)), TRIGGER_DTYPE)
        counts = _decode_pairs(pairs, self._word_at, self._state, self._start_us, events, triggers)
        return self._tell(events, triggers, counts)


def find_order(payload: Payload) -> Order | None:
    """The order in which every word has a known type, if that is so in one order only."""
    kinds = payload[: len(payload) // 8 * 8].view("<u4").reshape(-1, 2) >> np.uint32(28)
    known = np.isin(kinds, _KNOWN_TYPES)
    legacy, little = bool(known[:, 0].all()), bool(known[:, 1].all())
    return None if legacy == little else "legacy" if legacy else "little"


@njit(cache=True, nogil=True)
def _decode_pairs(pairs, word_at, state, start_us, events, triggers):
    high = state[0]
    known = state[1] != 0
    base = start_us + (high << 6)
    count = 0
    edges = 0
    unknown = 0
    early = 0
    for i in range(pairs.shape[0]):
        word = np.int64(pairs[i, word_at])
        kind = word >> 28
        if kind <= 1:
            columns = np.int64(pairs[i, 1 - word_at])
            x = (word >> 11) & 0x7FF
            while columns:
                if columns & 1:
                    if known:
                        event = events[count]
                        event.t = base + ((word >> 22) & 63)
                        event.x = x
                        event.y = word & 0x7FF
                        event.p = kind == 1
                        count += 1
                    else:
                        early += 1
                columns >>= 1
                x += 1
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
