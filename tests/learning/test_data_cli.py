"""The commands people type, on the published layouts built small: train, then evaluate."""

import json

import pytest
import yaml

from dvs_snn.cli import main
from tests.learning.tiny_sets import ibm_dvs128, nmnist, shd, tonic_dvs128

TINY = [
    "clips.seconds=[0.08,0.08]", "clips.warmup_s=0.0", "clips.splice=0.0", "augment=null", "train.epochs=1",
    "train.batch=8", "train.threads=1", "train.ema=0.5", "pipeline.decision.warmup_us=0", "rule.name=bptt",
]  # fmt: skip
GESTURE = [
    "pipeline.representation.pool=8", "pipeline.model_config.shape=[2,16,16]", "pipeline.model_config.channels=[4,4]",
    "pipeline.model_config.kernels=[5,3]", "pipeline.model_config.strides=[2,2]",
    "pipeline.model_config.block_channels=[4]", "pipeline.model_config.hidden=8",
    "pipeline.model_config.bridge_bins=2", "pipeline.bin_us=20000",
]  # fmt: skip
DIGITS = ["pipeline.model_config.hidden=[8]", "pipeline.bin_us=20000"]
NMNIST = [
    "pipeline.model_config.channels=[4]", "pipeline.model_config.kernels=[5]", "pipeline.model_config.strides=[4]",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("recipe", "make", "options", "name", "held", "tested"),
    [
        ("gesture", tonic_dvs128, GESTURE, "dvs128_gesture", 22, 22),
        ("gesture_dvs128", ibm_dvs128, [*GESTURE, "data.division=spikingjelly"], "dvs128_gesture", 12, 12),
        ("digits", shd, DIGITS, "shd", 10, 24),
        ("nmnist", nmnist, NMNIST, "nmnist", None, 30),
        ("nmnist_ssm", nmnist, [*NMNIST, "pipeline.model_config.hidden=8"], "nmnist", None, 30),
    ],
    ids=["gesture-tonic", "gesture_dvs128-ibm", "digits", "nmnist", "nmnist_ssm"],
)
def test_train_and_evaluate_on_a_folder(tmp_path, capsys, recipe, make, options, name, held, tested):
    data, out = make(tmp_path / "data"), tmp_path / "run"
    summary = run(capsys, "train", recipe, "--data", data, "--out", out, "--device", "cpu", *TINY, *options)
    assert summary["n"] == held if held else summary["n"] > 0
    told = yaml.safe_load((out / "recipe.yaml").read_text())["data"]
    assert told["name"] == name and told["folder"] == str(data)
    metrics = json.loads((out / "checkpoint" / "metrics.json").read_text())
    result = run(capsys, "evaluate", out / "checkpoint", "--data", data, "--device", "cpu", "--json")
    assert result["n"] == tested and result["split"] == "test"
    assert "unverified" in result["data"] and "unverified" in metrics["trained_on"]
    if name == "dvs128_gesture":
        division = "spikingjelly" if "ibm" in make.__name__ else "tonic"
        assert f"division {division}" in result["data"] and f"division {division}" in metrics["trained_on"]
        assert "validation subjects [5]" in metrics["trained_on"]
    if name == "shd":
        unseen = run(capsys, "evaluate", out / "checkpoint", "--data", data, "--split", "test_unseen", "--json")
        assert unseen["n"] == 12


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "digits"], "get shd_train.h5.zip from https://zenkelab.org"),
        (["train", "gesture_dvs128"], "get DvsGesture.tar.gz"),
        (["train", "nmnist", "--data", "."], "get Train.zip and Test.zip"),
        (["train", "gesture", "--data", "nowhere"], "no such folder"),
        (["train", "nmnist", "data.transforms=[ToVoxelGrid]"], "VoxelGrid, which conserves polarity"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_or_wrong_is_one_line(tmp_path, capsys, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and len(error.splitlines()) == 1
