"""The gate and the supervisor: proved over their ranges, broken on purpose, and run in a bad world."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from provenet.engine.testing import Bench, Hang, Late, Lost
from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError
from provenet.nets.expr.ast import Arith, Build, Const, Get, Var
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.net import Net, Perform, Put, Read, Role, Take, Transition
from provenet.nets.patterns.delegation import Child, Delegation, by_priority
from provenet.nets.patterns.gate import Budget, Gate, GateHandle
from provenet.nets.patterns.slot import Slot
from provenet.nets.patterns.supervision import Heartbeat, Supervised
from provenet.nets.schema import BOOL, INT
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, EffectRefused
from provenet.sdb.policy import policy, rule, within
from provenet.sdb.proposers import model
from provenet.sdb.saga import Saga
from provenet.verify.check import prove
from provenet.verify.verdict import Report, Status


class Offer(Token):
    by: str
    discount: int
    cents: Annotated[int, Field(ge=0)]


class Ceiling(Token):
    most: int


class Denial(Token):
    discount: int
    why: str


V7 = policy(
    "discount v7",
    rule("at most 30", lambda proposal: proposal.discount <= 30),
    rule("below the ceiling", lambda proposal, ceiling: proposal.discount <= ceiling.most),
)
HARD = policy("hard v1", rule("at most 30", lambda proposal: proposal.discount <= 30))
ANY = within(Offer, lambda o: o.cents <= 1_000_000, name="any v1")
APPLY = Effect("billing.apply", lambda _: None, payload=Offer, timeout=timedelta(seconds=5), tries=6)
GOOD = Offer(by="sales", discount=10, cents=400)


def act(at: Slot) -> Contract:
    """The contract behind the gate."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        verify=ANY,
        commit=APPLY,
        otherwise=at.failed,
        on_failure=at.failed,
    )


def shop(
    *,
    budgets: tuple[Budget, ...] = (),
    reads: str = "yes",
    may: str = "yes",
    rounds: str = "many",
    **more: Any,
) -> tuple[NetBuilder, GateHandle]:
    """A shop where offers come one after another, each through the gate."""
    net = NetBuilder("shop")
    open_ = net.entry("open", Ceiling)
    ready, asked = net.place("ready"), net.place("asked", Offer)
    ceiling = net.place("ceiling", Ceiling)
    applied, denied, failed = (
        net.place("applied", Offer),
        net.place("denied", Denial),
        net.place("failed", Offer),
    )
    end = net.final("end")
    net.rests(ceiling)
    net.route("open up", takes={"c": open_}, puts={ceiling: "c", ready: None})
    back = ready if rounds == "many" else end
    net.event("ask", event="asked", takes=ready, brings={"o": Offer}, puts={asked: "o"})
    net.event(
        "change",
        event="ceiling.changed",
        takes={"c": ceiling},
        brings={"new": Ceiling},
        puts={ceiling: "new"},
    )
    net.ignore("asked", unless=[ready])
    net.ignore("ceiling.changed", unless=[ceiling])
    net.timer("close", after=timedelta(days=1), takes=ready, puts=end)
    for place in (applied, denied, failed):
        net.route(f"after {place.name}", takes={"o": place}, puts=back)
    handle = net.add(
        Gate(
            "gate",
            takes=asked,
            gives=applied,
            denied=denied,
            deny=_denial,
            failed=failed,
            policy=V7 if reads == "yes" else HARD,
            reads={"ceiling": ceiling} if reads == "yes" else {},
            who=lambda proposal: proposal.by,
            may=(lambda proposal: proposal.by.one_of("sales", "lead")) if may == "yes" else None,
            budgets=budgets,
            work=more.get("work", act),
        )
    )
    net.require("SDB", "STATE-1", "STATE-2", "STATE-3", "CTL-3", "DATA-1", "DATA-2", "EVT-1")
    return net, handle


