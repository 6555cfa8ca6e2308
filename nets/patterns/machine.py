"""Shared state machine: one durable row with a version, which workers move by compare-and-swap.

::

    takes ─[open]─▶ (the row, in the place of its state: version, data)
                       │                 ▲  ▲  ▲
          a snapshot   │    [a move] ────┘  │  └──── [a move on an event]: a message, somebody's override
       ┌───[look]◀─────┘       ▲            └─────── [a move after a time]: the row's own timer
       ▼                       │
    (todo) ── a worker ──▶ (answer)  where the row still has the version on the ticket
       ▲                       │
       └──────[conflict]◀──────┘     where it has moved on: a new snapshot, as often as is declared

The row is the truth, and it outlives every worker. A worker is given a snapshot and keeps nothing: what it
proposes becomes the next state only if the row has not moved since (optimistic concurrency control: Kung &
Robinson, TODS 1981). The version rides on a ticket that the worker never touches, so no answer can claim to
be newer than it is. A timer belongs to one version of the row, and goes with it: a move makes a new token,
so there is nothing left for an older timer to ring for. A pause is a state: nothing runs in it, however
long it lasts.

A worker proposes and does not write: a part that reaches the outside is refused, unless nobody else can
move the row while it works. What has to happen because of a move is the work of a state of its own
("sending").

The lineage is the replicated state machine (Lamport 1978; Schneider 1990) and the workflow net (van der Aalst
1998).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.errors import did_you_mean
from provenet.nets.expr.ast import (
    And,
    Arith,
    Build,
    Compare,
    Const,
    Expr,
    Get,
    Not,
    Var,
    substitute,
)
from provenet.nets.models import schema_of
from provenet.nets.net import PatternInfo, Requirement, Role
from provenet.nets.patterns.slot import Filled, Scope, Slot, Work, fill
from provenet.nets.quick import dataclass
from provenet.nets.requirements import always, mutex
from provenet.nets.requirements import machine as one_state
from provenet.nets.schema import BOOL, INT, EnumType, Field, RecordType, Type, UnitType

Overtaken: TypeAlias = Literal["finishes", "is withdrawn"]
"""What becomes of a worker's work when the row moves on meanwhile."""


@dataclass(frozen=True, slots=True)
class Move:
    """An allowed move of the machine, with what makes it.

    One of ``by``, ``without``, ``on`` and ``after`` says what makes it; with none of them, it is made as
    soon as its condition holds. Of the moves by one worker, the first whose condition holds is made.

    Attributes:
        name: Its name, unique in the machine.
        at: The state, or the states, that it starts from.
        to: The state that it leads to.
        by: Worker whose answer makes it.
        without: Worker that has failed, or met too many conflicts, and goes without an answer.
        on: Event that makes it: a message, or somebody's override.
        after: How long the row must have stayed as it is; or a lambda over ``data`` that gives a span, or a
            point in time.
        brings: Token model of the event's payload.
        when: Lambda over ``data``, and ``answer`` (by) or ``said`` (on): a further condition.
        sets: Lambda over the same: the next data; they stay as they are where it is left out.
    """

    name: str
    at: str | Sequence[str]
    to: str
    by: str = ""
    without: str = ""
    on: str = ""
    after: timedelta | Callable[..., Any] | None = None
    brings: Any = None
    when: Callable[..., Any] | None = None
    sets: Callable[..., Any] | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """The states that it starts from."""
        return (self.at,) if isinstance(self.at, str) else tuple(self.at)

    def called(self, at: str) -> str:
        """The name of its transition from a state."""
        return self.name if len(self.states) == 1 else f"{self.name} at {at}"


@dataclass(frozen=True, slots=True)
class Worker:
    """Whoever proposes moves: a model behind a contract, or a person.

    It works in the states that its moves start from, on one snapshot at a time.

    Attributes:
        name: Its name.
        gives: Token model of its answer.
        work: Makes its part; see ``Slot``. It is given the row: ``state``, ``version`` and ``data``.
        overtaken: What becomes of its work when the row moves on. The answer of one that finishes meets a
            conflict; the open task of a person is better withdrawn.
    """

    name: str
    gives: Any
    work: Work
    overtaken: Overtaken = "finishes"


