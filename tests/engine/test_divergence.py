"""Runs made anew from a record: the control first, then what differs under another version."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from provenet.engine import Engine, Reader, VirtualClock, audit
from provenet.engine.diagnosis.divergence import LEVELS, Version, measure
from provenet.engine.diagnosis.intervals import wilson
from provenet.engine.errors import CaseExists, EngineError, NotSimulation
from provenet.nets.build import NetBuilder
from provenet.nets.formats.canonical import content_hash
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Proposal, Proposer, Request
from provenet.sdb.policy import within
from tests.engine.kit import Answers, Item, built, deployed, opened
from tests.engine.orders import START, Order, dice, orders, person, proofs
from tests.engine.test_personal import KEYS, applicant, post, writing
from tests.engine.test_random import World, agents, go, scripts
from tests.engine.test_retelling import ordered
from tests.support.ledger import Ledger


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orders with rejects, faults, people, failing effects and compensations."""
    folder = tmp_path_factory.mktemp("diverge")
    asyncio.run(ordered(folder / "made.db", folder / "ledger.db", 36))
    return folder / "made.db"


class Shifted:
    """The usual proposer of orders, but for some of them."""

    def __init__(self, usual: Proposer, chosen: Callable[[str], bool], discount: int) -> None:
        self._usual, self._chosen, self._discount = usual, chosen, discount

    async def propose(self, request: Request) -> Proposal:
        if self._chosen(request.payload.id):
            return Proposal((request.payload.id, self._discount), model="dice-2")
        return await self._usual.propose(request)


def version(
    name: str, folder: Path, shift: Callable[[str], bool] | None = None, discount: int = 7
) -> Version:
    agent = orders(Ledger(folder / f"{name}.ledger"))
    if shift is not None:
        (asked,) = [n for n, h in agent.handlers.items() if isinstance(h, Proposer)]
        usual = agent.proposer(asked)
        agent = Agent(agent.net, {**agent.handlers, asked: Shifted(usual, shift, discount)})
    return Version(name, agent, proofs(agent.net))


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_the_record_and_its_own_agent_depart_from_nothing(made: Path, tmp_path: Path) -> None:
    before = digest(made)
    for a in (Version("the record"), version("A", tmp_path)):
        found = measure(made, a, version("A too", tmp_path))
        assert found.valid
        assert found.record.same, [c for c in found.record.cases if not c.same][:3]
        assert found.same
        assert found.measured is not None
        assert [found.measured.share(level).k for level in LEVELS] == [0, 0, 0]
        assert len(found.measured.cases) == 36
    assert digest(made) == before


@pytest.mark.antipattern(
    "AP4", "detected at run time: what the next model does otherwise is measured on the record"
)
def test_each_level_is_counted_by_itself(made: Path, tmp_path: Path) -> None:
    """Held against what an independent run of version B, in a real database, has come to."""

    def shift(case: str) -> bool:
        return dice(case, "shift") < 40

    b = version("B", tmp_path, shift)
    found = measure(made, version("A", tmp_path), b, to=tmp_path / "b.db")
    assert found.valid
    assert found.measured is not None
    measured = {c.case: c for c in found.measured.cases}
    assert {c for c, m in measured.items() if not m.same} <= {c for c in measured if shift(c)}

    async def independent() -> None:
        assert b.agent is not None
        assert b.report is not None
        clock = VirtualClock(START)
        async with Engine.open(
            tmp_path / "real.db", agents=[b.agent], clock=clock, people=person(clock)
        ) as engine:
            engine.deploy(b.agent, b.report)
            for i in range(36):
                await engine.start_case(
                    "orders", inputs={"order": Order(id=f"o-{i}", amount=i)}, case_id=f"o-{i}"
                )
            await engine.run_until_idle()

    asyncio.run(independent())
    was, real = Reader(made), Reader(tmp_path / "real.db")
    checked = 0
    for case, m in measured.items():
        one, other = was.case(case).case, real.case(case).case
        told = [
            [x.text for x in r.log(case) if x.role in {"propose", "reject", "fault"}] for r in (was, real)
        ]
        assert ("decisions" in m.differs) == (told[0] != told[1]) or m.made_up
        if dice(case, "card") >= 25:  # else the real service refuses, and a made-up receipt does not
            checked += shift(case)
            assert ("outcome" in m.differs) == (
                (one.outcome_place, one.outcome) != (other.outcome_place, other.outcome)
            )
    assert checked > 5
    shares = {level: found.measured.share(level) for level in LEVELS}
    assert 0 < shares["outcome"].k <= shares["committed state"].k <= 36
    assert shares["decisions"].interval == wilson(shares["decisions"].k, 36)
    assert found.measured.counterfactual.k > 0
    for m in measured.values():
        if m.made_up:
            assert "committed state" in m.differs
            assert {*m.made_up} <= {"crm.publish", "billing.charge", "crm.withdraw"}
    # The runs of B are kept, and are runs: whole, in a database that is marked as a simulation.
    assert audit(tmp_path / "b.db").clean
    assert len(Reader(tmp_path / "b.db").cases()) == 36


