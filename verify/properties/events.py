"""EVT-1: whatever event comes, and whenever, something takes it, or the net says that it is ignored.

For every event *e* of the net, every reachable marking *m* of a case that has not ended, and every payload
*v* of the type that *e* brings: some transition waiting for *e* can fire in *m* with *v*, or the net ignores
*e* in *m* (``Net.ignored``), or the engine keeps *e* for later (``Delivery``), unless the net says where it
must be taken. An event that waits in a place for later is taken, too: by the transition that puts it there.
What nothing takes, the engine refuses and notes in the inbox; so this property says that it refuses only what
the net's author meant it to refuse. The kill switch is no event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import z3

from provenet.nets.errors import FiringError
from provenet.nets.firing import Binding
from provenet.nets.formats.typetable import canonical
from provenet.nets.marking import Marking
from provenet.nets.net import Net, Requirement, Signal, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import UNIT, Type, UnitType, Value, to_json
from provenet.sdb.saga import KILL_SIGNAL
from provenet.verify.context import Candidate, Context, Open, Proved, Refuted
from provenet.verify.graph import Graph
from provenet.verify.hope import is_final_state, unconditional
from provenet.verify.properties.common import Property, proved, vacuous, verdict
from provenet.verify.questions import inputs_of
from provenet.verify.smt import Encoding, Opaque, SymValue
from provenet.verify.trace import Extra, SymRun, agree, choices_of_tokens
from provenet.verify.verdict import Certificate, Status, Trace, Verdict

_HANDLED = "every event is consumed, deferred or ignored on purpose, in every reachable marking"
_MOST_WAYS = 128


def handled(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """EVT-1, one verdict for each event."""
    found = consumers(ctx.net)
    if not found:
        yield vacuous("EVT-1", _HANDLED, "the net waits for no event")
    for event, takers in found.items():
        yield _handled(ctx, event, takers)


CATALOGUE = (Property("EVT-1", _HANDLED, handled),)


def consumers(net: Net) -> dict[str, list[Transition]]:
    """The transitions that wait for each event, the kill switch aside."""
    found: dict[str, list[Transition]] = {}
    for t in net.transitions:
        if isinstance(t.trigger, Signal) and t.trigger.event != KILL_SIGNAL:
            found.setdefault(t.trigger.event, []).append(t)
    return found


def _handled(ctx: Context, event: str, takers: list[Transition]) -> Verdict:
    net = ctx.net
    must = [i.unless for i in net.ignored if i.event == event]
    places = sorted({p for some in must for p in some})
    if must and not places:
        why = "it is ignored wherever nothing takes it"
        return replace(vacuous("EVT-1", _HANDLED, why), subject=event)
    if not must and any(d.event == event and d.early == "keep" for d in net.deliveries):
        return replace(vacuous("EVT-1", _HANDLED, "it is kept where nothing takes it"), subject=event)
    where = f"where {_or(places)} is marked; ignored elsewhere" if must else "in every unfinished marking"
    if must and all(_always_taken(ctx, takers, p) for p in places):
        certificate = Certificate("structure", {"event": event, "taken": places})
        return proved("EVT-1", _HANDLED, "structure", certificate, subject=event, reason=f"taken {where}")
    demand = _Demand(ctx, takers, frozenset(places) if must else None)
    answer = ctx.search(demand.candidates)
    if isinstance(answer, Refuted):
        refused = _refused(ctx, takers, answer.trace.replay(net)[-1])
        if refused is None:
            answer = Open("a run was found, but the firing rule takes the event at its end")
        else:
            return _broken(ctx, event, takers, answer.trace, refused, must=bool(must))
    found = verdict("EVT-1", _HANDLED, answer, net=net, subject=event)
    if found.status is not Status.PROVED:
        return found
    certificates = (*found.certificates, *demand.relied)
    return replace(found, reason=f"taken {where}", certificates=certificates)


def _broken(
    ctx: Context, event: str, takers: list[Transition], trace: Trace, refused: _Refusal, *, must: bool
) -> Verdict:
    """The refutation: where the event finds nobody, and with which payload."""
    net = ctx.net
    marked = sorted(p for p in trace.replay(net)[-1] if p not in net.resting)
    what = "" if refused.payload is None else f" that says {refused.payload}"
    found = verdict(
        "EVT-1",
        _HANDLED,
        Refuted(trace),
        net=net,
        subject=event,
        broken=f"with tokens in {', '.join(marked)}, an event {event!r}{what} finds nothing that takes it",
        mend=f"let a transition take {event!r} there, or hold it in a place for later"
        + ("" if must else f"; or say that it is ignored: net.ignore({event!r}, unless=[{_inputs(takers)}])"),
    )
    return replace(found, witness={} if refused.payload is None else {"payload": refused.payload})


def _inputs(takers: list[Transition]) -> str:
    return ", ".join(dict.fromkeys(repr(a.place) for t in takers for a in t.takes[:1]))


def _or(places: Iterable[str]) -> str:
    return " or ".join(map(repr, places))


# where an event is always taken, whatever else is marked


def _always_taken(ctx: Context, takers: list[Transition], place: str) -> bool:
    """Whether a single token of a place is enough to take every payload, whatever both of them say."""
    net = ctx.net
    alone = [
        t
        for t in takers
        if len(t.takes) == 1 and not t.reads and t.takes[0].place == place and t.takes[0].weight == 1
    ]
    alone = [t for t in alone if _sure(net, t) and not _capped(net, t)]
    return all(_covers(ctx, place, [t for t in alone if _hears(t, of)], of) for of in _payloads(takers))


def _covers(ctx: Context, place: str, takers: list[Transition], of: Type) -> bool:
    if any(t.guard is None and t.ensures is None for t in takers):
        return True
    if not takers:
        return False
    enc, net = ctx.encoding, ctx.net
    try:
        it = enc.fresh("it", net.place(place).type)
        said = enc.fresh("payload", of)
        solver = _solver(ctx)
        solver.add(enc.inhabits(it, net.place(place).type), enc.inhabits(said, of))
        for t in takers:
            var = t.takes[0].var
            solver.add(z3.Not(_possible(net, enc, t, {} if var is None else {var: it}, said)))
    except Opaque:
        return False
    return bool(solver.check() == z3.unsat)


# in the state graph


class _Demand:
    """Where an event must be taken, and whether it surely is.

    Args:
        ctx: The net.
        takers: The transitions that wait for the event.
        places: Where one of them is marked, the event must be taken; ``None`` for everywhere.
    """

    def __init__(self, ctx: Context, takers: list[Transition], places: frozenset[str] | None) -> None:
        self.ctx, self.takers, self.places = ctx, takers, places
        self.relied: list[Certificate] = []
        """Proofs of other questions that were relied on."""
        self.types = _payloads(takers)
        self._near = {a.place for t in takers for a in inputs_of(t)}
        self._near |= {p.place for t in takers for p in t.puts if ctx.net.place(p.place).capacity is not None}
        self._known: dict[Any, list[Type]] = {}

    def candidates(self, graph: Graph) -> Iterator[Candidate]:
        """Paths to where some payload may find nothing that takes it."""
        self._known.clear()
        place_of = graph.space.place_of
        for state, tokens in enumerate(graph.states):
            if self.places is not None and not any(place_of[k] in self.places for k in tokens):
                continue
            near = tuple(k for k in tokens if place_of[k] in self._near)
            if near not in self._known:
                self._known[near] = [of for of in self.types if not self._taken(graph, near, of)]
            if self._known[near] and not is_final_state(graph, state):
                for of in self._known[near]:
                    yield Candidate(graph.path(state), self._nothing_takes(graph, near, of))

    def _taken(self, graph: Graph, tokens: tuple[int, ...], of: Type) -> bool:
        """Whether, whatever was forgotten of the tokens, every payload is taken."""
        ctx, space, net = self.ctx, graph.space, self.ctx.net
        enc = ctx.encoding
        values: list[SymValue] = []
        try:
            solver = _solver(ctx)
            for number in tokens:
                kind = net.place(space.place_of[number]).type
                values.append(enc.fresh(f"token{len(values)}", kind))
                solver.add(enc.inhabits(values[-1], kind))
                solver.add(*agree(enc, values[-1], space.value_of[number], kind))
            said = enc.fresh("payload", of)
            solver.add(enc.inhabits(said, of))
            for t in self.takers:
                if not _hears(t, of) or not self._dependable(t) or not self._room(graph, tokens, t):
                    continue
                t = replace(t, requires=None)  # noqa: PLW2901 - it holds wherever the transition fires
                for chosen in islice(_ways(graph, tokens, t), _MOST_WAYS):
                    env = {v: values[i] for v, i in chosen if v is not None}
                    solver.add(z3.Not(_possible(net, enc, t, env, said)))
        except Opaque:
            return False
        return bool(solver.check() == z3.unsat)

    def _dependable(self, t: Transition) -> bool:
        """Whether nothing but its guard and ``ensures`` can keep a transition from firing."""
        if _sure(self.ctx.net, t):
            return True
        if t.requires is None or not _sure(self.ctx.net, replace(t, requires=None)):
            return False
        answer = self.ctx.requires_hold(t)
        if isinstance(answer, Proved) and answer.certificate not in self.relied:
            self.relied.append(answer.certificate)
        return isinstance(answer, Proved)

    def _room(self, graph: Graph, tokens: tuple[int, ...], t: Transition) -> bool:
        """Whether the capacities allow a firing."""
        return _fits(self.ctx.net, t, [graph.space.place_of[k] for k in tokens].count)

    def _nothing_takes(self, graph: Graph, tokens: tuple[int, ...], of: Type) -> Extra:
        """Asks for a payload that no transition takes at the end of a run."""
        net = self.ctx.net
        takers = [t for t in self.takers if _hears(t, of) and self._room(graph, tokens, t)]

        def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
            said = enc.fresh("last.payload", of)
            out = [enc.inhabits(said, of)]
            for t in takers:
                slots = [(a.place, a.var) for a in inputs_of(t) for _ in range(a.weight)]
                for number, chosen in enumerate(choices_of_tokens(run, slots)):
                    if number >= _MOST_WAYS:
                        raise Opaque("too many tokens to choose from")
                    env = {v: k.value for (_, v), k in zip(slots, chosen, strict=True) if v is not None}
                    out.append(z3.Not(_possible(net, enc, t, env, said)))
            return out

        return extra


def _ways(
    graph: Graph, tokens: tuple[int, ...], t: Transition
) -> Iterator[tuple[tuple[str | None, int], ...]]:
    """The ways to choose tokens for a transition: its variables with positions in ``tokens``."""
    slots = [(a.place, a.var) for a in inputs_of(t) for _ in range(a.weight)]

    def extend(at: int, used: tuple[int, ...]) -> Iterator[tuple[tuple[str | None, int], ...]]:
        if at == len(slots):
            yield tuple((slots[i][1], k) for i, k in enumerate(used))
            return
        for k, number in enumerate(tokens):
            if graph.space.place_of[number] == slots[at][0] and k not in used:
                yield from extend(at + 1, (*used, k))

    return extend(0, ())


# one firing with an event


def _payloads(takers: list[Transition]) -> list[Type]:
    """The types that an event's payload may have; unit where no transition looks at it."""
    return list(dict.fromkeys(t.fresh[0].type for t in takers if t.fresh)) or [UNIT]


