"""Scatter-gather with a saga: all peers' writes stay, or none, whatever the outside does and when."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from provenet.engine.testing import Bench, Case, Hang, Late, Lost
from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.errors import NetError
from provenet.nets.expr.ast import Build, Const, Get, Var
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.net import Net, Perform, Put, Read, Requirement, Transition
from provenet.nets.patterns.scatter import Peer, ScatterGather, ScatterGatherHandle
from provenet.nets.patterns.slot import Slot
from provenet.nets.requirements import formula
from provenet.nets.schema import BOOL, RecordType
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, EffectRefused, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga
from provenet.verify.check import prove
from provenet.verify.verdict import Status

PROVED_UP_TO = 8
"""Peers that the pattern is for, and up to which everything is proved.

With three, by the state graph; with more, the orders of commits are more states than are looked at, and the
numbers that steps carry, ranks and inequalities prove the same.
"""


class Trip(Token):
    id: str
    nights: int


class Ticket(Token):
    number: str
    good: bool


class Ended(Token):
    trip: str
    why: str


@dataclass(frozen=True)
class Shape:
    """A net with the pattern.

    Attributes:
        peers: How many.
        enough: How many results are enough; 0 for all.
        then: Whether the scope completes with the join, or goes on.
        within: Minutes that a peer has; 0 for any.
        claims: Whether a result may be no success.
        tries: Tries of a compensation.
    """

    peers: int
    enough: int = 0
    then: str = "completes"
    within: int = 10
    claims: bool = True
    tries: int | None = 4

    def build(self) -> tuple[NetBuilder, ScatterGatherHandle]:
        net = NetBuilder("trips")
        asked = net.entry("asked", Trip)
        travels, stays = net.final("travels", Ended), net.final("stays", Ended)
        scope = net.add(Saga("trip", outcome=Ended, completes=travels, aborts=stays))
        booked = net.place("booked", Ended) if self.then == "goes on" else None

        def work(name: str) -> Callable[[Slot], Contract]:
            return lambda at: Contract(
                at.id,
                takes=at.takes,
                gives=at.gives,
                otherwise=at.failed,
                on_failure=at.failed,
                saga=scope,
                verify=within(Trip, lambda t: t.nights <= 30, name="a month v1"),
                commit=Effect(f"{name}.book", _unreached, payload=Trip, receipt=Ticket, tries=None),
                undo=Effect(f"{name}.cancel", _unreached, payload=Ticket, tries=self.tries),
            )

        good = (lambda result: result.good) if self.claims else None
        span = timedelta(minutes=self.within) if self.within else None
        handle = net.add(
            ScatterGather(
                "book",
                takes=asked,
                scope=scope,
                peers=[Peer(n, Ticket, work(n), succeeds=good, within=span) for n in names(self.peers)],
                merge=lambda inputs: make(Ended, trip=inputs.id, why="booked"),
                fails=lambda inputs, why: make(Ended, trip=inputs.id, why=why),
                gives=booked,
                enough=self.enough or None,
            )
        )
        if booked is not None:
            scope.complete(net, "go", takes={"e": booked}, outcome="e")
        scope.kill(net, "stop", outcome=Ended(trip="", why="stopped"))
        return net, handle

    def net(self) -> Net:
        return self.build()[0].build()


def names(peers: int) -> list[str]:
    return [f"p{i}" for i in range(peers)]


def _unreached(request: Request) -> None:
    raise AssertionError("the bench answers")


ANY = within(Trip, lambda t: t.nights <= 30, name="any")
BOOK: dict[str, Any] = {"payload": Trip, "receipt": Ticket, "tries": None}
COMMIT, UNDO = Effect("book", _unreached, **BOOK), Effect("cancel", _unreached, payload=Ticket)


def contract(at: Slot, scope: Any, **more: Any) -> Contract:
    """A peer's part that books, with some of it changed."""
    given: dict[str, Any] = {
        "saga": scope,
        "commit": COMMIT,
        "on_failure": at.failed,
        "otherwise": at.failed,
    }
    return Contract(at.id, takes=at.takes, gives=at.gives, verify=ANY, **given | more)


def refuted(net: Net, kind: str) -> bool:
    """Whether a property of the net is refuted, with a trace that replays."""
    found = [v for v in prove(net, only=[kind]).verdicts if v.status is Status.REFUTED]
    return bool(found) and all(v.trace is None or v.trace.replay(net) for v in found)


