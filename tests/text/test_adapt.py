"""Adapters: they begin as nothing, only they learn, they come back from disk, and merged they are the same network."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("peft")

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.learning import Trainer
from dvs_snn.models import build_model
from dvs_snn.text import Sampling, TextTask, Writer, load_text_model
from dvs_snn.text.adapt import (
    add_adapters,
    firing_rates,
    load_adapter,
    merged,
    neurons_of,
    recalibrate,
    save_adapter,
    trained_share,
)
from dvs_snn.text.recipe import AdaptConfig
from tests.text.tiny import chant, save_tiny, tiny_model, tiny_recipe


def tokens(time=40, batch=3):
    return torch.randint(1, 10, (time, batch), generator=torch.Generator().manual_seed(1))


def stirred(network):
    """Adapters that have learned something."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def test_adapters_begin_as_nothing(tmp_path):
    model = tiny_model(tmp_path / "m")
    before, _ = model.network(tokens())
    after, _ = add_adapters(model.network, AdaptConfig())(tokens())
    assert torch.equal(before, after)


def test_under_three_percent_of_the_weights_learn():
    network = add_adapters(build_model("text"), AdaptConfig())
    assert trained_share(network) < 0.03
    learned = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or name.endswith("threshold") for name in learned)
    assert len([name for name in learned if name.endswith("threshold")]) == len(neurons_of(network)) == 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merged_is_the_same_network_to_the_bit(tmp_path, dtype):
    network = stirred(add_adapters(tiny_model(tmp_path / "m").network, AdaptConfig()).to(dtype))
    plain = merged(network)
    assert not any("lora_" in name for name, _ in plain.named_parameters())
    assert torch.equal(plain(tokens())[0], network(tokens())[0])
    assert firing_rates(plain, tokens()) == firing_rates(network, tokens())
    fresh = build_model("text", {"width": 16, "layers": 2, "hidden": 32, "states": 4, "vocabulary": 11}).to(dtype)
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(fresh(tokens())[0], plain(tokens())[0])


@torch.no_grad()
def test_adapters_are_low_rank_changes_of_the_maps(tmp_path):
    network = stirred(add_adapters(tiny_model(tmp_path / "m").network.double(), AdaptConfig(rank=2, alpha=8.0)))
    layer, xs = network.blocks[0].hidden_in, torch.randn(7, 16, dtype=torch.float64)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.testing.assert_close(layer(xs), layer.base_layer(xs) + 4 * xs @ a.T @ b.T, rtol=0, atol=1e-12)
    assert a.shape[0] == b.shape[1] == 2


def test_an_adapted_network_writes_what_the_merged_one_writes(tmp_path):
    model = tiny_model(tmp_path / "m")
    base = "".join(Writer(model, Sampling(1.0, seed=1)).stream("abc", 40))
    stirred(add_adapters(model.network, AdaptConfig()))
    adapted = "".join(Writer(model, Sampling(1.0, seed=1)).stream("abc", 40))
    plain = replace(model, network=merged(model.network))
    assert base != adapted == "".join(Writer(plain, Sampling(1.0, seed=1), compiled=False).stream("abc", 40))