def _denial(proposal: Any, why: Any) -> Any:
    return make(Denial, discount=proposal.discount, why=why)


MONEY = Budget("cents", 1_000, lambda proposal: proposal.cents)
CALLS = Budget("calls", 3)


def statuses(report: Report) -> dict[str, Status]:
    return {f"{v.property} {v.title} {v.subject}": v.status for v in report.verdicts}


def all_proved(net: Net, *, timeout: float = 30) -> None:
    report = prove(net, timeout=timeout)
    assert [(v.property, v.title, v.reason) for v in report.verdicts if v.status is not Status.PROVED] == []


def refuted(net: Net, *wanted: str) -> None:
    """Each of these requirements, by a part of its name, is refuted."""
    named = [r for r in net.requirements if any(w in r.name for w in wanted)]
    assert len(named) >= len(wanted)
    for verdict in prove(net, only=named, timeout=30).verdicts:
        assert verdict.status is Status.REFUTED, (verdict.title, verdict.status, verdict.reason)
        assert verdict.trace is not None


def changed(net: Net, name: str, **parts: Any) -> Net:
    return replace(
        net, transitions=tuple(replace(t, **parts) if t.name == name else t for t in net.transitions)
    )


# the gate, proved


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([MONEY, CALLS]), max_size=2, unique=True).map(tuple),
    st.sampled_from(["yes", "no"]),
    st.sampled_from(["yes", "no"]),
    st.integers(0, 5_000),
)
def test_a_gate_is_proved_whatever_it_checks(
    budgets: tuple[Budget, ...], reads: str, may: str, most: int
) -> None:
    given_ = tuple(replace(b, most=most) if b.name == "cents" else b for b in budgets)
    all_proved(shop(budgets=given_, reads=reads, may=may)[0].build())


@pytest.mark.parametrize("gates", [1, 2, 4, 8])
def test_gates_in_a_row_are_proved_together(gates: int) -> None:
    net = NetBuilder("row")
    here = net.entry("asked", Offer)
    denied = net.final("denied", Offer)
    for n in range(gates):
        after = net.place(f"after {n}", Offer)
        effect = replace(APPLY, name=f"effect {n}")
        net.add(
            Gate(
                f"gate {n}",
                takes=here,
                gives=after,
                denied=denied,
                failed=denied,
                policy=HARD,
                budgets=[MONEY],
                work=lambda at, effect=effect: replace(act(at), commit=effect),  # type: ignore[misc]
            )
        )
        here = after
    done = net.final("done", Offer)
    net.route("done", takes={"o": here}, puts={done: "o"})
    net.require("SDB", "STATE-1", "STATE-2", "STATE-3", "DATA-1")
    all_proved(net.build())


@pytest.mark.parametrize("reads", ["yes", "no"])
def test_a_gate_in_a_scope_that_is_killed_leaves_nothing_behind(reads: str) -> None:
    net = NetBuilder("scoped")
    asked, won, lost = net.entry("asked", Offer), net.place("won", Offer), net.place("lost", Offer)
    closed, off = net.final("closed", Denial), net.final("off", Denial)
    scope = net.add(Saga("case", outcome=Denial, completes=closed, aborts=off))
    ceiling = net.place("ceiling", Ceiling, initial=[Ceiling(most=3)])
    net.rests(ceiling)
    undo = Effect("billing.revert", lambda _: None, payload=Offer)
    net.add(
        Gate(
            "gate",
            takes=asked,
            gives=won,
            denied=lost,
            failed=lost,
            policy=V7 if reads == "yes" else HARD,
            reads={"ceiling": ceiling} if reads == "yes" else {},
            work=lambda at: replace(act(at), undo=undo, saga=scope),
        )
    )
    scope.complete(net, "close", takes={"o": won}, outcome=Denial(discount=0, why=""))
    scope.abort(net, "call off", takes={"o": lost}, outcome=Denial(discount=0, why="denied"))
    scope.kill(net, "kill", outcome=Denial(discount=0, why="killed"))
    net.require("SDB", "SAGA", "CTL-2", "CTL-3", "STATE-1", "STATE-2", "STATE-3")
    all_proved(net.build())


