"""Formats by their specification: files built here byte by byte, and what readers assume and say."""

import struct

import h5py
import numpy as np
import pytest

from dvs_snn.errors import RecordingError
from dvs_snn.events import Sensor, make_events
from dvs_snn.events.files import open_recording


def polarity_word(x, y, p, valid=True):
    return x << 17 | y << 2 | p << 1 | int(valid)


def packet(kind, events, overflow=0, source=1, size=8):
    body = b"".join(struct.pack("<II", data, t) if size == 8 else bytes(size) for data, t in events)
    return struct.pack("<hhiiiiii", kind, source, size, 4, overflow, len(events), len(events), len(events)) + body


def aedat31(*packets, source="DVS128", form="RAW"):
    lines = ["#!AER-DAT3.1", f"#Format: {form}", f"#Source 1: {source}", "#-Source 0: DAVIS640"]
    lines += ["#Start-Time: 2016-03-18 15:32:42 (TZ+0100)", "#!END-HEADER"]
    return "".join(line + "\r\n" for line in lines).encode() + b"".join(packets)


def write(path, data):
    path.write_bytes(data)
    return path


class TestAedat31:
    def test_polarity_events_are_read_among_others(self, tmp_path):
        data = aedat31(
            packet(0, [(2 << 1 | 1, 5), (3 << 1 | 1, 6), (1 << 1 | 1, 7), (2 << 1, 8)]),  # rise, fall, reset, invalid
            packet(1, [(polarity_word(127, 3, 1), 10), (polarity_word(5, 127, 0), 12)]),
            packet(2, [(0, 0)], size=36),  # a frame
            packet(3, [(0, 0), (0, 0)], size=36),  # inertial samples
            packet(1, [(polarity_word(9, 9, 1, valid=False), 13), (polarity_word(1, 2, 1), 14)]),
            packet(1, []),
        )
        stream = open_recording(write(tmp_path / "a.aedat", data))
        events = stream.to_array()
        assert events.tolist() == [(10, 127, 3, True), (12, 5, 127, False), (14, 1, 2, True)]
        assert (stream.sensor, stream.sensor_assumed, stream.format) == (Sensor(128, 128), False, "aedat3.1")
        assert stream.tally.triggers == 2
        assert stream.tally.notes == ["events that the file marks as invalid were left out"]

    def test_the_overflow_counter_extends_31_bits_of_time(self, tmp_path):
        last = (1 << 31) - 1
        data = aedat31(packet(1, [(1, last)]), packet(1, [(1, 0)], overflow=1), packet(1, [(1, 7)], overflow=3))
        assert open_recording(write(tmp_path / "a.aedat", data)).to_array()["t"].tolist() == [
            last,
            1 << 31,
            (3 << 31) + 7,
        ]

    def test_fifteen_bits_of_address(self, tmp_path):
        data = aedat31(packet(1, [(polarity_word(32767, 32766, 0), 1)]), source="unheard of")
        stream = open_recording(write(tmp_path / "a.aedat", data))
        assert stream.to_array().tolist() == [(1, 32767, 32766, False)]
        assert (stream.sensor, stream.sensor_assumed) == (Sensor(32768, 32767), True)

    def test_of_several_cameras_the_first_is_read(self, tmp_path):
        data = aedat31(packet(1, [(1, 5)], source=2), packet(1, [(1, 6)], source=3), source="DAVIS240C")
        stream = open_recording(write(tmp_path / "a.aedat", data))
        assert len(stream.to_array()) == 1
        assert stream.sensor == Sensor(240, 180)
        assert "several cameras" in stream.tally.notes[0]

    def test_a_cut_packet_gives_its_whole_events(self, tmp_path):
        data = aedat31(packet(1, [(1, 1)]), packet(1, [(1, 2), (1, 3), (1, 4)]))[:-10]
        stream = open_recording(write(tmp_path / "a.aedat", data))
        assert stream.to_array()["t"].tolist() == [1, 2]
        assert stream.tally.notes == ["truncated after 2 events: the last packet lacks 10 bytes"]

    def test_an_unknown_encoding_is_refused(self, tmp_path):
        with pytest.raises(RecordingError, match=r"unknown AEDAT 3\.1 encoding 'SerializedTS'"):
            open_recording(write(tmp_path / "a.aedat", aedat31(form="SerializedTS")))

    def test_a_damaged_packet_header_is_refused(self, tmp_path):
        stream = open_recording(write(tmp_path / "a.aedat", aedat31(packet(1, [(1, 1)]), b"\xff" * 60)))
        with pytest.raises(RecordingError, match="damaged packet header at byte"):
            stream.to_array()