def test_the_shipped_model_is_adapted_saved_reloaded_and_merged(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("The film is a fine one, and the plot is a dull one.\n" * 60)
    adapt = {"start": "text", "rank": 2}
    data = {"path": str(other), "length": 32, "updates": 6}
    recipe = tiny_recipe(other, adapt=adapt, data=data, optimizer={"lr": 0.02}, train={"epochs": 1, "batch": 4})
    run = Trainer(TextTask(recipe), tmp_path / "run", progress=False)
    before = run.task.validate(run.model, torch.device("cpu"), lambda count: None)["loss"]
    assert run.fit()["validation"]["loss"] < before - 0.1
    saved = load_text_model(tmp_path / "run" / "checkpoint")
    assert saved.metrics["trained_share"] < 0.03
    adapted = load_adapter(tmp_path / "run" / "adapter", load_text_model("text").network).eval()
    numbers = torch.from_numpy(saved.tokenizer.encode(other.read_text()[:2000])).view(-1, 8)
    with torch.no_grad():
        assert torch.equal(saved.network(numbers)[0], adapted(numbers)[0])
    rates = firing_rates(saved.network, numbers)
    assert rates == firing_rates(adapted, numbers) != firing_rates(load_text_model("text").network, numbers)
    assert len(rates) == 2 * len(saved.network.blocks)


def test_an_adapter_comes_back_from_disk(tmp_path):
    model = tiny_model(tmp_path / "m")
    network = stirred(add_adapters(model.network, AdaptConfig(rank=3)))
    save_adapter(tmp_path / "adapter", network, AdaptConfig(rank=3))
    again = load_adapter(tmp_path / "adapter", load_text_model(tmp_path / "m").network)
    assert torch.equal(again(tokens())[0], network(tokens())[0])


def test_an_adapter_of_another_network_is_refused(tmp_path):
    network = add_adapters(tiny_model(tmp_path / "m").network, AdaptConfig())
    save_adapter(tmp_path / "adapter", network, AdaptConfig())
    with pytest.raises(CheckpointError, match="of another network"):
        load_adapter(tmp_path / "adapter", tiny_model(tmp_path / "n", layers=1).network)
    with pytest.raises(ConfigError, match=r"adapt\.targets: mixer; the network has"):
        add_adapters(tiny_model(tmp_path / "o").network, AdaptConfig(targets=("mixer",)))


def test_training_adapts_and_leaves_the_rest_alone(tmp_path):
    start = save_tiny(tmp_path / "m")
    data = tmp_path / "other.txt"
    data.write_text(chant(3000, seed=9)[::-1])
    recipe = tiny_recipe(data, adapt={"start": str(start), "rank": 2}, optimizer={"lr": 0.03})
    run = Trainer(TextTask(recipe), tmp_path / "run", progress=False)
    before = run.task.validate(run.model, torch.device("cpu"), lambda count: None)["loss"]
    best = run.fit()
    assert best["validation"]["loss"] < before
    base, adapted = load_text_model(start), load_text_model(tmp_path / "run" / "checkpoint")
    assert adapted.metrics["adapted_from"] == str(start) and adapted.metrics["trained_share"] < 1
    for (name, old), new in zip(base.network.state_dict().items(), adapted.network.state_dict().values(), strict=True):
        changes = any(
            part in name for part in ("mixer_out.weight", "hidden_in.weight", "hidden_out.weight", "threshold")
        )
        assert torch.equal(old, new) != changes, name
    again = load_adapter(tmp_path / "run" / "adapter", load_text_model(start).network)
    torch.testing.assert_close(merged(again).state_dict(), adapted.network.state_dict(), rtol=0, atol=1e-6)


def test_rates_are_set_right_after_weights_changed(tmp_path):
    network = tiny_model(tmp_path / "m").network
    wanted = firing_rates(network, tokens(200, 8))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "hidden_in.weight" in name:
                weight.mul_(0.7)
    moved = firing_rates(network, tokens(200, 8))
    assert any(abs(moved[name] - rate) > 0.05 * rate for name, rate in wanted.items())
    reached = recalibrate(network, tokens(200, 8), wanted)
    assert reached == pytest.approx(wanted, rel=0.01)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_peft_knows_the_hugging_face_class(tmp_path):
    pytest.importorskip("transformers")
    from peft import LoraConfig, get_peft_model

    from dvs_snn.text.hugging_face import to_hugging_face

    model = to_hugging_face(tiny_model(tmp_path / "m"))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["mixer_out", "hidden_out"]))
    adapted(input_ids=tokens().T, labels=tokens().T).loss.backward()
    grads = [p.grad for name, p in adapted.named_parameters() if "lora_B" in name]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)
