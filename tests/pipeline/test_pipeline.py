"""The same recording gives the same decisions, whatever the packets, and decisions follow their rule."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, EventStream, Sensor, Window, empty_events, make_events
from dvs_snn.pipeline import DecisionConfig, Gesture, GestureDecider, Pipeline, PipelineConfig, recording_label, softmax
from dvs_snn.representation import EventCounts, SparseMap

SENSOR = Sensor(16, 16)
LABELS = ("left", "right", "up")
CONFIG = PipelineConfig(model="none", labels=LABELS, sensor=SENSOR, representation=EventCounts(pool=4))


class LeakyColumns:
    """A runtime whose state matters: leaky sums of the counts at the left, at the right, and in the upper half."""

    def __init__(self) -> None:
        self.resets = 0
        self.reset()

    def reset(self) -> None:
        self.resets += 1
        self._sums = np.zeros(3, np.float32)

    def step(self, x: SparseMap) -> np.ndarray:
        dense = x.dense().numpy()
        self._sums *= np.float32(0.9)
        self._sums += np.array([dense[..., :2].sum(), dense[..., 2:].sum(), dense[:, :2].sum()], np.float32)
        return self._sums.copy()

    def close(self) -> None:
        pass


def recording(seed: int, count: int, sensor: Sensor = SENSOR) -> Events:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(0, 300, count)) + 12_345
    return make_events(
        times, rng.integers(0, sensor.width, count), rng.integers(0, sensor.height, count), rng.random(count) < 0.5
    )


def as_lines(decisions: list[Gesture]) -> list[str]:
    return [decision.to_json() for decision in decisions]


@given(st.integers(0, 1000), st.integers(1, 3000), st.sampled_from([SENSOR, Sensor(40, 30)]))
def test_packet_sizes_do_not_matter(seed: int, count: int, sensor: Sensor) -> None:
    events = recording(seed, count, sensor)
    reference: list[Gesture] | None = None
    for size in (count, 1000, 7, 1):
        packets = [events[i : i + size] for i in range(0, count, size)]
        decisions = list(Pipeline(CONFIG, LeakyColumns()).run(EventStream(sensor, packets)))
        if reference is None:
            reference = decisions
        assert as_lines(decisions) == as_lines(reference)
        for a, b in zip(decisions, reference, strict=True):
            assert np.array_equal(a.posterior, b.posterior)


def test_a_second_run_starts_fresh() -> None:
    pipeline = Pipeline(CONFIG, LeakyColumns())
    stream = EventStream(SENSOR, [recording(1, 4000)])
    assert as_lines(list(pipeline.run(stream))) == as_lines(list(pipeline.run(stream)))


def test_a_restarted_sensor_resets_the_state() -> None:
    runtime = LeakyColumns()
    pipeline = Pipeline(CONFIG, runtime)
    events = recording(2, 3000)
    once = list(pipeline.run(EventStream(SENSOR, [events])))
    twice = list(pipeline.run(EventStream(SENSOR, [events, events])))
    assert as_lines(twice) == as_lines(once) * 2
    assert runtime.resets == 1 + 1 + 2  # made, first run, second run's two sequences


def test_a_still_scene_goes_on_deciding() -> None:
    pipeline = Pipeline(CONFIG, LeakyColumns())
    events = recording(3, 2000)
    pushed = pipeline.push(events)
    ticked = pipeline.tick(int(events["t"][-1]) + 1_000_000)
    assert 99 <= len(ticked) <= 101
    assert [d.t_us for d in pushed + ticked] == list(range(pushed[0].t_us, ticked[-1].t_us + 1, CONFIG.bin_us))
    assert ticked[-1].label == "none", "no events for a second: nothing is decided"


def test_bins_end_where_the_decision_says() -> None:
    decisions = list(Pipeline(CONFIG, LeakyColumns()).run(EventStream(SENSOR, [recording(4, 500)])))
    assert all(decision.t_us % CONFIG.bin_us == 0 for decision in decisions)


def test_another_sensor_is_resampled_and_said() -> None:
    pipeline = Pipeline(CONFIG, LeakyColumns())
    list(pipeline.run(EventStream(Sensor(64, 48), [recording(5, 500, Sensor(64, 48))])))
    assert pipeline.notes == ["sensor 64x48 resampled to the network's 16x16 (centred crop, 3.00 to 1)"]
    with pytest.raises(ConfigError, match="too small"):
        pipeline.set_sensor(Sensor(8, 8))


def window_at(index: int, events: int = 100) -> Window:
    return Window(empty_events(events), index * 10_000, (index + 1) * 10_000, index == 0)


def decide(logits: list[list[float]], config: DecisionConfig, events: int = 100) -> list[Gesture]:
    decider = GestureDecider(config, LABELS, 10_000)
    return [decider(np.array(row), window_at(i, events)) for i, row in enumerate(logits)]


def test_hysteresis_keeps_a_decision_between_release_and_threshold() -> None:
    plain = DecisionConfig(smoothing_us=0, threshold=0.6, release=0.4, warmup_us=0, min_rate_hz=0.0)
    probabilities = [0.5, 0.7, 0.5, 0.41, 0.39, 0.5, 0.61]
    rows = [list(np.log([p, (1 - p) / 2, (1 - p) / 2])) for p in probabilities]
    assert [d.index for d in decide(rows, plain)] == [-1, 0, 0, 0, -1, -1, 0]


def test_smoothing_is_the_exponential_average() -> None:
    config = DecisionConfig(smoothing_us=50_000, threshold=0.9, release=0.1, warmup_us=0, min_rate_hz=0.0)
    decisions = decide([[50.0, 0.0, 0.0]] * 10, config)
    expected = 1 - (1 - 1 / 3) * np.exp(-10_000 * np.arange(1, 11) / 50_000)
    assert [d.score for d in decisions] == pytest.approx(expected, abs=1e-6)


def test_nothing_is_decided_in_warmup_or_silence() -> None:
    sure = [[50.0, 0.0, 0.0]] * 20
    config = DecisionConfig(smoothing_us=0, threshold=0.5, release=0.5, warmup_us=50_000, min_rate_hz=0.0)
    assert [d.index for d in decide(sure, config)] == [-1] * 5 + [0] * 15
    silent = DecisionConfig(smoothing_us=0, threshold=0.5, release=0.5, warmup_us=0, min_rate_hz=1.0)
    assert {d.label for d in decide(sure, silent, events=0)} == {"none"}


def test_a_decision_is_one_json_line() -> None:
    line = decide([[9.0, 0.0, 0.0]], DecisionConfig(smoothing_us=0, warmup_us=0, min_rate_hz=0.0))[0].to_json()
    assert "\n" not in line
    assert json.loads(line) == {"t_us": 10_000, "kind": "gesture", "index": 0, "label": "left", "score": 0.9998}
    undecided = decide([[0.0, 0.0, 0.0]], DecisionConfig())[0]
    assert (undecided.index, undecided.label) == (-1, "none")


def test_recording_label_ignores_the_warmup() -> None:
    decisions = decide([[9.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, 0.0]] * 3, DecisionConfig())
    assert recording_label(decisions, 10_000, 30_000) == 1
    assert recording_label(decisions[:2], 10_000, 30_000) == 0, "shorter than the warm-up: all bins count"


def test_posterior_sums_to_one_at_extreme_logits() -> None:
    assert softmax(np.array([1e9, -1e9, 0.0])).sum() == 1.0


def test_configuration_survives_json() -> None:
    config = PipelineConfig(
        model="gesture", labels=LABELS, model_config={"classes": 3}, sensor=Sensor(32, 32), bin_us=5000,
        representation=EventCounts(pool=2, limit=7), decision=DecisionConfig(threshold=0.7),
    )  # fmt: skip
    assert PipelineConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spam": 1}, "unknown option 'spam'"),
        ({"bin_us": 0}, "must be above zero"),
        ({"representation": {"name": "Nope"}}, "representation 'Nope' is unknown"),
        ({"representation": {"name": "EventCounts", "pol": 2}}, "unknown option 'pol'"),
        ({"decision": {"threshold": 0.2, "release": 0.5}}, "release <= threshold"),
        ({"sensor": {"width": 0, "height": 3}}, "must lie in"),
        ({"labels": None}, "incomplete or of the wrong type"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_wrong_configuration_is_one_clear_error(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PipelineConfig.from_dict({**CONFIG.to_dict(), **change})


def test_resampling_keeps_the_rate_per_pixel() -> None:
    from dvs_snn.events.resample import Resample

    rng = np.random.default_rng(0)
    count, source, target = 200_000, Sensor(128, 96), Sensor(32, 32)
    events = make_events(
        np.arange(count), rng.integers(0, 128, count), rng.integers(0, 96, count), rng.random(count) < 0.3
    )
    out = Resample(source, target)(events)
    per_pixel_in, per_pixel_out = count / (128 * 96), len(out) / (32 * 32)
    assert per_pixel_out == pytest.approx(per_pixel_in, rel=0.02)
    assert np.count_nonzero(out["p"]) / len(out) == pytest.approx(0.3, abs=0.02)
    assert (np.diff(out["t"]) >= 0).all()
    same = Resample(target, target)
    square = events[(events["x"] < 32) & (events["y"] < 32)]
    assert np.array_equal(same(square), square), "a sensor of equal size is passed through"
