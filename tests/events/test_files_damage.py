"""Files with random damage: a RecordingError of one line, or events; never anything else, never without end."""

import numpy as np
import pytest

from dvs_snn.errors import DvsSnnError
from dvs_snn.events import Sensor, make_events, stream_of
from dvs_snn.events.files import open_recording, write_recording

SENSOR = Sensor(128, 128)


def damaged(data, rng):
    data = bytearray(data)
    kind = rng.integers(4)
    place = int(rng.integers(len(data) if rng.random() < 0.5 else min(len(data), 600)))
    if kind == 0:
        return bytes(data[:place] or data[:1])
    if kind == 1:
        return bytes(data[:place] + data[place + int(rng.integers(1, 50)) :]) or b"x"
    if kind == 2:
        return bytes(data[:place]) + rng.bytes(int(rng.integers(1, 9))) + bytes(data[place:])
    for _ in range(int(rng.choice([1, 2, 20]))):
        data[int(rng.integers(place + 1))] = int(rng.choice([0, 127, 128, 255, rng.integers(256)]))
    return bytes(data)


@pytest.mark.parametrize("extension", ["aedat4", "aedat", "aedat2", "es", "npz", "csv", "bin", "h5"])
def test_damage_is_an_error_or_events(extension, tmp_path):
    rng = np.random.default_rng(3)
    count = 1500
    events = make_events(
        np.cumsum(rng.integers(0, 20, count)), *rng.integers(0, 128, (2, count)), rng.integers(0, 2, count)
    )
    path = tmp_path / f"a.{extension}"
    write_recording(path, stream_of(events, SENSOR))
    whole = path.read_bytes()
    for _ in range(150):
        path.write_bytes(damaged(whole, rng))
        try:
            stream = open_recording(path, SENSOR if rng.random() < 0.5 else None)
            read = sum(len(packet) for packet in stream)
        except DvsSnnError as error:
            assert "\n" not in str(error) and path.name in str(error)
        else:
            assert read <= 2 * count


def test_a_member_that_promises_more_than_there_is(tmp_path):
    """Its header says 10^15 events; what is there is read, and the loss is said."""
    header = (
        b"{'descr': [('t','<i8'),('x','<u2'),('y','<u2'),('p','|b1')], 'fortran_order': False, 'shape': (10**15,), }"
    )
    header = header.replace(b"10**15", b"1" + b"0" * 15).ljust(118 - 1) + b"\n"
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(
            "events.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(13 * 5)
        )
    stream = open_recording(tmp_path / "a.npz", SENSOR)
    assert len(stream.to_array()) == 5
    assert stream.tally.notes == ["truncated: 999999999999995 events that the header promises are missing"]


@pytest.mark.slow
def test_three_hundred_million_events_in_constant_memory(tmp_path):
    import resource

    from dvs_snn.events import EventStream, copy_events, windows

    size, total = 1 << 16, 300_000_000
    rng = np.random.default_rng(0)
    base = make_events(np.arange(size) // 10, *rng.integers(0, 128, (2, size)), rng.integers(0, 2, size))

    def packets():
        for index in range(0, total, size):
            packet = copy_events(base[: min(size, total - index)])
            packet["t"] += index // 10
            yield packet

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_recording(tmp_path / "a.npz", EventStream(SENSOR, packets()))
    assert sum(len(window.events) for window in windows(open_recording(tmp_path / "a.npz"), 10_000)) == total
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kilobytes
