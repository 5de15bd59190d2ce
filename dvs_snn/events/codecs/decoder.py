"""What every decoder does: payload in, events out, state kept from packet to packet."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events.array import Events
from dvs_snn.events.stream import Sensor, Tally

Payload = NDArray[np.uint8]

TRIGGER_DTYPE = np.dtype([("t", "<i8"), ("id", "u1"), ("edge", "?")])
"""An edge on an external trigger input: `t` in microseconds, `id` of the input, `edge` as the sensor's bit has it.

Prophesee's manual calls a set bit rising; event_camera_py counts a clear one as rising. The bit is passed on unread.
"""


class Decoder(ABC):
    """Turns payloads of one encoding into events; feed it every packet of a stream in order.

    Nothing is repaired here: an event outside the sensor or a step back in time is passed on as it was recorded.
    Counters run on over the packets until `reset`; `trigger_events` holds the edges of the last packet only.
    """

    encoding: str
    word_bytes: int
    record_bytes: int  # payloads and files are cut at multiples of this

    def __init__(self, is_bigendian: bool = False) -> None:
        self.is_bigendian = is_bigendian
        self.reset()

    def reset(self) -> None:
        """Forget time, row and counters, as at the start of a recording."""
        self.triggers = 0
        self.unknown_words = 0
        self.early_events = 0  # dropped, because they came before the first complete time and address
        self.trigger_events: NDArray[np.void] = np.zeros(0, TRIGGER_DTYPE)

    def decode(self, payload: Payload, time_base_ns: int = 0) -> Events:
        """Events of one payload; `time_base_ns` is what the packet's message states, for encodings that build on it.

        Raises RecordingError when the payload does not hold whole words.
        """
        if len(payload) % self.record_bytes:
            raise RecordingError(
                f"{self.encoding} payload",
                f"truncated: {len(payload)} bytes are not a whole number of {self.record_bytes}-byte words",
            )
        return self._decode(self._words(payload), time_base_ns)

    def report(self, tally: Tally) -> None:
        """Note at the end of a recording what was skipped."""
        if self.unknown_words:
            tally.note(f"{self.unknown_words} words of unknown type were skipped")
        if self.early_events:
            tally.note(f"{self.early_events} events before the first time word were dropped")

    @abstractmethod
    def _decode(self, words: NDArray[np.unsignedinteger], time_base_ns: int) -> Events: ...

    def _tell(self, events: Events, triggers: NDArray[np.void], counts: tuple[int, int, int, int]) -> Events:
        """Cut the buffers to what a kernel filled, `(events, edges, unknown, early)`, and count what it met."""
        filled, edges, unknown, early = counts
        self.triggers += edges
        self.unknown_words += unknown
        self.early_events += early
        self.trigger_events = triggers[:edges]
        return events[:filled]

    def _words(self, payload: Payload) -> NDArray[np.unsignedinteger]:
        native = np.dtype(f"<u{self.word_bytes}")
        words = payload.view(native.newbyteorder(">") if self.is_bigendian else native)
        # The kernels are compiled once, for aligned writable memory; a copy costs little beside decoding.
        if self.is_bigendian or not (words.flags.aligned and words.flags.writeable and words.flags.c_contiguous):
            words = words.astype(native)
        return words


def check_coordinates(encoding: str, sensor: Sensor, limit: int) -> None:
    """Refuse a sensor whose addresses do not fit the encoding's bits."""
    if sensor.width > limit or sensor.height > limit:
        raise ConfigError(f"sensor {sensor}: {encoding} holds coordinates below {limit} only")
