"""Load on the gesture node in a process of its own: figures as JSON. `python tools/ros_load.py [--seconds 60]`

Two phases. Load: packets of `--packet-ms` at `--rate` events a second, in real time. Overload: a packet for each
window, five times as many a second as the node's median inference allows; then real time again. Latency is from
publishing the packet that completes a window to hearing the decision, both over the middleware. Recovered is when nine
of ten decisions of the next half second come within 25 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from dvs_snn_msgs.msg import Gesture
from dvs_snn_ros.convert import packet_message
from dvs_snn_ros.running import EventsExecutor, events_qos
from event_camera_msgs.msg import EventPacket
from rclpy.qos import QoSProfile

from dvs_snn.events import Sensor, make_events
from dvs_snn.events.codecs import encoder

BIN_US = 10_000
NEAR_S = 0.025


class Load:
    """Sends packets to a node in another process and hears its decisions."""

    def __init__(self, model: str, sensor: Sensor) -> None:
        self.sensor = sensor
        domain = str(random.randrange(2, 100))
        os.environ.update(ROS_DOMAIN_ID=domain, ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
        command = [sys.executable, "-m", "dvs_snn_ros.gesture", "--ros-args", "-p", f"model:={model}"]
        self.process = subprocess.Popen(command, env=dict(os.environ, OMP_NUM_THREADS="1"))
        rclpy.init()
        self.node = rclpy.create_node("load")
        self.sender = self.node.create_publisher(EventPacket, "events", events_qos("best_effort", 1000))
        self.sent_at: dict[int, float] = {}  # by the packet's end in sensor time
        self.latencies: deque[tuple[float, float]] = deque()  # when heard, how late
        self.node_ms: list[float] = []
        self.sender_late_s: list[float] = [0.0]  # of this process itself: what the machine adds
        self.values: dict[str, str] = {}
        self.reports: list[dict[str, str]] = []
        self.node.create_subscription(Gesture, "/gesture/gesture", self._heard, QoSProfile(depth=1000))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._told, 10)
        self.executor = EventsExecutor()
        self.executor.add_node(self.node)
        self.closing = False
        self.thread = threading.Thread(target=self._spin)
        self.thread.start()
        self.t_us, self.seq = 1_000_000, 0

    def _spin(self) -> None:
        while not self.closing:
            self.executor.spin_once(timeout_sec=0.2)

    def _heard(self, message: Gesture) -> None:
        now_s = time.perf_counter()
        sent_s = self.sent_at.pop(message.t_us, None)
        if sent_s is not None:
            self.latencies.append((now_s, now_s - sent_s))
            self.node_ms.append(message.latency_ms)

    def _told(self, message: DiagnosticArray) -> None:
        self.values = {each.key: each.value for each in message.status[0].values}
        self.reports.append(self.values)

    def close(self) -> None:
        """End both sides."""
        self.closing = True
        self.thread.join()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        rclpy.shutdown()

    def count(self, name: str) -> int:
        return int(self.values.get(name, 0))

    def memory_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def send(self, seconds: float, period_s: float, span_us: int, count: int) -> list[float]:
        """Packets of `count` events in `span_us` of sensor time, one each `period_s`; the node's memory each second."""
        offsets = np.arange(count) * span_us // count
        pixels = np.random.default_rng(1).integers(0, self.sensor.height, (2, count))
        payload = encoder("mono", self.sensor)(make_events(offsets, pixels[0], pixels[1], offsets % 2), 0)
        begun = time.perf_counter()
        memory = [self.memory_mb()]
        for k in range(round(seconds / period_s)):
            pause = begun + (k + 1) * period_s - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            else:
                self.sender_late_s.append(-pause)
            message = packet_message(
                payload, self.sensor, self.seq, self.t_us * 1000, "mono", time.time_ns() - span_us * 1000, "camera"
            )
            if self.t_us // BIN_US != (self.t_us - span_us) // BIN_US:  # its first event completes a window
                self.sent_at[self.t_us // BIN_US * BIN_US] = time.perf_counter()
            if len(self.sent_at) > 10_000:
                self.sent_at.pop(next(iter(self.sent_at)))
            self.sender.publish(message)
            self.seq += 1
            self.t_us += span_us
            if time.perf_counter() - begun > len(memory):
                memory.append(self.memory_mb())
        return memory

    def send_real(self, seconds: float, packet_ms: float, rate_hz: float) -> list[float]:
        """As a camera: real time."""
        span_us = round(packet_ms * 1000)
        return self.send(seconds, packet_ms * 1e-3, span_us, max(1, round(rate_hz * span_us * 1e-6)))


def main() -> int:
    """Both phases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gesture")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1e6, help="events per second (1e6)")
    parser.add_argument("--packet-ms", type=float, default=1.0)
    parser.add_argument("--overload-seconds", type=float, default=15.0)
    args = parser.parse_args()
    report = measure(args.model, args.seconds, args.rate, args.packet_ms, args.overload_seconds)
    print(json.dumps(report, indent=1))
    return 0


def measure(model: str, seconds: float, rate_hz: float, packet_ms: float, overload_s: float) -> dict[str, Any]:
    """The figures of both phases."""
    load = Load(model, Sensor(128, 128))
    try:
        deadline = time.monotonic() + 60
        while not load.sender.get_subscription_count():
            if time.monotonic() > deadline:
                raise TimeoutError("the node did not come up")
            time.sleep(0.1)
        load.send_real(3.0, packet_ms, rate_hz)
        first, missing = load.seq, load.count("missing_packets")
        load.latencies.clear()
        load.node_ms.clear()
        load.sender_late_s[1:] = []
        memory = load.send_real(seconds, packet_ms, rate_hz)
        time.sleep(2.5)
        late_ms = np.array([late for _, late in load.latencies]) * 1e3
        report: dict[str, Any] = {
            "load": {
                "packets": load.seq - first,
                "lost_packets": load.count("missing_packets") - missing,
                "dropped_windows": load.count("dropped_windows"),
                "decisions": len(late_ms),
                "packet_to_decision_p50_ms": round(float(np.percentile(late_ms, 50)), 2),
                "packet_to_decision_p99_ms": round(float(np.percentile(late_ms, 99)), 2),
                "packet_to_decision_most_ms": round(float(late_ms.max()), 1),
                "sender_most_late_ms": round(max(load.sender_late_s) * 1e3, 1),
                "newest_event_to_publish_p99_ms": round(float(np.percentile(load.node_ms, 99)), 2),
                "memory_first_mb": round(float(np.mean(memory[2:5])), 1),
                "memory_last_mb": round(float(np.mean(memory[-3:])), 1),
            }
        }
        infer_ms = float(
            np.median([float(each["inference_p50_ms"]) for each in load.reports if "inference_p50_ms" in each])
        )
        load.latencies.clear()
        before = {name: load.count(name) for name in ("dropped_windows", "dropped_packets", "missing_packets")}
        memory = load.send(overload_s, infer_ms * 1e-3 / 5, BIN_US, max(1, round(rate_hz * BIN_US * 1e-6 / 10)))
        end_s = time.perf_counter()
        over_ms = np.array([late for _, late in load.latencies]) * 1e3
        load.latencies.clear()
        load.send_real(4.0, 10.0, rate_hz)
        after = np.array([(at - end_s, late) for at, late in load.latencies])
        time.sleep(1.5)
        report["overload"] = {
            "inference_p50_ms": infer_ms,
            "windows_per_s": round(5000 / infer_ms),
            "decisions": len(over_ms),
            "packet_to_decision_p99_ms": round(float(np.percentile(over_ms, 99)), 1),
            "packet_to_decision_most_ms": round(float(over_ms.max()), 1),
            **{name: load.count(name) - count for name, count in before.items()},
            "memory_first_mb": round(float(np.mean(memory[1:3])), 1),
            "memory_last_mb": round(float(np.mean(memory[-3:])), 1),
            "recovered_after_s": recovery_s(after),
        }
        return report
    finally:
        load.close()


def recovery_s(after: np.ndarray[Any, Any]) -> float | None:
    """When nine of ten decisions of the next half second are near; rows (time, latency) in seconds."""
    for at, late in after:
        soon = after[(after[:, 0] >= at) & (after[:, 0] < at + 0.5), 1]
        if late <= NEAR_S and np.mean(soon <= NEAR_S) >= 0.9:
            return round(float(at), 2)
    return None


if __name__ == "__main__":
    sys.exit(main())
