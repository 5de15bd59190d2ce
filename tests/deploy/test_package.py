"""The package as files: whole, checked on reading, bound to its network, proved by its golden vectors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.deploy import LoihiPackage, load_package
from dvs_snn.errors import PackageError
from dvs_snn.models import GestureNet
from tests.deploy.conftest import small_network


@pytest.fixture
def saved(tmp_path: Path, package: LoihiPackage) -> Path:
    package.save(tmp_path / "loihi")
    return tmp_path / "loihi"


def test_round_trip_keeps_every_integer(saved: Path, package: LoihiPackage, network: GestureNet) -> None:
    read = load_package(saved, network)
    for layer, wanted in zip(read.layers, package.layers, strict=True):
        assert layer.numbers() == wanted.numbers()
        for name, values in wanted.arrays().items():
            assert np.array_equal(layer.arrays()[name], values)
            assert layer.arrays()[name].dtype == values.dtype
    read.verify()
    assert read.parts == json.loads(json.dumps(package.parts))


def test_golden_vectors_hold_a_reset_and_spikes(package: LoihiPackage) -> None:
    assert (package.golden.flags == 2).sum() == 2
    assert all(part.sum() > 0 for part in package.golden.spikes)
    package.verify()


def test_one_changed_weight_fails_the_golden_vectors(package: LoihiPackage) -> None:
    mantissas = package.layers[0].mantissas.copy()
    mantissas[0, 0] = -mantissas[0, 0]
    changed = replace(package.layers[0], mantissas=mantissas)
    with pytest.raises(PackageError, match="golden"):
        replace(package, layers=(changed, *package.layers[1:])).verify()


def test_another_network_is_refused(saved: Path) -> None:
    with pytest.raises(PackageError, match="not of these weights"):
        load_package(saved, small_network(leak=0.9, delays=(0, 1), hidden=10))


def test_damage_is_one_line(saved: Path) -> None:
    with open(saved / "layers.safetensors", "r+b") as file:
        file.seek(-3, 2)
        file.write(b"\x11")
    with pytest.raises(PackageError, match="hash differs"):
        load_package(saved)
    (saved / "layers.safetensors").unlink()
    with pytest.raises(PackageError, match="missing"):
        load_package(saved)


def test_numbers_out_of_range_are_refused(package: LoihiPackage) -> None:
    layer = replace(package.layers[0], threshold=package.layers[0].threshold + (1 << 17))
    with pytest.raises(PackageError, match="threshold"):
        layer.check()


def test_shares_of_the_work_sum_to_one(package: LoihiPackage) -> None:
    assert sum(part["share"] for part in package.parts) == pytest.approx(1.0)
    assert [part["part"] for part in package.parts] == ["conv1", "conv2", "bridge", "blocks", "head", "readout"]
    assert {part["runs_on"] for part in package.parts} == {"chip", "host"}


def test_states_fit_with_headroom(package: LoihiPackage) -> None:
    for layer in package.calibration:
        assert layer["largest_state"] * 1.3 < 2**23
        assert layer["saturated"] == layer["wrapped"] == 0