class TestAedat2:
    HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"

    def test_dvs128_addresses(self, tmp_path):
        words = [(3 << 8 | 5 << 1 | 0, 10), (127 << 8 | 0 << 1 | 1, 11), (1 << 15 | 9, 12)]
        data = self.HEADER + b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
        data += b"".join(struct.pack(">Ii", *word) for word in words)
        stream = open_recording(write(tmp_path / "a.aedat", data))
        assert stream.to_array().tolist() == [(10, 122, 124, True), (11, 127, 0, False)]
        assert (stream.sensor, stream.sensor_assumed, stream.tally.triggers) == (Sensor(128, 128), False, 1)

    @pytest.mark.parametrize(("chip", "sensor"), [("Davis346mini", Sensor(346, 260)), ("DAVIS240C", Sensor(240, 180))])
    def test_davis_addresses(self, chip, sensor, tmp_path):
        words = [(3 << 22 | 5 << 12 | 1 << 11, 10), (1 << 31 | 4, 11), (1 << 10 | 2, 12), (sensor.height - 1 << 22, 13)]
        data = self.HEADER + f"# AEChip: eu.seebetter.ini.chips.davis.{chip}\r\n#End Of ASCII Header\r\n".encode()
        data += b"".join(struct.pack(">Ii", *word) for word in words)
        stream = open_recording(write(tmp_path / "a.aedat", data))
        width, height = sensor.width, sensor.height
        assert stream.to_array().tolist() == [(10, width - 6, height - 4, True), (13, width - 1, 0, False)]
        assert (stream.sensor, stream.tally.triggers) == (sensor, 1)

    def test_time_turns_over_at_32_bits(self, tmp_path):
        times = [2**31 - 2, -(2**31), -5, 0, 2**31 - 1, -(2**31)]
        data = self.HEADER + b"".join(struct.pack(">Ii", 0, t) for t in times)
        t = open_recording(write(tmp_path / "a.aedat", data)).to_array()["t"]
        assert np.diff(t).tolist() == [2, 2**31 - 5, 5, 2**31 - 1, 1]

    def test_a_chip_that_nobody_names_is_said_or_asked_for(self, tmp_path):
        small = write(tmp_path / "a.aedat", self.HEADER + struct.pack(">Ii", 5 << 8, 1))
        stream = open_recording(small)
        assert stream.sensor_assumed and "addresses read as those of a DVS128" in stream.tally.notes[0]
        large = write(tmp_path / "b.aedat", self.HEADER + struct.pack(">Ii", 5 << 22, 1))
        with pytest.raises(RecordingError, match="give --sensor"):
            open_recording(large)
        assert open_recording(large, Sensor(346, 260)).to_array().tolist() == [(1, 345, 254, False)]


