"""How runs end: in one very state of the graph, where nothing goes on, or going round for ever.

A path of the graph says which tokens its firings take; of those that are left over it says nothing. Where
a refutation rests on the state that the path leads to (nothing good can be reached from there), those tokens
must have the values that the state keeps of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import islice, product
from typing import Literal

import z3

from provenet.nets.errors import FiringError
from provenet.nets.firing import Firing
from provenet.nets.marking import Marking, is_final
from provenet.nets.net import Transition
from provenet.nets.schema import BoolType, EnumType, Type, Value, plainest
from provenet.verify.context import Context
from provenet.verify.graph import Graph
from provenet.verify.questions import inputs_of
from provenet.verify.smt import Encoding, Opaque
from provenet.verify.trace import Extra, SymRun, agree, choices_of_tokens
from provenet.verify.verdict import Trace, TraceStep

_MOST_WAYS = 64
_FEW = 12
_LONGEST = 400


def ends_in(graph: Graph, state: int) -> Extra:
    """Asks that the tokens at the end of a run are those of a state."""
    space = graph.space

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        left = Counter(graph.states[state])
        out: list[z3.BoolRef] = []
        inputs = []
        for place, tokens in run.tokens.items():
            of = space.net.place(place).type
            for token in tokens:
                if token.number < 0:  # a case's input, which stands for every value that it may have
                    inputs.append((place, of, token))
                    continue
                left[token.number] -= 1
                out += agree(enc, token.value, space.value_of[token.number], of)
        for place, of, token in inputs:
            number = next((k for k, n in left.items() if n > 0 and space.place_of[k] == place), None)
            if number is None:
                return [z3.BoolVal(False)]
            left[number] -= 1
            out += agree(enc, token.value, space.value_of[number], of)
        return out if not any(left.values()) else [z3.BoolVal(False)]

    return extra


def lets_none_fire(ctx: Context, silent: Collection[Transition]) -> Extra:
    """Asks that none of some transitions is enabled at the end of a run."""

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        out: list[z3.BoolRef] = []
        for t in silent:
            slots = [(a.place, a.var) for a in inputs_of(t) for _ in range(a.weight)]
            for number, chosen in enumerate(choices_of_tokens(run, slots)):
                if t.guard is None:
                    return [z3.BoolVal(False)]
                if number >= _MOST_WAYS:
                    raise Opaque("too many tokens to choose from")
                env = {v: k.value for (_, v), k in zip(slots, chosen, strict=True) if v is not None}
                scope = {v: o for v, o in ctx.net.scope(t).items() if v in env}
                out.append(z3.Not(enc.encode_bool(t.guard, env, scope)))
        return out

    return extra


def prolonged(
    ctx: Context,
    trace: Trace,
    allowed: Collection[str],
    *,
    over: Literal["stops", "goes on"],
    seconds: float = 0.5,
) -> tuple[Trace, int]:
    """A run, gone on with, until it ends or comes back to a marking; by the firing rule, for people to see.

    Args:
        ctx: The net.
        trace: The run.
        allowed: The transitions that go on with it.
        seconds: How long to look.
        over: Whether a run stops in a final marking.

    Returns:
        The run with what follows, and how many of its last firings can be repeated for ever: 0 where it ends.
        The very run where neither was found, with 0.
    """
    rule, until = ctx.rule, time.monotonic() + seconds
    markings = [ctx.realizer.markings(trace)[-1]]
    at = {markings[0]: 0}
    steps: list[TraceStep] = []
    ways: list[Iterator[tuple[Firing, Marking]]] = []

    def onward(marking: Marking) -> Iterator[tuple[Firing, Marking]]:
        if over == "stops" and is_final(ctx.net, marking):
            return
        for name in sorted(allowed, key=lambda n: n in {s.transition for s in steps}):
            for taken in islice(rule.bindings(marking, name), _FEW):
                fresh = ctx.net.transition(name).fresh
                for brought in islice(product(*(_some_values(f.type) for f in fresh)), _FEW):
                    binding = {**taken, **{f.var: v for f, v in zip(fresh, brought, strict=True)}}
                    try:
                        yield Firing(name, binding), rule.fire(marking, name, binding)
                    except FiringError:
                        continue

    ways.append(onward(markings[0]))
    while time.monotonic() < until and len(steps) < _LONGEST:
        found = next(ways[-1], None)
        if found is None:  # nothing goes on, as far as was looked
            done = markings[-1]
            stopped = (over == "stops" and is_final(ctx.net, done)) or not any(
                rule.is_enabled(done, name) for name in allowed
            )
            return (replace(trace, steps=(*trace.steps, *steps)), 0) if stopped else (trace, 0)
        firing, marking = found
        steps.append(TraceStep(firing.transition, firing.binding))
        if marking in at:
            again = len(steps) - at[marking]
            return repeated(replace(trace, steps=(*trace.steps, *steps)), again), again
        at[marking] = len(steps)
        markings.append(marking)
        ways.append(onward(marking))
    return trace, 0


def repeated(trace: Trace, again: int) -> Trace:
    """A trace that says of its last firings that they can be repeated for ever."""
    first = len(trace.steps) - again
    said = replace(trace.steps[first], note="from here on again and again")
    return replace(trace, steps=(*trace.steps[:first], said, *trace.steps[first + 1 :]))


def _some_values(of: Type) -> list[Value]:
    match of:
        case BoolType():
            return [False, True]
        case EnumType(_, values):
            return list(values)
    return [plainest(of)]
