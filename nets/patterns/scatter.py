"""Scatter-gather with a saga: peers that write outside work side by side, and stand or fall together.

::

               ┌─▶ (todo) ─ a peer's part ─▶ (done) ─[collect]─▶ (result) ──────────┐
    takes ─[scatter]                  │         └──[doubt]───────▶ the scope aborts ├─[join]─▶ gives, or the
               │                      └─▶ (failed) ─[failed]─────▶ the scope aborts │     scope's outcome
               │   (clock) ────────────────[late]────────────────▶ the scope aborts │
               ├─▶ the other peers ...                                            ──┤
               └─▶ (task) ─────────────────────────────────────────────────────────┘

Each peer is a contract of one saga scope: it commits by itself, and leaves what undoes it. When all of them
have succeeded, their results are joined. When one has failed, is late, or has a result that is no success,
the scope aborts: no commit begins any more, those in flight are waited for, and whatever was committed is
undone in the strict reverse of the order in which commits began. That a peer succeeded is a model's claim,
so ``succeeds`` is an expression over its result.

An effect of a peer has failed only where its service says so (``EffectRefused``). Any number of tries
without an answer says nothing of whether it has happened, so an effect that gives up after some is refused
here. It is tried for as long as it takes; the peer's deadline aborts the scope, which then waits for it.

Where some of the results are ``enough``, a peer that failed is left out, since what has failed has written
nothing. One that is late, or that has written what is no success, still aborts the scope: no single step
can be taken out of the middle of a saga.

The lineage is the saga (Garcia-Molina & Salem, SIGMOD 1987), run by a scatter-gather router (Hohpe & Woolf,
"Enterprise Integration Patterns", 2003).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.expr.ast import Const
from provenet.nets.expr.build import Term, choose
from provenet.nets.models import schema_of
from provenet.nets.net import After, Choice, ContractInfo, OnFailure, PatternInfo, Perform, Requirement, Role
from provenet.nets.patterns.slot import Filled, Scope, Slot, Work, fill
from provenet.nets.quick import dataclass
from provenet.nets.requirements import cap, formula, mutex, precedes
from provenet.nets.schema import DURATION, OptionalType


@dataclass(frozen=True, slots=True)
class Peer:
    """One of those who work side by side.

    Attributes:
        name: Its name: a Python identifier, by which the merge speaks of its result.
        gives: Token model of its result.
        work: Makes its part, with its effect and what undoes it in the pattern's scope; see ``Slot``.
        succeeds: Lambda over ``result`` and ``inputs``: whether the result is a success; any is, without.
        within: Its deadline; with ``enough``, each peer has one.
    """

    name: str
    gives: Any
    work: Work
    succeeds: Callable[..., Any] | None = None
    within: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ScatterGather:
    """Peers with effects in one saga scope, and a join of their results.

    Attributes:
        id: Name of the pattern's part of the net.
        takes: Where the task comes from; a scope is scattered in once.
        scope: The saga scope that the peers commit in.
        peers: Who works.
        merge: Lambda over ``inputs``, the task, and the results by the peers' names; with ``enough``, a
            result may be null.
        fails: Lambda over ``inputs`` and ``why``, a text: the outcome of the scope when it aborts.
        gives: Where the joined result goes, while the scope stays open; without it the scope completes, with
            the joined result as its outcome.
        enough: How many results are enough; all of them, without.
    """

    id: str
    takes: PlaceRef
    scope: Scope
    peers: Sequence[Peer]
    merge: Callable[..., Any]
    fails: Callable[..., Any]
    gives: PlaceRef | None = None
    enough: int | None = None

    def expand(self, net: NetBuilder) -> ScatterGatherHandle:
        """Add the pattern to a net."""
        return _Expansion(self, net).run()


@dataclass(frozen=True, slots=True)
class ScatterGatherHandle:
    """A scatter-gather in a net.

    Attributes:
        ready: Marked until the task is scattered.
        results: Where each peer's result waits for the others, by the peer's name.
        guarantees: What is to be proved of it wherever it stands; the net requires it.
    """

    ready: PlaceRef
    results: Mapping[str, PlaceRef]
    guarantees: tuple[Requirement, ...]


class _Expansion:
    """One expansion; holds the places while the fragment is built."""

    def __init__(self, pattern: ScatterGather, net: NetBuilder) -> None:
        self.p, self.net, self.id = pattern, net, pattern.id
        self.ready = net.place(f"{self.id}.ready", initial=[()])
        net.rests(self.ready)
        self.task = net.place(f"{self.id}.task", pattern.takes.type)
        self.peers = [_Placed(self, peer) for peer in pattern.peers]

    def run(self) -> ScatterGatherHandle:
        p, net = self.p, self.net
        self._check()
        puts: dict[PlaceRef, Any] = {self.task: "inputs"}
        for peer in self.peers:
            puts |= {peer.slot.takes: "inputs"} | dict.fromkeys(peer.clock)
        net.route(f"{self.id}.scatter", takes={"inputs": p.takes, "_ready": self.ready}, puts=puts)
        for peer in self.peers:
            peer.fill()
            peer.ends()
        self._join()
        guarantees = tuple(self._guarantees())
        net.require(*guarantees)
        net.declare(
            PatternInfo(
                "scatter-gather",
                self.id,
                parts=(
                    ("peer", tuple(peer.id for peer in self.peers)),
                    ("contract", tuple(c.id for peer in self.peers for c in peer.writing)),
                    ("scatter", (f"{self.id}.scatter",)),
                    ("join", (f"{self.id}.join",)),
                    ("late", tuple(f"{peer.id}.late" for peer in self.peers if peer.clock)),
                    ("scope", (p.scope.id,)),
                ),
                figures=(("peers", len(self.peers)), ("enough", p.enough or len(self.peers))),
            )
        )
        return ScatterGatherHandle(self.ready, {peer.of.name: peer.result for peer in self.peers}, guarantees)

    def aborts(self, name: str, takes: Mapping[str, PlaceRef], why: str, *, when: Any = None) -> Any:
        """End the scope, with what the author says of it."""
        fails = self.p.fails
        outcome = fails if not callable(fails) else lambda inputs: _called(fails, inputs=inputs, why=why)
        return self.p.scope.abort(self.net, name, takes=takes, outcome=outcome, when=when)

    def _join(self) -> None:
        """The end of the gathering: with a result of each peer, or with enough of them."""
        p, net, name = self.p, self.net, f"{self.id}.join"
        results = {peer.of.name: peer.result for peer in self.peers}
        takes = {"inputs": self.task, **results}
        enough = too_few = None
        if p.enough is not None:
            # Lambdas whose parameters are the peers' names, however many there are.
            enough = _over(results, lambda *found: _known(found) >= p.enough)
            too_few = _over(results, lambda *found: _known(found) < p.enough)
        # The task is emptied where the scope aborts, so nothing is joined from then on.
        if p.gives is None:
            p.scope.complete(net, name, takes=takes, outcome=p.merge, when=enough)
        else:
            net.route(name, takes=takes, when=enough, puts={p.gives: p.merge})
        if too_few is None:
            return
        if p.gives is not None:
            # Whether there are enough is one choice, over the same tokens.
            few = net.place(f"{self.id}.few", p.takes.type)
            net.route(f"{self.id}.count", takes=takes, when=too_few, puts={few: "inputs"})
            takes, too_few = {"inputs": few}, None
        self.aborts(f"{self.id}.too few", takes, "too few succeeded", when=too_few)

    def _guarantees(self) -> Iterator[Requirement]:
        """What is required of the pattern, in the catalogue's terms."""
        name = self.id
        for n in (1, 2, 3, 4):
            yield Requirement(f"SAGA-{n}")
        yield mutex(self.ready.name, self.task.name, name=f"{name}: a task is scattered once")
        for peer in self.peers:
            for info in peer.writing:
                yield cap(info.id, most=1, name=f"{name}: {peer.of.name} commits once at most")
            # Of several contracts of a peer, a run may need one; a gate's or a proposer's is none of them.
            only = peer.writing or peer.contracts
            if self.p.enough is None and len(only) == 1:
                alone = f"{name}: nothing is joined before {peer.of.name} has committed"
                yield precedes(only[0].id, f"{name}.join", name=alone)
            if self.p.enough is not None:
                for undo in peer.undo_places:
                    left = f"{name}: who is left out has written nothing ({peer.of.name})"
                    yield mutex(peer.slot.failed.name, undo, name=left)
        stays = f'AG ("{self.task.name}" -> AF !"{self.task.name}")'
        yield formula(stays, name=f"{name}: no task stays for ever, whatever its peers do")
        if any(info.irreversible for peer in self.peers for info in peer.writing):
            yield Requirement("CTL-1")

    def _check(self) -> None:
        net, p, where = self.net, self.p, f"scatter-gather {self.id!r}"
        names = [peer.name for peer in p.peers]
        if not names or len(set(names)) < len(names):
            net.mistake("PN132", where, "its peers need names of their own", "name each peer once")
        for name in names:
            if not name.isidentifier() or name.startswith("_") or name in {"inputs", "scope"}:
                hint = "a Python identifier, not 'inputs' or 'scope'"
                net.mistake("PN132", where, f"a peer is named {name!r}", hint)
        if p.enough is not None and not 1 <= p.enough < len(names):
            hint = f"give a number from 1 to {len(names) - 1}, or leave it out where all have to succeed"
            net.mistake("PN132", where, f"enough is {p.enough}, of {len(names)} peers", hint)
        for peer in p.peers:
            wrong = ""
            if peer.within is not None and peer.within <= timedelta(0):
                wrong = "its deadline is over at once"
            elif peer.within is None and p.enough is not None:
                wrong = "enough= waits for every peer, and this one has no deadline"
            if wrong:
                net.mistake("PN132", f"{where}, peer {peer.name!r}", wrong, "within=timedelta(minutes=5)")


