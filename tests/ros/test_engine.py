"""The engine alone, without ROS: bounded queues, nothing decided twice, state reset where a sequence begins."""

from __future__ import annotations

import time

import numpy as np
import pytest
from dvs_snn_ros.engine import Engine, Limits, Outcome, View
from dvs_snn_ros.packets import Received

from dvs_snn.events import Events, Sensor, make_events
from dvs_snn.events.filters import Region, SpatialDecimation
from dvs_snn.pipeline import Pipeline, open_pipeline

SENSOR = Sensor(128, 128)


class SlowPipeline(Pipeline):
    """A network that needs `pause_s` for a window."""

    pause_s = 0.0

    def decide(self, window):
        time.sleep(self.pause_s)
        return super().decide(window)


class Run:
    """An engine with what it told."""

    def __init__(self, network: str, limits: Limits = Limits(), pause_s: float = 0.0, filters=()) -> None:  # noqa: B008
        plain = open_pipeline(network)
        pipeline = SlowPipeline(plain.config, plain.runtime)
        pipeline.pause_s = pause_s
        self.told: list[Outcome] = []
        self.said: list[str] = []
        self.engine = Engine(pipeline, self.told.append, lambda key, text: self.said.append(text), limits, filters)
        self.engine.start()

    def put(self, events: Events, fresh: bool = False, sensor: Sensor = SENSOR) -> None:
        now_ns = time.time_ns()
        self.engine.put(Received(events, sensor, "camera", now_ns, now_ns, fresh))


def row(begin_us: int, end_us: int, step_us: int = 100) -> Events:
    t = np.arange(begin_us, end_us, step_us)
    return make_events(t, t // step_us % 128, t // step_us % 100, t % 3)


def test_all_windows_are_decided_in_order(network: str) -> None:
    run = Run(network)
    for begin in range(0, 200_000, 5_000):
        run.put(row(begin, begin + 5_000))
    assert run.engine.settle()
    run.engine.tick(250_000, time.time_ns())
    assert run.engine.settle()
    run.engine.stop()
    assert [each.window.end_us for each in run.told] == list(range(10_000, 250_001, 10_000))
    assert [each.window.first for each in run.told] == [True] + [False] * 24
    assert run.engine.counts.dropped_windows == 0 and not run.said


@pytest.mark.parametrize("policy", ["oldest", "newest"])
def test_overload_is_bounded_and_counted(network: str, policy: str) -> None:
    run = Run(network, Limits(windows=5, policy=policy), pause_s=0.01)
    for k in range(300):  # windows come every 2 ms and need 10
        run.put(row(k * 10_000, (k + 1) * 10_000))
        time.sleep(0.002)
    busy = len(run.told)
    assert run.engine.settle()
    counts = run.engine.counts
    assert counts.dropped_windows > 100 and counts.windows == len(run.told)
    assert counts.windows + counts.dropped_windows == 299
    assert len(run.told) - busy <= 7  # at most what fits into the queue was waiting
    if policy == "oldest":
        assert run.told[-1].window.end_us == 2_990_000
    assert [each.window.first for each in run.told].count(True) == 1
    ends = [each.window.end_us for each in run.told]
    assert ends == sorted(ends)
    assert len(run.said) >= 1
    run.told.clear()
    run.put(row(3_000_000, 3_020_000))
    assert run.engine.settle() and len(run.told) == 2  # and it is over
    run.engine.stop()


@pytest.mark.parametrize("policy", ["oldest", "newest"])
def test_events_that_wait_are_bounded(network: str, policy: str) -> None:
    run = Run(network, Limits(windows=5, events=10_000, policy=policy), pause_s=0.2)
    run.put(row(0, 20_000))
    time.sleep(0.05)  # the engine is busy with the first window now
    for k in range(20):
        run.put(row(20_000 + k * 10_000, 30_000 + k * 10_000, step_us=10))
    counts = run.engine.counts
    assert counts.dropped_packets == 10 and counts.dropped_events == 10_000
    run.engine.stop()


def test_camera_that_goes_ends_the_sequence(network: str) -> None:
    run = Run(network)
    run.put(row(0, 25_000))
    run.engine.flush(time.time_ns())
    run.put(row(40_000, 60_001))
    assert run.engine.settle()
    run.engine.stop()
    assert [each.window.end_us for each in run.told] == [10_000, 20_000, 30_000, 50_000, 60_000]
    assert [each.window.first for each in run.told] == [True, False, False, True, False]


def test_sensor_that_cannot_be_fitted_is_left_and_the_next_one_used(network: str) -> None:
    run = Run(network)
    run.put(row(0, 20_000), fresh=True, sensor=Sensor(32, 24))
    run.put(row(20_000, 40_000), sensor=Sensor(32, 24))
    run.put(row(0, 20_001), fresh=True)
    assert run.engine.settle()
    run.engine.stop()
    assert run.engine.counts.unfit_packets == 2 and len(run.said) == 1
    assert len(run.told) == 2


def test_failure_of_one_window_does_not_end_the_engine(network: str) -> None:
    run = Run(network)

    def break_it(pipeline: Pipeline) -> None:
        raise RuntimeError("broken")

    run.engine.call(break_it)
    run.put(row(0, 20_001))
    assert run.engine.settle()
    run.engine.stop()
    assert run.engine.counts.failures == 1 and len(run.told) == 2


def test_places_are_on_the_camera_whatever_was_cut_and_pooled(network: str) -> None:
    filters = (Region(100, 40, 512, 256), SpatialDecimation(2, keep_rate=True))
    run = Run(network, filters=filters)
    t = np.arange(0, 30_000)
    run.put(make_events(t, t % 640, t * 7 % 480, t % 2), fresh=True, sensor=Sensor(640, 480))
    run.engine.tick(40_000, time.time_ns())
    assert run.engine.settle()
    run.engine.stop()
    view = run.told[0].view  # 512x256 pooled to 256x128, of which the network sees the middle 128x128
    assert view == View(Sensor(640, 480), SENSOR, 2.0, 100 + 128.0, 40.0, fit=(1.0, 64.0, 0.0))
    assert view.place(0, 0) == (228.5, 40.5)  # pixel 0 pools pixels 228 and 229
