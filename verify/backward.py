"""Facts by weakest preconditions: what must be known of a token here, for the question to be answered there.

Start from what must hold when the asked transition fires, and ask of each place what its tokens must promise.
A promise about a token is carried backwards through every transition that puts one (Dijkstra's weakest
precondition, CACM 1975, in the expression language itself): the guard may already imply it; otherwise it
becomes a promise about the token that it was built from. A promise that comes back to where it was asked
before closes a loop. What is left is one conjunction for each place, inductive by construction, in the
notation of the net.

This answers most questions about contracts in milliseconds and gives facts that people can read. It gives up
where a promise needs two tokens at once or new constants; Spacer (``provenet.verify.facts``) is asked then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import z3

from provenet.nets.expr.ast import (
    And,
    Arith,
    Build,
    Compare,
    Const,
    Each,
    Expr,
    Get,
    If,
    IsNull,
    Not,
    Or,
    OrElse,
    Var,
    children,
    free_variables,
    substitute,
    with_children,
)
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Net, Put, Transition
from provenet.nets.schema import BOOL, OptionalType, RecordType, Type, plainest
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, IT, Ghost, Question, carrier, inputs_of
from provenet.verify.smt import Encoding, Opaque, SymValue

_MOST_FACTS = 400
_LARGEST_FACT = 400
"""Nodes of one fact: a promise around a loop that computes can double at each turn."""

_TRUE = Const(True, BOOL)
_FALSE = Const(False, BOOL)
_GHOST = frozenset({GHOST_SET, GHOST_VALUE})


@dataclass(slots=True)
class PlaceFacts:
    """For each place, conditions over ``it`` and its ghost, which hold of every token there."""

    places: dict[str, list[Expr]] = field(default_factory=dict)

    def of(self, place: str) -> list[Expr]:
        """The conditions of a place; none where nothing is known."""
        return self.places.get(place, [])


def infer(
    net: Net,
    questions: Sequence[Question],
    ghost: Ghost | None,
    lemmas: Lemmas,
    *,
    timeout_ms: int,
) -> PlaceFacts | None:
    """Facts under which no question can happen; ``None`` where this method finds none."""
    rules = _Rules(net, ghost, lemmas, timeout_ms)
    until = time.monotonic() + timeout_ms / 1000
    facts = PlaceFacts()
    work: list[tuple[str, Expr]] = []

    def demand(t: Transition, primary: str | None, wanted: Expr, *, requires: bool = True) -> bool:
        """Ask of a transition's input tokens whatever makes a condition true when it fires."""
        arcs = {a.var: a.place for a in inputs_of(t) if a.var is not None}
        for part in _conjuncts(wanted):
            if part == _TRUE or rules.implied(t, part, requires=requires):
                continue
            free = free_variables(part)
            ghostly = not free.isdisjoint(_GHOST)
            owners = free - _GHOST
            if ghostly and primary is not None:
                owners |= {primary}
            if len(owners) != 1 or (owner := next(iter(owners))) not in arcs:
                return False
            if ghostly and owner != primary:
                return False
            fact = substitute(part, {owner: Var(IT)})
            if _has_more_nodes(fact, _LARGEST_FACT):
                return False
            known = facts.places.setdefault(arcs[owner], [])
            if fact not in known:
                known.append(fact)
                work.append((arcs[owner], fact))
        return True

    try:
        for q in questions:
            t = net.transition(q.transition)
            wanted = simplify(Not(q.condition), net.scope(t) | rules.ghost_scope())
            if not demand(t, carrier(t, None), wanted, requires=q.assumes_requires):
                return None
        while work:
            if time.monotonic() > until:
                return None
            place, fact = work.pop()
            if sum(map(len, facts.places.values())) > _MOST_FACTS or not rules.starts_with(place, fact):
                return None
            for t, put in rules.producers.get(place, ()):
                primary, wanted = rules.before(t, put, fact)
                if not demand(t, primary, wanted):
                    return None
    except Opaque:
        return None
    return facts


