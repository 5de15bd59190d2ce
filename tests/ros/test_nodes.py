"""The nodes themselves on real rclpy: life cycle, parameters, diagnostics, pictures, damaged messages, real bags."""

from __future__ import annotations

import gc
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from dvs_snn_msgs.msg import Gesture, ModelInfo, TrackArray
from dvs_snn_ros.convert import octets, packet_message
from dvs_snn_ros.event_player import EventPlayer
from dvs_snn_ros.gesture import GestureNode
from dvs_snn_ros.packets import PacketReader
from dvs_snn_ros.running import LATCHED, RESULTS, events_qos
from dvs_snn_ros.tracker import TrackerNode
from event_camera_msgs.msg import EventPacket
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from dvs_snn.cli import main
from dvs_snn.events import Sensor, make_events, stream_of
from dvs_snn.events.codecs import DECODERS, encoder
from dvs_snn.events.files import write_recording
from dvs_snn.events.simulate import simulate_shapes
from dvs_snn.tracking import Track, Tracks
from tests.ros.conftest import SENSOR, World

TRANSITIONS = ("configure", "activate", "deactivate", "cleanup")


def go(node: Any, *transitions: str) -> None:
    for name in transitions:
        assert getattr(node, f"trigger_{name}")().name == "SUCCESS", name


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def live_packet(seq: int, begin_us: int, count: int = 200) -> EventPacket:
    """10 ms of events, stamped now."""
    t = begin_us + np.arange(count) * 9_900 // count
    events = make_events(t, np.arange(count) * 3 % 128, np.arange(count) * 5 % 128, np.arange(count) % 2)
    base_ns = begin_us * 1000
    return packet_message(
        encoder("mono", SENSOR)(events, base_ns), SENSOR, seq, base_ns, "mono", time.time_ns() - 9_900_000, "camera"
    )


def test_life_cycle_fifty_times_in_a_row_leaves_memory_flat(world: World, network: str) -> None:
    node = world.add(GestureNode, model=network)
    sizes = []
    for turn in range(50):
        go(node, "configure", "activate")
        for seq in range(3):
            node._hear(live_packet(seq, seq * 10_000))
        world.spin(0.005)
        go(node, "deactivate", "cleanup")
        if turn % 10 == 9:
            gc.collect()
            sizes.append(resident_mb())
    assert sizes[-1] - sizes[0] < 4, sizes


