"""Encodings by the name that messages and headers give them."""

from __future__ import annotations

from dvs_snn.errors import RecordingError
from dvs_snn.events.codecs.decoder import Decoder
from dvs_snn.events.codecs.evt2 import Evt2Decoder
from dvs_snn.events.codecs.evt3 import Evt3Decoder
from dvs_snn.events.codecs.libcaer import LibcaerCmpDecoder, LibcaerDecoder
from dvs_snn.events.codecs.mono import MonoDecoder

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
