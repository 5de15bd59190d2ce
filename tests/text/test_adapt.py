"""Adapters: they begin as nothing, only they learn, they come back from disk, and merged they are the same network."""

import pytest
import torch

pytest.importorskip("peft")

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.learning import Trainer
from dvs_snn.models import build_model
from dvs_snn.text import TextTask, load_text_model
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


def test_merged_is_the_same_network(tmp_path):
    network = stirred(add_adapters(tiny_model(tmp_path / "m").network, AdaptConfig()).double())
    plain = merged(network)
    assert not any("lora_" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(plain(tokens())[0], network(tokens())[0], rtol=0, atol=1e-9)
    adapted, after = firing_rates(network, tokens()), firing_rates(plain, tokens())
    assert after == pytest.approx(adapted, rel=0.01)
    fresh = build_model("text", {"width": 16, "layers": 2, "hidden": 32, "states": 4, "vocabulary": 11}).double()
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(fresh(tokens())[0], plain(tokens())[0])


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