def test_what_it_guarantees_is_required() -> None:
    net, gate = shop(budgets=(MONEY, CALLS))
    made = net.build()
    assert set(gate.guarantees) <= set(made.requirements)
    assert len(gate.guarantees) == 7
    (info,) = made.patterns
    assert (info.kind, info.id, info.figure("most cents")) == ("gate", "gate", 1_000)
    assert info.part("effect") == ("gate.act.commit",)
    assert gate.allowed in info.part("allow")


# the gate, broken


def with_another(net: Net, **parts: Any) -> Net:
    """Somebody adds an action of another name, with the same effect."""
    perform = net.transition("gate.act.commit").trigger
    assert isinstance(perform, Perform)
    made = Transition(
        "goodwill gesture",
        takes=(Take("asked", "o"),),
        puts=(Put("applied", Var("o")),),
        trigger=replace(perform, payload=Var("o")),
        fresh=net.transition("gate.act.commit").fresh,
        **parts,
    )
    return replace(net, transitions=(*net.transitions, made))


@pytest.mark.antipattern("AP7", "refuted by never: a way past the gate, whatever the action is called")
@pytest.mark.parametrize(
    "parts", [{}, {"role": Role.COMMIT, "contract": "gate.act"}, {"role": Role.COMPENSATE}], ids=str
)
def test_a_discount_under_another_name_is_refuted(parts: dict[str, Any]) -> None:
    refuted(
        with_another(shop()[0].build(), **parts), "does only what the gate allowed", "the gate's rules refuse"
    )


def test_an_allow_of_another_gate_is_none_of_this_one() -> None:
    net = shop()[0].build()
    other = replace(net.transition("gate.allow"), name="lax", guard=None, contract="gate")
    refuted(replace(net, transitions=(*net.transitions, other)), "does only what the gate allowed")


def test_a_gate_that_does_not_look_is_refuted() -> None:
    refuted(changed(shop()[0].build(), "gate.allow", guard=None), "the gate's rules refuse")


def test_a_payload_that_was_made_up_after_the_gate_is_refuted() -> None:
    net = shop()[0].build()
    commit = net.transition("gate.act.commit")
    assert isinstance(commit.trigger, Perform)
    other = Const(("sales", 90, 1), net.place("asked").type)
    mutant = changed(net, commit.name, trigger=replace(commit.trigger, payload=other))
    refuted(mutant, "does only what the gate allowed", "the gate's rules refuse")


@pytest.mark.parametrize("budget", [MONEY, CALLS], ids=lambda b: b.name)
def test_a_budget_that_is_not_counted_down_is_refuted(budget: Budget) -> None:
    net = shop(budgets=(budget,), reads="no")[0].build()
    allow, left = net.transition("gate.allow"), f"gate.{budget.name} left"
    puts = tuple(replace(p, expr=Var(f"_{budget.name}")) if p.place == left else p for p in allow.puts)
    refuted(changed(net, allow.name, puts=puts), f"takes at most {budget.most} {budget.name}")


def test_a_budget_that_is_not_looked_at_is_refuted() -> None:
    net = shop(budgets=(MONEY,), reads="no")[0].build()
    refuted(changed(net, "gate.allow", guard=None), "is never overdrawn")


@pytest.mark.antipattern("AP6", "refuted by mutex: a check on what has changed by the time of the effect")
def test_a_gate_that_only_reads_what_may_change_is_refuted() -> None:
    """Time of check, time of use: the ceiling is changed between the decision and the effect."""
    net = shop()[0].build()
    allow = net.transition("gate.allow")
    takes = tuple(a for a in allow.takes if a.place != "ceiling")
    refuted(
        changed(net, allow.name, takes=takes, reads=(Read("ceiling", "ceiling"),)),
        "ceiling does not change between its decision and the effect",
    )


