"""The billing agent: proved, drawn, run beside a world that misbehaves, with the outside ledger exact."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

import provenet.examples.billing as example
from provenet import EffectRefused, Net, Report, prove, render_net
from provenet.engine import Reader, audit
from provenet.engine.testing import Bench, Case, Hang, Late, Lost
from provenet.examples.billing.__main__ import amiss, conversations, hold
from provenet.examples.billing.agent import UNDONE_BY, agent
from provenet.examples.billing.outside import GOOD, Misbehaviour, Outside, Proposers
from provenet.examples.billing.rules import Customer, Message, Payment
from provenet.examples.systems import Failures
from provenet.sdb.decision.record import decide
from provenet.sdb.decision.workload import load_workload
from provenet.verify.verdict import Status

pytestmark = pytest.mark.slow

WILD = Misbehaviour(greedy=0.2, confused=0.2, malformed=0.1, crash=0.1)
ACCOUNT = Customer(id="c", due=9_000, paid=5_000)


@pytest.fixture(scope="module")
def report() -> Report:
    return prove(agent().net)


@pytest.fixture(scope="module")
def wild(report: Report, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outside]:
    """Conversations that all went as badly as they can; the ends are in the database."""
    path = tmp_path_factory.mktemp("billing") / "billing.db"
    outside = Outside(2, Failures(refuses=0.1, away=0.2, lost=0.2))
    made = agent(proposers=Proposers(2, WILD), outside=outside)
    talks = list(conversations(40, seed=2))
    ended = asyncio.run(hold(made, talks, database=str(path), report=report))
    assert amiss(talks, ended, outside) == []
    assert Counter(place for place, _ in ended.values()).keys() == {"over", "taken back"}
    return path, outside


@pytest.fixture
def bench(wild: tuple[Path, Outside], report: Report) -> Iterator[Bench]:
    with Bench(agent(), database=wild[0], report=report) as made:
        yield made


def test_all_that_it_requires_is_proved(report: Report) -> None:
    assert {f"{v.property} {v.title}" for v in report.verdicts if v.status is not Status.PROVED} == set()
    proved = {v.property for v in report.verdicts if not v.vacuous}
    assert {"SAGA-1", "SAGA-2", "SAGA-4", "CTL-2", "CTL-3", "CTL-4", "STATE-1", "EVT-2", "never"} <= proved


def test_it_is_made_of_what_its_decision_record_says() -> None:
    assert example.__file__ is not None
    record = decide(load_workload(Path(example.__file__).with_name("workload.yaml")), on=date(2026, 11, 23))
    assert (record.spine, record.coordination, set(record.control)) == ("P3", (), {"P4", "P6"})
    net = agent().net
    kinds = Counter(p.kind for p in net.patterns)
    assert set(kinds) == {"sequencing", "gate", "oversight"}
    parts = {part for p in net.patterns if p.kind == "oversight" for part, _ in p.parts}
    assert {"kill", "suspend", "task", "hold", "trail"} <= parts


def test_a_large_refund_past_the_person_is_refuted() -> None:
    """One arc is moved: what is large goes straight to the gate, whose own rules let it pass."""
    net = agent().net
    past = net.transition("log.cashier.large one")
    moved = replace(past, puts=(replace(past.puts[0], place="log.cashier.due"),))
    mutant = _only(net, "never more than 20 is given back that no person approved")
    (verdict,) = prove(
        replace(mutant, transitions=tuple(moved if t is past else t for t in net.transitions))
    ).verdicts
    assert verdict.status is Status.REFUTED
    assert verdict.trace is not None


def _only(net: Net, name: str) -> Net:
    (kept,) = (r for r in net.requirements if r.name == name)
    return replace(net, requirements=(kept,))


def test_whatever_happens_the_ledger_is_exact(wild: tuple[Path, Outside]) -> None:
    path, outside = wild
    reader = Reader(path)
    posted = Counter(
        account for (account,) in sqlite3.connect(path).execute("SELECT account FROM transcript")
    )
    for case in reader.cases():
        wrote = sum(e.transition == "log.chat.commit" for e in reader.log(case.id))
        assert posted[case.id] == wrote, case.id
    done = Counter(effect for effect, _ in outside.done.values())
    assert {"payments.refund", "plans.set_up"} <= done.keys()
    assert UNDONE_BY.keys() & done.keys()
    assert audit(path).clean


async def test_a_good_model_and_systems_that_work_need_nobody_for_what_is_small(
    wild: tuple[Path, Outside],
) -> None:
    outside, talks = Outside(), list(conversations(12, seed=3))
    ended = await hold(agent(proposers=Proposers(1, GOOD), outside=outside), talks, database=str(wild[0]))
    assert amiss(talks, ended, outside) == []
    assert {place for case, (place, _) in ended.items() if case.startswith("a-3")} <= {"over", "taken back"}


def test_conversations(bench: Bench) -> None:
    """One bench for all of them: leaving it goes through all of the agent's proofs again."""
    _in_order_and_once(bench)
    _refused_by_role_and_budget(bench)
    _undone(bench)
    _nobody_answers(bench)


