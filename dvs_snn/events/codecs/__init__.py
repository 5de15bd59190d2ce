"""Payload encodings of event cameras: decoders that keep their state from packet to packet, and encoders."""