# proofs


@pytest.mark.parametrize(
    "peers", [1, 2, 3, *(pytest.param(n, marks=pytest.mark.long) for n in (4, 5, 6, 7)), PROVED_UP_TO]
)
def test_everything_is_proved(peers: int) -> None:
    builder, handle = Shape(peers).build()
    builder.require("SDB", "SAGA", "CTL", "STATE", "DATA")
    report = prove(builder.build())
    assert {v.status for v in report.verdicts} == {Status.PROVED}
    kinds = {"SAGA-1", "SAGA-2", "SAGA-3", "SAGA-4", "precedes", "formula", "mutex", "CTL-4"}
    assert {r.kind for r in handle.guarantees} == kinds
    assert not [v for v in report.verdicts if v.property in kinds and v.vacuous]


@st.composite
def shapes(draw: st.DrawFn, most: int = 3) -> Shape:
    peers = draw(st.integers(1, most))
    enough = draw(st.integers(0, peers - 1))
    return Shape(
        peers,
        enough=enough,
        then=draw(st.sampled_from(["completes", "goes on"])),
        within=draw(st.sampled_from([5, 60 * 24] if enough else [0, 5, 60 * 24])),
        claims=draw(st.booleans()),
        tries=draw(st.sampled_from([2, 3, 20])),
    )


@given(shapes())
@settings(max_examples=12)
def test_every_shape_is_proved(shape: Shape) -> None:
    builder, _ = shape.build()
    builder.require("SDB", "SAGA", "CTL", "STATE", "DATA")
    assert {v.status for v in prove(builder.build()).verdicts} == {Status.PROVED}


@pytest.mark.long
@pytest.mark.parametrize("peers", range(1, PROVED_UP_TO + 1))
@pytest.mark.parametrize("then", ["completes", "goes on"])
@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize("within_", [0, 5])
def test_the_whole_grid_is_proved(peers: int, then: str, claims: bool, within_: int) -> None:
    for enough in range(peers if within_ else 1):
        builder, _ = Shape(peers, enough, then, within_, claims).build()
        builder.require("SDB", "SAGA", "CTL", "STATE", "DATA")
        assert {v.status for v in prove(builder.build()).verdicts} == {Status.PROVED}, enough


def test_steps_of_one_contract_side_by_side_are_told_apart_by_their_numbers() -> None:
    net = NetBuilder("twice")
    asked, end = net.entry("asked", Trip), net.final("end", Ended)
    ready, second, lost = (net.place(name, Trip) for name in ("ready", "second", "lost"))
    done, both = net.place("done", Ticket), net.place("both", Ticket)
    scope = net.add(Saga("trip", outcome=Ended, completes=end, aborts=end))
    net.route("fork", takes={"t": asked}, puts={ready: "t", second: "t"})
    net.route("second too", takes={"t": second}, puts={ready: "t"})
    net.add(contract(Slot("book", ready, done, lost), scope, undo=UNDO))
    net.route("join", takes=[done, done], puts={both: "_done_1"})
    scope.complete(net, "go", takes={"t": both}, outcome=lambda t: make(Ended, trip=t.number, why=""))
    scope.abort(net, "off", takes={"t": lost}, outcome=lambda t: make(Ended, trip=t.id, why=""))
    scope.kill(net, "stop", outcome=Ended(trip="", why="stopped"))
    net.require("SAGA")
    built = net.build()
    assert prove(built).status() is Status.PROVED
    assert refuted(changed(built, "book.unwind", lambda t: replace(t, guard=None)), "SAGA-2")


def test_nothing_is_joined_while_the_scope_aborts() -> None:
    """Else what lies behind the join would go on after an abort."""
    late = formula('AG ("trip.aborting" >= 1 -> AG !fireable("book.join"))')
    net = replace(Shape(2, then="goes on").net(), requirements=(late,))
    assert prove(net).status() is Status.PROVED

    def keeps(t: Transition) -> Transition:
        return replace(t, resets=tuple(p for p in t.resets if not p.startswith("book.")))

    kept = replace(net, transitions=tuple(keeps(t) for t in net.transitions))
    assert refuted(kept, "formula")


