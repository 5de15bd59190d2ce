"""Encodings by the name that messages and headers give them."""

from __future__ import annotations

from collections.abc import Callable

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events.array import Events
from dvs_snn.events.codecs.decoder import Decoder, Payload
from dvs_snn.events.codecs.evt2 import Evt2Decoder
from dvs_snn.events.codecs.evt3 import Evt3Decoder, Evt3Encoder
from dvs_snn.events.codecs.libcaer import LibcaerCmpDecoder, LibcaerDecoder, LibcaerEncoder
from dvs_snn.events.codecs.mono import MonoDecoder, MonoEncoder
from dvs_snn.events.stream import Sensor

DECODERS: dict[str, type[Decoder]] = {
    kind.encoding: kind for kind in (Evt3Decoder, Evt2Decoder, MonoDecoder, LibcaerDecoder, LibcaerCmpDecoder)
}
"""Decoder classes by encoding."""


def decoder(encoding: str, is_bigendian: bool = False) -> Decoder:
    """A new decoder for an encoding; RecordingError names the encoding when there is none."""
    kind = DECODERS.get(encoding)
    if kind is None:
        raise RecordingError("event packet", f"unknown encoding {encoding!r}; known are {', '.join(DECODERS)}")
    return kind(is_bigendian)


Encode = Callable[[Events, int], Payload]
"""Bytes of a packet's events; the second argument is its time base in nanoseconds, no later than its events."""


def encoder(encoding: str, sensor: Sensor) -> Encode:
    """A new encoder of packets that a reader can join at any of them; ConfigError where there is none."""
    if encoding == "evt3":
        evt3 = Evt3Encoder(sensor)
        return lambda events, time_base_ns: evt3.encode(events, fresh=True)
    if encoding == "mono":
        return MonoEncoder(sensor).encode
    if encoding == "libcaer":
        return LibcaerEncoder(sensor).encode
    raise ConfigError(f"packets are encoded as evt3, mono or libcaer, not {encoding!r}")
