"""AEDAT 2.0 (jAER): big-endian pairs of address and time; the chip decides what an address means.

Read; written for DVS128. Layouts are those by which jAER, which writes these files, reads them. Both chips count x from
the right in the address and y from the bottom. DVS128: bit 15 external input, 14-8 y, 7-1 x, bit 0 is 0 for ON (the
format's page says 1; jAER and libcaer, the driver, say 0). DAVIS: bit 31 frame or IMU sample, 30-22 y, 21-12 x, bit 11
is 1 for ON, bit 10 external input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dvs_snn.errors import RecordingError
from dvs_snn.events.array import EVENT_DTYPE, Events, pick_events
from dvs_snn.events.formats.reading import PACKET_EVENTS, FilePackets, settle_sensor
from dvs_snn.events.stream import EventStream, Sensor, Tally

MAGIC = b"#!AER-DAT2.0"
DVS128 = Sensor(128, 128)
_WORDS = np.dtype([("address", ">u4"), ("t", ">i4")])
_DAVIS = {
    "240": Sensor(240, 180),
    "346": Sensor(346, 260),
    "640": Sensor(640, 480),
    "208": Sensor(208, 192),
    "128": Sensor(128, 128),
}


def read_aedat2(path: Path, sensor: Sensor | None = None) -> EventStream:
    """An AEDAT 2.0 file of a DVS128 or DAVIS as a stream that is not repaired yet; external inputs are triggers."""
    tally = Tally()
    with open(path, "rb") as file:
        chip = _read_header(path, file)
        start = file.tell()
        first = np.frombuffer(_whole(file.read(8 * PACKET_EVENTS)), _WORDS)
    is_davis, chip_sensor = _layout(path, chip, sensor, first, tally)

    def packets() -> Iterator[Events]:
        turns, last, seen = 0, None, 0
        with open(path, "rb") as file:
            file.seek(start)
            while data := file.read(8 * PACKET_EVENTS):
                words = np.frombuffer(_whole(data), _WORDS)
                if len(words):
                    t = words["t"].astype(np.int64)
                    steps = np.diff(t, prepend=t[0] if last is None else last)
                    wraps = turns + np.cumsum(steps < -(1 << 31))  # 32 bits of microseconds turn over after 71 minutes
                    last, turns = int(t[-1]), int(wraps[-1])
                    events = _decode(
                        words["address"].astype(np.uint32), t + (wraps << 32), is_davis, chip_sensor, tally
                    )
                    seen += len(events)
                    yield events
                if len(data) % 8:
                    tally.note(f"truncated after {seen} events: {len(data) % 8} bytes left over")

    stated = chip_sensor if chip else None
    size, assumed = settle_sensor(path, stated, sensor, tally, lambda: chip_sensor)
    return EventStream(size, FilePackets(path, tally, packets), "aedat2", str(path), assumed, tally)


def _whole(data: bytes) -> bytes:
    return data[: len(data) // 8 * 8]


def _read_header(path: Path, file: BinaryIO) -> str:
    """Skip the comment lines; the name of the chip that they state, or an empty text.

    A line counts as comment only if it is printable, because an address may begin with the byte of '#' too.
    """
    chip = ""
    while True:
        here = file.tell()
        line = file.readline(1 << 16)
        if line.startswith(b"#") and not line.endswith(b"\n") and len(line) < 1 << 16 and not file.read(1):
            raise RecordingError(path, "truncated: the AEDAT 2 header is not whole")
        if not (line.startswith(b"#") and line.endswith(b"\n") and re.fullmatch(rb"[\t\r\n -\xff]*", line)):
            file.seek(here)
            return chip
        text = line.decode("latin1").strip()
        if match := re.match(r"#\s*AEChip:\s*(\S+)", text):
            chip = match[1].rpartition(".")[2]
        if text.lower().startswith("#end of ascii header"):
            return chip


def _layout(path: Path, chip: str, given: Sensor | None, first: np.ndarray, tally: Tally) -> tuple[bool, Sensor]:
    """Whether addresses are of the DAVIS kind, and the size by which their x and y are turned."""
    name = chip.lower()
    if "davis" in name or "seebetter" in name:
        size = next((size for digits, size in _DAVIS.items() if digits in name), given)
        if size is None:
            raise RecordingError(path, f"chip {chip} has no size that is known here: give --sensor WxH")
        return True, size
    if "dvs128" in name or "tmpdiff128" in name:
        return False, DVS128
    if chip:
        raise RecordingError(path, f"the address layout of chip {chip} is not known; DVS128 and DAVIS files are read")
    if given == DVS128 or (given is None and not (first["address"] >> 16).any()):
        tally.note("the header names no chip: addresses read as those of a DVS128")
        return False, DVS128
    if given is None:
        raise RecordingError(path, "the header names no chip and the addresses are not of a DVS128: give --sensor WxH")
    tally.note("the header names no chip: addresses read as those of a DAVIS")
    return True, given


def _decode(address: np.ndarray, t: np.ndarray, is_davis: bool, size: Sensor, tally: Tally) -> Events:
    if is_davis:
        pixel = (address >> 31) == 0
        external = pixel & ((address >> 10) & 1 != 0)
        x, y, p = (address >> 12) & 0x3FF, (address >> 22) & 0x1FF, (address >> 11) & 1
    else:
        pixel = np.ones(len(address), bool)
        external = (address >> 15) & 1 != 0
        x, y, p = (address >> 1) & 0x7F, (address >> 8) & 0x7F, 1 - (address & 1)
    tally.triggers += int(np.count_nonzero(external))
    keep = pixel & ~external
    events = np.empty(len(address), EVENT_DTYPE)
    events["t"] = t
    events["x"] = (
        np.uint32(size.width - 1) - x
    )  # below zero wraps to 65535 and less, outside of every sensor of this format
    events["y"] = np.uint32(size.height - 1) - y
    events["p"] = p
    return events if keep.all() else pick_events(events, keep)


def write_aedat2(path: Path, stream: EventStream) -> None:
    """Write the DVS128 layout; the sensor must be 128x128 and times within 31 bits (35 minutes)."""
    if stream.sensor != DVS128:
        raise RecordingError(
            path, f"AEDAT 2 is written for the DVS128 (128x128) only, not {stream.sensor}; use .aedat4"
        )
    with open(path, "wb") as file:
        file.write(MAGIC + b"\r\n# This is a raw AE data file - do not edit\r\n")
        file.write(b"# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n")
        file.write(b"# Timestamps tick is 1 us\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n")
        file.write(b"#End Of ASCII Header\r\n")
        for packet in stream:
            if len(packet) and (packet["t"].min() < 0 or packet["t"].max() >= 1 << 31):
                raise RecordingError(path, "AEDAT 2 holds times from 0 to 35 minutes only; use .aedat4 or .npz")
            words = np.empty(len(packet), _WORDS)
            x, y = 127 - packet["x"].astype(np.uint32), 127 - packet["y"].astype(np.uint32)
            words["address"] = y << 8 | x << 1 | ~packet["p"]
            words["t"] = packet["t"]
            file.write(words.tobytes())
