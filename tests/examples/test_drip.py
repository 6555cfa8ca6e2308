"""The drip agent: proved, drawn, run beside a world that misbehaves, its database lost, the outside exact."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

import provenet.examples.drip
from provenet import EffectRefused, Report, prove, render_net
from provenet.engine import audit
from provenet.engine.testing import Bench, Call, Case, Hang, Late, Lost
from provenet.examples.drip.__main__ import START, Told, campaign, write
from provenet.examples.drip.agent import Lead, Letter, Plan, Register, again, agent
from provenet.examples.drip.outside import GOOD, Misbehaviour, Office, Writer
from provenet.nets.expr.ast import Var
from provenet.nets.net import Net, Put
from provenet.sdb.decision.record import decide
from provenet.sdb.decision.workload import load_workload
from provenet.verify.verdict import Status

pytestmark = pytest.mark.slow

WILD = Misbehaviour(boasts=0.2, confused=0.15, early=0.1, malformed=0.1, silent=0.15)
LEAD = Lead(id="l", product="heat pump", letters=4, since=START)
SEND = "mail.send_letter"


@pytest.fixture(scope="module")
def report() -> Report:
    return prove(agent().net)


@pytest.fixture(scope="module")
def deployed(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has the agent; deploying it goes through all of its proofs again."""
    path = tmp_path_factory.mktemp("drip") / "drip.db"
    begin = timedelta(0)
    run = write(
        agent(), Office(), [], [], told=Told(), begin=begin, end=begin, database=str(path), report=report
    )
    asyncio.run(run)
    return path


@pytest.fixture
def database(deployed: Path, tmp_path: Path) -> str:
    return shutil.copy(deployed, str(tmp_path / "drip.db"))


def letter(number: int, **other: object) -> Letter:
    said = {
        "lead": "l",
        "number": number,
        "product": "heat pump",
        "discount_pct": 0,
        "text": "Still curious?",
    }
    return Letter.model_validate(said | other)


def test_all_that_it_requires_is_proved(report: Report) -> None:
    assert {f"{v.property} {v.title}" for v in report.verdicts if v.status is not Status.PROVED} == set()
    proved = Counter(v.property for v in report.verdicts)
    assert {"SDB-1", "SAGA-1", "SAGA-4", "CTL-2", "CTL-3", "STATE-1", "STATE-4", "EVT-1", "eventually"} <= {
        *proved
    }
    assert proved["CTL-4"] == 2  # per lead, and per week


def test_it_is_made_of_what_its_decision_record_chose() -> None:
    (described,) = Path(provenet.examples.drip.__file__).parent.glob("workload.yaml")
    record = decide(load_workload(described), on=date(2026, 11, 23))
    assert (record.spine, record.coordination, record.control) == ("none", (), ("P4",))
    assert [p.kind for p in agent().net.patterns] == ["supervisor", "gate"]


def test_a_letter_during_or_after_an_unsubscribe_is_refuted() -> None:
    """The register stays where somebody unsubscribes: so the gate may let another letter pass."""
    net = agent().net
    keeps = [
        replace(t, puts=(*t.puts, Put("register", Var("r")))) if t.name == "unsubscribed" else t
        for t in net.transitions
    ]
    assert "STATE-4" in refuted(replace(net, transitions=tuple(keeps)), "STATE-4")


def test_a_gate_that_lets_everything_pass_is_refuted() -> None:
    net = agent().net
    passes = [replace(t, guard=None) if t.name == "mail.allow" else t for t in net.transitions]
    assert len(refuted(replace(net, transitions=tuple(passes)), "never")) == 2


def refuted(net: Net, kind: str) -> list[str]:
    asked = tuple(r for r in net.requirements if r.kind == kind)
    return [
        v.property for v in prove(replace(net, requirements=asked)).verdicts if v.status is Status.REFUTED
    ]


async def test_the_outside_is_as_plan_and_reactions_say(deployed: Path, tmp_path: Path) -> None:
    """With a database that is lost in the third week, and campaigns that begin again from their input."""
    before, after = (shutil.copy(deployed, str(tmp_path / f"{name}.db")) for name in ("before", "after"))
    told, office, wrong = await campaign(20, seed=2, writer=Writer(2, WILD), databases=(before, after))
    assert wrong == []
    assert office.done
    assert len(set(told.ended.values())) >= 3
    assert audit(before).clean
    assert audit(after).clean