class TestEventStream:
    HEAD = b"Event Stream" + bytes([2, 0, 0])

    def test_steps_fillers_and_rows_that_count_from_below(self, tmp_path):
        body = (
            bytes([3 << 1 | 1, 7, 0, 0, 0]) + b"\xff\xff" + bytes([0, 8, 1, 239, 0]) + b"\xfe" + bytes([2, 0, 0, 1, 0])
        )
        path = write(tmp_path / "a.es", self.HEAD + b"\x01" + struct.pack("<HH", 320, 240) + body)
        assert open_recording(path).to_array().tolist() == [
            (3, 7, 239, True),
            (257, 264, 0, False),
            (258, 0, 238, False),
        ]

    def test_atis_gives_its_change_detections(self, tmp_path):
        event = lambda step, on, exposure, x: bytes([step << 2 | on << 1 | exposure, x, 0, 0, 0])  # noqa: E731
        body = event(1, 1, 0, 3) + event(2, 0, 1, 4) + b"\xfe" + event(0, 0, 0, 5)  # 0xfe: twice 63 us
        path = write(tmp_path / "a.es", self.HEAD + b"\x02" + struct.pack("<HH", 304, 240) + body)
        assert open_recording(path).to_array().tolist() == [(1, 3, 239, True), (129, 5, 239, False)]

    @pytest.mark.parametrize(("kind", "name"), [(0, "generic"), (4, "color"), (9, "unknown")])
    def test_other_kinds_are_refused_by_name(self, kind, name, tmp_path):
        with pytest.raises(RecordingError, match=f"holds events of kind {name}"):
            open_recording(write(tmp_path / "a.es", self.HEAD + bytes([kind]) + bytes(30)))


