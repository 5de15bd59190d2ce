"""A text model on a file or folder, as `dvs-snn text evaluate` judges it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from dvs_snn.deploy.energy import FAIR_SPIKES, TABLES, EnergyTable
from dvs_snn.learning.measures import CostMeter
from dvs_snn.text.checkpoint import LANGUAGE, TextModel
from dvs_snn.text.data import open_sentences, open_text
from dvs_snn.text.evaluate import evaluate_sentences, evaluate_stream, evaluate_text, windows_in
from dvs_snn.text.recipe import TextDataConfig, text_recipe_from

PRICES = ("horowitz45-float32", "horowitz45-int8")
"""Tables of `deploy.energy` that costs are told in."""


def modelled_j(costs: dict[str, Any], table: EnergyTable) -> float:
    """Joules per token, modelled: additions for spikes, products for numbers, one update per neuron; no memory."""
    operations = costs["synaptic_operations"]
    products = operations["effective_macs"] * table.graded_j + _neurons(costs) * table.neuron_j
    return float(products + operations["effective_acs"] * table.synapse_j)


def twin_j(costs: dict[str, Any], table: EnergyTable) -> float:
    """The same for the twin of these sizes, which runs at every token too: each product, each update."""
    return float(costs["synaptic_operations"]["dense"] * table.twin_j + _neurons(costs) * table.neuron_j)


def _neurons(costs: dict[str, Any]) -> int:
    return sum(layer["neurons"] for layer in costs["layers"].values())


def data_of(model: TextModel, path: str) -> TextDataConfig:
    """How the model's training data were read, for other data."""
    recipe = model.metrics.get("recipe")
    data = text_recipe_from(recipe).data if isinstance(recipe, dict) else TextDataConfig()
    return replace(data, path=path)


def judge(
    model: TextModel, path: str, split: str = "test", length: int | None = None, device: str = "cpu"
) -> dict[str, Any]:
    """Task, data, split, accuracy with its interval, loss, what it costs (`measures.CostMeter`), modelled energy."""
    data = data_of(model, path)
    meter = CostMeter(model.network)
    if model.task == LANGUAGE:
        text = open_text(data, model.tokenizer, split)
        length = length or data.length
        with tqdm(total=windows_in(text, length), desc="evaluate", unit="window", file=sys.stderr) as bar:
            found = evaluate_text(model.network, text, length, device=device, advance=bar.update, meter=meter)
        source = text.source
        found = {**found, "length": length, "streamed": evaluate_stream(model.network, text, device)}
    else:
        sentences = open_sentences(data, model.tokenizer, model.labels, split)
        source = sentences.source
        with tqdm(total=len(sentences), desc="evaluate", unit="sentence", file=sys.stderr) as bar:
            found = evaluate_sentences(
                model.network, sentences, model.labels, device=device, advance=bar.update, meter=meter
            )
    costs = meter.report()
    energy = {name: {"j": modelled_j(costs, TABLES[name]), "twin_j": twin_j(costs, TABLES[name])} for name in PRICES}
    return {"task": model.task, "data": source, "split": split, **found, "costs": costs, "energy_per_token": energy}


def describe(result: dict[str, Any]) -> str:
    """The measures for a reader."""
    what = "tokens" if result["task"] == LANGUAGE else "sentences"
    lines = [
        f"{result['task']} on {result['data']}, split {result['split']}: {result['n']} {what}",
        f"accuracy {result['accuracy']:.4f} (95 %: {result['accuracy_low']:.4f} to {result['accuracy_high']:.4f}), "
        f"loss {result['loss']:.4f}",
    ]
    if result["task"] == LANGUAGE:
        streamed = result["streamed"]
        lines.append(
            f"windows of {result['length']} tokens from rest: {result['bits_per_token']:.4f} bits per token; "
            f"as one stream: loss {streamed['loss']:.4f}, {streamed['bits_per_token']:.4f} bits"
        )
    costs = result["costs"]
    operations = costs["synaptic_operations"]
    lines.append(
        f"per token: {costs['spikes_per_bin']:.0f} spikes, {operations['effective_acs'] / 1e3:.0f} k accumulates, "
        f"{operations['effective_macs'] / 1e3:.0f} k multiply-accumulates (dense {operations['dense'] / 1e3:.0f} k)"
    )
    if costs["spiking"]:
        lines.append(
            f"spikes drive {operations['driven_by_spikes']:.1%} of the products; modelled at 45 nm without memory: "
            + ", ".join(
                f"{1e6 * found['j']:.3f} uJ in {name.removeprefix('horowitz45-')} (twin {1e6 * found['twin_j']:.3f})"
                for name, found in result["energy_per_token"].items()
            )
        )
    lines.append(f"layer, neurons, rate (T phi at T = 1; green: fair below {FAIR_SPIKES} with memory)")
    lines += [
        f"  {name[:28]:28s} {layer['neurons']:6d} {layer['rate']:.4f} {layer['each_bin']['gate']}"
        for name, layer in costs["layers"].items()
    ]
    return "\n".join(lines)
