"""Real recordings: what is published about them, and agreement with faery where faery is right."""

import numpy as np
import pytest

from dvs_snn.events import EVENT_DTYPE, Sensor
from dvs_snn.events.files import open_recording, write_recording

pytestmark = pytest.mark.data
FACTS = {  # file: format, sensor, assumed, events, span_us
    "recordings/dvs128_gesture/0_hand_clapping.aedat4": ("aedat4", "128x128", False, 63_471, 1_449_968),
    "recordings/dvs128_gesture/3_right_arm_cw.aedat4": ("aedat4", "128x128", False, 151_879, None),
    "recordings/head_dvxplorer.aedat4": ("aedat4", "320x240", False, 111_954, 589_917),
    "recordings/spinning_dot.es": ("es", "320x240", False, 473_225, 999_000),
    "recordings/sparklers_evt2.raw": ("raw evt2", "640x480", True, 521_252, 95_871),
    "recordings/pedestrians_evt3.raw": ("raw evt3", "1280x720", True, 5_000, 45_210),
    "recordings/ncars.dat": ("dat 2d", "304x240", True, 2_009, 99_952),
    "rosbags/test_events_1": ("bag evt3", "640x480", False, 343_474, None),
    "rosbags/test_events_1.bag": ("bag evt3", "640x480", False, 343_474, None),
    "rosbags/test_data_mono_cd": ("bag mono", "640x480", False, 100, 99),
}


@pytest.mark.parametrize("name", FACTS)
def test_what_the_recordings_are(name, data_dir):
    form, sensor, assumed, events, span_us = FACTS[name]
    stream = open_recording(data_dir / name)
    kept = sum(len(packet) for packet in stream)
    tally = stream.tally
    assert (stream.format, str(stream.sensor), stream.sensor_assumed) == (form, sensor, assumed)
    assert tally.events == events == kept + tally.out_of_sensor
    assert span_us is None or tally.span_us == span_us
    assert tally.out_of_sensor == tally.restarts == tally.unknown_words == 0


def test_the_published_sums_of_both_bags(data_dir):
    for name in ("test_events_1", "test_events_1.bag"):
        stream = open_recording(data_dir / "rosbags" / name)
        for _ in stream:
            pass
        assert (stream.tally.on, stream.tally.off, stream.tally.triggers) == (125_183, 218_291, 4_157)


@pytest.mark.parametrize("name", [name for name in FACTS if name.endswith((".aedat4", ".es"))])
def test_the_events_are_those_that_faery_reads(name, data_dir):
    from faery import aedat, es

    path = str(data_dir / name)
    if name.endswith(".es"):
        theirs = np.concatenate(list(es.Decoder(path, 0))).view(EVENT_DTYPE)
        theirs["y"] = 239 - theirs["y"]
    else:
        packets = [packet for track, packet in aedat.Decoder(path) if track.data_type == "events"]
        theirs = np.concatenate(packets).view(EVENT_DTYPE)
    np.testing.assert_array_equal(open_recording(path).to_array(), theirs)


def test_every_small_nmnist_file_is_whole(data_dir):
    paths = sorted((data_dir / "nmnist_small" / "Test").rglob("*.bin"))
    assert len(paths) == 100
    for path in paths:
        stream = open_recording(path)
        events = stream.to_array()
        assert stream.sensor == Sensor(34, 34) and not stream.sensor_assumed
        assert len(events) == path.stat().st_size // 5
        assert stream.tally.restarts == stream.tally.out_of_sensor == 0 and stream.tally.notes == []
        assert 250_000 < stream.tally.span_us < 400_000


@pytest.mark.parametrize("extension", ["npz", "aedat4", "csv", "h5", "aedat", "aedat2"])
def test_a_real_recording_survives_conversion(extension, data_dir, tmp_path):
    source = open_recording(data_dir / "recordings/dvs128_gesture/0_hand_clapping.aedat4")
    path = tmp_path / f"a.{extension}"
    write_recording(path, source)
    np.testing.assert_array_equal(open_recording(path).to_array(), source.to_array())
