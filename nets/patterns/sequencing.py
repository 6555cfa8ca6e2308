"""Event-driven sequencing: a log of events is the truth, and consumers react to it in order, once.

::

    an event ─[take]─▶ (taken) ─[dispatch]─┬▶ (todo) ─ a consumer ─▶ (answer) ─[done]─▶ (finished) ─┐
               │                           ├▶ the other consumers of this type ...                ──┤
    (head: the │ last number) ◀─[late]     └▶ (busy) ──────────────────────────────────[next]◀──────┘
               │                                                                          │
      (free) ◀─┴────[back]◀──── (line: the next step) ◀───────────────────────────────────┘
                                  └─[emit]─▶ (taken): what consumers emitted, in their order

Events of several types come in, at least once each and in any order; each has its number in the log outside.
The head remembers the last number: one that is not higher has been seen, or comes too late, and goes to the
audit. One event at a time is worked on, by all consumers of its type side by side. What they emit is
appended behind it, in the order in which the consumers are declared, and worked on before the next event
from outside: so the order depends on the log alone, and never on who was quicker. Old versions of an event
are turned into the present one by an expression, or ignored on purpose. The view is a fold over the events,
by expressions as well.

A token holds no list of any length: the log itself is the engine's, and what has come and waits for its turn
is in the engine's inbox. In the net is what is not yet consumed of one event.

The lineage is the log as the truth (Kreps, "The log", 2013) and event sourcing (Fowler 2005).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from provenet.nets.expr.typing import type_of
from provenet.nets.models import schema_of
from provenet.nets.net import Label, OnFailure, PatternInfo, Requirement, Role
from provenet.nets.patterns.slot import Filled, Slot, Work, fill
from provenet.nets.quick import dataclass
from provenet.nets.requirements import always, mutex
from provenet.nets.schema import (
    BOOL,
    INT,
    STR,
    UNIT,
    EnumType,
    Field,
    RecordType,
    Type,
    UnitType,
    plainest,
)

Gaps: TypeAlias = Literal["allowed", "wait"]
"""Whether numbers may be missing, or a later event waits for those before it."""

Failing: TypeAlias = Literal["skip", "stop"]
"""What is done about an event that a consumer cannot handle."""


@dataclass(frozen=True, slots=True)
class OldVersion:
    """An earlier version of an event's payload.

    Attributes:
        version: Its number.
        payload: Token model of the payload it had.
        upcast: Lambda over ``old``: the present payload; without one, events of this version are ignored on
            purpose.
    """

    version: int
    payload: Any
    upcast: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of events.

    From outside an event comes as ``{"id", "number", "version", "model", "prompt", "payload"}``: what it is
    called, its number in the log, the version of its payload, and the model and the hash of the prompt
    behind it, empty where there are none.

    Attributes:
        name: Name of the event; a Python identifier, with dots.
        payload: Token model of the payload.
        version: Its version.
        old: Earlier versions that may still come.
        fold: Lambda over ``view`` and ``event``: the next view.
        source: Whether it comes from outside, or only from a consumer that emits it.
    """

    name: str
    payload: Any
    version: int = 1
    old: Sequence[OldVersion] = ()
    fold: Callable[..., Any] | None = None
    source: Literal["outside", "consumers"] = "outside"


@dataclass(frozen=True, slots=True)
class Consumer:
    """Whoever reacts to events of one type.

    Attributes:
        name: Its name.
        of: Name of the event type.
        gives: Token model of its answer; where it emits, the payload of what it emits.
        work: Makes its part; see ``Slot``. It is given the event: ``id``, ``number``, ``step``, ``model``,
            ``prompt``, ``payload``, and ``view`` where there is one.
        emits: Name of the event type that its answers are events of; they are dropped where it emits none.
        model: Model that its answers are from, written into what it emits.
        prompt: Hash of its prompt, likewise.
        retries: How often it is given an event again that it failed on, but for an effect that failed.
        failing: What is done then: the log goes on without its answer, or stops.
    """

    name: str
    of: str
    gives: Any
    work: Work
    emits: str = ""
    model: str = ""
    prompt: str = ""
    retries: int = 0
    failing: Failing = "skip"