def holds(
    net: Net,
    questions: Sequence[Question],
    ghost: Ghost | None,
    facts: PlaceFacts,
    lemmas: Lemmas,
    *,
    timeout_ms: int,
) -> bool:
    """Whether facts are inductive and rule the questions out, clause by clause, by a plain solver."""
    rules = _Rules(net, ghost, lemmas, timeout_ms)
    try:
        for place, known in facts.places.items():
            if not all(rules.starts_with(place, fact) for fact in known):
                return False
            for t, put in rules.producers.get(place, ()):
                wanted = [part for fact in known for part in _conjuncts(rules.before(t, put, fact)[1])]
                if not rules.follow(t, wanted, facts, carrier(t, put)):
                    return False
        for q in questions:
            t = net.transition(q.transition)
            never = simplify(Not(q.condition), net.scope(t) | rules.ghost_scope())
            if not rules.follow(t, _conjuncts(never), facts, carrier(t, None), requires=q.assumes_requires):
                return False
    except Opaque:
        return False
    return True


@dataclass(slots=True, eq=False)
class _Firing:
    """What is known whenever a transition fires, and what was found to follow from it."""

    transition: Transition
    scope: dict[str, Type]
    requires: bool
    stated: frozenset[Expr]
    """The conjuncts of its conditions, as they stand."""
    constraints: list[z3.BoolRef] | None = None
    follows: dict[tuple[Expr, Type | None], bool] = field(default_factory=dict)


class Lemmas:
    """What follows from the conditions of transitions alone; questions about one net share it.

    Args:
        encoding: How types and expressions become solver terms.
    """

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        # By identity, since comparing transitions costs more than what is kept; they are kept alive with it.
        self._firings: dict[tuple[int, bool], _Firing] = {}
        self._producers: tuple[Net, dict[str, list[tuple[Transition, Put]]]] | None = None

    def firing(self, net: Net, t: Transition, *, requires: bool) -> _Firing:
        """What is known whenever a transition fires, with or without what it requires."""
        found = self._firings.get((id(t), requires))
        if found is None:
            scope = dict(net.scope(t))
            conditions = [c for c in (t.guard, t.ensures, t.requires if requires else None) if c is not None]
            stated = frozenset(part for c in conditions for part in _conjuncts(simplify(c, scope)))
            found = self._firings[id(t), requires] = _Firing(t, scope, requires, stated)
        return found

    def producers(self, net: Net) -> dict[str, list[tuple[Transition, Put]]]:
        """Place to the transitions that put a token there, with the arcs by which they do."""
        if self._producers is None or self._producers[0] is not net:
            found: dict[str, list[tuple[Transition, Put]]] = {}
            for t in net.transitions:
                for put in t.puts:
                    found.setdefault(put.place, []).append((t, put))
            self._producers = (net, found)
        return self._producers[1]


