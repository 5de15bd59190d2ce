"""The fine sight of the tracking network: laws of time, silent at first, evidence where the coarse network has it."""

import pytest
import torch
from torch import Tensor

from dvs_snn.errors import ConfigError
from dvs_snn.models import build_model
from dvs_snn.models.fine import summed
from dvs_snn.models.tracker import TrackerConfig, TrackerNet
from dvs_snn.nn import reset_where

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
    return net


def maps(bins: int = 6, batch: int = 3) -> Tensor:
    return torch.randint(0, 4, (bins, batch, *SHAPE), generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("more", [{}, {"start_channels": 3}, {"fine_blocks": 0}, {"shape": (2, 22, 34)}])
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


def test_gradient_reaches_every_weight() -> None:
    net = network().train()
    (net(maps())[0] ** 2).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0, name


def test_the_twin_sees_finely_too() -> None:
    twin = build_model("tracker-twin", FINE).double().eval()
    xs, state, outputs = maps(3), None, []
    for x in xs:
        output, state = twin.step(x, state)
        outputs.append(output)
    assert torch.allclose(torch.stack(outputs), twin(xs)[0], atol=1e-9)


@pytest.mark.parametrize(
    "wrong", [{"fine_channels": -1}, {"coarse": 0}, {"coarse": 5}, {"fine_width": 0}, {"finer": 4, "coarse": 1}]
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="tracker"):
        TrackerConfig(**{**FINE, **wrong})
