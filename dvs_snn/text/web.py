"""The chat as a page in a browser, served on this machine alone; needs the package `gradio` (the extra `web`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from dvs_snn.errors import ConfigError, TextError
from dvs_snn.text.checkpoint import TextModel
from dvs_snn.text.generate import Sampling, Writer

HOST = "127.0.0.1"


def answers(
    model: TextModel, history: list[tuple[str, str]], message: str, sampling: Sampling, tokens: int, stop: str
) -> Iterator[tuple[str, float | None]]:
    """The answer so far, again and again as it grows, and the rate of spikes so far (per neuron and token).

    `history` are (who, text) turns, read again from rest: the page, not the server, remembers a conversation.
    """
    writer = Writer(model, sampling)
    encode = model.tokenizer.encode
    for who, text in history:
        writer.read(encode(f"{text}\n" if who == "user" else f"{text}{stop}").tolist())
    text = ""
    for part in writer.stream(f"{message}\n", tokens, stop):
        text += part
        yield text, writer.rate


def build_page(writer: Writer, tokens: int, stop: str) -> Any:
    """The page: a conversation, sampling controls, the spike rate of the last answer."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError:
        raise ConfigError("chat --web needs the package 'gradio': pip install 'dvs_snn[web]'") from None

    def answer(
        message: str, history: list[dict[str, Any]], temperature: float, top_k: float, top_p: float, longest: float
    ) -> Iterator[tuple[dict[str, Any], str]]:
        sampling = Sampling(temperature, int(top_k), top_p, writer.sampling.seed)
        turns = [(turn["role"], _text(turn["content"])) for turn in history]
        try:
            for text, rate in answers(writer.model, turns, message, sampling, int(longest), stop):
                yield _turn(text), "" if rate is None else f"{rate:.3f} spikes per neuron and token"
        except TextError as error:
            raise gradio.Error(str(error), print_exception=False) from None

    default = writer.sampling
    with gradio.Blocks(title="dvs_snn text") as page:
        rate = gradio.Markdown("", render=False)
        gradio.ChatInterface(
            answer,
            title=f"{writer.model.path.name}: a spiking language model",
            # What a model writes is text, not markup: lines stay lines, and asterisks asterisks.
            chatbot=gradio.Chatbot(render_markdown=False, sanitize_html=True, reasoning_tags=None, height=480),
            additional_inputs=[
                gradio.Slider(0, 2, default.temperature, label="temperature"),
                gradio.Slider(0, writer.model.tokenizer.size, default.top_k, step=1, label="top-k (0: all)"),
                gradio.Slider(0.05, 1, default.top_p, label="top-p"),
                gradio.Slider(1, max(2000, tokens), tokens, step=1, label="tokens"),
            ],
            additional_outputs=[rate],
            api_name="chat",
        )
        rate.render()
    return page


def serve(writer: Writer, tokens: int, stop: str, port: int) -> None:
    """Serve the page until interrupted; raises `ConfigError` where the port is taken or none."""
    if not 0 < port < 1 << 16:
        raise ConfigError(f"--port {port}: must lie in 1..65535")
    page = build_page(writer, tokens, stop)
    try:
        page.launch(server_name=HOST, server_port=port, share=False, quiet=True, show_error=True)
    except OSError as error:
        raise ConfigError(f"--port {port}: cannot be used ({str(error).splitlines()[0]})") from None


def _turn(text: str) -> dict[str, Any]:
    """An answer as a part of type text: of a plain string Gradio takes off indents and newlines at the ends."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def _text(content: Any) -> str:
    """A turn's words; newer pages send parts, of which only text is ours."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
