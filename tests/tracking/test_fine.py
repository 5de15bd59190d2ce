"""The fine sight of the tracking network: laws of time, silent at first, evidence where the coarse network has it."""

import pytest
import torch
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.models import build_model
from dvs_snn.models.fine import FineMemory, summed
from dvs_snn.models.tracker import TrackerConfig, TrackerNet
from dvs_snn.nn import reset_where
from dvs_snn.nn.layers import fold_batch_norm
from dvs_snn.pipeline import TorchRuntime

SMALL = {
    "channels": (4, 6), "kernels": (3, 3), "strides": (2, 2), "bridge_bins": 2, "block_channels": (4, 4), "hidden": 4,
}  # fmt: skip
FINE = {**SMALL, "shape": (2, 24, 36), "coarse": 2, "fine_channels": 3, "fine_width": 5}
SHAPE = (2, 24, 36)


def network(**more: object) -> TrackerNet:
    """Its fine sight says something, as a trained one does."""
    torch.manual_seed(0)
    net = TrackerNet(TrackerConfig(**{**FINE, **more})).double().eval()  # type: ignore[arg-type]
    torch.nn.init.normal_(net.fine.readout.weight)  # type: ignore[union-attr]
    if net.fine.memory is not None:  # type: ignore[union-attr]
        torch.nn.init.normal_(net.fine.memory.told.weight)  # type: ignore[union-attr]
    return net


MEMORY = {"fine_memory": 4, "fine_after": 1}


def maps(bins: int = 6, batch: int = 3) -> Tensor:
    return torch.randint(0, 4, (bins, batch, *SHAPE), generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("more", [{}, {"start_channels": 3}, {"fine_blocks": 0}, {"shape": (2, 22, 34)}, MEMORY])
def test_step_equals_scan_with_resets_in_mid_sequence(more: dict) -> None:
    net, mask = network(**more), torch.tensor([True, False, True])
    xs = maps()[..., : net.config.shape[1], : net.config.shape[2]]
    whole, _ = net(xs)
    assert whole.shape[2:] == net.output_shape(net.config.shape)
    first, state = net(xs[:3])
    second, _ = net(xs[3:], reset_where(state, mask))
    state, outputs = net.initial_state(3, net.config.shape), []
    for k, x in enumerate(xs):
        output, state = net.step(x, reset_where(state, mask) if k == 3 else state)
        outputs.append(output)
    assert torch.equal(torch.stack(outputs), torch.cat([first, second])), "to the bit"
    assert torch.allclose(second[:, ~mask], whole[3:, ~mask], atol=1e-9)
    assert torch.allclose(second[:, mask], net(xs[3:, mask])[0], atol=1e-9)
    changed = xs.clone()
    changed[3:] = 0
    assert torch.equal(net(changed)[0][:3], whole[:3]), "causal"


def test_it_is_silent_at_first_and_the_rest_sees_sums_of_cells() -> None:
    """So a network that sees coarsely can be given one, and goes on as it was."""
    torch.manual_seed(0)
    net = TrackerNet(TrackerConfig(**FINE)).double().eval()  # type: ignore[arg-type]
    coarse = TrackerNet(TrackerConfig(**SMALL, shape=(2, 12, 18))).double().eval()  # type: ignore[arg-type]
    own = {name: tensor for name, tensor in net.state_dict().items() if name.startswith("fine.")}
    assert own and set(net.state_dict()) - set(own) == set(coarse.state_dict())
    coarse.load_state_dict({name: tensor for name, tensor in net.state_dict().items() if name not in own})
    xs = maps()
    assert torch.equal(net(xs)[0], coarse(summed(xs, 2))[0])
    assert float(summed(xs, 2)[0, 0, 0, 0, 0]) == float(xs[0, 0, 0, :2, :2].sum())


def test_a_spot_is_seen_where_it_is() -> None:
    """The fine sight's own evidence moves with the spot, cell by cell of the heat map."""
    net = network(fine_blocks=0)
    net.fine.context.weight.data.zero_()  # type: ignore[union-attr]
    heat = []
    for place in (8, 16):
        xs = torch.zeros(4, 1, *SHAPE, dtype=torch.float64)
        xs[:, :, :, place : place + 4, place : place + 4] = 6.0
        heat.append((net(xs)[0] - net(xs * 0)[0])[-1, 0].abs().sum(dim=0))
    own = [torch.zeros(2), torch.zeros(2)]
    for k, change in enumerate(heat):
        at = change.flatten().argmax()
        own[k] = torch.stack([at // change.shape[1], at % change.shape[1]])
    assert (own[1] - own[0]).tolist() == [2, 2], "8 cells of the input are 2 of the heat map"


def test_a_memory_is_silent_at_first_and_learns_from_there() -> None:
    net = network(fine_memory=4, fine_after=1).train()
    torch.nn.init.zeros_(net.fine.memory.told.weight)  # type: ignore[union-attr]
    without = network().train()
    without.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("fine.memory.")})
    assert torch.equal(net(maps())[0], without(maps())[0])
    (net(maps())[0] ** 2).sum().backward()
    assert float(net.fine.memory.told.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_what_is_remembered_moves_to_the_neighbours() -> None:
    """A spot of one bin reaches one cell further with each bin, though nothing else is seen."""
    torch.manual_seed(0)
    memory = FineMemory(3, 4, 0, 0.95).double().eval()
    torch.nn.init.normal_(memory.told.weight)
    torch.nn.init.constant_(memory.neurons.recurrent.weight, 2.0)  # type: ignore[union-attr]
    xs = torch.zeros(4, 1, 3, 9, 9, dtype=torch.float64)
    xs[0, 0, :, 4, 4] = 40.0
    told, _ = memory(xs, None, scan=True)
    for k in range(1, 4):
        rows, columns = torch.nonzero(told[k, 0].abs().sum(0), as_tuple=True)
        assert (int(rows.min()), int(rows.max())) == (int(columns.min()), int(columns.max())) == (3 - k, 5 + k), k


@pytest.mark.parametrize("more", [{}, MEMORY])
def test_gradient_reaches_every_weight(more: dict) -> None:
    net = network(**more).train()
    (net(maps())[0] ** 2).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("more", [{}, MEMORY, {"fine_blocks": 0}, {"start_channels": 3}])
def test_its_normalisations_fold_away(more: dict) -> None:
    """What runs window by window has none, and tells the same; the network it was given keeps its own."""
    net, xs = network(**more), maps()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for part in (module.weight, module.bias, module.running_mean, module.running_var):
                    part.add_(torch.rand_like(part))  # type: ignore[union-attr, arg-type]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    folded = fold_batch_norm(net)
    assert torch.allclose(folded(xs)[0], net(xs)[0], rtol=1e-9, atol=1e-9)
    assert net(xs)[0].std() > 0.01
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    runtime = TorchRuntime(net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in runtime.model.modules())


@pytest.mark.parametrize("more", [{}, MEMORY])
def test_the_twin_sees_finely_too(more: dict) -> None:
    twin = build_model("tracker-twin", {**FINE, **more}).double().eval()
    xs, state, outputs = maps(3), None, []
    for x in xs:
        output, state = twin.step(x, state)
        outputs.append(output)
    assert torch.allclose(torch.stack(outputs), twin(xs)[0], atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fine_channels": -1},
        {"coarse": 0},
        {"coarse": 5},
        {"fine_width": 0},
        {"finer": 4, "coarse": 1},
        {"fine_memory": -1},
        {"fine_after": -1},
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="tracker"):
        TrackerConfig(**{**FINE, **wrong})