class _Rules:
    """The net as proof obligations."""

    def __init__(self, net: Net, ghost: Ghost | None, lemmas: Lemmas, timeout_ms: int) -> None:
        self.net, self.ghost, self.lemmas, self.timeout_ms = net, ghost, lemmas, timeout_ms
        self.encoding = lemmas.encoding
        self.producers = lemmas.producers(net)

    def before(self, t: Transition, put: Put, fact: Expr) -> tuple[str | None, Expr]:
        """What must hold when a transition fires for a fact to hold of the token that it puts.

        And whose ghost it speaks of.
        """
        token: Expr = Const((), self.net.place(put.place).type) if put.expr is None else put.expr
        by: dict[str, Expr] = {IT: token}
        primary = carrier(t, put)
        if self.ghost is not None:
            if t.name in self.ghost.sets:
                by |= {GHOST_SET: _TRUE, GHOST_VALUE: self.ghost.sets[t.name]}
            elif primary is None:
                by |= self._unset()
        return primary, simplify(substitute(fact, by), self.net.scope(t) | self.ghost_scope())

    def starts_with(self, place: str, fact: Expr) -> bool:
        """Whether a fact holds of every token that a case starts with in a place."""
        of = self.net.place(place).type
        scope = {IT: of} | self.ghost_scope()
        for where, tokens in self.net.initial:
            if where == place:
                env = {GHOST_SET: False}
                if self.ghost is not None:
                    env[GHOST_VALUE] = plainest(self.ghost.type)
                if not all(evaluate(fact, {**env, IT: token}, scope) for token in tokens):
                    return False
        for entry in self.net.entries:
            if entry.place == place:
                wanted = simplify(substitute(fact, self._unset()), {IT: of} | self.ghost_scope())
                if wanted == _TRUE:
                    continue
                enc = self.encoding
                it = enc.fresh("it", of)
                given = [enc.inhabits(it, of)]
                if entry.where is not None:
                    given.append(enc.encode_bool(entry.where, {IT: it}, {IT: of}))
                given.append(z3.Not(enc.encode_bool(wanted, {IT: it}, {IT: of})))
                if enc.check(given, self.timeout_ms) != z3.unsat:
                    return False
        return True

    def implied(self, t: Transition, wanted: Expr, *, requires: bool = True) -> bool:
        """Whether a condition, simplified, follows from a transition's conditions alone."""
        if wanted in (_TRUE, _FALSE):
            return wanted == _TRUE
        firing = self.lemmas.firing(self.net, t, requires=requires)
        if wanted in firing.stated:
            return True
        if not firing.stated and t.requires is None:
            outside = {f.var for f in t.fresh}
            if not free_variables(wanted) & outside and not _may_be_valid(wanted):
                return False
        ghostly = self.ghost is not None and not free_variables(wanted).isdisjoint(_GHOST)
        key = (wanted, self.ghost.type if ghostly and self.ghost is not None else None)
        known = firing.follows.get(key)
        if known is None:
            answer = self._answer(firing, wanted, ())
            known = answer == z3.unsat
            if answer != z3.unknown:
                firing.follows[key] = known
        return known

    def follow(
        self,
        t: Transition,
        wanted: Sequence[Expr],
        facts: PlaceFacts,
        primary: str | None,
        *,
        requires: bool = True,
    ) -> bool:
        """Whether conditions, simplified, follow from a transition's conditions and facts of its inputs."""
        firing = self.lemmas.firing(self.net, t, requires=requires)
        # The firing has one ghost, its carrier's: of another token's nothing can be said.
        given = [
            substitute(fact, {IT: Var(arc.var)})
            for arc in inputs_of(t)
            if arc.var is not None
            for fact in facts.of(arc.place)
            if arc.var == primary or free_variables(fact).isdisjoint(_GHOST)
        ]
        handed_on = set(given)
        ghost = None if self.ghost is None else self.ghost.type
        left = [
            part
            for part in wanted
            if part != _TRUE
            and part not in handed_on
            and part not in firing.stated
            and not (firing.follows.get((part, None)) or firing.follows.get((part, ghost)))
        ]
        return not left or self._answer(firing, And(tuple(left)), given) == z3.unsat

    def _answer(self, firing: _Firing, wanted: Expr, given: Sequence[Expr]) -> z3.CheckSatResult:
        """``unsat`` where a condition follows from those given."""
        enc, t = self.encoding, firing.transition
        scope = firing.scope | self.ghost_scope()
        env: dict[str, SymValue] = {v: enc.fresh(f"{t.name}.{v}", of) for v, of in scope.items()}
        if firing.constraints is None:
            firing.constraints = [enc.inhabits(env[f.var], f.type) for f in t.fresh]
            for condition in (t.guard, t.ensures, t.requires if firing.requires else None):
                if condition is not None:
                    try:
                        firing.constraints.append(enc.encode_bool(condition, env, firing.scope))
                    except Opaque:
                        continue  # what the prover cannot look into is not assumed
        query = [*firing.constraints, *(enc.encode_bool(e, env, scope) for e in given)]
        query.append(z3.Not(enc.encode_bool(wanted, env, scope)))
        return enc.check(query, self.timeout_ms)

    def ghost_scope(self) -> dict[str, Type]:
        """Types of the ghost's variables; none where there is no ghost."""
        return {} if self.ghost is None else {GHOST_SET: BOOL, GHOST_VALUE: self.ghost.type}

    def _unset(self) -> dict[str, Expr]:
        if self.ghost is None:
            return {}
        return {GHOST_SET: _FALSE, GHOST_VALUE: Const(plainest(self.ghost.type), self.ghost.type)}


def simplify(expr: Expr, scope: Mapping[str, Type]) -> Expr:
    """An equivalent expression, with constants folded and fields of built records taken directly.

    Taking a field out of a built record may put a value where an optional was; ``scope`` tells, so that
    asking whether it is null is answered here.
    """
    return _simplified(expr, scope, {})


