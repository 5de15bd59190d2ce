"""Payload encodings of event cameras: decoders that keep their state from packet to packet, and encoders.

The same decoder serves Prophesee's files, bags and live messages. A module per encoding states its layout and the rules
by which its time is unwrapped.
"""

from dvs_snn.events.codecs.decoder import TRIGGER_DTYPE, Decoder, Payload
from dvs_snn.events.codecs.evt2 import Evt2Decoder, Evt2Encoder
from dvs_snn.events.codecs.evt3 import Evt3Decoder, Evt3Encoder
from dvs_snn.events.codecs.evt21 import Evt21Decoder
from dvs_snn.events.codecs.libcaer import LibcaerCmpDecoder, LibcaerDecoder, LibcaerEncoder
from dvs_snn.events.codecs.mono import MonoDecoder, MonoEncoder
from dvs_snn.events.codecs.table import DECODERS, Encode, decoder, encoder

__all__ = [
    "DECODERS",
    "TRIGGER_DTYPE",
    "Decoder",
    "Encode",
    "Evt2Decoder",
    "Evt2Encoder",
    "Evt3Decoder",
    "Evt3Encoder",
    "Evt21Decoder",
    "LibcaerCmpDecoder",
    "LibcaerDecoder",
    "LibcaerEncoder",
    "MonoDecoder",
    "MonoEncoder",
    "Payload",
    "decoder",
    "encoder",
]
