"""Facts about a net that remembers one key: no consumer meets it again.

The place that every consumer of an event takes its token from and puts one back to is the thread that all of
them pass. On its token rides some key that was consumed: which one is chosen freely, once (each consumer has
a second version that writes its key down, where none is). If no consumer can then fire with the very key on
its token, no two consumers of any run share a key. That is a question about data on one token, and it is
answered by per-place facts, mostly by Spacer: such as "what was seen is at most the last number".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from provenet.nets.expr.ast import And, Build, Compare, Const, Expr, Get, Not, Var, substitute
from provenet.nets.net import Net, Place, Put, Transition
from provenet.nets.schema import BOOL, Field, RecordType, Type, plainest
from provenet.verify.context import Answer, Context, Open
from provenet.verify.questions import Question, inputs_of

_RECORDED = " ?recorded"


def key_facts(ctx: Context, acting: Sequence[Transition], keys: Mapping[str, tuple[Expr, Type]]) -> Answer:
    """Whether no two firings of the consumers share a key.

    Args:
        ctx: The net.
        acting: The consumers of one event.
        keys: For each of them the key of what it takes, over its variables, with its type.
    """
    kinds = {of for _, of in keys.values()}
    thread = next((p for p in ctx.net.places if _is_thread(ctx.net, p.name, acting)), None)
    if thread is None or len(kinds) != 1:
        return Open("no place remembers what was seen: no token passes all consumers")
    (kind,) = kinds
    net = _remembering(ctx.net, thread, keys, kind)
    hints = None if ctx.hints is None else list(ctx.hints.values())
    inner = Context(net, deadline=ctx.deadline, most_states=2_000, hints=hints)
    questions = []
    for t in acting:
        x = _var(t, thread.name)
        met = Compare("==", Get(Var(x), "key"), _moved(t, thread.name)(keys[t.name][0]))
        questions.append(Question(t.name, And((Get(Var(x), "is_set"), met))))
    return inner.never_fires(questions)


def _is_thread(net: Net, place: str, acting: Sequence[Transition]) -> bool:
    """Whether a place holds at most one token, which every consumer takes and puts back."""
    start = sum(len(tokens) for p, tokens in net.initial if p == place)
    if start != 1 or any(e.place == place for e in net.entries):
        return False
    for t in net.transitions:
        taken = [a for a in t.takes if a.place == place]
        put = [p for p in t.puts if p.place == place]
        if len(taken) > 1 or len(put) > len(taken) or any(p.expr is None for p in put):
            return False
        if any(a.var is None for a in inputs_of(t) if a.place == place) or place in t.resets:
            return False
        if t in acting and len(put) != 1:
            return False
    return True


def _remembering(net: Net, thread: Place, keys: Mapping[str, tuple[Expr, Type]], kind: Type) -> Net:
    """The net with a key on the thread's token, and a version of each consumer that writes its key there."""
    of = RecordType("?remembered", (Field("token", thread.type), Field("is_set", BOOL), Field("key", kind)))
    made: list[Transition] = []
    for t in net.transitions:
        if not any(a.place == thread.name for a in inputs_of(t)):
            made.append(t)
            continue
        moved = _moved(t, thread.name)
        x = Var(_var(t, thread.name))
        plain = _rewritten(t, moved)
        made.append(_putting(plain, thread.name, of, Get(x, "is_set"), Get(x, "key")))
        if t.name in keys:
            guard = Not(Get(x, "is_set"))
            first = replace(
                plain,
                name=t.name + _RECORDED,
                guard=guard if plain.guard is None else And((plain.guard, guard)),
            )
            made.append(_putting(first, thread.name, of, Const(True, BOOL), moved(keys[t.name][0])))
    places = tuple(replace(p, type=of) if p.name == thread.name else p for p in net.places)
    initial = tuple(
        (p, tuple((v, False, plainest(kind)) for v in tokens) if p == thread.name else tokens)
        for p, tokens in net.initial
    )
    return replace(net, places=places, transitions=tuple(made), initial=initial, requirements=())


def _rewritten(t: Transition, moved: Any) -> Transition:
    """A transition whose expressions read the token below the new record."""

    def maybe(expr: Expr | None) -> Expr | None:
        return None if expr is None else moved(expr)

    trigger: Any = t.trigger
    for name in ("payload", "about", "delay"):
        if getattr(trigger, name, None) is not None:
            trigger = replace(trigger, **{name: moved(getattr(trigger, name))})
    return replace(
        t,
        guard=maybe(t.guard),
        ensures=maybe(t.ensures),
        requires=maybe(t.requires),
        puts=tuple(replace(p, expr=maybe(p.expr)) for p in t.puts),
        trigger=trigger,
    )


def _putting(t: Transition, place: str, of: RecordType, is_set: Expr, key: Expr) -> Transition:
    def wrapped(p: Put) -> Put:
        assert p.expr is not None
        return replace(p, expr=Build(of, (p.expr, is_set, key)))

    return replace(t, puts=tuple(wrapped(p) if p.place == place else p for p in t.puts))


def _var(t: Transition, place: str) -> str:
    return next(a.var for a in inputs_of(t) if a.place == place and a.var is not None)


def _moved(t: Transition, place: str) -> Any:
    """Reads the thread's token where it is now."""
    names: dict[str, Expr] = {
        a.var: Get(Var(a.var), "token") for a in inputs_of(t) if a.place == place and a.var is not None
    }
    return lambda expr: substitute(expr, names)
