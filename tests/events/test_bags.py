"""Bags: truth of the real ones, what is written is read (by rosbags too), other types, and bags that are wrong."""

import shutil
import sqlite3

import numpy as np
import pytest
import yaml
from rosbags import rosbag1, rosbag2
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import EventStream, Sensor, empty_events, make_events, repair, stream_of
from dvs_snn.events.bags import read_bag, write_bag
from dvs_snn.events.codecs import Evt3Decoder, LibcaerEncoder, MonoEncoder
from dvs_snn.events.codecs.messages import PACKET_DEFINITION, parse_packet, serialize_packet

SENSOR = Sensor(640, 480)
PACKET = "event_camera_msgs/msg/EventPacket"
ARRAY = "dvs_msgs/msg/EventArray"
EXTENSIONS = [".bag", ".mcap", ".db3", ""]


def random_events(count=5000, span_us=200_000, seed=0, start_us=0):
    rng = np.random.default_rng(seed)
    return make_events(
        start_us + np.sort(rng.integers(0, span_us, count)),
        rng.integers(0, SENSOR.width, count),
        rng.integers(0, SENSOR.height, count),
        rng.random(count) < 0.4,
    )


def typestore(ros2=True):
    store = get_typestore(Stores.ROS2_HUMBLE if ros2 else Stores.ROS1_NOETIC)
    store.register(get_types_from_msg(PACKET_DEFINITION, PACKET))
    store.register(get_types_from_msg(PACKET_DEFINITION, "event_array_msgs/msg/EventArray"))
    event = "uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity"
    store.register(get_types_from_msg(event, "dvs_msgs/msg/Event"))
    store.register(
        get_types_from_msg("std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events", ARRAY)
    )
    return store


def header(store):
    time = store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    kind = store.types["std_msgs/msg/Header"]
    seq = {"seq": 0} if "seq" in kind.__dataclass_fields__ else {}
    return kind(**seq, stamp=time, frame_id="camera")


def packet_message(store, payload, encoding="evt3", seq=0, time_base=0, sensor=SENSOR, kind=PACKET):
    return store.types[kind](
        header=header(store),
        height=sensor.height,
        width=sensor.width,
        seq=seq,
        time_base=time_base,
        encoding=encoding,
        is_bigendian=False,
        events=np.asarray(payload, np.uint8),
    )


def array_message(store, events, sensor=SENSOR):
    time, event = store.types["builtin_interfaces/msg/Time"], store.types["dvs_msgs/msg/Event"]
    rows = [
        event(x=int(x), y=int(y), ts=time(sec=int(t) // 10**6, nanosec=int(t) % 10**6 * 1000 + 999), polarity=bool(p))
        for t, x, y, p in events.tolist()
    ]
    return store.types[ARRAY](header=header(store), height=sensor.height, width=sensor.width, events=rows)


def make_bag(path, messages, ros2=True):
    """A bag of `(topic, type, message)`, written by rosbags alone."""
    store = typestore(ros2)
    writer = rosbag2.Writer(path, version=9) if ros2 else rosbag1.Writer(path)
    serialize = store.serialize_cdr if ros2 else store.serialize_ros1
    with writer:
        connections = {}
        for number, (topic, kind, make) in enumerate(messages):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], 1000 + number, serialize(make(store), kind))
    return path


def words(*values):
    return np.array(values, "<u2").view(np.uint8)


ONE = words(0x8001, 0x6002, 0x0005, 0x2003)


@pytest.mark.data
@pytest.mark.parametrize("name", ["test_events_1", "test_events_1.bag", "test_events_1/test_events_1.db3"])
def test_published_sums_of_the_evt3_bag(data_dir, name):
    stream = repair(read_bag(data_dir / "rosbags" / name))
    events = stream.to_array()
    assert (stream.tally.on, stream.tally.off, stream.tally.triggers) == (125_183, 218_291, 4_157)
    assert stream.sensor == SENSOR and not stream.sensor_assumed
    assert stream.tally.unknown_words == stream.tally.out_of_sensor == stream.tally.backward_steps == 0
    assert events["t"][0] == 7_139_845


