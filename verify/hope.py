"""What can always be reached: option to complete, absence of deadlock, ways out of waits.

The state graph over-approximates, so a path in it is no promise. A promise is made of *certain* steps (a modal transition system's "must" transitions,
Larsen & Thomsen, LICS 1988): a firing whose guard is known to hold; or a set of firings of which, whatever the data, at least one is
enabled, all of them promising. Values from outside are chosen kindly (a run exists), values of tokens unkindly (for every token).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import z3

from provenet.nets.errors import TypeMismatch
from provenet.nets.expr.ast import Build, Const, Expr, Get, If, OrElse, Var
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Transition
from provenet.nets.schema import BoolType, IntType, OptionalType, RecordType, Type, UnitType, check
from provenet.verify.context import Context, Proved
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
    usable = {t.name for t in ctx.net.transitions if allowed(t)}
    groups = [_groups(edges, usable) for edges in graph.edges]
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


def is_final_state(graph: Graph, state: int) -> bool:
    """Whether a state, resting places aside, is one of the net's final markings."""
    here = ordinary_tokens(graph, state)
    return any(here == dict(final) for final in graph.space.net.finals)


def ordinary_tokens(graph: Graph, state: int) -> dict[str, int]:
    """Place to how many tokens it holds in a state, resting places aside."""
    place_of, resting = graph.space.place_of, graph.space.net.resting
    out: dict[str, int] = {}
    for token in graph.states[state]:
        place = place_of[token]
        if place not in resting:
            out[place] = out.get(place, 0) + 1
    return out


Group = tuple[Edge, tuple[int, ...]]
"""A firing, with the states that the outside may choose to reach by it."""


def _groups(edges: list[tuple[Edge, int]], usable: set[str]) -> dict[tuple[State, State], list[Group]]:
    """The firings of a state by the tokens that they need; firings that differ in outside values are one."""
    groups: dict[tuple[State, State], list[Group]] = {}
    for edge, target in edges:
        if edge.transition not in usable:
            continue
        here = groups.setdefault((edge.takes, edge.reads), [])
        if edge.outside and here and here[-1][0].transition == edge.transition:
            here[-1] = (here[-1][0], (*here[-1][1], target))
        else:
            here.append((edge, (target,)))
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
        part for p in t.puts if p.expr is not None for part in _doubtful(p.expr, net.place(p.place).type, scope)
    ]
    # What always holds where the transition fires (DATA-3) keeps it from firing nowhere.
    requires = None if t.requires is None or isinstance(ctx.requires_hold(t), Proved) else t.requires
    if t.ensures is None and requires is None and not doubtful:
        return True
    try:
        env: dict[str, SymValue] = {v: enc.fresh(f"{t.name}.{v}", of) for v, of in scope.items()}
        outside = {f.var for f in t.fresh}
        given = [enc.inhabits(env[v], scope[v]) for v in scope if v not in outside]
        if t.guard is not None:
            given.append(enc.encode_bool(t.guard, env, {v: o for v, o in scope.items() if v not in outside}))
        wanted = [enc.representable(env[v], scope[v]) for v in outside]
        wanted += [enc.encode_bool(e, env, scope) for e in (t.ensures, requires) if e is not None]
        for expr, of in doubtful:
            built = enc.coerce(enc.encode(expr, env, scope), type_of(expr, scope), of)
            wanted.append(enc.inhabits(built, of, reading="prove"))
        claim = z3.And(*wanted)
        chosen = [leaf for v in sorted(outside) for leaf in enc.flatten(env[v])]
        solver = z3.Solver()
        solver.set("timeout", ctx.remaining_ms(2_000))
        solver.add(*given)
        solver.add(z3.Not(z3.Exists(chosen, claim) if chosen else claim))
    except Opaque:
        return False
    return bool(solver.check() == z3.unsat)


def _doubtful(expr: Expr, wanted: Type, scope: dict[str, Type]) -> Iterator[tuple[Expr, Type]]:
    """The parts of a built token whose values are not of their types by form alone."""
    given = _exact(expr, scope)
    if given is not None and (given == wanted or (isinstance(wanted, OptionalType) and wanted.item == given)):
        return
    match expr:
        case _ if isinstance(wanted, UnitType | BoolType) or wanted == IntType():
            return
        case Build(_, parts) if isinstance(wanted, RecordType):
            for part, f in zip(parts, wanted.fields, strict=True):
                yield from _doubtful(part, f.type, scope)
        case Const(value, _):
            try:
                check(value, wanted)
            except TypeMismatch:
                yield expr, wanted
        case If(_, then, otherwise):
            yield from _doubtful(then, wanted, scope)
            yield from _doubtful(otherwise, wanted, scope)
        case OrElse(of, default):
            inner = _exact(of, scope)
            if not (isinstance(inner, OptionalType) and inner.item == wanted):
                yield expr, wanted
            else:
                yield from _doubtful(default, wanted, scope)
        case _:
            yield expr, wanted


def _exact(expr: Expr, scope: dict[str, Type]) -> Type | None:
    """The declared type of a variable or field, bounds included."""
    if isinstance(expr, Var):
        return scope.get(expr.name)
    if isinstance(expr, OrElse):
        inner = _exact(expr.of, scope)
        item = inner.item if isinstance(inner, OptionalType) else None
        return item if item is not None and item == _exact(expr.default, scope) else None
    if isinstance(expr, Get):
        of = _exact(expr.of, scope)
        found = of.field(expr.field) if isinstance(of, RecordType) else None
        return None if found is None else found.type
    return None
