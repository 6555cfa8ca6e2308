"""The step on top of a saga scope is somewhere: numbered tokens, each number once.

A scope's token counts the steps whose commits have begun; each step carries the number that it took then,
through its commit and its undo token. For a number n >= 1, let W(m) be how many tokens of a marking carry
n, less how many scope tokens have counted up to n. If a case starts with W = 0 for every n and no firing
changes it, every marking has W = 0 for every n: the numbers 1 to the depth are each carried once, and no
other is (a place invariant with weight functions; Jensen, "Coloured Petri Nets", 1992, volume 1, chapter
4). One query for each transition, with n left open, shows it.

Which fields carry numbers is read off the guards that compare them with a scope's depth, and off how tokens
are built from one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import z3

from provenet.nets.expr.ast import Compare, Expr, Var
from provenet.nets.net import Net, SagaInfo, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import Type
from provenet.verify.backward import PlaceFacts, holds, simplify
from provenet.verify.context import Context
from provenet.verify.intervals import Field, equalities, number_at, path_of, taken, whole_fields
from provenet.verify.questions import IT, inputs_of
from provenet.verify.smt import Opaque, SymValue


@dataclass(frozen=True, slots=True)
class Numbering:
    """A scope whose steps are numbered from 1 to its depth.

    Attributes:
        scope: The fields that count, of the places that its token moves between.
        numbers: The fields that carry a step's number.
        facts: What is known of every token in a place.
    """

    scope: frozenset[Field]
    numbers: frozenset[Field]
    facts: PlaceFacts


def numbering(ctx: Context, saga: SagaInfo, facts: PlaceFacts) -> Numbering | None:
    """How the steps of a scope are numbered; ``None`` where that is not found, or does not hold.

    Args:
        ctx: The net.
        saga: The scope.
        facts: What is known of every token in a place already.
    """
    net = ctx.net
    scope = _depths(net, saga)
    numbers = _numbers(net, scope)
    if not scope or not numbers:
        return None
    found = Numbering(frozenset(scope), frozenset(numbers), _with_pairs(ctx, facts, scope, numbers))
    return found if _starts(net, found) and all(_keeps(ctx, t, found) for t in net.transitions) else None


def _depths(net: Net, saga: SagaInfo) -> set[Field]:
    """The counting fields of a scope's places, and of those that hold its token for a while."""
    own = (saga.open, saga.aborting, saga.completing)
    found: set[Field] = {(p, path) for p in own for path in whole_fields(net.place(p).type)}
    depths = {f for f in found if f[1] == ("depth",)}
    return _copies(net, depths or found, onward=True, back=False)


def _numbers(net: Net, scope: set[Field]) -> set[Field]:
    """The fields that some guard compares with a scope's depth, and those that they are copies of."""
    found: set[Field] = set()
    for t in net.transitions:
        arcs = {a.var: a.place for a in inputs_of(t) if a.var is not None}
        for one, other in equalities(t.guard):
            fields = [(arcs[v], path) for v, path in (one, other) if v in arcs]
            if len(fields) == 2 and (fields[0] in scope) != (fields[1] in scope):
                found |= {f for f in fields if f not in scope}
    return _copies(net, found, onward=True, back=True) - scope


def _copies(net: Net, fields: set[Field], *, onward: bool, back: bool) -> set[Field]:
    """Some fields, and those that tokens are built with as they are."""
    found = set(fields)
    while True:
        more: set[Field] = set()
        for t in net.transitions:
            arcs = {a.var: a.place for a in inputs_of(t) if a.var is not None}
            for put in t.puts:
                for path in whole_fields(net.place(put.place).type) if put.expr is not None else ():
                    assert put.expr is not None
                    named = path_of(simplify(taken(put.expr, path), net.scope(t)))
                    if named is not None and named[0] in arcs:
                        source, target = (arcs[named[0]], named[1]), (put.place, path)
                        if onward and source in found:
                            more.add(target)
                        if back and target in found:
                            more.add(source)
        if more <= found:
            return found
        found |= more


def _with_pairs(ctx: Context, facts: PlaceFacts, scope: set[Field], numbers: set[Field]) -> PlaceFacts:
    """The facts, and that a token that carries both has the number on top."""
    more = PlaceFacts({p: list(known) for p, known in facts.places.items()})
    for place, path in sorted(numbers):
        for other in sorted(p for q, p in scope if q == place):
            equal = Compare("==", taken(Var(IT), path), taken(Var(IT), other))
            more.places.setdefault(place, []).append(equal)
    return more if holds(ctx.net, (), None, more, ctx.lemmas, timeout_ms=ctx.remaining_ms()) else facts


def _starts(net: Net, found: Numbering) -> bool:
    """Whether a case starts with nothing counted and nothing numbered."""
    concerned = {p for p, _ in (*found.scope, *found.numbers)}
    if any(e.place in concerned for e in net.entries):
        return False
    for place, tokens in net.initial:
        if tokens and any(p == place for p, _ in found.numbers):
            return False
        for p, path in found.scope:
            if p == place and any(number_at(net, place, token, path) != 0 for token in tokens):
                return False
    return True


def _keeps(ctx: Context, t: Transition, found: Numbering) -> bool:
    """Whether a firing changes W for no n."""
    net, enc = ctx.net, ctx.encoding
    concerned = {p for p, _ in (*found.scope, *found.numbers)}
    touched = {*(a.place for a in t.takes), *(p.place for p in t.puts), *t.resets}
    if not concerned & touched:
        return True
    if concerned & set(t.resets):
        return False
    if any(a.place in concerned and (a.var is None or a.weight != 1) for a in t.takes):
        return False
    if any(p.place in concerned and (p.expr is None or p.weight != 1) for p in t.puts):
        return False
    scope = net.scope(t)
    try:
        env: dict[str, SymValue] = {v: enc.fresh(f"{t.name}.{v}", of) for v, of in scope.items()}
        query = [enc.encode_bool(e, env, scope) for e in (t.guard, t.ensures, t.requires) if e is not None]
        query += [enc.inhabits(env[f.var], f.type) for f in t.fresh]
        for arc in inputs_of(t):
            if arc.var is not None:
                of = net.place(arc.place).type
                query += [enc.encode_bool(e, {IT: env[arc.var]}, {IT: of}) for e in found.facts.of(arc.place)]
        n = z3.Int("n")
        query.append(n >= 1)
        change: list[z3.ArithRef] = [z3.IntVal(0)]
        for sign, tokens in ((-1, _taken(t)), (1, _built(t))):
            for place, token in tokens:
                for p, path in found.numbers:
                    if p == place:
                        change.append(
                            sign * z3.If(enc.encode(_part(token, path, scope), env, scope) == n, 1, 0)
                        )
                for p, path in found.scope:
                    if p == place:
                        change.append(
                            -sign * z3.If(enc.encode(_part(token, path, scope), env, scope) >= n, 1, 0)
                        )
        query.append(z3.Sum(change) != 0)
    except Opaque:
        return False
    return bool(enc.check(query, ctx.remaining_ms()) == z3.unsat)


def _taken(t: Transition) -> Iterator[tuple[str, Expr]]:
    return ((a.place, Var(a.var)) for a in t.takes if a.var is not None)


def _built(t: Transition) -> Iterator[tuple[str, Expr]]:
    return ((p.place, p.expr) for p in t.puts if p.expr is not None)


def _part(token: Expr, path: tuple[str, ...], scope: Mapping[str, Type]) -> Expr:
    return simplify(taken(token, path), scope)
