"""Heat maps say what the truth says: targets and observations are inverse; the loss is least at the targets."""

import numpy as np
import pytest
import torch

from dvs_snn.events.simulate.shapes_truth import TRUTH_DTYPE
from dvs_snn.learning.tracking_targets import CentreLoss, TrackingClip, generalised_overlap, target_maps
from dvs_snn.models.tracker import TrackerConfig, TrackerNet
from dvs_snn.tracking.heatmap import observations

SMALL = TrackerConfig(shape=(2, 12, 16), channels=(4, 4), kernels=(3, 3), strides=(2, 2), bridge_bins=2,
                      block_channels=(4, 4), hidden=4)  # fmt: skip


def truth() -> np.ndarray:
    rows = np.zeros(3, TRUTH_DTYPE)
    rows["x"], rows["y"] = [33.3, 100.9, 60.0], [40.2, 21.7, 60.0]
    rows["w"], rows["h"] = [20.0, 34.0, 16.0], [18.0, 60.0, 16.0]
    rows["vx"], rows["vy"], rows["visible"] = [300.0, -50.0, 0.0], [0.0, 700.0, 0.0], [1.0, 0.6, 0.1]
    return rows


def said(targets: np.ndarray) -> np.ndarray:
    maps = np.nan_to_num(targets)
    maps[0] = np.clip(np.log(np.maximum(targets[0], 1e-6) / np.maximum(1 - targets[0], 1e-6)), -12, 12)
    return maps


def test_observations_are_the_inverse_of_targets() -> None:
    rows = truth()
    found = observations(said(target_maps(rows, 8.0, (12, 16), 10_000)), 8.0, 10_000, 0.9)
    assert len(found) == 2, "the hidden one is left out"
    order = np.argsort(found[:, 0])
    for row, name in enumerate(("x", "y", "w", "h", "vx", "vy")):
        assert found[order, row] == pytest.approx(rows[name][:2], rel=1e-4, abs=1e-3)


def clip_of(targets: np.ndarray) -> TrackingClip:
    wanted = torch.from_numpy(targets)
    shape = wanted.shape[:2]
    return TrackingClip(
        torch.zeros(*shape, 1), torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.bool),
        torch.ones(shape[1], dtype=torch.bool), targets=wanted,
    )  # fmt: skip


def test_the_loss_is_least_at_the_targets() -> None:
    clip, loss = clip_of(target_maps(truth(), 8.0, (12, 16), 10_000)[None, None]), CentreLoss(overlap=1.0)
    best = torch.from_numpy(said(clip.targets[0, 0].numpy()))[None, None]
    heat, box, speed, apart = loss.parts(best, clip)
    assert float(apart) == pytest.approx(0.0, abs=1e-4)
    least = loss.total(best, clip)
    assert float(box) == 0.0 and float(speed) == 0.0 and float(heat / loss.weight(clip)) < 0.5
    for channel in range(7):
        worse = best.clone()
        worse[:, :, channel] += 2.0
        assert float(loss.total(worse, clip)) > float(least)
    assert float(loss.accuracy(best, clip)) == 1.0
    empty = np.full((1, 1, 7, 12, 16), np.nan, np.float32)
    empty[:, :, 0] = 0.0
    assert torch.isfinite(loss.total(torch.zeros(1, 1, 7, 12, 16), clip_of(empty)))


def test_overlap_is_that_of_boxes_and_falls_with_the_gap_between_them() -> None:
    log = np.log
    boxes = torch.tensor([[0.0, 0.0, log(4), log(2)], [2.0, 0.0, log(4), log(2)], [9.0, 0.0, log(4), log(2)]])
    true = boxes[:1].expand(3, -1)
    found = generalised_overlap(boxes, true)
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(4 / 12), "half of each is common, and the hull is full"
    assert found[2] == pytest.approx(-10 / 26), "nothing is common; 10 of the hull's 26 are empty"
    assert torch.allclose(generalised_overlap(true, boxes), found)
    said = boxes.clone().requires_grad_()
    generalised_overlap(said, true)[2].backward()
    assert said.grad is not None and float(said.grad[2, 0]) < 0, "what lies apart is drawn near"


def test_the_losses_of_a_clips_parts_add_up() -> None:
    targets = np.stack([target_maps(truth()[k:], 8.0, (12, 16), 10_000) for k in range(3)])[:, None]
    clip, loss = clip_of(targets), CentreLoss()
    maps = torch.randn(3, 1, 7, 12, 16, generator=torch.Generator().manual_seed(2))
    parts = sum(loss.total(maps[a:b], clip.between(a, b)) for a, b in ((0, 1), (1, 3)))
    assert torch.allclose(torch.as_tensor(parts), loss.total(maps, clip), rtol=1e-5)


def test_the_network_steps_as_it_scans_and_keeps_rows_apart() -> None:
    network = TrackerNet(SMALL).double().eval()
    xs = torch.randint(0, 3, (6, 2, 2, 12, 16), generator=torch.Generator().manual_seed(1)).double()
    whole, _ = network(xs)
    assert whole.shape[2:] == network.output_shape(SMALL.shape)
    state, outputs = None, []
    for x in xs:
        output, state = network.step(x, state)
        outputs.append(output)
    assert torch.allclose(torch.stack(outputs), whole, atol=1e-9)
    first, state = network(xs[:3])
    second, _ = network(xs[3:], state)
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-9)
    alone, _ = network(xs[:, :1])
    assert torch.allclose(alone, whole[:, :1], atol=1e-9)


def test_a_few_steps_of_training_lower_the_loss() -> None:
    torch.manual_seed(0)
    network = TrackerNet(SMALL)
    rows = truth()[:1]
    rows["x"], rows["y"], rows["vx"] = 40.0, 30.0, 0.0
    clip = clip_of(np.stack([target_maps(rows, 8.0, (6, 8), 10_000)] * 5)[:, None])
    xs = torch.zeros(5, 1, 2, 12, 16)
    xs[:, :, :, 5:9, 8:12] = 2.0
    optimizer = torch.optim.Adam(network.parameters(), 0.03)
    losses = []
    for _ in range(25):
        loss = CentreLoss().total(network(xs)[0], clip)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
