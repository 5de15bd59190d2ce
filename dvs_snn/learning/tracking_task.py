"""Training of a tracker: clips of tracked scenes with their target maps, and validation by the tracks themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import Generator
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.simulate import ShapesTruth
from dvs_snn.learning.clips import Clip, collate, encode_clip
from dvs_snn.learning.evaluate import scan_recordings
from dvs_snn.learning.loader import ClipConfig, ClipLoader, Encoding
from dvs_snn.learning.recipe import Recipe
from dvs_snn.learning.tasks import EventTask
from dvs_snn.learning.team import Team
from dvs_snn.learning.tracking_data import SimulatedShapes, TrackedRecording
from dvs_snn.learning.tracking_metrics import TrackScore
from dvs_snn.learning.tracking_targets import CentreLoss, TrackingClip, target_maps
from dvs_snn.models import build_model
from dvs_snn.nn import Temporal
from dvs_snn.pipeline import PipelineConfig, Tracks, decider_of, heat_cell_px


class TrackingLoader(ClipLoader):
    """Clips of tracked scenes with their target maps; mirrored in x and y, ON and OFF exchanged, each by chance.

    Half of the clips begin where the recording does. Splicing and the augmentation of gestures are refused: they would
    have to change the truth as well.
    """

    def __init__(
        self, config: PipelineConfig, recordings: SimulatedShapes, clips: ClipConfig, *rest: Any, **options: Any
    ) -> None:
        super().__init__(
            recordings, Encoding(config.representation, config.sensor, config.bin_us), clips, None, *rest, **options
        )
        shape = build_model(config.model, config.model_config).output_shape(config.representation.shape(config.sensor))
        self.cells: tuple[int, int] = (shape[1], shape[2])
        self.cell_px = heat_cell_px(config) or 1

    def _make(self, order: NDArray[np.int64], epoch: int, number: int) -> Clip:
        rng = np.random.default_rng((self.seed, epoch, 1, number))
        bins = self._bins(rng.choice(np.linspace(*self.clips.seconds, 5)))
        places = range(number * self.batch + self.share[0], (number + 1) * self.batch, self.share[1])
        parts = [self._scene(np.random.default_rng((self.seed, epoch, 2, p)), int(order[p]), bins) for p in places]
        scored = np.arange(bins) >= self._bins(self.clips.warmup_s)
        clip = collate(
            [maps for maps, _ in parts], [np.zeros(bins, np.int64)] * len(parts), [scored] * len(parts), bins
        )
        targets = torch.from_numpy(np.stack([wanted for _, wanted in parts], axis=1))
        return TrackingClip(clip.inputs, clip.labels, clip.scored, clip.first, targets=targets)

    def _scene(
        self, rng: Generator, index: int, bins: int
    ) -> tuple[Float[np.ndarray, "time channel height width"], Float[np.ndarray, "time 7 rows columns"]]:
        recording, encoding = self.recordings[index], self.encoding
        assert isinstance(recording, TrackedRecording)
        bin_us, rows = encoding.bin_us, recording.truth.rows
        spare = int(rows["t_us"][-1]) // bin_us - bins if len(rows) else 0
        first = int(rng.integers(0, spare + 1)) if spare > 0 and rng.random() < 0.5 else 0
        start_us, end_us = first * bin_us, (first + bins) * bin_us
        low, high = np.searchsorted(recording.events["t"], (start_us, end_us))
        events = recording.events[low:high].copy()
        rows = rows[slice(*np.searchsorted(rows["t_us"], (start_us, end_us + 1)))].copy()
        for axis, side in (("x", encoding.sensor.width), ("y", encoding.sensor.height)):
            if rng.random() < 0.5:
                events[axis] = side - 1 - events[axis]
                rows[axis], rows[f"v{axis}"] = side - 1 - rows[axis], -rows[f"v{axis}"]
        if rng.random() < 0.5:
            events["p"] = ~events["p"]
        maps = encode_clip(encoding.representation, events, encoding.sensor, start_us, bin_us, bins)
        ends_us = start_us + bin_us * np.arange(1, bins + 1)
        return maps, targets_at(rows, ends_us, self.cell_px, self.cells, bin_us)


class TrackingTask(EventTask):
    """Training on simulated shapes; judged by CLEAR-MOT and identity of the tracks that the pipeline would tell."""

    validation: SimulatedShapes  # type: ignore[assignment]

    def __init__(
        self, recipe: Recipe, train: SimulatedShapes, validation: SimulatedShapes, team: Team | None = None
    ) -> None:
        if recipe.augment is not None or recipe.clips.splice or not isinstance(recipe.loss, CentreLoss):
            raise ConfigError("a tracker's recipe has the loss 'centres', clips.splice 0 and no augment")
        team = team or Team()
        self.recipe, self.validation, self.loss = recipe, validation, recipe.loss
        self.loader = TrackingLoader(
            recipe.pipeline, train, recipe.clips, recipe.train.batch, recipe.seed,
            threads=recipe.train.loader_threads, share=(team.rank, team.size),
        )  # fmt: skip
        self.sources = (train.source, validation.source)
        self.judged = (len(validation), "recording")

    def validate(self, model: Temporal, device: torch.device, advance: Callable[[int], object]) -> dict[str, Any]:
        """`judge` on the validation recordings; what other tasks call accuracy is IDF1 here."""
        assert isinstance(self.loss, CentreLoss)
        return judge(self.recipe.pipeline, model, self.validation, self.loss, device, advance)

    def better(self, measures: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
        """A larger sum of MOTA and IDF1."""
        return bool(measures["mota"] + measures["idf1"] > best["mota"] + best["idf1"])


def judge(
    config: PipelineConfig,
    model: Temporal,
    recordings: SimulatedShapes,
    loss: CentreLoss | None = None,
    device: torch.device | str = "cpu",
    advance: Callable[[int], object] = lambda count: None,
) -> dict[str, Any]:
    """Measures of `TrackScore` of a network's tracks, by a batched scan; `accuracy` is IDF1, with an interval."""
    decider, score, names, idf1, losses = decider_of(config), TrackScore(), [], [], []
    for encoded, outputs in scan_recordings(config, model, recordings, 8, device):
        recording = encoded.recording
        assert isinstance(recording, TrackedRecording)
        decisions: list[Tracks] = []
        for window, maps in zip(encoded.windows, outputs, strict=True):
            if window.first:
                decider.reset()
            decision = decider(maps, window)
            assert isinstance(decision, Tracks)
            decisions.append(decision)
        single = TrackScore()
        for judged in (score, single):
            judged.take(recording.name, decisions, recording.truth)
        names.append(recording.name)
        idf1.append(single.summary()["idf1"] or 0.0)
        if loss is not None:
            losses.append(_loss(loss, outputs, [w.end_us for w in encoded.windows], recording.truth, config))
        advance(1)
    found = score.summary()
    mean, spread = float(np.mean(idf1)), 1.96 * float(np.std(idf1)) / np.sqrt(len(idf1))
    found["mota"], found["idf1"] = found["mota"] or 0.0, found["idf1"] or 0.0
    return {
        "task": config.task,
        "data": recordings.source,
        "split": recordings.split,
        "n": len(names),
        "accuracy": found["idf1"],
        "accuracy_low": mean - spread,
        "accuracy_high": mean + spread,
        "loss": float(np.mean(losses)) if losses else 0.0,
        **found,
    }