def test_an_effect_elsewhere_is_guarded_by_its_name() -> None:
    def agent(gated: str) -> Net:
        net = NetBuilder("elsewhere")
        asked, denied = net.entry("asked", Offer), net.final("denied", Offer)
        passed, done = net.place("passed", Offer), net.final("done", Offer)
        gate = net.add(Gate("gate", takes=asked, gives=passed, denied=denied, policy=HARD))
        if gated == "no":
            net.route("by the way", takes={"o": asked}, puts={passed: "o"})
        net.add(Contract("apply", takes=passed, gives=done, verify=ANY, commit=APPLY, otherwise=denied))
        gate.guards(net, "billing.apply", of=asked.type)
        return net.build()

    all_proved(agent("yes"))
    refuted(agent("no"), "does only what the gate allowed", "the gate's rules refuse")


# the gate, mistaken


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"work": None, "failed": None}, "holds what it read"),
        ({"failed": None}, "failed= goes with work="),
        ({"budgets": [Budget("a b", 3)]}, "Python identifier"),
        ({"budgets": [Budget("cents", -1)]}, "whole number from 0"),
        ({"budgets": [Budget("ceiling", 1)]}, "have one name"),
        ({"policy": policy("x", rule("r", lambda proposal: proposal.price > 3))}, "price"),
        ({"work": lambda at: replace(act(at), commit=None, on_failure=None)}, "reaches nothing outside"),
        (
            {
                "work": lambda at: replace(
                    act(at),
                    commit=replace(APPLY, payload=Denial),
                    payload=lambda proposal: make(Denial, discount=proposal.discount, why="sale"),
                )
            },
            "one field of it that has a type of its own",
        ),
    ],
    ids=lambda p: str(p)[:30],
)
def test_mistakes_are_told(parts: dict[str, Any], said: str) -> None:
    net = NetBuilder("mistaken")
    ceiling = net.place("ceiling", Ceiling, initial=[Ceiling(most=3)])
    asked, denied, done = net.entry("asked", Offer), net.final("denied", Offer), net.final("done", Offer)
    whole: dict[str, Any] = {
        "takes": asked,
        "gives": done,
        "denied": denied,
        "failed": denied,
        "policy": V7,
        "reads": {"ceiling": ceiling},
        "work": act,
        **parts,
    }
    net.add(Gate("gate", **whole))
    with pytest.raises(NetError) as error:
        net.build()
    assert said in str(error.value)


# the gate, run


def test_every_decision_is_on_record_with_who_why_and_by_which_policy() -> None:
    net, gate = shop(budgets=(MONEY, CALLS))
    asked = [
        (GOOD, "allow", "all its rules hold"),
        (GOOD.model_copy(update={"discount": 25}), "deny", "below the ceiling"),
        (GOOD.model_copy(update={"discount": 90, "by": "intern"}), "deny", "at most 30"),
        (GOOD.model_copy(update={"by": "intern"}), "deny", "who may act"),
        (GOOD.model_copy(update={"cents": 601}), "deny", "budget cents"),
        (GOOD.model_copy(update={"cents": 600}), "allow", "all its rules hold"),
        (GOOD.model_copy(update={"cents": 0}), "allow", "all its rules hold"),
        (GOOD.model_copy(update={"cents": 0}), "deny", "budget calls"),
    ]
    with Bench(net) as bench:
        case = bench.start(Ceiling(most=20))
        case.run_until("ready")
        for offer, decision, why in asked:
            case.signal("asked", offer)
            case.run_until("ready")
            (audit,) = case.marking[gate.audit.name]
            assert (audit.decision, audit.who, audit.policy, audit.why, audit.request) == (
                *(decision, offer.by, "discount v7", why),
                offer,
            )
        case.assert_performed("billing.apply", times=3)
        paid = [call.payload.cents for call in bench.effect("billing.apply").performed.values()]
        assert paid == [400, 600, 0]
        bench.run()
        case.assert_ended("end")


