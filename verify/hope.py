"""What can always be reached: option to complete, absence of deadlock, ways out of waits.

The state graph over-approximates, so a path in it is no promise. A promise is made of *certain* steps (a
modal transition system's "must" transitions, Larsen & Thomsen, LICS 1988): a firing whose guard is known to
hold; or a set of firings of which, whatever the data, at least one is enabled, all of them promising. Values
from outside are chosen kindly (a run exists), values of tokens unkindly (for every token).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import z3

from provenet.nets.errors import TypeMismatch
from provenet.nets.expr.ast import Build, Const, Expr, Get, If, OrElse, Var
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Choice, Net, Role, Signal, Transition
from provenet.nets.schema import BoolType, IntType, OptionalType, RecordType, Type, UnitType, check
from provenet.sdb.saga import KILL_SIGNAL
from provenet.verify.context import Context, Proved
from provenet.verify.graph import Edge, Graph, State
from provenet.verify.smt import Opaque, SymValue
from provenet.verify.trace import agree


@dataclass(slots=True)
class Hope:
    """Which states of a graph keep a promise.

    Attributes:
        promising: For each state, whether it surely reaches one that keeps the promise.
        certain: For each state, whether it keeps the promise or some usable firing is certain to be possible.
    """

    promising: list[bool]
    certain: list[bool]


Firing = tuple[Edge, tuple[int, ...]]
"""A firing, with the states that the outside may choose to reach by it."""


@dataclass(frozen=True, slots=True)
class Moves:
    """What can happen in a state.

    Attributes:
        certain: Firings whose guard is known to hold.
        clusters: Sets of firings that need the same tokens and of which none is certain.
    """

    certain: tuple[Firing, ...]
    clusters: tuple[tuple[Firing, ...], ...]


class _MovesOf:
    """What can happen in each state of a graph, sorted out when it is first asked for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: list[Moves | None] = [None] * len(graph.states)

    def __getitem__(self, state: int) -> Moves:
        found = self._known[state]
        if found is None:
            found = self._known[state] = _moves(self._graph.edges[state])
        return found


class Certainty:
    """Decides, with caches, which firings and clusters of one graph are certain.

    Args:
        ctx: The net.
        graph: A complete graph of it.
    """

    def __init__(self, ctx: Context, graph: Graph) -> None:
        self.ctx, self.graph = ctx, graph
        self.moves = _MovesOf(graph)
        self.back: list[list[tuple[int, Edge]]] = [[] for _ in graph.states]
        for state, edges in enumerate(graph.edges):
            for edge, target in edges:
                self.back[target].append((state, edge))
        self._cover: dict[tuple[int, ...], bool] = {}
        self._fits: dict[str, bool] = {}

    def fits(self, name: str) -> bool:
        """Whether a transition, its guard true, can always fire.

        Outside values exist, promises hold, tokens have their types.
        """
        found = self._fits.get(name)
        if found is None:
            found = self._fits[name] = fits(self.ctx, self.ctx.net.transition(name))
        return found

    def can(self, state: int, good: Sequence[bool], usable: frozenset[str]) -> bool:
        """Whether some usable firing is surely possible in a state and can be made to lead to a good one."""
        moves = self.moves[state]
        for firing in moves.certain:
            if self._reaches(firing, good, usable):
                return True
        for cluster in moves.clusters:
            for firing in cluster:
                if not self._reaches(firing, good, usable):
                    break
            else:
                if self.covers(tuple([e for e, _ in cluster])):
                    return True
        return False

    def _reaches(self, firing: Firing, good: Sequence[bool], usable: frozenset[str]) -> bool:
        """Whether a firing, its guard true, can be made to lead to a good state by outside values."""
        edge, targets = firing
        if edge.transition not in usable:
            return False
        if len(targets) == 1:
            return good[targets[0]] and self.fits(edge.transition)
        # Which of the outside's choices meet a condition is not known, so all of them must be good.
        free = unconditional(self.ctx.net, self.ctx.net.transition(edge.transition))
        return (any if free else all)(good[s] for s in targets) and self.fits(edge.transition)

    def covers(self, firings: tuple[Edge, ...]) -> bool:
        """Whether, whatever was forgotten of the tokens at hand, one of the guards holds."""
        key = tuple([id(e) for e in firings])  # an edge is one object wherever it fires
        found = self._cover.get(key)
        if found is None:
            found = self._cover[key] = self._solve(firings)
        return found

    def _solve(self, firings: tuple[Edge, ...]) -> bool:
        ctx, space = self.ctx, self.graph.space
        enc = ctx.encoding
        tokens: dict[int, SymValue] = {}
        query: list[z3.BoolRef] = []
        try:
            for edge in firings:
                t = ctx.net.transition(edge.transition)
                if t.guard is None:
                    return True
                slots = [(a.place, a.var) for a in t.takes for _ in range(a.weight)]
                slots += [(a.place, a.var) for a in t.reads for _ in range(a.weight)]
                env: dict[str, SymValue] = {}
                # Tokens are told apart by their slot: two tokens of one number may differ in what was
                # forgotten.
                for slot, ((place, var), number) in enumerate(
                    zip(slots, (*edge.takes, *edge.reads), strict=True)
                ):
                    if var is None:
                        continue
                    of = ctx.net.place(place).type
                    if slot not in tokens:
                        tokens[slot] = enc.fresh(f"t{slot}", of)
                        query.append(enc.inhabits(tokens[slot], of))
                        query += agree(enc, tokens[slot], space.value_of[number], of)
                    env[var] = tokens[slot]
                scope = {n: o for n, o in ctx.net.scope(t).items() if n in env}
                query.append(z3.Not(enc.encode_bool(t.guard, env, scope)))
        except Opaque:
            return False
        return bool(enc.check(query, ctx.remaining_ms()) == z3.unsat)