def test_missing_model_fails_in_one_line_and_the_node_stays_usable(
    world: World, network: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = world.add(GestureNode, model="/nowhere")
    assert node.trigger_configure().name == "FAILURE"
    said = [each for each in capfd.readouterr().err.splitlines() if "ERROR" in each]
    assert len(said) == 1 and "/nowhere: no such checkpoint" in said[0]
    assert node.set_parameters([Parameter("model", value="clusters")])[0].successful
    assert node.trigger_configure().name == "FAILURE"
    assert "is a checkpoint for tracks, this node needs gesture" in capfd.readouterr().err
    assert node.set_parameters([Parameter("model", value=network)])[0].successful
    go(node, *TRANSITIONS)


def test_parameters_change_live_or_are_refused_with_the_reason(world: World, network: str) -> None:
    node = world.add(GestureNode, model=network)
    go(node, "configure", "activate")

    def set_one(name: str, value: Any) -> str:
        result = node.set_parameters([Parameter(name, value=value)])[0]
        return "" if result.successful else result.reason

    assert "takes effect at configure" in set_one("model", "clusters")
    assert "out of range" in set_one("threshold", 1.5)
    assert "need 0 <= release <= threshold" in set_one("release", 0.9)
    assert "none of best_effort, reliable" in set_one("reliability", "sometimes")
    assert "is not a number" in set_one("still_ms", "long")
    assert "not x, y, width, height" in set_one("region", [1, 2, 3])
    assert set_one("threshold", 1) == set_one("region", [0, 0, 96, 96]) == set_one("image_hz", 5.0) == ""
    told: list[Gesture] = []
    world.listener().create_subscription(Gesture, "/gesture/gesture", told.append, RESULTS)
    assert world.until(lambda: node.count_subscribers("/gesture/gesture") == 1)
    for seq in range(12):
        node._hear(live_packet(seq, seq * 10_000))
    assert world.until(lambda: len(told) == 11)
    assert {each.index for each in told} == {-1}  # no posterior reaches 1
    assert 80 < told[5].events < 150  # of 200
    go(node, "deactivate", "cleanup")
    assert set_one("queue_depth", 50) == ""


def test_wrong_parameter_at_the_start_is_said_by_configure(
    world: World, network: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = world.add(GestureNode, model=network, queue_ms=-3)
    assert node.trigger_configure().name == "FAILURE"
    assert "queue_ms: -3.0 is out of range (10 to 60000)" in capfd.readouterr().err
    node.set_parameters([Parameter("queue_ms", value=100)])
    go(node, "configure")


def test_diagnostics_tell_what_arrives_and_pictures_are_drawn_for_who_listens(world: World, network: str) -> None:
    node = world.add(GestureNode, model=network)
    go(node, "configure", "activate")
    reports: list[DiagnosticArray] = []
    images: list[Image] = []
    models: list[ModelInfo] = []
    listener = world.listener()
    listener.create_subscription(DiagnosticArray, "/diagnostics", reports.append, RESULTS)
    listener.create_subscription(ModelInfo, "/gesture/model", models.append, LATCHED)
    assert world.until(lambda: bool(reports and models))
    assert reports[0].status[0].level == b"\3" and "nobody publishes" in reports[0].status[0].message
    assert models[0].labels[8] == "Air drums" and models[0].window_us == 10_000
    sender = listener.create_publisher(EventPacket, "/camera/events", events_qos("best_effort", 100))
    listener.create_subscription(Image, "/gesture/image", images.append, 5)
    assert world.until(lambda: sender.get_subscription_count() == 1 and node.count_subscribers("/gesture/image") == 1)
    reports.clear()
    for seq in range(1, 400):
        sender.publish(live_packet(seq, seq * 10_000))
        world.spin(0.01)
        if images and reports and reports[-1].status[0].level == b"\0":
            break
    assert images[-1].encoding == "rgb8" and len(images[-1].data) == images[-1].height * images[-1].step
    assert len(set(images[-1].data)) > 10
    values = {each.key: each.value for each in reports[-1].status[0].values}
    assert float(values["event_rate_hz"]) > 0 and values["missing_packets"] == "0"
    assert float(values["latency_p50_ms"]) < 1000
    for seq in (500, 503):
        sender.publish(live_packet(seq, seq * 10_000))
    reports.clear()
    assert world.until(lambda: any(each.status[0].level == b"\1" for each in reports))
    assert any("missing packets" in each.status[0].message for each in reports)


def test_still_scene_closes_its_windows(world: World, network: str) -> None:
    node = world.add(GestureNode, model=network, still_ms=100.0)
    go(node, "configure", "activate")
    told: list[Gesture] = []
    listener = world.listener()
    listener.create_subscription(Gesture, "/gesture/gesture", told.append, 1000)
    sender = listener.create_publisher(EventPacket, "/camera/events", events_qos("best_effort", 100))
    assert world.until(lambda: sender.get_subscription_count() == 1 and node.count_subscribers("/gesture/gesture") == 1)
    world.spin(0.2)
    for seq in range(5):
        sender.publish(live_packet(seq, seq * 10_000))
        world.spin(0.01)
    assert world.until(lambda: len(told) > 40)
    assert told[-1].events == 0 and told[-1].t_us == told[-2].t_us + 10_000
    listener.destroy_publisher(sender)
    assert world.until(lambda: node.count_publishers("/camera/events") == 0)
    world.spin(0.3)
    count = len(told)
    world.spin(0.3)
    assert len(told) == count  # the camera is gone


def test_a_hundred_thousand_damaged_packets_leave_the_node_deciding(world: World, network: str) -> None:
    node = world.add(GestureNode, model=network)
    go(node, "configure", "activate")
    told: list[Gesture] = []
    world.listener().create_subscription(Gesture, "/gesture/gesture", told.append, RESULTS)
    rng = np.random.default_rng(1)
    names = [*DECODERS, "", "evt9", "\N{SNOWMAN}"]
    noise = rng.integers(0, 256, 1 << 16, np.uint8)
    message = EventPacket()
    before = resident_mb()
    for _ in range(100_000):
        kind, size, base, seq, place = rng.integers(0, 1 << 30, 5).tolist()
        message.encoding = names[kind % len(names)]
        message.is_bigendian = kind % 11 == 0
        message.width, message.height = (SENSOR.width, SENSOR.height) if kind % 5 else (size, base)
        message.seq = seq if kind % 7 == 0 else message.seq + 1
        message.time_base = base << (kind % 33)
        message.header.stamp.sec = seq if kind % 3 else int(time.time())
        message.header.frame_id = "camera" if kind % 13 else "other"
        message.events = octets(noise[place % 60_000 :][: size % 24])
        node._hear(message)
    assert node._engine.settle(60)
    counts = node._reader.counts
    assert counts.packets == 100_000
    assert min(counts.malformed_packets, counts.unknown_encoding_packets, counts.camera_restarts) > 1000
    assert node._engine.counts.failures == 0
    assert resident_mb() - before < 100
    time.sleep(1.05)  # whatever camera was believed last
    told.clear()
    for seq in range(30):
        node._hear(live_packet(seq, seq * 10_000))
    assert world.until(lambda: any(each.events == 200 for each in told))


class Counter:
    """Counts the events of packets as another node of ours would."""

    def __init__(self, world: World) -> None:
        self.reader = PacketReader(lambda key, text: None)
        self.on, self.off, self.x, self.y = 0, 0, 0, 0
        world.listener().create_subscription(EventPacket, "/camera/events", self.hear, events_qos("best_effort", 1000))

    def hear(self, message: EventPacket) -> None:
        now_ns = time.time_ns()
        received = self.reader.read(message, message.events, "", now_ns, now_ns)
        if received is not None:
            events = received.events
            on = int(events["p"].sum())
            self.on, self.off = self.on + on, self.off + len(events) - on
            self.x, self.y = self.x + int(events["x"].sum()), self.y + int(events["y"].sum())


@pytest.mark.data
@pytest.mark.parametrize("encoding", ["evt3", "mono"])
def test_real_bag_of_evt3_plays_with_its_published_counts(world: World, data_dir: Path, encoding: str) -> None:
    counter = Counter(world)
    player = world.add(EventPlayer, file=str(data_dir / "rosbags/test_events_1"), encoding=encoding)
    go(player, "configure", "activate")
    assert world.until(lambda: player.progress == "ended")
    world.spin(0.3)
    assert (counter.on, counter.off) == (125_183, 218_291)
    assert counter.reader.counts.missing_packets == 0


@pytest.mark.data
def test_real_bag_of_mono_plays_with_its_published_counts(world: World, data_dir: Path) -> None:
    counter = Counter(world)
    player = world.add(EventPlayer, file=str(data_dir / "rosbags/test_data_mono_cd"), encoding="mono")
    go(player, "configure", "activate")
    assert world.until(lambda: player.progress == "ended")
    world.spin(0.3)
    assert (counter.on, counter.off, counter.x, counter.y) == (50, 50, 34_450, 26_450)


def tracks_of_node_and_replay(
    world: World, recording: str, model: str, folder: Path
) -> tuple[list[TrackArray], list[MarkerArray], list[str]]:
    """What the node says of a recording that is played, and the lines that replay writes of it."""
    assert main(["replay", recording, "--model", model, "--out", str(folder / "want.jsonl")]) == 0
    want = (folder / "want.jsonl").read_text().splitlines()
    tracker = world.add(TrackerNode, model=model, queue_ms=60_000.0, still_ms=10_000.0, queue_depth=1000)
    told: list[TrackArray] = []
    markers: list[MarkerArray] = []
    listener = world.listener()
    listener.create_subscription(TrackArray, "/tracker/tracks", told.append, 2000)
    listener.create_subscription(MarkerArray, "/tracker/markers", markers.append, RESULTS)
    player = world.add(EventPlayer, file=recording)
    go(tracker, "configure", "activate")
    go(player, "configure", "activate")
    assert world.until(lambda: player.progress == "ended")
    assert world.until(lambda: len(told) >= len(want), 60)
    return told, markers, want


def lines_of(told: list[TrackArray]) -> list[str]:
    """The messages as replay would write them."""
    return [
        Tracks(each.t_us, tuple(Track(t.id, t.x, t.y, t.w, t.h, t.vx, t.vy, t.score) for t in each.tracks)).to_json()
        for each in told
    ]


@pytest.mark.data
def test_tracks_are_those_of_replay(world: World, data_dir: Path, tmp_path: Path) -> None:
    recording = str(data_dir / "recordings/spinning_dot.es")
    told, markers, want = tracks_of_node_and_replay(world, recording, "clusters", tmp_path)
    assert lines_of(told) == want
    assert markers and (told[-1].width, told[-1].height) == (320, 240)


@pytest.mark.parametrize("sensor", [Sensor(240, 180), Sensor(320, 240)], ids=str)
def test_tracks_of_the_network_are_those_of_replay(world: World, tmp_path: Path, sensor: Sensor) -> None:
    """On the network's own sensor, and on one that is resampled to it."""
    events, _ = simulate_shapes(0.6, 5, sensor, targets=2)
    write_recording(tmp_path / "shapes.npz", stream_of(events, sensor))
    told, markers, want = tracks_of_node_and_replay(world, str(tmp_path / "shapes.npz"), "tracker", tmp_path)
    assert lines_of(told) == want
    assert any(each.tracks for each in told) and markers
    assert (told[-1].width, told[-1].height) == (sensor.width, sensor.height)


def test_loop_decides_each_pass_alike(world: World, recording: str, network: str) -> None:
    gesture = world.add(GestureNode, model=network, queue_ms=60_000.0, still_ms=10_000.0, queue_depth=1000)
    told: list[Gesture] = []
    world.listener().create_subscription(Gesture, "/gesture/gesture", told.append, 1000)
    player = world.add(EventPlayer, file=recording, loop=True, rate=2.0)
    go(gesture, "configure", "activate")
    go(player, "configure", "activate")
    assert world.until(lambda: sum(each.first for each in told) >= 3)
    starts = [k for k, each in enumerate(told) if each.first]
    first, second = told[: starts[1]], told[starts[1] : starts[2]]
    assert [(each.index, each.score, each.events) for each in first] == [
        (each.index, each.score, each.events) for each in second
    ]
    assert gesture._reader.counts.camera_restarts == gesture._reader.counts.clock_restarts == 0
    assert player.set_parameters([Parameter("loop", value=False)])[0].successful
    assert world.until(lambda: player.progress == "ended")


def test_player_says_in_one_line_what_is_wrong(world: World, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    player = world.add(EventPlayer, file=str(tmp_path / "none.aedat4"))
    assert player.trigger_configure().name == "FAILURE"
    assert "none.aedat4" in capfd.readouterr().err
    assert "is none of evt3, mono" in player.set_parameters([Parameter("encoding", value="jpeg")])[0].reason
