"""A Transformer that was trained without spikes, converted: the spikes say what its rounded self says."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from dvs_snn.errors import ConfigError  # noqa: E402
from dvs_snn.text import Characters  # noqa: E402
from dvs_snn.text.convert import convert_transformer  # noqa: E402
from tests.text.tiny import ABC, chant  # noqa: E402

SIZES = {
    "vocab_size": len(ABC) + 1, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def tokens(length, seed=0):
    return torch.from_numpy(Characters(ABC).encode(chant(length, seed)))


def trained(model, updates=40):
    """A language model that has learned the chant."""
    text = tokens(4000)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for start in torch.randint(0, len(text) - 33, (updates, 8, 1), generator=torch.Generator().manual_seed(0)):
        batch = text[start + torch.arange(32)]
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("name", ["Llama", "Qwen2"])
def test_a_trained_transformer_by_spikes_is_its_eight_bit_self(name):
    config = getattr(transformers, f"{name}Config")(**SIZES)
    model = trained(getattr(transformers, f"{name}ForCausalLM")(config)).double()
    read = tokens(60, seed=5)[:48]
    with torch.no_grad():
        whole = model(input_ids=read[None]).logits[0]
    fine, coarse = convert_transformer(model, limit=1 << 20), convert_transformer(model)
    torch.testing.assert_close(fine(read), whole, rtol=0, atol=1e-3)
    rounded = coarse(read)
    torch.testing.assert_close(coarse(read, spiking=True), rounded, rtol=0, atol=1e-9)
    losses = [torch.nn.functional.cross_entropy(logits[:-1], read[1:]).item() for logits in (whole, rounded)]
    assert losses[0] < 1.3 and abs(losses[1] - losses[0]) < 0.02


def test_another_layout_is_one_clear_error():
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    with pytest.raises(ConfigError, match="GPT2LMHeadModel: only Transformers in Llama's or Qwen2's layout"):
        convert_transformer(transformers.GPT2LMHeadModel(config))
