"""Energy is counts times a named table; counts come from replayed frames."""

import pytest

from dvs_snn.deploy import IntReference, LoihiPackage
from dvs_snn.deploy.energy import TABLES, estimate, report, spikes_per_neuron, twin_macs
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


def test_counts_are_multiplied_and_spikes_added(package: LoihiPackage) -> None:
    """The same work costs a layer that hears counts a product each, another only a sum."""
    table = TABLES["horowitz45-int8"]
    first, second, head = counted(package)
    assert (first.graded, second.graded, head.graded) == (True, False, False)
    found = estimate([first, second], table.name).layers
    for part, price in ((first, table.graded_j), (second, table.synapse_j)):
        operations = found[part.name] - part.neurons * table.neuron_j
        assert operations == pytest.approx(part.operations / part.steps * price)


def test_spikes_per_neuron_are_a_share_of_the_bins(package: LoihiPackage) -> None:
    for part, rate in zip(counted(package), spikes_per_neuron(counted(package)).values(), strict=True):
        assert 0 < rate < 1
        assert rate * part.neurons * part.steps == pytest.approx(part.spikes)


def test_lines_name_table_and_kind(package: LoihiPackage) -> None:
    lines = "\n".join(report(package.layers, counted(package)))
    assert all(name in lines for name in TABLES) and "modelled" in lines and "twin" in lines
    with pytest.raises(ConfigError, match="unknown"):
        estimate(counted(package), "loihi9")
