"""ROS bags, versions 1 and 2, with event packets of the drivers in use; no ROS is needed.

A bag is a `.bag` file, a folder (with or without `metadata.yaml`), or one `.db3` or `.mcap` file. `rosbags` finds the
messages and gives their bytes, which `codecs.messages` reads: so neither the definitions in a bag nor its metadata have
to be right. `t` is sensor time; for evt3 that has nothing to do with the time of the messages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from mcap.reader import make_reader
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events.array import Events
from dvs_snn.events.codecs import Decoder, Encode, decoder, encoder
from dvs_snn.events.codecs.evt3 import WRAP_US
from dvs_snn.events.codecs.messages import (
    ARRAY_TYPES,
    PACKET_DEFINITION,
    PACKET_TYPES,
    EventArray,
    EventPacket,
    base_type,
    message_packets,
    parse_array,
    parse_packet,
    serialize_packet,
)
from dvs_snn.events.formats.reading import FilePackets, cause_of, settle_sensor
from dvs_snn.events.stream import EventStream, Sensor, Tally

_PACKET_TYPE = "event_camera_msgs/msg/EventPacket"
_DEFAULT_SENSOR = Sensor(640, 480)


def read_bag(path: Path, sensor: Sensor | None = None, topic: str | None = None) -> EventStream:
    """A bag as a stream that is not repaired yet; of several event topics the first by name, unless `topic` says which.

    `sensor` comes before what the messages state. Raises RecordingError for a damaged bag, one without event topics, an
    unknown encoding, and (while reading) a sensor that changes.
    """
    tally = Tally()
    with _open(path) as bag:
        topic = _choose_topic(path, bag.topics, topic, tally)
        source = _Source(path, topic, base_type(bag.topics[topic]))
        first = next(source.messages(bag), None)
    stated = first.sensor if first is not None else None
    if isinstance(first, EventPacket):
        _decoder_for(source, first)  # an unknown encoding is known at once
    settled, assumed = settle_sensor(path, stated, sensor, tally, lambda: _DEFAULT_SENSOR)
    name = first.encoding if isinstance(first, EventPacket) else source.kind.partition("/")[0]
    packets = FilePackets(path, tally, lambda: _packets(source, stated, tally))
    return EventStream(settled, packets, f"bag {name}", str(path), assumed, tally)


def write_bag(
    path: Path,
    stream: EventStream,
    encoding: Literal["evt3", "mono"] | None = None,
    topic: str = "/event_camera/events",
) -> None:
    """Write a bag: `.bag` is ROS 1, `.mcap` and `.db3` one file of ROS 2, anything else a ROS 2 folder (sqlite3).

    Without an `encoding` it is evt3, or mono when the recording begins at a time that 24 bits of microseconds do not
    hold. Raises ConfigError for another encoding, and for negative times in mono.
    """
    if encoding not in (None, "evt3", "mono"):
        raise ConfigError(f"bags are written in evt3 or mono, not {encoding!r}")
    with _create(path, topic) as write:
        previous_ns = -1
        encode: Encode | None = None
        for seq, events in enumerate(message_packets(stream)):
            begin_us, end_us = int(events["t"].min()), int(events["t"].max())
            if encode is None:
                encoding = encoding or ("evt3" if 0 <= begin_us < WRAP_US else "mono")
                if encoding == "evt3" and not 0 <= begin_us < WRAP_US:
                    stream.tally.note("evt3 keeps time modulo 16.78 s: the start of the recording moved")
                encode = encoder(encoding, stream.sensor)
            if encoding == "mono" and begin_us < 0:
                raise ConfigError("mono holds no negative times: shift the recording first")
            base_ns = max(begin_us, 0) * 1000
            # Readers sort by this time: it must rise even where sensor time restarts.
            previous_ns = max(end_us * 1000, previous_ns + 1)
            packet = EventPacket(stream.sensor, seq, base_ns, str(encoding), False, encode(events, base_ns))
            write(previous_ns, packet)
        if previous_ns < 0:  # a message without events keeps the sensor's size
            write(0, EventPacket(stream.sensor, 0, 0, encoding or "evt3", False, np.empty(0, np.uint8)))


@dataclass(frozen=True)
class _Bag:
    """An open bag: types by topic, and the bytes of a topic's messages in order of time."""

    topics: dict[str, str]
    messages: Callable[[str], Iterator[bytes]]