@dataclass(frozen=True, slots=True)
class Sequencing:
    """A log of events, and its consumers.

    Attributes:
        id: Name of the pattern's part of the net.
        takes: What opens the log, once in a case.
        done: Where the view goes, or a black token, when the log is closed.
        events: The types of events.
        consumers: Who reacts to them.
        view: Lambda over ``inputs``, what opened the log: the first view. No view where it is left out.
        until: Event that closes the log.
        quiet: How long nothing may come until the log is closed.
        gaps: Whether numbers may be missing.
        lateness: How much older than the newest one, by its own time, an event may be; any age where it is
            left out.
        stopped: Where the id of an event goes, or a black token, that stopped the log.
    """

    id: str
    takes: PlaceRef
    done: PlaceRef
    events: Sequence[EventType]
    consumers: Sequence[Consumer]
    view: Callable[..., Any] | None = None
    until: str = ""
    quiet: timedelta | None = None
    gaps: Gaps = "allowed"
    lateness: timedelta | None = None
    stopped: PlaceRef | None = None

    def expand(self, net: NetBuilder) -> SequencingHandle:
        """Add the pattern to a net."""
        return _Expansion(self, net).run()


@dataclass(frozen=True, slots=True)
class SequencingHandle:
    """A log in a net.

    Attributes:
        head: The place of the cursor: ``last`` number taken, and the one ``before`` it. It stays there.
        late: The last event that came too late, or again: ``type``, ``id`` and ``number``.
        guarantees: What is to be proved of it wherever it stands; the net requires it.
    """

    head: PlaceRef
    late: PlaceRef
    guarantees: tuple[Requirement, ...]


_HEAD, _SAID, _LINE, _E = Var("head"), Var("said"), Var("line"), Var("e")
_ONE, _ZERO = Const(1, INT), Const(0, INT)


