"""What text models are compared with computes what it says: the Transformer's steps are its scan, the bag is a mean."""

import pytest
import torch

from dvs_snn.bench.text import describe, speed
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