def promise(
    certainty: Certainty,
    kept: Sequence[bool],
    allowed: Callable[[Transition], bool] = lambda _: True,
) -> Hope:
    """Which states can surely reach a state where a promise is kept.

    Args:
        certainty: The graph, with what is certain in it.
        kept: For each state, whether it keeps the promise by itself.
        allowed: Which transitions may be used.
    """
    usable = frozenset(t.name for t in certainty.ctx.net.transitions if allowed(t))
    one_way = certainty.graph.space.one_way
    promising = list(kept)
    work = [s for s, k in enumerate(kept) if k]
    while work:
        for before, edge in certainty.back[work.pop()]:
            if promising[before] or edge.transition not in usable:
                continue
            # A certain firing that leaves the outside no choice is the common case; the rest is ``can``.
            if (
                edge.certain and edge.transition in one_way and certainty.fits(edge.transition)
            ) or certainty.can(before, promising, usable):
                promising[before] = True
                work.append(before)
    anywhere = [True] * len(promising)
    certain = [p or certainty.can(s, anywhere, usable) for s, p in enumerate(promising)]
    return Hope(promising, certain)


def certainty_of(ctx: Context, graph: Graph) -> Certainty:
    """What is certain in a graph; computed once for each graph."""
    key = ("certainty", id(graph))
    if key not in ctx.memo:
        ctx.memo[key] = Certainty(ctx, graph)
    found: Certainty = ctx.memo[key]
    return found


def unaided(ctx: Context, graph: Graph) -> Hope:
    """Which states surely reach a final one without any person, event or kill switch.

    Computed once for each graph.
    """
    key = ("unaided", id(graph))
    if key not in ctx.memo:
        finals = [is_final_state(graph, s) for s in range(len(graph.states))]
        ctx.memo[key] = promise(certainty_of(ctx, graph), finals, lambda t: not from_outside(t))
    found: Hope = ctx.memo[key]
    return found


def from_outside(t: Transition) -> bool:
    """Whether a person or the outside must act for a transition to fire."""
    return isinstance(t.trigger, Choice | Signal)


