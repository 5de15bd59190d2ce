"""Generation: what is drawn follows the probabilities; state is of constant size; streams stop where they are told."""

import gc
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError
from dvs_snn.learning import SpikeRates
from dvs_snn.text import DOCUMENT, Sampling, Writer, probabilities
from tests.text.tiny import SIZES, save_tiny, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=40),
    st.floats(0.1, 3),
    st.integers(0, 10),
    st.floats(0.05, 1),
)
def test_kept_tokens_are_the_likeliest_and_keep_their_ratios(logits, temperature, top_k, top_p):
    logits = torch.tensor(logits, dtype=torch.float64)
    shares = probabilities(logits, Sampling(temperature, top_k, top_p))
    plain = torch.softmax(logits / temperature, 0)
    kept = shares > 0
    assert shares.sum().item() == pytest.approx(1)
    assert plain[kept].max().item() == pytest.approx(plain.max().item())
    assert plain[kept].min() >= plain[~kept].max() - 1e-12 if (~kept).any() else True
    torch.testing.assert_close(shares[kept], plain[kept] / plain[kept].sum())
    if top_p == 1 and top_k == 0:
        assert kept.all() or plain.min() < 1e-9


def test_nucleus_is_the_smallest_set_that_reaches_p():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64))
    assert (probabilities(logits, Sampling(1.0, top_p=0.7)) > 0).tolist() == [True, True, False, False]
    assert (probabilities(logits, Sampling(1.0, top_p=0.81)) > 0).tolist() == [True, True, True, False]
    assert (probabilities(logits, Sampling(1.0, top_k=1)) > 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_impossible_sampling_is_refused(options):
    with pytest.raises(ConfigError, match=r"temperature|top-k|top-p"):
        Sampling(**options)


def test_the_same_seed_writes_the_same_text(model):
    def text(seed):
        return "".join(Writer(model, Sampling(1.0, seed=seed)).stream("abc", 200))

    assert text(1) == text(1) != text(2)


def test_drawn_tokens_follow_the_probabilities(model):
    writer = Writer(model, Sampling(1.0, seed=0))
    shares = probabilities(writer.logits, writer.sampling)
    drawn = torch.multinomial(shares, 4000, replacement=True, generator=writer.random)
    counts = np.bincount(drawn, minlength=len(shares))
    expected = shares.numpy() * 4000
    assert ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < 3 * len(shares)


def test_reading_at_once_equals_token_by_token(model):
    tokens = model.tokenizer.encode("abc def gh abc").tolist()
    at_once, one_by_one = Writer(model, compiled=False), Writer(model, compiled=False)
    at_once.read(tokens)
    for token in tokens:
        one_by_one.step(token)
    torch.testing.assert_close(at_once.logits, one_by_one.logits)


@pytest.mark.parametrize("mixer_in", [False, True])
def test_the_compiled_step_is_the_networks_step(tmp_path, mixer_in):
    model = tiny_model(tmp_path / "m", mixer_in=mixer_in)
    compiled, plain = Writer(model), Writer(model, compiled=False)
    tokens = model.tokenizer.encode("abcd efgh\nabc" * 8).tolist()
    with SpikeRates(model.network) as rates:
        for token in tokens:
            compiled.step(token)
            plain.step(token)
            torch.testing.assert_close(compiled.logits, plain.logits, rtol=1e-4, atol=1e-4)
    assert rates.rates
    for a, b in zip(leaves(compiled.state), leaves(plain.state), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    spikes = Writer(model)
    spikes.read(tokens)
    with torch.no_grad(), SpikeRates(model.network) as rates:
        model.network(torch.tensor([DOCUMENT, *tokens]).unsqueeze(1))
    neurons = {name: SIZES["hidden"] if "hidden" in name else 2 * SIZES["width"] for name in rates.rates}
    expected = sum(float(rate) * neurons[name] for name, rate in rates.rates.items()) / sum(neurons.values())
    assert spikes.rate == pytest.approx(expected, abs=1e-3)


def leaves(state):
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in leaves(part)]


def test_other_networks_are_stepped_by_themselves(tmp_path):
    hard = tiny_model(tmp_path / "m", neuron="hard_reset")
    assert Writer(hard).rate is None
    assert "".join(Writer(hard, Sampling(1.0, seed=1)).stream("abc", 20))


def test_a_prompt_of_any_length_is_read(model):
    long = "abcdefgh " * 500
    assert len("".join(Writer(model, Sampling(seed=0)).stream(long, 5))) <= 5


def test_a_stop_is_not_given_out_and_ends_the_text(model):
    whole = "".join(Writer(model, Sampling(1.0, seed=4)).stream("", 300))
    stop = whole[40:43]
    parts = list(Writer(model, Sampling(1.0, seed=4)).stream("", 300, stop))
    assert "".join(parts) == whole[: whole.index(stop)]
    assert len(parts) > 5, "it comes in pieces, not at the end"


def test_a_document_ends_at_its_mark(model):
    writer = Writer(model, Sampling(0.0))
    writer.logits = torch.full_like(writer.logits, -9.0)
    writer.logits[DOCUMENT] = 9.0
    assert list(writer.stream("", 10)) == []


def test_memory_does_not_grow_with_what_was_written(model):
    writer = Writer(model, Sampling(1.0, seed=0))

    def held():
        gc.collect()
        return sum(t.numel() * t.element_size() for t in gc.get_objects() if type(t) is torch.Tensor)

    for _ in writer.stream("", 50):
        pass
    before = held()
    for _ in writer.stream("", 500):
        pass
    assert held() <= before + 1024


TEN_THOUSAND = """
import sys
from dvs_snn.text import Sampling, Writer, load_text_model

def resident_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4

writer = Writer(load_text_model(sys.argv[1]), Sampling(1.0, seed=0), sys.argv[2] == "compiled")
count = sum(len(part) for part in writer.stream("", 1000))
before = resident_kb()
count += sum(len(part) for part in writer.stream("", 9000))
print(count, resident_kb() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["compiled", "step"])
def test_ten_thousand_tokens_in_flat_memory(tmp_path, how):
    words = [sys.executable, "-c", TEN_THOUSAND, str(save_tiny(tmp_path / "m")), how]
    count, grown_kb = map(int, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert count == 10_000 and grown_kb < 1000
