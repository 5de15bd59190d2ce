"""Training of a tracker: clips say what the truth says, a run can be cut and resumed, what it leaves tracks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_snn.cli import main
from dvs_snn.errors import ConfigError
from dvs_snn.events import Sensor
from dvs_snn.learning import load_recipe, open_data
from dvs_snn.learning.tracking_task import TrackingLoader, TrackingTask, judge
from dvs_snn.learning.trainer import Trainer
from dvs_snn.models import build_model
from dvs_snn.models.fine import summed
from dvs_snn.pipeline import heat_cell_px, load_checkpoint, open_pipeline
from dvs_snn.tracking import observations

TINY = (
    "data.train=3", "data.validation=1", "data.seconds=0.12", "data.workers=1", "clips.seconds=[0.06, 0.08]",
    "train.batch=1", "train.epochs=1", "pipeline.model_config.channels=[4, 4, 4]",
    "pipeline.model_config.block_channels=[4, 4]", "pipeline.model_config.hidden=4", "train.threads=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where the module's simulated sequences are kept."""
    return tmp_path_factory.mktemp("cache")


def recipe(cache: Path, *more: str):
    return load_recipe("tracker", [*TINY, f"data.cache={cache}", *more])


def sets(recipe):
    return tuple(
        open_data(recipe.data, split, recipe.pipeline.labels, recipe.pipeline.sensor)
        for split in ("train", "validation")
    )


def test_the_recipe_fits_its_network() -> None:
    config = load_recipe("tracker").pipeline
    assert heat_cell_px(config) == 8
    assert build_model(config.model, config.model_config).output_shape(config.representation.shape(config.sensor))[
        1:
    ] == (24, 30)


def test_clips_are_the_same_again_and_say_what_the_truth_says(cache: Path) -> None:
    config = recipe(cache)
    train, _ = sets(config)
    loader = TrackingLoader(config.pipeline, train, config.clips, 3, 1)
    clip, again = next(loader.epoch(0)), next(loader.epoch(0))
    assert np.array_equal(clip.inputs, again.inputs) and np.array_equal(clip.targets, again.targets, equal_nan=True)
    assert not clip.scored[:2].any() and clip.scored[2:].all()
    width, height = config.pipeline.sensor.width, config.pipeline.sensor.height
    order = np.random.default_rng((1, 0)).permutation(3)
    for row in range(3):
        truth = train[int(order[row])].truth.rows
        truth = truth[truth["visible"] >= 0.25]
        x = np.concatenate([truth["x"], width - 1 - truth["x"]])
        y = np.concatenate([truth["y"], height - 1 - truth["y"]])
        for maps in clip.targets[:, row].numpy():
            said = np.nan_to_num(maps)
            said[0] = np.where(maps[0] == 1.0, 9.0, -9.0)
            for found in observations(said, 8, 10_000):
                assert np.abs(x - found[0]).min() < 1e-3 and np.abs(y - found[1]).min() < 1e-3


def test_a_run_is_cut_and_resumed_and_its_checkpoint_tracks(cache: Path, tmp_path: Path, capsys) -> None:
    said = ["train", "tracker", *TINY, f"data.cache={cache}", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(said) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["n"] == 1
    assert main(said) == 2, "a run is not overwritten"
    assert main([*said, "--resume"]) == 0, "one that has ended has nothing left to do"
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert checkpoint.config.task == "tracks" and {"mota", "idf1"} <= set(checkpoint.metrics["validation"])
    _, validation = sets(recipe(cache))
    decisions = list(open_pipeline(checkpoint).run(validation[0].stream))
    assert len(decisions) == 12
    measures = judge(checkpoint.config, checkpoint.model, validation)
    assert measures["mota"] == pytest.approx(checkpoint.metrics["validation"]["mota"])


def test_a_fine_sight_is_added_to_a_network_without(cache: Path, tmp_path: Path) -> None:
    """It says nothing at first: before the first update the two are one function."""
    coarse = ("pipeline.representation.pool=4", "pipeline.model_config.shape=[2, 45, 60]",
              "pipeline.model_config.coarse=1", "pipeline.model_config.fine_channels=0")  # fmt: skip
    said = ["train", "tracker", *TINY, f"data.cache={cache}", "--device", "cpu"]
    assert main([*said, *coarse, "--out", str(tmp_path / "coarse")]) == 0
    start = tmp_path / "coarse" / "checkpoint"
    more = recipe(cache, f"train.start={start}")
    trainer = Trainer(TrackingTask(more, *sets(more)), tmp_path / "fine", progress=False)
    inputs = next(trainer.loader.epoch(0)).inputs
    assert trainer.journal is not None
    with trainer.journal, torch.no_grad():
        told, _ = trainer.model.eval()(inputs)
        same, _ = load_checkpoint(start).model.eval()(summed(inputs, 2))
    assert torch.allclose(told, same, atol=1e-6)


@pytest.mark.parametrize("more", ["clips.splice=0.5", "augment={mirror: 0.0}"])
def test_what_would_leave_the_truth_behind_is_refused(cache: Path, more: str) -> None:
    config = recipe(cache, more)
    with pytest.raises(ConfigError, match="splice 0 and no augment"):
        TrackingTask(config, *sets(config))


def test_a_tracker_has_the_loss_of_centres(cache: Path) -> None:
    with pytest.raises(ConfigError, match="centres"):
        recipe(cache, "loss.name=tet")


def test_the_splits_share_no_seed() -> None:
    config = load_recipe("tracker")
    train, validation = sets(config)
    assert train.sensor == Sensor(240, 180) and train.identity != validation.identity