@dataclass(frozen=True, slots=True)
class StateMachine:
    """One row, its states, the moves between them.

    Attributes:
        id: Name of the machine.
        takes: Where the row's first data come from; the machine opens once in a case.
        states: Its states; it starts in the first.
        moves: The moves that are allowed. There are no others.
        ends: The states that it ends in, each with the place that then gets the data, or a black token.
        workers: Who proposes moves.
        conflicts: How often a worker whose answer came too late is given a new snapshot at once, before the
            machine goes on without it.
        scope: The saga scope of the case, where it has one: the row moves only while that is open, and stays
            as it is where the case is called off or killed.
    """

    id: str
    takes: PlaceRef
    states: Sequence[str]
    moves: Sequence[Move]
    ends: Mapping[str, PlaceRef]
    workers: Sequence[Worker] = ()
    conflicts: int = 3
    scope: Scope | None = None

    def expand(self, net: NetBuilder) -> StateMachineHandle:
        """Add the pattern to a net."""
        return _Expansion(self, net).run()


@dataclass(frozen=True, slots=True)
class StateMachineHandle:
    """A machine in a net.

    Attributes:
        rows: The place of each state, by its name. The row lies in one of them: ``version``, ``replaced``
            (the version before it) and ``data``. It stays where the machine has ended.
        guarantees: What is to be proved of it wherever it stands; the net requires it.
    """

    rows: Mapping[str, PlaceRef]
    guarantees: tuple[Requirement, ...]


_ROW, _TICKET = Var("row"), Var("ticket")
_VERSION = Get(_ROW, "version")
_FRESH = Compare("==", _VERSION, Get(_TICKET, "version"))
_LEFT = Compare(">", Get(_TICKET, "left"), Const(0, INT))


