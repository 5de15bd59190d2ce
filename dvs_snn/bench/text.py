"""`dvs-snn bench text`: tokens per second against a Transformer with a cache; with `--data SST2`, spikes against none.

The second part trains judges of sentences from scratch (spiking, GELU twin, bag of embeddings; three seeds each) in
`runs/bench-text/`, goes on where it was cut, and prints one table for the test split.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch

from dvs_snn.deploy.energy import TABLES
from dvs_snn.learning import Trainer
from dvs_snn.learning.measures import CostMeter
from dvs_snn.models import build_model
from dvs_snn.nn import Temporal
from dvs_snn.pipeline import shipped_checkpoints
from dvs_snn.text import LANGUAGE, TextRecipe, TextTask, load_text_model, load_text_recipe, sentence_clip
from dvs_snn.text.baselines import BagConfig, Bags, Transformer, TransformerConfig
from dvs_snn.text.clips import Sentences
from dvs_snn.text.data import open_sentences
from dvs_snn.text.evaluate import evaluate_sentences
from dvs_snn.text.event_step import EventStep
from dvs_snn.text.judge import PRICES, modelled_j
from dvs_snn.text.transformer_step import TransformerStep

CONTEXTS = (64, 512, 4096)
TOKENS, ROUNDS = 32, 9
FORMS = {
    "compiled": "spiking, compiled",
    "transformer_compiled": "Transformer, compiled",
    "step": "spiking, torch",
    "transformer": "Transformer, torch",
}
"""What `speed` measures: both networks, compiled by the same means and as torch calls."""
KINDS = ("spiking", "twin", "bag")
WORDS = {"spiking": (), "twin": ("model_config.twin=true",), "bag": ("data.drop=0.2", "model_config.dropout=0.3")}
"""How each differs from the recipe; what a bag can learn by heart is little, so it needs less dropout."""
SEEDS = (1, 2, 3)
OUT = Path("runs/bench-text")


def run(args: argparse.Namespace) -> int:
    """Measure, and print tables or JSON."""
    report: dict[str, Any] = {"bench": "text", "speed": speed()}
    if args.data:
        report["sentences"] = compare(args.data)
    print(json.dumps(report) if args.json else describe(report))
    return 0


def speed(contexts: tuple[int, ...] = CONTEXTS, tokens: int = TOKENS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Tokens per second of processor time at batch 1 when `context` tokens were read before; kinds in turn, medians.

    Each network runs as torch calls, and compiled by the same means (numba). The spiking network is the shipped `text`
    (else one with fresh weights) and reads what it writes itself. The Transformer has as many weights (within 5 %); of
    its cache only the size matters to its speed.
    """
    network, name = _language_model()
    vocabulary = network.output_shape(())[-1]
    numbers = _written(network, tokens * rounds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_speed_at(context, network, vocabulary, numbers, tokens, rounds) for context in contexts]
    finally:
        torch.set_num_threads(threads)
    rival = Transformer(TransformerConfig(vocabulary=vocabulary))
    sizes = [sum(p.numel() for p in net.parameters()) for net in (network, rival)]
    return {"model": name, "parameters": sizes[0], "transformer_parameters": sizes[1], "threads": 1, "rows": rows}


def _speed_at(
    context: int, network: Temporal, vocabulary: int, numbers: list[int], tokens: int, rounds: int
) -> dict[str, Any]:
    transformer = Transformer(TransformerConfig(vocabulary=vocabulary, context=context)).eval()
    cache = transformer.empty_cache()
    for tensor in cache:
        tensor.normal_()
    rival = TransformerStep(transformer)
    rival.keys[:], rival.values[:], rival.read = cache.keys[:, 0].numpy(), cache.values[:, 0].numpy(), context
    rival(numbers[0])  # compiles
    event, state = EventStep(network), None
    for number in numbers[:tokens]:  # whatever came before leaves a state of this size
        event(number)
        with torch.inference_mode():
            _, state = network.step(torch.tensor([number]), state)
    held = [state]

    def step(number: int, at: int) -> None:
        with torch.inference_mode():
            _, held[0] = network.step(torch.tensor([number]), held[0])

    kinds: dict[str, Callable[[int, int], object]] = {
        "compiled": lambda number, at: event(number),
        "step": step,
        "transformer_compiled": lambda number, at: rival(number),
        "transformer": lambda number, at: transformer.step(number, cache, context + at),
    }
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds):
        part = numbers[turn * tokens : (turn + 1) * tokens]
        for kind, take in kinds.items():
            begun = time.thread_time()
            for at, number in enumerate(part):
                take(number, turn * tokens + at)
            spent[kind].append((time.thread_time() - begun) / tokens)
    rates = {f"{kind}_tokens_per_s": 1 / median(times) for kind, times in spent.items()}
    return {"context": context, **rates}


def _language_model() -> tuple[Temporal, str]:
    if "text" in shipped_checkpoints():
        return load_text_model("text", LANGUAGE).network, "text"
    torch.manual_seed(1)
    return build_model("text").eval(), "text, fresh weights"


def _written(network: Temporal, count: int) -> list[int]:
    """Tokens drawn from the network itself, so that its neurons fire as they do at work."""
    event = EventStep(network)
    random = torch.Generator().manual_seed(1)
    token, found = 1, []
    for _ in range(count):
        token = int(torch.multinomial(torch.softmax(event(token), 0), 1, generator=random))
        found.append(token)
    return found


class BagTask(TextTask):
    """The recipe's data and training for bags of embeddings of the network's width, as many as it has members."""

    def build(self) -> Temporal:
        """Bags with fresh weights."""
        options = self.recipe.model_config
        sizes = {key: options[key] for key in ("width", "dropout") if key in options}
        config = BagConfig(self.tokenizer.size, len(self.recipe.labels), **sizes)
        return Bags(config, options.get("members", 1))


