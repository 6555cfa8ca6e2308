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

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import z3

from provenet.nets.expr.ast import And, Compare, Const, Expr, Var
from provenet.nets.net import Net, Role, SagaInfo, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import INT, Type
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
    if not scope or not numbers or not _one_each(scope) or not _one_each(numbers):
        return None
    found = Numbering(frozenset(scope), frozenset(numbers), _with_pairs(ctx, facts, scope, numbers))
    return found if _starts(net, found) and all(_keeps(ctx, t, found) for t in net.transitions) else None


def _one_each(fields: set[Field]) -> bool:
    """Whether each place has one of some fields at most."""
    return len({place for place, _ in fields}) == len(fields)


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
        change: list[z3.ArithRef] = [z3.IntVal(0)]
        number: Any
        depth: Any
        low: list[z3.BoolRef] = []
        for sign, tokens in ((-1, _taken(t)), (1, _built(t))):
            for place, token in tokens:
                for path in (path for p, path in found.numbers if p == place):
                    number = enc.encode(_part(token, path, scope), env, scope)
                    change.append(sign * z3.If(number == n, 1, 0))
                    if sign < 0:
                        query.append(number >= 1)
                    else:
                        low.append(number < 1)
                for path in (path for p, path in found.scope if p == place):
                    depth = enc.encode(_part(token, path, scope), env, scope)
                    change.append(-sign * z3.If(depth >= n, 1, 0))
        query.append(z3.Or(z3.And(n >= 1, z3.Sum(change) != 0), *low))
    except Opaque:
        return False
    return bool(enc.check(query, ctx.remaining_ms()) == z3.unsat)


def _taken(t: Transition) -> Iterator[tuple[str, Expr]]:
    return ((a.place, Var(a.var)) for a in t.takes if a.var is not None)


def _built(t: Transition) -> Iterator[tuple[str, Expr]]:
    return ((p.place, p.expr) for p in t.puts if p.expr is not None)


def _part(token: Expr, path: tuple[str, ...], scope: Mapping[str, Type]) -> Expr:
    return simplify(taken(token, path), scope)


@dataclass(frozen=True, slots=True)
class Discipline:
    """How the steps of a numbered scope are kept track of.

    Attributes:
        pending: Contract to the places of its commits in flight.
        owed: Contract to the places of its commits that are neither undone nor dropped.
    """

    pending: Mapping[str, frozenset[str]]
    owed: Mapping[str, frozenset[str]]


def disciplined(net: Net, saga: SagaInfo, found: Numbering, contracts: Collection[str]) -> Discipline | None:
    """Whether all commits of some contracts are undone when their scope ends aborted, the last one first.

    They are, where the steps are numbered and each contract handles its own tokens: an intent makes a
    numbered token that is pending; only its commit, which makes it one that is owed, or its failure takes
    it; and only its own compensation or, once the scope completes, its discharge takes what is owed, one at
    a time. A scope that ends has depth 0, so no number is out; and what is compensated has the scope's
    depth for a number, so every later step is gone.

    Args:
        net: The net.
        saga: The scope.
        found: How its steps are numbered.
        contracts: The contracts whose commits owe a compensation.

    Returns:
        The places; ``None`` where it is not so, or not to be seen.
    """
    places = {place for place, _ in found.numbers}
    pending: dict[str, frozenset[str]] = {}
    owed: dict[str, frozenset[str]] = {}
    for contract in contracts:
        steps = list(net.by_role(*_STEPS, contract=contract))
        pending[contract] = _put(places, steps, Role.INTENT)
        owed[contract] = _put(places, steps, Role.COMMIT) | _put(places, steps, Role.UNWIND)
    made = Discipline(pending, owed)
    kept = [*pending.values(), *owed.values()]
    if sum(map(len, kept)) != len(frozenset().union(*kept)) or any(not kept_here for kept_here in kept):
        return None
    own = {c: pending[c] | owed[c] for c in contracts}
    if not all(_handles(t, made, own) for t in net.transitions):
        return None
    ends = [t for t in net.transitions if t.contract == saga.id and t.role in (Role.ABORTED, Role.COMPLETE)]
    undoing = [(t, owed[c]) for c in contracts for t in net.by_role(Role.COMPENSATE, contract=c)]
    dropping = [t for c in contracts for t in net.by_role(Role.DISCHARGE, contract=c)]
    scope = {place for place, _ in found.scope}
    completing = net.taking(saga.completing)
    fine = (
        all(_at_depth_zero(t, found) for t in ends)
        and all(_on_top(t, places, found) for t, places in undoing)
        and saga.aborting != saga.completing
        and all(t in completing for t in dropping)
        and all({p.place for p in t.puts} & scope <= {saga.completing} for t in completing)
    )
    return made if fine else None


_STEPS = (Role.INTENT, Role.COMMIT, Role.FAIL, Role.UNWIND, Role.COMPENSATE, Role.DISCHARGE)


def _put(places: Collection[str], steps: Sequence[Transition], role: Role) -> frozenset[str]:
    return frozenset(p.place for t in steps if t.role is role for p in t.puts if p.place in places)


def _handles(t: Transition, made: Discipline, own: Mapping[str, frozenset[str]]) -> bool:
    """Whether a transition leaves other contracts' numbered tokens alone, and does as it may with its own."""
    takes, puts = Counter[str](), Counter[str]()
    for arc in t.takes:
        takes[arc.place] += arc.weight
    for put in t.puts:
        puts[put.place] += put.weight
    for contract, places in own.items():
        if places & set(t.resets):
            return False
        pending, owed = made.pending[contract], made.owed[contract]
        change = (
            sum(takes[p] for p in pending),
            sum(puts[p] for p in pending),
            sum(takes[p] for p in owed),
            sum(puts[p] for p in owed),
        )
        role = t.role if t.contract == contract else None
        if change != _ALLOWED.get(role, (0, 0, 0, 0)):
            return False
    return True


_ALLOWED: dict[Role | None, tuple[int, int, int, int]] = {
    Role.INTENT: (0, 1, 0, 0),
    Role.COMMIT: (1, 0, 0, 1),
    Role.FAIL: (1, 0, 0, 0),
    Role.UNWIND: (0, 0, 1, 1),
    Role.COMPENSATE: (0, 0, 1, 0),
    Role.DISCHARGE: (0, 0, 1, 0),
}
"""What each step of a contract does: how many pending tokens it takes and puts, and how many owed ones."""


def _at_depth_zero(t: Transition, found: Numbering) -> bool:
    """Whether a transition takes the scope's token, and only one that has counted nothing."""
    scope = dict(found.scope)
    for arc in t.takes:
        if arc.place in scope and arc.var is not None:
            wanted = Compare("==", taken(Var(arc.var), scope[arc.place]), Const(0, INT))
            return wanted in (t.guard.parts if isinstance(t.guard, And) else (t.guard,))
    return False


def _on_top(t: Transition, owed: frozenset[str], found: Numbering) -> bool:
    """Whether the step that a transition undoes carries a number and its scope's depth, known to be equal."""
    for arc in (a for a in t.takes if a.place in owed):
        numbers = [path for place, path in found.numbers if place == arc.place]
        depths = [path for place, path in found.scope if place == arc.place]
        if len(numbers) == len(depths) == 1:
            equal = Compare("==", taken(Var(IT), numbers[0]), taken(Var(IT), depths[0]))
            return equal in found.facts.of(arc.place)
    return False
