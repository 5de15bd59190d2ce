"""Distillation from stored logits: the teacher reads the training text once, and a few draws per token are kept.

Random-sampling knowledge distillation (Anshumann et al. 2025): tokens are drawn from `q ~ p^power` of the teacher's
shares p, each weighing `p / q / draws`; their weighted sum is p in the mean, where the k likeliest alone are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.learning import Clip, CrossEntropy
from dvs_snn.nn import Temporal
from dvs_snn.pipeline.checkpoint import read_table, write_json
from dvs_snn.text.checkpoint import LANGUAGE, load_text_model
from dvs_snn.text.clips import TeacherRows, TextClip
from dvs_snn.text.tokens import Tokenizer, fingerprint

Foresee = Callable[[Tensor], Tensor]
"""Logits `[time, batch, vocabulary]` for tokens `[time, batch]`, each window from rest."""
BATCH = 32


@dataclass(frozen=True)
class Drawing:
    """How many tokens are drawn, from the teacher's shares at `temperature`, sharpened to `power` (1: as they are)."""

    draws: int = 16
    temperature: float = 1.0
    power: float = 1.0
    window: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.draws, self.window) < 1 or self.temperature <= 0 or not 0 <= self.power <= 1:
            raise ConfigError("distill: draws and window at least 1, temperature above zero, power in 0..1")


def draw(
    logits: Float[Tensor, "*rows tokens"], how: Drawing, random: torch.Generator
) -> tuple[Int64[Tensor, "*rows draws"], Float[Tensor, "*rows draws"]]:
    """Token numbers drawn from the softened shares, and their weights."""
    shares = torch.softmax(logits.float() / how.temperature, -1)
    proposal = shares**how.power
    proposal = proposal / proposal.sum(-1, keepdim=True)
    flat = proposal.flatten(0, -2)
    numbers = torch.multinomial(flat, how.draws, replacement=True, generator=random).view(*shares.shape[:-1], -1)
    weights = shares.gather(-1, numbers) / proposal.gather(-1, numbers) / how.draws
    return numbers, weights


