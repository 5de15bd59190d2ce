"""A trained Transformer by spikes: its blocks with 8-bit activations, sent as ternary spikes over micro-steps.

What BrainTransformers (2024) claims, as arithmetic: the spiking form equals the quantised one. It is no saving: 127
micro-steps stand for a number of 7 bits and a sign, and norms, softmax and SiLU stay ordinary functions.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn.equivalents import LIMIT, QuantisedBlock

PARTS = {
    "norm": "input_layernorm", "hidden_norm": "post_attention_layernorm",
    "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj", "out": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip
"""Our names of a block's parts, and Llama's and Qwen2's."""


class ConvertedTransformer(nn.Module):
    """Embedding, blocks, norm and read-out of a converted language model."""

    def __init__(self, embedding: nn.Module, blocks: list[QuantisedBlock], norm: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.embedding, self.norm, self.head = embedding, norm, head
        self.blocks = nn.ModuleList(blocks)

    @torch.inference_mode()
    def forward(self, tokens: Int64[Tensor, " time"], spiking: bool = False) -> Float[Tensor, "time vocabulary"]:
        """Logits of one sequence: by rounded numbers, or (`spiking`) by the spikes that stand for them."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block.spiking(x) if spiking else block(x)  # type: ignore[operator]
        return self.head(self.norm(x))


def convert_transformer(model: Any, limit: int = LIMIT) -> ConvertedTransformer:
    """The weights of a Hugging Face language model in Llama's or Qwen2's layout, its activations rounded to `limit`.

    Raises `ConfigError` for any other layout.
    """
    body, config = getattr(model, "model", None), model.config
    layers = list(getattr(body, "layers", ()))
    eps, heads = getattr(config, "rms_norm_eps", None), getattr(config, "num_attention_heads", 1)
    even = getattr(config, "head_dim", None) in (None, config.hidden_size // heads)
    if not layers or eps is None or getattr(config, "hidden_act", "") != "silu" or not even:
        raise ConfigError(f"{type(model).__name__}: only Transformers in Llama's or Qwen2's layout can be converted")
    assert body is not None
    key_heads = getattr(config, "num_key_value_heads", None)
    blocks = []
    for layer in layers:
        named = dict(layer.named_modules())
        if missing := [theirs for theirs in PARTS.values() if theirs not in named]:
            raise ConfigError(f"{type(model).__name__}: a block has no {', '.join(missing)}")
        found = {ours: named[theirs] for ours, theirs in PARTS.items()}
        bias = found["query"].bias is not None
        block = QuantisedBlock(config.hidden_size, config.intermediate_size, heads, key_heads, limit, bias, eps)
        weights = {f"{name}.{key}": value for name, part in found.items() for key, value in part.state_dict().items()}
        try:
            block.load_state_dict({**weights, "frequencies": body.rotary_emb.inv_freq})
        except (RuntimeError, AttributeError) as error:
            cause = str(error).splitlines()[-1].strip()
            raise ConfigError(f"{type(model).__name__}: a block does not fit: {cause}") from None
        blocks.append(block.to(next(layer.parameters()).dtype))
    return ConvertedTransformer(body.embed_tokens, blocks, body.norm, model.get_output_embeddings()).eval()
