"""The latency bench times every stage of every window, and the stages add up."""

from pathlib import Path

from dvs_snn.bench.latency import STAGES, measure
from dvs_snn.pipeline import load_checkpoint
from tests.cli.networks import save_tiny


def test_stages_of_a_window_are_timed(tmp_path: Path) -> None:
    report = measure(load_checkpoint(save_tiny(tmp_path / "tiny")), seconds=0.5)
    assert tuple(report["stages"]) == STAGES and report["windows"] >= 20
    assert all(times["p50_ms"] > 0 for times in report["stages"].values())
    assert report["p50_ms"] >= report["stages"]["step"]["p50_ms"] > report["stages"]["decide"]["p50_ms"]
    assert report["p99_ms"] >= report["p50_ms"]
