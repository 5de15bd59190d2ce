"""Energy of a network from exact counts and published tables: always modelled, never measured.

A table is energy per operation: a synaptic operation (an input that is not zero times a weight that is not zero), an
update of a neuron, a spike that leaves, a hop between cores. The non-spiking twin is counted as the same layers
computed densely, each multiplication with its accumulation, at a stated bit width; both sides leave out memory and idle
power, which a comparison of chips cannot (see docs/deploy.md).
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
    neuron_j: float
    spike_j: float = 0.0
    hop_j: float = 0.0
    unit: str = "J"


TABLES: dict[str, EnergyTable] = {
    table.name: table
    for table in (
        EnergyTable("loihi1-davies2018", "Davies et al. 2018, table 2", 23.6e-12, 81e-12, 1.7e-12, 3.5e-12),
        EnergyTable("horowitz45", "Horowitz 2014, 45 nm, 32-bit float addition", 0.9e-12, 0.9e-12),
        EnergyTable("ndns-proxy", "Intel N-DNS challenge 2023: SynOPS + 10 NeuronOPS", 1.0, 10.0, unit="operations"),
    )
}
"""Energy tables by name. Intel has published none for Loihi 2."""

MAC_J = {32: 4.6e-12, 8: 0.23e-12}
"""45 nm multiplication with accumulation (Horowitz 2014): 32-bit float, 8-bit integer."""


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
        prices = use.synapse_j, use.neuron_j, use.spike_j, use.hop_j
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
    """Lines for a reader: every table, and the twin beside it."""
    lines = ["energy of the chip parts per bin (modelled, not measured)"]
    for name in TABLES:
        found = estimate(counts, name)
        amount = f"{found.energy / 1e3:,.1f} k operations" if found.unit != "J" else f"{found.energy * 1e6:,.3f} uJ"
        lines.append(
            f"  {name:18s} {amount}  ({found.operations:,.0f} synaptic operations, {found.updates:,.0f} neuron "
            f"updates, {found.spikes:,.0f} spikes, {found.hops:,.0f} hops)"
        )
    macs = twin_macs(layers)
    for bits, price in MAC_J.items():
        lines.append(f"  non-spiking twin, {bits:2d} bit, 45 nm: {macs * price * 1e6:,.3f} uJ  ({macs:,} MAC, dense)")
    return lines
