"""Energy of a network from exact counts and published tables: always modelled, never measured.

A table is energy per operation: a synaptic operation (an input that is not zero times a weight that is not zero; an
addition where inputs are spikes, a multiplication with its addition where they are graded), an update of a neuron, a
spike that leaves, a hop between cores. The non-spiking twin is counted as the same layers computed densely, each
multiplication with its addition, in the same arithmetic; both sides leave out memory and idle power, which a comparison
of chips cannot: with memory a spiking layer wins only below `FAIR_SPIKES` (see docs/deploy.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dvs_snn.deploy.integer import LayerCounts
from dvs_snn.deploy.layers import ChipLayer, ConvLIF
from dvs_snn.errors import ConfigError

NEURONS_PER_CORE = 1024
CORES_PER_ROW = 8


@dataclass(frozen=True)
class EnergyTable:
    """Joules per operation, and where the numbers come from."""

    name: str
    source: str
    synapse_j: float
    graded_j: float
    neuron_j: float
    spike_j: float = 0.0
    hop_j: float = 0.0
    unit: str = "J"
    twin_j: float = 0.0
    """A multiplication with its addition in the non-spiking twin; 0 where the machine runs no such network."""


TABLES: dict[str, EnergyTable] = {
    table.name: table
    for table in (
        EnergyTable("loihi1-davies2018", "Davies et al. 2018, table 2", 23.6e-12, 23.6e-12, 81e-12, 1.7e-12, 3.5e-12),
        EnergyTable(
            "horowitz45-float32", "Horowitz 2014, 45 nm, 32-bit float", 0.9e-12, 4.6e-12, 4.6e-12, twin_j=4.6e-12
        ),
        EnergyTable(
            "horowitz45-int8",
            "Horowitz 2014, 45 nm, 8-bit products in 32-bit sums, 32-bit states",
            0.1e-12,
            0.3e-12,
            3.2e-12,
            twin_j=0.3e-12,
        ),
        EnergyTable(
            "ndns-proxy", "Intel N-DNS challenge 2023: SynOPS + 10 NeuronOPS", 1.0, 1.0, 10.0, unit="operations"
        ),
    )
}
"""Energy tables by name. Intel has published none for Loihi 2."""

FAIR_SPIKES = 0.28
"""Spikes per neuron and inference below which a spiking layer beats a network of few bits once memory is counted
(arXiv 2409.08290); who counts additions against multiplications alone finds 5."""


@dataclass(frozen=True)
class Estimate:
    """Per bin: counts, and the table's energy for them."""

    table: str
    unit: str
    operations: float
    updates: float
    spikes: float
    hops: float
    energy: float
    layers: dict[str, float]
    status: str = "modelled"


def estimate(counts: Sequence[LayerCounts], table: str = "loihi1-davies2018") -> Estimate:
    """Energy per bin of the chip parts for counts of replayed recordings; raises `ConfigError` for an unknown table."""
    if table not in TABLES:
        raise ConfigError(f"energy table {table!r} is unknown; known: {', '.join(TABLES)}")
    use = TABLES[table]
    layers: dict[str, float] = {}
    totals = [0.0] * 4
    for part in counts:
        steps = max(part.steps, 1)
        numbers = part.operations / steps, float(part.neurons), part.spikes / steps, hops(part) / steps
        prices = use.graded_j if part.graded else use.synapse_j, use.neuron_j, use.spike_j, use.hop_j
        layers[part.name] = sum(number * price for number, price in zip(numbers, prices, strict=True))
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
    operations, updates, spikes, crossed = totals
    return Estimate(table, use.unit, operations, updates, spikes, crossed, sum(layers.values()), layers)


def hops(part: LayerCounts) -> float:
    """Hops of a layer's spikes: one message per spike over the mean distance between cores of a layer and the next.

    Cores of 1,024 neurons lie in rows of 8, layer after layer; a message to the next layer crosses about as many as
    the layer has, at most a row and its column.
    """
    cores = math.ceil(part.neurons / NEURONS_PER_CORE)
    return float(part.spikes) * (min(cores, CORES_PER_ROW) + cores // CORES_PER_ROW)


def twin_macs(layers: Sequence[ChipLayer]) -> int:
    """Multiplications per bin of the chip layers' non-spiking twin: the same maps and kernels, every input counted."""
    total = 0
    for layer in layers:
        if isinstance(layer, ConvLIF):
            _, height, width = layer.output_shape
            total += layer.mantissas.size * height * width
        else:
            total += layer.mantissas.size
    return total


def report(layers: Sequence[ChipLayer], counts: Sequence[LayerCounts]) -> list[str]:
    """Lines for a reader: the counts, every table, and the twin beside it."""
    one, macs = estimate(counts), twin_macs(layers)
    lines = [
        "energy of the chip parts per bin (modelled, not measured)",
        f"  {one.operations:,.0f} synaptic operations, {one.updates:,.0f} neuron updates, {one.spikes:,.0f} spikes, "
        f"{one.hops:,.0f} hops; non-spiking twin {macs:,} MAC, computed densely",
    ]
    for name, table in TABLES.items():
        energy = estimate(counts, name).energy
        amount = f"{energy * 1e6:8.3f} uJ" if table.unit == "J" else f"{energy / 1e3:8.1f} k operations"
        twin = f"   non-spiking twin {macs * table.twin_j * 1e6:8.3f} uJ" if table.twin_j else ""
        lines.append(f"  {name:18s} {amount}{twin}")
    rates = ", ".join(f"{name} {rate:.3f}" for name, rate in spikes_per_neuron(counts).items())
    lines.append(f"  spikes per neuron and bin: {rates}; with memory counted, fair below {FAIR_SPIKES}")
    return lines


def spikes_per_neuron(counts: Sequence[LayerCounts]) -> dict[str, float]:
    """Mean spikes per neuron and bin of every layer, for one sequence at a time."""
    return {part.name: part.spikes / max(part.steps, 1) / part.neurons for part in counts}
