"""STATE-4: a shared state machine holds exactly one state, and moves only along allowed transitions.

A machine is declared by ``machine(...)``: some places, of which exactly one holds exactly one token at any
time. Its state is a field of that token, or which place it lies in. Exactly one: by induction over the
firings where each moves one token on (or empties the places and puts one), else by the state graph. Allowed
moves: by structure where the place is the state; where a field is, each firing asks whether it can build
another state than the moves allow, which per-place facts answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.expr.ast import And, Compare, Const, Expr, Get, Not, Or, Var
from provenet.nets.net import Net, Read, Requirement, Take, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import BOOL, EnumType, RecordType
from provenet.verify.backward import simplify
from provenet.verify.context import Answer, Candidate, Context, Open, Proved, Refuted
from provenet.verify.graph import Graph
from provenet.verify.properties.common import Property, vacuous, verdict
from provenet.verify.properties.watching import searched_near_first
from provenet.verify.questions import Question
from provenet.verify.verdict import Certificate, Status, Trace, Verdict

_NEVER = Const(False, BOOL)
_MACHINE = "a shared state machine holds exactly one state and moves only along allowed transitions"


@dataclass(frozen=True, slots=True)
class Machine:
    """A declared machine, checked against the net.

    Attributes:
        state_of: Place to the state that it means; empty where a field is the state.
        places: Its places.
        field: The field that is the state; empty where the place is.
        states: All states.
        moves: Allowed moves, from and to.
    """

    state_of: Mapping[str, str]
    places: tuple[str, ...]
    field: str
    states: tuple[str, ...]
    moves: frozenset[tuple[str, str]]

    def subject(self) -> str:
        """What a verdict is about: the places, or what of them."""
        few = ", ".join(self.places[:3]) + (", ..." if len(self.places) > 3 else "")
        return f"{self.field} of {few}" if self.field else few


def one_state(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """STATE-4, one verdict a machine.

    Raises:
        PropertyError: A place, field or state is none of the net's.
    """
    if not requirement.args:
        yield vacuous("STATE-4", _MACHINE, "the net declares no state machine")
        return
    machine = _machine(ctx.net, requirement)
    title = requirement.name or _MACHINE
    single = _exactly_one(ctx, machine)
    found = verdict(
        "STATE-4",
        title,
        single,
        net=ctx.net,
        subject=machine.subject(),
        broken="the machine is in no state, or in more than one",
        mend="let each transition that takes the machine's token put one back, and no other put any",
    )
    if not isinstance(single, Proved):
        yield found
        return
    certificates = [single.certificate]
    for t, answer, said in _moves(ctx, machine):
        if not isinstance(answer, Proved):
            yield verdict(
                "STATE-4",
                title,
                answer,
                net=ctx.net,
                subject=machine.subject(),
                broken=f"{t.name!r} {said}, which is not allowed",
                mend=f"guard {t.name!r} by the states that it may start from, or allow the move",
                about=(machine.field,) if machine.field else (),
            )
            return
        certificates.append(answer.certificate)
        if answer.facts:
            found = replace(found, facts={**found.facts, **answer.facts})
    yield replace(
        found,
        status=Status.PROVED,
        method=f"{single.method}, {'per-place facts' if machine.field else 'structure'}",
        certificates=tuple(certificates),
        reason=f"{len(machine.states)} states, {len(machine.moves)} allowed moves",
    )


CATALOGUE = (Property("STATE-4", _MACHINE, one_state),)


def _machine(net: Net, requirement: Requirement) -> Machine:
    pairs = list(zip(*[iter(requirement.arg("states", ()))] * 2, strict=True))
    moves = frozenset(zip(*[iter(requirement.arg("moves", ()))] * 2, strict=True))
    field = requirement.arg("field", "")
    places = tuple(dict.fromkeys(place for _, place in pairs))
    for place in places:
        if not net.has_place(place):
            raise PropertyError(
                f"a machine is declared over {place!r}, no place of the net",
                hint=did_you_mean(place, (p.name for p in net.places)),
            )
    states = tuple(dict.fromkeys(state for state, _ in pairs))
    if field:
        states = _values(net, places, field)
    elif len(places) < len(pairs):
        raise PropertyError(
            "a place means more than one state of a machine", hint="name each place under one state"
        )
    for state in dict.fromkeys(s for move in sorted(moves) for s in move):
        if state not in states:
            raise PropertyError(
                f"a move names {state!r}, no state of the machine", hint=did_you_mean(state, states)
            )
    return Machine({} if field else {p: s for s, p in pairs}, places, field, states, moves)


def _values(net: Net, places: tuple[str, ...], field: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for place in places:
        of = net.place(place).type
        part = of.field(field) if isinstance(of, RecordType) else None
        if part is None or not isinstance(part.type, EnumType):
            names = (
                [f.name for f in of.fields if isinstance(f.type, EnumType)]
                if isinstance(of, RecordType)
                else []
            )
            raise PropertyError(
                f"the tokens of {place!r} have no field {field!r} of an enumeration",
                hint=did_you_mean(field, names) if names else "give it a field of a Literal or an Enum",
            )
        if found and found != part.type.values:
            raise PropertyError(
                f"{field!r} in {place!r} has other values than in {places[0]!r}", hint="use one enumeration"
            )
        found = tuple(str(v) for v in part.type.values)
    return found


# exactly one


def _exactly_one(ctx: Context, machine: Machine) -> Answer:
    net = ctx.net
    places = set(machine.places)
    start = sum(len(tokens) for place, tokens in net.initial if place in places)
    start += sum(1 for e in net.entries if e.place in places)
    if start == 1 and all(_keeps_one(t, places) for t in net.transitions):
        return Proved(Certificate("structure", {"one of": sorted(places)}), "induction over firings")

    def find(graph: Graph) -> Iterator[Candidate]:
        place_of = graph.space.place_of
        for state, tokens in enumerate(graph.states):
            if sum(place_of[k] in places for k in tokens) != 1:
                yield Candidate(graph.path(state))

    return searched_near_first(ctx, find)


def _keeps_one(t: Transition, places: set[str]) -> bool:
    """Whether one token in the places stays one, if a transition fires."""
    taken = sum(a.weight for a in t.takes if a.place in places)
    put = sum(p.weight for p in t.puts if p.place in places)
    if taken > 1:
        return True  # it cannot fire with one token
    if taken == 1:
        return put == 1
    emptied = set(t.resets) & places
    if not emptied:
        return put == 0
    return emptied == places and put == 1


# allowed moves


def _moves(ctx: Context, machine: Machine) -> Iterator[tuple[Transition, Answer, str]]:
    """For each transition that may move the machine, whether it moves it only as allowed, and how else."""
    net, places = ctx.net, set(machine.places)
    questions: list[Question] = []
    asked: list[Transition] = []
    for t in net.transitions:
        sources = [a for a in t.takes if a.place in places for _ in range(a.weight)]
        targets = [p for p in t.puts if p.place in places]
        if not targets or len(sources) > 1:
            continue
        if not machine.field:
            before = {machine.state_of[a.place] for a in sources} or {
                machine.state_of[p] for p in t.resets if p in places
            }
            after = machine.state_of[targets[0].place]
            wrongly = [b for b in sorted(before) if b != after and (b, after) not in machine.moves]
            if wrongly:
                said = f"moves the machine from {' or '.join(map(repr, wrongly))} to {after!r}"
                yield (
                    t,
                    _fires_from(ctx, t.name, {p for p, s in machine.state_of.items() if s in wrongly}),
                    said,
                )
            continue
        # Exactly one token is there: one that is read is the one that is emptied.
        seen: Sequence[Take | Read] = sources or [r for r in t.reads if r.place in places]
        wrong = _wrong(net, machine, t, seen[0].var if seen else None, targets[0].expr)
        if wrong is None:
            yield t, Open(f"{t.name!r} moves the machine without looking at its token"), ""
            return
        if wrong != _NEVER:
            questions.append(Question(t.name, wrong))
            asked.append(t)
    for t, question in zip(asked, questions, strict=True):
        answer = ctx.never_fires([question])
        if isinstance(answer, Refuted) and not _moves_wrongly(net, machine, answer.trace):
            answer = Open(f"{t.name!r} empties the machine's place and puts a state that not all may move to")
        yield t, answer, f"makes {machine.field!r} of the machine what it must not be"


def _fires_from(ctx: Context, transition: str, wrong: set[str]) -> Answer:
    """Whether a transition fires while the machine's token is in one of some places."""

    def find(graph: Graph) -> Iterator[Candidate]:
        place_of = graph.space.place_of
        for state, edges in enumerate(graph.edges):
            if any(place_of[k] in wrong for k in graph.states[state]):
                for edge, _ in edges:
                    if edge.transition == transition:
                        yield Candidate([*graph.path(state), edge])

    return searched_near_first(ctx, find)