@dataclass(frozen=True)
class _Source:
    """One topic of a bag, and how its messages are read."""

    path: Path
    topic: str
    kind: str

    def messages(self, bag: _Bag) -> Iterator[EventPacket | EventArray]:
        parse = parse_packet if self.kind in PACKET_TYPES else parse_array
        ros2 = not _is_ros1(self.path)
        for number, data in enumerate(bag.messages(self.topic)):
            try:
                yield parse(data, ros2)
            except RecordingError as error:
                raise RecordingError(self.path, f"message {number} of {self.topic}: {error.cause}") from None


def _packets(source: _Source, sensor: Sensor | None, tally: Tally) -> Iterator[Events]:
    """The events of each message."""
    decoders: dict[tuple[str, bool], Decoder] = {}
    missing, previous = 0, None
    with _open(source.path) as bag:
        for number, message in enumerate(source.messages(bag)):
            if message.sensor != sensor:
                raise RecordingError(
                    source.path, f"the sensor changes from {sensor} to {message.sensor} at message {number}"
                )
            if isinstance(message, EventArray):
                yield message.events
                continue
            key = (message.encoding, message.is_bigendian)
            if key not in decoders:
                decoders[key] = _decoder_for(source, message)
            try:
                events = decoders[key].decode(message.payload, message.time_base_ns)
            except RecordingError as error:
                raise RecordingError(source.path, f"message {number} of {source.topic}: {error}") from None
            if previous is not None and message.seq > previous + 1:
                missing += message.seq - previous - 1
            previous = message.seq
            tally.triggers = sum(each.triggers for each in decoders.values())
            tally.unknown_words = sum(each.unknown_words for each in decoders.values())
            yield events
    for each in decoders.values():
        each.report(tally)
    if missing:
        tally.note(f"{missing} packets are missing (gaps in seq)")


def _decoder_for(source: _Source, packet: EventPacket) -> Decoder:
    try:
        return decoder(packet.encoding, packet.is_bigendian)
    except RecordingError as error:
        raise RecordingError(source.path, error.cause) from None


def _choose_topic(path: Path, topics: dict[str, str], topic: str | None, tally: Tally) -> str:
    listed = ", ".join(f"{name} ({kind})" for name, kind in sorted(topics.items())) or "none"
    events = sorted(name for name, kind in topics.items() if base_type(kind) in PACKET_TYPES | ARRAY_TYPES)
    if topic is not None and topic not in events:
        raise RecordingError(path, f"no topic {topic} with events; its topics: {listed}")
    if not events:
        raise RecordingError(path, f"no topic with events; its topics: {listed}")
    if topic is None:
        topic = events[0]
        if len(events) > 1:
            tally.note(f"read topic {topic}; other topics with events: {', '.join(events[1:])}")
    return topic


@contextmanager
def _open(path: Path) -> Iterator[_Bag]:
    """The bag at a path, its parts one after the other; whatever fails in them becomes a RecordingError of one line."""
    with ExitStack() as stack:
        parts = [stack.enter_context(part) for part in _parts(path)]
        topics: dict[str, str] = {}
        for part in parts:
            topics.update(part.topics)

        def messages(topic: str) -> Iterator[bytes]:
            for part in parts:
                if topic in part.topics:
                    yield from part.messages(topic)

        yield _Bag(topics, messages)


