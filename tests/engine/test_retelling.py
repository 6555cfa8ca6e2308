"""A recorded run is told again bit for bit, whatever happened; what was changed is found at its entry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.engine import Engine, Reader, VirtualClock, faults
from provenet.engine.diagnosis.divergence import Version, measure, replay
from provenet.engine.diagnosis.retelling import Retold, retell
from provenet.nets.build import NetBuilder
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect
from provenet.sdb.reject import Reject
from tests.engine.kit import Answers, Item, built, deployed, opened, rechained
from tests.engine.orders import START, Order, orders, person, proofs
from tests.engine.test_personal import KEYS, applicant, post, writing
from tests.engine.test_random import World, agents, crashes, go, scripts
from tests.support.ledger import Ledger


def all_the_same(told: tuple[Retold, ...]) -> bool:
    other = [t for t in told if not t.same]
    assert not other, other[:3]
    return True


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts, crashes, st.sampled_from([None, None, 4]))
def test_any_run_is_told_again_bit_for_bit(
    case: tuple[Agent, World],
    script: list[tuple[str, int, int]],
    points: list[tuple[str, int]],
    keep: int | None,
) -> None:
    """Random nets with every kind of trigger; crashes, kills, trimmed logs."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "x.db"
        for point, nth in points:
            faults.plan(f"{point}:raise:{nth}")
            try:
                with contextlib.suppress(faults.FaultInjected):
                    asyncio.run(go(case[0], database, script, 3))
            finally:
                faults.plan(None)
        asyncio.run(go(case[0], database, script, 3, keep=keep, snapshot_every=3 if keep else 1000))
        reader = Reader(database)
        told = replay(reader)
        assert all_the_same(told)
        assert {t.case: t.first - 1 + t.entries for t in told} == {v.id: v.firings for v in reader.cases()}


async def ordered(database: str | Path, ledger: Path, count: int = 60) -> None:
    """Orders with rejects, faults, people, failing effects and compensations."""
    agent, clock = orders(Ledger(ledger)), VirtualClock(START)
    async with Engine.open(database, agents=[agent], clock=clock, people=person(clock)) as engine:
        engine.deploy(agent, proofs(agent.net))
        cases = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(count)]
        await engine.start_cases("orders", cases)
        await engine.run_until_idle()


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retold")
    asyncio.run(ordered(folder / "made.db", folder / "ledger.db"))
    return folder / "made.db"


def test_rejects_people_and_compensations_are_told_again(sixty: Path) -> None:
    told = replay(sixty)
    assert len(told) == 60
    assert all_the_same(told)
    assert sum(t.entries for t in told) > 600
    assert not any(t.followed or t.unasked for t in told)


@pytest.mark.postgres
def test_on_postgresql_too(postgres: str, tmp_path: Path) -> None:
    asyncio.run(ordered(postgres, tmp_path / "ledger.db", 25))
    told = replay(postgres)
    assert len(told) == 25
    assert all_the_same(told)


@pytest.mark.slow
def test_the_renewal_agent_is_told_again(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "provenet", "demo", "--limit", "40", "--out", "kept", "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    told = replay(tmp_path / "kept" / "renewals.db")
    assert len(told) == 40
    assert all_the_same(told)
    # Run anew from its record, with three children side by side, it is the same as well.
    anew = measure(tmp_path / "kept" / "renewals.db", Version("the record"), None)
    assert anew.valid
    assert anew.record.same, [c for c in anew.record.cases if not c.same][:3]


# what was changed


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("a policy's reason", lambda data: data.replace('"got":"90"', '"got":"31"')),
        ("a token's number", lambda data: data.replace('"put":[[', '"put":[[1')),
    ],
)
def test_a_changed_entry_is_found_where_it_is(sixty: Path, tmp_path: Path, kind: str, change: object) -> None:
    """Also where whoever changed it made the chain of hashes fit again."""
    assert callable(change)
    reader = Reader(sixty)
    rejected = {
        v.id: x.seq for v in reader.cases() for x in reader.log(v.id) if x.role == "reject" and "90" in x.text
    }
    case, seq = next(iter(rejected.items()))
    shutil.copy(sixty, tmp_path / "x.db")
    rechained(tmp_path / "x.db", case, lambda n, data: change(data) if n == seq else data)
    told = retell(Reader(tmp_path / "x.db"), case)
    assert not told.same, kind
    assert told.departure is not None
    assert told.departure.seq == seq


