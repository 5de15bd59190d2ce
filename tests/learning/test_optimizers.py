"""Muon: matrices inside a network move along orthogonal directions, the rest as by AdamW; it goes on after a cut."""

import copy

import pytest
import torch
from torch import Tensor, nn

from dvs_snn.errors import ConfigError
from dvs_snn.learning import Muon, OptimizerConfig
from dvs_snn.learning.optimizers import make_optimizer, matrices_inside, orthogonal


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 8)
        self.inner = nn.Linear(8, 12)
        self.gru = nn.GRU(12, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, numbers: Tensor) -> Tensor:
        ys, _ = self.gru(self.inner(self.embedding(numbers)))
        return self.head(ys)


def update(net: Net, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    net(torch.randint(5, (6, 2), generator=generator)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_singular_values_become_about_one(shape: tuple[int, int]) -> None:
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    found = torch.linalg.svdvals(orthogonal(left @ torch.diag(torch.logspace(-0.7, 0.7, len(right))) @ right))
    assert found.min() > 0.5 and found.max() < 1.3


def test_a_diagonal_matrix_becomes_its_signs() -> None:
    values = torch.tensor([0.5, -1.0, 2.0, -3.0])
    found = orthogonal(torch.diag(values))
    assert torch.equal(found.sign(), torch.diag(values.sign()))
    assert (found.diagonal().abs() - 1).abs().max() < 0.35


def test_which_matrices_it_moves() -> None:
    net = Net()
    assert matrices_inside(net) == {net.inner.weight, net.gru.weight_ih_l0, net.gru.weight_hh_l0}


def test_of_convolutions_those_that_mix_channels_and_do_not_read_out() -> None:
    net = nn.ModuleDict(
        {"inner": nn.Conv2d(4, 8, 3), "each": nn.Conv2d(4, 4, 3, groups=4), "readout": nn.Conv2d(8, 2, 1)}
    )
    assert matrices_inside(net) == {net["inner"].weight}
    optimizer = make_optimizer(net, OptimizerConfig(lr=0.1, weight_decay=0.0, name="muon"))
    before = net["inner"].weight.detach().clone()
    net["inner"].weight.grad = torch.randn(before.shape)
    optimizer.step()
    step = (before - net["inner"].weight).detach().flatten(1)
    assert torch.linalg.svdvals(step) == pytest.approx(torch.full((8,), 0.2 * 0.1 * 36**0.5), rel=0.35)


def test_the_others_move_as_by_adamw_and_matrices_by_their_shape() -> None:
    torch.manual_seed(0)
    nets = [Net(), Net()]
    nets[1].load_state_dict(nets[0].state_dict())
    before = {name: parameter.detach().clone() for name, parameter in nets[0].named_parameters()}
    for net, name in zip(nets, ("muon", "adamw"), strict=True):
        update(net, make_optimizer(net, OptimizerConfig(lr=0.01, weight_decay=0.0, name=name)), 1)
    moved = matrices_inside(nets[0])
    for (name, mine), other in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(mine, other) == (mine not in moved), name
    step = (nets[0].inner.weight - before["inner.weight"]).detach()
    assert torch.linalg.svdvals(step)[0].item() == pytest.approx(0.2 * 0.01 * 12**0.5, rel=0.3)


def test_it_goes_on_where_it_was_cut() -> None:
    torch.manual_seed(0)
    net, other = Net(), Net()
    config = OptimizerConfig(lr=0.01, name="muon")
    optimizer = make_optimizer(net, config)
    assert isinstance(optimizer, Muon)
    update(net, optimizer, 1)
    other.load_state_dict(net.state_dict())
    resumed = make_optimizer(other, config)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in (2, 3):
        update(net, optimizer, seed)
        update(other, resumed, seed)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_weights_decay_towards_zero() -> None:
    net = Net()
    optimizer = make_optimizer(net, OptimizerConfig(lr=0.1, weight_decay=0.5, name="muon"))
    before = net.inner.weight.detach().clone()
    net.inner.weight.grad = torch.zeros_like(before)
    optimizer.step()
    torch.testing.assert_close(net.inner.weight.detach(), 0.95 * before)


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.name 'sgd' is unknown; known: adamw, muon"):
        OptimizerConfig(name="sgd")
