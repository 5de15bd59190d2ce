"""A run that the resume test starts as a process of its own and kills: `python -m tests.learning.tiny_run OUT`."""

import sys
from contextlib import contextmanager
from unittest import mock

from dvs_snn.learning import Trainer
from tests.learning.synthetic import bars, tiny_recipe

RECIPE = {"train": {"epochs": 3, "batch": 8, "log_every": 1, "threads": 1, "ema": 0.9, "checkpoint_minutes": 0.0}}


def trainer(out, resume=False, **changes):
    recipe = tiny_recipe(**{**RECIPE, **changes})
    return Trainer(recipe, bars(64), bars(16, 10_000, "validation"), out, command="test", resume=resume, progress=False)


@contextmanager
def plain_scans():
    """Neurons in plain torch, without compiling."""
    with mock.patch("dvs_snn.nn.linear_neuron.fusable", lambda *_: False):
        yield


if __name__ == "__main__":
    with plain_scans():
        trainer(sys.argv[1]).fit()
