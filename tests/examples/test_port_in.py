"""The port-in agent: proved, drawn, run beside a world that misbehaves, with the outside ledger exact."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from provenet import EffectRefused, Report, prove, render_net
from provenet.engine import audit
from provenet.engine.testing import Bench, Case, Hang, Late, Lost
from provenet.examples.port_in.__main__ import bring, disagreeing, requests
from provenet.examples.port_in.agent import agent
from provenet.examples.port_in.outside import DAY, Misbehaviour, Outside, Proposers
from provenet.examples.port_in.rules import Confirmed, Line, Order, PortRequest
from provenet.examples.systems import Failures
from provenet.verify.verdict import Status

pytestmark = pytest.mark.slow

WILD = Misbehaviour(hasty=0.15, confused=0.15, malformed=0.1, silent=0.1)
WHO = {"number": "030 1", "donor": "other", "account": "a-1"}
EFFECTS = ("clearing.submit", "network.provision")
UNDOS = ("clearing.cancel", "network.deprovision")


@pytest.fixture(scope="module")
def report() -> Report:
    return prove(agent().net)


@pytest.fixture(scope="module")
def deployed(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has the agent; deploying it goes through all of its proofs again."""
    path = tmp_path_factory.mktemp("port") / "port.db"
    asyncio.run(bring(agent(), [], outside=Outside(), database=str(path), report=report))
    return path


@pytest.fixture
def database(deployed: Path, tmp_path: Path) -> str:
    return shutil.copy(deployed, str(tmp_path / "port.db"))


@pytest.fixture
def bench(database: str, report: Report) -> Bench:
    return Bench(agent(), database=database, report=report)


def test_all_that_it_requires_is_proved(report: Report) -> None:
    assert {f"{v.property} {v.title}" for v in report.verdicts if v.status is not Status.PROVED} == set()
    proved = {v.property for v in report.verdicts}
    assert {"SAGA-1", "SAGA-2", "CTL-2", "CTL-3", "CTL-4", "STATE-1", "STATE-4", "EVT-2", "never"} <= proved


def test_it_is_made_of_what_its_decision_record_recommends() -> None:
    kinds = Counter(p.kind for p in agent().net.patterns)
    assert kinds == {"state machine": 1, "scatter-gather": 1, "gate": 2, "oversight": 4}


def test_an_order_that_takes_no_approval_is_refuted() -> None:
    """The row goes on to the order when somebody of the desk has denied it."""
    net = agent().net
    yes, no = (next(t for t in net.transitions if t.name == f"port.{name}") for name in ("approve", "deny"))
    # Denials lead where approvals do, with what was asked for.
    back = next(p for p in yes.puts if p.place == "port.submitting")
    into = next(p for p in no.puts if p.place == "port.off")
    gone = tuple(replace(p, place=back.place) if p is into else p for p in no.puts if p.place != "called off")
    mutant = replace(net, transitions=tuple(replace(t, puts=gone) if t is no else t for t in net.transitions))
    named = "port.approver: clearing.submit is performed only as this task has approved it"
    wanted = tuple(r for r in net.requirements if r.name == named)
    found = prove(replace(mutant, requirements=wanted))
    assert [v.status for v in found.verdicts] == [Status.REFUTED]


async def test_whatever_happens_a_number_is_brought_over_or_left_alone(database: str) -> None:
    found: set[str] = set()
    for seed in (1, 2):
        outside = Outside(seed, Failures(refuses=0.1, away=0.2, lost=0.2))
        mine = list(requests(12, seed=seed))
        made = agent(proposers=Proposers(seed, WILD), outside=outside)
        ended = await bring(made, mine, outside=outside, database=database)
        assert disagreeing({number: ended[number] for number, _ in mine}, outside) == []
        found |= set(ended.values())
    assert found == {"ported", "stayed"}
    assert audit(database).clean


