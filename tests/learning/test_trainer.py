"""A run learns, keeps its best epoch, and goes on bit for bit after it was killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.learning import EventTask, Trainer
from dvs_snn.learning.training_state import AveragedWeights, load_state, save_state
from dvs_snn.pipeline import load_checkpoint
from tests.learning.synthetic import bars, tiny_recipe
from tests.learning.tiny_run import trainer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, trainer(out).fit()


def journal(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_per_s")} for line in lines]


def assert_same_run(a, b):
    for name in ("state.safetensors", "checkpoint/model.safetensors"):
        x, y = load_file(a / name), load_file(b / name)
        assert x.keys() == y.keys()
        different = [key for key in x if not torch.equal(x[key], y[key])]
        assert not different, f"{name} differs in {different}"
    assert journal(a) == journal(b)
    assert (a / "checkpoint" / "config.json").read_text() == (b / "checkpoint" / "config.json").read_text()
    assert load_state(a / "state.safetensors")[1]["best"] == load_state(b / "state.safetensors")[1]["best"]


def test_run_killed_in_mid_epoch_resumes_bit_for_bit(uninterrupted, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "tests.learning.tiny_run", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 120
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if (out / "metrics.jsonl").exists() and len((out / "metrics.jsonl").read_bytes().splitlines()) >= 12:
                break
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, record = load_state(out / "state.safetensors")
    assert not record["finished"] and record["batch"] > 0, "the kill came at the wrong time"
    trainer(out, resume=True).fit()
    assert_same_run(uninterrupted[0], out)


def test_terminated_run_saves_its_state_and_resumes_bit_for_bit(uninterrupted, tmp_path):
    out = tmp_path / "run"
    changes = {"train": {"epochs": 3, "batch": 8, "log_every": 1, "threads": 1, "ema": 0.9}}
    run = trainer(out, **changes)

    def terminate():
        while not (out / "metrics.jsonl").exists() or len((out / "metrics.jsonl").read_bytes().splitlines()) < 4:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run.fit()
    thread.join()
    _, record = load_state(out / "state.safetensors")
    assert 4 <= record["batch"] + 8 * record["epoch"] < 24
    trainer(out, resume=True, **changes).fit()
    assert_same_run(uninterrupted[0], out)


def test_run_learns_and_its_checkpoint_is_the_best_epoch(uninterrupted):
    out, best = uninterrupted
    assert best["validation"]["accuracy"] >= 0.9
    history = [line for line in journal(out) if line["kind"] == "validation"]
    top = max(history, key=lambda line: (line["accuracy"], -line["loss"]))
    assert best["epoch"] == top["epoch"] and len(history) == 3
    checkpoint = load_checkpoint(out / "checkpoint")
    assert checkpoint.metrics["validation"]["accuracy"] == best["validation"]["accuracy"]
    assert checkpoint.metrics["seed"] == 3 and checkpoint.metrics["command"] == "test"
    assert checkpoint.metrics["validation"]["split"] == "validation"
    assert {path.name for path in out.iterdir()} == {
        "recipe.yaml", "metrics.jsonl", "tensorboard", "state.safetensors", "checkpoint",
    }  # fmt: skip


def test_run_starts_from_the_weights_of_a_checkpoint(uninterrupted, tmp_path):
    start = str(uninterrupted[0] / "checkpoint")
    train = {"epochs": 1, "batch": 8, "threads": 1, "ema": 0.0, "start": start}
    run = trainer(tmp_path / "run", train=train, optimizer={"lr": 1e-5})
    assert run.fit()["validation"]["accuracy"] >= uninterrupted[1]["validation"]["accuracy"] - 0.1
    assert load_checkpoint(tmp_path / "run" / "checkpoint").metrics["started_from"]["command"] == "test"
    with pytest.raises(ConfigError, match=r"train\.start"):
        pipeline = tiny_recipe().to_dict()["pipeline"]
        pipeline["model_config"]["hidden"] = 8
        trainer(tmp_path / "other", train=train, pipeline=pipeline)


def test_finished_run_resumes_to_the_same_result(uninterrupted):
    out, best = uninterrupted
    before = (out / "metrics.jsonl").read_bytes()
    assert trainer(out, resume=True).fit() == best
    assert (out / "metrics.jsonl").read_bytes() == before


def test_folder_of_another_run_is_refused(uninterrupted):
    with pytest.raises(ConfigError, match="--resume"):
        trainer(uninterrupted[0])


def test_resuming_with_another_recipe_names_the_key(uninterrupted):
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        trainer(uninterrupted[0], resume=True, optimizer={"lr": 0.02})


def test_a_run_begun_before_an_option_existed_goes_on(uninterrupted, tmp_path):
    """As with its default; an option that this version does not know is named."""
    out = tmp_path / "run"
    shutil.copytree(uninterrupted[0], out)
    tensors, record = load_state(out / "state.safetensors")
    recipe = record["about"]["recipe"]
    del recipe["rule"]["half_convolutions"], recipe["twin"], recipe["train"]["qat"]
    del recipe["optimizer"]["name"]
    save_state(out / "state.safetensors", tensors, record)
    assert trainer(out, resume=True).fit() == uninterrupted[1]
    recipe["rule"]["of_later"] = 1
    save_state(out / "state.safetensors", tensors, record)
    with pytest.raises(ConfigError, match=r"begun with other settings .*rule\.of_later"):
        trainer(out, resume=True)


def test_damaged_state_is_one_line(tmp_path):
    (tmp_path / "recipe.yaml").write_text("")
    (tmp_path / "state.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0garbage")
    with pytest.raises(CheckpointError, match="cannot be read"):
        trainer(tmp_path, resume=True)


def test_shuffled_labels_are_not_learnt(uninterrupted, tmp_path):
    recipe = tiny_recipe(train={"epochs": 3, "batch": 8, "threads": 1, "ema": 0.9})
    run = Trainer(
        EventTask(recipe, bars(64, shuffled=True), bars(16, 10_000, "validation")), tmp_path / "run", progress=False
    )
    run.fit()
    chance = float(torch.tensor(2.0).log())
    assert min(line["loss"] for line in run.history) > chance - 0.1
    assert uninterrupted[1]["validation"]["loss"] < chance - 0.2


def test_run_stops_early_when_validation_does_not_improve(tmp_path):
    recipe = tiny_recipe(
        train={"epochs": 50, "batch": 8, "threads": 1, "patience": 1, "ema": 0.0}, optimizer={"lr": 1e-9}
    )
    run = Trainer(EventTask(recipe, bars(16), bars(8, 10_000, "validation")), tmp_path / "run", progress=False)
    run.fit()
    assert run.epoch < 50 and run.epoch == run.best["epoch"] + 1


def test_the_last_epoch_is_kept_where_validation_shall_not_choose(tmp_path):
    recipe = tiny_recipe(train={"epochs": 4, "batch": 8, "threads": 1, "keep": "last"}, optimizer={"lr": 1e-9})
    run = Trainer(EventTask(recipe, bars(16), bars(8, 10_000, "validation")), tmp_path / "run", progress=False)
    assert run.fit()["epoch"] == 4
    state = load_file(tmp_path / "run" / "state.safetensors")
    kept = load_file(tmp_path / "run" / "checkpoint" / "model.safetensors")
    assert all(torch.equal(tensor, state[f"average.{name}"]) for name, tensor in kept.items())


@pytest.mark.parametrize(
    ("train", "message"), [({"keep": "first"}, "best"), ({"keep": "last", "patience": 2}, "waits")]
)
def test_what_is_kept_is_the_best_or_the_last(train, message):
    with pytest.raises(ConfigError, match=message):
        tiny_recipe(train=train)


def test_state_file_keeps_every_bit(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.tensor(7), "c": torch.get_rng_state()}
    save_state(tmp_path / "s", tensors, {"x": 1.1, "y": [None, "z"]})
    got, record = load_state(tmp_path / "s")
    assert all(torch.equal(got[key], tensors[key]) for key in tensors) and record == {"x": 1.1, "y": [None, "z"]}
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_averaged_weights_follow_and_smooth():
    net = torch.nn.Linear(1, 1)
    averaged = AveragedWeights(net, 0.9)
    values = []
    for step in range(200):
        with torch.no_grad():
            net.weight.fill_(5.0 + (-1) ** step)
        averaged.update(net)
        values.append(float(averaged.average["weight"]))
    assert abs(values[-1] - 5.0) < 0.1
    direct = AveragedWeights(net, 0.0)
    direct.update(net)
    assert torch.equal(direct.average["weight"], net.weight)