def test_who_changes_what_the_gate_read_waits_until_the_effect_is_done() -> None:
    net, _ = shop()
    net.delivery("ceiling.changed", early="keep")
    with Bench(net) as bench:
        bench.effect("billing.apply").answers(ConnectionError("away"), Hang(), Lost())
        case = bench.start(Ceiling(most=20))
        case.run_until("ready")
        case.signal("asked", GOOD)
        case.run_until("gate.act.committing")
        case.signal("ceiling.changed", Ceiling(most=0))
        assert "ceiling" not in case.marking  # held
        case.run_until("ready")
        fired = case.fired
        assert fired.index("gate.act.commit") < fired.index("change")
        case.signal("asked", GOOD)
        case.run_until("ready")
        case.assert_fired("gate.deny", times=1)
        case.assert_performed("billing.apply", times=1)


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_is_exact_whatever_happens_outside(seed: int) -> None:
    """What was done is what was allowed, once each, and within the budget, through crashes and failures."""
    dice = random.Random(seed)
    net, _ = shop(budgets=(MONEY, CALLS))
    bad: list[Callable[[], Any]] = [
        lambda: ConnectionError("away"),
        Hang,
        Lost,
        lambda: EffectRefused("no"),
        lambda: Late(None, after=timedelta(seconds=2)),
    ]
    with Bench(net) as bench:
        bench.effect("billing.apply").answers(*(dice.choice(bad)() for _ in range(8)))
        points = ["before-commit", "after-commit", "after-intent", "after-effect", "signal"]
        for point in dice.sample(points, 2):
            bench.crash_at(point)
        case = bench.start(Ceiling(most=20))
        case.run_until("ready")
        for _ in range(6):
            case.signal("asked", GOOD.model_copy(update={"cents": dice.choice([100, 300, 700])}))
            case.run_until("ready")
        done = [call.payload.cents for call in bench.effect("billing.apply").performed.values()]
        assert len(done) == case.fired.count("gate.act.commit") <= case.fired.count("gate.allow") <= 3
        assert sum(done) <= 1_000
        bench.run()
        case.assert_ended("end")


# the supervisor


class Task(Token):
    id: str


class Answer(Token):
    id: str
    text: str


SOME = within(Answer, lambda a: a.text != "", name="an answer v1")


