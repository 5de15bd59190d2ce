"""Recipes are validated: what is unknown or of the wrong type is an error that names the key."""

import json

import pytest
import yaml

from dvs_snn.errors import ConfigError
from dvs_snn.learning import load_recipe, recipe_from, shipped_recipes
from tests.learning.synthetic import tiny_recipe


def test_shipped_recipes_load():
    assert "gesture" in shipped_recipes()
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name


@pytest.mark.parametrize("make", [tiny_recipe, lambda: load_recipe("gesture")], ids=["tiny", "gesture"])
def test_recipe_survives_yaml_and_json(make):
    recipe = make()
    assert recipe_from(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe
    assert recipe_from(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_overrides_replace_single_values():
    recipe = load_recipe("gesture", ["train.epochs=3", "optimizer.lr=1e-4", "augment=null", "clips.seconds=[0.5, 0.7]"])
    assert recipe.train.epochs == 3 and recipe.optimizer.lr == 1e-4 and recipe.augment is None
    assert recipe.clips.seconds == (0.5, 0.7) and recipe.train.batch == load_recipe("gesture").train.batch


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.epoch=3", "'epoch'"),
        ("train.epochs=many", "train.epochs"),
        ("train.epochs=2.5", "train.epochs"),
        ("train.epochs=-1", "epochs"),
        ("train=3", "train"),
        ("colour=3", "'colour'"),
        ("augment.flip=1", "'flip'"),
        ("augment.mirror=2", r"augment\.mirror"),
        ("clips.seconds=[1]", r"clips\.seconds"),
        ("clips.warmup_s=5", r"clips\.warmup_s"),
        ("optimizer.lr=null", r"optimizer\.lr"),
        ("rule.name=hebb", r"rule\.name"),
        ("data.name=nothing", r"data\.name"),
        ("data.trian=9", "'trian'"),
        ("data.train=0", "simulated gestures"),
        ("pipeline.bin=5", "'bin'"),
        ("pipeline.bin_us=0", "bin_us"),
        ("pipeline.representation.name=Counts", "Counts"),
        ("pipeline.representation.pool=2", "shape"),
        ("pipeline.model=transformer", "transformer"),
        ("pipeline.model_config.hiden=3", "hiden"),
        ("pipeline.model_config.classes=3", "classes"),
        ("train.epochs.x=1", r"train\.epochs"),
        ("train.epochs", "key=value"),
        ("train.epochs=[", "YAML"),
        ("seed=one", "seed"),
    ],
)
def test_wrong_override_is_one_line_that_names_the_key(override, named):
    with pytest.raises(ConfigError, match=named) as caught:
        load_recipe("gesture", [override])
    assert len(str(caught.value).splitlines()) == 1


def test_missing_damaged_and_empty_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"shipped: .*gesture"):
        load_recipe("no_such_recipe")
    for text in ("train: [", "- 1", "", "\x00"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"bad\.yaml"):
            load_recipe(str(tmp_path / "bad.yaml"))
    (tmp_path / "bad.yaml").write_text("pipeline: {model: gesture}")
    with pytest.raises(ConfigError, match="'data'"):
        load_recipe(str(tmp_path / "bad.yaml"))
