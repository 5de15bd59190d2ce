"""`dvs-snn bench training` on tiny shapes: it measures, it names what is absent, it prints one JSON object."""

import json
import sys
from collections.abc import Iterator

import pytest
import torch

from dvs_snn.bench import training
from dvs_snn.cli import main


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(training, "KERNEL_SHAPE", (3, 2, 4, 5, 5))
    monkeypatch.setattr(training, "CLIP_SHAPE", (2, 1, 2, 16, 16))
    monkeypatch.setattr(training, "TURNS", 1)
    for package in ("spikingjelly", "norse", "sinabs"):  # one peer stays, to be fast
        monkeypatch.setitem(sys.modules, package, None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny work on many threads is nothing but waiting
    yield
    torch.set_num_threads(threads)


def test_json_holds_the_ratios_and_the_absent(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "training", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["absent"].keys() >= {"SpikingJelly", "Norse", "sinabs"}
    assert (
        set(result["median_ms"]["training_step"]) == {"layers alone", "dvs_snn", "snnTorch"} - result["absent"].keys()
    )
    assert result["step_over_layers_alone"] > 0


def test_table_names_every_program(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "training"]) == 0
    text = capsys.readouterr().out
    assert "layers alone" in text and "TCLIF" in text and "Norse: not measured" in text


def test_unknown_subject_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(["bench", "nothing"])
    assert status.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