def targets_at(
    rows: NDArray[Any], times_us: NDArray[np.int64], cell_px: float | int, cells: tuple[int, int], bin_us: int
) -> Float[np.ndarray, "time 7 rows columns"]:
    """`target_maps` at each of the times; `rows` of the truth, sorted, have one for each target at these times."""
    cuts = np.searchsorted(rows["t_us"], np.stack([times_us, times_us + 1]))
    maps = [target_maps(rows[low:high], cell_px, cells, bin_us) for low, high in cuts.T]
    return np.stack(maps) if maps else np.zeros((0, 7, *cells), np.float32)


def _loss(
    loss: CentreLoss, outputs: NDArray[np.float32], ends_us: list[int], truth: ShapesTruth, config: PipelineConfig
) -> float:
    cells: tuple[int, int] = (int(outputs.shape[2]), int(outputs.shape[3]))
    cell_px = heat_cell_px(config) or 1
    targets = targets_at(truth.rows, np.array(ends_us), cell_px, cells, config.bin_us)
    scored = torch.ones(len(outputs), 1, dtype=torch.bool)
    clip = TrackingClip(
        torch.zeros(len(outputs), 1), torch.zeros_like(scored, dtype=torch.int64), scored,
        torch.ones(1, dtype=torch.bool), targets=torch.from_numpy(targets).unsqueeze(1),
    )  # fmt: skip
    return float(loss.total(torch.from_numpy(outputs).unsqueeze(1), clip) / loss.weight(clip))
