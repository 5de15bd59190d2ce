"""The text of the fused scans: the linear neuron written out for one kind of neuron at a time (CPU).

The neurons of one step are lanes. A block of lanes runs through all of time before the next block starts, so its states
stay in cache and memory sees every current and every spike once. Backward saves nothing but the input: it replays the
block's membranes in cache and then walks back through them.

The text of a kernel holds one straight line of scalar code per lane, without absent coefficients and without branches,
which is what the compiler turns into vector instructions. The forward and the replay do the operations of
`linear_neuron.linear_step` in its order, without contraction, so spikes and states are equal to it bit by bit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from dvs_snn.nn.kernel_surrogates import SURROGATES, constants

LANES = 8192
"""Most lanes of a block, a constant in the text: the compiler then knows that scratch rows do not overlap."""
Form = Literal["one", "scalar", "lanes"]


@dataclass(frozen=True)
class Plan:
    """What a kernel is written for; coefficients are `(name, form)`, absent ones are left out.

    Names: `a{k}{j}` transition, `b{k}` input, `r{k}` reset, `q{k}` kick of a spike in a row after the reset, `th`.
    """

    states: int
    fires: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    delayed: bool
    spiking: bool
    hard: tuple[int, ...]
    coefficients: tuple[tuple[str, Form], ...]
    learned: tuple[str, ...] = ()
    surrogate: int = 0

    @property
    def scalars(self) -> list[str]:
        return [name for name, form in self.coefficients if form == "scalar"]

    @property
    def vectors(self) -> list[str]:
        return [name for name, form in self.coefficients if form == "lanes"]


class _Writer:
    """Emits the lines of one lane; `values` holds the current name of every state."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.form = dict(plan.coefficients)
        self.lines: list[str] = []

    def has(self, name: str) -> bool:
        return name in self.form

    def times(self, name: str, value: str) -> str:
        """coefficient · value"""
        form = self.form[name]
        if form == "one":
            return value
        return f"{name}[i] * {value}" if form == "lanes" else f"{name} * {value}"

    def value(self, name: str) -> str:
        form = self.form[name]
        return "one" if form == "one" else f"{name}[i]" if form == "lanes" else name

    def say(self, line: str) -> None:
        self.lines.append(line)

    def learn(self, name: str, gradient: str) -> None:
        if name in self.plan.learned:
            self.say(f"d_{name}[i] += {gradient}")

    def row(self, k: int, values: list[str]) -> list[str]:
        """Terms of row k's sum, in the order of the reference: own state, the others, ascending."""
        order = [k, *(j for j in range(self.plan.states) if j != k)]
        return [self.times(f"a{k}{j}", values[j]) for j in order if self.has(f"a{k}{j}")]

    def charge(self, u: list[str], x: str) -> list[str]:
        """The step up to the spike; returns the names of the states before the reset, `sp` is the delayed spike."""
        plan, values = self.plan, list(u)
        delayed = plan.delayed and plan.spiking
        if delayed:
            self.say(f"sp = one if {values[plan.fires]} > {self.value('th')} else zero")
            for k in plan.hard:
                self.say(f"z{k} = {values[k]} * (one - sp)")
                values[k] = f"z{k}"
        for k in plan.before:
            terms = self.row(k, values)
            if self.has(f"b{k}"):
                terms.append(self.times(f"b{k}", x))
            total = " + ".join(terms) or "zero"
            if delayed and self.has(f"r{k}"):
                total += f" - {self.times(f'r{k}', 'sp')}"
            self.say(f"h{k} = {total}")
            values[k] = f"h{k}"
        return values

    def release(self, h: list[str]) -> list[str]:
        """Spike, reset and the rows after it; returns the names of the states at the end of the step."""
        plan, values = self.plan, list(h)
        if not plan.spiking:
            return values
        self.say(f"s = one if {h[plan.fires]} > {self.value('th')} else zero")
        if not plan.delayed:
            values = self.reset(values)
        for k in plan.after:
            terms = self.row(k, values)
            if self.has(f"q{k}"):
                terms.append(self.times(f"q{k}", "s"))
            self.say(f"n{k} = {' + '.join(terms) or 'zero'}")
            values[k] = f"n{k}"
        return values

    def reset(self, h: list[str]) -> list[str]:
        values = list(h)
        for k in range(self.plan.states):
            terms = values[k]
            if k in self.plan.hard:
                terms = f"{terms} * (one - s)"
            if self.has(f"r{k}"):
                terms = f"{terms} - {self.times(f'r{k}', 's')}"
            if terms != values[k]:
                self.say(f"e{k} = {terms}")
                values[k] = f"e{k}"
        return values


