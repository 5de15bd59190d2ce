"""`mono`: one 64-bit word an event: bit 63 polarity, 48-62 y, 32-47 x, 0-31 nanoseconds since the time base."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import EVENT_DTYPE, Events
from dvs_snn.events.codecs.decoder import Decoder, Payload, check_coordinates
from dvs_snn.events.stream import Sensor

SPAN_US = (1 << 32) // 1000
"""A packet spans less than this: its time offsets are 32 bits of nanoseconds."""


class MonoDecoder(Decoder):
    """Decoder of `mono`; nanoseconds are cut to whole microseconds after the time base is added."""

    encoding = "mono"
    word_bytes = record_bytes = 8

    def _decode(self, words: NDArray[np.unsignedinteger], time_base_ns: int) -> Events:
        events = np.empty(len(words), EVENT_DTYPE)
        base_us, rest_ns = divmod(time_base_ns, 1000)
        events["t"] = ((words & np.uint64(0xFFFF_FFFF)).astype(np.int64) + rest_ns) // 1000 + base_us
        events["x"] = words >> np.uint64(32) & np.uint64(0xFFFF)
        events["y"] = words >> np.uint64(48) & np.uint64(0x7FFF)
        events["p"] = words >> np.uint64(63)
        return events


class MonoEncoder:
    """Encoder of `mono`."""

    encoding = "mono"

    def __init__(self, sensor: Sensor) -> None:
        check_coordinates(self.encoding, sensor, 32768)

    def encode(self, events: Events, time_base_ns: int) -> Payload:
        """Bytes of the events, which must lie within `SPAN_US` after the time base; ConfigError when they do not."""
        offset_ns = events["t"] * 1000 - time_base_ns
        if len(events) and not (offset_ns.min() >= 0 and offset_ns.max() < 1 << 32):
            raise ConfigError("mono: a packet holds events of the 4.29 s after its time base only")
        words = (
            offset_ns.astype(np.uint64)
            | events["x"].astype(np.uint64) << np.uint64(32)
            | events["y"].astype(np.uint64) << np.uint64(48)
            | events["p"].astype(np.uint64) << np.uint64(63)
        )
        return words.astype("<u8").view(np.uint8)
