"""A committee decides by its members' mean, and in training each member learns from its own rows."""

import pytest
import torch
from torch import nn

from dvs_snn.errors import ConfigError
from dvs_snn.nn import LIF, Committee, LeakyIntegrator, Sequential
from tests.temporal_laws import assert_close, check_temporal_laws, leaves


def committee(members: int) -> Committee:
    torch.manual_seed(3)
    return Committee(
        Sequential(nn.Linear(4, 8), LIF(0.8), nn.Linear(8, 2), LeakyIntegrator(0.7)) for _ in range(members)
    ).double()


def current(time: int, batch: int) -> torch.Tensor:
    return 3.0 * torch.randn(time, batch, 4, dtype=torch.double, generator=torch.Generator().manual_seed(5))


def test_obeys_the_laws_of_streaming() -> None:
    check_temporal_laws(committee(3), current(9, 4), tolerance=1e-12)


def test_tells_the_mean_of_its_members() -> None:
    net, xs = committee(3).eval(), current(7, 2)
    assert_close(net(xs)[0], sum(member(xs)[0] for member in net.members) / 3, 1e-15)


def test_a_committee_of_one_is_its_member() -> None:
    net, xs = committee(1), current(7, 2)
    for mode in (True, False):
        net.train(mode)
        assert_close(net(xs)[0], net.members[0](xs)[0], 0)


def test_in_training_a_row_teaches_one_member() -> None:
    net, xs = committee(3).train(), current(7, 5)
    outputs, _ = net(xs)
    for row in range(5):
        gradients = torch.autograd.grad(outputs[:, row].sum(), list(net.parameters()), retain_graph=True)
        taught = {
            index
            for index, member in enumerate(net.members)
            for parameter in member.parameters()
            if any(parameter is p and bool(g.any()) for p, g in zip(net.parameters(), gradients, strict=True))
        }
        assert taught == {row % 3}
        assert_close(outputs[:, row], net.members[row % 3](xs[:, row : row + 1])[0][:, 0], 1e-12)


@pytest.mark.parametrize("batch", [2, 7])
def test_training_goes_on_from_chunk_to_chunk(batch: int) -> None:
    net, xs = committee(3).train(), current(8, batch)
    whole, end = net(xs)
    first, state = net(xs[:3])
    assert all(leaf.shape[0] == batch for leaf in leaves(state))
    second, state = net(xs[3:6], state)
    rows = []
    for x in xs[6:]:
        row, state = net.step(x, state)
        rows.append(row)
    assert_close((torch.cat([first, second, torch.stack(rows)]), state), (whole, end), 1e-12)


def test_refuses_to_have_no_members() -> None:
    with pytest.raises(ConfigError, match="one member"):
        Committee([])