def test_the_first_point_of_departure_is_told(made: Path, tmp_path: Path) -> None:
    found = measure(
        made, Version("the record"), version("B", tmp_path, lambda case: case == "o-5"), cases=["o-5", "o-6"]
    )
    assert found.measured is not None
    five, six = found.measured.cases
    assert six.same
    assert five.departure is not None
    line = next(x for x in Reader(made).log("o-5") if x.seq == five.departure.seq)
    assert line.text == five.departure.was
    assert line.role in {"propose", "fault"}
    assert "7" in five.departure.now


def test_a_version_that_differs_from_itself_is_not_measured(made: Path, tmp_path: Path) -> None:
    tosses = itertools.count()
    found = measure(
        made, version("A", tmp_path, lambda case: bool(case) and next(tosses) < 20), version("B", tmp_path)
    )
    assert not found.valid
    assert found.measured is None
    assert not found.same
    assert any(not c.same for c in found.control.cases)


def test_the_record_is_never_the_place_of_the_new_run(made: Path, tmp_path: Path) -> None:
    b = version("B", tmp_path, lambda case: True)
    before = digest(made)
    with pytest.raises(NotSimulation):
        measure(made, Version("the record"), b, to=made, cases=["o-1"])
    measure(made, Version("the record"), b, to=tmp_path / "b.db", cases=["o-1"])
    with pytest.raises(CaseExists):
        measure(made, Version("the record"), b, to=tmp_path / "b.db", cases=["o-1"])
    assert digest(made) == before


def offering(cap: int, says: Callable[[Request], Any]) -> Agent:
    """A policy caps what a proposer says; what passes is put, what does not is left."""

    def make(net: NetBuilder) -> None:
        inbox, done, left = net.entry("inbox", Item), net.final("done", Item), net.final("left", Item)
        net.add(
            Contract(
                "offer",
                takes=inbox,
                gives=done,
                otherwise=left,
                propose=Answers(says),
                returns=Item,
                verify=within(Item, lambda i: i.n <= cap, name="cap"),
                commit=Effect("crm.put", lambda request: None, payload=Item),
            )
        )

    return built(make)


def same(request: Request) -> Any:
    return request.payload.id, request.payload.n


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("twelve") / "x.db"

    async def run() -> None:
        agent = offering(5, same)
        async with opened(agent, database) as engine:
            deployed(engine, agent)
            await engine.start_cases(
                "small", [(f"{n:02}", {"inbox": Item(id=str(n), n=n)}) for n in range(12)]
            )
            await engine.run_until_idle()

    asyncio.run(run())
    return database


def test_another_policy_is_another_version(twelve: Path) -> None:
    """The same proposals, another verdict: cases of 3, 4 and 5 pass no more."""
    b = offering(2, same)
    assert content_hash(b.net) != content_hash(offering(5, same).net)
    found = measure(twelve, Version("the record"), Version("B", b, proofs(b.net)))
    assert found.valid
    assert found.measured is not None
    for level in LEVELS:
        assert [c.case for c in found.measured.cases if level in c.differs] == ["03", "04", "05"]


def test_decisions_may_differ_where_nothing_else_does(twelve: Path) -> None:
    """What the gate refuses is refused, whatever it was."""
    b = offering(5, lambda r: (r.payload.id, r.payload.n + 100 * (r.payload.n > 5)))
    found = measure(twelve, Version("the record"), Version("B", b, proofs(b.net)))
    assert found.measured is not None
    assert [found.measured.share(level).k for level in LEVELS] == [6, 0, 0]


