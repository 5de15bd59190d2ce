"""Runs that tests start as processes of their own: `python -m tests.learning.tiny_run OUT [alone|stop|resume]`."""

import sys
from contextlib import contextmanager
from unittest import mock

from dvs_snn.learning import EventTask, Team, Trainer
from tests.learning.synthetic import bars, tiny_recipe

RECIPE = {"train": {"epochs": 3, "batch": 8, "log_every": 1, "threads": 1, "ema": 0.9, "checkpoint_minutes": 0.0}}


def trainer(out, resume=False, team=None, **changes):
    recipe = tiny_recipe(**{**RECIPE, **changes})
    task = EventTask(recipe, bars(64), bars(16, 10_000, "validation"), team)
    return Trainer(task, out, command="test", resume=resume, progress=False, team=team)


def alone():
    """Changes that leave nothing to chance between processes, at a rate that does not magnify rounding."""
    pipeline = tiny_recipe().to_dict()["pipeline"]
    pipeline["model_config"]["dropout"] = 0.0
    return {"pipeline": pipeline, "optimizer": {"lr": 1e-3}, "train": {**RECIPE["train"], "epochs": 1}}


@contextmanager
def plain_scans():
    """Neurons in plain torch, without compiling."""
    with mock.patch("dvs_snn.nn.linear_neuron.fusable", lambda *_: False):
        yield


def main(out, mode=""):
    team = Team.join()
    run = trainer(out, mode == "resume", team, **(alone() if mode == "alone" else {}))
    if mode == "stop" and team.leads:
        write = run.journal.write

        def write_then_stop(kind, step, values):
            write(kind, step, values)
            run._signalled |= step == 11

        run.journal.write = write_then_stop
    try:
        run.fit()
    except KeyboardInterrupt:
        assert mode == "stop"
    team.leave()


if __name__ == "__main__":
    with plain_scans():
        main(*sys.argv[1:])
