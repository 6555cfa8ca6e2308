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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from provenet.nets.expr.ast import (
    And,
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
_TRUE = Const(True, BOOL)
_FALSE = Const(False, BOOL)


@dataclass(slots=True)
class PlaceFacts:
    """For each place, conditions over ``it`` and its ghost, which hold of every token there."""

    places: dict[str, list[Expr]] = field(default_factory=dict)

    def of(self, place: str) -> list[Expr]:
        """The conditions of a place; none where nothing is known."""
        return self.places.get(place, [])


def infer(
    net: Net, questions: Sequence[Question], ghost: Ghost | None, encoding: Encoding, *, timeout_ms: int
) -> PlaceFacts | None:
    """Facts under which no question can happen; ``None`` where this method finds none."""
    rules = _Rules(net, ghost, encoding, timeout_ms)
    facts = PlaceFacts()
    work: list[tuple[str, Expr]] = []

    def demand(t: Transition, primary: str | None, wanted: Expr, *, requires: bool = True) -> bool:
        """Ask of a transition's input tokens whatever makes a condition true when it fires."""
        for part in _conjuncts(simplify(wanted, net.scope(t) | rules.ghost_scope())):
            if part == _TRUE:
                continue
            free = free_variables(part) - {GHOST_SET, GHOST_VALUE}
            ghostly = bool(free_variables(part) & {GHOST_SET, GHOST_VALUE})
            owners = free | ({primary} if ghostly and primary is not None else set())
            arcs = {a.var: a.place for a in inputs_of(t) if a.var is not None}
            if rules.implied(t, part, requires=requires):
                continue
            if len(owners) != 1 or (owner := next(iter(owners))) not in arcs:
                return False
            if ghostly and owner != primary:
                return False
            fact = substitute(part, {owner: Var(IT)})
            known = facts.places.setdefault(arcs[owner], [])
            if fact not in known:
                known.append(fact)
                work.append((arcs[owner], fact))
        return True

    try:
        for q in questions:
            t = net.transition(q.transition)
            if not demand(t, carrier(t, None), Not(q.condition), requires=q.assumes_requires):
                return None
        while work:
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
    encoding: Encoding,
    *,
    timeout_ms: int,
) -> bool:
    """Whether facts are inductive and rule the questions out, clause by clause, by a plain solver."""
    rules = _Rules(net, ghost, encoding, timeout_ms)
    try:
        for place, known in facts.places.items():
            if not all(rules.starts_with(place, fact) for fact in known):
                return False
            for t, put in rules.producers.get(place, ()):
                wanted = [rules.before(t, put, fact) for fact in known]
                primary = carrier(t, put)
                if not rules.implied(t, And(tuple(w for _, w in wanted)), facts=facts, primary=primary):
                    return False
        for q in questions:
            t = net.transition(q.transition)
            primary, requires = carrier(t, None), q.assumes_requires
            if not rules.implied(t, Not(q.condition), facts=facts, primary=primary, requires=requires):
                return False
    except Opaque:
        return False
    return True


class _Rules:
    """The net as proof obligations; symbolic values of each transition are made once."""

    def __init__(self, net: Net, ghost: Ghost | None, encoding: Encoding, timeout_ms: int) -> None:
        self.net, self.ghost, self.encoding, self.timeout_ms = net, ghost, encoding, timeout_ms
        self.producers: dict[str, list[tuple[Transition, Put]]] = {}
        for t in net.transitions:
            for put in t.puts:
                self.producers.setdefault(put.place, []).append((t, put))
        self._solvers: dict[tuple[str, bool], tuple[z3.Solver, dict[str, SymValue], dict[str, Type]]] = {}

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
                enc = self.encoding
                it = enc.fresh("it", of)
                solver = self._solver()
                solver.add(enc.inhabits(it, of))
                if entry.where is not None:
                    solver.add(enc.encode_bool(entry.where, {IT: it}, {IT: of}))
                wanted = simplify(substitute(fact, self._unset()), {IT: of} | self.ghost_scope())
                if wanted == _TRUE:
                    continue
                solver.add(z3.Not(enc.encode_bool(wanted, {IT: it}, {IT: of})))
                if solver.check() != z3.unsat:
                    return False
        return True

    def implied(
        self,
        t: Transition,
        wanted: Expr,
        *,
        facts: PlaceFacts | None = None,
        primary: str | None = None,
        requires: bool = True,
    ) -> bool:
        """Whether a condition follows from a transition's guard and promises, and facts about its inputs."""
        wanted = simplify(wanted, self.net.scope(t) | self.ghost_scope())
        if wanted in (_TRUE, _FALSE):
            return wanted == _TRUE
        if facts is None and t.guard is None and t.ensures is None and t.requires is None:
            outside = {f.var for f in t.fresh}
            if not free_variables(wanted) & outside and not _may_be_valid(wanted):
                return False
        solver, env, scope = self._firing(t, requires=requires)
        if wanted == t.guard or (isinstance(t.guard, And) and wanted in t.guard.parts):
            return True
        solver.push()
        try:
            if facts is not None:
                for arc in inputs_of(t):
                    if arc.var is None:
                        continue
                    for fact in facts.of(arc.place):
                        ghostly = bool(free_variables(fact) & {GHOST_SET, GHOST_VALUE})
                        # The firing has one ghost, its carrier's: of another token's nothing can be said.
                        if not ghostly or arc.var == primary:
                            renamed = substitute(fact, {IT: Var(arc.var)})
                            solver.add(self.encoding.encode_bool(renamed, env, scope))
            solver.add(z3.Not(self.encoding.encode_bool(wanted, env, scope)))
            return bool(solver.check() == z3.unsat)
        finally:
            solver.pop()

    def _firing(
        self, t: Transition, *, requires: bool
    ) -> tuple[z3.Solver, dict[str, SymValue], dict[str, Type]]:
        key = (t.name, requires)
        if key not in self._solvers:
            enc = self.encoding
            scope = dict(self.net.scope(t))
            env: dict[str, SymValue] = {v: enc.fresh(f"{t.name}.{v}", of) for v, of in scope.items()}
            solver = self._solver()
            for f in t.fresh:
                solver.add(enc.inhabits(env[f.var], f.type))
            for condition in (t.guard, t.ensures, t.requires if requires else None):
                if condition is not None:
                    try:
                        solver.add(enc.encode_bool(condition, env, scope))
                    except Opaque:
                        continue  # what the prover cannot look into is not assumed
            scope |= self.ghost_scope()
            if self.ghost is not None:
                env[GHOST_SET] = z3.Bool(f"{t.name}.{GHOST_SET}")
                env[GHOST_VALUE] = enc.fresh(f"{t.name}.{GHOST_VALUE}", self.ghost.type)
            self._solvers[key] = (solver, env, scope)
        return self._solvers[key]

    def _solver(self) -> z3.Solver:
        solver = z3.SimpleSolver()
        solver.set("timeout", max(1, self.timeout_ms))
        solver.set("random_seed", 1)
        return solver

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
    match expr:
        case Const() | Var():
            return expr
        case Each():
            return expr
    parts = tuple(simplify(c, scope) for c in children(expr))
    match with_children(expr, parts):
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
    return any(isinstance(node, If | Or | Const) for node in _nodes(expr)) and not isinstance(
        expr, Var | Get | Compare
    )


def _nodes(expr: Expr) -> list[Expr]:
    return [expr, *(n for c in children(expr) for n in _nodes(c))]