def _simplified(expr: Expr, scope: Mapping[str, Type], done: dict[int, Expr]) -> Expr:
    """The same; what a substitution put in many places is simplified once, known by its identity."""
    if isinstance(expr, Const | Var | Each):
        return expr
    found = done.get(id(expr))
    if found is None:
        found = done[id(expr)] = _simpler(expr, scope, done)
    return found


def _simpler(expr: Expr, scope: Mapping[str, Type], done: dict[int, Expr]) -> Expr:
    before = children(expr)
    parts = tuple([_simplified(c, scope, done) for c in before])
    changed = any(a is not b for a, b in zip(before, parts, strict=True))
    match with_children(expr, parts) if changed else expr:
        case Get(Build(of, built), name):
            index = of.index(name)
            return expr if index is None else built[index]
        case Get(Const(value, RecordType() as of), name) if (at := of.index(name)) is not None:
            return Const(value[at], of.fields[at].type)
        case Get(If(condition, then, otherwise), name):
            return simplify(If(condition, Get(then, name), Get(otherwise, name)), scope)
        case Build(of, built) if (
            built and (whole := _unbuilt(built, [f.name for f in of.fields])) is not None
        ):
            return whole
        case Not(Const(value, _)):
            return _FALSE if value else _TRUE
        case Not(Not(of)):
            return of
        case Not(And(inner)):
            return simplify(Or(tuple(Not(p) for p in inner)), scope)
        case Not(Or(inner)):
            return simplify(And(tuple(Not(p) for p in inner)), scope)
        case And(inner):
            return _join(And, inner, neutral=_TRUE, absorbing=_FALSE)
        case Or(inner):
            return _join(Or, inner, neutral=_FALSE, absorbing=_TRUE)
        case If(Const(value, _), then, otherwise):
            return then if value else otherwise
        case If(_, then, otherwise) if then == otherwise:
            return then
        case IsNull(Const(value, _)):
            return _TRUE if value is None else _FALSE
        case IsNull(Build()):
            return _FALSE
        case OrElse(Const(None, _), default):
            return default
        case OrElse(of, _) if not isinstance(type_of(of, scope), OptionalType):
            return of
        case IsNull(of) if not isinstance(type_of(of, scope), OptionalType):
            return _FALSE
        case Compare("==", left, right) if left == right:
            return _TRUE
        case Compare("!=", left, right) if left == right:
            return _FALSE
        case other:
            return other


def _join(kind: Any, parts: tuple[Expr, ...], *, neutral: Expr, absorbing: Expr) -> Expr:
    flat: list[Expr] = []
    for p in parts:
        for q in p.parts if isinstance(p, kind) else (p,):
            if q == absorbing:
                return absorbing
            if q != neutral and q not in flat:
                flat.append(q)
    if any(Not(p) in flat for p in flat):
        return absorbing
    return neutral if not flat else flat[0] if len(flat) == 1 else kind(tuple(flat))


def _unbuilt(parts: tuple[Expr, ...], names: list[str]) -> Expr | None:
    """The record of which the parts are all the fields, in order; ``None`` where they are not."""
    if all(isinstance(p, Get) and p.field == n for p, n in zip(parts, names, strict=True)):
        wholes = {p.of for p in parts if isinstance(p, Get)}
        return wholes.pop() if len(wholes) == 1 else None
    return None


def _conjuncts(expr: Expr) -> tuple[Expr, ...]:
    return expr.parts if isinstance(expr, And) else (expr,)


def _may_be_valid(expr: Expr) -> bool:
    """Whether a condition could hold for every value of its variables: worth asking the solver."""
    if isinstance(expr, Compare):
        return not free_variables(expr) or any(isinstance(node, Arith) for node in _nodes(expr))
    return any(isinstance(node, If | Or | Const) for node in _nodes(expr)) and not isinstance(expr, Var | Get)


def _nodes(expr: Expr) -> Iterator[Expr]:
    """The nodes of an expression, as a tree: what is shared comes up again and again."""
    work = [expr]
    while work:
        node = work.pop()
        yield node
        work += children(node)


def _has_more_nodes(expr: Expr, most: int) -> bool:
    return next(islice(_nodes(expr), most, None), None) is not None
