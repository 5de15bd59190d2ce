"""`dvs-snn bench adaptation`: a read-out from reward alone, and how fast a network regains what a change cost it.

On the frozen features of simulated recordings (`learning.frozen`), kept on disk, so that only the first run is long.
The picture of the curve goes to `adaptation.png` in the current folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from dvs_snn.learning import Recording, RecordingSet, RecordingView, SimulatedGestures, SimulatedGesturesConfig
from dvs_snn.learning.augment import move
from dvs_snn.learning.frozen import ReadOut, frozen_features
from dvs_snn.learning.online import ActionLayer, OnlineAdapter
from dvs_snn.learning.rstdp import RewardReadOut, judge, leaky
from dvs_snn.pipeline import Checkpoint, load_checkpoint, softmax

SIZES = SimulatedGesturesConfig(train=1100, validation=330, test=550)
BINS, WARM = 150, 15
SEEDS = (1, 2, 3)
EPOCHS = 10
DECISION_BINS = (60, 100, 149)
SHIFTS = 10
"""Orders of the rewarded recordings; each also draws the two classes that are swapped."""
TURN_DEG = 20.0
REWARDS, EVERY = 200, 10


@dataclass(frozen=True)
class Turned(RecordingView):
    """Recordings of a camera that was turned about its axis."""

    angle_deg: float

    @property
    def source(self) -> str:
        return f"{self.whole.source}, camera turned by {self.angle_deg:g} degrees"

    def __getitem__(self, index: int) -> Recording:
        recording, rng = self.whole[index], np.random.default_rng((index, 7))
        events = move(recording.events, self.sensor, (0.0, 0.0), 1.0, self.angle_deg, rng)
        return Recording(events, recording.label, recording.name)


class Bench:
    """Traces of features `[recordings, bins, features]` and posteriors of the network's own read-out, by split."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        read_out = ReadOut(checkpoint.model)
        self.weight, self.bias = read_out.weight(), read_out.bias()
        self.decay, self.gain = read_out.decay, read_out.gain
        read_out.close()

    def traces(self, split: str, turned: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """What the leaky read-out integrates, and the classes."""
        config = self.checkpoint.config
        recordings: RecordingSet = SimulatedGestures(SIZES, split, config.sensor)
        recordings = Turned(recordings, TURN_DEG) if turned else recordings
        with tqdm(total=len(recordings), desc=f"features {split}", unit="recording", file=sys.stderr) as bar:
            found = frozen_features(config, self.checkpoint.model, recordings, BINS, advance=bar.update)
        return leaky(found.features.transpose(0, 1), self.decay, self.gain).transpose(0, 1), found.labels

    def posteriors(self, traces: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> NDArray[np.float64]:
        """Mean posterior of each recording after the warm-up: its largest entry is the recording's class."""
        logits = traces[:, WARM::3] @ weight.t() + bias
        return softmax(logits.numpy()).mean(1)


def from_reward(traces: torch.Tensor, labels: torch.Tensor, seed: int, classes: int) -> RewardReadOut:
    """A fresh read-out, trained by right or wrong alone."""
    torch.manual_seed(seed)
    learner = RewardReadOut(classes, traces.shape[-1])
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(16):
            for t in DECISION_BINS:
                decided = learner.decide(traces[rows, t])
                learner.learn(traces[rows, t], decided, judge(decided, labels[rows]), torch.ones(len(rows)))
    return learner


def from_gradients(
    traces: torch.Tensor, labels: torch.Tensor, seed: int, classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same read-out by gradients of the cross-entropy of its labels: BPTT, as the integrator is linear."""
    torch.manual_seed(seed)
    weight, bias = (torch.zeros(*shape, requires_grad=True) for shape in ((classes, traces.shape[-1]), (classes,)))
    optimizer = torch.optim.Adam([weight, bias], 0.02)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(16):
            for t in DECISION_BINS:
                loss = F.cross_entropy(traces[rows, t] @ weight.t() + bias, labels[rows], label_smoothing=0.05)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return weight.detach(), bias.detach()


def accuracy(posteriors: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Share of recordings whose largest posterior is their class."""
    return float((posteriors.argmax(-1) == labels).mean())


def swapped(labels: NDArray[np.int64], a: np.int64, b: np.int64) -> NDArray[np.int64]:
    """Two classes exchanged: what was right for one is now right for the other."""
    mapping = np.arange(labels.max() + 1)
    mapping[[a, b]] = b, a
    return mapping[labels]


def adapt(
    stream: NDArray[np.float64],
    wanted: NDArray[np.int64],
    test: NDArray[np.float64],
    truth: NDArray[np.int64],
    seed: int,
) -> list[float]:
    """Accuracy on other recordings before, and after every `EVERY`th of `REWARDS` rewarded decisions."""
    layer = ActionLayer(stream.shape[1])
    curve = [accuracy(layer.route(test), truth)]
    order = np.random.default_rng(seed).permutation(len(wanted))[:REWARDS]
    for count, index in enumerate(order, 1):
        decided = int(layer.route(stream[index]).argmax())
        layer.learn(layer.rates(stream[index]), decided, float(decided == wanted[index]))
        if count % EVERY == 0:
            curve.append(accuracy(layer.route(test), truth))
    return curve


def cost_us(classes: int, windows: int = 20_000) -> float:
    """Microseconds that an adapter adds to a window."""
    adapter = OnlineAdapter(classes, 10_000)
    logits = np.random.default_rng(0).normal(size=classes).astype(np.float32)
    adapter.layer.weight[0, 1] = 0.9  # a layer that routes
    begun = time.perf_counter()
    for window in range(windows):
        adapter.see(logits, window)
    return (time.perf_counter() - begun) / windows * 1e6


def measure(checkpoint: Checkpoint) -> dict[str, Any]:
    """All figures; curves as lists, one value per `EVERY` rewards."""
    bench = Bench(checkpoint)
    classes = len(checkpoint.config.labels)
    train, train_labels = bench.traces("train")
    test, test_labels = bench.traces("test")
    truth = test_labels.numpy()
    own = bench.posteriors(test, bench.weight, bench.bias)
    result: dict[str, Any] = {"own": accuracy(own, truth), "reward": [], "gradient": []}
    for seed in SEEDS:
        learner = from_reward(train, train_labels, seed, classes)
        result["reward"].append(accuracy(bench.posteriors(test, learner.weight, learner.bias), truth))
        weight, bias = from_gradients(train, train_labels, seed, classes)
        result["gradient"].append(accuracy(bench.posteriors(test, weight, bias), truth))
    result["decisions"] = EPOCHS * len(train_labels) * len(DECISION_BINS)
    stream, labels = bench.traces("validation")
    seen, wanted = bench.posteriors(stream, bench.weight, bench.bias), labels.numpy()
    result["swap"] = []
    for seed in range(SHIFTS):
        a, b = np.random.default_rng((seed, 1)).choice(classes, 2, replace=False)
        result["swap"].append(adapt(seen, swapped(wanted, a, b), own, swapped(truth, a, b), seed))
    result["none"] = [adapt(seen, wanted, own, truth, seed) for seed in range(SHIFTS)]
    turned_seen = bench.posteriors(bench.traces("validation", True)[0], bench.weight, bench.bias)
    turned_own = bench.posteriors(bench.traces("test", True)[0], bench.weight, bench.bias)
    result["turn"] = [adapt(turned_seen, wanted, turned_own, truth, seed) for seed in range(SHIFTS)]
    result["cost_us"] = cost_us(classes)
    return result


def regained(curve: Sequence[float], before: float) -> float:
    """Share of the lost accuracy that is back at the end of a curve."""
    return (curve[-1] - curve[0]) / max(before - curve[0], 1e-9)


def describe(result: dict[str, Any]) -> str:
    """The figures for a reader."""
    reward, gradient = np.mean(result["reward"]), np.mean(result["gradient"])
    lines = [
        f"the network's own read-out                     {result['own']:.4f}",
        f"fresh read-out, gradients of labels            {gradient:.4f} ± {np.std(result['gradient']):.4f}",
        f"fresh read-out, {result['decisions']:6d} rewarded decisions      {reward:.4f} ± "
        f"{np.std(result['reward']):.4f}   ({reward / gradient:.1%} of it)",
    ]
    names = {"swap": "two classes swapped", "turn": f"camera turned by {TURN_DEG:g}°", "none": "no change"}
    for key, name in names.items():
        curve = np.mean(result[key], axis=0)
        share = f"   {regained(curve, result['own']):.0%} regained" if key != "none" else ""
        lines.append(f"{name:22s} {curve[0]:.4f} -> {curve[-1]:.4f} after {REWARDS} rewarded decisions{share}")
    lines.append(f"cost of the adapter per window {result['cost_us']:.1f} us")
    return "\n".join(lines)


def draw(result: dict[str, Any], path: str) -> None:
    """The curves, mean over seeds, with every seed behind it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), dpi=120)
    axes = figure.add_subplot()
    x = np.arange(0, REWARDS + 1, EVERY)
    styles = {
        "swap": ("two classes swapped", "#c2410c"),
        "turn": (f"camera turned by {TURN_DEG:g}°", "#1d4ed8"),
        "none": ("no change", "#15803d"),
    }
    for key, (name, colour) in styles.items():
        for curve in result[key]:
            axes.plot(x, curve, color=colour, alpha=0.25, linewidth=1)
        axes.plot(x, np.mean(result[key], axis=0), color=colour, linewidth=2.2, label=name)
    start = float(np.mean(result["swap"], axis=0)[0])
    axes.axhline((start + result["own"]) / 2, color="#c2410c", linestyle="--", linewidth=1, label="half of it regained")
    axes.set(xlabel="rewarded decisions", ylabel="accuracy on test recordings", xlim=(0, REWARDS))
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    FigureCanvasAgg(figure)
    figure.savefig(path)


def run(args: argparse.Namespace) -> int:
    """Measure, draw, print."""
    result = measure(load_checkpoint("gesture"))
    draw(result, "adaptation.png")
    print(json.dumps(result) if args.json else describe(result))
    return 0
