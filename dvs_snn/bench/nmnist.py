"""`dvs-snn bench nmnist --data DIR`: the networks that snnTorch and SpikingJelly publish for N-MNIST, on these files.

Each learns from the whole of `Train/` for a given time of the processor, as its authors train it (frames, loss,
optimiser, rate), and is judged on `Test/` after its last epoch, as ours is.
Set `--minutes` to what `dvs-snn train nmnist` took on the same machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from dvs_snn.errors import ConfigError
from dvs_snn.learning.data.nmnist import NMNIST, NMNISTConfig, NMNISTRecordings

CLASSES = 10
EARLIER_US = 10_000
"""An event alone in its neighbourhood for this long is noise (Tonic's `Denoise`, as the tutorial sets it)."""

Frames = Float[Tensor, "time batch 2 34 34"]


@dataclass(frozen=True)
class Peer:
    """A published example: its network, and how its authors train it."""

    frames: Callable[[NMNISTRecordings], NDArray[np.float32]]
    build: Callable[[], nn.Module]
    spikes: Callable[[nn.Module, Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batch: int
    turned: float = 0.0
    """Largest rotation of a batch in training, degrees."""


def run(args: argparse.Namespace) -> int:
    """Train and judge both; prints a table or one JSON object."""
    if not args.data:
        raise ConfigError("bench nmnist needs --data DIR with Train/ and Test/")
    minutes, seed = args.minutes or 10.0, 1 if args.seed is None else args.seed
    train = NMNISTRecordings(NMNISTConfig(args.data), "train_all", NMNIST)
    test = NMNISTRecordings(NMNISTConfig(args.data), "test", NMNIST)
    rows: dict[str, Any] = {}
    for name, make in (("snnTorch, tutorial 7", snntorch_tutorial), ("SpikingJelly, NMNISTNet", spikingjelly_example)):
        try:
            peer = make()
        except ImportError as error:
            rows[name] = {"absent": str(error)}
            continue
        rows[name] = fit(name, peer, train, test, minutes * 60, seed)
    result = {"data": train.source, "minutes": minutes, "seed": seed, "threads": torch.get_num_threads()}
    if args.json:
        print(json.dumps(result | {"networks": rows}))
        return 0
    print(f"N-MNIST of {train.source}: {len(train)} to learn, {len(test)} to judge")
    print(f"{minutes:g} minutes of the processor, seed {seed}")
    for name, row in rows.items():
        said = (
            row.get("absent")
            or f"{100 * row['accuracy']:5.1f} %  {row['epochs']:5.1f} epochs  {row['weights']:,} weights"
        )
        print(f"  {name:<26} {said}")
    return 0


def fit(
    name: str, peer: Peer, train: NMNISTRecordings, test: NMNISTRecordings, seconds: float, seed: int
) -> dict[str, Any]:
    """Learn for so long, then judge once."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = peer.build()
    optimizer = peer.optimizer(network)
    frames, labels = torch.from_numpy(peer.frames(train)), torch.tensor([train[i].label for i in range(len(train))])
    begin, updates = time.process_time(), 0
    network.train()
    with tqdm(total=round(seconds), desc=name, unit="s", disable=not sys.stderr.isatty(), leave=False) as bar:
        while time.process_time() - begin < seconds:
            chosen = torch.from_numpy(random.choice(len(labels), peer.batch, replace=False))
            clip = frames[:, chosen]
            if peer.turned:
                clip = rotated(clip, float(random.uniform(-peer.turned, peer.turned)))
            loss = peer.loss(peer.spikes(network, clip), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            updates += 1
            bar.update(round(time.process_time() - begin) - bar.n)
    return {
        "accuracy": judged(network, peer, test),
        "n": len(test),
        "epochs": round(updates * peer.batch / len(labels), 2),
        "weights": sum(each.numel() for each in network.parameters()),
    }


@torch.no_grad()
def judged(network: nn.Module, peer: Peer, test: NMNISTRecordings) -> float:
    """Share of recordings whose class spikes most."""
    network.eval()
    frames, right = torch.from_numpy(peer.frames(test)), 0
    for start in range(0, len(test), 50):
        counts = peer.spikes(network, frames[:, start : start + 50]).sum(0)
        labels = torch.tensor([test[i].label for i in range(start, start + len(counts))])
        right += int((counts.argmax(-1) == labels).sum())
    return right / len(test)


def snntorch_tutorial() -> Peer:
    """snnTorch's tutorial 7: 12C5-MP2-32C5-MP2-10 of leaky neurons, spike counts by squared error, 30 bins."""
    import snntorch as snn
    import tonic
    from snntorch import functional, surrogate

    def frames(recordings: NMNISTRecordings) -> NDArray[np.float32]:
        denoise = tonic.transforms.Denoise(filter_time=EARLIER_US)
        binned = tonic.transforms.ToFrame(sensor_size=(34, 34, 2), n_time_bins=30)
        return stacked([binned(denoise(recordings[i].events)) for i in range(len(recordings))])

    def build() -> nn.Module:
        slope = surrogate.atan()

        def leaky(**options: Any) -> nn.Module:
            return snn.Leaky(beta=0.5, spike_grad=slope, init_hidden=True, **options)

        return nn.Sequential(
            nn.Conv2d(2, 12, 5), nn.MaxPool2d(2), leaky(),
            nn.Conv2d(12, 32, 5), nn.MaxPool2d(2), leaky(),
            nn.Flatten(), nn.Linear(32 * 5 * 5, CLASSES), leaky(output=True),
        )  # fmt: skip

    def spikes(network: nn.Module, clip: Frames) -> Tensor:
        for part in network:  # type: ignore[attr-defined]
            if isinstance(part, snn.Leaky):
                part.reset_mem()
        return torch.stack([network(frame)[0] for frame in clip])

    return Peer(
        frames,
        build,
        spikes,
        functional.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2),
        lambda network: torch.optim.Adam(network.parameters(), lr=2e-2, betas=(0.9, 0.999)),
        batch=128,
        turned=10.0,
    )


def spikingjelly_example() -> Peer:
    """SpikingJelly's `NMNISTNet` (Fang et al. 2021): parametric LIF, 10 frames of equally many events, rates."""
    from spikingjelly.activation_based import functional, neuron, surrogate
    from spikingjelly.activation_based.model.parametric_lif_net import NMNISTNet

    def frames(recordings: NMNISTRecordings) -> NDArray[np.float32]:
        def cut(index: int) -> NDArray[np.float32]:
            events = recordings[index].events
            frame = np.minimum(np.arange(len(events)) * 10 // len(events), 9)
            counts = np.zeros((10, 2, 34, 34), np.float32)
            np.add.at(counts, (frame, events["p"].astype(np.intp), events["y"], events["x"]), 1)
            return counts

        return stacked([cut(i) for i in range(len(recordings))])

    def build() -> nn.Module:
        network = NMNISTNet(
            128, neuron.ParametricLIFNode, init_tau=2.0, detach_reset=True, surrogate_function=surrogate.ATan()
        )
        functional.set_step_mode(network, "m")
        return network

    def spikes(network: nn.Module, clip: Frames) -> Tensor:
        functional.reset_net(network)
        return network(clip)

    def loss(rates: Float[Tensor, "time batch classes"], labels: Int64[Tensor, " batch"]) -> Tensor:
        return F.mse_loss(rates.mean(0), F.one_hot(labels, CLASSES).float())

    return Peer(frames, build, spikes, loss, lambda network: torch.optim.Adam(network.parameters(), lr=1e-3), batch=16)


def stacked(frames: list[NDArray[Any]]) -> NDArray[np.float32]:
    """`[time, recordings, 2, 34, 34]`."""
    return np.stack(frames, 1).astype(np.float32)


def rotated(clip: Frames, degrees: float) -> Frames:
    """Frames turned about the middle, nearest pixel."""
    angle = np.deg2rad(degrees)
    turn = torch.tensor([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0]])
    flat = clip.flatten(0, 1)
    grid = F.affine_grid(turn.float().expand(len(flat), 2, 3), list(flat.shape), align_corners=False)
    return F.grid_sample(flat, grid, mode="nearest", align_corners=False).view_as(clip)
