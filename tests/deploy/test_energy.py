"""Energy is counts times a named table; counts come from replayed frames."""

import pytest

from dvs_snn.deploy import IntReference, LoihiPackage
from dvs_snn.deploy.energy import TABLES, estimate, report, twin_macs
from dvs_snn.deploy.package import run_layers
from dvs_snn.errors import ConfigError


def counted(package: LoihiPackage):  # type: ignore[no-untyped-def]
    golden = package.golden
    return run_layers(package.layers, golden.frames, golden.currents, golden.flags)[1]


def test_operations_alone_price_a_network_of_one_kind(package: LoihiPackage) -> None:
    counts = counted(package)
    found = estimate(counts, "ndns-proxy")
    steps = len(package.golden.frames)
    neurons = sum(part.neurons for part in counts)
    assert found.energy == pytest.approx(sum(part.operations for part in counts) / steps + 10 * neurons)
    assert found.status == "modelled"


def test_silence_costs_neuron_updates_only(package: LoihiPackage) -> None:
    import numpy as np

    reference = IntReference(package.layers[:1])
    reference.step(np.zeros(package.golden.frames.shape[1:], np.int32))
    found = estimate(reference.counts)
    assert found.operations == 0
    assert found.energy >= reference.counts[0].neurons * TABLES["loihi1-davies2018"].neuron_j


def test_the_twin_has_every_multiplication(package: LoihiPackage) -> None:
    assert twin_macs(package.layers) >= sum(p.operations for p in counted(package)) / len(package.golden.frames)


def test_lines_name_table_and_kind(package: LoihiPackage) -> None:
    lines = "\n".join(report(package.layers, counted(package)))
    assert all(name in lines for name in TABLES) and "modelled" in lines and "twin" in lines
    with pytest.raises(ConfigError, match="unknown"):
        estimate(counted(package), "loihi9")
