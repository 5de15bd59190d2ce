"""Lava in its side-car: equal to the reference and to torch, and nothing is left behind whatever fails."""

import glob
import importlib.util
import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_snn.deploy import (
    ConvLIF,
    IntReference,
    LoihiPackage,
    fake_parts,
    package_of,
    quantize,
    simulated_calibration,
    split,
)
from dvs_snn.deploy.compare import compare
from dvs_snn.deploy.lava_client import Sidecar, fixed_graph, float_backbone_graph, float_head_graph
from dvs_snn.deploy.package import HOLD, RESET, RUN, run_layers
from dvs_snn.errors import SidecarError
from dvs_snn.events import EventStream, open_recording, stream_of, windows
from dvs_snn.events.simulate import GESTURES, simulate_gesture
from dvs_snn.models import GestureNet
from dvs_snn.nn import LIF, TCLIF
from dvs_snn.pipeline import Checkpoint, load_checkpoint
from dvs_snn.representation import dense_batch
from tests.deploy.conftest import counts

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava is not installed (make loihi)"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def backbone(package: LoihiPackage):  # type: ignore[no-untyped-def]
    with Sidecar(fixed_graph(package.layers[:-1], record=True), limit_s=30) as sidecar:
        yield sidecar


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}") and "Z" not in _state(pid)]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def nothing_left(pids: list[int], segments: list[str], within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not living(pids) and not any(os.path.exists(f"/dev/shm/{name}") for name in segments):
            return True
        time.sleep(0.05)
    return False


def test_fixed_point_equals_the_reference_through_resets(backbone: Sidecar, package: LoihiPackage) -> None:
    for _ in range(2):  # the second time from whatever state the first has left: the flag restarts it
        found = backbone.run(package.golden.frames, package.golden.flags)
        for spikes, wanted in zip(found, package.golden.spikes, strict=False):
            assert np.array_equal(spikes, wanted)


def test_held_frames_change_nothing(backbone: Sidecar, package: LoihiPackage) -> None:
    frames, flags = package.golden.frames[:12], np.array([RESET, *[RUN] * 11], np.uint8)
    between = np.repeat(frames, 2, 0)
    held = np.stack([flags, np.full_like(flags, HOLD)], 1).ravel()
    found = backbone.run(between, held)
    for spikes, wanted in zip(found, package.golden.spikes, strict=False):
        assert np.array_equal(spikes[::2], wanted[:12])
        assert not spikes[1::2].any()


def test_a_starved_stream_waits_and_goes_on(backbone: Sidecar, package: LoihiPackage) -> None:
    flags = package.golden.flags
    first = backbone.run(package.golden.frames[:5], flags[:5])
    time.sleep(1.5)
    second = backbone.run(package.golden.frames[5:12], flags[5:12])
    assert np.array_equal(np.concatenate([first[-1], second[-1]]), package.golden.spikes[-2][:12])


@pytest.mark.parametrize("convolution", ["buffered", "stock"])
def test_one_step_per_convolution_gives_the_same_spikes(package: LoihiPackage, convolution: str) -> None:
    with Sidecar(fixed_graph(package.layers[:-1], convolution, record=True), limit_s=30) as sidecar:
        assert sidecar.delay == 2
        found = sidecar.run(package.golden.frames, package.golden.flags)
    for spikes, wanted in zip(found, package.golden.spikes, strict=False):
        assert np.array_equal(spikes, wanted)


def test_subtract_reset_equals_torch_in_both_arithmetics(package: LoihiPackage) -> None:
    layer = package.layers[0]
    assert isinstance(layer, ConvLIF)
    frames = package.golden.frames[:20]
    flags = [RESET, *[RUN] * 19]
    convolution, neuron, *_ = fake_parts(package.layers)[0]
    entering = torch.stack([convolution(torch.from_numpy(frame).double()[None])[0] for frame in frames])
    subtract = LIF(reset="soft", shape=(len(layer.decay), 1, 1)).double()
    with torch.no_grad():
        subtract.beta.copy_(neuron.beta)
        subtract.threshold.copy_(neuron.threshold)
        wanted, _ = subtract(entering[:, None])
    v, whole = np.zeros(entering.shape[1:], np.int64), []
    keep, threshold = (part[:, None, None] for part in (layer.keep, layer.state_threshold))
    for x in entering.long().numpy():
        v = np.sign(v) * (np.abs(v) * keep >> 12) + x
        whole.append(v > threshold)
        v = v - threshold * whole[-1]
    for mode, spikes in (("float", wanted[:, 0].numpy() != 0), ("fixed", np.stack(whole))):
        about, arrays = fixed_graph([layer])
        about["layers"][0]["subtract"] = True
        if mode == "float":
            about["mode"] = mode
            arrays = {**arrays, "0.weights": layer.weights * 64.0, "0.keep": layer.keep / 4096}
        with Sidecar((about, arrays), limit_s=30) as sidecar:
            (found,) = sidecar.run(frames, flags)
        assert np.array_equal(found, spikes), mode
        assert (found.sum((1, 2, 3))[-5:] > 0).all()