class _Expansion:
    """One expansion; holds the places while the fragment is built."""

    def __init__(self, pattern: Sequencing, net: NetBuilder) -> None:
        self.p, self.net, self.id = pattern, net, pattern.id
        self.first: Expr | None = None
        self.view_type: Type | None = None
        self.kinds: dict[str, _Kind] = {}
        self.consumers: list[_Placed] = []
        self.parts: dict[str, list[str]] = {}
        """Names of the transitions by what they are in the pattern."""

    def run(self) -> SequencingHandle:
        p, net = self.p, self.net
        head = RecordType(f"{self.id}.head", (Field("last", INT), Field("before", INT)))
        late = RecordType(f"{self.id}.late", (Field("type", STR), Field("id", STR), Field("number", INT)))
        self.head = net.place(head.name, head, initial=[(0, -1)])
        self.late = net.place(late.name, late)
        net.label(self.late, Label.ABSORBER)
        if not self._checked():
            return SequencingHandle(self.head, self.late, ())
        self._view()
        self.unopened = net.place(f"{self.id}.unopened", initial=[()])
        self.free = net.place(f"{self.id}.free")
        net.rests(self.unopened, self.head, self.late)
        line = RecordType(f"{self.id}.line", (Field("at", INT), Field("tail", INT)))
        self.emitting = any(c.emits for c in p.consumers)
        self.line = net.place(line.name, line) if self.emitting else None
        self.kinds = {of.name: _Kind(self, of) for of in p.events}
        self.consumers = [_Placed(self, consumer) for consumer in p.consumers]
        self._open()
        for kind in self.kinds.values():
            kind.build([c for c in self.consumers if c.of.of == kind.of.name])
        for consumer in self.consumers:
            consumer.emits()
        if self.line is not None:
            net.route(
                self.add("back", "back"),
                takes={"line": self.line},
                when=Compare(">=", Get(_LINE, "at"), Get(_LINE, "tail")),
                puts=self.free,
            )
        self._close()
        guarantees = tuple(self._guarantees())
        net.require(*guarantees)
        contracts = [c.id for consumer in self.consumers for c in consumer.filled.contracts]
        named = {
            "cursor": [self.head.name],
            "consumer": [c.id for c in self.consumers],
            "contract": contracts,
            "audit": [self.late.name],
            **self.parts,
        }
        figures = {"consumers": len(p.consumers), "retries": sum(c.retries for c in p.consumers)}
        parts = tuple((part, tuple(names)) for part, names in named.items() if names)
        net.declare(PatternInfo("sequencing", self.id, parts, tuple(figures.items())))
        return SequencingHandle(self.head, self.late, guarantees)

    def add(self, part: str, name: str) -> str:
        """Note what a transition is in the pattern; returns its name in the net."""
        full = f"{self.id}.{name}"
        self.parts.setdefault(part, []).append(full)
        return full

    def _view(self) -> None:
        """What the first view is, and its type."""
        p, net = self.p, self.net
        if p.view is None:
            return
        known = {"inputs": p.takes.type}
        self.first = net.expr(f"sequencing {self.id!r}, view", p.view, known)
        if self.first is not None:
            self.view_type = type_of(self.first, known)
            self.view = net.place(f"{self.id}.view", self.view_type)

    def _open(self) -> None:
        takes = {"_unopened": self.unopened, "inputs": self.p.takes}
        puts: dict[PlaceRef, Any] = {self.free: None}
        if self.view_type is not None:
            puts[self.view] = self.first
        self.net.route(self.add("open", "open"), takes=takes, puts=puts)

    def _close(self) -> None:
        p, net = self.p, self.net
        takes, shown = {"_free": self.free}, None
        if self.view_type is not None:
            takes, shown = {**takes, "view": self.view}, "view"
        arcs: dict[str, Any] = {
            "takes": takes,
            "puts": {p.done: None if isinstance(p.done.type, UnitType) else shown},
        }
        if p.until:
            net.event(self.add("close", "close"), event=p.until, **arcs)
            net.delivery(p.until, early="keep")
        if p.quiet is not None:
            net.timer(self.add("close", "quiet"), after=p.quiet, **arcs)

    # what is guaranteed, and what is wrong

    def _guarantees(self) -> Iterator[Requirement]:
        """What is required of the pattern, in the catalogue's terms."""
        name = self.id
        yield Requirement("EVT-1")
        yield Requirement("EVT-2")
        yield always(
            self.head.name,
            of=self.head.type,
            where=lambda it: it.last > it.before,
            name=f"{name}: the cursor never goes back",
        )
        working = [place.name for kind in self.kinds.values() for place in (kind.taken, kind.busy)]
        line = [self.line.name] if self.line is not None else []
        yield mutex(
            self.free.name, *working, *line, name=f"{name}: one event at a time, in the order of the log"
        )
        for consumer in self.consumers:
            yield from consumer.guarantees()

    def _checked(self) -> bool:
        """Whether the log is well formed; what is not is reported."""
        found = list(_mistakes(self.p))
        for message, hint in found:
            self.net.mistake("PN134", f"sequencing {self.id!r}", message, hint)
        return not found


