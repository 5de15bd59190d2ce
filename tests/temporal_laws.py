"""The laws of everything that lives in time, as checks that any `Temporal` can be put to."""

import copy
from typing import Any

import torch
from torch import Tensor

from dvs_snn.nn import Temporal, reset_where


def leaves(state: Any) -> list[Tensor]:
    """The tensors of a nested state, in order."""
    if state is None:  # a part that has not begun, or is not there
        return []
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state for leaf in leaves(part)]


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    """Equal to `tolerance` (0: to the bit), tensor by tensor."""
    left, right = leaves(a), leaves(b)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if tolerance == 0:
            assert torch.equal(one, other)
        else:
            assert (one - other).abs().max() <= tolerance if one.numel() else True


@torch.no_grad()
def check_temporal_laws(module: Temporal, xs: Tensor, tolerance: float = 0.0) -> None:
    """Every law on one sequence `xs` [time >= 6, batch >= 3, ...], in evaluation mode.

    The tolerance covers what a BLAS may do differently for another number of rows; it is not for anything else.
    """
    module = module.eval()
    time, batch = xs.shape[:2]
    whole, end = module(xs)

    # scan == folded step, from None and from the explicit initial state
    for state in (None, module.initial_state(batch, tuple(xs.shape[2:]))):
        rows = []
        for x in xs:
            y, state = module.step(x, state)
            rows.append(y)
        assert_close((torch.stack(rows), state), (whole, end), tolerance)
    assert tuple(whole.shape[2:]) == module.output_shape(tuple(xs.shape[2:]))

    # chunk by chunk == whole
    for cuts in ([2, time - 2], [1, 3, time - 4]):
        state, parts = None, []
        for chunk in xs.split(cuts):
            ys, state = module(chunk, state)
            parts.append(ys)
        assert_close((torch.cat(parts), state), (whole, end), tolerance)

    # the future does not change the past
    changed = xs.clone()
    changed[time // 2 :] = 1 - changed[time // 2 :]
    assert_close(module(changed)[0][: time // 2], whole[: time // 2], 0.0)
    assert not torch.equal(module(changed)[0], whole)

    # rows are independent
    changed = xs.clone()
    changed[:, 1:] = 1 - changed[:, 1:]
    assert_close(module(changed)[0][:, 0], whole[:, 0], 0.0)
    assert_close(module(xs[:, 1:2])[0], whole[:, 1:2], tolerance)

    # a reset mask touches its rows only, and they start afresh
    mask = torch.zeros(batch, dtype=torch.bool)
    mask[1] = True
    _, middle = module(xs[: time // 2])
    after, _ = module(xs[time // 2 :], reset_where(middle, mask))
    assert_close(after[:, 0], whole[time // 2 :, 0], tolerance)
    assert_close(after[:, 1], module(xs[time // 2 :])[0][:, 1], tolerance)

    # state and weights survive save and load
    other = copy.deepcopy(module)
    other.load_state_dict({name: tensor.clone() for name, tensor in module.state_dict().items()})
    saved = [leaf.clone() for leaf in leaves(middle)]
    restored = _rebuild(middle, iter(saved))
    assert_close(other(xs[time // 2 :], restored)[0], whole[time // 2 :], tolerance)


def _rebuild(state: Any, tensors: Any) -> Any:
    if state is None:
        return None
    if isinstance(state, Tensor):
        return next(tensors)
    parts = [_rebuild(part, tensors) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