class _Expansion:
    """One expansion; holds the places while the fragment is built."""

    def __init__(self, pattern: StateMachine, net: NetBuilder) -> None:
        self.p, self.net, self.id = pattern, net, pattern.id
        self.data: Type | None = None if isinstance(pattern.takes.type, UnitType) else pattern.takes.type
        self.map = _Map(pattern)
        self.state = EnumType(f"{self.id}.state", tuple(pattern.states))
        held = () if self.data is None else (Field("data", self.data),)
        versions = (Field("version", INT), Field("replaced", INT))
        self.row_type = RecordType(f"{self.id}.row", (*versions, *held))
        self.seen_type = RecordType(f"{self.id}.seen", (Field("state", self.state), versions[0], *held))
        self.rows: dict[str, PlaceRef] = {}
        self.open: dict[str, PlaceRef] = {}
        """What must be marked for the row to move."""
        self.workers: list[_Placed] = []
        self.parts: dict[str, list[str]] = {}
        """Names of the transitions by what they are in the pattern."""

    def run(self) -> StateMachineHandle:
        p, net = self.p, self.net
        if not self._checked():
            return StateMachineHandle({}, ())
        self.unopened = net.place(f"{self.id}.unopened", initial=[()])
        self.rows = {s: net.place(f"{self.id}.{s}", self.row_type) for s in p.states}
        net.rests(self.unopened, *(self.rows[s] for s in (p.ends if p.scope is None else p.states)))
        net.keep(*(self.rows.values() if p.scope is not None else ()))
        self.open = {} if p.scope is None else {"_scope": p.scope.open}
        self.workers = [_Placed(self, worker) for worker in p.workers]
        self._open()
        for worker in self.workers:
            worker.fill()
        for worker in self.workers:
            worker.build()
        for move in p.moves:
            if not (move.by or move.without):
                self._outside(move)
        for event in dict.fromkeys(m.on for m in p.moves if m.on):
            # Where a scope has closed the row is still there, and takes no event.
            sure = [] if self.open else [s for m in p.moves if m.on == event for s in _sure(m)]
            net.ignore(event, unless=[self.rows[s] for s in sure])
        guarantees = tuple(self._guarantees())
        net.require(*guarantees)
        contracts = tuple(c.id for worker in self.workers for c in worker.filled.contracts)
        named = {
            "row": [place.name for place in self.rows.values()],
            "ticket": [worker.ticket.name for worker in self.workers],
            "worker": [worker.id for worker in self.workers],
            "contract": list(contracts),
            **self.parts,
        }
        figures = {"states": len(p.states), "workers": len(p.workers), "conflicts": p.conflicts}
        parts = tuple((part, tuple(names)) for part, names in named.items() if names)
        net.declare(PatternInfo("state machine", self.id, parts, tuple(figures.items())))
        return StateMachineHandle(self.rows, guarantees)

    def add(self, part: str, name: str) -> str:
        """Note what a transition is in the pattern; returns its name in the net."""
        full = f"{self.id}.{name}"
        self.parts.setdefault(part, []).append(full)
        return full

    # the parts of a move

    def expr(
        self, move: Move, make: Any, given: Mapping[str, Type], *, like: Type | None = None
    ) -> Expr | None:
        """A lambda of a move over ``data`` and what else there is, as an expression over the row."""
        scope = {**({} if self.data is None else {"data": self.data}), **given}
        found = self.net.expr(f"machine {self.id!r}, move {move.name!r}", make, scope, like=like)
        return None if found is None else substitute(found, {"data": Get(_ROW, "data")})

    def moved(self, move: Move, at: str, given: Mapping[str, Type]) -> dict[str, Any]:
        """What a move puts, and what it takes away from others: the next version of the row, or the end.

        Args:
            move: The move.
            at: The state that it starts from.
            given: Types of the variables that it has besides ``data``.
        """
        parts: tuple[Expr, ...] = (Arith("+", _VERSION, Const(1, INT)), _VERSION)
        data: Expr | None = None
        if self.data is not None:
            data = self.expr(move, move.sets, given, like=self.data) or Get(_ROW, "data")
            parts = (*parts, data)
        puts: dict[PlaceRef, Any] = {self.rows[move.to]: Build(self.row_type, parts)}
        resets: list[PlaceRef] = []
        if move.to in self.p.ends:
            end = self.p.ends[move.to]
            puts[end] = None if isinstance(end.type, UnitType) else data
            for worker in self.workers:
                if worker.of.name not in (move.by, move.without) and worker.may_be_busy(at):
                    resets.extend(worker.places)
        return {"puts": puts, "resets": resets, "reads": self.open}

    # the kinds of moves

    def _open(self) -> None:
        takes = {"_unopened": self.unopened, "data": self.p.takes}
        parts: tuple[Expr, ...] = (Const(0, INT), Const(-1, INT))
        if self.data is not None:
            parts = (*parts, Var("data"))
        first = self.rows[self.p.states[0]]
        self.net.route(self.add("open", "open"), takes=takes, puts={first: Build(self.row_type, parts)})

    def _outside(self, move: Move) -> None:
        """A move on an event, after a time, or as soon as it can be made."""
        net = self.net
        said: dict[str, Type] = {} if move.brings is None else {"said": schema_of(move.brings)}
        when = self.expr(move, move.when, said, like=BOOL)
        for at in move.states:
            arcs = {"takes": {"row": self.rows[at]}, **self.moved(move, at, said)}
            if move.after is not None:
                fixed = isinstance(move.after, timedelta)
                after: Any = move.after if fixed else self.expr(move, move.after, {})
                net.timer(self.add("timer", move.called(at)), after=after, when=when, **arcs)
            elif not move.on:
                net.route(self.add("choice", move.called(at)), when=when, **arcs)
            else:
                guard, ensures = (None, when) if said else (when, None)
                name = self.add("override", move.called(at))
                net.event(name, event=move.on, brings=said or None, when=guard, ensures=ensures, **arcs)

    # what is guaranteed, and what is wrong

    def _guarantees(self) -> Iterator[Requirement]:
        """What is required of the pattern, in the catalogue's terms."""
        p, name = self.p, self.id
        allowed: dict[str, tuple[str, ...]] = {"unopened": (p.states[0],)}
        for move in p.moves:
            for state in move.states:
                allowed[state] = tuple(dict.fromkeys((*allowed.get(state, ()), move.to)))
        yield one_state(
            states={"unopened": self.unopened.name} | {s: place.name for s, place in self.rows.items()},
            moves=allowed,
            name=f"{name}: it is in one state, and moves only as declared",
        )
        for place in self.rows.values():
            yield always(
                place.name,
                of=self.row_type,
                where=lambda it: it.version > it.replaced,
                name=f"{name}: every move makes the next version ({place.name})",
            )
        if self.workers:
            # A worker's move requires the version of its ticket.
            yield Requirement("DATA-3")
        for worker in self.workers:
            yield from worker.guarantees()

    def _checked(self) -> bool:
        """Whether the machine is well formed; what is not is reported."""
        found = list(_mistakes(self.p, self.map))
        for message, hint in found:
            self.net.mistake("PN138", f"machine {self.id!r}", message, hint)
        return not found