def test_what_follows_at_once_may_not_be_left_out(sixty: Path, tmp_path: Path) -> None:
    """A log that only stops short is a run of the net, and no run of the engine."""
    reader = Reader(sixty)
    case, last = next(
        (v.id, x.seq)
        for v in reader.cases()
        for x in reader.log(v.id)
        if x.role == "reject" and x.seq < v.firings
    )
    shutil.copy(sixty, tmp_path / "x.db")
    rechained(tmp_path / "x.db", case, lambda n, data: data if n < last else None)
    told = retell(Reader(tmp_path / "x.db"), case)
    assert told.departure is not None
    assert (told.departure.seq, told.departure.was) == (last, "")
    assert "reject" in told.departure.now


def test_tokens_that_nobody_put_there_are_found(sixty: Path, tmp_path: Path) -> None:
    import sqlite3

    shutil.copy(sixty, tmp_path / "x.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
        ((no, token),) = db.execute(
            "SELECT case_no, id FROM provenet_token ORDER BY case_no LIMIT 1"
        ).fetchall()
        db.execute(
            "UPDATE provenet_token SET arrived = arrived + 1 WHERE case_no = ? AND id = ?", (no, token)
        )
        ((case,),) = db.execute("SELECT id FROM provenet_case WHERE no = ?", (no,)).fetchall()
    told = retell(Reader(tmp_path / "x.db"), case)
    assert told.departure is None
    assert not told.same


# verifiers that are functions, and personal data


def judged(limit: int) -> Agent:
    """A function verifies what a proposer says."""

    def look(proposal: Item, inputs: Item) -> Reject | None:
        return (
            None if proposal.n <= limit else Reject(rule="too much", expected=str(limit), got=str(proposal.n))
        )

    def make(net: NetBuilder) -> None:
        inbox, done, left = net.entry("inbox", Item), net.final("done", Item), net.final("left", Item)
        net.add(
            Contract(
                "offer",
                takes=inbox,
                gives=done,
                otherwise=left,
                propose=Answers(lambda r: (r.payload.id, r.payload.n * r.attempt)),
                returns=Item,
                verify=look,
                commit=Effect("crm.put", lambda request: None, payload=Item),
                attempts=2,
            )
        )

    return built(make)


def test_functions_are_asked_again_where_they_are_at_hand(tmp_path: Path) -> None:
    database = tmp_path / "x.db"

    async def run() -> None:
        agent = judged(3)
        async with opened(agent, database) as engine:
            deployed(engine, agent)
            await engine.start_cases("small", [(str(n), {"inbox": Item(id=str(n), n=n)}) for n in range(6)])
            await engine.run_until_idle()

    asyncio.run(run())
    alone = replay(database)
    assert all_the_same(alone)
    assert sum(t.unasked for t in alone) > 5
    assert all_the_same(replay(database, [judged(3)]))
    assert not any(t.unasked for t in replay(database, [judged(3)]))
    other = {t.case: t.departure for t in replay(database, [judged(4)]) if not t.same}
    assert set(other) == {"4", "5"}  # the same net, whose function has another limit, and other words, now
    assert other["4"] is not None
    assert "accept" in other["4"].now


def test_personal_values_are_told_again_with_the_keys_and_followed_without(tmp_path: Path) -> None:
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
    (told,) = replay(database, keys=KEYS)
    assert told.same
    assert not told.followed
    (closed,) = replay(database)
    assert closed.same
    assert closed.followed


def test_the_report_is_json(sixty: Path) -> None:
    told = retell(Reader(sixty), "o-1")
    assert json.loads(json.dumps(told.to_json()))["same"] is True


def test_a_parked_case_that_is_killed_or_goes_on_is_told_again(tmp_path: Path) -> None:
    """A kill finds it before anything follows; where it is resumed, what follows at once follows first."""

    def make(net: NetBuilder) -> None:
        inbox, bad = net.entry("inbox", Item), net.place("bad", Item)
        spoiled, done = net.place("spoiled", Item, capacity=1), net.final("done", Item)
        net.route("fork", takes={"i": inbox}, puts={bad: "i", spoiled: "i"})
        net.route("spoil", takes={"b": bad}, puts={spoiled: "b", done: "b"})  # more than it may hold
        net.rests(spoiled)

    agent, database = built(make), tmp_path / "x.db"

    async def run() -> None:
        async with opened(agent, database) as engine:
            deployed(engine, agent)
            for n in (0, 1):
                await engine.start_case("small", inputs={"inbox": Item(id=str(n), n=0)}, case_id=str(n))
            await engine.run_until_idle()
            await engine.resume("0")
            await engine.kill("case", "0", who="dana")
            await engine.kill("case", "1", who="dana")

    asyncio.run(run())
    told = replay(database)
    assert {v.status for v in Reader(database).cases()} == {"killed"}
    assert all_the_same(told)