def test_lavas_own_neuron_equals_the_reference() -> None:
    """Where a layer has one decay, threshold and bias, Lava's LIF is ours without flags."""
    generator = np.random.default_rng(3)
    mantissas = generator.integers(-60, 100, (5, 2, 3, 3)).astype(np.int8)
    vector = [np.full(5, value, np.int32) for value in (700, 900, 11)]
    layer = ConvLIF("one", 1, 3, mantissas, *vector, np.ones(5), 2, 1, (2, 12, 10))
    frames = generator.poisson(0.4, (60, 2, 12, 10)).astype(np.uint8)
    reference = IntReference([layer])
    wanted = np.stack([reference.step(frame.astype(np.int32)) for frame in frames])
    about, arrays = fixed_graph([layer], "stock")
    about["stock_neurons"] = True
    arrays |= {"0.bias_mantissa": layer.bias, "0.bias_exponent": np.array([layer.bias_exponent])}
    with Sidecar((about, arrays), limit_s=30) as sidecar:
        (found,) = sidecar.run(frames, [RUN] * len(frames))
    assert wanted.any()
    assert np.array_equal(found, wanted)


def test_head_equals_the_reference(package: LoihiPackage) -> None:
    with Sidecar(fixed_graph(package.layers[-1:]), limit_s=30) as sidecar:
        (spikes,) = sidecar.run(package.golden.currents, package.golden.flags)
    assert np.array_equal(spikes, package.golden.spikes[-1])
    assert spikes.any()


@pytest.mark.slow
def test_two_thousand_steps_of_the_shipped_network() -> None:
    checkpoint = load_checkpoint("gesture")
    package = package_of(checkpoint)
    channels, height, width = package.shape
    generator = torch.Generator().manual_seed(4)
    rate = torch.rand(2000, 1, 1, 1, generator=generator) ** 3
    shape = (2000, channels * len(package.delays), height, width)
    frames = torch.poisson(rate.expand(shape).contiguous(), generator=generator).clamp(max=4).numpy().astype(np.uint8)
    currents = np.random.default_rng(4).normal(0, 2000, (2000, len(package.layers[-1].decay))).astype(np.int32)
    flags = np.where(np.arange(2000) % 173 == 0, RESET, RUN).astype(np.uint8)
    wanted, _ = run_layers(package.layers, frames, currents, flags)
    with Sidecar(fixed_graph(package.layers[:-1], "buffered", record=True), limit_s=30) as sidecar:
        found = sidecar.run(frames, flags)
    with Sidecar(fixed_graph(package.layers[-1:]), limit_s=30) as sidecar:
        found += sidecar.run(currents, flags)
    for spikes, expected in zip(found, wanted, strict=True):
        assert expected.any()
        assert np.array_equal(spikes, expected)


def windows_of(checkpoint: Checkpoint, *streams: EventStream) -> np.ndarray:
    """Counts of recordings, one after the other."""
    config = checkpoint.config
    maps = [config.representation(window, config.sensor) for part in streams for window in windows(part, config.bin_us)]
    return dense_batch(maps).numpy()


def assert_chain_holds(package: LoihiPackage, maps: np.ndarray) -> None:
    """Float in Lava is float in torch; the integers are fake-quantised torch and Lava's fixed point."""
    found = compare(load_checkpoint("gesture").model, package, maps, lava=True, limit_s=60.0)
    chain = {(each.name, each.reference): each for each in found.differences}
    for pair in (
        ("lava float", "float"),
        ("integer", "fake-quantised, rounded states"),
        ("lava fixed", "integer"),
    ):
        each = chain[pair]
        assert each.backbone_spikes > 100 * len(maps) and each.head_spikes > len(maps)
        assert (each.backbone, each.head) == (0, 0), each


@pytest.mark.slow
def test_the_shipped_network_over_two_thousand_simulated_steps() -> None:
    checkpoint = load_checkpoint("gesture")
    sensor = checkpoint.config.sensor
    clips = [simulate_gesture(label, 1.85, 50_000_000 + label, sensor) for label in range(len(GESTURES))]
    maps = windows_of(checkpoint, *(stream_of(events, sensor) for events in clips))
    assert len(maps) > 2000
    assert_chain_holds(package_of(checkpoint), maps)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("exponent", [None, 2])