def _hears(t: Transition, of: Type) -> bool:
    """Whether a transition takes payloads of a type; one that does not look at them takes all."""
    return not t.fresh or t.fresh[0].type == of


def _sure(net: Net, t: Transition) -> bool:
    """Whether nothing but its guard, ``ensures`` and capacities can keep a transition from firing."""
    return unconditional(net, replace(t, ensures=None))


def _capped(net: Net, t: Transition) -> bool:
    return any(net.place(p.place).capacity is not None for p in t.puts)


def _fits(net: Net, t: Transition, held: Callable[[str], int]) -> bool:
    """Whether the capacities leave room for what a transition puts; ``held`` counts a place's tokens."""
    for place in {p.place for p in t.puts}:
        limit = net.place(place).capacity
        left = 0 if place in t.resets else held(place) - sum(a.weight for a in t.takes if a.place == place)
        if limit is not None and left + sum(p.weight for p in t.puts if p.place == place) > limit:
            return False
    return True


def _possible(
    net: Net, enc: Encoding, t: Transition, env: Mapping[str, SymValue], said: SymValue
) -> z3.BoolRef:
    """That a transition's guard and promises hold for some tokens and a payload."""
    scope = net.scope(t)
    full = {**env, **({t.fresh[0].var: said} if t.fresh else {})}
    asked = [e for e in (t.guard, t.ensures, t.requires) if e is not None]
    return z3.And(*(enc.encode_bool(e, full, {v: o for v, o in scope.items() if v in full}) for e in asked))


