"""A checkpoint comes back as it was; a damaged or unfit one is one clear line; a failed write keeps the old one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dvs_snn.pipeline.checkpoint as checkpoint_module
from dvs_snn.cli import main
from dvs_snn.errors import CheckpointError
from dvs_snn.events import Sensor, make_events, stream_of
from dvs_snn.events.files import write_recording
from dvs_snn.models import config_dict
from dvs_snn.pipeline import load_checkpoint, open_pipeline, save_checkpoint, shipped_checkpoints
from tests.cli.networks import save_tiny


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "net")


def test_round_trip(saved: Path, tmp_path: Path) -> None:
    first = load_checkpoint(saved)
    save_checkpoint(tmp_path / "again", first.config, first.model, {"accuracy": 0.5})
    second = load_checkpoint(tmp_path / "again")
    assert second.config == first.config
    assert second.metrics == {"accuracy": 0.5}
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key])


def test_sizes_are_written_in_full(saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.config.model_config == config_dict(loaded.model.config)


def test_a_failed_write_keeps_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (saved / "model.safetensors").read_bytes()
    loaded = load_checkpoint(saved)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_json", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(saved, loaded.config, loaded.model, {})
    assert (saved / "model.safetensors").read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["net"], "no half folder is left"


def edit(path: Path, change: dict) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **change}))


DAMAGE = {
    "no folder": (lambda p: p.rename(p.with_name("gone")), "no such checkpoint"),
    "no config": (lambda p: (p / "config.json").unlink(), "not a checkpoint, config.json is missing"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "model.safetensors cannot be read"),
    "no metrics": (lambda p: (p / "metrics.json").unlink(), "metrics.json is missing"),
    "broken json": (lambda p: (p / "config.json").write_text("{"), "cannot be read as JSON"),
    "list json": (lambda p: (p / "config.json").write_text("[]"), "expected a JSON object"),
    "other format": (lambda p: edit(p / "config.json", {"format": 99}), "has format 99"),
    "unknown key": (lambda p: edit(p / "config.json", {"spam": 1}), "unknown option 'spam'"),
    "unknown model": (lambda p: edit(p / "config.json", {"model": "nope"}), "nope"),
    "unknown task": (lambda p: edit(p / "config.json", {"task": "text"}), "task 'text' has no decisions"),
    "other size": (
        lambda p: edit(p / "config.json", {"model_config": {"shape": [2, 16, 16], "hidden": 5}}),
        "does not fit config.json",
    ),
    "truncated weights": (
        lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:-100]),
        "model.safetensors cannot be read",
    ),
    "bad numbers": (
        lambda p: save_file(
            {
                k: v * float("nan") if v.is_floating_point() else v
                for k, v in load_file(p / "model.safetensors").items()
            },
            p / "model.safetensors",
        ),
        "weights are not finite",
    ),
    "labels do not fit": (lambda p: edit(p / "config.json", {"labels": ["a", "b"]}), "labels"),
    "map does not fit": (
        lambda p: edit(p / "config.json", {"representation": {"name": "EventCounts", "pool": 4}}),
        "does not fit",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line(kind: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    damage, message = DAMAGE[kind]
    damage(saved)
    recording = tmp_path / "r.npz"
    write_recording(recording, stream_of(make_events([0, 20_000], [1, 2], [3, 4], [0, 1]), Sensor(128, 128)))
    assert main(["replay", str(recording), "--model", str(saved)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.strip().count("\n") == 0, error


def test_unknown_runtime_names_those_that_are_there(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'nope' is not available; available: torch"):
        open_pipeline(saved, runtime="nope")


def test_shipped_checkpoints_are_small_and_load() -> None:
    shipped = shipped_checkpoints()
    assert "gesture" in shipped
    for name, path in shipped.items():
        assert sum(file.stat().st_size for file in path.iterdir()) < 3_000_000
        if name == "text":  # opened by its own room: tests/text
            continue
        loaded = load_checkpoint(path)
        if loaded.config.model == checkpoint_module.CLUSTERS:
            continue
        assert sum(p.numel() for p in loaded.model.parameters()) <= 1_500_000
        assert {"command", "seed", "trained_on", "validation"} <= set(loaded.metrics)