class _Placed:
    """A worker in the net."""

    def __init__(self, whole: _Expansion, of: Worker) -> None:
        net, self.whole, self.of = whole.net, whole, of
        self.id = f"{whole.id}.{of.name}"
        self.gives = schema_of(of.gives)
        self.slot = Slot(
            id=self.id,
            takes=net.place(f"{self.id}.todo", whole.seen_type),
            gives=net.place(f"{self.id}.answer", self.gives),
            failed=net.place(f"{self.id}.failed", whole.seen_type),
        )
        ticket = RecordType(f"{self.id}.ticket", (Field("version", INT), Field("left", INT)))
        self.ticket = net.place(ticket.name, ticket)
        self.idle = net.place(f"{self.id}.idle", initial=[()])
        net.rests(self.idle)
        self.moves = [m for m in whole.p.moves if m.by == of.name]
        self.spent = [m for m in whole.p.moves if m.without == of.name]
        self.states = whole.map.states_of(of.name)
        self.moved = whole.map.moved_under(of.name)
        # Where nobody else moves the row while it works, there is nothing to compare.
        self.fresh = _FRESH if self.moved else None
        self.late_in = self.moved | set(self.states) if self.moved else frozenset()
        self.answered = {"answer": self.slot.gives, "ticket": self.ticket}
        self.failed = {"seen": self.slot.failed, "ticket": self.ticket}
        self.filled = Filled((), (), ())

    @property
    def places(self) -> tuple[PlaceRef, ...]:
        """Where it works: what is emptied when its work is given up, the ticket among them."""
        return (self.slot.takes, self.slot.gives, self.slot.failed, *self.filled.places, self.ticket)

    def may_be_busy(self, state: str) -> bool:
        """Whether it may be at work when the row is in a state."""
        return state in self.states or state in self.moved

    def fill(self) -> None:
        """Build its part, and hold it to what a worker may do."""
        whole, net = self.whole, self.whole.net
        self.filled = fill(net, self.slot, self.of.work)
        for effect in self.filled.effects if self._contested() else ():
            net.mistake(
                "PN139",
                f"machine {whole.id!r}, worker {self.of.name!r}",
                f"{effect.name!r} reaches the outside, and the row may move on meanwhile",
                "let its move lead to a state of its own, in which one worker performs the effect and "
                "nothing else moves the row",
            )
        sure = {s for m in self.moves if m.when is None for s in m.states}
        for effect in self.filled.effects if not set(self.states) <= sure else ():
            net.mistake(
                "PN139",
                f"machine {whole.id!r}, worker {self.of.name!r}",
                f"{effect.name!r} reaches the outside, and would do so again where its answer allows no move",
                "add a move of its own without when=, for whatever else it answers",
            )

    def build(self) -> None:
        """How it comes to its snapshots, and what becomes of its answers."""
        whole, net = self.whole, self.whole.net
        for at in self.states:
            net.route(
                whole.add("look", self._called("look", at, self.states)),
                takes={"_idle": self.idle},
                reads={"row": whole.rows[at], **whole.open},
                puts=self._snapshot(at, Const(whole.p.conflicts, INT)),
            )
            self._answers(at)
            self._gone_without("", at, self.failed, self.fresh, requires=self.fresh)
        for at in whole.p.states:
            if at in self.late_in:
                self._conflicts(at)
        if self.of.overtaken == "is withdrawn":
            self._withdrawn()

    def guarantees(self) -> Iterator[Requirement]:
        """What is required of it."""
        whole, most = self.whole, self.whole.p.conflicts
        name = f"{whole.id}, {self.of.name}"
        yield mutex(self.idle.name, self.ticket.name, name=f"{name}: one snapshot at a time")
        yield always(
            self.ticket.name,
            of=self.ticket.type,
            where=lambda it: it.left >= 0,
            name=f"{name}: it meets at most {most} conflicts, and then the machine goes on without it",
        )

    def _answers(self, at: str) -> None:
        """What it says becomes the next version of the row, if the row is what it has seen."""
        whole, net = self.whole, self.whole.net
        given = {"answer": self.gives}
        others: list[Expr] = []
        for move in self.moves:
            if at not in move.states:
                continue
            when = whole.expr(move, move.when, given, like=BOOL)
            arcs = whole.moved(move, at, given)
            arcs["puts"][self.idle] = None
            net.route(
                whole.add("move", move.called(at)),
                takes={**self.answered, "row": whole.rows[at]},
                when=_all(self.fresh, when, *others),
                requires=self.fresh,
                **arcs,
            )
            if when is None:
                return
            others.append(Not(when))
        if whole.p.conflicts:
            net.route(
                whole.add("refused", self._called("refused", at, self.states)),
                takes=self.answered,
                reads={"row": whole.rows[at], **whole.open},
                when=_all(self.fresh, _LEFT, *others),
                puts=self._again(at),
                role=Role.RETRY,
            )
        spent = _all(self.fresh, Not(_LEFT), *others)
        self._gone_without(" as refused", at, self.answered, spent)

    def _conflicts(self, at: str) -> None:
        """The row has moved on to this state meanwhile."""
        whole, net = self.whole, self.whole.net
        row, stale = whole.rows[at], Not(_FRESH)
        if at not in self.states:
            for name, takes in (("overtaken", self.answered), ("failed late", self.failed)):
                full = whole.add("conflict", self._called(name, at, self.late_in))
                net.route(
                    full, takes=takes, reads={"row": row, **whole.open}, puts=self.idle, role=Role.RETRY
                )
            return
        ways = (
            ("conflict", self.answered, " as too late"),
            ("failed late", self.failed, " as failed too late"),
        )
        for name, takes, why in ways:
            if whole.p.conflicts:
                net.route(
                    whole.add("conflict", self._called(name, at, self.late_in)),
                    takes=takes,
                    reads={"row": row, **whole.open},
                    when=_all(stale, _LEFT),
                    puts=self._again(at),
                    role=Role.RETRY,
                )
            spent = _all(stale, Not(_LEFT))
            self._gone_without(why, at, takes, spent, part="conflict")

    def _withdrawn(self) -> None:
        """Its work is taken back as soon as the row has moved on."""
        whole = self.whole
        for at in whole.p.states:
            if at in self.late_in:
                whole.net.route(
                    whole.add("withdrawn", self._called("withdrawn", at, self.late_in)),
                    takes={"ticket": self.ticket},
                    reads={"row": whole.rows[at], **whole.open},
                    when=Not(_FRESH) if at in self.states else None,
                    resets=[p for p in self.places if p != self.ticket],
                    puts=self.idle,
                    role=Role.RETRY,
                )

    def _gone_without(
        self,
        why: str,
        at: str,
        takes: Mapping[str, PlaceRef],
        when: Expr | None,
        *,
        requires: Expr | None = None,
        part: str = "without",
    ) -> None:
        """The machine goes on without it.

        Args:
            why: What is added to the names of its moves.
            at: The state that the row is in.
            takes: What is left of its work.
            when: When.
            requires: What it relies on.
            part: What it is in the pattern.
        """
        whole = self.whole
        others: list[Expr] = []
        for move in self.spent:
            if at not in move.states:
                continue
            also = whole.expr(move, move.when, {}, like=BOOL)
            arcs = whole.moved(move, at, {})
            arcs["puts"][self.idle] = None
            whole.net.route(
                whole.add(part, f"{move.called(at)}{why}"),
                takes={**takes, "row": whole.rows[at]},
                when=_all(when, also, *others),
                requires=requires,
                # Where a worker cannot fail, this is never needed, and no mistake.
                role=Role.GIVE_UP,
                **arcs,
            )
            if also is None:
                return
            others.append(Not(also))

    def _contested(self) -> bool:
        """Whether anybody else may move the row while it works."""
        return any(
            set(m.states) & set(self.states) and self.of.name not in (m.by, m.without)
            for m in self.whole.p.moves
        )

    def _again(self, at: str) -> dict[PlaceRef, Any]:
        """A new snapshot, with one try less."""
        return self._snapshot(at, Arith("-", Get(_TICKET, "left"), Const(1, INT)))

    def _snapshot(self, at: str, left: Expr) -> dict[PlaceRef, Any]:
        whole, of = self.whole, self.ticket.type
        assert isinstance(of, RecordType)
        seen: tuple[Expr, ...] = (Const(at, whole.state), _VERSION)
        if whole.data is not None:
            seen = (*seen, Get(_ROW, "data"))
        return {self.slot.takes: Build(whole.seen_type, seen), self.ticket: Build(of, (_VERSION, left))}

    def _called(self, name: str, at: str, among: Collection[str]) -> str:
        """A transition's name, which says the state where there are several."""
        return f"{self.of.name}.{name}" + (f" at {at}" if len(among) > 1 else "")