def _in_order_and_once(bench: Bench) -> None:
    bench.proposer("log.assistant").answers(
        "Certainly!", _says("refund", cents=900), Late(_says("refund", cents=2_500), timedelta(seconds=5)),
        _says("plan", months=6), case="order",
    )  # fmt: skip
    bench.effect("payments.refund").answers(ConnectionError("away"), Hang(), Lost(), case="order")
    bench.crash_at("after-effect")
    case = bench.start(ACCOUNT, case_id="order")
    for _ in range(2):
        _tell(case, 1, "refund 900")
    bench.advance(timedelta(minutes=5))
    _paid(case, 3, 1_000)
    _paid(case, 2, 7_777)
    _tell(case, 4, "refund 2500")
    case.run_until("approve refund")
    case.assert_performed("payments.refund", times=1)
    case.approve("dana@billing_desk")
    _tell(case, 5, "plan 6")
    case.run()
    case.assert_ended("over")
    assert (case.outcome.paid, case.outcome.refunded) == (6_000, 3_400)
    case.assert_performed("payments.refund", times=2)
    case.assert_performed("plans.set_up", times=1)
    case.assert_fired("log.payment.late", times=1)
    case.assert_fired("log.asked.late", times=1)


def _refused_by_role_and_budget(bench: Bench) -> None:
    bench.proposer("log.assistant").always(_says("refund", cents=900), case="guest")
    case = bench.start(ACCOUNT, case_id="guest")
    _tell(case, 1, "refund 900", by="guest")
    case.run()
    case.assert_ended("over")
    case.assert_performed("payments.refund", times=0)
    bench.proposer("log.assistant").always(_says("refund", cents=900), case="often")
    case = bench.start(ACCOUNT, case_id="often")
    for number in range(1, 5):
        _tell(case, number, "refund 900")
    case.run()
    case.assert_performed("payments.refund", times=2)
    case.assert_fired("refund gate.deny", times=2)
    case.assert_fired("log.chat.commit", times=4)


def _undone(bench: Bench) -> None:
    small, large = _says("refund", cents=900), _says("refund", cents=2_500)
    for name in ("refused", "bounced", "killed"):
        bench.proposer("log.assistant").answers(small, large, case=name)
        if name == "refused":
            bench.effect("payments.refund").answers(None, EffectRefused("closed"), case=name)
        case = bench.start(ACCOUNT, case_id=name)
        _tell(case, 1, "refund 900")
        bench.advance(timedelta(minutes=1))
        if name == "bounced":
            _paid(case, 2, 1_000, kind="bounced")
        else:
            _tell(case, 2, "refund 2500")
            case.run_until("approve refund")
            if name == "killed":
                case.kill(who="dana@billing_desk", reason="odd")
            else:
                case.approve("dana@billing_desk")
        case.run()
        case.assert_ended("taken back")
        case.assert_performed("payments.refund", times=1)
        case.assert_performed("payments.take_back", times=1)


def _nobody_answers(bench: Bench) -> None:
    bench.proposer("log.assistant").always(ConnectionError("no model"), case="silent")
    case = bench.start(ACCOUNT, case_id="silent")
    _tell(case, 1, "why")
    case.run()
    case.assert_ended("over")
    case.assert_fired("log.assistant.look.suspend", times=1)
    case.assert_fired("log.chat.commit", times=0)


def _says(kind: str, *, cents: int = 0, months: int = 0) -> dict[str, object]:
    return {"account": "c", "kind": kind, "cents": cents, "months": months, "text": "So be it."}


def _tell(case: Case, number: int, text: str, *, by: str = "owner") -> None:
    case.signal("asked", _event(number, Message.model_validate({"text": text, "by": by})))


def _paid(case: Case, number: int, cents: int, *, kind: str = "came") -> None:
    case.signal("payment", _event(number, Payment.model_validate({"kind": kind, "cents": cents})))


def _event(number: int, payload: Message | Payment) -> dict[str, object]:
    return {
        "id": f"e-{number}", "number": number, "version": 1, "model": "", "prompt": "",
        "payload": payload.model_dump(),
    }  # fmt: skip


def test_it_is_drawn(report: Report) -> None:
    picture = render_net(agent().net, report=report)
    assert picture.startswith(b"<?xml")
    assert all(text.encode() in picture for text in ("opened", "taken back", "approve refund"))