def test_the_shipped_network_on_real_gestures(data_dir: Path, exponent: int | None) -> None:
    checkpoint = load_checkpoint("gesture")
    files = sorted((data_dir / "recordings/dvs128_gesture").glob("*.aedat4"))
    maps = windows_of(checkpoint, *(open_recording(str(file)) for file in files))
    package = package_of(checkpoint)
    if exponent is not None:
        package = quantize(checkpoint.model, simulated_calibration(checkpoint.config), exponent)
    assert_chain_holds(package, maps)


def test_float_equals_torch_in_double_precision(package: LoihiPackage, network: GestureNet) -> None:
    parts = split(deepcopy(network).double())
    assert isinstance(parts.head, TCLIF)
    convolutions = [layer for layer in package.layers if isinstance(layer, ConvLIF)]
    xs = counts(60, 1, 9).double()
    with torch.inference_mode():
        frames, _ = parts.host.frames(xs, None)
        _, _, spikes, fired = parts.trace(xs)
        currents, _ = parts.host.currents(spikes, None)
    flags = [RESET, *[RUN] * 59]
    with Sidecar(float_backbone_graph(parts, convolutions), limit_s=30) as sidecar:
        (found,) = sidecar.run(frames[:, 0].numpy(), flags)
    assert np.array_equal(found, spikes[:, 0].numpy())
    with Sidecar(float_head_graph(parts.head), limit_s=30) as sidecar:
        (found,) = sidecar.run(currents[:, 0].numpy(), flags)
    assert np.array_equal(found, fired[:, 0].numpy())


def test_an_exception_in_a_process_model_is_one_line(package: LoihiPackage) -> None:
    sidecar = Sidecar(fixed_graph(package.layers[:-1]), limit_s=30)
    pids, segments = sidecar.pids, sidecar.segments
    assert len(pids) > 6 and segments
    begun = time.monotonic()
    with pytest.raises(SidecarError, match=r"process model failed: ValueError: .*unknown flag 9"):
        sidecar.run(package.golden.frames[:1], [9])
    assert time.monotonic() - begun < 20
    assert nothing_left(pids, segments)
    with pytest.raises(SidecarError, match="has ended"):
        sidecar.run(package.golden.frames[:1], [RESET])


def test_a_killed_sidecar_is_one_line(package: LoihiPackage) -> None:
    sidecar = Sidecar(fixed_graph(package.layers[:-1]), limit_s=30)
    os.kill(sidecar.pids[0], signal.SIGKILL)
    with pytest.raises(SidecarError, match="killed or has crashed"):
        sidecar.run(package.golden.frames[:1], [RESET])
    assert nothing_left(sidecar.pids, sidecar.segments)


def test_a_step_that_takes_too_long_is_stopped(package: LoihiPackage) -> None:
    sidecar = Sidecar(fixed_graph(package.layers[:-1]), limit_s=0.5)
    for pid in sidecar.pids[3:]:
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SidecarError, match=r"took more than 0.5 s|did not answer"):
        sidecar.run(package.golden.frames[:1], [RESET])
    assert nothing_left(sidecar.pids, sidecar.segments)


PARENT = """
import sys, time
sys.path.insert(0, {root!r})
from dvs_snn.deploy.lava_client import Sidecar, fixed_graph
from dvs_snn.deploy import load_package
sidecar = Sidecar(fixed_graph(load_package({folder!r}).layers[:-1]), limit_s=30)
print(*sidecar.pids, "|", *sidecar.segments, flush=True)
time.sleep(600)
"""


def test_a_killed_parent_leaves_nothing(package: LoihiPackage, tmp_path: Path) -> None:
    package.save(tmp_path / "loihi")
    code = PARENT.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path / "loihi"))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids, _, segments = parent.stdout.readline().partition("|")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert segments
    assert nothing_left([int(pid) for pid in pids.split()], segments.split())


def test_a_closed_sidecar_leaves_nothing(package: LoihiPackage) -> None:
    before = set(glob.glob("/dev/shm/psm_*"))
    with Sidecar(fixed_graph(package.layers[:-1]), limit_s=30) as sidecar:
        pids, segments = sidecar.pids, sidecar.segments
    assert nothing_left(pids, segments)
    assert not (set(glob.glob("/dev/shm/psm_*")) - before) & {f"/dev/shm/{name}" for name in segments}