def _parts(path: Path) -> list[AbstractContextManager[_Bag]]:
    """The files of a bag. Metadata are asked for order and compression only: types they name may be out of date."""
    if not path.exists():
        raise RecordingError(path, "no such file or folder")
    if _is_ros1(path):
        return [_open_part(path, rosbag1.Reader)]
    if path.is_file():
        return [_open_part(path, rosbag2.Reader)]
    files = sorted(each for each in path.iterdir() if each.suffix in (".db3", ".mcap"))
    metadata = path / "metadata.yaml"
    if metadata.exists():
        try:
            about = yaml.safe_load(metadata.read_text())["rosbag2_bagfile_information"]
            if (about.get("compression_mode") or "none").lower() in ("file", "message"):
                return [_open_part(path, rosbag2.Reader)]
            files = [path / Path(name).name for name in about["relative_file_paths"]]
        except (yaml.YAMLError, OSError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise RecordingError(metadata, f"damaged metadata: {cause_of(error)}") from None
    for file in files:
        if not file.exists():
            raise RecordingError(path, f"its part {file.name} is missing")
    if not files:
        raise RecordingError(path, "folder holds no bag: no .db3 or .mcap file in it")
    return [_open_part(file, rosbag2.Reader) for file in files]


def _is_ros1(path: Path) -> bool:
    return path.is_file() and path.suffix == ".bag"


@contextmanager
def _open_part(path: Path, reader_type: Callable[[Path], Any]) -> Iterator[_Bag]:
    if path.is_file() and not path.stat().st_size:
        raise RecordingError(path, "empty file")
    reader = None
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(reader_type(path))
            connections = list(reader.connections)
        except Exception as error:  # damage shows as almost any exception in there
            if path.suffix != ".mcap":
                raise RecordingError(path, f"cannot be read as a bag: {cause_of(error)}") from None
            bag = _open_mcap(path, stack, error)
        else:
            bag = _Bag(
                {each.topic: each.msgtype for each in connections},
                lambda topic: (
                    data for _, _, data in reader.messages([each for each in connections if each.topic == topic])
                ),
            )
        yield _Bag(bag.topics, lambda topic: _guarded(path, bag.messages(topic)))


def _open_mcap(path: Path, stack: ExitStack, cause: Exception) -> _Bag:
    """An mcap file that rosbags refuses, by the mcap package, which asks less of schemas and profile."""
    file = stack.enter_context(path.open("rb"))
    try:
        reader = make_reader(file)
        summary = reader.get_summary()
        channels = list(summary.channels.values()) if summary else []
        topics = {each.topic: summary.schemas[each.schema_id].name for each in channels if summary and each.schema_id}
    except Exception:
        raise RecordingError(path, f"cannot be read as a bag: {cause_of(cause)}") from None
    if not topics:
        raise RecordingError(path, f"cannot be read as a bag: {cause_of(cause)}")
    return _Bag(topics, lambda topic: (message.data for _, _, message in reader.iter_messages(topics=[topic])))


def _guarded(path: Path, messages: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        try:
            data = next(messages, None)
        except Exception as error:
            raise RecordingError(path, f"damaged bag: {cause_of(error)}") from None
        if data is None:
            return
        yield data


@contextmanager
def _create(path: Path, topic: str) -> Iterator[Callable[[int, EventPacket], None]]:
    """A new bag, as a function that writes a message of a time in nanoseconds."""
    ros2 = path.suffix != ".bag"
    store = get_typestore(Stores.ROS2_HUMBLE if ros2 else Stores.ROS1_NOETIC)
    store.register(get_types_from_msg(PACKET_DEFINITION, _PACKET_TYPE))
    writer: Any
    if not ros2:
        path.unlink(missing_ok=True)
        writer = rosbag1.Writer(path)
    else:
        single = path.suffix in (".mcap", ".db3")
        # The library writes a folder and names the file in it after it: a neutral one, emptied into place at the end.
        folder = (path.with_name(path.name + ".parts") if single else path) / "events"
        folder.parent.mkdir(exist_ok=True)
        plugin = rosbag2.StoragePlugin.MCAP if path.suffix == ".mcap" else rosbag2.StoragePlugin.SQLITE3
        writer = rosbag2.Writer(folder, version=8, storage_plugin=plugin)
    try:
        with writer:
            connection = writer.add_connection(topic, _PACKET_TYPE, typestore=store)
            yield lambda time_ns, packet: writer.write(connection, time_ns, serialize_packet(packet, time_ns, ros2))
        if ros2 and single:
            (folder / f"events{path.suffix}").replace(path)
        elif ros2:
            for part in list(folder.iterdir()):
                part.replace(path / part.name)
    finally:
        if ros2:
            shutil.rmtree(folder.parent if single else folder, ignore_errors=True)
