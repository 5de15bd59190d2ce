"""Losses against plain loops; recordings in a clip are judged one by one; padding and warm-up have no say."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.learning import Clip, CrossEntropy
from dvs_snn.learning.losses import recordings_in


def clip_of(labels: torch.Tensor, scored: torch.Tensor) -> Clip:
    return Clip(torch.zeros(*labels.shape, 1), labels, scored, torch.ones(labels.shape[1], dtype=torch.bool))


def by_hand(name: str, outputs: torch.Tensor, clip: Clip) -> tuple[float, int]:
    total, count = 0.0, 0
    for row in range(clip.batch):
        begin = 0
        for stop in range(1, clip.bins + 1):
            if stop < clip.bins and clip.labels[stop, row] == clip.labels[begin, row]:
                continue
            seen = outputs[begin:stop, row][clip.scored[begin:stop, row]]
            label = clip.labels[begin, row]
            if len(seen):
                read = {"mean": seen.mean(0), "max": seen.max(0).values, "last": seen[-1]}[name]
                total += float(F.cross_entropy(read, label, label_smoothing=0.1))
                count += 1
            begin = stop
    return total, count


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(["mean", "max", "last"]))
def test_one_output_per_recording_is_judged(seed, name):
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (7, 4), generator=random)
    scored = torch.rand(7, 4, generator=random) < 0.6
    outputs = torch.randn(7, 4, 3, generator=random)
    clip, loss = clip_of(labels, scored), CrossEntropy(name)
    total, count = by_hand(name, outputs, clip)
    assert float(loss.total(outputs, clip)) == pytest.approx(total, abs=1e-5)
    assert float(loss.weight(clip)) == max(count, 1)


def test_gradients_reach_what_was_read_and_nothing_else():
    labels, scored = torch.zeros(4, 1, dtype=torch.long), torch.tensor([[False], [True], [True], [False]])
    outputs = torch.tensor([[9.0, 0.0], [1.0, 2.0], [3.0, 1.0], [9.0, 9.0]]).unsqueeze(1)
    reached = {}
    for name in ("tet", "mean", "max", "last"):
        leaf = outputs.clone().requires_grad_()
        CrossEntropy(name, 0.0).total(leaf, clip_of(labels, scored)).backward()
        reached[name] = (leaf.grad[:, 0] != 0).tolist()
    never, both = [False, False], [True, True]
    assert reached == {
        "tet": [never, both, both, never],
        "mean": [never, both, both, never],
        "max": [never, [False, True], [True, False], never],
        "last": [never, never, both, never],
    }


def test_tet_adds_up_over_bins_and_its_anchor_pulls_outputs_to_one():
    random = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(5, 2, 3, generator=random), torch.randint(3, (5, 2), generator=random)
    clip = clip_of(labels, torch.ones(5, 2, dtype=torch.bool))
    loss = CrossEntropy("tet", 0.0, anchor=0.3)
    expected = sum(
        0.7 * F.cross_entropy(outputs[t], labels[t], reduction="sum") + 0.3 * (outputs[t] - 1).square().mean(-1).sum()
        for t in range(5)
    )
    assert float(loss.total(outputs, clip)) == pytest.approx(float(expected), rel=1e-5)
    parts = sum(loss.total(outputs[a:b], clip.between(a, b)) for a, b in ((0, 2), (2, 5)))
    assert float(loss.total(outputs, clip)) == pytest.approx(float(parts), rel=1e-5)
    assert loss.additive and not CrossEntropy("mean").additive


def test_recordings_are_told_apart_by_row_and_by_change_of_label():
    labels = torch.tensor([[0, 1], [0, 0], [2, 0]])
    numbers = recordings_in(clip_of(labels, labels >= 0))
    assert len(set(numbers.flatten().tolist())) == 4
    assert numbers[0, 0] == numbers[1, 0] != numbers[2, 0] and numbers[1, 1] == numbers[2, 1] != numbers[0, 1]


@pytest.mark.parametrize(
    ("options", "said"), [({"name": "sum"}, "tet, mean, max, last"), ({"anchor": 1.0}, "anchor")], ids=str
)
def test_wrong_losses_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        CrossEntropy(**options)


def test_frequencies_give_back_the_answer_of_equally_frequent_classes():
    """One input for all: trained on classes 1:1:6 the best constant output is uniform once frequencies are told."""
    labels = torch.tensor([[0, 1, 2, 2, 2, 2, 2, 2]])
    clip = clip_of(labels, torch.ones_like(labels, dtype=torch.bool))
    for frequencies, answer in (((1.0, 1.0, 6.0), [1 / 3, 1 / 3, 1 / 3]), ((), [1 / 8, 1 / 8, 6 / 8])):
        output = torch.zeros(3, requires_grad=True)
        descent = torch.optim.LBFGS([output], max_iter=100)

        def closure(output=output, descent=descent, frequencies=frequencies):
            descent.zero_grad()
            loss = CrossEntropy("tet", 0.0, frequencies=frequencies).total(output.expand(1, 8, 3), clip)
            loss.backward()
            return loss

        descent.step(closure)
        torch.testing.assert_close(output.detach().softmax(-1), torch.tensor(answer), atol=1e-3, rtol=0)


def test_frequencies_of_another_number_of_classes_are_refused():
    labels = torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(ConfigError, match="2 classes; the network has 3"):
        CrossEntropy(frequencies=(1.0, 2.0)).total(torch.zeros(1, 1, 3), clip_of(labels, labels == 0))
    with pytest.raises(ConfigError, match="above 0"):
        CrossEntropy(frequencies=(1.0, 0.0))