class _Placed:
    """A peer in the net."""

    def __init__(self, whole: _Expansion, of: Peer) -> None:
        net, self.whole, self.of = whole.net, whole, of
        self.id = f"{whole.id}.{of.name}"
        gives, task = schema_of(of.gives), whole.p.takes.type
        self.slot = Slot(
            id=self.id,
            takes=net.place(f"{self.id}.todo", task),
            gives=net.place(f"{self.id}.done", gives),
            failed=net.place(f"{self.id}.failed", task),
        )
        self.clock = () if of.within is None else (net.place(f"{self.id}.clock"),)
        wide = whole.p.enough is not None and not isinstance(gives, OptionalType)
        self.result = net.place(f"{self.id}.result", OptionalType(gives) if wide else gives)
        self.contracts: tuple[ContractInfo, ...] = ()
        self.writing: tuple[ContractInfo, ...] = ()
        self.undo_places: tuple[str, ...] = ()

    def fill(self) -> None:
        """Build its part, and hold it to what a peer may do."""
        added = fill(self.whole.net, self.slot, self.of.work)
        self.contracts = added.contracts
        writes = [t.contract for t in added.effects if t.role is Role.COMMIT]
        self.writing = tuple(c for c in added.contracts if c.id in writes)
        scope = self.whole.net.saga(self.whole.p.scope.id)
        self.undo_places = tuple(
            arc.place
            for t in added.transitions
            if t.role is Role.UNWIND and t.contract in {c.id for c in self.writing}
            for arc in t.takes
            if arc.place != scope.aborting
        )
        self._check(added)

    def ends(self) -> None:
        """The ends of its work: a result, or what ends the scope."""
        whole, net, slot, of = self.whole, self.whole.net, self.slot, self.of
        clock = dict(zip(("_clock",), self.clock, strict=False))
        result: dict[str, Any] = {"takes": {"result": slot.gives, **clock}}
        good = of.succeeds
        if good is None:
            net.route(f"{self.id}.collect", puts={self.result: "result"}, **result)
        else:
            bad = net.place(f"{self.id}.no success", slot.takes.type)
            result["reads"] = {"inputs": whole.task}
            net.route(
                f"{self.id}.collect", when=_told(good, wanted=True), puts={self.result: "result"}, **result
            )
            net.route(f"{self.id}.doubt", when=_told(good, wanted=False), puts={bad: "inputs"}, **result)
            whole.aborts(f"{self.id}.is no success", {"inputs": bad}, f"{of.name}: no success")
        if whole.p.enough is None:
            whole.aborts(f"{self.id}.failed", {"inputs": slot.failed}, f"{of.name}: failed")
        else:
            takes = {"_failed": slot.failed, **clock}
            net.route(f"{self.id}.left out", takes=takes, puts={self.result: lambda: None})
        if of.within is not None:
            made = whole.aborts(f"{self.id}.late", {**clock, "inputs": whole.task}, f"{of.name}: late")
            net.amend(made, trigger=After(Const(of.within, DURATION)))

    def _check(self, added: Filled) -> None:
        net, scope = self.whole.net, self.whole.p.scope
        where = f"scatter-gather {self.whole.id!r}, peer {self.of.name!r}"
        known = {c.id: c for c in added.contracts}
        noticed = {t.trigger.of for t in added.transitions if isinstance(t.trigger, OnFailure)}
        for t in added.transitions:
            if not isinstance(t.trigger, Perform) or t.role is Role.COMPENSATE:
                continue
            info = known.get(t.contract) if t.role is Role.COMMIT else None
            if info is None or info.saga != scope.id:
                net.mistake(
                    "PN133",
                    where,
                    f"{t.name!r} writes outside scope {scope.id!r}, and nothing would take it back",
                    "make it the commit of a contract with saga=, the pattern's scope, and undo=",
                )
            elif not info.undo and not (info.irreversible and self._approved(added)):
                net.mistake(
                    "PN133",
                    where,
                    f"contract {info.id!r} has neither an undo nor a person's approval before it",
                    "undo=Effect(...); or irreversible=True, behind a Human that approves its proposal",
                )
            elif t.name not in noticed:
                net.mistake(
                    "PN133",
                    where,
                    f"contract {info.id!r} does not say what becomes of an effect that fails for good",
                    "on_failure=at.failed, or the other peers' writes would stay while it is parked",
                )
            elif t.trigger.tries is not None:
                net.mistake(
                    "PN133",
                    where,
                    f"effect {t.trigger.handler!r} counts as failed after {t.trigger.tries} tries, and may "
                    "have been performed: nothing would undo it",
                    "Effect(..., tries=None): only EffectRefused says that it has not happened",
                )

    def _approved(self, added: Filled) -> bool:
        """Whether a person approves anything before it; CTL-1 proves that it is this very proposal."""
        return any(
            t.role is Role.APPROVE and isinstance(t.trigger, Choice)
            for t in (*self.whole.net.so_far().transitions, *added.transitions)
        )


def _known(results: Sequence[Term]) -> Any:
    """How many results there are."""
    count: Any = 0
    for result in results:
        count = choose(result.is_null(), 0, 1) + count
    return count


def _told(good: Callable[..., Any], *, wanted: bool) -> Callable[..., Any]:
    """Whether a result is a success, or is none."""

    def judged(result: Term, inputs: Term) -> Any:
        found = _called(good, result=result, inputs=inputs)
        return found if wanted else ~found

    return judged


def _over(names: Mapping[str, Any], condition: Callable[..., Any]) -> Callable[..., Any]:
    """A condition as a lambda whose parameters have these names."""

    def made(**given: Any) -> Any:
        return condition(*given.values())

    kind = inspect.Parameter.KEYWORD_ONLY
    made.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    return made


def _called(make: Callable[..., Any], **given: Any) -> Any:
    """What a lambda says that names some of these, or all."""
    return make(**{name: given[name] for name in inspect.signature(make).parameters if name in given})
