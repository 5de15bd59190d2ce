"""Stored draws are the teacher in the mean, belong to one text and tokenizer, and teach."""

import json

import numpy as np
import pytest
import torch

from dvs_snn.cli import main
from dvs_snn.errors import CheckpointError, ConfigError
from dvs_snn.learning import CrossEntropy, Trainer
from dvs_snn.text import Characters, TextTask, WindowLoader, learn_tokenizer, load_text_model
from dvs_snn.text.clips import TeacherRows, next_token_clip
from dvs_snn.text.distill import Distilled, Drawing, draw, open_foreseer, open_teacher, store_teacher
from tests.text.tiny import chant, tiny_recipe


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_draws_are_the_teacher_in_the_mean(power):
    logits = torch.tensor([[2.0, 0.0, -1.0, 1.0], [0.0, 0.1, 3.0, -2.0]])
    how = Drawing(draws=20000, temperature=2.0, power=power)
    numbers, weights = draw(logits, how, torch.Generator().manual_seed(0))
    found = torch.zeros_like(logits).scatter_add(1, numbers, weights)
    torch.testing.assert_close(found, torch.softmax(logits / 2, -1), rtol=0, atol=0.02)


def test_with_many_draws_the_loss_is_that_of_all_logits():
    torch.manual_seed(1)
    clip = next_token_clip(np.arange(1, 13).reshape(6, 2) % 5)
    teacher, student = torch.randn(5, 2, 5), torch.randn(5, 2, 5, requires_grad=True)
    numbers, weights = draw(teacher, Drawing(draws=40000), torch.Generator().manual_seed(0))
    loss = Distilled(CrossEntropy(label_smoothing=0.0), 1.0)
    taught = type(clip)(**{**vars(clip), "teacher": (numbers, weights)})
    found = loss.total(student, taught) / loss.weight(taught)
    exact = -(torch.softmax(teacher, -1) * torch.log_softmax(student, -1)).sum(-1).mean()
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0)
    half = Distilled(CrossEntropy(label_smoothing=0.0), 0.5)
    hard = CrossEntropy(label_smoothing=0.0).total(student, clip)
    torch.testing.assert_close(half.total(student, taught), (hard + loss.total(student, taught)) / 2)


def store(folder, tokens, tokenizer, how=None):
    def foresee(read):  # the token that was read comes again
        return 20.0 * torch.nn.functional.one_hot(read, tokenizer.size).float()

    store_teacher(folder, foresee, "test", tokenizer, tokens, how or Drawing(draws=3, window=7))


def test_every_token_has_its_draws(tmp_path):
    tokenizer = Characters("abcde")
    tokens = np.array([0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 1], np.uint16)
    store(tmp_path, tokens, tokenizer)
    rows, manifest = open_teacher(tmp_path, tokenizer, tokens)
    assert isinstance(rows, TeacherRows) and manifest["draws"] == 3
    np.testing.assert_array_equal(rows.drawn, np.repeat(tokens[:, None], 3, 1))
    np.testing.assert_allclose(rows.weights.sum(1), 1, rtol=1e-2)
    loader = WindowLoader(tokens, 5, 2, 1, seed=0)
    loader.teacher = rows
    clip = loader.at(np.array([2, 6]))
    assert clip.teacher is not None
    assert torch.equal(clip.teacher[0][..., 0], clip.inputs), "draws stand beside the token that was read"
    assert torch.equal(clip.between(1, 3).teacher[0], clip.teacher[0][1:3])


def test_draws_of_another_text_or_tokenizer_are_refused(tmp_path):
    tokenizer = Characters("abcde")
    tokens = np.array([0, 1, 2, 3, 4, 5], np.uint16)
    store(tmp_path, tokens, tokenizer)
    with pytest.raises(ConfigError, match="another text"):
        open_teacher(tmp_path, tokenizer, tokens[1:])
    with pytest.raises(ConfigError, match="another tokenizer"):
        open_teacher(tmp_path, Characters("abcdf"), tokens)
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        open_teacher(tmp_path / "none", tokenizer, tokens)


def test_the_twin_teaches_by_the_command_line(tmp_path, capsys):
    text = tmp_path / "chant.txt"
    text.write_text(chant(2000))
    sizes = tiny_recipe(text).to_dict()
    sizes["model_config"]["twin"] = True
    (tmp_path / "tiny.yaml").write_text(json.dumps(sizes))
    recipe, run, logits = (str(tmp_path / name) for name in ("tiny.yaml", "run", "logits"))
    assert main(["text", "train", recipe, "--out", run]) == 0
    teacher = f"{run}/checkpoint"
    assert main(["text", "distill", recipe, "--teacher", teacher, "--out", logits, "--draws", "8"]) == 0
    student = ["text", "train", recipe, "model_config.twin=false", f"distill.logits={logits}"]
    assert main([*student, "--out", str(tmp_path / "student")]) == 0
    model = load_text_model(tmp_path / "student" / "checkpoint")
    assert model.metrics["recipe"]["distill"]["logits"] == logits and not model.config.twin
    capsys.readouterr()
    assert main([*student, "data.held_out=0.2", "--out", str(tmp_path / "other")]) == 2
    assert "another text" in capsys.readouterr().err


def test_a_hugging_face_folder_teaches(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = tmp_path / "chant.txt"
    text.write_text(chant(1500))
    task = TextTask(tiny_recipe(text))
    config = transformers.GPT2Config(
        vocab_size=task.tokenizer.size, n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    teacher = transformers.GPT2LMHeadModel(config).eval()
    teacher.save_pretrained(tmp_path / "gpt")
    foresee = open_foreseer(str(tmp_path / "gpt"), task.tokenizer)
    read = torch.from_numpy(np.asarray(task.loader.tokens[:20], np.int64)).unsqueeze(1)
    with torch.no_grad():
        expected = teacher(input_ids=read.T).logits.transpose(0, 1)
    torch.testing.assert_close(foresee(read), expected)
    store_teacher(tmp_path / "logits", foresee, "gpt", task.tokenizer, task.loader.tokens, Drawing(4, window=32))
    taught = TextTask(tiny_recipe(text, distill={"logits": str(tmp_path / "logits"), "weight": 0.5}))
    best = Trainer(taught, tmp_path / "run", progress=False).fit()
    assert np.isfinite(best["validation"]["loss"])
    with pytest.raises(ConfigError, match="must share a tokenizer"):
        other = learn_tokenizer("bpe", 300, ["abc"])
        store_teacher(tmp_path / "bad", foresee, "gpt", other, task.loader.tokens, Drawing(4, window=32))


def test_what_is_no_teacher_is_one_clear_error(tmp_path):
    (tmp_path / "empty").mkdir()
    pytest.importorskip("transformers")
    with pytest.raises(CheckpointError, match="no text model and no Hugging Face model"):
        open_foreseer(str(tmp_path / "empty"), Characters("ab"))