@pytest.mark.parametrize("waves", [(2, 2), pytest.param((2, 2, 2, 2), marks=pytest.mark.long)], ids=str)
def test_more_peers_go_in_waves(waves: tuple[int, ...]) -> None:
    net = NetBuilder("trips")
    at, end = net.entry("asked", Trip), net.final("end", Ended)
    scope = net.add(Saga("trip", outcome=Ended, completes=end, aborts=end))
    for n, size in enumerate(waves):
        last = n == len(waves) - 1
        to = None if last else net.place(f"after {n}", Trip)
        peers = [
            Peer(name, Ticket, lambda at: contract(at, scope, undo=UNDO), within=timedelta(minutes=5))
            for name in names(size)
        ]
        net.add(
            ScatterGather(
                f"wave {n}",
                takes=at,
                scope=scope,
                peers=peers,
                merge=(lambda inputs: make(Ended, trip=inputs.id, why=""))
                if last
                else (lambda inputs: inputs),
                fails=lambda inputs, why: make(Ended, trip=inputs.id, why=why),
                gives=to,
            )
        )
        at = to or at
    scope.kill(net, "stop", outcome=Ended(trip="", why="stopped"))
    net.require("SAGA", "CTL", "STATE")
    assert prove(net.build()).status() is Status.PROVED


# mutants


def changed(net: Net, name: str, how: Callable[[Transition], Transition]) -> Net:
    assert net.has_transition(name)
    return replace(net, transitions=tuple(how(t) if t.name == name else t for t in net.transitions))


def no_undo_token(net: Net) -> Net:
    return changed(
        net, "book.p0.commit", lambda t: replace(t, puts=tuple(p for p in t.puts if "undo" not in p.place))
    )


def any_order(net: Net) -> Net:
    def loose(t: Transition) -> Transition:
        return replace(t, guard=None)

    return changed(changed(net, "book.p0.unwind", loose), "book.p1.unwind", loose)


def undo_of_what_failed(net: Net) -> Net:
    """The failed effect leaves an undo token, as if it had happened."""
    undo, ticket = net.place("book.p0.undo").type, net.place("book.p0.done").type
    assert isinstance(undo, RecordType)
    assert isinstance(ticket, RecordType)
    none = Build(ticket, (Const("", ticket.fields[0].type), Const(False, BOOL)))
    token = Build(undo, (Get(Var("v"), "seq"), Get(Var("v"), "proposal"), none))

    def leaves(t: Transition) -> Transition:
        puts = (Put("book.p0.undo", token) if p.place == "trip.void" else p for p in t.puts)
        return replace(t, puts=tuple(puts))

    return changed(net, "book.p0.fail", leaves)


def tried_for_ever(net: Net) -> Net:
    def ever(t: Transition) -> Transition:
        assert isinstance(t.trigger, Perform)
        return replace(t, trigger=replace(t.trigger, tries=None))

    return changed(net, "book.p0.compensate", ever)


def given_up_at_once(net: Net) -> Net:
    def once(t: Transition) -> Transition:
        assert isinstance(t.trigger, Perform)
        return replace(t, trigger=replace(t.trigger, tries=1))

    return changed(net, "book.p0.compensate", once)


def one_is_enough(net: Net) -> Net:
    return changed(
        net,
        "book.join",
        lambda t: replace(t, takes=tuple(a for a in t.takes if a.place != "book.p0.result")),
    )


def scattered_again(net: Net) -> Net:
    again = Put("book.p0.todo", Var("inputs"))
    return changed(
        net,
        "book.p1.collect",
        lambda t: replace(t, reads=(Read("book.task", "inputs"),), puts=(*t.puts, again), takes=t.takes),
    )


def ready_stays(net: Net) -> Net:
    return changed(
        net,
        "book.scatter",
        lambda t: replace(
            t,
            takes=tuple(a for a in t.takes if a.place != "book.ready"),
            reads=(Read("book.ready"),),
        ),
    )