def test_what_the_record_does_not_know_is_said_to_be_made_up(twelve: Path) -> None:
    b = offering(5, lambda r: (r.payload.id, 0))
    found = measure(twelve, Version("the record"), Version("B", b, proofs(b.net)))
    assert found.measured is not None
    made = {c.case: c.made_up for c in found.measured.cases if c.made_up}
    assert made == {f"{n:02}": ("crm.put",) for n in range(1, 12)}
    # A policy that refuses more asks the record's proposers again, who never said anything else.
    strict = offering(2, same)
    asked = measure(twelve, Version("the record"), None, cases=["03"])
    assert asked.measured is None
    assert asked.same
    assert content_hash(strict.net)


def test_an_unproved_version_is_not_run(twelve: Path) -> None:
    """A net of the database brings its own report; another one needs one, and all of it proved."""
    known = offering(5, same)
    assert measure(twelve, Version("A", known), None).same
    with pytest.raises(EngineError, match="nothing is known to be proved"):
        measure(twelve, Version("the record"), Version("B", offering(4, same)))


def test_what_has_not_ended_is_left_out(tmp_path: Path) -> None:
    def make(net: NetBuilder) -> None:
        inbox, done = net.entry("inbox", Item), net.final("done", Item)
        net.timer("later", after=timedelta(days=2), takes={"i": inbox}, puts={done: "i"})

    agent, database = built(make), tmp_path / "x.db"

    async def run() -> None:
        async with opened(agent, database) as engine:
            deployed(engine, agent)
            await engine.start_case("small", inputs={"inbox": Item(id="a", n=1)}, case_id="a")
            await engine.run_until_idle(until=engine.clock.now() + timedelta(days=1))
            await engine.start_case("small", inputs={"inbox": Item(id="b", n=1)}, case_id="b")
            await engine.run_until_idle(until=engine.clock.now() + timedelta(days=1.5))

    asyncio.run(run())
    found = measure(database, Version("the record"), None)
    assert [c.case for c in found.control.cases] == ["a"]
    assert found.skipped == (("b", "it is waiting: only what has ended can be compared"),)
    other = offering(5, same)
    found = measure(database, Version("A", other, proofs(other.net)), None)
    assert not found.control.cases
    assert {case for case, _ in found.skipped} == {"a", "b"}


def test_personal_values_stay_what_they_are(tmp_path: Path) -> None:
    database = tmp_path / "x.db"

    async def run() -> None:
        agent = writing(post)
        async with opened(agent, database, keys=KEYS) as engine:
            deployed(engine, agent)
            await engine.start_case("writes", inputs=applicant(), case_id="a")
            await engine.run_until_idle(until=engine.clock.now() + timedelta(days=1))
            await engine.signal("a", "answered", {"said": "thanks"})
            await engine.run_until_idle()

    asyncio.run(run())
    other = writing(post, cents=51)
    found = measure(database, Version("the record"), Version("B", other, proofs(other.net)), keys=KEYS)
    assert found.valid
    assert found.record.same
    assert found.measured is not None
    (case,) = found.measured.cases
    assert case.made_up == ("post.send",)
    assert "Jane" not in json.dumps(found.to_json())
    found = measure(database, Version("the record"), None)
    assert not found.control.cases
    assert "personal data" in found.skipped[0][1]


@pytest.mark.postgres
def test_on_postgresql_too(postgres: str, server: Any, tmp_path: Path) -> None:
    asyncio.run(ordered(postgres, tmp_path / "ledger.db", 20))
    b = version("B", tmp_path, lambda case: dice(case, "shift") < 40)
    found = measure(postgres, Version("the record"), b, to=(to := server.database()))
    assert found.valid
    assert found.record.same
    assert found.measured is not None
    assert found.measured.share("decisions").k > 0
    assert len(Reader(to).cases()) == 20


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts)
def test_the_control_of_any_run_is_zero(
    case: tuple[Agent, World], script: list[tuple[str, int, int]]
) -> None:
    """Random nets and what the outside said, in any order."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "x.db"
        asyncio.run(go(case[0], database, script, 3))
        found = measure(database, Version("the record"), None)
        assert found.valid, [c for c in found.control.cases if not c.same]
        assert found.record.same, [c for c in found.record.cases if not c.same]