class _Kind:
    """A type of events in the net."""

    def __init__(self, whole: _Expansion, of: EventType) -> None:
        net, self.whole, self.of = whole.net, whole, of
        self.id = f"{whole.id}.{of.name}"
        self.payload = schema_of(of.payload)
        fields = [Field("id", STR), Field("number", INT), Field("step", INT)]
        fields += [Field("model", STR), Field("prompt", STR), Field("payload", self.payload)]
        self.event = RecordType(f"{self.id}.event", tuple(fields))
        view = () if whole.view_type is None else (Field("view", whole.view_type),)
        self.seen = RecordType(f"{self.id}.seen", (*fields, *view)) if view else self.event
        taken = RecordType(f"{self.id}.taken", (Field("event", self.event), Field("tail", INT)))
        self.taken = net.place(taken.name, taken)
        stop = (Field("stop", BOOL),) if whole.p.stopped is not None else ()
        busy = RecordType(f"{self.id}.busy", (Field("event", self.event), Field("tail", INT), *stop))
        self.busy = net.place(busy.name, busy)

    def build(self, consumers: Sequence[_Placed]) -> None:
        """Its ways in, to its consumers, and on."""
        if self.of.source == "outside":
            self._comes_in(self.of.version, self.payload, Get(_SAID, "payload"))
            for old in self.of.old:
                payload = schema_of(old.payload)
                where = f"sequencing {self.whole.id!r}, {self.of.name!r} v{old.version}"
                now: Expr | None = None
                if old.upcast is not None:
                    now = self.whole.net.expr(where, old.upcast, {"old": payload}, like=self.payload)
                    now = None if now is None else substitute(now, {"old": Get(_SAID, "payload")})
                self._comes_in(old.version, payload, now)
            self._delivered()
        self._dispatch(consumers)
        for consumer in consumers:
            consumer.build()
        self._next(consumers)

    def _envelope(self, version: int, payload: Type) -> RecordType:
        """What comes from outside."""
        fields = [Field("id", STR), Field("number", INT), Field("version", EnumType("version", (version,)))]
        fields += [Field("model", STR), Field("prompt", STR), Field("payload", payload)]
        return RecordType(f"{self.id} v{version}", tuple(fields))

    def _comes_in(self, version: int, payload: Type, now: Expr | None) -> None:
        """An event of a version comes: for the first time, late or again, or to be ignored.

        Args:
            version: The version.
            payload: Its payload.
            now: The present payload over what came; none where the version is ignored.
        """
        whole, net = self.whole, self.whole.net
        head, said = whole.head, {"said": self._envelope(version, payload)}
        suffix = f" v{version}" if self.of.old else ""
        about: dict[str, Any] = {"event": self.of.name, "key": "number", "brings": said}
        if now is None:
            name = whole.add("ignored", f"{self.of.name}.ignore{suffix}")
            made = net.event(name, takes={"head": head}, puts={head: "head"}, **about)
            net.label(made, Label.ABSORBER)
            self._older(suffix, about)
            return
        number, last = Get(_SAID, "number"), Get(_HEAD, "last")
        following = Compare("==", number, Arith("+", last, _ONE))
        event = Build(
            self.event,
            (Get(_SAID, "id"), number, _ZERO, Get(_SAID, "model"), Get(_SAID, "prompt"), now),
        )
        net.event(
            whole.add("take", f"{self.of.name}.take{suffix}"),
            takes={"head": head, "_free": whole.free},
            ensures=Compare(">", number, last) if whole.p.gaps == "allowed" else following,
            puts={
                head: _token(head, number, last),
                self.taken: _token(self.taken, event, _ONE),
            },
            **about,
        )
        self._too_late(f"late{suffix}", about, Not(Compare(">", number, last)))
        self._older(suffix, about)

    def _older(self, suffix: str, about: Mapping[str, Any]) -> None:
        """One comes that is older than the watermark allows."""
        if self.whole.p.lateness is not None:
            self._too_late(f"older{suffix}", {**about, "event": self.too_old}, None)

    @property
    def too_old(self) -> str:
        """The event that one is taken as which is older than the watermark allows."""
        return f"{self.of.name}.late"

    def _too_late(self, name: str, about: Mapping[str, Any], when: Expr | None) -> None:
        """It changes nothing but the audit."""
        whole, late = self.whole, self.whole.late
        note = _token(late, Const(self.of.name, STR), Get(_SAID, "id"), Get(_SAID, "number"))
        made = whole.net.event(
            whole.add("late", f"{self.of.name}.{name}"),
            takes={"head": whole.head},
            ensures=when,
            resets=[late],
            puts={whole.head: "head", late: note},
            **about,
        )
        whole.net.label(made, Label.ABSORBER)

    def _delivered(self) -> None:
        """What the engine does with one that comes early, or by its own time too late."""
        net, lateness = self.whole.net, self.whole.p.lateness
        if lateness is None:
            net.delivery(self.of.name, early="keep")
        else:
            net.delivery(self.of.name, early="keep", lateness=lateness, late=self.too_old)
            net.ignore(self.too_old, unless=[self.whole.head])

    def _dispatch(self, consumers: Sequence[_Placed]) -> None:
        """Every consumer is given the event; the view takes it in."""
        whole = self.whole
        event: Expr = Get(_E, "event")
        takes: dict[str, PlaceRef] = {"e": self.taken}
        parts: tuple[Expr, ...] = (event, Get(_E, "tail"))
        if whole.p.stopped is not None:
            parts = (*parts, Const(False, BOOL))
        puts: dict[PlaceRef, Any] = {self.busy: _token(self.busy, *parts)}
        seen = event
        if whole.view_type is not None:
            takes["view"] = whole.view
            view: Expr = Var("view")
            if self.of.fold is not None:
                known = {"view": whole.view_type, "event": self.event}
                where = f"sequencing {whole.id!r}, fold of {self.of.name!r}"
                made = whole.net.expr(where, self.of.fold, known, like=whole.view_type)
                view = view if made is None else substitute(made, {"event": event})
            puts[whole.view] = view
            seen = Build(self.seen, (*(Get(event, f.name) for f in self.event.fields), view))
        for consumer in consumers:
            puts |= consumer.given(seen)
        whole.net.route(whole.add("dispatch", f"{self.of.name}.dispatch"), takes=takes, puts=puts)

    def _next(self, consumers: Sequence[_Placed]) -> None:
        """All have dealt with it: what they emitted goes to the line, or the next event may come."""
        whole, net, p = self.whole, self.whole.net, self.whole.p
        b, stop = Var("b"), Get(Var("b"), "stop")
        takes = {"b": self.busy, **{f"f{i}": c.finished for i, c in enumerate(consumers)}}
        puts: dict[PlaceRef, Any] = {whole.free: None}
        if whole.line is not None:
            emitting = [(i, c) for i, c in enumerate(consumers) if c.emitted is not None]
            tail: Expr = Get(b, "tail")
            puts = {}
            for at, (i, consumer) in enumerate(emitting):
                step = Arith("+", tail, Const(at, INT)) if at else tail
                puts |= consumer.lines_up(Get(b, "event"), step, Var(f"f{i}"))
            after = Arith("+", tail, Const(len(emitting), INT)) if emitting else tail
            at_next = Arith("+", Get(Get(b, "event"), "step"), _ONE)
            puts[whole.line] = _token(whole.line, at_next, after)
        net.route(
            whole.add("next", f"{self.of.name}.next"),
            takes=takes,
            when=None if p.stopped is None else Not(stop),
            puts=puts,
        )
        if p.stopped is not None:
            shown = None if isinstance(p.stopped.type, UnitType) else Get(Get(b, "event"), "id")
            if whole.view_type is not None:
                takes = {**takes, "_view": whole.view}
            role = Role.GIVE_UP
            name = whole.add("stop", f"{self.of.name}.stop")
            net.route(name, takes=takes, when=stop, puts={p.stopped: shown}, role=role)