def kills(t: Transition) -> bool:
    """Whether a transition is the kill switch: by its role, or since the engine fires it as one."""
    return t.role is Role.KILL or by_engine(t)


def by_engine(t: Transition) -> bool:
    """Whether the engine fires a transition when the kill switch is pulled, whatever its role says."""
    return isinstance(t.trigger, Signal) and t.trigger.event == KILL_SIGNAL


def unconditional(net: Net, t: Transition) -> bool:
    """Whether a transition, its guard true, fires whatever comes from outside."""
    return t.ensures is None and t.requires is None and not _doubts(net, t)


def is_final_state(graph: Graph, state: int) -> bool:
    """Whether a state, resting places aside, is one of the net's final markings."""
    return ordinary_tokens(graph, state) in final_counts(graph.space.net)


def final_counts(net: Net) -> list[dict[str, int]]:
    """The final markings, resting places aside: place to how many tokens it holds."""
    return [{p: n for p, n in final if p not in net.resting} for final in net.finals]


def ordinary_tokens(graph: Graph, state: int) -> dict[str, int]:
    """Place to how many tokens it holds in a state, resting places aside."""
    place_of, resting = graph.space.place_of, graph.space.net.resting
    out: dict[str, int] = {}
    for token in graph.states[state]:
        place = place_of[token]
        if place not in resting:
            out[place] = out.get(place, 0) + 1
    return out


def _moves(edges: list[tuple[Edge, int]]) -> Moves:
    """The firings of a state; firings that differ only in outside values are one."""
    firings: list[Firing] = [(edge, (target,)) for edge, target in edges]
    if any(edge.outside for edge, _ in edges):
        merged: dict[tuple[str, State, State], tuple[Edge, list[int]]] = {}
        for edge, target in edges:
            merged.setdefault((edge.transition, edge.takes, edge.reads), (edge, []))[1].append(target)
        firings = [(edge, tuple(targets)) for edge, targets in merged.values()]
    # Whether a token is taken or read makes no difference to what can fire.
    clusters: dict[State, list[Firing]] = {}
    for firing in firings:
        if not firing[0].certain:
            clusters.setdefault((*firing[0].takes, *firing[0].reads), []).append(firing)
    certain = [f for f in firings if f[0].certain] if clusters else firings
    return Moves(tuple(certain), tuple([tuple(c) for c in clusters.values()]))


def fits(ctx: Context, t: Transition) -> bool:
    """Whether a transition can fire wherever its guard holds.

    For all such tokens there are outside values with which every promise holds and every built token has
    its type.
    """
    net, enc = ctx.net, ctx.encoding
    scope = net.scope(t)
    doubtful = _doubts(net, t)
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


def _doubts(net: Net, t: Transition) -> list[tuple[Expr, Type]]:
    """The parts of the tokens that a transition puts whose values may not be of their types."""
    scope = net.scope(t)
    return [
        part
        for p in t.puts
        if p.expr is not None
        for part in _doubtful(p.expr, net.place(p.place).type, scope)
    ]


def _doubtful(expr: Expr, wanted: Type, scope: dict[str, Type]) -> Iterator[tuple[Expr, Type]]:
    """The parts of a built token whose values are not of their types by form alone."""
    given = _exact(expr, scope)
    if given is not None and (given == wanted or (isinstance(wanted, OptionalType) and wanted.item == given)):
        return
    match expr:
        case _ if isinstance(wanted, UnitType | BoolType) or wanted == IntType():
            return
        case Build() if isinstance(wanted, OptionalType):
            yield from _doubtful(expr, wanted.item, scope)
        case Build(_, parts) if isinstance(wanted, RecordType):
            for part, f in zip(parts, wanted.fields, strict=True):
                yield from _doubtful(part, f.type, scope)
        case Get(Build(of, _) as built, name) if (
            named := of.field(name)
        ) is not None and named.type == wanted:
            yield from _doubtful(built, of, scope)  # of a record that is built on the spot
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
