"""`dvs-snn train` from the command line: a folder of recordings becomes a checkpoint; wrong words are one line."""

import json

import pytest
import torch
import yaml

from dvs_snn.cli import main
from dvs_snn.events import stream_of
from dvs_snn.events.files import write_recording
from dvs_snn.pipeline import load_checkpoint
from tests.learning.synthetic import SENSOR, bars, tiny_recipe


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """train/, validation/ and test/ of moving bars, as npz files named by class."""
    root = tmp_path_factory.mktemp("bars")
    for split, count, seed in (("train", 32, 0), ("validation", 8, 1000), ("test", 8, 2000)):
        (root / split).mkdir()
        for index, recording in enumerate(bars(count, seed, split).recordings):
            path = root / split / f"{recording.label}_{index}.npz"
            write_recording(path, stream_of(recording.events, SENSOR))
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "bars.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in tiny_recipe().to_dict().items() if v is not None}))
    return path


@pytest.fixture(scope="module")
def trained(data, recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "bars"
    before = torch.get_num_threads()
    assert (
        main(["train", str(recipe), "--data", str(data), "--out", str(out), "--device", "cpu", "train.epochs=1"]) == 0
    )
    torch.set_num_threads(before)
    return out


def test_train_writes_a_checkpoint_that_says_how_it_was_made(trained, data, recipe):
    checkpoint = load_checkpoint(trained / "checkpoint")
    assert checkpoint.metrics["command"] == f"dvs-snn train {recipe} --data {data} train.epochs=1"
    assert checkpoint.metrics["seed"] == 3 and checkpoint.metrics["validation"]["n"] == 8
    assert yaml.safe_load((trained / "recipe.yaml").read_text())["train"]["epochs"] == 1


def test_result_is_one_json_line_on_stdout(data, recipe, tmp_path, capsys):
    words = [
        "train",
        str(recipe),
        "train.epochs=1",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "r"),
        "train.batch=16",
    ]
    assert main([*words, "train.ema=0"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1 and json.loads(out)["n"] == 8
    assert yaml.safe_load((tmp_path / "r" / "recipe.yaml").read_text())["train"]["batch"] == 16


def test_evaluate_json_is_one_object_with_the_agreed_keys(trained, data, capsys):
    assert main(["evaluate", str(trained / "checkpoint"), "--data", str(data), "--json", "--device", "cpu"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"task", "data", "split", "n", "accuracy", "accuracy_low", "accuracy_high"} <= set(result)
    assert result["n"] == 8 and result["split"] == "test" and result["task"] == "gesture"
    assert len(result["confusion"]) == 2 and {"decided", "median_s", "p90_s"} == set(result["latency"])


def test_evaluate_tells_costs_and_draws_the_confusion_matrix(trained, data, tmp_path, capsys):
    picture = tmp_path / "confusion.png"
    words = ["evaluate", str(trained / "checkpoint"), "--data", str(data), "--json", "--confusion", str(picture)]
    assert main([*words, "--device", "cpu"]) == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert {"spikes_per_bin", "activation_sparsity", "synaptic_operations", "layers", "bytes"} <= set(costs)
    assert picture.stat().st_size > 1000


def test_evaluate_for_readers_names_split_and_interval(trained, data, capsys):
    words = ["evaluate", str(trained / "checkpoint"), "--data", str(data), "--split", "validation", "--device", "cpu"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "split validation: 8 recordings" in out and "95 %" in out and "right" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "RECIPE", "--data", "DATA", "--out", "OUT"], "--resume"),
        (["train", "RECIPE", "--data", "DATA", "--out", "OUT", "--resume", "seed=9"], "seed"),
        (["train", "RECIPE", "train.epoch=3"], "'epoch'"),
        (["train", "no_recipe"], "no_recipe"),
        (["train", "RECIPE", "--data", "DATA/train", "--out", "NEW"], "sub-folders"),
        (["train", "RECIPE", "--data", "DATA/nothing"], "no such folder"),
        (["train", "RECIPE", "--colour", "red"], "--colour"),
        (["train", "RECIPE", "stray"], "key=value"),
        (["evaluate", "OUT/nothing", "--data", "DATA"], "no such checkpoint"),
        (["evaluate", "OUT/checkpoint", "--data", "DATA/nothing"], "no such folder"),
        (["evaluate", "OUT/checkpoint"], "--data"),
        (["evaluate", "OUT/checkpoint", "--data", "simulated", "--split", "dev"], "train, validation and test"),
        (["evaluate", "OUT/checkpoint", "--data", "simulated", "--recordings", "0"], "--recordings"),
    ],
)
def test_wrong_words_end_with_one_line_and_status_2(words, said, trained, data, recipe, tmp_path, capsys):
    places = {"RECIPE": str(recipe), "DATA": str(data), "OUT": str(trained), "NEW": str(tmp_path / "new")}
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    try:
        status = main(words)
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1 and said in captured.err
