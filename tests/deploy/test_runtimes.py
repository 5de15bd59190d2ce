"""Packages behind the command line: export, then replay by integers and by Lava; the chip that is not there."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_snn.cli import main
from dvs_snn.deploy import export as export_module
from dvs_snn.events import Sensor, stream_of
from dvs_snn.events.files import write_recording
from dvs_snn.pipeline import open_pipeline
from tests.cli.networks import save_tiny

SENSOR = Sensor(128, 128)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with its package; calibrated on noise, because simulating takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    save_tiny(folder / "tiny", SENSOR)
    generator = torch.Generator().manual_seed(5)
    noise = [torch.poisson(torch.full((20, 2, 16, 16), 0.4), generator=generator).numpy() for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "simulated_calibration", lambda config: noise)
        assert main(["export", str(folder / "tiny"), "--to", "loihi", "--out", str(folder / "chip")]) == 0
    return folder / "chip"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(2)
    count = 6000
    events = np.zeros(count, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
    events["t"] = np.sort(rng.integers(0, 300_000, count))
    events["x"], events["y"] = rng.integers(0, 128, count), rng.integers(0, 128, count)
    events["p"] = rng.random(count) < 0.5
    path = tmp_path_factory.mktemp("recording") / "noise.npz"
    write_recording(path, stream_of(events, SENSOR))
    return path


def lines(checkpoint: Path, recording: Path, runtime: str, out: Path) -> list[dict]:
    assert main(["replay", str(recording), "--model", str(checkpoint), "--runtime", runtime, "--out", str(out)]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_exported_folder_runs_on_every_runtime(exported: Path, recording: Path, tmp_path: Path) -> None:
    torch_lines = lines(exported, recording, "torch", tmp_path / "torch.jsonl")
    integer = lines(exported, recording, "integer", tmp_path / "integer.jsonl")
    assert [line["t_us"] for line in integer] == [line["t_us"] for line in torch_lines]
    same = np.mean([a["index"] == b["index"] for a, b in zip(integer, torch_lines, strict=True)])
    assert same > 0.5  # the tiny network is untrained and near its thresholds


def test_replay_by_integers_is_the_pipeline_of_a_node(exported: Path, recording: Path, tmp_path: Path) -> None:
    """`open_pipeline(checkpoint, "integer")` is what a node calls; packets of another size change nothing."""
    from dvs_snn.events.files import open_recording

    replayed = lines(exported, recording, "integer", tmp_path / "integer.jsonl")
    pipeline = open_pipeline(exported, "integer")
    decisions = []
    for packet in np.array_split(open_recording(str(recording)).to_array(), 37):
        decisions += pipeline.push(packet)
    decisions += pipeline.flush()
    assert [json.loads(decision.to_json()) for decision in decisions] == replayed


@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava is not installed (make loihi)")
def test_lava_decides_what_the_integers_decide(exported: Path, recording: Path, tmp_path: Path) -> None:
    lava = lines(exported, recording, "lava", tmp_path / "lava.jsonl")
    integer = lines(exported, recording, "integer", tmp_path / "integer.jsonl")
    assert [(line["t_us"], line["index"]) for line in lava] == [(line["t_us"], line["index"]) for line in integer]


def test_nothing_pretends_to_be_a_chip(exported: Path, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording), "--model", str(exported), "--runtime", "loihi-hw"]) == 2
    error = capsys.readouterr().err
    assert "Intel's closed package" in error and len(error.strip().splitlines()) == 1


def test_compare_reports_the_chain(exported: Path, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = exported.parent / "plot.png"
    assert main(["compare", str(exported), str(recording), "--json", "--plot", str(plot)]) == 0
    found = json.loads(capsys.readouterr().out)
    chain = {(each["name"], each["reference"]): each for each in found["differences"]}
    assert chain["integer", "fake-quantised, rounded states"]["backbone"] == 0
    assert chain["integer", "fake-quantised, rounded states"]["head"] == 0
    assert found["decisions"]["integer"] == found["decisions"]["fake-quantised, rounded states"]
    assert {each["status"] for each in found["energy"]} == {"modelled"}
    assert plot.stat().st_size > 1000


def test_export_to_nir_writes_graphs(exported: Path, tmp_path: Path) -> None:
    assert main(["export", str(exported), "--to", "nir", "--out", str(tmp_path / "nir")]) == 0
    assert {path.name for path in (tmp_path / "nir").iterdir()} == {"backbone.nir", "head.nir", "head_composed.nir"}


def test_bench_takes_turns_and_finds_a_ratio(exported: Path) -> None:
    from dvs_snn.bench.loihi import full_resolution, measure
    from dvs_snn.pipeline import load_checkpoint

    report = measure(load_checkpoint(exported), seconds=0.4, lava=False)
    assert report["steps"] >= 39 and not report["lava"]
    for part in ("chip parts", "whole network"):
        times = [report["times"][f"{part}, {form}"]["p50_ms"] for form in ("torch", "integers")]
        assert report["ratios"][f"{part}, integers against torch"] == pytest.approx(times[0] / times[1], abs=0.02)
    convolutions, recurrent = full_resolution()
    for layer in (*convolutions, recurrent):
        layer.check()


def test_changed_weights_are_refused(exported: Path, recording: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    weights = load_file(copy / "model.safetensors")
    weights["readout.bias"] += 1.0
    save_file(weights, copy / "model.safetensors")
    assert main(["replay", str(recording), "--model", str(copy), "--runtime", "integer"]) == 2