def _solver(ctx: Context) -> z3.Solver:
    solver = z3.SimpleSolver()
    solver.set("timeout", ctx.remaining_ms())
    solver.set("random_seed", 1)
    return solver


# the end of a refuting run, by the firing rule itself


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An event that nothing takes, with its payload as JSON; ``None`` where it brings none."""

    payload: Any


def _refused(ctx: Context, takers: list[Transition], marking: Marking) -> _Refusal | None:
    """A payload that the firing rule lets no transition take in a marking; ``None`` where there is none."""
    for of in _payloads(takers):
        hearing = [t for t in takers if _hears(t, of) and _fits(ctx.net, t, marking.count)]
        ready = [(t, b) for t in hearing for b in ctx.rule.bindings(marking, t.name)]
        payload = _untaken(ctx, ready, of)
        if payload is None:
            continue
        if not any(_fires(ctx, marking, t, b, payload[0]) for t, b in ready):
            shown = None if isinstance(of, UnitType) else to_json(canonical(payload[0], of), of)
            return _Refusal(shown)
    return None


def _untaken(ctx: Context, ready: list[tuple[Transition, Binding]], of: Type) -> tuple[Value] | None:
    """A payload that breaks every promise of the firings that are ready for it."""
    enc, net = ctx.encoding, ctx.net
    try:
        said = enc.fresh("payload", of)
        solver = _solver(ctx)
        solver.add(enc.inhabits(said, of))
        for t, binding in ready:
            scope = net.scope(t)
            env = {v: enc.constant(value, scope[v]) for v, value in binding.items()}
            solver.add(z3.Not(_possible(net, enc, t, env, said)))
        if solver.check() != z3.sat:
            return None
        return (enc.concretize(solver.model(), said, of),)
    except Opaque:
        return None


def _fires(ctx: Context, marking: Marking, t: Transition, binding: Binding, payload: Value) -> bool:
    full = {**binding, **({t.fresh[0].var: payload} if t.fresh else {})}
    try:
        ctx.rule.fire(marking, t.name, full)
    except FiringError:
        return False
    return True
