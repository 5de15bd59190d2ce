"""Batches of clips, made by background threads a few batches ahead, in an order fixed by seed and epoch.

Each clip draws from its own generator, seeded by (seed, epoch, place in the epoch): whichever thread makes it, and
wherever a run was cut and resumed, it is the same clip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, Sensor
from dvs_snn.learning.augment import Augments, stretch
from dvs_snn.learning.clips import Clip, collate, encode_clip
from dvs_snn.learning.recordings import RecordingSet
from dvs_snn.representation import Representation

Row = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]
"""Inputs `[time, channel, height, width]`, labels and scored marks `[time]` of one clip."""


@dataclass(frozen=True)
class ClipConfig:
    """How clips are cut from recordings for training, in seconds.

    A batch's length is one of five between the two `seconds` (few, so that memory is used again); each clip starts at a
    random place of its recording. The first `warmup_s` of a clip are not scored. With probability `splice` a clip
    changes to another recording (another person, another class) somewhere in its middle half, without a reset of
    state, so that the network learns to let go of the gesture before; `settle_s` after the change are not scored.
    """

    seconds: tuple[float, float] = (1.0, 1.5)
    warmup_s: float = 0.15
    splice: float = 0.25
    settle_s: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.seconds[0] <= self.seconds[1]:
            raise ConfigError(f"clips.seconds: need 0 < shortest <= longest, not {self.seconds}")
        if not 0 <= self.splice <= 1 or self.warmup_s < 0 or self.settle_s < 0:
            raise ConfigError("clips: splice must lie in 0..1, warmup_s and settle_s must not be negative")
        if self.warmup_s >= self.seconds[0]:
            raise ConfigError(f"clips.warmup_s {self.warmup_s} leaves nothing to score of {self.seconds[0]} s")


@dataclass(frozen=True)
class Encoding:
    """What clips need of the pipeline's configuration: representation, sensor and bin."""

    representation: Representation
    sensor: Sensor
    bin_us: int


class ClipLoader:
    """Batches for training: shuffled, cut, augmented; `ahead` batches are made while the network is busy.

    The last, smaller batch of an epoch is left out. `share` (number, of) makes every `of`-th clip of each batch, for
    one of several processes; together they make the batches that one process would make.
    """

    def __init__(
        self,
        recordings: RecordingSet,
        encoding: Encoding,
        clips: ClipConfig,
        augmentation: Augments | None,
        batch: int,
        seed: int,
        ahead: int = 2,
        threads: int = 1,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if batch % share[1]:
            raise ConfigError(f"train.batch is {batch}: {share[1]} processes cannot share it evenly")
        if batch < 1 or batch > len(recordings):
            raise ConfigError(f"train.batch is {batch}: must lie in 1..{len(recordings)}, the recordings of this split")
        if recordings.sensor != encoding.sensor:
            raise ConfigError(f"recordings are of {recordings.sensor}, the network's sensor is {encoding.sensor}")
        self.recordings, self.encoding, self.clips, self.augmentation = recordings, encoding, clips, augmentation
        self.batch, self.seed, self.ahead, self.threads, self.share = batch, seed, ahead, threads, share

    @property
    def batches(self) -> int:
        """Batches per epoch."""
        return len(self.recordings) // self.batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Clip]:
        """The batches of an epoch, from batch `start` on (for a resumed run)."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.recordings))
        pending: deque[Future[Clip]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="clips")
        try:
            for number in range(start, self.batches):
                pending.append(pool.submit(self._make, order, epoch, number))
                if len(pending) > self.ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, order: NDArray[np.int64], epoch: int, number: int) -> Clip:
        rng = np.random.default_rng((self.seed, epoch, 1, number))
        bins = self._bins(rng.choice(np.linspace(*self.clips.seconds, 5)))
        places = range(number * self.batch + self.share[0], (number + 1) * self.batch, self.share[1])
        rows = [self._row(order, np.random.default_rng((self.seed, epoch, 2, place)), place, bins) for place in places]
        inputs, labels, scored = zip(*rows, strict=True)
        return collate(inputs, labels, scored, bins)

    def _row(self, order: NDArray[np.int64], rng: Generator, place: int, bins: int) -> Row:
        """One clip: a piece of one recording, or of two that follow each other."""
        warmup, settle = self._bins(self.clips.warmup_s), self._bins(self.clips.settle_s)
        index = int(order[place])
        if rng.random() >= self.clips.splice or bins < 8:
            return self._piece(rng, index, bins, warmup)
        change = int(rng.integers(bins // 4, bins - bins // 4))
        other = int(order[rng.integers(len(order))])
        before, after = self._piece(rng, index, change, warmup), self._piece(rng, other, bins - change, settle)
        return (
            np.concatenate((before[0], after[0])),
            np.concatenate((before[1], after[1])),
            np.concatenate((before[2], after[2])),
        )

    def _piece(self, rng: Generator, index: int, bins: int, unscored: int) -> Row:
        """`bins` bins of one recording, from a random place of it, augmented."""
        recording = self.recordings[index]
        bin_us = self.encoding.bin_us
        factor = self.augmentation.draw_time_scale(rng) if self.augmentation else 1.0
        events, start_us, recorded_us = cut(recording.events, round(bins * bin_us / factor), rng)
        events, label = stretch(events, factor, start_us), recording.label
        if self.augmentation:
            events, label = self.augmentation(events, label, self.encoding.sensor, 0, bins * bin_us, rng)
        inputs = encode_clip(self.encoding.representation, events, self.encoding.sensor, 0, bin_us, bins)
        scored = np.zeros(bins, np.bool_)
        scored[unscored : round(recorded_us * factor / bin_us)] = True
        return inputs, np.full(bins, label), scored

    def _bins(self, seconds: float) -> int:
        return round(seconds * 1e6 / self.encoding.bin_us)


def cut(events: Events, length_us: int, rng: Generator) -> tuple[Events, int, int]:
    """A random interval of `length_us` of a recording (all of it if shorter): events, its start, its length."""
    place = rng.random()
    if not len(events):
        return events, 0, 0
    t = events["t"]
    first_us, last_us = int(t[0]), int(t[-1])
    spare_us = last_us - first_us + 1 - length_us
    if spare_us <= 0:
        return events, first_us, last_us - first_us + 1
    start_us = first_us + int(place * spare_us)
    lo, hi = np.searchsorted(t, (start_us, start_us + length_us))
    return events[lo:hi], start_us, length_us