def forward_text(plan: Plan) -> str:
    """`forward(x, out, u.., scalars, lanes.., start, stop, block)`: spikes into out, states in place."""
    states = [f"u{k}" for k in range(plan.states)]
    writer = _Writer(plan)
    h = writer.charge([f"w{k}[i]" for k in range(plan.states)], "xt[i]")
    # The names of states may read scratch that is written below: values are taken first, written last.
    end = writer.release(h)
    writer.say(f"ot[i] = {'s' if plan.spiking else h[plan.fires]}")
    for k, name in enumerate(end):
        if name != f"w{k}[i]":
            writer.say(f"w{k}[i] = {name}")
    body = _indent(writer.lines, 16)
    load = [f"{name} = v_{name}[first:first + count]" for name in plan.vectors]
    load += _copy([f"w{k}" for k in range(plan.states)], states)
    store = ["for i in range(count):", *(f"    u{k}[first + i] = w{k}[i]" for k in range(plan.states))]
    arguments = ["x", "out", *states, "scalars", *(f"v_{name}" for name in plan.vectors), "start", "stop", "block"]
    return f"""
def forward({", ".join(arguments)}):
    one, zero = x.dtype.type(1), x.dtype.type(0)
{_indent(_unpack(plan), 4)}
    w = np.empty(({plan.states}, {LANES}), x.dtype)
{_indent([f"w{k} = w[{k}]" for k in range(plan.states)], 4)}
    for first in range(start, stop, block):
        count = min(block, stop - first)
{_indent(load, 8)}
        for t in range(x.shape[0]):
            xt, ot = x[t, first:first + count], out[t, first:first + count]
            for i in range(count):
{body}
{_indent(store, 8)}
"""


@cache
def history(plan: Plan) -> tuple[str, ...]:
    """What is replayed for backward: those of `h{k}` (before the reset) and `u{k}` (before the step) that it reads."""
    text = " ".join(_walk_lines(plan))
    return tuple(sorted(set(re.findall(r"\b[hu]\d\b", text))))


def _replay_arguments(plan: Plan) -> list[str]:
    # Every row is an array of its own: rows of one array could not be told apart by the compiler.
    rows = [f"all_{name}" for name in history(plan)] + [f"w{k}" for k in range(plan.states)]
    return ["x", *rows, "scalars", *plan.vectors, "first", "count"]


def replay_text(plan: Plan) -> str:
    """`replay(x, all_.., w.., ..)`: one block's membranes over time into `all_..`, exactly as in the forward scan."""
    writer = _Writer(plan)
    kept = history(plan)
    for k in range(plan.states):
        writer.say(f"u{k} = w{k}[i]")
        if f"u{k}" in kept:
            writer.say(f"past_u{k}[i] = u{k}")
    h = writer.charge([f"u{k}" for k in range(plan.states)], "xt[i]")
    for k in range(plan.states):
        if f"h{k}" in kept:
            writer.say(f"past_h{k}[i] = {h[k]}")
    for k, name in enumerate(writer.release(h)):
        if name != f"u{k}":
            writer.say(f"w{k}[i] = {name}")
    views = [f"past_{name} = all_{name}[t]" for name in kept]
    return f"""
def replay({", ".join(_replay_arguments(plan))}):
    one, zero = x.dtype.type(1), x.dtype.type(0)
{_indent(_unpack(plan), 4)}
    for t in range(x.shape[0]):
        xt = x[t, first:first + count]
{_indent(views, 8)}
        for i in range(count):
{_indent(writer.lines, 12)}
"""


def _walk_lines(plan: Plan) -> list[str]:
    """One step of one lane, backwards: `w{k}` is the gradient of state k, before and after."""
    writer = _Writer(plan)
    states = range(plan.states)
    delayed = plan.delayed and plan.spiking
    for k in states:
        writer.say(f"g{k} = w{k}[i]")
    if plan.spiking:
        _reverse_release(writer, [f"h{k}" for k in states], delayed)
    else:
        writer.say(f"g{plan.fires} = g{plan.fires} + got[i]")
    _reverse_charge(writer, delayed)
    for k in states:
        writer.say(f"w{k}[i] = g{k}")
    return writer.lines


