"""A text model as a LangChain `LLM`: `prompt | llm | parser`, streamed as it is written (needs `langchain-core`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import LLM
from langchain_core.outputs import GenerationChunk
from pydantic import PrivateAttr

from dvs_snn.text.checkpoint import LANGUAGE, TextModel, load_text_model
from dvs_snn.text.generate import Sampling, Writer


class SpikingTextLLM(LLM):
    """Continues a prompt by a spiking language model; each call is a new document.

    `model` is the folder of a checkpoint or a shipped name; `tokens` the longest answer; the others as in `Sampling`.
    """

    model: str = "text"
    tokens: int = 200
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    _loaded: TextModel | None = PrivateAttr(default=None)

    @property
    def _llm_type(self) -> str:
        return "dvs_snn_text"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("model", "tokens", "temperature", "top_k", "top_p", "seed")
        return {name: getattr(self, name) for name in names}

    def _parts(self, prompt: str, stop: list[str] | None) -> Iterator[str]:
        if self._loaded is None:
            self._loaded = load_text_model(self.model, LANGUAGE)
        writer = Writer(self._loaded, Sampling(self.temperature, self.top_k, self.top_p, self.seed))
        yield from writer.stream(prompt, self.tokens, stop or ())

    def _call(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> str:
        return "".join(self._parts(prompt, stop))

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> Iterator[GenerationChunk]:
        silent = True
        for part in self._parts(prompt, stop):
            silent = False
            if run_manager:
                run_manager.on_llm_new_token(part)
            yield GenerationChunk(text=part)
        if silent:
            yield GenerationChunk(text="")  # LangChain takes no chunk at all for an error
