"""P5, the shared state machine: proved over its range, a mutant for each guarantee, runs with overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.engine.testing import Bench, Late, Lost
from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError
from provenet.nets.expr.ast import And, Arith, Build, Compare, Const, Expr, Get, Var
from provenet.nets.net import Net, Put, Transition
from provenet.nets.patterns.machine import Move, Overtaken, StateMachine, Worker
from provenet.nets.schema import INT
from provenet.sdb.handlers import EffectRefused
from provenet.sdb.reject import Reject
from provenet.verify.abstraction import control_fields
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.verdict import Status
from tests.nets.patterns.machines import DAY, Job, Offer, Renewal, Step, adding, machine, renewal, sending

OVERTAKEN: tuple[Overtaken, ...] = ("finishes", "is withdrawn")
STATES, WORKERS, CONFLICTS = range(2, 9), range(1, 5), range(6)

ANY_SIZE = ("SDB", "DATA-3", "mutex", "always", "EVT-1", "STATE-2", "STATE-4")

MOST_BY_STATES = 2
"""Workers up to which STATE-1 and STATE-3 are proved here: they look at the states, 200,000 at most."""


def unproved(net: Net, *only: str) -> list[tuple[str, str, str]]:
    """What of these is not proved."""
    report = prove(net, only=only)
    assert report.verdicts
    return [(v.property, v.status.value, v.reason) for v in report.verdicts if v.status is not Status.PROVED]


# the whole range


@settings(max_examples=5)
@given(
    states=st.sampled_from(STATES),
    workers=st.sampled_from(WORKERS),
    conflicts=st.sampled_from(CONFLICTS),
    overtaken=st.sampled_from(OVERTAKEN),
)
def test_what_needs_no_states_is_proved_at_any_size(
    states: int, workers: int, conflicts: int, overtaken: Overtaken
) -> None:
    assert unproved(machine(states, workers, conflicts, overtaken=overtaken).build(), *ANY_SIZE) == []


@pytest.mark.parametrize(("states", "workers", "conflicts"), [(2, 1, 0), (4, 1, 1)])
def test_everything_is_proved_of_a_worker(states: int, workers: int, conflicts: int) -> None:
    net = machine(states, workers, conflicts).build()
    report = prove(net)
    assert [(v.property, v.reason) for v in report.unproved()] == []
    assert {r.name for r in net.requirements if r.name} <= {v.title for v in report.verdicts}
    assert recheck(net, report) == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_renewal_is_proved() -> None:
    assert [(v.property, v.reason) for v in prove(renewal().build(), timeout=300).unproved()] == []


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_everything_is_proved_over_the_whole_grid() -> None:
    for states in STATES:
        for workers in WORKERS:
            for conflicts in CONFLICTS:
                by_states = ("STATE-1", "STATE-3") if workers <= MOST_BY_STATES else ()
                net = machine(states, workers, conflicts).build()
                assert unproved(net, *ANY_SIZE, *by_states) == [], (states, workers, conflicts)


def test_the_state_graph_keeps_the_tries_and_no_versions() -> None:
    kept = {path for _, path in control_fields(machine(3, 1, 2).build())}
    assert kept == {("left",), ("attempt",)}


# mutants


def changed(net: Net, name: str, change: Callable[[Transition], Transition]) -> Net:
    """The net with one transition changed."""
    assert net.has_transition(name)
    return replace(net, transitions=tuple(change(t) if t.name == name else t for t in net.transitions))


def without(guard: Expr | None, part: Expr) -> Expr | None:
    """A conjunction without one of its parts."""
    assert isinstance(guard, And)
    assert part in guard.parts
    rest = tuple(p for p in guard.parts if p != part)
    return rest[0] if len(rest) == 1 else And(rest)


FRESH = Compare("==", Get(Var("row"), "version"), Get(Var("ticket"), "version"))


def a_swap_without_the_version(net: Net) -> Net:
    return changed(net, "job.w1 s1", lambda t: replace(t, guard=without(t.guard, FRESH)))


def a_failing_that_moves_a_newer_row(net: Net) -> Net:
    return changed(net, "job.w1 lost", lambda t: replace(t, guard=None))


def a_move_that_keeps_the_version(net: Net) -> Net:
    def keeps(t: Transition) -> Transition:
        def put(p: Put) -> Put:
            if not isinstance(p.expr, Build) or p.place != "job.s2":
                return p
            return replace(p, expr=Build(p.expr.type, (Get(Var("row"), "version"), *p.expr.parts[1:])))

        return replace(t, puts=tuple(put(p) for p in t.puts))

    return changed(net, "job.w1 s1", keeps)


def a_move_to_elsewhere(net: Net) -> Net:
    def elsewhere(t: Transition) -> Transition:
        return replace(
            t,
            puts=tuple(
                replace(p, place="job.unopened", expr=None) if p.place == "job.end" else p for p in t.puts
            ),
        )

    return changed(net, "job.on", elsewhere)


def two_rows(net: Net) -> Net:
    def keeps(t: Transition) -> Transition:
        return replace(t, puts=(*t.puts, Put("job.s1", Var("row"))))

    return changed(net, "job.too long at s1", keeps)


def a_refusal_that_costs_more_tries_than_there_are(net: Net) -> Net:
    def costs(t: Transition) -> Transition:
        def put(p: Put) -> Put:
            if p.place != "job.w1.ticket" or not isinstance(p.expr, Build):
                return p
            version, left = p.expr.parts
            assert isinstance(left, Arith)
            return replace(p, expr=Build(p.expr.type, (version, Arith("-", left, Const(4, INT)))))

        return replace(t, puts=tuple(put(p) for p in t.puts))

    return changed(net, "job.w1.refused", costs)


def two_snapshots(net: Net) -> Net:
    return changed(net, "job.w1.look", lambda t: replace(t, puts=(*t.puts, Put("job.w1.idle"))))


MUTANTS: Mapping[Callable[[Net], Net], str] = {
    a_swap_without_the_version: "DATA-3",
    a_failing_that_moves_a_newer_row: "DATA-3",
    a_move_that_keeps_the_version: "always",
    a_move_to_elsewhere: "STATE-4",
    two_rows: "STATE-4",
    a_refusal_that_costs_more_tries_than_there_are: "always",
    two_snapshots: "mutex",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda m: m.__name__)
def test_a_mutant_is_refuted(mutate: Callable[[Net], Net]) -> None:
    net = machine(3, 1, 1).build()
    kind = MUTANTS[mutate]
    assert unproved(net, kind) == []
    found = prove(mutate(net), only=[kind], timeout=500).verdicts
    assert Status.REFUTED in {v.status for v in found}, [(v.property, v.status, v.reason) for v in found]


def test_a_timer_has_no_clock_but_the_rows_own_token() -> None:
    net = machine(4, 2, 2).build()
    timers = net.patterns[0].part("timer")
    assert timers
    for name in timers:
        taken = [a.place for a in net.transition(name).takes]
        assert len(taken) == 1, name
        assert set(taken) <= set(net.patterns[0].part("row")), name


# mistakes


def broken(**changes: Any) -> list[str]:
    """The mistakes of a machine of two states, changed."""
    net = NetBuilder("broken")
    asked, ended = net.entry("asked", Job), net.final("ended", Job)
    parts: dict[str, Any] = {
        "takes": asked,
        "states": ("open", "shut"),
        "moves": (Move("shut", "open", "shut", on="shut"),),
        "ends": {"shut": ended},
    }
    net.add(StateMachine("m", **{**parts, **changes}))
    with pytest.raises(NetError) as error:
        net.build()
    return [f"{m.code} {m.message}" for m in error.value.mistakes]


SHUT = Move("shut", "open", "shut", on="shut")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"states": ("open",)}, "there are two or more"),
        ({"moves": (SHUT, SHUT)}, "its moves need names of their own"),
        ({"moves": (Move("shut", "opn", "shut"),)}, "there is no state 'opn'"),
        ({"moves": (Move("shut", "open", "shut", on="a", after=DAY),)}, "made by several things at once"),
        ({"moves": (SHUT, Move("w", "open", "shut", by="w"))}, "names no worker of its"),
        ({"moves": (SHUT,), "workers": (Worker("w", Step, adding),)}, "worker 'w' makes no move"),
        (
            {"moves": (SHUT, Move("w", "open", "shut", by="w")), "workers": (Worker("w", Step, adding),)},
            "nothing is said of 'open' where worker 'w' fails there",
        ),
        ({"moves": (SHUT, Move("again", "shut", "open", on="again"))}, "where the machine has ended"),
        ({"states": ("open", "lost", "shut")}, "nothing leads out of 'lost'"),
        ({"conflicts": -1}, "conflicts is -1"),
        ({"moves": (Move("shut", "open", "shut", brings=Step),)}, "waits for no event"),
    ],
)
def test_a_mistake_is_told(changes: dict[str, Any], said: str) -> None:
    found = broken(**changes)
    assert any(f.startswith("PN138") and said in f for f in found), found


@pytest.mark.antipattern(
    "AP7", "impossible to express: a worker that reaches the outside while others may move the row"
)
def test_a_worker_that_writes_is_alone_with_the_row() -> None:
    moves = (
        Move("sent", "open", "shut", by="mailer"),
        Move("lost", "open", "shut", without="mailer"),
    )
    worker = Worker("mailer", Offer, sending)
    (found,) = broken(
        takes=NetBuilder("x").place("asked", Renewal),
        ends={"shut": NetBuilder("x").place("ended")},
        moves=(*moves, Move("override", "open", "shut", on="override")),
        workers=(worker,),
    )[:1]
    assert found.startswith("PN139"), found
    assert "reaches the outside, and the row may move on meanwhile" in found


# runs

JOB = Job(id="j", total=0)


def test_an_answer_that_comes_too_late_is_a_conflict_and_nothing_is_lost() -> None:
    with Bench(machine(3, 1, 2)) as bench:
        script = bench.proposer("job.w1")
        script.answers(Late(Step(add=5), after=timedelta(seconds=30)), Step(add=7))
        bench.crash_at("after-answer")
        case = bench.start(JOB)
        bench.advance(timedelta(seconds=10))
        case.signal("override", Step(add=100))
        case.run_until("job.s2")
        assert case.fired.count("job.w1.conflict") == 1
        assert case.fired.count("job.w1 s1") == 1
        ((row,),) = [v for k, v in case.marking.items() if k == "job.s2"]
        assert row.data.total == 107, "the override's total, and the second answer"
        assert (row.version, row.replaced) == (2, 1)


def test_after_too_many_conflicts_the_machine_goes_on_without_the_worker() -> None:
    with Bench(machine(3, 1, 2), database=":memory:") as bench:
        bench.proposer("job.w1").always(Late(Step(add=5), after=timedelta(seconds=30)))
        case = bench.start(JOB)
        for _ in range(3):
            bench.advance(timedelta(seconds=10))
            case.signal("override", Step(add=1))
            bench.advance(timedelta(seconds=25))
        case.run()
        case.assert_ended("ended")
        assert sum(name.startswith("job.w1.conflict") for name in case.fired) == 2
        assert case.fired[-1] == "job.w1 lost as too late"
        assert case.outcome == Job(id="j", total=1)


def test_workers_race_and_one_of_them_wins() -> None:
    with Bench(machine(4, 2, 3), database=":memory:") as bench:
        bench.proposer("job.w1").always(Step(add=1))
        bench.proposer("job.w2").always(Step(add=10))
        cases = [bench.start(JOB) for _ in range(5)]
        bench.run()
        for case in cases:
            case.assert_ended("ended")
            moves = [name for name in case.fired if name in ("job.w1 s1", "job.w2 s1", "job.w2 s2")]
            expected = sum(1 if name.startswith("job.w1") else 10 for name in moves)
            assert case.outcome.total == expected, "every move that was made counts, once"


def test_an_override_races_the_timer_and_the_timer_starts_anew() -> None:
    with Bench(machine(3, 1, 0)) as bench:
        bench.proposer("job.w1").always(Step(add=1))
        case = bench.start(JOB)
        case.run_until("job.s2")
        bench.advance(9 * DAY)
        case.signal("override", Step(add=1))
        bench.restart("crash")
        bench.advance(2 * DAY)
        assert case.status != "done", "the timer of the version before does not ring"
        bench.crash_at("timer-due")
        bench.advance(9 * DAY)
        case.assert_ended("ended")


DAY0 = datetime(2026, 4, 1, tzinfo=UTC)
CUSTOMER = Renewal(id="C-1", monthly_cents=8_000, merged=False, day0=DAY0, discount_pct=0)


def test_the_renewal_goes_its_way_through_faults_and_crashes() -> None:
    with Bench(renewal()) as bench:
        bench.proposer("row.pricer").answers(Reject("refusal"), Offer(discount_pct=25))
        bench.effect("mail.send").answers(ConnectionError("away"), Lost())
        for point in ("after-answer", "after-intent", "after-effect", "before-commit"):
            bench.crash_at(point)
        case = bench.start(CUSTOMER)
        case.signal("window.open")
        case.run_until("row.offer_sent")
        case.assert_performed("mail.send", times=1)
        bench.advance(10 * DAY)
        case.signal("accepted")
        case.run()
        case.assert_ended("closed")
        assert case.outcome.discount_pct == 25
        case.assert_performed("mail.send", times=1)


def test_a_person_is_asked_of_the_row_as_it_is() -> None:
    with Bench(renewal()) as bench:
        bench.proposer("row.pricer").always(Offer(discount_pct=45))
        bench.effect("mail.send").answers(EffectRefused("no such address"))
        case = bench.start(CUSTOMER)
        case.signal("window.open")
        case.run_until("human_required")
        case.assert_performed("mail.send", times=0)
        case.approve("dana@pricing")
        case.run_until("human_required")
        assert case.fired.count("row.not sent") == 1, "the e-mail failed for good: a person again"
        case.deny("dana@pricing")
        case.assert_ended("closed")
        case.assert_performed("mail.send", times=0)


def test_thirty_idle_days_and_a_pause_that_outlasts_the_row() -> None:
    with Bench(renewal()) as bench:
        bench.proposer("row.pricer").always(Offer(discount_pct=10))
        case, late = bench.start(CUSTOMER), bench.start(CUSTOMER)
        for one in (case, late):
            one.signal("window.open")
            one.run_until("row.offer_sent")
        late.signal("override")
        late.run_until("human_required")
        bench.advance(31 * DAY)
        case.assert_ended("expired")
        assert "row.30 idle days" in case.fired
        assert "row.30 idle days" not in late.fired, "that timer went with the version it was set for"
        late.assert_ended("closed")


def test_a_machine_per_concern() -> None:
    net = NetBuilder("concerns")
    asked, both = net.entry("asked", Job), net.final("both", Job)
    starts = [net.place(f"start {name}", Job) for name in "ab"]
    ends = [net.place(f"end {name}", Job) for name in "ab"]
    net.route("fork", takes={"job": asked}, puts=dict.fromkeys(starts, "job"))
    for name, start, end in zip("ab", starts, ends, strict=True):
        moves = (
            Move("add", "open", "shut", by="w", sets=lambda data, answer: data.with_(total=answer.add)),
            Move("lost", "open", "shut", without="w"),
            Move("override", "open", "open", on=f"override {name}"),
        )
        worker = Worker("w", Step, adding)
        net.add(
            StateMachine(
                name, takes=start, states=("open", "shut"), moves=moves, ends={"shut": end}, workers=(worker,)
            )
        )
    net.route(
        "join",
        takes={"a": ends[0], "b": ends[1]},
        puts={both: lambda a, b: a.with_(total=a.total + b.total)},
    )
    net.require("STATE-1")
    with Bench(net, database=":memory:") as bench:
        bench.proposer("a.w").answers(Late(Step(add=1), after=timedelta(seconds=30)))
        bench.proposer("a.w").always(Step(add=2))
        bench.proposer("b.w").always(Step(add=40))
        case = bench.start(JOB)
        bench.advance(timedelta(seconds=5))
        case.signal("override a")
        case.run()
        assert case.outcome == Job(id="j", total=42), "an override of one concern is no conflict of the other"
        assert not any(name.startswith("b.w.conflict") for name in case.fired)