class _Map:
    """Which states follow which: what can happen to the row, read off the moves alone."""

    def __init__(self, pattern: StateMachine) -> None:
        self.p = pattern
        self._all = [(s, m.to) for m in pattern.moves for s in m.states]

    def states_of(self, worker: str) -> tuple[str, ...]:
        """The states that a worker works in, in the machine's order."""
        mine = {s for m in self.p.moves if m.by == worker for s in m.states}
        return tuple(s for s in self.p.states if s in mine)

    def after(self, states: Iterable[str]) -> frozenset[str]:
        """The states that the row may be in after one move or more from some states."""
        return _closure(self._all, states)

    def moved_under(self, worker: str) -> frozenset[str]:
        """The states that others may move the row to while a worker is at work; those that end it aside."""
        return _closure(self._others(worker), self.states_of(worker)) - set(self.p.ends)

    def _others(self, worker: str) -> list[tuple[str, str]]:
        return [(s, m.to) for m in self.p.moves if worker not in (m.by, m.without) for s in m.states]


def _closure(moves: Sequence[tuple[str, str]], start: Iterable[str]) -> frozenset[str]:
    """The ends of one move or more from some states."""
    found: set[str] = set()
    left = list(start)
    while left:
        at = left.pop()
        for a, b in moves:
            if a == at and b not in found:
                found.add(b)
                left.append(b)
    return frozenset(found)