@pytest.mark.data
def test_published_sum_of_all_times_of_the_evt3_bag(data_dir):
    """Events and triggers; the reference counts a trigger as rising where its bit is clear."""
    decoder, total, clear = Evt3Decoder(), 0, 0
    with rosbag1.Reader(data_dir / "rosbags/test_events_1.bag") as reader:
        for _, _, data in reader.messages():
            packet = parse_packet(data, ros2=False)
            total += int(decoder.decode(packet.payload, packet.time_base_ns)["t"].sum())
            total += int(decoder.trigger_events["t"].sum())
            clear += int(np.count_nonzero(~decoder.trigger_events["edge"]))
    assert total == 2_885_601_049_874
    assert clear == 2_078 and decoder.triggers == 4_157


@pytest.mark.data
def test_published_sums_of_the_mono_bag(data_dir):
    """Its metadata and its database name the older type."""
    events = read_bag(data_dir / "rosbags/test_data_mono_cd").to_array()
    assert [int(events[name].sum()) for name in "txyp"] == [4_950_000 // 1000, 34_450, 26_450, 50]


@pytest.mark.data
def test_metadata_with_another_type_name_than_the_database(data_dir, tmp_path):
    folder = tmp_path / "bag"
    shutil.copytree(data_dir / "rosbags/test_data_mono_cd", folder)
    folder.chmod(0o755)
    path = folder / "metadata.yaml"
    text = path.read_text().replace("event_array_msgs/msg/EventArray", PACKET)
    path.unlink()
    path.write_text(text)
    assert len(read_bag(folder).to_array()) == 100


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("encoding", ["evt3", "mono", None])
def test_written_bags_are_read(tmp_path, extension, encoding):
    events = random_events(40_000, start_us=16_700_000)  # the wrap of evt3 lies within
    path = tmp_path / f"x{extension}"
    write_bag(path, stream_of(events, SENSOR, 999), encoding)
    stream = read_bag(path)
    assert stream.sensor == SENSOR and stream.format == f"bag {encoding or 'evt3'}"
    for _ in range(2):
        np.testing.assert_array_equal(stream.to_array(), events)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_stream_without_events_keeps_its_sensor(tmp_path, extension):
    path = tmp_path / f"x{extension}"
    write_bag(path, stream_of(empty_events(), SENSOR))
    stream = read_bag(path)
    assert stream.sensor == SENSOR and len(stream.to_array()) == 0


def test_a_restarted_clock_survives_a_bag(tmp_path):
    events = np.concatenate([random_events(start_us=9_000_000), random_events(seed=1, start_us=1_000_000)])
    for encoding in ("evt3", "mono"):
        path = tmp_path / f"{encoding}.mcap"
        write_bag(path, EventStream(SENSOR, [events]), encoding)
        np.testing.assert_array_equal(read_bag(path).to_array(), events)


def test_late_starts_are_kept_by_mono_and_noted_by_evt3(tmp_path):
    stream = stream_of(random_events(start_us=1_700_000_000_000_000), SENSOR)
    write_bag(tmp_path / "a.mcap", stream)
    np.testing.assert_array_equal(read_bag(tmp_path / "a.mcap").to_array(), stream.to_array())
    write_bag(tmp_path / "b.mcap", stream, "evt3")
    assert any("16.78" in note for note in stream.tally.notes)
    with pytest.raises(ConfigError, match="negative"):
        write_bag(tmp_path / "c.mcap", stream_of(random_events(start_us=-(10**9)), SENSOR))
    with pytest.raises(ConfigError, match="evt2"):
        write_bag(tmp_path / "c.mcap", stream, "evt2")


def test_messages_are_short_in_time_and_bytes_and_rosbags_reads_them(tmp_path):
    events = random_events(300_000, 30_000)
    write_bag(tmp_path / "x", stream_of(events, SENSOR, 1234))
    decoder, got = Evt3Decoder(), []
    with AnyReader([tmp_path / "x"]) as reader:
        for number, (connection, time_ns, data) in enumerate(reader.messages()):
            assert len(data) <= 256_000
            message = reader.deserialize(data, connection.msgtype)
            assert (message.width, message.height, message.encoding, message.seq) == (640, 480, "evt3", number)
            got.append(decoder.decode(message.events))
            assert np.ptp(got[-1]["t"]) < 10_000 and got[-1]["t"][-1] * 1000 <= time_ns
    np.testing.assert_array_equal(np.concatenate(got), events)


@pytest.mark.parametrize("ros2", [True, False])
def test_packets_are_serialized_as_rosbags_does_it(ros2):
    store = typestore(ros2)
    for payload in (ONE, np.arange(7, dtype=np.uint8), ONE[:0]):
        message = packet_message(store, payload, seq=5, time_base=2**40 + 1)
        theirs = bytes((store.serialize_cdr if ros2 else store.serialize_ros1)(message, PACKET))
        packet = parse_packet(theirs, ros2)
        assert (packet.sensor, packet.seq, packet.time_base_ns, packet.encoding) == (SENSOR, 5, 2**40 + 1, "evt3")
        np.testing.assert_array_equal(packet.payload, payload)
        ours = serialize_packet(packet, 1_000_000_002, ros2, "camera")
        if ros2:
            assert ours == theirs
        else:
            assert ours[4:] == theirs[4:]  # ROS 1 headers count messages too


def test_libcaer_packets_and_the_older_type_name(tmp_path):
    events = random_events(500, 5000, start_us=10**15)
    base_ns = int(events["t"][0]) * 1000
    for encoding, encoder in (("libcaer", LibcaerEncoder), ("mono", MonoEncoder)):
        payload = encoder(SENSOR).encode(events, base_ns)
        kind = "event_array_msgs/msg/EventArray"
        path = make_bag(
            tmp_path / encoding,
            [("/e", kind, lambda s, p=payload, e=encoding: packet_message(s, p, e, time_base=base_ns, kind=kind))],  # noqa: B023
        )
        np.testing.assert_array_equal(read_bag(path).to_array(), events)


@pytest.mark.parametrize("ros2", [True, False])
@pytest.mark.parametrize("counts", [(0, 1, 2), (3, 100, 0), (0,)])
def test_dvs_msgs_arrays(tmp_path, ros2, counts):
    events = random_events(sum(counts), start_us=5_000_000)
    parts = np.split(events, np.cumsum(counts)[:-1])
    path = make_bag(
        tmp_path / ("x" if ros2 else "x.bag"),
        [("/dvs/events", ARRAY, lambda s, part=part: array_message(s, part)) for part in parts],
        ros2,
    )
    stream = read_bag(path)
    assert stream.sensor == SENSOR and stream.format == "bag dvs_msgs"
    np.testing.assert_array_equal(stream.to_array(), events)


def test_first_topic_by_name_is_read_and_the_others_are_noted(tmp_path):
    path = make_bag(
        tmp_path / "x",
        [("/b", PACKET, lambda s: packet_message(s, ONE)), ("/a", PACKET, lambda s: packet_message(s, words()))],
    )
    stream = read_bag(path)
    assert len(stream.to_array()) == 0
    assert stream.tally.notes == ["read topic /a; other topics with events: /b"]
    assert len(read_bag(path, topic="/b").to_array()) == 1
    with pytest.raises(RecordingError, match="no topic /c"):
        read_bag(path, topic="/c")


def test_missing_packets_and_unknown_words_are_noted(tmp_path):
    path = make_bag(
        tmp_path / "x",
        [
            ("/e", PACKET, lambda s: packet_message(s, ONE, seq=4)),
            ("/e", PACKET, lambda s: packet_message(s, words(0xB000, 0xA001), seq=7)),
        ],
    )
    stream = read_bag(path)
    list(stream)
    assert stream.tally.unknown_words == 1 and stream.tally.triggers == 1
    assert "1 words of unknown type were skipped" in stream.tally.notes
    assert "2 packets are missing (gaps in seq)" in stream.tally.notes


def test_unstated_sensor_is_the_callers_or_assumed(tmp_path):
    message = ("/e", PACKET, lambda s: packet_message(s, ONE, sensor=type("None", (), {"width": 0, "height": 0})))
    path = make_bag(tmp_path / "x", [message])
    assert read_bag(path, Sensor(10, 10)).sensor == Sensor(10, 10)
    assumed = read_bag(path)
    assert assumed.sensor_assumed and assumed.tally.notes
    assert len(assumed.to_array()) == 1


def test_bag_of_several_files_and_one_without_metadata(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    events = random_events()
    for number, part in enumerate(np.array_split(events, 3)):
        write_bag(folder / f"x_{number}.db3", stream_of(part, SENSOR))
    np.testing.assert_array_equal(read_bag(folder).to_array(), events)
    about = {"storage_identifier": "", "relative_file_paths": ["x_2.db3", "x_0.db3"]}
    (folder / "metadata.yaml").write_text(yaml.dump({"rosbag2_bagfile_information": about}))
    parts = np.array_split(events, 3)
    np.testing.assert_array_equal(read_bag(folder).to_array(), np.concatenate([parts[2], parts[0]]))


def test_mcap_that_rosbags_refuses_is_read_by_the_mcap_package(tmp_path):
    path = tmp_path / "x.mcap"
    events = random_events()
    write_bag(path, stream_of(events, SENSOR))
    data = path.read_bytes()
    assert data.count(b"\x04\x00\x00\x00ros2") == 1
    path.write_bytes(data.replace(b"\x04\x00\x00\x00ros2", b"\x04\x00\x00\x00ros9"))  # the profile
    np.testing.assert_array_equal(read_bag(path).to_array(), events)


@pytest.mark.parametrize("mode", ["FILE", "MESSAGE", "STORAGE"])
def test_compressed_bags(tmp_path, mode):
    store = typestore()
    plugin = rosbag2.StoragePlugin.MCAP if mode == "STORAGE" else rosbag2.StoragePlugin.SQLITE3
    writer = rosbag2.Writer(tmp_path / "x", version=9, storage_plugin=plugin)
    writer.set_compression(rosbag2.CompressionMode[mode], rosbag2.CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/e", PACKET, typestore=store)
        for number in range(3):
            writer.write(connection, number, store.serialize_cdr(packet_message(store, ONE, seq=number), PACKET))
    assert len(read_bag(tmp_path / "x").to_array()) == 3


def refuse(path, cause, **options):
    with pytest.raises(RecordingError) as caught:
        read_bag(path, **options).to_array()
    message = str(caught.value)
    assert str(path) in message and cause in message and "\n" not in message, message


def test_bag_without_events_names_its_topics(tmp_path):
    def text(store):
        return store.types["std_msgs/msg/String"](data="hello")

    refuse(make_bag(tmp_path / "x", [("/talk", "std_msgs/msg/String", text)]), "/talk (std_msgs/msg/String)")


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        ([lambda s: packet_message(s, ONE, "evt9")], "unknown encoding 'evt9'"),
        ([lambda s: packet_message(s, ONE), lambda s: packet_message(s, ONE, "evt9")], "unknown encoding 'evt9'"),
        ([lambda s: packet_message(s, ONE), lambda s: packet_message(s, ONE[:5])], "message 1 of /e: evt3 payload"),
        (
            [lambda s: packet_message(s, ONE), lambda s: packet_message(s, ONE, sensor=Sensor(5, 5))],
            "sensor changes from 640x480 to 5x5 at message 1",
        ),
    ],
)
def test_wrong_messages_are_refused(tmp_path, messages, cause):
    refuse(make_bag(tmp_path / "x", [("/e", PACKET, each) for each in messages]), cause)


@pytest.mark.parametrize("size", [3, 4, 11, 30, 59])
def test_message_cut_short(tmp_path, size):
    path = tmp_path / "x.db3"
    write_bag(path, stream_of(random_events(), SENSOR))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE messages SET data = substr(data, 1, ?) WHERE id = 2", (size,))
    database.close()
    refuse(path, "message 1 of /event_camera/events")


@pytest.mark.parametrize("extension", [".bag", ".mcap", ".db3"])
@pytest.mark.parametrize("share", [0.0, 0.0005, 0.5, 0.98])
def test_bag_file_cut_short(tmp_path, extension, share):
    path = tmp_path / f"x{extension}"
    write_bag(path, stream_of(random_events(40_000), SENSOR))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refuse(path, "" if share else "empty file")


@pytest.mark.parametrize("extension", [".bag", ".mcap", ".db3"])
def test_bag_file_of_something_else(tmp_path, extension):
    path = tmp_path / f"x{extension}"
    path.write_bytes(bytes(range(256)) * 40)
    refuse(path, "cannot be read as a bag")


@pytest.mark.parametrize("extension", [".bag", ".mcap", ".db3"])
def test_damaged_bag_never_ends_in_a_traceback(tmp_path, extension):
    path = tmp_path / f"x{extension}"
    write_bag(path, stream_of(random_events(2000), SENSOR))
    data = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(40):
        hurt = data.copy()
        hurt[rng.integers(0, len(hurt), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(hurt.tobytes())
        try:
            for packet in read_bag(path):
                assert len(packet) >= 0
        except RecordingError as error:
            assert "\n" not in str(error)


def test_folders_that_hold_no_bag(tmp_path):
    refuse(tmp_path / "missing", "no such file or folder")
    refuse(tmp_path, "no .db3 or .mcap")
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: {relative_file_paths: [gone.db3]}")
    refuse(tmp_path, "gone.db3 is missing")
    (tmp_path / "metadata.yaml").write_text("a: [")
    with pytest.raises(RecordingError, match="damaged metadata"):
        read_bag(tmp_path)