def backward_text(plan: Plan) -> str:
    """`backward(x, grad_out, grad_x, u.., grad_u.., scalars, lanes.., surrogate, attached, grads.., start, ..)`."""
    kept = history(plan)
    states = range(plan.states)
    delayed = plan.delayed and plan.spiking
    rows = [f"w{k}" for k in states] + (["carry"] if delayed else [])
    rows += [f"d_{name}" for name in plan.learned]
    vectors = [f"v_{name}" for name in plan.vectors]
    arguments = ["x", "grad_out", "grad_x", *(f"begin_u{k}" for k in states), *(f"grad_u{k}" for k in states)]
    arguments += ["scalars", *vectors, "p0", "p1", "attached", *(f"grad_{name}" for name in plan.learned)]
    arguments += ["start", "stop", "block", "part"]
    load = [f"{name} = {vector}[first:first + count]" for name, vector in zip(plan.vectors, vectors, strict=True)]
    load += _copy([f"w{k}" for k in states], [f"begin_u{k}" for k in states])
    lanes = [name for name in plan.learned if name in plan.vectors]
    seed = _copy([f"w{k}" for k in states], [f"grad_u{k}" for k in states])
    seed += [f"    {row}[i] = zero" for row in (["carry"] if delayed else []) + [f"d_{name}" for name in lanes]]
    walk = [*rows, "scalars", *plan.vectors, "p0", "p1", "attached", "count"]
    finish = ["for i in range(count):"]
    finish += [f"    {line}" for line in (_first_spike(plan) if delayed else [])]
    finish += [f"    grad_u{k}[first + i] = w{k}[i]" for k in states]
    finish += [f"    grad_{name}[first + i] += d_{name}[i]" for name in lanes]
    sums = [name for name in plan.learned if name in plan.scalars]
    total = [f"    grad_{name}[part] += d_{name}[i]" for name in sums]
    total = [f"for i in range({LANES}):", *total] if sums else []
    replay = ", ".join(_replay_arguments(plan))
    # One row of lanes is a function of its own: in a loop that goes back in time the compiler's check that rows do not
    # overlap takes the wrong way round and always falls back to one lane at a time.
    return f"""
def walk({", ".join(["xt", "got", "gxt", *(f"past_{name}" for name in kept), *walk])}):
    one, zero, half = got.dtype.type(1), got.dtype.type(0), got.dtype.type(0.5)
{_indent(constants(plan.surrogate) + _unpack(plan), 4)}
    for i in range(count):
{_indent([*(f"{name} = past_{name}[i]" for name in kept), *_walk_lines(plan)], 8)}


def backward({", ".join(arguments)}):
    one, zero, half = x.dtype.type(1), x.dtype.type(0), x.dtype.type(0.5)
{_indent(constants(plan.surrogate) + _unpack(plan), 4)}
{_indent([f"{row} = np.zeros({LANES}, x.dtype)" for row in rows], 4)}
{_indent([f"all_{name} = np.empty((x.shape[0], block), x.dtype)" for name in kept], 4)}
    for first in range(start, stop, block):
        count = min(block, stop - first)
{_indent(load, 8)}
        {f"replay({replay})" if kept else ""}
{_indent(seed, 8)}
        for t in range(x.shape[0] - 1, -1, -1):
            xt, got = x[t, first:first + count], grad_out[t, first:first + count]
            gxt = grad_x[t, first:first + count]
            walk({", ".join(["xt", "got", "gxt", *(f"all_{name}[t]" for name in kept), *walk])})
{_indent(finish, 8)}
{_indent(total, 4)}
"""