async def test_the_same_seed_has_the_same_ends(deployed: Path, tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((3, 3, 4)):
        outside = Outside(3, Failures())
        made = agent(proposers=Proposers(seed, WILD), outside=outside)
        path = shutil.copy(deployed, str(tmp_path / f"{number}.db"))
        found.append(await bring(made, requests(6, seed=3), outside=outside, database=path))
    assert found[0] == found[1] != found[2]


def test_a_bad_month(bench: Bench) -> None:
    """One bench for all of it: leaving it goes through all of the agent's proofs again."""
    with bench:
        bench.proposer("port.porter.line").always(Line(number="030 1", profile="sip"))

        # The donor is silent for a week, and confirms while the desk still thinks about it; crashes between.
        case = asked(bench, "late")
        hasty, slow = Order(**WHO, wish=bench.now), Late(plan(bench), after=timedelta(seconds=30))
        bench.proposer("port.planner").answers(hasty, Hang(), slow, case="late")
        bench.effect("clearing.submit").answers(ConnectionError("away"), Hang(), Lost(), case="late")
        bench.crash_at("after-effect")
        bench.crash_at("after-intent")
        approved(case)
        bench.advance(days=7, hours=1)
        case.assert_fired("port.donor is silent", times=1)
        case.signal("donor.confirmed", Confirmed(date=bench.now + DAY))
        case.assert_fired("port.desk.withdrawn at confirmed", times=1)
        case.signal("number.moved")
        ends(case, "ported", "")

        # Too late: the desk waits on, and that is over as well.
        case = asked(bench, "too late")
        approved(case)
        bench.advance(days=7, hours=1)
        case.approve("dana@porting_desk")
        ends(case, "stayed", "no answer", undone=1)

        # A day that is of no use, and one that the number does not move on.
        for name, days, why in (
            ("useless", 40, "the donor's day is of no use"),
            ("idle", 5, "it did not move"),
        ):
            case = asked(bench, name)
            approved(case)
            case.signal("donor.confirmed", Confirmed(date=bench.now + days * DAY))
            ends(case, "stayed", why, undone=1)

        # What a system refuses takes the other one back.
        for refused, other in (EFFECTS, EFFECTS[::-1]):
            case = asked(bench, refused)
            bench.effect(refused).answers(EffectRefused("not for this number"), case=refused)
            case.run_until("human_required")
            case.approve("dana@porting_desk")
            case.run()
            case.assert_ended("stayed")
            case.assert_performed(refused, times=0)
            assert len(case.performed(other)) == len(case.performed(UNDOS[EFFECTS.index(other)]))

        # The customer cancels before anybody has approved, and the switch is pulled when all has been told.
        case = asked(bench, "cancelled")
        case.run_until("human_required")
        case.signal("customer.cancelled")
        ends(case, "stayed", "cancelled", done=0)
        case = asked(bench, "killed")
        approved(case)
        case.kill(who="dana", reason="wrong customer")
        ends(case, "stayed", "the kill switch was pulled", undone=1)


def plan(bench: Bench) -> Order:
    return Order(**WHO, wish=bench.now + 3 * DAY)


def asked(bench: Bench, name: str) -> Case:
    bench.proposer("port.planner").always(plan(bench), case=name)
    wanted = PortRequest(**WHO, kind="fixed", asked=bench.now, wish=bench.now + 3 * DAY)
    return bench.start(wanted, case_id=name)


def approved(case: Case) -> None:
    case.run_until("human_required")
    case.approve("dana@porting_desk")
    case.run_until("port.waiting")


def ends(case: Case, place: str, why: str, *, done: int = 1, undone: int = 0) -> None:
    case.run()
    case.assert_ended(place)
    assert case.outcome.why == why
    for effect in EFFECTS:
        case.assert_performed(effect, times=done)
    for effect in UNDOS:
        case.assert_performed(effect, times=undone)


def test_it_is_drawn(report: Report) -> None:
    picture = render_net(agent().net, report=report)
    assert picture.startswith(b"<?xml")
    assert all(text.encode() in picture for text in ("inbox", "ported"))
