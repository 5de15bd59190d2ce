"""`dvs-snn text {train,evaluate,generate,chat,distill}`: spiking models of text."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Options of the verb and of what it does."""
    parser = subparsers.add_parser("text", help="train, judge and use spiking models of text", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=type(parser))
    _add_train(verbs)
    _add_evaluate(verbs)
    _add_generate(verbs)
    _add_chat(verbs)
    _add_distill(verbs)


def _add_recipe(parser: Any) -> None:
    parser.add_argument("recipe", help="name of a text recipe that ships with the package, or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace a value of the recipe")
    parser.add_argument("--data", help=".txt, .tsv or .jsonl file, or a folder with train, validation and test files")
    parse = parser.parse_known_args

    def parse_interleaved(words: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        """As in `train`: key=value may also stand after the options."""
        found, rest = parse(words, namespace)
        found.overrides = [*found.overrides, *(word for word in rest if "=" in word and not word.startswith("-"))]
        return found, [word for word in rest if word not in found.overrides]

    parser.parse_known_args = parse_interleaved


def _add_train(verbs: Any) -> None:
    parser = verbs.add_parser("train", help="train a text model by a recipe")
    _add_recipe(parser)
    parser.add_argument("--out", help="folder of the run (default: runs/text-NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly where it was cut")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.set_defaults(run=run_train)


def _add_distill(verbs: Any) -> None:
    parser = verbs.add_parser("distill", help="let a teacher read a recipe's training text, and keep what it foresees")
    _add_recipe(parser)
    parser.add_argument("--teacher", required=True, help="folder of a text model, or of a Hugging Face language model")
    parser.add_argument("--out", required=True, help="folder to write; train with distill.logits=FOLDER")
    parser.add_argument("--draws", type=int, default=16, help="tokens kept of each foreseen one (default: 16)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the teacher's shares (default: 1)")
    parser.add_argument("--window", type=int, default=256, help="tokens that the teacher reads at once (default: 256)")
    parser.set_defaults(run=run_distill)


def _add_evaluate(verbs: Any) -> None:
    parser = verbs.add_parser("evaluate", help="judge a text model")
    parser.add_argument("checkpoint", help="folder of a text model, or the name of one that ships with the package")
    parser.add_argument("--data", required=True, help="file, or folder with a file of the split")
    parser.add_argument("--split", default="test", help="train, validation or test (default; of one file: all of it)")
    parser.add_argument("--length", type=int, help="tokens of a window (default: as in training)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run_evaluate)


def _add_writing(parser: Any, tokens: int) -> None:
    parser.add_argument("--model", default="text", help="folder or shipped name of a language model (default: text)")
    parser.add_argument("--tokens", type=int, default=tokens, help=f"write at most this many tokens ({tokens})")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token (default: 0.8)")
    parser.add_argument("--top-k", type=int, default=0, help="draw among the k likeliest (default 0: all)")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw among the likeliest of this share (default: 1)")
    parser.add_argument("--seed", type=int, help="the same seed writes the same text")


def _add_generate(verbs: Any) -> None:
    parser = verbs.add_parser("generate", help="continue a text; it appears as it is written")
    parser.add_argument("prompt", nargs="?", default="", help="text to go on from; '-' reads it from standard input")
    parser.add_argument("--stop", default="", help="end before this text appears")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    _add_writing(parser, 400)
    parser.set_defaults(run=run_generate)


def _add_chat(verbs: Any) -> None:
    parser = verbs.add_parser("chat", help="take turns in the terminal, or in a browser")
    parser.add_argument("--stop", default="\n\n", help="where an answer ends (default: an empty line)")
    parser.add_argument("--web", action="store_true", help="serve a page instead (needs the extra 'web')")
    parser.add_argument("--port", type=int, default=7860, help="port of the page on this machine (default: 7860)")
    _add_writing(parser, 400)
    parser.set_defaults(run=run_chat)


def run_train(args: argparse.Namespace) -> int:
    """Train; prints one JSON line with the best epoch's measures and the checkpoint's folder."""
    import json
    import os
    import shlex
    from pathlib import Path

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see train
    from dvs_snn.cli.train import choose_device
    from dvs_snn.learning import Team, Trainer
    from dvs_snn.text import TextTask, load_text_recipe

    recipe = load_text_recipe(args.recipe, args.overrides, args.data)
    device = choose_device(args.device)
    out = Path(args.out or f"runs/text-{recipe.name}")
    words = ["dvs-snn", "text", "train", args.recipe, *(["--data", args.data] if args.data else []), *args.overrides]
    team = Team.join(device)
    try:
        best = Trainer(TextTask(recipe, team), out, device, shlex.join(words), args.resume, team=team).fit()
    finally:
        team.leave()
    if team.leads:
        keys = ("accuracy", "accuracy_low", "accuracy_high", "loss", "n")
        measures = {key: best["validation"][key] for key in keys}
        print(json.dumps({"checkpoint": str(out / "checkpoint"), "epoch": best["epoch"], **measures}))
    return 0


def run_distill(args: argparse.Namespace) -> int:
    """Store what the teacher foresees; prints the folder."""
    from pathlib import Path

    from tqdm import tqdm

    from dvs_snn.errors import ConfigError
    from dvs_snn.text import LANGUAGE, TextTask, WindowLoader, load_text_recipe
    from dvs_snn.text.distill import Drawing, open_foreseer, store_teacher

    how = Drawing(args.draws, args.temperature, window=args.window)
    recipe = load_text_recipe(args.recipe, args.overrides, args.data)
    if recipe.task != LANGUAGE:
        raise ConfigError(f"recipe {args.recipe}: only language models are distilled")
    task = TextTask(recipe)
    assert isinstance(task.loader, WindowLoader)
    tokens = task.loader.tokens
    foresee = open_foreseer(args.teacher, task.tokenizer)
    with tqdm(total=-(-len(tokens) // how.window), desc="read", unit="window", file=sys.stderr) as bar:
        store_teacher(args.out, foresee, args.teacher, task.tokenizer, tokens, how, bar.update)
    print(Path(args.out))
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    import json

    from dvs_snn.cli.train import choose_device
    from dvs_snn.errors import ConfigError
    from dvs_snn.text import describe, judge, load_text_model

    if args.length is not None and args.length < 1:
        raise ConfigError(f"--length {args.length}: must be above zero")
    model = load_text_model(args.checkpoint)
    result = judge(model, args.data, args.split, args.length, choose_device(args.device))
    result = {"checkpoint": str(args.checkpoint), **result}
    print(json.dumps(result) if args.json else describe(result))
    return 0


def _writer(args: argparse.Namespace) -> Any:
    from dvs_snn.errors import ConfigError
    from dvs_snn.text import LANGUAGE, Sampling, Writer, load_text_model

    if args.tokens < 1:
        raise ConfigError(f"--tokens {args.tokens}: must be above zero")
    sampling = Sampling(args.temperature, args.top_k, args.top_p, args.seed)
    return Writer(load_text_model(args.model, LANGUAGE), sampling)


def run_generate(args: argparse.Namespace) -> int:
    """Write, character by character as it is drawn."""
    import json

    writer = _writer(args)
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    if args.json:
        text = "".join(writer.stream(prompt, args.tokens, args.stop))
        print(json.dumps({"model": str(args.model), "prompt": prompt, "text": text}))
        return 0
    writer.model.tokenizer.encode(prompt)  # what it cannot read is said before anything is written
    print(prompt, end="", flush=True)
    for part in writer.stream(prompt, args.tokens, args.stop):
        print(part, end="", flush=True)
    print()
    return 0


def run_chat(args: argparse.Namespace) -> int:
    """Answer lines until the input ends; `/reset` forgets."""
    from dvs_snn.errors import TextError

    writer = _writer(args)
    if args.web:
        from dvs_snn.text.web import serve

        serve(writer, args.tokens, args.stop, args.port)
        return 0
    print("A line is a turn; /reset forgets, /quit or Ctrl-D ends.", file=sys.stderr)
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() == "/quit":
            return 0
        if line.strip() == "/reset":
            writer.reset()
            continue
        try:
            for part in writer.stream(line, args.tokens, args.stop):
                print(part, end="", flush=True)
        except TextError as error:
            print(f"dvs-snn: {error}", file=sys.stderr)
            continue
        print(flush=True)
