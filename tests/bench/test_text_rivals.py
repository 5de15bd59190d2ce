"""What text models are compared with computes what it says: the Transformer's steps are its scan, the bag is a mean."""

import random

import pytest
import torch

from dvs_snn.bench import text
from dvs_snn.bench.text import describe, speed
from dvs_snn.text import load_text_recipe
from dvs_snn.text.baselines import Bag, BagConfig, Transformer, TransformerConfig
from dvs_snn.text.transformer_step import TransformerStep

SIZES = {"vocabulary": 11, "width": 16, "layers": 2, "heads": 2, "hidden": 24}


@pytest.mark.parametrize("context", [32, 5])
@torch.no_grad()
def test_steps_of_the_transformer_are_its_scan(context):
    network = Transformer(TransformerConfig(**SIZES, context=context)).eval()
    tokens = torch.randint(0, 11, (20, 1))
    cache, compiled = network.empty_cache(), TransformerStep(network)
    rows, fast = [], []
    for t, token in enumerate(tokens[:, 0].tolist()):
        rows.append(network.step(token, cache, t))
        fast.append(compiled(token))
    torch.testing.assert_close(torch.stack(fast), torch.stack(rows), rtol=1e-4, atol=1e-5)
    seen = min(context, len(tokens))
    torch.testing.assert_close(torch.stack(rows)[:seen], network(tokens)[:seen, 0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_bag_is_a_mean():
    bag = Bag(BagConfig(vocabulary=9, classes=2, width=4)).eval()
    tokens = torch.randint(0, 9, (6, 3))
    whole, _ = bag(tokens)
    torch.testing.assert_close(whole[-1], bag.head(bag.embedding(tokens).mean(0)))
    _, state = bag(tokens[:2])
    torch.testing.assert_close(bag(tokens[2:], state)[0], whole[2:])


def test_speed_is_measured_for_both_forms_of_both_networks():
    report = speed(contexts=(8, 16), tokens=2, rounds=2)
    assert [row["context"] for row in report["rows"]] == [8, 16]
    for row in report["rows"]:
        assert all(
            row[f"{kind}_tokens_per_s"] > 0 for kind in ("compiled", "step", "transformer_compiled", "transformer")
        )
    assert abs(report["transformer_parameters"] / report["parameters"] - 1) < 0.05
    assert "Transformer, compiled" in describe({"speed": report})


@pytest.fixture
def reviews(tmp_path):
    """Sentences whose one word of worth says their class."""
    rng = random.Random(0)
    for name, count in (("train", 200), ("dev", 60)):
        rows = []
        for k in range(count):
            words = rng.choices(["a", "film", "of", "the", "sea", "and", "more", "than", "that"], k=5)
            rows.append(" ".join([*words, ("awful", "lovely")[k % 2], *words[:2]]) + f"\t{k % 2}")
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    return str(tmp_path)


def test_networks_that_judge_are_trained_once_and_judged_alike(tmp_path, reviews, monkeypatch):
    small = ["tokenizer.size=300", "train.epochs=3", "train.batch=8", "train.ema=0.0", "optimizer.lr=0.02"]
    small += [f"model_config.{o}" for o in ("width=16", "hidden=24", "members=1", "dropout=0.0")] + ["data.drop=0.0"]
    monkeypatch.setattr(
        text, "load_text_recipe", lambda name, mine, data: load_text_recipe(name, [*mine, *small], data)
    )
    monkeypatch.setattr(text, "SEEDS", (1, 2))
    found = text.compare(reviews, tmp_path / "runs")
    assert found["n"] == 60 and set(found["rows"]) == set(text.KINDS)
    for kind, row in found["rows"].items():
        assert len(row["accuracies"]) == 2 and min(row["accuracies"]) > 0.9, kind
        assert row["ms_per_sentence"] > 0
        if kind != "bag":
            assert 0 < row["accumulates"] + row["multiplications"] <= row["dense"]
    rows = found["rows"]
    assert rows["spiking"]["spikes"] > 0 and rows["twin"]["spikes"] == 0
    assert rows["spiking"]["parameters"] == rows["twin"]["parameters"]
    for prices, energy in rows["spiking"]["microjoule"].items():
        assert 0 < energy < rows["twin"]["microjoule"][prices]
    again = text.compare(reviews, tmp_path / "runs")
    assert {k: r["accuracies"] for k, r in again["rows"].items()} == {k: r["accuracies"] for k, r in rows.items()}
    assert "energy is modelled" in describe({"speed": speed((8,), 2, 1), "sentences": found})