async def test_a_good_writer_has_all_its_letters_sent(database: str) -> None:
    office, told = Office(), Told()
    made = agent(writer=Writer(1, GOOD), office=office)
    begin, end = timedelta(0), timedelta(days=90)
    await write(made, office, [LEAD], [], told=told, begin=begin, end=end, database=database)
    assert told.ended == {"l": "used up"}
    assert office.numbers(SEND, "l") == [1, 2, 3, 4]


def test_late_lost_refused_stopped_and_rebuilt(database: str, report: Report) -> None:
    """One bench for all of it: leaving it goes through all of the agent's proofs again."""
    with Bench(agent(), database=database, report=report, start=START) as bench:
        write = bench.proposer("write.worker")
        write.always(lambda call: letter(call.payload.week + call.payload.lead.done))
        what_waits_follows_from_input_and_day(bench)

        wild = (
            Late(letter(1), after=timedelta(hours=2)),
            Hang(),
            ConnectionError("no model"),
            letter(1, lead="x"),
        )
        write.answers(*wild, case="wild")  # four runs that fail: no letter in the first week
        bench.effect(SEND).answers(ConnectionError("away"), Hang(), Lost(), case="wild")
        bench.crash_at("after-effect")
        bench.crash_at("after-intent")
        case = bench.start(LEAD.model_copy(update={"since": bench.now}), case_id="wild")
        case.run()
        case.assert_ended("ended")
        case.assert_fired("write.escalate", times=1)
        assert numbers(case, SEND) == [2, 3, 4]

        write.answers(letter(1, discount_pct=90), letter(2, text="Guaranteed!"), case="boasts")
        case = bench.start(LEAD.model_copy(update={"since": bench.now}), case_id="boasts")
        case.run()
        case.assert_fired("mail.deny", times=2)
        case.assert_performed(SEND, times=2)

        case = bench.start(
            LEAD.model_copy(update={"since": bench.now, "consents": False}), case_id="no consent"
        )
        case.run()
        case.assert_performed(SEND, times=0)
        assert case.outcome.result == "unsubscribed"

        # The event comes while a letter is on its way: that one arrives, and it is the last.
        bench.effect(SEND).answers(Late(None, after=timedelta(seconds=20)), case="during")
        case = bench.start(LEAD.model_copy(update={"since": bench.now}), case_id="during")
        case.run_until("mail.act.committing")
        case.signal("unsubscribed", key="u-1")
        case.run()
        case.assert_performed(SEND, times=1)
        case.assert_performed("mail.send_correction", times=0)
        assert case.outcome.result == "unsubscribed"

        case = bench.start(LEAD.model_copy(update={"since": bench.now}), case_id="writing")
        case.run_until("write.working")
        case.signal("replied", key="r-1")
        case.run()
        case.assert_performed(SEND, times=0)
        assert case.outcome.result == "replied"

        for end in ("killed", "bounced"):
            if end == "bounced":
                bench.effect(SEND).answers(None, None, EffectRefused("moved"), case=end)
            case = bench.start(LEAD.model_copy(update={"since": bench.now}), case_id=end)
            bench.advance(days=8)
            if end == "killed":
                case.kill()
            case.run()
            case.assert_ended("withdrawn")
            assert numbers(case, "mail.send_correction") == [2, 1]


def what_waits_follows_from_input_and_day(bench: Bench) -> None:
    case = bench.start(LEAD, case_id="whole")
    rebuilt = None
    for day in (1, 8, 15):
        bench.advance(days=day - (bench.now - START).days)
        rebuilt = again(LEAD, bench.now)
        assert rebuilt is not None
        assert case.marking["waiting"] == [Plan(lead=LEAD, week=rebuilt.done + 1)]
        assert case.marking["register"] == [Register(consents=True, last=rebuilt.done)]
    # And it is all that one needs: the rest of it, begun again, sends what the whole would have.
    assert rebuilt is not None
    rest = bench.start(rebuilt, case_id="rest")
    bench.run()
    assert numbers(rest, SEND) == [4]
    assert numbers(case, SEND) == [1, 2, 3, 4]
    assert again(LEAD, bench.now) is None


def numbers(case: Case, effect: str) -> list[int]:
    """The numbers of the letters that an effect was performed with, in its order."""
    return [call.payload.number for call in case.performed(effect) if isinstance(call, Call)]


def test_it_is_drawn(report: Report) -> None:
    picture = render_net(agent().net, report=report)
    assert picture.startswith(b"<?xml")
    assert all(text.encode() in picture for text in ("leads", "unsubscribed", "withdraw"))