class TestNmnist:
    def test_five_bytes(self, tmp_path):
        data = bytes([33, 2, 0x80 | 0x01, 0x02, 0x03, 4, 33, 0x7F, 0xFF, 0xFF])
        stream = open_recording(write(tmp_path / "0.bin", data))
        assert stream.to_array().tolist() == [(0x010203, 33, 2, True), ((1 << 23) - 1, 4, 33, False)]
        assert (stream.sensor, stream.sensor_assumed) == (Sensor(34, 34), False)

    def test_overflow_events_of_larger_sensors_carry_time_on(self, tmp_path):
        data = bytes([100, 50, 0, 0, 9, 0, 240, 0, 0, 0, 100, 50, 0, 0, 1])
        stream = open_recording(write(tmp_path / "0.bin", data))
        assert stream.to_array()["t"].tolist() == [9, 8193]
        assert (stream.sensor, stream.sensor_assumed) == (Sensor(128, 128), True)

    def test_noise_is_not_taken_for_events(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
        with pytest.raises(RecordingError, match="is no N-MNIST file"):
            open_recording(write(tmp_path / "0.bin", noise))


class TestCsv:
    @pytest.mark.parametrize(
        ("text", "rows"),
        [
            ("10,1,2,1\n20,3,4,0\n", [(10, 1, 2, True), (20, 3, 4, False)]),
            ("0.00001 1 2 1\n0.00002 3 4 -1", [(10, 1, 2, True), (20, 3, 4, False)]),
            ("x,y,p,t\r\n1,2,1,10\r\n3,4,0,20\r\n", [(10, 1, 2, True), (20, 3, 4, False)]),
            ("timestamp [s];x;y;polarity\n0.0000104;1;2;1\n2e-5;3;4;0\n", [(10, 1, 2, True), (20, 3, 4, False)]),
            (
                "# a comment\n\nt_ns\tx\ty\ton\textra\n10000\t1\t2\t1\t9\n20499\t3\t4\t0\t9\n",
                [(10, 1, 2, True), (20, 3, 4, False)],
            ),
            ("1.605537494308262000e+09 1.0e+00 2.00 1.00e+00\n", [(1605537494308262, 1, 2, True)]),
            ("\ufefft,x,y,p\n-5,1,2,1\n", [(-5, 1, 2, True)]),
            ("# x y p t\n1 2 1 10\n", [(10, 1, 2, True)]),
        ],
    )
    def test_columns_separators_and_units(self, text, rows, tmp_path):
        assert open_recording(write(tmp_path / "a.csv", text.encode())).to_array().tolist() == rows

    def test_a_date_in_seconds_keeps_its_microseconds(self, tmp_path):
        lines = "".join(f"1605537494.{i:06d},1,1,1\n" for i in range(0, 1_000_000, 997))
        t = open_recording(write(tmp_path / "a.csv", lines.encode())).to_array()["t"]
        assert t.tolist() == [1605537494000000 + i for i in range(0, 1_000_000, 997)]

    def test_what_was_assumed_is_said(self, tmp_path):
        stream = open_recording(write(tmp_path / "a.txt", b"0.5 200 2 1\n"))
        assert stream.sensor == Sensor(240, 180) and stream.sensor_assumed
        assert stream.tally.notes == [
            "no header: columns read as t, x, y, p",
            "unit of time not stated: assumed seconds",
            "the file does not say the sensor's size: assumed 240x180 (give --sensor WxH to state it)",
        ]

    def test_coordinates_that_no_sensor_has_are_counted(self, tmp_path):
        stream = open_recording(write(tmp_path / "a.csv", b"t_us,x,y,p\n1,-1,2,1\n2,70000,2,1\n3,5,5,1\n"))
        assert stream.to_array()["t"].tolist() == [3]
        assert (stream.sensor, stream.tally.out_of_sensor) == (Sensor(128, 128), 2)

    @pytest.mark.parametrize(
        ("line", "shown"),
        [("5,6", "5,6"), ("5,,6,1", "5,,6,1"), ("5,a,6,1", "5,a,6,1"), ("nan,1,1,1", "nan"), ("1,2.5,1,1", "2.5"),
         ("1,2,3,1,9", "1,2,3,1,9"), ("99999999999999999999,1,1,1", "9999")],
    )  # fmt: skip
    def test_a_line_that_is_no_event_is_named(self, line, shown, tmp_path):
        text = "t_us,x,y,p\n" + "1,2,3,1\n" * 100_000 + line + "\n1,2,3,1\n"
        with pytest.raises(RecordingError, match=f"line 100002 is no event: '.*{shown}") as error:
            open_recording(write(tmp_path / "a.csv", text.encode()))
        assert "\n" not in str(error.value)


class TestNpz:
    def test_columns_and_other_dtypes(self, tmp_path):
        x, y, t, p = np.array([1, 2]), np.array([3, 4]), np.array([10, 20]), np.array([-1, 1])
        np.savez(
            tmp_path / "a.npz", x=x.astype("i2"), y=y.astype("u4"), t=t.astype("u8"), p=p.astype("i1"), other=np.eye(3)
        )
        np.savez_compressed(
            tmp_path / "b.npz", xs=x.astype("f4"), ys=y, ts=t * 1e-6 + 1.5, ps=p > 0, width=50, height=40
        )
        xytp = np.zeros(2, [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])  # tonic's order
        xytp["x"], xytp["y"], xytp["t"], xytp["p"] = x, y, t, p > 0
        np.savez(tmp_path / "c.npz", recording=xytp, sensor_size=(34, 34, 2))
        rows = [(10, 1, 3, False), (20, 2, 4, True)]
        assert open_recording(tmp_path / "a.npz").to_array().tolist() == rows
        assert open_recording(tmp_path / "c.npz").to_array().tolist() == rows
        assert open_recording(tmp_path / "c.npz").sensor == Sensor(34, 34)
        seconds = open_recording(tmp_path / "b.npz")
        assert seconds.to_array().tolist() == [(1_500_000 + t, x, y, p) for t, x, y, p in rows]
        assert seconds.sensor == Sensor(50, 40)
        assert any("assumed seconds" in note for note in seconds.tally.notes)

    def test_pickles_are_never_loaded(self, tmp_path):
        np.savez(tmp_path / "a.npz", events=np.array([{"t": 1}], dtype=object))
        with pytest.raises(RecordingError, match="Python objects, which are never loaded"):
            open_recording(tmp_path / "a.npz")

    def test_fractions_of_pixels_are_refused(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.array([1.5]), y=np.array([1]), t=np.array([1]), p=np.array([1]))
        with pytest.raises(RecordingError, match="fractions of pixels"):
            open_recording(tmp_path / "a.npz")

    def test_columns_of_different_length_are_refused(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.zeros(2), y=np.zeros(3), t=np.zeros(3), p=np.zeros(3), sensor=(8, 8))
        with pytest.raises(RecordingError, match="differ in length: t 3, x 2"):
            open_recording(tmp_path / "a.npz").to_array()

    def test_a_damaged_member_is_found_by_its_checksum(self, tmp_path):
        np.savez(tmp_path / "a.npz", events=make_events(*np.ones((4, 1000))), sensor=(8, 8))
        data = bytearray((tmp_path / "a.npz").read_bytes())
        data[5000] ^= 1
        stream = open_recording(write(tmp_path / "a.npz", bytes(data)))
        with pytest.raises(RecordingError, match=r"archive is damaged .*CRC"):
            stream.to_array()


class TestHdf5:
    def test_metavision_records(self, tmp_path):
        records = np.zeros(3, [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
        records["t"], records["x"], records["p"] = [1, 2, 3], [9, 8, 7], [0, 1, 1]
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            file.attrs["geometry"] = "1280x720"
            file["CD/events"] = records
            file["EXT_TRIGGER/events"] = np.zeros(5, [("p", "<i2"), ("t", "<i8"), ("id", "<i2")])
        stream = open_recording(tmp_path / "a.hdf5")
        assert stream.to_array().tolist() == [(1, 9, 0, False), (2, 8, 0, True), (3, 7, 0, True)]
        assert (stream.sensor, stream.tally.triggers, stream.format) == (Sensor(1280, 720), 5, "hdf5 (metavision)")

    def test_dsec_columns_and_offset(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, kind in (("t", "u4"), ("x", "u2"), ("y", "u2"), ("p", "u1")):
                file[f"events/{name}"] = np.arange(4, dtype=kind)
            file["t_offset"] = np.int64(58_000_000_000)
        stream = open_recording(tmp_path / "a.h5")
        assert stream.to_array()["t"].tolist() == [58_000_000_000 + i for i in range(4)]
        assert (stream.sensor, stream.sensor_assumed) == (Sensor(128, 128), True)

    def test_an_absent_plugin_is_named(self, tmp_path, monkeypatch):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in "txyp":
                file.create_dataset(f"events/{name}", data=np.arange(4), chunks=(4,), compression="gzip")
        monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
        with pytest.raises(RecordingError, match=r"compressed by deflate .HDF5 filter 1., which is not installed"):
            open_recording(tmp_path / "a.h5")

    def test_a_file_of_something_else_is_refused(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["images"] = np.zeros((3, 3))
        with pytest.raises(RecordingError, match=r"no events found: .* holds images"):
            open_recording(tmp_path / "a.h5")


class TestAedat4:
    def test_disorder_and_events_outside_are_counted(self, tmp_path):
        """Plain packets made by faery, patched: its own reader holds such times in silence and stops at such places."""
        from faery import EVENTS_DTYPE, aedat

        attribute = aedat.DescriptionAttribute
        info = aedat.DescriptionNode("info", "/i/", {"sizeX": attribute("int", 8), "sizeY": attribute("int", 6)}, [])
        track = aedat.DescriptionNode("0", "/0/", {"typeIdentifier": attribute("string", "EVTS")}, [info])
        events = np.zeros(4, EVENTS_DTYPE)
        events["t"] = [1_000_000, 1_000_001, 1_000_002, 1_000_003]
        with aedat.Encoder(
            str(tmp_path / "a.aedat4"), [aedat.DescriptionNode("outInfo", "/", {}, [track])], None
        ) as file:
            file.write(0, events)
        data = bytearray((tmp_path / "a.aedat4").read_bytes())
        first = data.index(struct.pack("<q", 1_000_000))
        data[first + 16 : first + 24] = struct.pack("<q", 999_000)
        data[first + 32 : first + 42] = struct.pack("<qh", 5, 3)
        data[first + 48 : first + 60] = struct.pack("<qhh", 6, -1, 2)
        stream = open_recording(write(tmp_path / "a.aedat4", bytes(data)))
        assert stream.to_array()["t"].tolist() == [1_000_000, 1_000_000, 5]
        tally = stream.tally
        assert (tally.events, tally.backward_steps, tally.restarts, tally.out_of_sensor) == (4, 2, 1, 1)
