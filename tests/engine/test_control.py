"""The gate, people, events, the kill switch: who may make a case move, and who may not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from provenet.cli.main import main
from provenet.engine import Decision, Engine, Task, VirtualClock, audit
from provenet.engine.errors import (
    CaseClosed,
    CaseExists,
    DecisionRefused,
    DeployRefused,
    DuplicateSignal,
    InputRefused,
    KillSwitchOn,
    NoSuchCase,
    NotDeployed,
    SignalRefused,
)
from provenet.engine.requests import carry_out
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.saga import KILL_SIGNAL, Saga
from provenet.verify.check import prove
from provenet.verify.verdict import Status
from tests.engine.kit import START, Item, built, deployed, opened
from tests.engine.orders import Order, orders, proofs
from tests.support.ledger import Ledger


def waiting() -> Agent:
    """A person decides, an event moves on, a timer ends."""

    def make(net: NetBuilder) -> None:
        start = net.entry("start", Item, where=lambda it: it.n >= 0)
        yes, no, done = net.place("yes", Item), net.final("no", Item), net.final("done", Item)
        net.add(Human("look", takes=start, approve=yes, deny=no, who="pricing", within=timedelta(days=2)))
        net.event(
            "paid",
            event="paid",
            takes={"y": yes},
            brings={"amount": int},
            puts={done: lambda y, amount: y.with_(n=amount)},
        )
        net.timer("late", takes={"y": yes}, after=timedelta(days=30), puts={no: "y"})

    return built(make)


async def started(engine: Engine, agent: Agent, **options: Any) -> None:
    deployed(engine, agent)
    await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c", **options)
    await engine.run_until_idle(until=engine.clock.now())


# the gate


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: replace(r, net_hash="0" * 64), "about another content"),
        (lambda r: replace(r, verdicts=()), "says nothing of it"),
        (
            lambda r: replace(r, verdicts=(replace(r.verdicts[0], status=Status.UNKNOWN, reason="gave up"),)),
            "DATA-2 UNKNOWN",
        ),
        (lambda r: replace(r, verdicts=(replace(r.verdicts[0], status=Status.REFUTED),)), "DATA-2 REFUTED"),
    ],
    ids=["other net", "nothing said", "unknown", "refuted"],
)
async def test_the_gate_says_what_is_not_proved(spoil: Any, reason: str) -> None:
    agent = waiting()
    async with opened(agent) as engine:
        with pytest.raises(DeployRefused, match=reason):
            engine.deploy(agent, spoil(proofs(agent.net)))
        with pytest.raises(NotDeployed):
            await engine.start_case("small", inputs={"start": Item(id="a", n=1)})


async def test_the_gate_refuses_a_net_whose_proof_fails_and_names_it() -> None:
    from provenet.sdb.handlers import Effect
    from tests.engine.test_work import performing

    agent = performing(Effect("e", lambda r: None, payload=Item))
    net = replace(agent.net, requirements=())
    async with opened(agent) as engine:
        with pytest.raises(DeployRefused, match="SDB-1 REFUTED"):
            engine.deploy(replace(agent, net=net), prove(net, only=["SDB-1"]))


async def test_a_handler_that_is_missing_or_of_the_wrong_kind_is_named() -> None:
    agent = orders(Ledger(Path(":memory:")))
    handlers = {k: v for k, v in agent.handlers.items() if k != "crm.publish"} | {"quote.propose": 42}
    async with opened(agent) as engine:
        with pytest.raises(DeployRefused) as refused:
            engine.deploy(Agent(agent.net, handlers), proofs(agent.net))
    assert "'crm.publish' is bound to nothing" in str(refused.value)
    assert "'quote.propose'" in str(refused.value)


async def test_a_deployed_net_needs_no_second_deploy_but_its_very_agent(tmp_path: Path) -> None:
    agent = waiting()
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
    async with opened(agent, tmp_path / "x.db") as engine:
        await engine.start_case("small", inputs={"start": Item(id="b", n=1)})
    async with opened([], tmp_path / "x.db") as engine:
        with pytest.raises(NotDeployed, match="its agent was not given"):
            await engine.start_case("small", inputs={"start": Item(id="b", n=1)})
        with pytest.raises(CaseClosed, match="agent was not given"):
            await engine.approve("c", "look", "dana@pricing")


async def test_cases_resume_also_where_the_agent_comes_with_a_later_deploy(tmp_path: Path) -> None:
    agent = waiting()
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
    async with opened([], tmp_path / "x.db") as engine:
        deployed(engine, agent)
        await engine.run_until_idle()
        assert engine.read.counts() == {"done": 1}


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, "no input for entry 'start'"),
        ({"start": Item(id="a", n=1), "end": 1}, "no entry 'end'"),
        ({"start": {"id": "a"}}, "n"),
        ({"start": ("a", "one")}, "expected int"),
        ({"start": Item(id="a", n=-1)}, "outside what the net was proved for"),
    ],
    ids=["missing", "unknown", "incomplete", "wrong type", "outside"],
)
@pytest.mark.attack("input outside what was proved", "refused: entries have types and conditions")
async def test_an_input_that_was_not_proved_for_is_refused(inputs: Any, reason: str) -> None:
    agent = waiting()
    async with opened(agent) as engine:
        deployed(engine, agent)
        with pytest.raises(InputRefused, match=reason):
            await engine.start_case("small", inputs=inputs)
        assert engine.read.counts() == {}


async def test_a_case_id_is_used_once(tmp_path: Path) -> None:
    agent = waiting()
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
        with pytest.raises(CaseExists):
            await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        again = [("c", {"start": Item(id="a", n=1)}), ("d", {"start": Item(id="a", n=1)})]
        assert await engine.start_cases("small", again, existing="skip") == 1
        for bad in ("", "x" * 201, "a\nb"):
            if bad:
                with pytest.raises(InputRefused):
                    await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id=bad)


# people


async def test_the_right_person_decides_in_time() -> None:
    agent = waiting()
    async with opened(agent) as engine:
        await started(engine, agent)
        (task,) = engine.read.tasks()
        assert (task.role, task.choices, task.about) == ("pricing", ("approve", "deny"), {"id": "a", "n": 1})
        assert task.deadline == START + timedelta(days=2)
        for who in ("", "dana", "dana@legal", "@pricing", "pricing"):
            with pytest.raises(DecisionRefused, match="role 'pricing'"):
                await engine.approve("c", "look", who)
        with pytest.raises(DecisionRefused, match="no choice 'maybe'"):
            await engine.decide("c", "look", "maybe", "dana@pricing")
        with pytest.raises(DecisionRefused, match="no open task 'lok'") as refused:
            await engine.decide("c", "lok", "approve", "dana@pricing")
        assert "look" in refused.value.hint
        with pytest.raises(DecisionRefused, match="something else"):
            await engine.approve("c", "look", "dana@pricing", about_hash="0" * 64)
        with pytest.raises(NoSuchCase):
            await engine.approve("d", "look", "dana@pricing")
        await engine.approve("c", "look", "dana@pricing", about_hash=task.about_hash)
        with pytest.raises(DecisionRefused, match="no open task"):
            await engine.approve("c", "look", "dana@pricing")
        (done,) = engine.read.tasks(status="decided")
        assert (done.choice, done.who) == ("approve", "dana@pricing")
        assert any("approve by dana@pricing" in line.text for line in engine.read.log("c"))
        assert audit(engine.read.engine).clean


@pytest.mark.attack("decision after the fallback", "refused: the token has moved on")
async def test_after_the_deadline_the_fallback_has_happened() -> None:
    agent = waiting()
    async with opened(agent) as engine:
        await started(engine, agent)
        await engine.run_until_idle()
        assert engine.read.case("c").case.outcome_place == "no"
        assert [t.status for t in engine.read.tasks(status=None)] == ["expired"]
        with pytest.raises(CaseClosed):
            await engine.approve("c", "look", "dana@pricing")


async def test_a_decision_at_the_deadline_is_too_late() -> None:
    agent = waiting()
    clock = VirtualClock(START)
    async with opened(agent, clock=clock) as engine:
        await started(engine, agent)
        clock.jump(START + timedelta(days=2))
        with pytest.raises(DecisionRefused, match="deadline passed"):
            await engine.approve("c", "look", "dana@pricing")


async def test_open_tasks_survive_a_restart(tmp_path: Path) -> None:
    agent = waiting()
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
        before = engine.read.tasks()
    async with opened(agent, tmp_path / "x.db") as engine:
        assert engine.read.tasks() == before
        await engine.approve("c", "look", "dana@pricing")
    assert audit(tmp_path / "x.db").clean


async def test_a_scripted_person_may_leave_a_task_or_choose_what_is_not_allowed() -> None:
    async def person(task: Task) -> Decision | None:
        return None if task.case == "c" else Decision("approve", "mallory@legal")

    agent = waiting()
    async with opened(agent, people=person) as engine:
        await started(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="b", n=1)}, case_id="d")
        await engine.run_until_idle()
        assert {c.outcome_place for c in engine.read.cases()} == {"no"}
        assert {t.status for t in engine.read.tasks(status=None)} == {"expired"}


@pytest.mark.parametrize("person", ["raises", "mistypes"])
async def test_a_scripted_person_that_fails_parks_its_case_and_no_other(person: str, tmp_path: Path) -> None:
    broken = True

    async def script(task: Task) -> Decision | None:
        if not broken or task.case != "c":
            return Decision("approve", "dana@pricing")
        if person == "raises":
            raise LookupError("no such reviewer")
        return "approve"  # type: ignore[return-value]  # as a script may well do

    agent = waiting()
    async with opened(agent, tmp_path / "x.db", people=script) as engine:
        await started(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="b", n=1)}, case_id="d")
        await engine.run_until_idle(until=engine.clock.now())
        found = {c.id: c for c in engine.read.cases()}
        assert found["c"].status == "parked"
        assert "task 'look'" in (found["c"].reason or "")
        assert ("LookupError: no such reviewer" if person == "raises" else "gave str") in (
            found["c"].reason or ""
        )
        assert {t.choice for t in engine.read.tasks(status=None) if t.case == "d"} == {"approve"}
        broken = False
        await engine.resume("c")
        await engine.run_until_idle()
        assert {t.choice for t in engine.read.tasks(status=None)} == {"approve"}
    assert audit(tmp_path / "x.db").clean


# events


async def test_events_are_correlated_and_taken_once() -> None:
    agent = waiting()
    async with opened(agent) as engine:
        await started(engine, agent)
        with pytest.raises(SignalRefused, match="nothing waits for it now"):
            await engine.signal("c", "paid", 5, key="k1")
        await engine.approve("c", "look", "dana@pricing")
        with pytest.raises(SignalRefused, match="no event 'payed'") as refused:
            await engine.signal("c", "payed", 5)
        assert "paid" in refused.value.hint
        with pytest.raises(SignalRefused, match="payload does not fit"):
            await engine.signal("c", "paid", "five", key="k1")
        with pytest.raises(SignalRefused, match="kill switch"):
            await engine.signal("c", KILL_SIGNAL)
        with pytest.raises(NoSuchCase):
            await engine.signal("zzz", "paid", 5)
        # The same key was refused before, so it may come again; accepted, it may not.
        await engine.signal("c", "paid", 5, key="k1")
        assert engine.read.case("c").case.outcome == {"id": "a", "n": 5}
        assert [(r["status"], r["event"]) for r in engine.read.case("c").inbox] == [
            ("refused", "paid"),
            ("refused", "payed"),
            ("refused", "paid"),
            ("refused", KILL_SIGNAL),
            ("accepted", "paid"),
        ]


@pytest.mark.attack("replayed event", "refused: a key is accepted once, also after a restart")
async def test_an_accepted_key_is_refused_again_also_after_a_restart(tmp_path: Path) -> None:
    def make(net: NetBuilder) -> None:
        start, seen, done = net.entry("start", Item), net.place("seen", int), net.final("done", Item)
        net.event("note", event="note", reads={"s": start}, brings={"n": int}, puts={seen: "n"})
        net.event("end", event="end", takes={"s": start}, puts={done: "s"})
        net.rests(seen)

    agent = built(make)
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
        await engine.signal("c", "note", 1, key="k1")
        with pytest.raises(DuplicateSignal):
            await engine.signal("c", "note", 1, key="k1")
    async with opened(agent, tmp_path / "x.db") as engine:
        with pytest.raises(DuplicateSignal):
            await engine.signal("c", "note", 1, key="k1")
        await engine.signal("c", "note", 2, key="k2")
        await engine.signal("c", "note", 3)
        await engine.signal("c", "end")
        assert engine.read.case("c").marking["seen"] == [1, 2, 3]
        assert engine.read.case("c").case.status == "done"
    assert audit(tmp_path / "x.db").clean


# the kill switch


async def test_a_killed_case_compensates_and_commits_nothing_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    agent = orders(ledger)
    clock = VirtualClock(START)
    async with opened(agent, tmp_path / "x.db", clock=clock) as engine:
        deployed(engine, agent)
        await engine.start_cases(
            "orders", [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(12)]
        )
        await engine.run_until_idle(until=clock.now() + timedelta(hours=1))
        open_cases = {c.id for c in engine.read.cases(status="waiting")}
        assert open_cases
        before = ledger.effects()
        assert await engine.kill("all", who="ops", reason="drill") == len(open_cases)
        with pytest.raises(KillSwitchOn, match="everything was killed"):
            await engine.start_case("orders", inputs={"order": Order(id="x", amount=1)})
        await engine.run_until_idle()
        assert {c.id for c in engine.read.cases(status="killed")} == open_cases
        after = [e for e in ledger.effects() if e not in before]
        assert all(name == "withdraw" for name, _, _ in after)
        await engine.release("all")
        await engine.start_case("orders", inputs={"order": Order(id="x", amount=1)})
    assert audit(tmp_path / "x.db").clean


class Bill(Token):
    id: str
    cents: int


def billing(does: Literal["kills", "stops"]) -> Agent:
    """A saga of two payments that waits, with a kill transition or without one."""

    def make(net: NetBuilder) -> None:
        asked = net.entry("asked", Bill, where=lambda it: it.cents > 0)
        first, paid, lost, kept = (net.place(name, Bill) for name in ("first", "paid", "lost", "kept"))
        done, undone = net.final("done", Bill), net.final("undone", Bill)
        scope = net.add(Saga("case", outcome=Bill, completes=done, aborts=undone))
        pay = Effect("bank.pay", lambda request: None, payload=Bill)
        back = Effect("bank.take_back", lambda request: None, payload=Bill)
        cap = within(Bill, lambda b: b.cents <= 100, name="cap")
        for name, takes, gives in (("pay", asked, first), ("pay again", first, paid)):
            each = Contract(
                name,
                takes=takes,
                gives=gives,
                commit=pay,
                undo=back,
                saga=scope,
                verify=cap,
                otherwise=lost,
                on_failure=lost,
            )
            net.add(each)
        net.event("settle", event="settled", takes={"p": paid}, puts={kept: "p"})
        net.timer("nobody settles", after=timedelta(days=30), takes={"p": paid}, puts={lost: "p"})
        scope.complete(net, "close", takes={"o": kept}, outcome="o")
        scope.abort(net, "call off", takes={"o": lost}, outcome="o")
        if does == "kills":
            scope.kill(net, "kill", outcome=Bill(id="", cents=0))

    return built(make, "billing")


LEFT = "2 committed steps are not taken back: pay again.undo, pay.undo"


@pytest.mark.parametrize(
    ("does", "said", "shown"),
    [
        (
            "stops",
            f"killed: 1 case, stopped where it stands: {LEFT}",
            (LEFT, "token: paid {", "token: pay.undo {"),
        ),
        ("kills", "killed: 1 case", ("killed: undone", "by dana")),
    ],
)
async def test_a_kill_says_what_is_not_taken_back(
    tmp_path: Path,
    does: Literal["kills", "stops"],
    said: str,
    shown: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent, path = billing(does), tmp_path / "x.db"
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        await engine.start_case("billing", inputs={"asked": Bill(id="a", cents=7)}, case_id="c")
        await engine.run_until_idle(until=engine.clock.now())
        command = {"do": "kill", "scope": "case", "target": "c", "who": "dana"}
        answer = await carry_out(engine, command)
        await engine.run_until_idle()
        assert engine.read.case("c").case.status == "killed"
    assert answer["done"] == said
    assert answer["stopped"] == (does == "stops")
    assert main(["case", "c", "--db", str(path)]) == 0
    out = capsys.readouterr().out
    for text in shown:
        assert text in out
    assert ("not taken back" in out) == (does == "stops")
    (verdict,) = prove(agent.net, only=["CTL-2"]).verdicts
    assert ("not taken back" in verdict.vacuous) == (does == "stops")
    assert audit(path).clean


async def test_a_case_that_the_switch_reaches_later_says_who_pulled_it(tmp_path: Path) -> None:
    agent = waiting()
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
    async with opened([], tmp_path / "x.db") as engine:
        assert await engine.kill("net", "small", who="ops") == 0
    async with opened(agent, tmp_path / "x.db") as engine:
        assert engine.read.log("c")[-1].text == "killed by ops: the kill switch was on"
    assert audit(tmp_path / "x.db").clean


async def test_the_kill_switch_of_a_net_holds_over_a_restart(tmp_path: Path) -> None:
    agent = waiting()
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
        assert await engine.kill("net", "other") == 0
        assert await engine.kill("net", "small", who="ops") == 1
        # The net has no kill transition: the case stops where it stands.
        assert engine.read.case("c").case.status == "killed"
        with pytest.raises(CaseClosed):
            await engine.kill("case", "c")
    async with opened(agent, tmp_path / "x.db") as engine:
        with pytest.raises(KillSwitchOn, match="net 'small'"):
            await engine.start_case("small", inputs={"start": Item(id="a", n=1)})
        await engine.release("net", "small")
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)})
        assert [k["target"] for k in engine.read.kills()] == ["other", "small"]
    assert audit(tmp_path / "x.db").clean
