"""The Hugging Face, LangChain and Gradio faces of a text model say what the model says."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
transformers = pytest.importorskip("transformers")

from dvs_snn.errors import ConfigError  # noqa: E402
from dvs_snn.text import DOCUMENT, Sampling, Writer, learn_tokenizer  # noqa: E402
from dvs_snn.text.hugging_face import hugging_face_tokenizer, to_hugging_face  # noqa: E402
from dvs_snn.text.web import answers  # noqa: E402
from tests.text.tiny import tiny_model  # noqa: E402

STOP = "hhhhh"
"""What these models never write."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("hf")
    to_hugging_face(model).save_pretrained(path)
    hugging_face_tokenizer(model.tokenizer).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def prompt(model, text="abc def\ngh"):
    return torch.tensor([[DOCUMENT, *model.tokenizer.encode(text)]])


def test_from_pretrained_is_the_same_network_to_the_bit(model, loaded):
    tokens = prompt(model)
    with torch.no_grad():
        ours, _ = model.network(tokens.T)
        theirs = loaded(input_ids=tokens)
    assert torch.equal(theirs.logits.transpose(0, 1), ours)
    for (name, a), b in zip(model.network.state_dict().items(), loaded.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_generate_is_step_after_step(model, loaded):
    written = loaded.generate(prompt(model), max_new_tokens=40, do_sample=False)
    writer = Writer(model, Sampling(0.0), compiled=False)
    writer.read(prompt(model)[0, 1:].tolist())
    assert written[0, prompt(model).shape[1] :].tolist() == [writer.write() for _ in range(40)]


def test_generate_reads_only_the_new_token(model, loaded):
    lengths = []
    handle = loaded.network.register_forward_pre_hook(lambda module, inputs: lengths.append(len(inputs[0])))
    loaded.generate(prompt(model), max_new_tokens=5, do_sample=False)
    handle.remove()
    assert lengths == [prompt(model).shape[1], 1, 1, 1, 1]


def test_padding_on_the_left_leaves_no_trace(model, loaded):
    long, short = prompt(model, "abc def\ngh")[0], prompt(model, "bcd")[0]
    padded = torch.full((2, len(long)), DOCUMENT)
    padded[0], padded[1, -len(short) :] = long, short
    mask = torch.zeros_like(padded)
    mask[0], mask[1, -len(short) :] = 1, 1
    both = loaded.generate(padded, attention_mask=mask, max_new_tokens=12, do_sample=False)
    alone = loaded.generate(short[None], max_new_tokens=12, do_sample=False)
    assert both[1, len(long) :].tolist() == alone[0, len(short) :].tolist()


def test_a_document_mark_inside_a_text_resets_the_state(model, loaded):
    first, second = prompt(model, "abc def")[0], prompt(model, "bcd h")[0]
    with torch.no_grad():
        packed = loaded(input_ids=torch.cat([first, second])[None]).logits[0, len(first) :]
        torch.testing.assert_close(packed, loaded(input_ids=second[None]).logits[0])
        state = loaded(input_ids=first[None]).state
        torch.testing.assert_close(loaded(input_ids=second[None], state=state).logits[0], packed)


def test_labels_give_the_loss_of_the_next_token(model, loaded):
    tokens = prompt(model)
    found = loaded(input_ids=tokens, labels=tokens)
    logs = torch.log_softmax(found.logits[0, :-1], -1)
    torch.testing.assert_close(found.loss, -logs.gather(1, tokens[0, 1:, None]).mean())


def test_what_would_reorder_states_is_refused(model, loaded):
    with pytest.raises(ConfigError, match="beams"):
        loaded.generate(prompt(model), num_beams=2, max_new_tokens=3)
    with pytest.raises(ConfigError, match="assisted"):
        loaded.generate(prompt(model), prompt_lookup_num_tokens=2, max_new_tokens=3)


def test_tokenizers_give_the_same_numbers(model, folder):
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    text = "abc def\ngh"
    assert theirs(text)["input_ids"] == prompt(model, text)[0].tolist()
    assert theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True) == text
    bpe = learn_tokenizer("bpe", 300, ["now is the winter"])
    assert hugging_face_tokenizer(bpe)("naïve 漢")["input_ids"] == [DOCUMENT, *bpe.encode("naïve 漢")]


