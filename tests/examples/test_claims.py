"""The claims agent: proved, drawn, run beside a world that misbehaves, with the outside ledger exact."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from provenet import EffectRefused, Report, prove, render_net
from provenet.engine import audit
from provenet.engine.testing import Bench, Hang, Late, Lost
from provenet.examples.claims.__main__ import claims, sort
from provenet.examples.claims.agent import UNDONE_BY, Claim, Notice, Oddity, Queue, Reserve, Urgency, agent
from provenet.examples.claims.outside import GOOD, Misbehaviour, Outside, Proposers
from provenet.examples.systems import Failures
from provenet.verify.verdict import Status

pytestmark = pytest.mark.slow

WILD = Misbehaviour(greedy=0.2, confused=0.2, malformed=0.1, crash=0.1)
TOLD = {"desk.assign": 1, "ledger.reserve": 1, "mail.send_receipt": 1}
CLAIM = Claim(id="c", kind="injury", cents=80_000)


@pytest.fixture(scope="module")
def report() -> Report:
    return prove(agent().net)


@pytest.fixture(scope="module")
def deployed(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has the agent; deploying it goes through all of its proofs again."""
    path = tmp_path_factory.mktemp("claims") / "claims.db"
    asyncio.run(sort(agent(), [], database=str(path), report=report))
    return path


@pytest.fixture
def database(deployed: Path, tmp_path: Path) -> str:
    return shutil.copy(deployed, str(tmp_path / "claims.db"))


@pytest.fixture
def bench(database: str, report: Report) -> Bench:
    return Bench(agent(), database=database, report=report)


def test_all_that_it_requires_is_proved(report: Report) -> None:
    assert {f"{v.property} {v.title}" for v in report.verdicts if v.status is not Status.PROVED} == set()
    proved = {v.property for v in report.verdicts}
    assert {"SAGA-1", "SAGA-2", "SAGA-4", "CTL-2", "CTL-4", "STATE-1", "never", "eventually"} <= proved


async def test_whatever_happens_a_claim_is_told_to_all_or_to_none(database: str) -> None:
    for seed in (1, 2):
        outside = Outside(seed, Failures(refuses=0.1, away=0.2, lost=0.2))
        mine = [(f"{case}/{seed}", inputs) for case, inputs in claims(40, seed=seed)]
        ended = await sort(agent(proposers=Proposers(seed, WILD), outside=outside), mine, database=database)
        standing = outside.standing(UNDONE_BY)
        for case, inputs in mine:
            stands = {effect: n for effect, n in standing.get(inputs["inbox"].id, Counter()).items() if n}
            assert stands == {"sorted": TOLD, "left": {}}[ended[case]], case
    assert audit(database).clean


async def test_the_same_seed_has_the_same_ends(deployed: Path, tmp_path: Path) -> None:
    found = [
        await sort(
            agent(proposers=Proposers(seed, WILD), outside=Outside(3, Failures())),
            claims(15, seed=3),
            database=shutil.copy(deployed, str(tmp_path / f"{number}.db")),
        )
        for number, seed in enumerate((3, 3, 4))
    ]
    assert found[0] == found[1] != found[2]


async def test_good_proposers_and_systems_sort_everything(database: str) -> None:
    ended = await sort(agent(proposers=Proposers(1, GOOD)), claims(15), database=database)
    # What a rule forbids is not sorted by the best of models: more than may be set aside for a claim.
    assert Counter(ended.values())["sorted"] >= 13


def test_late_lost_refused_and_denied(bench: Bench) -> None:
    """One bench for all of it: leaving it goes through all of the agent's proofs again."""
    with bench:
        script(bench, None, oddity=5, desk="injury", cents=40_000)
        bench.proposer("advise.urgency").answers(ConnectionError("no model"), case="late")
        late = Late(Oddity(claim="c", pct=5), after=timedelta(seconds=90))
        bench.proposer("advise.oddity").answers(late, case="late")
        queues = Queue(claim="x", desk="motor"), Queue(claim="c", desk="special")
        bench.proposer("tell.queue").answers(*queues, case="late")
        bench.effect("desk.assign").answers(ConnectionError("away"), Hang(), Lost(), case="late")
        bench.crash_at("after-effect")
        bench.crash_at("after-intent")
        case = bench.start(CLAIM, case_id="late")
        case.run()
        # Nobody said in time how odd it is: so it goes to the special desk.
        case.assert_ended("sorted")
        for effect in TOLD:
            case.assert_performed(effect, times=1)

        for refused in TOLD:
            bench.effect(refused).answers(EffectRefused("not for this claim"), case=refused)
            case = bench.start(CLAIM, case_id=refused)
            case.run()
            case.assert_ended("left")
            case.assert_performed(refused, times=0)

        for desk, cents, denied in (
            ("motor", 1, "desk.assign"),
            ("special", 90_000, "ledger.reserve"),
            ("special", -1, "ledger.reserve"),
        ):
            script(bench, f"{desk} {cents}", oddity=95, desk=desk, cents=cents)
            case = bench.start(CLAIM, case_id=f"{desk} {cents}")
            case.run()
            case.assert_ended("left")
            case.assert_performed(denied, times=0)


def script(bench: Bench, case: str | None, *, oddity: int, desk: str, cents: int) -> None:
    """What is proposed in a case, or in all that nothing else is said of."""
    bench.proposer("advise.urgency").always(Urgency(claim="c", level=5), case=case)
    bench.proposer("advise.oddity").always(Oddity(claim="c", pct=oddity), case=case)
    bench.proposer("tell.queue").always(Queue.model_validate({"claim": "c", "desk": desk}), case=case)
    bench.proposer("tell.reserve").always(Reserve(claim="c", cents=cents), case=case)
    bench.proposer("tell.notice").always(Notice(claim="c", letter="call"), case=case)


def test_it_is_drawn(report: Report) -> None:
    picture = render_net(agent().net, report=report)
    assert picture.startswith(b"<?xml")
    assert all(text.encode() in picture for text in ("inbox", "sorted"))