def recipe_of(kind: str, seed: int, data: str) -> TextRecipe:
    """The recipe `sst2` for one of `KINDS`."""
    return load_text_recipe("sst2", [f"seed={seed}", *WORDS[kind]], data)


def compare(data: str, out: Path = OUT, kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    """Train what is not yet trained, judge all on the test split, and say what a sentence costs.

    Judged are the (averaged) weights after the last epoch, which the recipe keeps: the few held-out sentences choose
    among epochs by chance.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    timed: dict[str, Temporal] = {}
    sentences: Sentences | None = None
    for seed in SEEDS:
        for kind in kinds:
            recipe = recipe_of(kind, seed, data)
            task = (BagTask if kind == "bag" else TextTask)(recipe)
            folder = out / f"{kind}-{seed}"
            print(f"{kind}, seed {seed}", file=sys.stderr)
            trainer = Trainer(task, folder, "cpu", "dvs-snn bench text", resume=(folder / "recipe.yaml").exists())
            best, network = trainer.fit(), trainer.model.eval()
            network.load_state_dict(trainer.averaged.average)
            sentences = open_sentences(recipe.data, task.tokenizer, recipe.labels, "test")
            meter = CostMeter(network)
            measures = evaluate_sentences(network, sentences, recipe.labels, meter=meter)
            costs = meter.report()
            found[kind].append({"seed": seed, "validation": best["validation"]["accuracy"], **measures, "costs": costs})
            timed[kind] = network
    assert sentences is not None
    times = _latency(timed, sentences)
    return {
        "data": sentences.source,
        "n": len(sentences),
        "seeds": list(SEEDS),
        "rows": {kind: {**_row(runs), "ms_per_sentence": times[kind]} for kind, runs in found.items()},
    }


def _row(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds; operations and energy per sentence."""
    accuracies = [run["accuracy"] for run in runs]
    tokens = mean(run["costs"]["bins"] / run["n"] for run in runs)

    def per_sentence(value: Callable[[dict[str, Any]], float]) -> float:
        return mean(value(run["costs"]) for run in runs) * tokens

    return {
        "parameters": runs[0]["costs"]["parameters"],
        "accuracy": mean(accuracies),
        "accuracy_sd": stdev(accuracies),
        "accuracies": accuracies,
        "validation": mean(run["validation"] for run in runs),
        "tokens": tokens,
        "spikes": per_sentence(lambda c: c["spikes_per_bin"] if c["spiking"] and c["layers"] else 0.0),
        "accumulates": per_sentence(lambda c: c["synaptic_operations"]["effective_acs"]),
        "multiplications": per_sentence(lambda c: c["synaptic_operations"]["effective_macs"]),
        "dense": per_sentence(lambda c: c["synaptic_operations"]["dense"]),
        "rates": {name: layer["rate"] for name, layer in runs[0]["costs"]["layers"].items()},
        "microjoule": {name: per_sentence(partial(modelled_j, table=TABLES[name])) * 1e6 for name in PRICES},
    }


@torch.inference_mode()
def _latency(networks: dict[str, Temporal], sentences: Sentences, count: int = 100) -> dict[str, float]:
    """Median milliseconds of processor time for a whole sentence, batch 1, the kinds in turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spent: dict[str, list[float]] = {kind: [] for kind in networks}
    for row in range(min(count, len(sentences))):
        clip = sentence_clip([sentences.tokens[row]], sentences.labels[row : row + 1])
        for kind, network in networks.items():
            begun = time.thread_time()
            clip.scan(network, None)
            spent[kind].append((time.thread_time() - begun) * 1e3)
    torch.set_num_threads(threads)
    return {kind: median(times) for kind, times in spent.items()}


def describe(report: dict[str, Any]) -> str:
    """The tables for a reader."""
    measured = report["speed"]
    lines = [
        f"{measured['model']}: {measured['parameters']:,} weights; Transformer with cache: "
        f"{measured['transformer_parameters']:,}; tokens per second of one core, batch 1",
        f"{'context':>8}" + "".join(f"{name:>23}" for name in FORMS.values()),
    ]
    lines += [
        f"{row['context']:8d}" + "".join(f"{row[f'{kind}_tokens_per_s']:23,.0f}" for kind in FORMS)
        for row in measured["rows"]
    ]
    if "sentences" in report:
        lines += ["", *_describe_sentences(report["sentences"])]
    return "\n".join(lines)


def _describe_sentences(table: dict[str, Any]) -> list[str]:
    lines = [
        f"{table['data']}, {table['n']} sentences, seeds {', '.join(map(str, table['seeds']))}; per sentence:",
        f"{'':8s}{'weights':>10}{'accuracy':>16}{'ms':>8}{'spikes':>9}{'k adds':>9}{'k products':>12}{'k dense':>9}"
        + "".join(f"{'uJ ' + name.removeprefix('horowitz45-'):>12}" for name in PRICES),
    ]
    for kind, row in table["rows"].items():
        accuracy = f"{row['accuracy']:.2%} ± {100 * row['accuracy_sd']:.2f}"
        lines.append(
            f"{kind:8s}{row['parameters']:10,d}{accuracy:>16}{row['ms_per_sentence']:8.2f}{row['spikes']:9.0f}"
            f"{row['accumulates'] / 1e3:9.0f}{row['multiplications'] / 1e3:12.0f}{row['dense'] / 1e3:9.0f}"
            + "".join(f"{row['microjoule'][name]:12.3f}" for name in PRICES)
        )
    lines.append("energy is modelled (45 nm, Horowitz 2014), memory is not in it; a bag looks up and adds only")
    return lines
