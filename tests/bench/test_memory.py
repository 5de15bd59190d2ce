"""Memory is measured in processes of their own; SLTT's does not grow as BPTT's does."""

import argparse
import json

import pytest

from dvs_snn.bench import memory
from dvs_snn.cli import main


def test_table_and_picture(monkeypatch, capsys, tmp_path):
    sizes = {"bptt": 2.0, "sltt": 0.01}
    monkeypatch.setattr(
        memory,
        "point",
        lambda name, bins: {"rule": name, "bins": bins, "peak_mb": 20 + sizes[name] * bins, "seconds": 1.0},
    )
    picture = tmp_path / "memory.png"
    assert memory.run(argparse.Namespace(json=True, plot=str(picture))) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["growth"]["bptt"] == pytest.approx((20 + 512) / (20 + 32), abs=0.01)
    assert len(result["points"]) == 6 and picture.exists()
    assert memory.run(argparse.Namespace(json=False, plot=None)) == 0
    assert "sltt" in capsys.readouterr().out


def test_a_picture_of_what_draws_none_is_refused(capsys):
    assert main(["bench", "latency", "--plot", "a.png"]) == 2
    assert "--plot" in capsys.readouterr().err


@pytest.mark.slow
def test_sltt_is_flat_and_bptt_grows():
    peaks = {(name, bins): memory.point(name, bins)["peak_mb"] for name in memory.NAMES for bins in (16, 64)}
    assert peaks["bptt", 64] > 2.5 * peaks["bptt", 16]
    assert peaks["sltt", 64] < 1.6 * peaks["sltt", 16] < peaks["bptt", 16]
