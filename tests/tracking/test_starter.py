"""A dense network that sets the first state: step equals scan, resets start anew, off is what it was."""

import pytest
import torch
from torch import Tensor

from dvs_snn.deploy.nir_graph import write_nir
from dvs_snn.errors import ConfigError, PackageError
from dvs_snn.events import Window, empty_events
from dvs_snn.learning.optimizers import OptimizerConfig
from dvs_snn.learning.rules import SLTT, RuleConfig
from dvs_snn.learning.tracking_targets import CentreLoss
from dvs_snn.models import build_model
from dvs_snn.models.tracker import TrackerConfig, TrackerNet
from dvs_snn.nn import reset_where
from dvs_snn.pipeline import PipelineConfig, load_checkpoint, open_pipeline, save_checkpoint

SMALL = {
    "shape": (2, 12, 16), "channels": (4, 6), "kernels": (3, 3), "strides": (2, 2), "bridge_bins": 2,
    "block_channels": (4, 4), "hidden": 4,
}  # fmt: skip


def network(start_channels: int = 5, seed: int = 0) -> TrackerNet:
    torch.manual_seed(seed)
    return TrackerNet(TrackerConfig(**SMALL, start_channels=start_channels)).double().eval()  # type: ignore[arg-type]


def maps(bins: int = 6, batch: int = 3) -> Tensor:
    return torch.randint(0, 4, (bins, batch, 2, 12, 16), generator=torch.Generator().manual_seed(1)).double()


def stepped(net: TrackerNet, xs: Tensor, resets: dict[int, Tensor]) -> Tensor:
    state, outputs = None, []
    for k, x in enumerate(xs):
        if k in resets:
            state = reset_where(state, resets[k])
        output, state = net.step(x, state)
        outputs.append(output)
    return torch.stack(outputs)


def test_step_equals_scan_with_resets_in_mid_sequence() -> None:
    net, xs, mask = network(), maps(), torch.tensor([True, False, True])
    first, state = net(xs[:3])
    second, _ = net(xs[3:], reset_where(state, mask))
    assert torch.allclose(torch.cat([first, second]), stepped(net, xs, {3: mask}), atol=1e-9)
    anew, _ = net(xs[3:, mask])
    assert torch.allclose(second[:, mask], anew, atol=1e-9), "a row that was reset begins as a sequence does"
    on, _ = net(xs)
    assert torch.allclose(second[:, ~mask], on[3:, ~mask], atol=1e-9), "the others go on"


def test_rest_is_the_same_as_no_state_and_rows_stay_apart() -> None:
    net, xs = network(), maps()
    whole, state = net(xs)
    rest, _ = net(xs, net.initial_state(3, SMALL["shape"]))  # type: ignore[arg-type]
    assert torch.allclose(rest, whole, atol=1e-9)
    assert torch.allclose(net(xs[:, :1])[0], whole[:, :1], atol=1e-9)
    assert torch.equal(state.begun, torch.ones(3, dtype=torch.float64))
    changed = xs.clone()
    changed[3:] = 0
    assert torch.allclose(net(changed)[0][:3], whole[:3], atol=1e-9), "causal"


def test_off_is_what_it_was() -> None:
    """The same weights from the same seed, the same names, no state of its own; on differs from it."""
    off, on = network(0), network()
    own = {name for name in on.state_dict() if name.startswith("starter.")}
    assert own and set(on.state_dict()) - own == set(off.state_dict())
    assert not any("starter" in name for name in off.state_dict())
    on.load_state_dict({**on.state_dict(), **off.state_dict()})
    xs = maps()
    outputs, state = off(xs)
    assert state.begun is None and off.initial_state(1, (2, 12, 16)).begun is None
    assert not torch.allclose(on(xs)[0], outputs)
    # with a start at zero the network with a starter is the one without
    for head in on.starter.heads:  # type: ignore[union-attr]
        torch.nn.init.zeros_(head[-1].weight)
        torch.nn.init.zeros_(head[-1].bias)
    assert torch.equal(on(xs)[0], outputs)
    assert torch.equal(stepped(on, xs, {}), stepped(off, xs, {}))


def test_gradient_reaches_every_weight_of_the_starter() -> None:
    net = network().train()
    outputs, _ = net(maps(4))
    (outputs**2).sum().backward()
    for name, parameter in net.starter.named_parameters():  # type: ignore[union-attr]
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0, name


def test_training_uses_the_start_to_tell_the_first_bin() -> None:
    """Only the starter may learn: what it learns shows in the first bins."""
    net, xs = network().train(), maps(2)
    wanted = torch.full((2, 3), 3.0, dtype=torch.float64)
    optimizer = torch.optim.Adam(net.starter.parameters(), 0.02)  # type: ignore[union-attr]
    losses = []
    for _ in range(15):
        loss = ((net(xs)[0].mean(dim=(2, 3, 4)) - wanted) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_it_is_in_the_checkpoint_and_the_pipeline_starts_anew_with_each_sequence(tmp_path) -> None:
    shipped = load_checkpoint("tracker").config
    small = {"channels": [4, 4, 4], "block_channels": [4, 4], "hidden": 4, "fine_channels": 0}
    values = {**shipped.model_config, **small, "start_channels": 4}
    config = PipelineConfig(
        "tracker", (), values, task="tracks", sensor=shipped.sensor, representation=shipped.representation
    )
    save_checkpoint(tmp_path / "mine", config, build_model("tracker", values), {})
    checkpoint = load_checkpoint(tmp_path / "mine")
    assert checkpoint.config.model_config["start_channels"] == 4
    runtime = open_pipeline(checkpoint).runtime
    x = shipped.representation  # a map of nothing is enough: the starter's biases show

    def output() -> Tensor:
        return torch.from_numpy(runtime.step(x(Window(empty_events(), 0, 10_000, True), shipped.sensor)))  # type: ignore[union-attr]

    first, second = output(), output()
    runtime.reset()
    assert torch.equal(output(), first) and not torch.equal(first, second)


def test_the_shipped_checkpoint_loads_unchanged() -> None:
    model = load_checkpoint("tracker").model
    assert model.starter is None and not any("starter" in name for name in model.state_dict())


def test_the_twin_has_a_start_too() -> None:
    twin = build_model("tracker-twin", {**SMALL, "start_channels": 3}).double().eval()
    xs, state, outputs = maps(3), None, []
    for x in xs:
        output, state = twin.step(x, state)
        outputs.append(output)
    assert torch.allclose(torch.stack(outputs), twin(xs)[0], atol=1e-9)


def test_what_cannot_take_it_says_so(tmp_path) -> None:
    with pytest.raises(PackageError, match="gesture network, not of TrackerNet"):
        write_nir(network(), tmp_path, 10_000)
    with pytest.raises(ConfigError, match="first state"):
        SLTT(network(), CentreLoss(), RuleConfig("sltt"), OptimizerConfig(), 1)
    with pytest.raises(ConfigError, match="start_channels"):
        TrackerConfig(start_channels=-1)
