"""What can always be reached: option to complete, absence of deadlock, ways out of waits.

The state graph over-approximates, so a path in it is no promise. A promise is made of *certain* steps (a modal transition system's "must" transitions,
Larsen & Thomsen, LICS 1988): a firing whose guard is known to hold; or a set of firings of which, whatever the data, at least one is
enabled, all of them promising. Values from outside are chosen kindly (a run exists), values of tokens unkindly (for every token).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import z3

from provenet.nets.expr.ast import Build, Const, Expr, Get, Var, walk
from provenet.nets.net import Net, Transition
from provenet.nets.schema import RecordType, Type, UnitType
from provenet.verify.context import Context
from provenet.verify.graph import Edge, Graph, State
from provenet.verify.smt import Opaque, SymValue
from provenet.verify.trace import agree


@dataclass(slots=True)
class Hope:
    """Which states of a graph keep a promise.

    Attributes:
        promising: For each state, whether its promise is kept.
        certain: For each state, whether some firing is certain to be enabled.
    """

    promising: list[bool]
    certain: list[bool]


@dataclass(slots=True)
class Certainty:
    """Decides, with a cache, which firings and sets of firings are certain."""

    ctx: Context
    graph: Graph
    _cover: dict[tuple[tuple[str, State, State], ...], bool] = field(default_factory=dict)
    _fits: dict[str, bool] = field(default_factory=dict)

    def fits(self, name: str) -> bool:
        """Whether a transition, its guard true, can always fire: outside values exist, promises hold, tokens have their types."""
        if name not in self._fits:
            self._fits[name] = _fits(self.ctx, self.ctx.net.transition(name))
        return self._fits[name]

    def reaches(self, edge: Edge, targets: tuple[int, ...], good: Callable[[int], bool]) -> bool:
        """Whether a firing, its guard true, can be made to lead to a good state by a choice of outside values."""
        t = self.ctx.net.transition(edge.transition)
        # Which of the outside's choices meet a condition is not known, so all of them must be good.
        free = t.ensures is None and t.requires is None
        return (any if free else all)(map(good, targets)) and self.fits(edge.transition)

    def covers(self, firings: tuple[Edge, ...]) -> bool:
        """Whether, whatever was forgotten of the tokens at hand, one of the guards holds."""
        key = tuple((e.transition, e.takes, e.reads) for e in firings)
        if key not in self._cover:
            self._cover[key] = self._solve(firings)
        return self._cover[key]

    def _solve(self, firings: tuple[Edge, ...]) -> bool:
        ctx, space = self.ctx, self.graph.space
        enc = ctx.encoding
        tokens: dict[int, SymValue] = {}
        solver = z3.Solver()
        solver.set("timeout", ctx.remaining_ms())
        try:
            for edge in firings:
                t = ctx.net.transition(edge.transition)
                if t.guard is None:
                    return True
                slots = [(a.place, a.var) for a in t.takes for _ in range(a.weight)]
                slots += [(a.place, a.var) for a in t.reads for _ in range(a.weight)]
                env: dict[str, SymValue] = {}
                for (place, var), number in zip(slots, (*edge.takes, *edge.reads), strict=True):
                    if var is None:
                        continue
                    of = ctx.net.place(place).type
                    if number not in tokens:
                        tokens[number] = enc.fresh(f"t{number}", of)
                        solver.add(enc.inhabits(tokens[number], of))
                        solver.add(*agree(enc, tokens[number], space.value_of[number], of))
                    env[var] = tokens[number]
                scope = {n: o for n, o in ctx.net.scope(t).items() if n in env}
                solver.add(z3.Not(enc.encode_bool(t.guard, env, scope)))
        except Opaque:
            return False
        return bool(solver.check() == z3.unsat)


def promise(
    ctx: Context,
    graph: Graph,
    kept: Callable[[int], bool],
    allowed: Callable[[Transition], bool] = lambda t: True,
    certainty: Certainty | None = None,
) -> Hope:
    """Which states can surely reach a state where the promise is kept.

    Args:
        ctx: The net.
        graph: A complete graph.
        kept: Whether a state keeps the promise by itself.
        allowed: Which transitions may be used.
        certainty: A cache to share between calls on one graph.
    """
    certainty = certainty or Certainty(ctx, graph)
    net = ctx.net
    groups = [_groups(net, edges, allowed) for edges in graph.edges]
    promising = [kept(s) for s in range(len(graph.states))]
    back: list[set[int]] = [set() for _ in graph.states]
    for state, edges in enumerate(graph.edges):
        for _, target in edges:
            back[target].add(state)
    work = list(range(len(graph.states) - 1, -1, -1))
    queued = [True] * len(graph.states)
    while work:
        state = work.pop()
        queued[state] = False
        if promising[state] and not kept(state):
            continue
        if not promising[state]:
            if not _can(certainty, groups[state], lambda target: promising[target]):
                continue
            promising[state] = True
        for before in back[state]:
            if not promising[before] and not queued[before]:
                queued[before] = True
                work.append(before)
    certain = [_can(certainty, g, lambda target: True) for g in groups]
    return Hope(promising, certain)


Group = tuple[Edge, tuple[int, ...]]
"""A firing, with the states that the outside may choose to reach by it."""


def _groups(
    net: Net, edges: list[tuple[Edge, int]], allowed: Callable[[Transition], bool]
) -> dict[tuple[State, State], list[Group]]:
    """The firings of a state by the tokens that they need; firings that differ in outside values are one."""
    merged: dict[tuple[str, State, State], tuple[Edge, list[int]]] = {}
    for edge, target in edges:
        if allowed(net.transition(edge.transition)):
            merged.setdefault((edge.transition, edge.takes, edge.reads), (edge, []))[1].append(target)
    groups: dict[tuple[State, State], list[Group]] = {}
    for (_, takes, reads), (edge, targets) in merged.items():
        groups.setdefault((takes, reads), []).append((edge, tuple(targets)))
    return groups


def _can(
    certainty: Certainty, groups: dict[tuple[State, State], list[Group]], good: Callable[[int], bool]
) -> bool:
    for firings in groups.values():
        for edge, targets in firings:
            if edge.certain and certainty.reaches(edge, targets, good):
                return True
    for firings in groups.values():
        undecided = [(e, t) for e, t in firings if not e.certain]
        if (
            len(undecided) > 0
            and all(certainty.reaches(e, t, good) for e, t in undecided)
            and certainty.covers(tuple(e for e, _ in undecided))
        ):
            return True
    return False


def _fits(ctx: Context, t: Transition) -> bool:
    """For all tokens with a true guard there are outside values such that every promise holds and every built token has its type."""
    net, enc = ctx.net, ctx.encoding
    scope = net.scope(t)
    doubtful = [
        p for p in t.puts if p.expr is not None and not _obviously(p.expr, net.place(p.place).type, scope)
    ]
    if t.ensures is None and t.requires is None and not doubtful:
        return True
    try:
        env: dict[str, SymValue] = {v: enc.fresh(f"{t.name}.{v}", of) for v, of in scope.items()}
        outside = {f.var for f in t.fresh}
        given = [enc.inhabits(env[v], scope[v]) for v in scope if v not in outside]
        if t.guard is not None:
            given.append(enc.encode_bool(t.guard, env, {v: o for v, o in scope.items() if v not in outside}))
        wanted = [enc.inhabits(env[v], scope[v]) for v in outside]
        wanted += [enc.encode_bool(e, env, scope) for e in (t.ensures, t.requires) if e is not None]
        for p in doubtful:
            assert p.expr is not None
            of = net.place(p.place).type
            wanted.append(enc.inhabits(enc.encode(p.expr, env, scope), of, reading="prove"))
        claim = z3.And(*wanted)
        chosen = [leaf for v in sorted(outside) for leaf in enc.flatten(env[v])]
        solver = z3.Solver()
        solver.set("timeout", ctx.remaining_ms(2_000))
        solver.add(*given)
        solver.add(z3.Not(z3.Exists(chosen, claim) if chosen else claim))
    except Opaque:
        return False
    return bool(solver.check() == z3.unsat)


def _obviously(expr: Expr, wanted: Type, scope: dict[str, Type]) -> bool:
    """Whether an expression's value has a type by its form alone."""
    if isinstance(wanted, UnitType):
        return True
    match expr:
        case Build(of, parts) if isinstance(wanted, RecordType):
            return len(parts) == len(wanted.fields) and all(
                _obviously(e, f.type, scope) for e, f in zip(parts, wanted.fields, strict=True)
            )
        case Const(value, _):
            from provenet.nets.errors import TypeMismatch
            from provenet.nets.schema import check

            try:
                check(value, wanted)
            except TypeMismatch:
                return False
            return True
        case Var() | Get():
            return _exact(expr, scope) == wanted or _optional_of(_exact(expr, scope), wanted)
        case _:
            return _unbounded(wanted) and not any(isinstance(n, Build) for n in walk(expr))


def _exact(expr: Expr, scope: dict[str, Type]) -> Type | None:
    """The declared type of a variable or field, bounds included."""
    if isinstance(expr, Var):
        return scope.get(expr.name)
    if isinstance(expr, Get):
        of = _exact(expr.of, scope)
        found = of.field(expr.field) if isinstance(of, RecordType) else None
        return None if found is None else found.type
    return None


def _optional_of(given: Type | None, wanted: Type) -> bool:
    from provenet.nets.schema import OptionalType

    return isinstance(wanted, OptionalType) and wanted.item == given


def _unbounded(of: Type) -> bool:
    from provenet.nets.schema import BoolType, IntType

    return isinstance(of, BoolType) or of == IntType()
