"""Processes that share every batch make the updates that one process makes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning import Team
from tests.learning.synthetic import tiny_recipe
from tests.learning.tiny_run import RECIPE, alone, trainer

ROOT = Path(__file__).parents[2]


def start(rank, size, *arguments):
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ["TEST_PORT"],
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.learning.tiny_run", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


@pytest.fixture
def port(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TEST_PORT", str(probe.getsockname()[1]))


def run_two(*arguments):
    processes = [start(rank, 2, *arguments) for rank in range(2)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]


def test_two_processes_learn_what_one_learns(port, tmp_path):
    """No dropout, whose draws differ; the rest (batch statistics, loss weights, gradients, averages) must agree."""
    run_two(str(tmp_path / "two"), "alone")
    trainer(tmp_path / "one", **alone()).fit()
    one, two = (load_file(tmp_path / name / "state.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        if not name.startswith("random"):
            torch.testing.assert_close(one[name], two[name], rtol=2e-4, atol=2e-5, msg=lambda text: f"{name}: {text}")  # noqa: B023


def test_two_processes_resume_bit_for_bit(port, tmp_path):
    run_two(str(tmp_path / "whole"))
    run_two(str(tmp_path / "cut"), "stop")
    run_two(str(tmp_path / "cut"), "resume")
    whole, cut = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "cut"))
    assert not [name for name in whole if not torch.equal(whole[name], cut[name]) and not name.startswith("random")]


def test_team_of_one_changes_nothing():
    team, network = Team(), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = list(network)
    team.share_norms(network)
    assert list(network) == before
    assert team.leads and team.any(True) and not team.any(False)
    assert team.told(lambda: 7) == 7


def test_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot share it evenly"):
        trainer(tmp_path, team=Team(0, 3))
    assert tiny_recipe(**RECIPE).train.batch % 3