def _moves_wrongly(net: Net, machine: Machine, trace: Trace) -> bool:
    """Whether the last firing of a run makes a move that is not allowed."""
    states = []
    for marking in trace.replay(net)[-2:]:
        ((place, token),) = [(p, v) for p in machine.places for v in marking[p]]
        of = net.place(place).type
        assert isinstance(of, RecordType)
        index = of.index(machine.field)
        assert index is not None
        states.append(str(token[index]))
    before, after = states
    return before != after and (before, after) not in machine.moves


def _wrong(net: Net, machine: Machine, t: Transition, var: str | None, built: Expr | None) -> Expr | None:
    """When a firing moves the machine in a way that is not allowed; ``None`` where that cannot be said."""
    if built is None:
        return None
    scope = net.scope(t)
    after = simplify(Get(built, machine.field), scope)
    before = None if var is None else Get(Var(var), machine.field)
    if before == after:
        return _NEVER
    place = next(p.place for p in t.puts if p.place in machine.places)
    of = net.place(place).type
    assert isinstance(of, RecordType)
    part = of.field(machine.field)
    assert part is not None

    assert isinstance(part.type, EnumType)
    by_name = {str(v): v for v in part.type.values}

    def value(state: str) -> Const:
        return Const(by_name[state], part.type)

    if before is None:  # it was emptied: from any state whatever
        allowed: list[Expr] = [
            Compare("==", after, value(b))
            for b in machine.states
            if all(a == b or (a, b) in machine.moves for a in machine.states)
        ]
    else:
        allowed = [Compare("==", before, after)]
        for a in machine.states:
            ends = [Compare("==", after, value(b)) for b in machine.states if (a, b) in machine.moves]
            if ends:
                allowed.append(And((Compare("==", before, value(a)), Or(tuple(ends)))))
    return simplify(Not(Or(tuple(allowed))), scope)
