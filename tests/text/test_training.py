"""Text models train by the trainer of all networks: they learn, go on after a cut, and bad input is one line."""

import json

import numpy as np
import pytest
import torch

from dvs_snn.cli import main
from dvs_snn.deploy.energy import TABLES
from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.learning import Trainer
from dvs_snn.text import LANGUAGE, TextTask, load_text_model, load_text_recipe, shipped_text_recipes, text_recipe_from
from dvs_snn.text.judge import modelled_j, twin_j
from tests.text.tiny import chant, save_tiny, tiny_recipe


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "chant.txt"
    path.write_text(chant())
    return path


def reviews(path, count=240):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        label = int(rng.integers(2))
        words = rng.choice(["the", "film", "was", "an", "actor"], size=int(rng.integers(2, 8))).tolist()
        words.insert(int(rng.integers(len(words))), ("dull", "fine")[label])
        rows.append(f"{label}\t{' '.join(words)}")
    path.write_text("label\ttext\n" + "\n".join(rows) + "\n")
    return path


def test_a_language_is_learned(text, tmp_path):
    best = Trainer(TextTask(tiny_recipe(text, train={**TRAIN, "epochs": 6})), tmp_path / "run", progress=False).fit()
    model = load_text_model(tmp_path / "run" / "checkpoint", LANGUAGE)
    assert best["validation"]["loss"] < 0.75 * np.log(model.tokenizer.size)
    assert model.metrics["validation"]["loss"] == best["validation"]["loss"]


TRAIN = {"epochs": 2, "batch": 4, "ema": 0.0, "threads": 1, "log_every": 1, "checkpoint_minutes": 0.0}


