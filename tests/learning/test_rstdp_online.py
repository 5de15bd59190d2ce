"""Learning on the robot: rewards at any later time, what they change, what is kept and what is forgotten."""

import json
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.cli import main
from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.events import Sensor, make_events, stream_of
from dvs_snn.events.files import write_recording
from dvs_snn.learning.online import ActionLayer, AdapterConfig, AdaptivePipeline, OnlineAdapter, RewardLines
from dvs_snn.pipeline import open_pipeline
from tests.cli.networks import save_tiny

BIN_US = 10_000


def logits(index: int, classes: int = 4) -> np.ndarray:
    return np.where(np.arange(classes) == index, 5.0, 0.0).astype(np.float32)


def shown(adapter: OnlineAdapter, index: int, windows: int = 20, start: int = 0) -> tuple[int, int]:
    """Windows that show one class; returns the time of the last and the action that it decides."""
    adapter.reset()
    for window in range(start, start + windows):
        out = adapter.see(logits(index), (window + 1) * BIN_US)
    return (start + windows) * BIN_US, int(out.argmax())


def test_a_fresh_adapter_changes_nothing() -> None:
    adapter = OnlineAdapter(4, BIN_US)
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    for k, row in enumerate(values):
        assert adapter.see(row, k) is row


def test_one_reward_changes_a_weight_by_the_equation() -> None:
    layer = ActionLayer(3, AdapterConfig(rate=0.4, own=0.6, other=0.3, usual=0.5))
    rates = np.array([0.7, 0.2, 0.1])
    layer.learn(rates, 1, 1.0)
    assert layer.weight[:, 1] == pytest.approx(
        [0.3 + 0.4 * 0.5 * 0.7 * 0.7, 0.6 + 0.4 * 0.5 * 0.2 * 0.4, 0.3 + 0.4 * 0.5 * 0.1 * 0.7]
    )
    assert layer.weight[:, [0, 2]].tolist() == [[0.6, 0.3], [0.3, 0.3], [0.3, 0.6]]
    before = layer.weight.copy()
    layer.learn(rates, 0, 0.0)
    assert layer.weight[:, 0] == pytest.approx(before[:, 0] * (1 - 0.4 * 0.5 * rates))


def test_two_exchanged_classes_are_relearned_and_the_others_stay() -> None:
    adapter, rng = OnlineAdapter(4, BIN_US), np.random.default_rng(0)
    wanted = [1, 0, 2, 3]
    for _ in range(80):
        index = int(rng.integers(4))
        t_us, decided = shown(adapter, index)
        assert adapter.reward_at(t_us, decided, float(decided == wanted[index]))
    assert [shown(adapter, index)[1] for index in range(4)] == wanted


@pytest.mark.parametrize("later", [1, 50, 5000])
def test_a_late_reward_is_worth_a_prompt_one(later: int) -> None:
    """Whatever was seen between, the trace of the decision itself is what learns."""
    prompt, late = OnlineAdapter(4, BIN_US), OnlineAdapter(4, BIN_US)
    t_us, decided = shown(prompt, 2)
    prompt.reward_at(t_us, decided, 0.0)
    shown(late, 2)
    shown(late, 3, later, start=20)
    assert late.reward_at(t_us, decided, 0.0)
    assert np.array_equal(prompt.layer.weight, late.layer.weight)


def test_what_is_too_old_unknown_or_undecided_teaches_nothing() -> None:
    adapter = OnlineAdapter(4, BIN_US, AdapterConfig(memory_s=1.0))
    t_us, decided = shown(adapter, 1)
    shown(adapter, 2, 100, start=20)
    before = adapter.layer.weight.copy()
    assert not adapter.reward_at(t_us, decided, 0.0)
    assert not adapter.reward_at(123, 1, 1.0)
    assert not adapter.reward_at(120 * BIN_US, -1, 1.0)
    assert np.array_equal(before, adapter.layer.weight)


def test_saved_loaded_reset_forgotten(tmp_path: Path) -> None:
    adapter = OnlineAdapter(4, BIN_US)
    for _ in range(9):
        t_us, decided = shown(adapter, 1)
        adapter.reward_at(t_us, decided, 0.0)
    learned = adapter.layer.weight.copy()
    adapter.save(tmp_path / "a.safetensors")
    adapter.reset()
    assert np.array_equal(adapter.layer.weight, learned)
    other = OnlineAdapter(4, BIN_US)
    other.load(tmp_path / "a.safetensors")
    assert np.array_equal(other.layer.weight, learned)
    assert other.layer.rewards == 9
    assert shown(other, 1)[1] != 1
    other.forget()
    assert shown(other, 1)[1] == 1
    with pytest.raises(CheckpointError, match="3 classes"):
        OnlineAdapter(3, BIN_US).load(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="no such file"):
        other.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize("reward", [-0.1, 1.1, float("nan")])
def test_a_reward_out_of_range_is_refused(reward: float) -> None:
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        OnlineAdapter(4, BIN_US).reward_at(0, 0, reward)


@pytest.mark.parametrize(
    "line", ["{}", "[1]", "no", '{"t_us": 1, "reward": 2}', '{"t_us": 5, "reward": 1, "at_us": 4}']
)
def test_a_bad_line_of_rewards_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "r.jsonl").write_text('{"t_us": 1, "reward": 1}\n' + line + "\n")
    with pytest.raises(ConfigError, match="line 2"):
        RewardLines(tmp_path / "r.jsonl")


def test_a_pipeline_learns_while_it_runs(tmp_path: Path) -> None:
    """Every decision punished: the pipeline decides otherwise on the same recording, and as before once it forgot."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 400_000, 8000))
    events = make_events(t, (t // 2000 + rng.integers(0, 9, len(t))) % 128, rng.integers(0, 128, len(t)), t % 2 == 0)
    sensor = Sensor(128, 128)
    plain = open_pipeline(save_tiny(tmp_path / "tiny"))
    before = [decision.index for decision in plain.run(stream_of(events, sensor))]
    pipeline = AdaptivePipeline(plain)
    first = list(pipeline.run(stream_of(events, sensor)))
    assert [decision.index for decision in first] == before
    lines = [{"t_us": d.t_us, "reward": 0, "at_us": d.t_us + 50_000} for d in first if d.index >= 0]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rewards = RewardLines(tmp_path / "r.jsonl")
    for decision in pipeline.run(stream_of(events, sensor)):
        rewards.give(decision, pipeline.adapter)
    assert rewards.given > 10
    assert [d.index for d in pipeline.run(stream_of(events, sensor))] != before
    pipeline.adapter.forget()
    assert [d.index for d in pipeline.run(stream_of(events, sensor))] == before


def test_replay_learns_from_a_file_and_keeps_what_it_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 300_000, 6000))
    events = make_events(t, (t // 2000 + rng.integers(0, 9, len(t))) % 128, rng.integers(0, 128, len(t)), t % 2 == 0)
    write_recording(tmp_path / "a.npz", stream_of(events, Sensor(128, 128)))
    words = ["replay", str(tmp_path / "a.npz"), "--model", str(save_tiny(tmp_path / "tiny"))]
    kept = ["--adapter", str(tmp_path / "kept.safetensors")]

    def decided(*options: str) -> list[dict]:
        assert main([*words, *options]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    before = decided()
    assert decided(*kept) == before
    lines = [{"t_us": line["t_us"], "reward": 0} for line in before if line["index"] >= 0]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    decided("--rewards", str(tmp_path / "r.jsonl"), *kept)
    assert decided(*kept) != before
    assert decided() == before
