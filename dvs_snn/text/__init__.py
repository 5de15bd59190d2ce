"""Tokens, generation, chat: text on the same networks, trainer and checkpoints as events.

May import `nn`, `models`, `pipeline`, `learning` and `deploy`. What needs a package that is not always there (Hugging
Face, LangChain, Gradio, peft) lies in a module of its own and is imported when it is used.
"""

from dvs_snn.text.checkpoint import LANGUAGE, SENTENCES, TextModel, load_text_model, save_text_model
from dvs_snn.text.clips import SentenceLoader, Sentences, TextClip, WindowLoader, sentence_clip, store_tokens
from dvs_snn.text.data import PackedText, open_sentences, open_text
from dvs_snn.text.documents import Documents, Piece
from dvs_snn.text.evaluate import evaluate_sentences, evaluate_stream, evaluate_text
from dvs_snn.text.generate import Sampling, Writer, probabilities
from dvs_snn.text.judge import describe, judge
from dvs_snn.text.recipe import TextDataConfig, TextRecipe, load_text_recipe, shipped_text_recipes, text_recipe_from
from dvs_snn.text.task import TextTask
from dvs_snn.text.tokens import (
    DOCUMENT,
    ByteBPE,
    Characters,
    Tokenizer,
    fingerprint,
    learn_tokenizer,
    tokenizer_from,
)

__all__ = [
    "DOCUMENT",
    "LANGUAGE",
    "SENTENCES",
    "ByteBPE",
    "Characters",
    "Documents",
    "PackedText",
    "Piece",
    "Sampling",
    "SentenceLoader",
    "Sentences",
    "TextClip",
    "TextDataConfig",
    "TextModel",
    "TextRecipe",
    "TextTask",
    "Tokenizer",
    "WindowLoader",
    "Writer",
    "describe",
    "evaluate_sentences",
    "evaluate_stream",
    "evaluate_text",
    "fingerprint",
    "judge",
    "learn_tokenizer",
    "load_text_model",
    "load_text_recipe",
    "open_sentences",
    "open_text",
    "probabilities",
    "save_text_model",
    "sentence_clip",
    "shipped_text_recipes",
    "store_tokens",
    "text_recipe_from",
    "tokenizer_from",
]
