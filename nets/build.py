"""The Python DSL: a net that reads like its diagram.

::

    net = NetBuilder("triage")
    inbox = net.entry("inbox", Claim)
    small, big = net.place("small", Claim), net.place("big", Claim)
    paid = net.final("paid", Claim)

    net.route("is small", takes={"c": inbox}, when=lambda c: c.amount <= 100, puts={small: "c"})
    net.route("is big", takes={"c": inbox}, when=lambda c: c.amount > 100, puts={big: "c"})

Every lambda runs once, here, on typed proxies (``provenet.nets.expr.build``). Mistakes are collected with
the line that made them; ``build()`` reports them all at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from provenet.nets.check import check_net
from provenet.nets.compose import moved_requirement, prefixed, with_places
from provenet.nets.errors import ExprError, Mistake, NetError, ProvenetError, TypeMismatch, did_you_mean
from provenet.nets.expr.ast import Const, Expr, Var
from provenet.nets.expr.build import Term, lift, record
from provenet.nets.expr.normal import normal
from provenet.nets.models import schema_of, to_value
from provenet.nets.net import (
    After,
    Auto,
    CaseKey,
    ContractInfo,
    Delivery,
    Entry,
    Fresh,
    Ignored,
    Label,
    Net,
    PatternInfo,
    Place,
    Put,
    Read,
    Requirement,
    Role,
    SagaInfo,
    Signal,
    Take,
    Transition,
    Trigger,
)
from provenet.nets.quick import dataclass
from provenet.nets.schema import DURATION, UNIT, ListType, RecordType, Type, UnitType, Value

_ROOT = Path(__file__).resolve().parents[1]
_LAYERS = ("nets", "sdb", "verify", "engine", "visualize", "provenet", "cli")


@dataclass(frozen=True, slots=True)
class PlaceRef:
    """A place of a net under construction, for use in arcs."""

    name: str
    type: Type


Takes: TypeAlias = "PlaceRef | Mapping[str, PlaceRef] | Iterable[PlaceRef]"
"""Input arcs: variable name to place; a bare place (or several) takes one token each."""

Puts: TypeAlias = "PlaceRef | Mapping[PlaceRef, str | Callable[..., Any] | Term | None] | Iterable[PlaceRef]"
"""Output arcs: place to the variable it passes on, to a lambda that builds the token, or ``None``."""

H_co = TypeVar("H_co", covariant=True)


class Part(Protocol[H_co]):
    """Something that expands into a net fragment: a contract, a human task, a saga scope."""

    def expand(self, net: NetBuilder) -> H_co:
        """Add the fragment to the net and return a handle on it."""
        ...


class NetBuilder:
    """Collects places, transitions and parts, and builds an immutable ``Net``.

    Args:
        name: Name of the net.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._places: list[Place] = []
        self._transitions: list[Transition] = []
        self._entries: list[Entry] = []
        self._initial: dict[str, tuple[Value, ...]] = {}
        self._finals: list[tuple[tuple[str, int], ...]] = []
        self._resting: list[str] = []
        self._contracts: list[ContractInfo] = []
        self._sagas: dict[str, SagaInfo] = {}
        self._patterns: list[PatternInfo] = []
        self._requirements: list[Requirement] = []
        self._ignored: list[Ignored] = []
        self._deliveries: list[Delivery] = []
        self._keys: list[CaseKey] = []
        self._labels: dict[tuple[str, str], list[Label]] = {}
        self._mistakes: list[Mistake] = []
        self._kept: set[str] = set()
        self._clearing: set[str] = set()
        self.handlers: dict[str, object] = {}
        """What handler names mean, for ``provenet.sdb.Agent``; no part of the net."""

    # places

    def place(
        self,
        name: str,
        type: Any = UNIT,  # noqa: A002 - reads as place("inbox", type=Claim)
        *,
        capacity: int | None = None,
        initial: Iterable[Any] = (),
        label: str = "",
    ) -> PlaceRef:
        """Add a place; ``type`` is a token model, a Python annotation or a token type."""
        of = schema_of(type)
        self._places.append(Place(name, of, capacity, label))
        try:
            tokens = tuple(to_value(v, of) for v in initial)
        except TypeMismatch as error:
            self.mistake("PN108", f"place {name!r}", f"initial token: {error.message}")
            tokens = ()
        if tokens:
            self._initial[name] = tokens
        return PlaceRef(name, of)

    def entry(self, name: str, type: Any, *, where: Callable[..., Any] | None = None) -> PlaceRef:  # noqa: A002
        """Add a place where a case starts: with one token of any value for which ``where(it)`` holds."""
        ref = self.place(name, type)
        condition = self.expr(f"entry {name!r}", where, {"it": ref.type})
        self._entries.append(Entry(name, condition))
        return ref

    def final(self, name: str, type: Any = UNIT, *, label: str = "") -> PlaceRef:  # noqa: A002
        """Add a place that ends a case: exactly one token here, and none elsewhere, is a final marking."""
        ref = self.place(name, type, label=label)
        self._finals.append(((name, 1),))
        return ref

    def ends(self, *marking: PlaceRef) -> None:
        """Declare a final marking of several places: one token for each time that a place is named."""
        names = [p.name for p in marking]
        self._finals.append(tuple((n, names.count(n)) for n in dict.fromkeys(names)))

    def rests(self, *places: PlaceRef) -> None:
        """Let tokens stay behind in these places when a case ends."""
        self._resting.extend(p.name for p in places)

    def ignore(self, event: str, *, unless: Iterable[PlaceRef | str] = ()) -> None:
        """Ignore an event on purpose wherever no transition takes it; the engine refuses it there.

        Args:
            event: Name of the event.
            unless: Places: while one of them is marked, the event must be taken (EVT-1).
        """
        self._ignored.append(Ignored(event, tuple(map(self._name, unless))))

    def delivery(
        self,
        event: str,
        *,
        early: Literal["refuse", "keep"] = "refuse",
        keep_for: timedelta | None = None,
        keep_most: int = 100,
        lateness: timedelta | None = None,
        late: str = "",
    ) -> None:
        """Say what the engine does with an event that comes early, or late.

        Args:
            event: Name of the event.
            early: Whether one that nothing takes now is refused, or kept until something does.
            keep_for: How long one is kept; as long as its case runs where it is left out.
            keep_most: How many a case keeps at a time.
            lateness: How much older than the newest one taken an event may be; any age where it is left out.
            late: Event that an older one is taken as; it is refused where this is left out.
        """
        self._deliveries.append(Delivery(event, early, keep_for, keep_most, lateness, late))

    def known_by(self, name: str, *, at: PlaceRef, value: Callable[..., Any]) -> None:
        """Let the outside know cases by a key: ``net.known_by("order", at=orders, value=lambda it: it.id)``.

        Args:
            name: Name of the key.
            at: An entry.
            value: The key, a text or a whole number, of the token that a case starts with there.
        """
        expr = self.expr(f"key {name!r}", value, {"it": at.type})
        if expr is not None:
            self._keys.append(CaseKey(name, self._name(at), expr))

    def label(self, node: PlaceRef | Transition | str, *labels: Label | str) -> None:
        """Say what a place or a transition means for the flow of information (FLOW-1).

        Args:
            node: A place or a transition; a name means a transition, or else a place.
            *labels: ``untrusted``, ``private``, ``sink``, ``sanitizer`` or ``absorber``.
        """
        name = node if isinstance(node, str) else node.name
        kind = "place" if isinstance(node, PlaceRef) else "transition"
        if isinstance(node, str) and all(t.name != name for t in self._transitions):
            kind = "place"
        known = [p.name for p in self._places] if kind == "place" else [t.name for t in self._transitions]
        if name not in known:
            known += [t.name for t in self._transitions]
            hint = did_you_mean(name, known)
            self.mistake("PN104", f"label {name!r}", "names no place or transition", hint)
            return
        for label in labels:
            try:
                self._labels.setdefault((kind, name), []).append(Label(label))
            except ValueError:
                hint = did_you_mean(str(label), list(Label))
                self.mistake("PN119", f"label {name!r}", f"there is no label {str(label)!r}", hint)

    def known_place(self, name: str) -> PlaceRef | None:
        """The place of that name, if it was added."""
        return next((PlaceRef(p.name, p.type) for p in self._places if p.name == name), None)

    def keep(self, *places: PlaceRef) -> None:
        """Protect places from ``clears``: tokens in them stand for work that must be finished or undone."""
        self._kept.update(p.name for p in places)

    def clears(self, made: Transition) -> None:
        """Let a transition cancel all ordinary work: it empties places not kept, resting or final."""
        self._clearing.add(made.name)

    # transitions

    def transition(
        self,
        name: str,
        *,
        takes: Takes = (),
        reads: Takes = (),
        resets: Iterable[PlaceRef] = (),
        puts: Puts = (),
        brings: Mapping[str, Any] | None = None,
        when: Callable[..., Any] | None = None,
        ensures: Callable[..., Any] | None = None,
        requires: Callable[..., Any] | None = None,
        trigger: Trigger | None = None,
        role: Role = Role.ROUTE,
        contract: str = "",
        label: str = "",
    ) -> Transition:
        """Add a transition; see ``provenet.nets.net.Transition`` for what the parts mean.

        Args:
            name: Unique name.
            takes: Input arcs.
            reads: Read arcs.
            resets: Places to empty.
            puts: Output arcs.
            brings: Variables from outside, with their types.
            when: The guard, over taken and read variables.
            ensures: What the values from outside must meet, over all variables.
            requires: What must hold when it fires, over all variables.
            trigger: What makes it fire; by default it fires as soon as it is enabled.
            role: What it means.
            contract: Id of the contract, task or saga that it belongs to.
            label: Text for people.
        """
        where = _where(name)
        taken = tuple(Take(place, var, weight) for place, var, weight in self._arcs(takes))
        read = tuple(Read(place, var, weight) for place, var, weight in self._arcs(reads))
        given: object = brings  # whatever the author passed
        if given is not None and not isinstance(given, Mapping):
            self.mistake(
                "PN114", where, "brings= is no mapping of names to types", 'such as brings={"note": Note}'
            )
            brings = None
        fresh = tuple(Fresh(var, schema_of(of)) for var, of in (brings or {}).items())
        bound = self._scope((*taken, *read))
        scope = bound | {f.var: f.type for f in fresh}
        made = Transition(
            name=name,
            role=role,
            contract=contract,
            takes=taken,
            reads=read,
            resets=tuple(p.name for p in resets),
            puts=tuple(self._puts(where, puts, scope)),
            fresh=fresh,
            guard=self.expr(where, when, bound),
            ensures=self.expr(where, ensures, scope),
            requires=self.expr(where, requires, scope),
            trigger=trigger or Auto(),
            label=label,
            source=self._caller(),
        )
        self._transitions.append(made)
        return made

    def route(self, name: str, **parts: Any) -> Transition:
        """Add deterministic plumbing: a choice, a fork, a join. Arguments as for ``transition``."""
        return self.transition(name, **parts)

    def timer(
        self, name: str, *, after: timedelta | datetime | Callable[..., Any], **parts: Any
    ) -> Transition:
        """Add a transition that fires once a deadline has passed.

        Args:
            name: Unique name.
            after: Duration since the first taken token arrived, a point in time, or a lambda that gives
                either.
            **parts: As for ``transition``.
        """
        parts.setdefault("role", Role.TIMER)
        made = self.transition(name, **parts)
        delay = self.expr(_where(name), after, self._scope((*made.takes, *made.reads)))
        return self.amend(made, trigger=After(delay or Const(timedelta(0), DURATION)))

    def event(self, name: str, *, event: str, key: str = "", **parts: Any) -> Transition:
        """Add a transition that fires when the outside sends ``event``; ``brings`` names its payload.

        Args:
            name: Unique name.
            event: Name of the event.
            key: Path of the payload's field that tells one event from another (EVT-2).
            **parts: As for ``transition``.
        """
        parts.setdefault("role", Role.EVENT)
        return self.transition(name, trigger=Signal(event, key), **parts)

    def amend(self, made: Transition, **changes: Any) -> Transition:
        """Replace parts of a transition that was just added."""
        changed = replace(made, **changes)
        at = next(i for i, t in enumerate(self._transitions) if t is made)
        self._transitions[at] = changed
        return changed

    # parts, contracts, requirements

    def add(self, part: Part[H_co]) -> H_co:
        """Expand a contract, a human task or a saga scope into this net; returns its handle."""
        return part.expand(self)

    def declare(self, info: ContractInfo | SagaInfo | PatternInfo) -> None:
        """Record what readers need to know of a contract, a saga scope or a pattern.

        The latest of a saga counts.
        """
        match info:
            case ContractInfo():
                self._contracts.append(info)
            case PatternInfo():
                self._patterns.append(info)
            case SagaInfo():
                self._sagas[info.id] = info

    def saga(self, name: str) -> SagaInfo:
        """What was declared of a saga scope; ``KeyError`` where nothing was."""
        return self._sagas[name]

    def handle(self, name: str, handler: object) -> str:
        """Bind a handler's name for ``provenet.sdb.Agent``; the same name may not mean two things."""
        if self.handlers.setdefault(name, handler) is not handler:
            self.mistake(
                "SD206",
                f"handler {name!r}",
                "one name stands for two handlers",
                "give one of them its own name",
            )
        return name

    def require(self, *requirements: Requirement | str) -> None:
        """Demand proofs before deploy: catalogue ids (``SDB-1``), families (``SDB``), or user properties."""
        for r in requirements:
            self._requirements.append(Requirement(r) if isinstance(r, str) else r)

    def include(
        self, net: Net, *, prefix: str, fuse: Mapping[str, PlaceRef] | None = None
    ) -> dict[str, PlaceRef]:
        """Take in a finished net as a part of this one; see ``provenet.nets.compose``.

        Its transitions, contracts, sagas, initial tokens, resting places and requirements come along. Entries
        at fused places are dropped, since this net feeds them; its final markings are too, since this net
        says how a case ends.

        Args:
            net: The net.
            prefix: Put before all its names, with a dot.
            fuse: Places of the net, by their names there, and the places of this net that they become.

        Returns:
            The net's places, by their names there.
        """
        fuse = fuse or {}
        refs = {p.name: fuse.get(p.name, PlaceRef(f"{prefix}.{p.name}", p.type)) for p in net.places}
        for name, ref in fuse.items():
            if not net.has_place(name):
                hint = did_you_mean(name, refs)
                self.mistake("PN104", f"fuse {name!r}", f"net {net.name!r} has no place {name!r}", hint)
            elif net.place(name).type != ref.type:
                self.mistake(
                    "PN120",
                    f"fuse {name!r}",
                    f"holds {net.place(name).type} and is fused with {ref.name!r}, which holds {ref.type}",
                    "fuse places of one type, or put a transition between them that builds the other's token",
                )
        moved = prefixed(net, prefix)
        becomes = {f"{prefix}.{name}": ref.name for name, ref in fuse.items()}
        moved = with_places(moved, lambda name: becomes.get(name, name))
        inner = {ref.name for name, ref in refs.items() if name not in fuse}
        self._places.extend(p for p in moved.places if p.name in inner)
        self._transitions.extend(moved.transitions)
        self._entries.extend(e for e in moved.entries if e.place in inner)
        for place, tokens in moved.initial:
            self._initial[place] = self._initial.get(place, ()) + tokens
        self._resting.extend(moved.resting)
        self._ignored.extend(moved.ignored)
        self._deliveries.extend(d for d in moved.deliveries if d not in self._deliveries)
        self._keys.extend(k for k in moved.keys if k.place in inner)
        self._contracts.extend(moved.contracts)
        self._sagas.update((s.id, s) for s in moved.sagas)
        self._patterns.extend(moved.patterns)
        self.require(*(moved_requirement(r, lambda n: becomes.get(n, n)) for r in moved.requirements))
        return refs

    # building

    def build(self) -> Net:
        """The immutable net.

        Raises:
            NetError: With every mistake found while building and in the finished net.
        """
        net = self.so_far()
        mistakes = [*self._mistakes, *check_net(net)]
        if mistakes:
            raise NetError(self.name, mistakes)
        return net

    def so_far(self) -> Net:
        """The net as it stands: unchecked, for a part that looks at what another part has added."""
        return Net(
            name=self.name,
            places=tuple(replace(p, labels=self._labels_of("place", p)) for p in self._places),
            transitions=tuple(
                replace(t, labels=self._labels_of("transition", t)) for t in self._with_resets()
            ),
            entries=tuple(self._entries),
            initial=tuple(self._initial.items()),
            finals=tuple(self._finals),
            resting=tuple(dict.fromkeys(self._resting)),
            contracts=tuple(self._contracts),
            sagas=tuple(self._sagas.values()),
            patterns=tuple(self._patterns),
            requirements=tuple(self._requirements),
            ignored=tuple(self._ignored),
            deliveries=tuple(self._deliveries),
            keys=tuple(self._keys),
        )

    def _labels_of(self, kind: str, node: Place | Transition) -> tuple[Label, ...]:
        """The labels of a place or a transition, each once and in one order."""
        found = {*node.labels, *self._labels.get((kind, node.name), ())}
        return tuple(label for label in Label if label in found)

    def _with_resets(self) -> Iterable[Transition]:
        """The transitions, with cancellation spelled out now that all places are known."""
        stays = self._kept | set(self._resting) | {place for final in self._finals for place, _ in final}
        working = tuple(p.name for p in self._places if p.name not in stays)
        for t in self._transitions:
            yield replace(t, resets=working) if t.name in self._clearing else t

    def expr(
        self, where: str, make: Any, scope: Mapping[str, Type], *, like: Type | None = None
    ) -> Expr | None:
        """Record a lambda, a variable's name or a constant as an expression; collect mistakes, raise none."""
        if make is None:
            return None
        try:
            if isinstance(make, str) and make in scope:
                return Var(make)
            if isinstance(make, str) and isinstance(like, RecordType | UnitType | ListType):
                raise ExprError(f"unknown name {make!r}", hint=did_you_mean(make, scope))
            if isinstance(make, Term | Expr) or not callable(make):
                return normal(lift(make, like=like), scope, like)
            return record(make, scope, like=like)
        except ProvenetError as error:
            self.mistake(error.code or ExprError.code, where, error.message, error.hint)
        except (TypeError, AttributeError, ValueError, LookupError, NameError, ArithmeticError) as error:
            self.mistake(
                ExprError.code,
                where,
                f"the lambda failed: {error}",
                "it runs once, on proxies, when the net is built",
            )
        return None

    def mistake(self, code: str, where: str, message: str, hint: str = "") -> None:
        """Collect a mistake; ``build`` reports it."""
        source = self._caller()
        self._mistakes.append(Mistake(code, f"{source}  {where}" if source else where, message, hint))

    def _arcs(self, arcs: Takes) -> Iterable[tuple[str, str | None, int]]:
        if isinstance(arcs, PlaceRef):
            arcs = (arcs,)
        if isinstance(arcs, Mapping):
            for var, ref in arcs.items():
                yield self._name(ref), var, 1
            return
        names = [self._name(ref) for ref in arcs]
        coloured = {p.name for p in self._places if not isinstance(p.type, UnitType)}
        for name in dict.fromkeys(names):
            count = names.count(name)
            if name not in coloured:
                yield name, None, count
                continue
            # Which token is taken is part of the binding, so each gets a variable, named after its place.
            stem = re.sub(r"\W", "_", name, flags=re.ASCII)
            for i in range(count):
                yield name, f"_{stem}" if count == 1 else f"_{stem}_{i + 1}", 1

    def _puts(self, where: str, puts: Puts, scope: Mapping[str, Type]) -> Iterable[Put]:
        if isinstance(puts, PlaceRef):
            puts = (puts,)
        if not isinstance(puts, Mapping):
            names = [self._name(ref) for ref in puts]
            for name in dict.fromkeys(names):
                yield Put(name, None, names.count(name))
            return
        for ref, make in puts.items():
            like = ref.type if isinstance(ref, PlaceRef) else None
            expr = self.expr(where, make, scope, like=like)
            if expr is not None or make is None:
                yield Put(self._name(ref), expr)

    def _name(self, ref: PlaceRef | str) -> str:
        return ref.name if isinstance(ref, PlaceRef) else ref

    def _scope(self, arcs: Iterable[Take | Read]) -> dict[str, Type]:
        types = {p.name: p.type for p in self._places}
        return {a.var: types[a.place] for a in arcs if a.var is not None and a.place in types}

    def _caller(self) -> str:
        """The line outside this library that is being executed."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads every source file
        while frame is not None:
            if not _is_ours(frame.f_code.co_filename):
                return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            frame = frame.f_back
        return ""


def _where(transition: str) -> str:
    return f'transition "{transition}"'


@lru_cache(maxsize=512)
def _is_ours(filename: str) -> bool:
    path = Path(filename).resolve()
    return _ROOT in path.parents and path.relative_to(_ROOT).parts[0] in _LAYERS