def worker(at: Slot) -> Contract:
    """A worker that proposes an answer."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        propose=model("anthropic/claude-sonnet-4-6", prompt="Work.", returns=Answer),
        returns=Answer,
        verify=SOME,
        attempts=1,
        timeout=timedelta(hours=2),
        otherwise=at.failed,
        escalate=lambda inputs: inputs,
    )


WRITE = Effect("wiki.write", lambda _: None, payload=Answer, tries=None)


def office(
    workers: int = 1, *, restarts: int = 2, beats: str = "no", order: str = "side by side", work: Any = worker
) -> NetBuilder:
    """Supervised workers, side by side or one after another; what they answer is written down outside."""
    net = NetBuilder("office")
    begin, end = net.entry("task", Task), net.final("end")
    tasks = [net.place(f"task {n}", Task) for n in range(workers)]
    ended = [net.place(f"ended {n}", Task) for n in range(workers)]
    for n in range(workers):
        answer, escalated = net.place(f"answer {n}", Answer), net.place(f"escalated {n}", Task)
        net.add(
            Supervised(
                f"s{n}",
                takes=tasks[n],
                gives=answer,
                escalated=escalated,
                work=work,
                within=timedelta(hours=1),
                restarts=restarts,
                first=timedelta(minutes=1),
                longest=timedelta(minutes=10),
                heartbeat=Heartbeat(f"beat {n}", timedelta(minutes=5)) if beats == "yes" else None,
            )
        )
        net.route(f"nobody {n}", takes={"t": escalated}, puts={ended[n]: "t"})
        net.add(
            Contract(
                f"write {n}",
                takes=answer,
                gives=ended[n],
                verify=SOME,
                commit=WRITE,
                emit=lambda inputs: make(Task, id=inputs.id),
                otherwise=escalated,
                escalate=lambda inputs: make(Task, id=inputs.id),
            )
        )
    if order == "side by side":
        net.route("begin", takes={"t": begin}, puts=dict.fromkeys(tasks, "t"))
        net.route("end", takes=ended, puts=end)
    else:
        for n, (before, after) in enumerate(zip([begin, *ended[:-1]], tasks, strict=True)):
            net.route(f"hand over {n}", takes={"t": before}, puts={after: "t"})
        net.route("end", takes=ended[-1:], puts=end)
    net.require("SDB", "STATE-1", "STATE-2", "STATE-3", "CTL-3", "DATA-1", "EVT-1", "EVT-2")
    return net


# the supervisor, proved

SIDE_BY_SIDE = 3
"""Workers at work at once up to which everything is proved: with four, their orders are too many states for
``bound`` and the formula. The rest is proved of more: see the tests."""


@pytest.mark.parametrize("beats", ["no", "yes"])
@pytest.mark.parametrize("restarts", [0, 1, 5])
def test_a_worker_is_proved_for_every_number_of_restarts(restarts: int, beats: str) -> None:
    all_proved(office(restarts=restarts, beats=beats).build())


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_one_after_another_are_proved(workers: int) -> None:
    all_proved(office(workers, order="in a row").build())


def test_workers_side_by_side_are_proved() -> None:
    all_proved(office(2).build())


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2, SIDE_BY_SIDE])
@pytest.mark.parametrize("restarts", range(6))
def test_the_whole_range(restarts: int, workers: int) -> None:
    all_proved(office(workers, restarts=restarts).build(), timeout=300)


@pytest.mark.long
def test_four_side_by_side_end() -> None:
    net = office(4).build()
    asked = [r for r in net.requirements if r.kind in ("STATE-1", "STATE-3")]
    assert {v.status for v in prove(net, only=asked, timeout=300).verdicts} == {Status.PROVED}


@pytest.mark.long
def test_what_is_known_of_each_token_is_proved_for_eight_workers_side_by_side() -> None:
    net = office(8).build()
    known = [r for r in net.requirements if r.kind == "always"]
    assert len(known) == 16
    assert {v.status for v in prove(net, only=known, timeout=300).verdicts} == {Status.PROVED}


@pytest.mark.long
@pytest.mark.parametrize("workers", range(1, 9))
@pytest.mark.parametrize("beats", ["no", "yes"])
def test_the_whole_range_in_a_row(workers: int, beats: str) -> None:
    all_proved(office(workers, order="in a row", beats=beats).build(), timeout=300)


# the supervisor, broken


@pytest.mark.antipattern("AP5", "refuted by always: a worker that is restarted for ever")
def test_restarts_without_end_are_refuted() -> None:
    net = office(restarts=1).build()
    refuted(changed(net, "s0.again", guard=Const(True, BOOL)), "restarted at most 1 times")


def test_a_pause_that_does_not_grow_is_refuted() -> None:
    net = office().build()
    restart = net.transition("s0.restart")
    job = net.place("s0.working").type
    j = Var("j")
    same = Build(job, (Get(j, "task"), Arith("+", Get(j, "run"), Const(1, INT)), Get(j, "pause")))  # type: ignore[arg-type]
    puts = tuple(replace(p, expr=same) if p.place == "s0.working" else p for p in restart.puts)
    refuted(changed(net, restart.name, puts=puts), "each pause is 2 times the one before")


@pytest.mark.parametrize("left", ["s0.worker.running", "s0.worker.proposed", "s0.result"])
def test_a_late_result_of_a_worker_that_was_given_up_is_refuted(left: str) -> None:
    net = office().build()
    late = net.transition("s0.late")
    mutant = changed(net, late.name, resets=tuple(p for p in late.resets if p != left))
    refuted(mutant, "nothing is left of a worker that was given up")


def test_a_worker_that_nobody_gives_up_is_refuted() -> None:
    net = office().build()
    refuted(
        changed(net, "s0.escalate", guard=Const(False, BOOL)), "every task ends with a result, or escalated"
    )


def test_what_a_worker_may_not_do_is_told() -> None:
    for part, said in (
        (lambda at: replace(worker(at), attempts=3), "trying again is the supervisor's"),
        (lambda at: replace(worker(at), commit=WRITE), "a restart would do it again"),
    ):
        with pytest.raises(NetError, match=said):
            office(work=part).build()
    net = office(2, beats="yes")
    same = Supervised(
        "s2",
        takes=net.place("more", Task),
        gives=net.place("more answers", Answer),
        escalated=net.place("more tasks", Task),
        work=worker,
        within=timedelta(hours=1),
        heartbeat=Heartbeat("beat 0", timedelta(minutes=5)),
    )
    net.add(same)
    with pytest.raises(NetError, match="is another's"):
        net.build()
    for parts, said in (
        ({"restarts": -1}, "from 0 to 100"),
        ({"first": timedelta(0)}, "do not grow"),
        ({"factor": 1}, "do not grow"),
        ({"heartbeat": Heartbeat("beat", timedelta(hours=3))}, "deadlines do not fit"),
    ):
        net = NetBuilder("mistaken")
        takes, gives, escalated = net.entry("a", Task), net.final("b", Answer), net.final("c", Task)
        net.add(
            Supervised(
                "s",
                **{"takes": takes, "gives": gives, "escalated": escalated, "work": worker}
                | {"within": timedelta(hours=1)}
                | parts,  # type: ignore[arg-type]
            )
        )
        with pytest.raises(NetError, match=said):
            net.build()


def test_a_pattern_is_a_worker_and_begins_anew() -> None:
    """A delegation in the place of the worker: what it held when it was given up is as it was at first."""

    def specialists(at: Slot) -> Delegation:
        return Delegation(
            at.id,
            takes=at.takes,
            gives=at.gives,
            children=[
                Child(name, Answer, work=worker, within=timedelta(hours=3)) for name in ("left", "right")
            ],
            merge=lambda left, right: by_priority(left, right).or_else(Answer(id="", text="none")),
        )

    net = office(work=specialists)
    all_proved(net.build())
    with Bench(net) as bench:
        bench.proposer("s0.worker.left").answers(Hang(), Answer(id="t", text="left"))
        bench.proposer("s0.worker.right").answers(Answer(id="t", text="r1"), Answer(id="t", text="r2"))
        case = bench.start(Task(id="t"))
        bench.run()
        case.assert_fired("s0.restart", times=1)
        case.assert_ended("end")
        case.assert_performed("wiki.write", times=1)


# the supervisor, run


def test_a_worker_that_crashes_talks_nonsense_or_hangs_is_restarted_until_somebody_has_to_look() -> None:
    with Bench(office(restarts=3)) as bench:
        bench.proposer("s0.worker").answers(
            ConnectionError("down"), {"id": 3}, Answer(id="t", text=""), Hang()
        )
        case = bench.start(Task(id="t"))
        began = bench.now
        bench.run()
        case.assert_fired("s0.restart", times=3)
        case.assert_fired("s0.late", times=1)
        case.assert_fired("s0.escalate", times=1)
        case.assert_performed("wiki.write", times=0)
        case.assert_ended("end")
        pauses = [line.at for line in case.detail.log if line.transition == "s0.restart"]
        assert pauses[0] - began >= timedelta(minutes=1)
        gaps = [b - a for a, b in pairwise(pauses)]
        assert [g >= timedelta(minutes=m) for g, m in zip(gaps, (2, 4), strict=True)] == [True, True]


def test_a_late_answer_of_a_worker_that_was_given_up_is_not_used() -> None:
    with Bench(office()) as bench:
        bench.proposer("s0.worker").answers(
            Late(Answer(id="t", text="stale"), after=timedelta(minutes=61)),
            Late(Answer(id="t", text="fresh"), after=timedelta(minutes=2)),
        )
        case = bench.start(Task(id="t"))
        bench.run()
        case.assert_fired("s0.late", times=1)
        (written,) = bench.effect("wiki.write").performed.values()
        assert written.payload.text == "fresh"


def test_beats_keep_a_worker_and_those_of_an_earlier_run_do_not() -> None:
    with Bench(office(beats="yes")) as bench:
        bench.proposer("s0.worker").always(Hang())
        case = bench.start(Task(id="t"))
        case.run_until("s0.working")
        for _ in range(3):
            bench.advance(minutes=4)
            case.signal("beat 0", 1)
        case.assert_fired("s0.restart", times=0)
        bench.advance(minutes=5)
        case.assert_fired("s0.silent", times=1)
        case.assert_fired("s0.restart", times=0)
        bench.advance(minutes=1)
        case.assert_fired("s0.restart", times=1)
        bench.advance(minutes=4)
        case.signal("beat 0", 1)  # of the first run: it lives, but it is not the one that counts
        case.assert_fired("s0.late beat", times=1)
        bench.advance(minutes=1)
        case.assert_fired("s0.silent", times=2)
        bench.run()
        case.assert_fired("s0.escalate", times=1)
        case.assert_ended("end")


def test_a_worker_that_only_beats_is_given_up_when_its_time_is_over() -> None:
    with Bench(office(beats="yes", restarts=0)) as bench:
        bench.proposer("s0.worker").always(Hang())
        case = bench.start(Task(id="t"))
        case.run_until("s0.working")
        for _ in range(14):
            case.signal("beat 0", 1)
            bench.advance(minutes=4)
        case.assert_fired("s0.silent", times=0)
        case.signal("beat 0", 1)
        bench.advance(minutes=4)
        case.assert_fired("s0.late", times=1)
        case.assert_fired("s0.escalate", times=1)


@pytest.mark.parametrize("seed", range(3))
def test_one_for_one_whatever_the_workers_do(seed: int) -> None:
    """Each worker ends by itself, with one result or escalated; each result is written once."""
    dice = random.Random(seed)
    workers = 3 if seed % 2 else 2
    net = office(workers, order="in a row" if seed % 2 else "side by side")
    bad: list[Callable[[], Any]] = [
        lambda: ConnectionError("down"),
        Hang,
        lambda: Answer(id="t", text=""),
        lambda: Late(Answer(id="t", text="late"), after=timedelta(minutes=90)),
        lambda: Answer(id="t", text="good"),
    ]
    with Bench(net) as bench:
        for n in range(workers):
            script = bench.proposer(f"s{n}.worker")
            script.answers(*(dice.choice(bad)() for _ in range(3)))
            script.always(dice.choice(bad)())  # after a crash it is asked once more
        bench.effect("wiki.write").answers(ConnectionError("away"), Lost())
        for point in dice.sample(["before-commit", "after-commit", "before-ask", "after-answer"], 2):
            bench.crash_at(point)
        case = bench.start(Task(id="t"))
        bench.run()
        case.assert_ended("end")
        for n in range(workers):
            assert case.fired.count(f"s{n}.restart") <= 2
            assert case.fired.count(f"s{n}.collect") + case.fired.count(f"s{n}.escalate") == 1
        written = sum(case.fired.count(f"s{n}.collect") for n in range(workers))
        case.assert_performed("wiki.write", times=written)