def failure_is_forgotten(net: Net) -> Net:
    """The failed peer's task goes nowhere: nothing aborts the scope but its deadline and the switch."""
    gone = {"book.p0.failed", "book.p0.late", "book.p1.failed", "book.p1.late"}
    return replace(net, transitions=tuple(t for t in net.transitions if t.name not in gone), patterns=())


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (no_undo_token, "SAGA-1"),
        (any_order, "SAGA-2"),
        (undo_of_what_failed, "SAGA-3"),
        (tried_for_ever, "SAGA-4"),
        (given_up_at_once, "SAGA-4"),
        (failure_is_forgotten, "SAGA-4"),
        (failure_is_forgotten, "formula"),
        (one_is_enough, "precedes"),
        (scattered_again, "CTL-4"),
        (ready_stays, "mutex"),
    ],
)
def test_each_guarantee_is_refuted_where_it_is_broken(break_it: Callable[[Net], Net], kind: str) -> None:
    builder, handle = Shape(2).build()
    net = replace(builder.build(), requirements=handle.guarantees)
    assert kind in {r.kind for r in handle.guarantees}
    assert not refuted(net, kind)
    assert refuted(break_it(net), kind)


def test_who_is_left_out_has_written_nothing() -> None:
    builder, handle = Shape(2, enough=1).build()
    net = replace(builder.build(), requirements=handle.guarantees)
    told = Put("book.p0.failed", Get(Var("v"), "inputs"))
    mutant = changed(net, "book.p0.commit", lambda t: replace(t, puts=(*t.puts, told)))
    assert refuted(mutant, "mutex")
    assert not refuted(net, "mutex")


# runs


class Services:
    """What the peers' services do, told by one seed: they honour their keys, and are as bad as services are.

    Attributes:
        ledger: What was done, in order: (case, peer, "book" or "cancel", ticket).
        doubtful: Cases with a ticket that its service calls no success.
    """

    def __init__(self, bench: Bench, peers: int, seed: int, calm: float) -> None:
        self.rng, self.calm = random.Random(seed), calm
        self.ledger: list[tuple[str, str, str, str]] = []
        self.doubtful: set[str] = set()
        for name in names(peers):
            bench.effect(f"{name}.book").always(self._weather(name, self._book, EffectRefused("no room")))
            bench.effect(f"{name}.cancel").always(self._weather(name, self._cancel, OSError("not now")))

    def _weather(
        self, name: str, do: Callable[[str, Request], Any], no: Exception
    ) -> Callable[[Request], Any]:
        def called(request: Request) -> Any:
            if self.rng.random() < self.calm:
                return do(name, request)
            match self.rng.randrange(5):
                case 0:
                    return no
                case 1:
                    return ConnectionError("away")
                case 2:
                    return Lost(do(name, request))
                case 3:
                    return Late(lambda again: do(name, again), timedelta(seconds=20))
                case _:
                    return Hang()

        return called

    def _book(self, name: str, request: Request) -> Ticket:
        ticket = Ticket(number=f"{name}-{len(self.ledger)}", good=self.rng.random() < 0.5 + self.calm / 2)
        self.ledger.append((request.case, name, "book", ticket.number))
        if not ticket.good:
            self.doubtful.add(request.case)
        return ticket

    def _cancel(self, name: str, request: Request) -> None:
        self.ledger.append((request.case, name, "cancel", request.payload.number))

    def judge(self, shape: Shape, case: Case) -> None:
        """Hold the ledger against how a case ended."""
        mine = [entry[1:] for entry in self.ledger if entry[0] == case.id]
        tickets = {name: number for name, what, number in mine if what == "book"}
        cancelled = [(name, number) for name, what, number in mine if what == "cancel"]
        assert len(tickets) == len(mine) - len(cancelled), "a peer has booked twice"
        if case.detail.case.outcome_place == "travels":
            assert cancelled == []
            assert len(tickets) >= (shape.enough or shape.peers)
            assert not (shape.claims and case.id in self.doubtful)
        else:
            begun = [t.split(".")[1] for t in case.fired if t.endswith(".intent")]
            assert cancelled == [(name, tickets[name]) for name in reversed(begun) if name in tickets]


def unproved(builder: NetBuilder) -> Agent:
    """An agent whose deploy needs no proof that the checker cannot give at its size."""
    agent = Agent.of(builder)
    return replace(agent, net=replace(agent.net, requirements=(Requirement("DATA-2"),)))


def run_to_the_end(bench: Bench, cases: list[Case]) -> None:
    """Until all cases are over; one that is parked with a compensation is resumed by a person."""
    bench.run()
    for _ in range(200):
        parked = [case for case in cases if case.status == "parked"]
        for case in parked:
            assert "compensate" in (case.detail.case.reason or "")
            case.resume()
        if not parked:
            return
        bench.run()
    raise AssertionError(bench.story())