class _Placed:
    """A consumer in the net."""

    def __init__(self, whole: _Expansion, of: Consumer) -> None:
        net, self.whole, self.of = whole.net, whole, of
        self.id, self.kind = f"{whole.id}.{of.name}", whole.kinds[of.of]
        self.gives = schema_of(of.gives)
        self.slot = Slot(
            id=self.id,
            takes=net.place(f"{self.id}.todo", self.kind.seen),
            gives=net.place(f"{self.id}.answer", self.gives),
            failed=net.place(f"{self.id}.failed", self.kind.seen),
        )
        ticket = RecordType(f"{self.id}.ticket", (Field("left", INT),))
        self.ticket = net.place(ticket.name, ticket)
        self.emitted: PlaceRef | None = None
        self.nothing: Const | None = None
        if of.emits:
            # Whether there is an answer is kept apart from what it says: control depends on it.
            payload = whole.kinds[of.emits].payload
            said = (Field("there", BOOL), Field("said", payload))
            finished = RecordType(f"{self.id}.finished", said)
            self.nothing = Const((False, plainest(payload)), finished)
            fields = (Field("id", STR), Field("number", INT), Field("step", INT), *said)
            waiting = RecordType(f"{self.id}.emitted", fields)
            self.emitted = net.place(waiting.name, waiting)
        self.finished = net.place(f"{self.id}.finished", UNIT if self.nothing is None else self.nothing.type)
        self.filled = Filled((), (), ())

    def given(self, seen: Expr) -> dict[PlaceRef, Any]:
        """An event to work on, and the ticket for it."""
        left = _token(self.ticket, Const(self.of.retries, INT))
        return {self.slot.takes: seen, self.ticket: left}

    def build(self) -> None:
        whole, net, of = self.whole, self.whole.net, self.of
        self.filled = fill(net, self.slot, of.work)
        self._held_to_one_effect()
        left = Get(Var("ticket"), "left")
        failed = {"seen": self.slot.failed, "ticket": self.ticket}
        puts: dict[PlaceRef, Any] = {self.finished: self.nothing}
        something = None if self.nothing is None else _token(self.finished, Const(True, BOOL), Var("answer"))
        net.route(
            whole.add("done", f"{of.name}.done"),
            takes={"answer": self.slot.gives, "ticket": self.ticket},
            puts={self.finished: something},
        )
        spent = None
        if of.retries:
            lower = _token(self.ticket, Arith("-", left, _ONE))
            net.route(
                whole.add("again", f"{of.name}.again"),
                takes=failed,
                when=Compare(">", left, _ZERO),
                puts={self.slot.takes: "seen", self.ticket: lower},
                role=Role.RETRY,
            )
            spent = Not(Compare(">", left, _ZERO))
        if of.failing == "stop":
            b, busy = Var("b"), self.kind.busy
            assert isinstance(busy.type, RecordType)
            kept = tuple(Get(b, f.name) for f in busy.type.fields[:-1])
            stops = Build(busy.type, (*kept, Const(True, BOOL)))
            failed, puts = {**failed, "b": busy}, {**puts, busy: stops}
        name = whole.add("without", f"{of.name}.{of.failing}")
        net.route(name, takes=failed, when=spent, puts=puts, role=Role.GIVE_UP)

    def _held_to_one_effect(self) -> None:
        """An effect that failed for good may have been performed all the same: nobody tries it anew."""
        effects = {t.name for t in self.filled.effects}
        for t in self.filled.transitions if self.of.retries else ():
            lost = isinstance(t.trigger, OnFailure) and t.trigger.of in effects
            if lost and any(p.place == self.slot.failed.name for p in t.puts):
                self.whole.net.mistake(
                    "PN135",
                    f"sequencing {self.whole.id!r}, consumer {self.of.name!r}",
                    f"{t.name!r} leads back to its effect, which may have been performed",
                    "leave out on_failure=, so that the effect is tried until it works; or say retries=0",
                )

    def lines_up(self, cause: Expr, step: Expr, said: Expr) -> dict[PlaceRef, Any]:
        """What it emits, with its step behind the event that caused it."""
        assert self.emitted is not None
        cause_id, number = Get(cause, "id"), Get(cause, "number")
        token = _token(self.emitted, cause_id, number, step, Get(said, "there"), Get(said, "said"))
        return {self.emitted: token}

    def emits(self) -> None:
        """What it emitted is an event when its turn comes."""
        whole, net, of = self.whole, self.whole.net, self.of
        if self.emitted is None or whole.line is None:
            return
        to, at, tail = whole.kinds[of.emits], Get(_LINE, "at"), Get(_LINE, "tail")
        turn, there = Compare("==", Get(_E, "step"), at), Get(_E, "there")
        takes = {"line": whole.line, "e": self.emitted}
        cause = tuple(Get(_E, name) for name in ("id", "number", "step"))
        event = Build(to.event, (*cause, Const(of.model, STR), Const(of.prompt, STR), Get(_E, "said")))
        net.route(
            whole.add("emit", f"{of.name}.emit"),
            takes=takes,
            when=And((turn, there)),
            puts={to.taken: _token(to.taken, event, tail)},
        )
        net.route(
            whole.add("pass", f"{of.name}.pass"),
            takes=takes,
            when=And((turn, Not(there))),
            puts={whole.line: _token(whole.line, Arith("+", at, _ONE), tail)},
            role=Role.GIVE_UP,
        )

    def guarantees(self) -> Iterator[Requirement]:
        """What is required of it."""
        name, most = f"{self.whole.id}, {self.of.name}", self.of.retries
        yield mutex(self.ticket.name, self.finished.name, name=f"{name}: an event has one answer of it")
        yield always(
            self.ticket.name,
            of=self.ticket.type,
            where=lambda it: it.left >= 0,
            name=f"{name}: it is given an event again at most {most} times",
        )