def _reverse_release(writer: _Writer, h: list[str], delayed: bool) -> None:
    """Gradients back through the rows after the reset, the reset and the spike."""
    plan = writer.plan
    threshold = writer.value("th")
    writer.say(f"s = one if {h[plan.fires]} > {threshold} else zero")
    writer.say("gs = got[i] + carry[i]" if delayed else "gs = got[i]")
    ends = h if delayed else writer.reset(h) if plan.after and plan.learned else h
    for k in reversed(plan.after):
        if writer.has(f"q{k}"):
            writer.say(f"gs = gs + {writer.times(f'q{k}', f'g{k}')}")
            writer.learn(f"q{k}", f"g{k} * s")
        _reverse_row(writer, k, ends)
    if not delayed:
        # The attached reset adds its own share to the spike's gradient; `attached` is 0 or 1.
        for k in range(plan.states):
            if writer.has(f"r{k}"):
                writer.learn(f"r{k}", f"-g{k} * s")
                writer.say(f"gs = gs - attached * {writer.times(f'r{k}', f'g{k}')}")
            if k in plan.hard:
                writer.say(f"gs = gs - attached * {h[k]} * g{k}")
                writer.say(f"g{k} = g{k} * (one - s)")
    writer.say(f"z = {h[plan.fires]} - {threshold}")
    writer.lines += SURROGATES[plan.surrogate]
    writer.say("gz = gs * surrogate")
    writer.say(f"g{plan.fires} = g{plan.fires} + gz")
    writer.learn("th", "-gz")


def _reverse_charge(writer: _Writer, delayed: bool) -> None:
    """Gradients back through the rows before the spike (and the delayed reset)."""
    plan = writer.plan
    old = [f"u{k}" for k in range(plan.states)]
    if delayed:
        writer.say(f"sp = one if u{plan.fires} > {writer.value('th')} else zero")
        writer.say("gp = zero")
        if plan.learned:
            for k in plan.hard:
                writer.say(f"z{k} = u{k} * (one - sp)")
                old[k] = f"z{k}"
    values = [f"h{k}" if k in plan.before else old[k] for k in range(plan.states)]
    terms = []
    for k in reversed(plan.before):
        if writer.has(f"b{k}"):
            terms.append(f"gx{k}")
            writer.say(f"gx{k} = {writer.times(f'b{k}', f'g{k}')}")
            writer.learn(f"b{k}", f"g{k} * xt[i]")
        if delayed and writer.has(f"r{k}"):
            writer.learn(f"r{k}", f"-g{k} * sp")
            writer.say(f"gp = gp - attached * {writer.times(f'r{k}', f'g{k}')}")
        _reverse_row(writer, k, values[:k] + old[k:])
    writer.say(f"gxt[i] = {' + '.join(terms) or 'zero'}")
    if delayed:
        for k in plan.hard:
            writer.say(f"gp = gp - attached * u{k} * g{k}")
            writer.say(f"g{k} = g{k} * (one - sp)")
        writer.say("carry[i] = gp")


def _reverse_row(writer: _Writer, k: int, values: list[str]) -> None:
    """Gradient of `u_k <- Σ_j A_kj u_j`: `values` are the states that the row saw."""
    for j in range(writer.plan.states):
        if writer.has(f"a{k}{j}"):
            writer.learn(f"a{k}{j}", f"g{k} * {values[j]}")
            if j != k:
                writer.say(f"g{j} = g{j} + {writer.times(f'a{k}{j}', f'g{k}')}")
    writer.say(f"g{k} = {writer.times(f'a{k}{k}', f'g{k}')}" if writer.has(f"a{k}{k}") else f"g{k} = zero")


def _first_spike(plan: Plan) -> list[str]:
    """The delayed reset of step 0 belongs to a spike of the state that came in."""
    writer = _Writer(plan)
    writer.say(f"z = begin_u{plan.fires}[first + i] - {writer.value('th')}")
    writer.lines += SURROGATES[plan.surrogate]
    writer.say("gz = carry[i] * surrogate")
    writer.say(f"w{plan.fires}[i] = w{plan.fires}[i] + gz")
    writer.learn("th", "-gz")
    return writer.lines


def _copy(targets: list[str], sources: list[str]) -> list[str]:
    """A block of every source into its scratch row; a loop, since numba is slow to compile slice assignments."""
    return ["for i in range(count):", *(f"    {a}[i] = {b}[first + i]" for a, b in zip(targets, sources, strict=True))]


def _unpack(plan: Plan) -> list[str]:
    return [f"{name} = scalars[{n}]" for n, name in enumerate(plan.scalars)]


def _indent(lines: list[str], spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in lines)