def test_langchain_invokes_and_streams(tmp_path):
    pytest.importorskip("langchain_core")
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import PromptTemplate

    from dvs_snn.text.langchain import SpikingTextLLM

    model = tiny_model(tmp_path / "m")
    llm = SpikingTextLLM(model=str(tmp_path / "m"), tokens=30, temperature=1.0, seed=2)
    expected = "".join(Writer(model, Sampling(1.0, seed=2)).stream("abc", 30))
    assert llm.invoke("abc") == expected
    parts = list(llm.stream("abc"))
    assert "".join(parts) == expected and len(parts) > 10
    chain = PromptTemplate.from_template("{start}c") | llm | StrOutputParser()
    assert chain.invoke({"start": "ab"}) == expected
    stop = expected[10:15]
    assert llm.invoke("abc", stop=[stop]) == expected[: expected.index(stop)]
    ends = [expected[20:25], stop]
    parts = list(llm.stream("abc", stop=ends))
    assert "".join(parts) == expected[: min(expected.index(end) for end in ends)] and len(parts) > 3
    assert list(llm.stream("abc", stop=[expected[0]])) == [""]


def test_a_page_answers_like_the_writer(tmp_path):
    model = tiny_model(tmp_path / "m")
    history = [("user", "abc"), ("assistant", "def")]
    found = list(answers(model, history, "gh", Sampling(1.0, seed=3), 30, STOP))
    writer = Writer(model, Sampling(1.0, seed=3))
    writer.read(model.tokenizer.encode(f"abc\ndef{STOP}").tolist())
    expected = "".join(writer.stream("gh\n", 30, STOP))
    assert found[-1][0] == expected and len(found) > 5, "it grows as it is written"
    assert all(b.startswith(a) for (a, _), (b, _) in itertools.pairwise(found))
    assert 0 < found[-1][1] < 1


def post(url, data):
    request = urllib.request.Request(url, json.dumps(data).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def events(url):
    """A stream of server-sent events: (kind, data) until it ends."""
    with urllib.request.urlopen(url, timeout=60) as stream:
        lines = [line.decode().rstrip() for line in stream]
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    return list(zip(kinds, (json.loads(line[6:]) for line in lines if line.startswith("data: ")), strict=True))


@pytest.mark.slow
def test_the_web_chat_is_served(tmp_path):
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = tiny_model(tmp_path / "m")
    words = [
        "text",
        "chat",
        "--web",
        "--port",
        str(port),
        "--model",
        str(tmp_path / "m"),
        "--seed",
        "3",
        "--stop",
        STOP,
    ]
    server = subprocess.Popen([sys.executable, "-m", "dvs_snn", *words], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
                assert b"spiking language model" in page.read()
                break
            time.sleep(0.5)
        call = f"{url}/gradio_api/call/chat"
        answer = events(f"{call}/{post(call, {'data': ['abc', 1.0, 0, 1.0, 30]})['event_id']}")
        expected = "".join(Writer(model, Sampling(1.0, seed=3)).stream("abc\n", 30, STOP))
        assert answer[-1][0] == "complete" and answer[-1][1][0] == expected
        assert "spikes per neuron and token" in json.dumps(answer)
        assert sum(kind == "generating" for kind, _ in answer) > 5, "it grows as it is written"
        refused = events(f"{call}/{post(call, {'data': ['xyz', 1.0, 0, 1.0, 30]})['event_id']}")
        assert refused[-1][0] == "error"
    finally:
        server.terminate()
        server.wait(30)
