"""The chat's page in a real browser: what is typed is answered there, as it is written, with the words of `Writer`."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio")
webdriver = pytest.importorskip("selenium.webdriver")

from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from dvs_snn.text import Sampling, Writer, load_text_model  # noqa: E402

SEED, TOKENS, STOP = 3, 400, "QQQ"
WAIT_S = 60
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
NO_NAMES = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
"""Whatever is not on this machine cannot be found: a page that needs it breaks here."""

SENT = ("Network.requestWillBeSent", "Network.webSocketCreated")
BOT = "[data-testid=bot]"
WATCH = """
window.seen = [];
new MutationObserver(() => {
  const answers = document.querySelectorAll('[data-testid=bot]');
  if (answers.length) window.seen.push(answers[answers.length - 1].textContent);
}).observe(document.body, {childList: true, subtree: true, characterData: true});
"""


@pytest.fixture(scope="module")
def address():
    """`dvs-snn text chat --web` of the shipped model, served on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"--port": port, "--seed": SEED, "--tokens": TOKENS, "--stop": STOP}
    words = [str(word) for pair in options.items() for word in pair]
    server = subprocess.Popen(
        [sys.executable, "-m", "dvs_snn", "text", "chat", "--web", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(4 * WAIT_S):
            assert server.poll() is None, server.stderr.read()
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            time.sleep(0.25)
        yield url
    finally:
        server.terminate()
        server.wait(30)
        server.stderr.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no browser: needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (*SWITCHES, NO_NAMES, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    found.set_script_timeout(WAIT_S)
    yield found
    found.quit()


def wait(browser, what):
    """What a condition gives once it holds."""
    return WebDriverWait(browser, WAIT_S, 0.1).until(lambda _: what())


def elements(browser, selector):
    return browser.find_elements("css selector", selector)


def texts(browser, selector):
    """What elements hold, letter for letter (a browser's own reading would join the spaces)."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent)", selector
    )


def say(browser, message):
    """Type a turn and send it."""
    wait(browser, lambda: elements(browser, "textarea[data-testid=textbox]"))
    wait(browser, lambda: elements(browser, "[data-testid=submit-button]"))  # a stop button while an answer is written
    elements(browser, "textarea[data-testid=textbox]")[0].send_keys(message + "\n")


def answered(browser, answers):
    """Whether the page comes to show just these answers."""
    with contextlib.suppress(TimeoutException):
        wait(browser, lambda: texts(browser, BOT) == answers)
    assert texts(browser, BOT) == answers


def asked_for(browser):
    """Hosts that pages asked for something, the browser's own pages left out."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] in SENT]
    addresses = [urlsplit(params.get("request", params)["url"]) for params in sent]
    return {address.hostname for address in addresses if address.scheme in ("http", "https", "ws", "wss")}


def test_the_page_answers_as_generation_does(browser, address):
    browser.get(address)
    browser.execute_script(WATCH)
    model = load_text_model("text")
    first = "".join(Writer(model, Sampling(seed=SEED)).stream("ROMEO:\n", TOKENS, STOP))
    assert first.count("\n") > 3, "lines stay lines"
    say(browser, "ROMEO:")
    answered(browser, [first])
    grown = [text for text in browser.execute_script("return window.seen") if first.startswith(text)]
    assert len(set(grown)) > 10 and grown == sorted(grown, key=len), "it appears as it is written"
    assert any("spikes per neuron and token" in text for text in texts(browser, ".prose"))

    writer = Writer(model, Sampling(seed=SEED))
    writer.read(model.tokenizer.encode(f"ROMEO:\n{first}{STOP}").tolist())
    second = "".join(writer.stream("Speak, fair lady!\n", TOKENS, STOP))
    say(browser, "Speak, fair lady!")
    answered(browser, [first, second])  # the conversation is remembered

    say(browser, "é")
    wait(browser, lambda: "does not know the characters 'é'" in "".join(texts(browser, "[data-testid=toast-body]")))
    assert asked_for(browser) == {"127.0.0.1"}
