"""Text models as Hugging Face classes: importing this registers them, so that `AutoModelForCausalLM` reads a folder.

Needs the package `transformers` (the extra `text`). `generate()` carries the recurrent state, so each token costs the
same; beam search and assisted decoding, which would have to reorder states, are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerFast as FastTokenizer
from transformers.utils import ModelOutput

from dvs_snn.errors import ConfigError
from dvs_snn.models import build_model, config_dict
from dvs_snn.text.checkpoint import LANGUAGE, TextModel
from dvs_snn.text.tokens import DOCUMENT, MARK, ByteBPE, Characters, Tokenizer


class SpikingTextConfig(PreTrainedConfig):
    """Name and options of a text network; the document mark is beginning, end and padding."""

    model_type = "dvs_snn_text"

    def __init__(self, model: str = "text", network: dict[str, Any] | None = None, **options: Any) -> None:
        self.model, self.network = model, dict(network or {})
        self.vocab_size = int(self.network.get("vocabulary", 65))
        self.hidden_size = int(self.network.get("width", 128))
        self.num_hidden_layers = int(self.network.get("layers", 4))
        marks = {"bos_token_id": DOCUMENT, "eos_token_id": DOCUMENT, "pad_token_id": DOCUMENT}
        tied = bool(self.network.get("tied", False))
        super().__init__(**{**marks, "tie_word_embeddings": tied, "use_cache": False, **options})


@dataclass
class SpikingTextOutput(ModelOutput):
    """Logits `[batch, time, vocabulary]`, the state after the last token, and the mean loss where labels are given."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: Any = None


class SpikingTextForCausalLM(PreTrainedModel, GenerationMixin):
    """A spiking language model: token numbers `[batch, time]` to logits of the next; `state` goes in and comes out."""

    config_class = SpikingTextConfig
    base_model_prefix = "network"
    main_input_name = "input_ids"
    _is_stateful = True

    def __init__(self, config: SpikingTextConfig) -> None:
        super().__init__(config)
        self.network = build_model(config.model, config.network)
        if config.tie_word_embeddings:
            self._tied_weights_keys = {"network.head.weight": "network.embedding.weight"}
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the network's parts are made with their weights."""

    def get_input_embeddings(self) -> nn.Module:
        """The table of token vectors."""
        return self.network.embedding  # type: ignore[return-value]

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table of token vectors."""
        self.network.embedding = value

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        state: Any = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **ignored: Any,
    ) -> SpikingTextOutput:
        """Scan tokens from `state` (None: rest); labels are the input's own, shifted here, -100 where there is none.

        A document's mark resets the state, as in training, so packed documents do not hear each other; what
        `attention_mask` hides on the left (padding) leaves no trace either.
        """
        tokens = input_ids.T
        first = tokens == DOCUMENT
        if state is None and attention_mask is not None and not bool(attention_mask.all()):
            seen = attention_mask[:, -len(tokens) :].T.bool()
            first = first | seen & ~F.pad(seen, (0, 0, 1, 0))[:-1]
        logits, state = self.network(tokens, state, first)
        logits = logits.transpose(0, 1)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return SpikingTextOutput(loss=loss, logits=logits, state=state)

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, state: Any = None, attention_mask: Tensor | None = None, **ignored: Any
    ) -> dict[str, Any]:
        """The last token alone once there is a state."""
        return {
            "input_ids": input_ids if state is None else input_ids[:, -1:],
            "state": state,
            "attention_mask": attention_mask,
        }

    def _update_model_kwargs_for_generation(
        self, outputs: ModelOutput, model_kwargs: dict[str, Any], *rest: Any, **options: Any
    ) -> dict[str, Any]:
        updated = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *rest, **options)
        return {**updated, "state": outputs["state"]}

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def generate(self, *inputs: Any, **options: Any) -> Any:
        """As in `transformers`, but for beam search and assisted decoding, which raise `ConfigError`."""
        config = options.get("generation_config") or self.generation_config
        beams = options.get("num_beams") or getattr(config, "num_beams", 1) or 1
        if beams > 1:
            raise ConfigError("generate: a recurrent state cannot be shared by beams; use num_beams=1")
        if options.get("assistant_model") is not None or options.get("prompt_lookup_num_tokens"):
            raise ConfigError("generate: assisted decoding would have to take tokens back; leave it out")
        return super().generate(*inputs, **options)  # type: ignore[misc]


AutoConfig.register(SpikingTextConfig.model_type, SpikingTextConfig, exist_ok=True)
AutoModelForCausalLM.register(SpikingTextConfig, SpikingTextForCausalLM, exist_ok=True)


def to_hugging_face(model: TextModel) -> SpikingTextForCausalLM:
    """A language model of ours with the same weights; raises `ConfigError` for a judge of sentences."""
    if model.task != LANGUAGE:
        raise ConfigError(f"{model.path}: judges sentences, it does not write; only language models can be exported")
    found = SpikingTextForCausalLM(SpikingTextConfig(model.model, config_dict(model.config)))
    found.network.load_state_dict(model.network.state_dict())
    return found.eval()


def hugging_face_tokenizer(tokenizer: Tokenizer) -> FastTokenizer:
    """The same numbers from a `PreTrainedTokenizerFast`, the document mark before each text."""
    import tokenizers
    from tokenizers import Regex, decoders, models, pre_tokenizers, processors

    if isinstance(tokenizer, ByteBPE):
        fast = tokenizers.Tokenizer.from_str(tokenizer.tokenizer.to_str())
    elif isinstance(tokenizer, Characters):
        numbers = {MARK: DOCUMENT, **{character: k + 1 for k, character in enumerate(tokenizer.characters)}}
        fast = tokenizers.Tokenizer(models.WordLevel(numbers, unk_token=MARK))
        fast.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        fast.decoder = decoders.Fuse()
    else:
        raise ConfigError(f"tokenizer of kind {tokenizer.kind!r} has no Hugging Face form")
    fast.post_processor = processors.TemplateProcessing(f"{MARK} $A", special_tokens=[(MARK, DOCUMENT)])
    marks = {"bos_token": MARK, "eos_token": MARK, "pad_token": MARK}
    return FastTokenizer(tokenizer_object=fast, padding_side="left", clean_up_tokenization_spaces=False, **marks)


def foresee(teacher: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Logits `[time, batch, vocabulary]` of any Hugging Face language model for tokens `[time, batch]`."""
    with torch.inference_mode():
        return teacher(input_ids=tokens.T).logits.transpose(0, 1).float()
