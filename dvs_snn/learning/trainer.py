"""The training loop: epochs of clips, validation, the best network kept, and a state from which a cut run goes on.

A run lives in a folder: `recipe.yaml`, `metrics.jsonl`, `tensorboard/`, `state.safetensors` (to resume) and
`checkpoint/`, the network of the best epoch so far by validation. Each is replaced atomically or only appended to.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from dvs_snn.errors import ConfigError
from dvs_snn.learning.journal import Journal
from dvs_snn.learning.kept_memory import keep_freed_memory
from dvs_snn.learning.rules import RULES
from dvs_snn.learning.tasks import Task
from dvs_snn.learning.team import Team
from dvs_snn.learning.training_state import (
    AveragedWeights,
    load_state,
    random_state,
    save_state,
    set_random_state,
    with_prefix,
    without_prefix,
)
from dvs_snn.nn.fake_quantize import QuantizedTraining

FREE_TO_CHANGE = ("train.checkpoint_minutes", "train.log_every", "train.loader_threads", "data.cache", "data.workers")
"""Keys of a recipe that may differ when a run is resumed: they change no number."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination signal, after the state was saved."""


class Trainer:
    """Runs a task's recipe on its data; `fit` goes on where a cut run stopped.

    Raises `ConfigError` when the folder holds another run, or when the recipe or the data changed since it began.
    """

    def __init__(
        self,
        task: Task,
        out: str | Path,
        device: torch.device | str = "cpu",
        command: str = "",
        resume: bool = False,
        progress: bool = True,
        team: Team | None = None,
    ) -> None:
        self.task, self.recipe, self.out, self.device = task, task.recipe, Path(out), torch.device(device)
        recipe = self.recipe
        self.team = team = team or Team()
        self.command, self.progress = command, progress and team.leads
        if recipe.train.threads:
            torch.set_num_threads(recipe.train.threads)
        keep_freed_memory()
        torch.manual_seed(recipe.seed)
        self.loader = task.loader
        self.model = task.build().to(self.device)
        self._started_from = self._start_from(recipe.train.start) if recipe.train.start else None
        team.share_norms(self.model)
        steps = recipe.train.epochs * self.loader.batches
        self.rule = RULES[recipe.rule.name](self.model, task.loss, recipe.rule, recipe.optimizer, steps, team)
        if recipe.train.qat:
            if not hasattr(self.rule, "optimizer"):
                raise ConfigError(f"train.qat needs a rule with an optimizer, which {recipe.rule.name!r} has not")
            QuantizedTraining(self.model, self.rule.optimizer, recipe.train.qat)
        self.averaged = AveragedWeights(self.model, recipe.train.ema)
        self.epoch, self.batch_number = 0, 0
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.finished = False
        self._about = {"train": task.sources[0], "validation": task.sources[1], "recipe": recipe.to_dict()}
        self._state_path = self.out / "state.safetensors"
        self._signalled = False
        begun = (self.out / "recipe.yaml").exists()
        if begun and not resume:
            raise ConfigError(f"{self.out} holds a run already: give --resume to go on, or another --out")
        self.team.wait()  # all have looked before one writes
        self.out.mkdir(parents=True, exist_ok=True)
        journal_bytes = self._resume() if resume and self._state_path.exists() else 0
        self.journal = Journal(self.out, journal_bytes, self.rule.step) if team.leads else None
        if not begun and team.leads:
            write_text(self.out / "recipe.yaml", yaml.safe_dump(recipe.to_dict(), sort_keys=False))

    def _start_from(self, start: str) -> dict[str, Any]:
        """Take over a checkpoint's weights; returns how those were made, for this network's own metrics.

        Parts that the network names as `additions` keep their fresh weights where the checkpoint lacks them.
        """
        model, metrics = self.task.read(start)
        own, added = self.model.state_dict(), self.model.additions
        fresh = {name: tensor for name, tensor in own.items() if name.split(".")[0] in added}
        try:
            self.model.load_state_dict({**fresh, **model.state_dict()})
        except RuntimeError:
            raise ConfigError(f"train.start: the network of {start} has other sizes than the recipe's") from None
        return {key: metrics.get(key) for key in ("command", "seed", "updates", "started_from")}

    def fit(self) -> dict[str, Any]:
        """Train to the end and return the measures of the best epoch."""
        with self._signals(), self.journal or nullcontext():
            while not self.finished:
                self._train_epoch()
                self._end_epoch()
        return self.best

    def _train_epoch(self) -> None:
        train = self.recipe.train
        self.model.train()
        saved = began = time.monotonic()
        clips = bins = 0
        batches = self.loader.epoch(self.epoch, self.batch_number)
        title = f"epoch {self.epoch + 1}/{train.epochs}"
        bar = tqdm(
            total=self.loader.batches, initial=self.batch_number, desc=title, unit="batch", file=sys.stderr,
            disable=not self.progress, mininterval=1.0,
        )  # fmt: skip
        with bar:
            for clip in batches:
                if self.team.size > 1:  # dropout differs between shares, and needs no state of its own to go on from
                    torch.manual_seed(hash((self.recipe.seed, self.rule.step, self.team.rank)))
                _, measures = self.rule.update(self.model, clip.to(self.device), None)
                self.averaged.update(self.model)
                self.batch_number += 1
                clips += clip.batch * self.team.size
                bins += clip.batch * clip.bins * self.team.size
                elapsed = time.monotonic() - began
                rates = {"clips_per_s": clips / elapsed, "bins_per_s": bins / elapsed}
                bar.update(1)
                bar.set_postfix_str(
                    f"loss {measures['loss']:.3f} acc {measures['accuracy']:.2f} {rates['clips_per_s']:.1f} clips/s "
                    f"{rates['bins_per_s']:.0f} bins/s"
                )
                if self.journal and self.rule.step % train.log_every == 0:
                    self.journal.write("step", self.rule.step, {"epoch": self.epoch, **measures, **rates})
                if self.team.any(self._signalled):
                    self._save()
                    raise Interrupted
                if time.monotonic() - saved > train.checkpoint_minutes * 60:
                    self._save()
                    saved = time.monotonic()

    def _end_epoch(self) -> None:
        measures = self.team.told(self.validate)
        self.epoch, self.batch_number = self.epoch + 1, 0
        short = {key: measures[key] for key in ("accuracy", "accuracy_low", "accuracy_high", "loss", "n")}
        self.history.append({"epoch": self.epoch, **short})
        if self.journal:
            self.journal.write("validation", self.rule.step, {"epoch": self.epoch, **short})
        last = self.recipe.train.keep == "last"
        if last or not self.best or self.task.better(measures, self.best["validation"]):
            self.best = {"epoch": self.epoch, "validation": measures}
            self._save_checkpoint()
        patience = self.recipe.train.patience
        stalled = patience and self.epoch - self.best["epoch"] >= patience
        self.finished = bool(stalled) or self.epoch >= self.recipe.train.epochs
        self._save()
        if self.progress:
            tqdm.write(
                f"epoch {self.epoch}: validation accuracy {measures['accuracy']:.4f}, loss {measures['loss']:.4f}"
                f" (best {self.best['validation']['accuracy']:.4f} at epoch {self.best['epoch']})",
                file=sys.stderr,
            )

    def validate(self) -> dict[str, Any]:
        """Measures of the averaged weights on the validation data."""
        own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.averaged.average)
        try:
            count, unit = self.task.judged
            with tqdm(
                total=count, desc="validate", unit=unit, leave=False, file=sys.stderr, disable=not self.progress
            ) as bar:
                return self.task.validate(self.model, self.device, bar.update)
        finally:
            self.model.load_state_dict(own)

    def _save_checkpoint(self) -> None:
        if not self.team.leads:
            return
        own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.averaged.average)
        metrics = {
            "command": self.command,
            "seed": self.recipe.seed,
            "trained_on": self._about["train"],
            "epoch": self.best["epoch"],
            "updates": self.rule.step,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "validation": self.best["validation"],
            "recipe": self._about["recipe"],
            **({"started_from": self._started_from} if self._started_from else {}),
        }
        self.task.save(self.out / "checkpoint", self.model, metrics)
        self.model.load_state_dict(own)

    def _save(self) -> None:
        if self.journal is None:
            return
        tensors = {
            **with_prefix("model", self.model.state_dict()),
            **with_prefix("average", self.averaged.average),
            **with_prefix("rule", self.rule.tensors()),
            **with_prefix("random", random_state(self.device)),
        }
        record = {
            "epoch": self.epoch,
            "batch": self.batch_number,
            "averaged_updates": self.averaged.updates,
            "best": self.best,
            "history": self.history,
            "finished": self.finished,
            "journal_bytes": self.journal.position(),
            "about": self._about,
        }
        save_state(self._state_path, tensors, record)

    def _resume(self) -> int:
        """Load the saved state; returns how much of the journal belongs to it."""
        tensors, record = load_state(self._state_path)
        changed = sorted(_differences(self._known(record["about"]), self._about))
        if changed:
            raise ConfigError(
                f"{self.out} was begun with other settings ({', '.join(changed)}): "
                "resume with the same, or give another --out"
            )
        self.model.load_state_dict(without_prefix("model", tensors))
        self.averaged.average = {
            name: tensor.to(self.device) for name, tensor in without_prefix("average", tensors).items()
        }
        self.averaged.updates = int(record["averaged_updates"])
        self.rule.load_tensors(without_prefix("rule", tensors))
        set_random_state(without_prefix("random", tensors), self.device)
        self.epoch, self.batch_number = int(record["epoch"]), int(record["batch"])
        self.best, self.history, self.finished = record["best"], record["history"], record["finished"]
        return int(record["journal_bytes"])

    def _known(self, about: dict[str, Any]) -> dict[str, Any]:
        """A run's settings as this version would have written them; those that it does not know stay as they are."""
        try:
            return {**about, "recipe": self.recipe.completed(about["recipe"])}
        except ConfigError:
            return about

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """A first Ctrl-C or SIGTERM ends the run after the current batch, its state saved; a second one at once."""

        def note(number: int, frame: object) -> None:
            if self._signalled:
                raise KeyboardInterrupt
            self._signalled = True

        try:
            before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def write_text(path: Path, text: str) -> None:
    """A small file that appears whole or not at all."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(text)
    fresh.replace(path)


def _differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Dotted keys at which two nested tables differ, those that may differ left out."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif json.dumps(old) != json.dumps(new) and key.removeprefix("recipe.") not in FREE_TO_CHANGE:
        yield key.removeprefix("recipe.")