@torch.inference_mode()
def store_teacher(
    folder: str | Path, foresee: Foresee, teacher: str, tokenizer: Tokenizer,
    tokens: NDArray[np.unsignedinteger], how: Drawing, advance: Callable[[int], object] = lambda count: None,
) -> None:  # fmt: skip
    """Let a teacher read packed tokens, window by window, and write its draws: two `.npy` and a `manifest.json`.

    Raises `ConfigError` for a teacher whose vocabulary is not the tokenizer's.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.uint16 if tokenizer.size <= 1 << 16 else np.uint32
    shape = (len(tokens), how.draws)
    drawn = np.lib.format.open_memmap(folder / "tokens.npy", "w+", kind, shape)
    weights = np.lib.format.open_memmap(folder / "weights.npy", "w+", np.float16, shape)
    random = torch.Generator().manual_seed(how.seed)
    starts = np.arange(0, len(tokens), how.window)
    for begin in range(0, len(starts), BATCH):
        chosen = starts[begin : begin + BATCH]
        rows = np.minimum(chosen[None, :] + np.arange(how.window)[:, None], len(tokens) - 1)
        logits = foresee(torch.from_numpy(np.asarray(tokens[rows], np.int64)))
        if logits.shape[-1] != tokenizer.size:
            raise ConfigError(
                f"teacher {teacher}: foresees {logits.shape[-1]} tokens, the recipe's tokenizer has {tokenizer.size}; "
                "teacher and student must share a tokenizer"
            )
        numbers, shares = draw(logits, how, random)
        for column, start in enumerate(chosen):
            length = min(how.window, len(tokens) - start)
            drawn[start : start + length] = numbers[:length, column].numpy()
            weights[start : start + length] = shares[:length, column].numpy()
        advance(len(chosen))
    drawn.flush()
    weights.flush()
    write_json(
        folder / "manifest.json",
        {"teacher": teacher, "tokenizer": fingerprint(tokenizer), "text": text_hash(tokens), "tokens": len(tokens),
         "draws": how.draws, "temperature": how.temperature, "power": how.power, "window": how.window},
    )  # fmt: skip


def open_teacher(
    folder: str | Path, tokenizer: Tokenizer, tokens: NDArray[np.unsignedinteger]
) -> tuple[TeacherRows, dict[str, Any]]:
    """Stored draws for just these tokens, and their manifest.

    Raises `CheckpointError` where there are none, `ConfigError` where they are of another tokenizer or text.
    """
    folder = Path(folder)
    manifest = read_table(folder / "manifest.json")
    if manifest.get("tokenizer") != fingerprint(tokenizer):
        raise ConfigError(f"{folder}: was drawn with another tokenizer; run 'dvs-snn text distill' with this recipe")
    if manifest.get("text") != text_hash(tokens):
        raise ConfigError(f"{folder}: was drawn for another text; run 'dvs-snn text distill' with this recipe and data")
    try:
        drawn, weights = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("tokens", "weights"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: stored logits cannot be read: {error}") from None
    return TeacherRows(drawn, weights), manifest


def text_hash(tokens: NDArray[np.unsignedinteger]) -> str:
    """Equal for equal token numbers."""
    return hashlib.sha256(np.ascontiguousarray(tokens).tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Distilled:
    """`(1 - weight) CE + weight T² KD`: the text itself, and the teacher's draws at its temperature T."""

    hard: CrossEntropy
    share: float
    temperature: float = 1.0
    additive: bool = True

    def weight(self, clip: Clip) -> Float[Tensor, ""]:
        """Number of tokens that are judged."""
        return self.hard.weight(clip)

    def total(self, outputs: Float[Tensor, "time batch classes"], clip: Clip) -> Float[Tensor, ""]:
        """Sum of the losses of what is judged."""
        hard = self.hard.total(outputs, clip)
        if not isinstance(clip, TextClip) or clip.teacher is None:
            return hard
        numbers, weights = clip.teacher
        logs = F.log_softmax(outputs / self.temperature, -1).gather(-1, numbers)
        soft = -((weights * logs).sum(-1) * clip.scored).sum()
        return (1 - self.share) * hard + self.share * self.temperature**2 * soft


def open_foreseer(teacher: str, tokenizer: Tokenizer) -> Foresee:
    """The teacher of a folder: one of our text models (the twin, say), or any Hugging Face language model.

    Raises `ConfigError` for one that reads other tokens.
    """
    path = Path(teacher)
    if ((path / "tokenizer.json").is_file() and (path / "metrics.json").is_file()) or not path.is_dir():
        model = load_text_model(teacher, LANGUAGE)
        if fingerprint(model.tokenizer) != fingerprint(tokenizer):
            raise ConfigError(f"teacher {teacher}: has another tokenizer than the recipe gives the student")
        network: Temporal = model.network
        return lambda tokens: network(tokens)[0].float()
    try:
        from transformers import AutoModelForCausalLM

        from dvs_snn.text import hugging_face
    except ImportError:
        raise ConfigError("a Hugging Face teacher needs 'transformers': pip install 'dvs_snn[text]'") from None
    try:
        found = AutoModelForCausalLM.from_pretrained(teacher, local_files_only=True).eval()
    except (OSError, ValueError, KeyError) as error:
        cause = str(error).splitlines()[0]
        raise CheckpointError(f"{teacher}: no text model and no Hugging Face model: {cause}") from None
    _check_same_tokens(path, tokenizer)
    return lambda tokens: hugging_face.foresee(found, tokens)


def _check_same_tokens(path: Path, tokenizer: Tokenizer) -> None:
    """A teacher that comes with a tokenizer must give the numbers that ours gives."""
    if not (path / "tokenizer.json").is_file():
        return
    import tokenizers

    theirs = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    sample = tokenizer.decode(range(1, tokenizer.size))
    ours = tokenizer.encode(sample).tolist()
    if theirs.encode(sample, add_special_tokens=False).ids != ours:
        raise ConfigError(f"teacher {path}: has another tokenizer than the recipe gives the student")