def _mistakes(p: StateMachine, found: _Map) -> Iterator[tuple[str, str]]:
    """What is wrong with a machine's declaration, each with what to do about it."""
    if len(p.states) < 2 or len(set(p.states)) < len(p.states):
        yield "its states need names of their own, and there are two or more", "name each state once"
        return
    names, workers = [m.name for m in p.moves], [w.name for w in p.workers]
    for kind, given in (("moves", names), ("workers", workers)):
        if len(set(given)) < len(given) or "" in given:
            yield f"its {kind} need names of their own", f"name each of the {kind} once"
    for state in (*p.ends, *(s for m in p.moves for s in (*m.states, m.to))):
        if state not in p.states:
            yield f"there is no state {state!r}", did_you_mean(state, p.states)
            return
    for move in p.moves:
        made = [move.by, move.without, move.on, "a clock" if move.after is not None else ""]
        if sum(map(bool, made)) > 1:
            yield (
                f"move {move.name!r} is made by several things at once",
                "give one of by=, without=, on=, after=",
            )
        for worker in filter(None, (move.by, move.without)):
            if worker not in workers:
                yield f"move {move.name!r} names no worker of its: {worker!r}", did_you_mean(worker, workers)
        if move.brings is not None and not move.on:
            yield f"move {move.name!r} brings= something and waits for no event", "add on=, or drop brings="
        ended = [s for s in move.states if s in p.ends]
        if ended or not move.states:
            yield f"move {move.name!r} starts from {ended}, where the machine has ended", "end it elsewhere"
    for worker in workers:
        spent = {s for m in p.moves if m.without == worker and m.when is None for s in m.states}
        lost = [s for s in found.states_of(worker) if s not in spent]
        if not found.states_of(worker):
            yield (
                f"worker {worker!r} makes no move",
                f"add a Move(..., by={worker!r}), or leave the worker out",
            )
        elif lost:
            yield (
                f"nothing is said of {lost[0]!r} where worker {worker!r} fails there",
                f"add a Move(..., at={lost[0]!r}, without={worker!r})",
            )
    leaving = {s for m in p.moves for s in m.states}
    reached = {p.states[0], *found.after(p.states[:1])}
    for state in p.states:
        if state not in leaving and state not in p.ends:
            yield f"nothing leads out of {state!r}", "add a move from it, or name it in ends="
        if state not in reached:
            yield f"nothing leads to {state!r}", "add a move to it, or drop the state"
    for state, place in p.ends.items():
        if not isinstance(place.type, UnitType) and place.type != p.takes.type:
            yield (
                f"{place.name!r}, where it ends in {state!r}, holds {place.type}",
                f"a place of {p.takes.type}, or of black tokens",
            )
    if not 0 <= p.conflicts <= 1000:
        yield f"conflicts is {p.conflicts}", "give a number from 0 to 1000"


def _sure(move: Move) -> tuple[str, ...]:
    """The states in which an event's move is always made."""
    return move.states if move.when is None else ()


def _all(*parts: Expr | None) -> Expr | None:
    """All of the conditions that there are."""
    flat = tuple(q for p in parts if p is not None for q in (p.parts if isinstance(p, And) else (p,)))
    if not flat:
        return None
    return flat[0] if len(flat) == 1 else And(flat)