def test_a_cut_run_goes_on_bit_for_bit(text, tmp_path):
    recipe = tiny_recipe(text, train=TRAIN)
    Trainer(TextTask(recipe), tmp_path / "whole", progress=False).fit()
    cut = Trainer(TextTask(recipe), tmp_path / "cut", progress=False)
    write = cut.journal.write

    def write_then_stop(kind, step, values):
        write(kind, step, values)
        cut._signalled |= step == 13

    cut.journal.write = write_then_stop
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    Trainer(TextTask(recipe), tmp_path / "cut", progress=False, resume=True).fit()
    whole, resumed = (load_text_model(tmp_path / name / "checkpoint").network for name in ("whole", "cut"))
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_sentences_are_learned_and_judged(tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    reviews(folder / "train.tsv")
    reviews(folder / "test.tsv", 40)
    recipe = tmp_path / "reviews.yaml"
    recipe.write_text(
        "task: sentences\nlabels: [bad, good]\ndata: {held_out: 0.5}\n"
        "model_config: {width: 16, layers: 1, hidden: 16, states: 2}\n"
        "optimizer: {lr: 0.02}\ntrain: {epochs: 4, batch: 8, threads: 1, ema: 0.0}\n"
    )
    out = tmp_path / "run"
    assert main(["text", "train", str(recipe), "--data", str(folder), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["text", "evaluate", str(out / "checkpoint"), "--data", str(folder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["accuracy"] > 0.9 and result["n"] == 40
    assert result["costs"]["spiking"] and result["costs"]["synaptic_operations"]["effective_acs"] > 0


def test_evaluate_tells_tokens_windows_and_stream(text, tmp_path, capsys):
    save_tiny(tmp_path / "m")
    arguments = ["text", "evaluate", str(tmp_path / "m"), "--data", str(text), "--length", "50"]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["n"] == 4000 // 50 * 50
    assert result["loss"] == pytest.approx(result["bits_per_token"] * np.log(2))
    assert result["streamed"]["n"] == 4001
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "as one stream" in told and "spikes drive" in told and "uJ in int8 (twin" in told


def test_energy_is_the_sum_of_its_operations():
    operations = {"effective_macs": 10.0, "effective_acs": 100.0, "dense": 1000.0}
    costs = {"synaptic_operations": operations, "layers": {"a": {"neurons": 3}, "b": {"neurons": 2}}}
    table = TABLES["horowitz45-float32"]
    assert modelled_j(costs, table) == pytest.approx((10 * 4.6 + 100 * 0.9 + 5 * 4.6) * 1e-12)
    assert twin_j(costs, table) == pytest.approx(1005 * 4.6e-12)


def test_generate_streams_and_repeats(tmp_path, capsys):
    save_tiny(tmp_path / "m")
    words = ["text", "generate", "abc", "--model", str(tmp_path / "m"), "--tokens", "30", "--seed", "1"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert first == f"{second['prompt']}{second['text']}\n" and len(second["text"]) == 30


def test_chat_answers_line_by_line(tmp_path, capsys, monkeypatch):
    import io

    save_tiny(tmp_path / "m")
    monkeypatch.setattr("sys.stdin", io.StringIO("abc\n/reset\nxyz\nabc\n/quit\nnever\n"))
    assert main(["text", "chat", "--model", str(tmp_path / "m"), "--tokens", "8", "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    assert out and "does not know the characters 'x'" in err


def test_every_shipped_recipe_is_whole():
    for name in shipped_text_recipes():
        recipe = load_text_recipe(name)
        again = text_recipe_from(recipe.to_dict())
        assert again.to_dict() == recipe.to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "vision"}, "task is 'vision'"),
        ({"task": "sentences"}, "labels"),
        ({"labels": ["a", "b"]}, "labels"),
        ({"tokenizer": {"kind": "words"}}, "tokenizer.kind"),
        ({"data": {"cut": "page", "path": "x.txt"}}, "data.cut"),
        ({"data": {"lenght": 3}}, "lenght"),
        ({"model_config": {"depth": 3}}, "depth"),
        ({"train": {"epochs": "many"}}, "epochs"),
        ({"distill": {"weight": 2.0}}, "distill.weight"),
    ],
)
def test_recipes_that_cannot_be_are_one_clear_error(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        recipe = text_recipe_from({"name": "x", "data": {"path": str(tmp_path / "x.txt")}, **changes})
        (tmp_path / "x.txt").write_text("abc")
        TextTask(recipe)


def lines_of(capsys, words):
    assert main(list(map(str, words))) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and err.startswith("dvs-snn: ")
    return err


def test_bad_input_is_one_line_and_status_2(tmp_path, text, capsys):
    model = save_tiny(tmp_path / "m")
    empty, short = tmp_path / "empty.txt", tmp_path / "short.txt"
    empty.write_text("")
    short.write_text("abc")
    generate = ["text", "generate", "--model", model]
    assert "characters 'é' (U+00E9), '漢'" in lines_of(capsys, [*generate, "é漢"])
    assert "for events (gesture), not for text" in lines_of(capsys, ["text", "generate", "a", "--model", "gesture"])
    assert "is a text model" in lines_of(capsys, ["evaluate", model, "--data", "simulated"])
    assert "no such checkpoint" in lines_of(capsys, ["text", "generate", "a", "--model", tmp_path / "none"])
    assert "is empty" in lines_of(capsys, ["text", "evaluate", model, "--data", empty])
    assert "is empty" in lines_of(capsys, ["text", "train", "shakespeare", "--data", empty, "--out", tmp_path / "r"])
    assert "4 tokens, a window" in lines_of(capsys, ["text", "evaluate", model, "--data", short])
    assert "needs 65" in lines_of(capsys, ["text", "train", "shakespeare", "--data", short, "--out", tmp_path / "r"])
    long = ["text", "evaluate", model, "--data", text, "--length", "100000"]
    assert "shorter window" in lines_of(capsys, long)
    held = ["text", "train", "shakespeare", "--data", text, "--out", tmp_path / "r", "data.held_out=0.001"]
    assert "the last 0.001: has 4 tokens" in lines_of(capsys, held)
    for option, value in (("--temperature", -1), ("--top-p", 0), ("--top-k", -2), ("--tokens", 0)):
        assert option[2:] in lines_of(capsys, [*generate, "abc", option, value])
    assert "--port 70000: must lie" in lines_of(capsys, ["text", "chat", "--web", "--model", model, "--port", 70000])
    (model / "tokenizer.json").write_text('{"kind": "characters", "characters": "ab"}')
    assert "tokenizer of 3 tokens for a network of 11" in lines_of(capsys, [*generate, "ab"])


def test_a_writer_does_not_judge_sentences(tmp_path):
    with pytest.raises(CheckpointError, match="writes, it does not judge"):
        load_text_model(save_tiny(tmp_path / "m"), "sentences")
