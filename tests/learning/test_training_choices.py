"""Recipes choose rule, loss, slopes and twin: each trains, its checkpoint loads, and a cut run goes on bit for bit."""

import pytest
import torch

from dvs_snn.errors import ConfigError
from dvs_snn.learning import evaluate, recipe_from
from dvs_snn.nn import Twin
from dvs_snn.pipeline import load_checkpoint
from tests.learning.synthetic import bars, tiny_recipe
from tests.learning.tiny_run import RECIPE, trainer

ONE = {"train": {**RECIPE["train"], "epochs": 1}}


@pytest.mark.parametrize(
    "choice",
    [
        {"rule": {"name": "sltt", "rate_weight": 0.1}, "loss": {"name": "last"}},
        {"rule": {"name": "truncated", "chunk_bins": 5, "slope_end": 3.0}},
        {"rule": {"name": "bptt", "learn_slopes": True}, "loss": {"name": "mean"}},
        {"twin": True},
    ],
    ids=str,
)
def test_a_recipe_trains_and_its_checkpoint_loads(choice, tmp_path):
    run = trainer(tmp_path / "run", **ONE, **choice)
    run.fit()
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint")
    found = evaluate(checkpoint.config, checkpoint.model, bars(4, 20_000, "test"), costs=True)
    assert found["n"] == 4 and found["costs"]["spiking"] is not choice.get("twin", False)
    assert any(isinstance(module, Twin) for module in checkpoint.model.modules()) is choice.get("twin", False)
    again = recipe_from({k: v for k, v in run.recipe.to_dict().items() if v is not None})
    assert again == run.recipe  # a twin's twin is itself


@pytest.mark.parametrize("rule", [{"name": "sltt"}, {"name": "bptt", "slope_end": 3.0}], ids=str)
def test_a_run_that_was_cut_goes_on_bit_for_bit(rule, tmp_path):
    whole = trainer(tmp_path / "whole", rule=rule, **ONE)
    whole.fit()
    cut = trainer(tmp_path / "cut", rule=rule, **ONE)
    write = cut.journal.write

    def write_then_stop(kind, step, values):
        write(kind, step, values)
        cut._signalled |= step == 3

    cut.journal.write = write_then_stop
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    resumed = trainer(tmp_path / "cut", resume=True, rule=rule, **ONE)
    resumed.fit()
    ends = [run.model.state_dict() for run in (whole, resumed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_wrong_choices_are_refused():
    with pytest.raises(ConfigError, match="twin"):
        tiny_recipe(twin="yes")
    with pytest.raises(ConfigError, match="name"):
        tiny_recipe(loss={"name": "sum"})