@given(
    shape=shapes(PROVED_UP_TO),
    seed=st.integers(0, 10**6),
    calm=st.sampled_from([1.0, 0.95, 0.6]),
    kill=st.integers(0, 60),
    crash=st.sampled_from(["", "before-commit", "after-intent"]),
)
@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
def test_all_writes_stay_or_none(shape: Shape, seed: int, calm: float, kill: int, crash: str) -> None:
    with Bench(unproved(shape.build()[0])) as bench:
        services = Services(bench, shape.peers, seed, calm)
        if crash:
            bench.crash_at(crash, nth=1 + seed % 3)
        cases = [bench.start(Trip(id=f"t-{n}", nights=3)) for n in range(5)]
        bench.advance(timedelta(seconds=kill))
        for case in cases[3:]:
            if case.status not in ("done", "killed"):
                case.kill(who="ops@on_call", reason="enough")
        run_to_the_end(bench, cases)
        for case in cases:
            services.judge(shape, case)


@pytest.mark.parametrize("point", ["before-commit", "after-intent", "after-effect"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_crash_at_any_point_leaves_the_ledger_exact(point: str, nth: int) -> None:
    """The third peer is refused, so the others' writes are undone; the net is deployed as it was proved."""
    with Bench(proved_net()) as bench:
        services = Services(bench, 3, nth, 1.0)
        bench.effect("p2.book").always(Late(EffectRefused("no room"), timedelta(seconds=9)))
        bench.crash_at(point, nth=nth)
        case = bench.start(Trip(id="t", nights=3))
        bench.run()
        assert case.outcome == Ended(trip="t", why="p2: failed")
        assert [entry[1:3] for entry in services.ledger[2:]] == [("p1", "cancel"), ("p0", "cancel")]
        services.judge(Shape(3), case)


def proved_net() -> Agent:
    return Agent.of(Shape(3).build()[0])


@pytest.mark.antipattern(
    "AP1", "detected at run time: a success that is none, by an expression over the result"
)
def test_a_model_that_calls_a_failure_a_success_is_not_believed() -> None:
    with Bench(proved_net()) as bench:
        services = Services(bench, 3, 1, 1.0)
        bench.effect("p1.book").always(Ticket(number="waiting list", good=False))
        case = bench.start(Trip(id="t", nights=3))
        bench.run()
        assert case.outcome == Ended(trip="t", why="p1: no success")
        assert {entry[:3] for entry in services.ledger} >= {
            (case.id, "p0", "cancel"),
            (case.id, "p2", "cancel"),
        }
        case.assert_performed("p1.cancel", times=1)


def test_a_peer_that_is_late_ends_the_scope_which_waits_for_it() -> None:
    with Bench(proved_net()) as bench:
        services = Services(bench, 3, 1, 1.0)
        bench.effect("p1.book").answers(*[ConnectionError("away")] * 12)
        case = bench.start(Trip(id="t", nights=3))
        bench.advance(minutes=11)
        assert case.status == "running"
        case.assert_performed("p2.cancel", times=1)  # what began after the late one is undone by now,
        case.assert_performed("p0.cancel", times=0)  # and what began before it waits for what becomes of it
        bench.run()
        assert case.outcome == Ended(trip="t", why="p1: late")
        services.judge(Shape(3), case)


def test_a_compensation_that_keeps_failing_is_a_persons_and_goes_on_with_its_key() -> None:
    with Bench(proved_net()) as bench:
        services = Services(bench, 3, 1, 1.0)
        bench.effect("p2.book").always(Late(EffectRefused("no room"), timedelta(seconds=9)))
        bench.effect("p1.cancel").answers(*[OSError("not now")] * 4)
        case = bench.start(Trip(id="t", nights=3))
        case.run_until("parked")
        assert len(bench.effect("p1.cancel").calls) == 4
        case.assert_performed("p0.cancel", times=0)
        case.resume()
        bench.run()
        assert len({call.key for call in bench.effect("p1.cancel").calls}) == 1
        services.judge(Shape(3), case)


def test_who_failed_is_left_out_where_the_rest_is_enough() -> None:
    shape = Shape(3, enough=2)
    with Bench(shape.build()[0]) as bench:
        services = Services(bench, 3, 1, 1.0)
        bench.effect("p1.book").always(EffectRefused("no room"))
        bench.effect("p2.book").answers(EffectRefused("no room"), case="b")
        enough, too_few = (
            bench.start(Trip(id="a", nights=3)),
            bench.start(Trip(id="b", nights=3), case_id="b"),
        )
        bench.run()
        enough.assert_ended("travels")
        assert too_few.outcome == Ended(trip="b", why="too few succeeded")
        for case in (enough, too_few):
            services.judge(shape, case)


# mistakes


def mistakes(peer: Callable[[NetBuilder, PlaceRef, Any], Peer], **more: Any) -> str:
    net = NetBuilder("trips")
    asked, end = net.entry("asked", Trip), net.final("end", Ended)
    scope = net.add(Saga("trip", outcome=Ended, completes=end, aborts=end))
    given: dict[str, Any] = {
        "merge": lambda inputs: make(Ended, trip=inputs.id, why=""),
        "fails": lambda inputs, why: make(Ended, trip=inputs.id, why=why),
    }
    net.add(ScatterGather("book", takes=asked, scope=scope, peers=[peer(net, end, scope)], **given, **more))
    with pytest.raises(NetError) as caught:
        net.build()
    return str(caught.value)


@pytest.mark.parametrize(
    ("code", "said", "more"),
    [
        ("PN133", "neither an undo nor a person's approval", {"undo": None, "irreversible": True}),
        ("PN133", "writes outside scope 'trip'", {"undo": None, "saga": None}),
        ("PN133", "fails for good", {"undo": UNDO, "on_failure": None}),
        (
            "PN133",
            "counts as failed after 3 tries",
            {"undo": UNDO, "commit": Effect("book", _unreached, **BOOK | {"tries": 3})},
        ),
    ],
)
def test_a_peer_that_could_leave_something_behind_is_refused(
    code: str, said: str, more: dict[str, Any]
) -> None:
    text = mistakes(lambda net, end, scope: Peer("p", Ticket, lambda at: contract(at, scope, **more)))
    assert code in text
    assert said in text


def test_what_makes_no_sense_is_refused() -> None:
    def peer(name: str, within_: timedelta | None = None) -> Callable[[NetBuilder, PlaceRef, Any], Peer]:
        return lambda net, end, scope: Peer(
            name, Ticket, lambda at: contract(at, scope, undo=UNDO), within=within_
        )

    assert "PN132" in mistakes(peer("two words"))
    assert "a peer is named 'inputs'" in mistakes(peer("inputs"))
    assert "enough is 1, of 1 peers" in mistakes(peer("p"), enough=1)
    assert "this one has no deadline" in mistakes(peer("p"), enough=1)
    assert "its deadline is over at once" in mistakes(peer("p", timedelta(0)))


@dataclass(frozen=True)
class Asked:
    """A person approves what then cannot be undone."""

    at: Slot
    scope: Any

    def expand(self, net: NetBuilder) -> None:
        agreed = net.place(f"{self.at.id}.agreed", Trip)
        net.add(
            Human(
                f"{self.at.id}.agree",
                takes=self.at.takes,
                approve=agreed,
                deny=self.at.failed,
                who="lead",
                within=timedelta(days=1),
            )
        )
        net.add(replace(contract(self.at, self.scope, irreversible=True), takes=agreed))


def test_what_cannot_be_undone_needs_a_person_and_the_proof_says_so() -> None:
    net = NetBuilder("trips")
    asked, end = net.entry("asked", Trip), net.final("end", Ended)
    scope = net.add(Saga("trip", outcome=Ended, completes=end, aborts=end))
    handle = net.add(
        ScatterGather(
            "book",
            takes=asked,
            scope=scope,
            peers=[Peer("p", Ticket, lambda at: Asked(at, scope))],
            merge=lambda inputs: make(Ended, trip=inputs.id, why=""),
            fails=lambda inputs, why: make(Ended, trip=inputs.id, why=why),
        )
    )
    assert Requirement("CTL-1") in handle.guarantees
    built = net.build()
    assert prove(built, only=["CTL-1", "STATE-1", "CTL-3"]).status() is Status.PROVED
    silent = changed(
        built, "book.p.agree.timeout", lambda t: replace(t, puts=(Put("book.p.agreed", Var("inputs")),))
    )
    assert refuted(silent, "CTL-1")