def _token(place: PlaceRef, *parts: Expr) -> Build:
    """A token of a place, from its parts."""
    assert isinstance(place.type, RecordType)
    return Build(place.type, parts)


def _mistakes(p: Sequencing) -> Iterator[tuple[str, str]]:
    """What is wrong with a log's declaration, each with what to do about it."""
    kinds, consumers = [e.name for e in p.events], [c.name for c in p.consumers]
    for what, given in (("event types", kinds), ("consumers", consumers)):
        if not given or len(set(given)) < len(given):
            yield f"its {what} need names of their own", f"name each of the {what} once"
            return
    for consumer in p.consumers:
        for kind in filter(None, (consumer.of, consumer.emits)):
            if kind not in kinds:
                yield f"consumer {consumer.name!r} names no event type: {kind!r}", did_you_mean(kind, kinds)
                return
        if not 0 <= consumer.retries <= 1000:
            yield f"retries of {consumer.name!r} is {consumer.retries}", "give a number from 0 to 1000"
        if consumer.failing == "stop" and p.stopped is None:
            yield f"consumer {consumer.name!r} may stop the log", "say where it goes then: stopped="
    if p.stopped is not None and all(c.failing == "skip" for c in p.consumers):
        yield "no consumer may stop the log", "drop stopped=, or say failing='stop' of one"
    for event in p.events:
        if event.name not in [c.of for c in p.consumers] and event.fold is None:
            yield f"nobody consumes {event.name!r}", "add a consumer or a fold, or leave the type out"
        versions = [event.version, *(o.version for o in event.old)]
        if len(set(versions)) < len(versions):
            yield f"{event.name!r} has a version twice", "number its versions"
        if event.fold is not None and p.view is None:
            yield f"{event.name!r} has a fold, and there is no view", "give view=, the first one"
        emitters = [c for c in p.consumers if c.emits == event.name]
        if event.source == "consumers" and not emitters:
            yield f"nobody emits {event.name!r}", "let a consumer emit it, or let it come from outside"
        for emitter in emitters:
            if schema_of(emitter.gives) != schema_of(event.payload):
                yield (
                    f"{emitter.name!r} emits {event.name!r} and gives {schema_of(emitter.gives)}",
                    f"let it give {schema_of(event.payload)}",
                )
    circle = _circle(p)
    if circle:
        yield (
            f"events cause one another in a circle: {' -> '.join(circle)}",
            "let one of these consumers emit nothing, or another type: a cascade has to end",
        )
    if not p.until and p.quiet is None:
        yield "nothing closes it", "give until=, an event, or quiet=, a span of time"
    for place, wanted in ((p.done, "the view"), (p.stopped, "a text")):
        right = place is None or isinstance(place.type, UnitType)
        if wanted == "a text" and not right:
            right = place is not None and place.type == STR
        elif not right:
            right = p.view is not None
        if not right and place is not None:
            yield f"{place.name!r} holds {place.type}", f"a place of black tokens, or of {wanted}"


def _circle(p: Sequencing) -> list[str]:
    """Event types that cause one another in a circle; none where cascades end."""
    causes: dict[str, list[str]] = {}
    for consumer in p.consumers:
        if consumer.emits:
            causes.setdefault(consumer.of, []).append(consumer.emits)

    def follow(path: list[str]) -> list[str]:
        for following in causes.get(path[-1], []):
            if following in path:
                return [*path[path.index(following) :], following]
            found = follow([*path, following])
            if found:
                return found
        return []

    return next((found for e in p.events if (found := follow([e.name]))), [])
