"""Messages become the events that were sent, and nothing that a message says can stop the reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from dvs_snn_ros.hostclock import HostClock
from dvs_snn_ros.packets import LARGEST_SENSOR_PX, PacketReader, Received
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.events import Events, Sensor, make_events
from dvs_snn.events.codecs import DECODERS, encoder

SENSOR = Sensor(64, 48)


@dataclass
class Packet:
    """The fields of an `EventPacket`."""

    payload: bytes
    seq: int = 0
    time_base: int = 0
    encoding: str = "mono"
    is_bigendian: bool = False
    width: int = SENSOR.width
    height: int = SENSOR.height
    frame_id: str = "camera"


class Listener:
    """A reader with what it said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.reader = PacketReader(lambda key, text: self.said.append(text))
        self.counts = self.reader.counts
        self.now_ns = 10**18

    def hear(self, packet: Packet, after_ns: int = 10_000_000) -> Received | None:
        self.now_ns += after_ns
        return self.reader.read(packet, packet.payload, packet.frame_id, self.now_ns, self.now_ns)


def some_events(begin_us: int, count: int = 50, step_us: int = 7) -> Events:
    rng = np.random.default_rng(count + begin_us)
    return make_events(
        begin_us + step_us * np.arange(count),
        rng.integers(0, SENSOR.width, count),
        rng.integers(0, SENSOR.height, count),
        rng.integers(0, 2, count),
    )


def sender(encoding: str) -> Callable[[Events, int], Packet]:
    encode = encoder(encoding, SENSOR)

    def send(events: Events, seq: int) -> Packet:
        base_ns = int(events["t"][0]) * 1000
        return Packet(encode(events, base_ns).tobytes(), seq, base_ns, encoding)

    return send


@pytest.mark.parametrize("encoding", ["evt3", "mono", "libcaer"])
def test_events_arrive_as_they_were_sent_over_wraps_and_losses(encoding: str) -> None:
    send, listener = sender(encoding), Listener()
    for seq, begin_us in enumerate(range(3_000_000, 60_000_000, 4_000_000)):
        events = some_events(begin_us)
        packet = send(events, seq)
        if seq in (5, 6, 7):  # lost: 12 s, most of a turn of evt3
            continue
        received = listener.hear(packet)
        assert received is not None
        assert np.array_equal(received.events, events)
        assert received.fresh == (seq == 0)
    assert listener.counts.missing_packets == 3


def test_driver_that_counts_anew_begins_a_sequence() -> None:
    send, listener = sender("evt3"), Listener()
    assert listener.hear(send(some_events(9_000_000), 812)).fresh
    assert not listener.hear(send(some_events(9_010_000), 813)).fresh
    again = listener.hear(sender("evt3")(some_events(40_000), 0))
    assert again.fresh and again.events["t"][0] == 40_000
    assert listener.counts.camera_restarts == 1 and listener.counts.clock_restarts == 0


def test_second_camera_is_left_until_the_first_is_silent() -> None:
    send, listener = sender("mono"), Listener()
    listener.hear(send(some_events(0), 0))
    other = replace(send(some_events(0), 0), width=32, height=32)
    assert listener.hear(other) is None
    assert listener.counts.other_camera_packets == 1 and listener.reader.sensor == SENSOR
    received = listener.hear(replace(other, seq=1), after_ns=2_000_000_000)
    assert received.fresh and received.sensor == Sensor(32, 32)
    assert received.events["x"].max() < 32 and listener.counts.out_of_sensor > 0


def test_time_that_goes_back_is_held_and_a_restarted_clock_counted() -> None:
    send, listener = sender("mono"), Listener()
    listener.hear(send(some_events(1_000_000), 0))
    held = listener.hear(send(some_events(999_990), 1))
    assert (np.diff(held.events["t"]) >= 0).all() and held.events["t"][0] >= 1_000_000
    assert listener.counts.backward_steps == 1
    listener.hear(send(some_events(500_000), 2))
    assert listener.counts.clock_restarts == 1


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"encoding": "jpeg"}, "unknown_encoding_packets"),
        ({"payload": b"1234567"}, "malformed_packets"),
        ({"width": 0}, "malformed_packets"),
        ({"height": LARGEST_SENSOR_PX + 1, "frame_id": "other"}, "malformed_packets"),
    ],
)
def test_what_cannot_be_read_is_counted_and_left(change: dict[str, object], count: str) -> None:
    send, listener = sender("mono"), Listener()
    listener.hear(send(some_events(0), 0))
    assert listener.hear(replace(send(some_events(400), 1), **change), after_ns=1_500_000_000) is None
    assert getattr(listener.counts, count) == 1 and len(listener.said) == 1
    assert len(listener.hear(send(some_events(800), 2)).events) == 50


def test_empty_packet_tells_the_time() -> None:
    listener = Listener()
    assert listener.hear(Packet(b"", 0, 5_000_000)).until_us == 5000
    assert listener.hear(Packet(b"", 1, 0)).until_us is None


@given(
    st.lists(
        st.builds(
            Packet,
            payload=st.binary(max_size=64),
            seq=st.integers(0, 2**64 - 1) | st.integers(0, 3),
            time_base=st.integers(0, 2**64 - 1),
            encoding=st.sampled_from([*DECODERS, "", "evt9"]),
            is_bigendian=st.booleans(),
            width=st.integers(0, 2**32 - 1) | st.just(SENSOR.width),
            height=st.integers(0, 2**32 - 1) | st.just(SENSOR.height),
            frame_id=st.sampled_from(["camera", "", "é" * 40]),
        ),
        max_size=12,
    )
)
def test_whatever_arrives_gives_events_of_the_sensor_in_order_of_time(packets: list[Packet]) -> None:
    listener = Listener()
    for packet in packets:
        received = listener.hear(packet)
        if received is not None and len(received.events):
            assert received.events["x"].max() < received.sensor.width
            assert received.events["y"].max() < received.sensor.height
            steps = np.diff(received.events["t"])
            assert ((steps >= 0) | (steps < -100_000)).all()


def received_at(first_us: int, span_us: int, stamp_ns: int, arrived_ns: int) -> Received:
    events = some_events(first_us, 2, span_us)
    return Received(events, SENSOR, "camera", stamp_ns, arrived_ns)


def test_host_time_of_an_event_follows_from_its_packet() -> None:
    clock, begin_ns = HostClock(), 10**18
    for k in range(1000):  # sensor and host clock drift apart by 1 in 1000
        stamp_ns = begin_ns + k * 10_010_000
        clock.note(received_at(k * 10_000, 9_000, stamp_ns, stamp_ns + 9_500_000))
    assert clock.stamp_ns(9_990_000 + 4_000) == begin_ns + 999 * 10_010_000 + 4_000_000
    assert clock.stamp_ns(9_980_000 + 4_000) == begin_ns + 998 * 10_010_000 + 4_000_000
    assert clock.sensor_us(begin_ns + 999 * 10_010_000 + 9_500_000 + 7_000) == 9_999_000 + 7


def test_events_do_not_lie_in_the_future_and_recorded_stamps_are_not_believed() -> None:
    clock, now_ns = HostClock(), 10**18
    clock.note(received_at(0, 9_000, now_ns, now_ns))  # stamped when it was sent
    assert clock.live_ns(9_000) == now_ns
    old = received_at(20_000, 9_000, now_ns - 10**17, now_ns + 20_000_000)
    assert old.recorded
    clock.note(old)
    assert clock.live_ns(29_000) == now_ns + 20_000_000
    assert clock.stamp_ns(20_000) == now_ns - 10**17
