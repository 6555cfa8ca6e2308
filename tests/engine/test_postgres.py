"""PostgreSQL behind the store: the same histories as on SQLite, and several processes on one database."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from provenet.engine import Engine, Reader, RealClock, audit, transaction
from provenet.engine.errors import CaseElsewhere, CaseExists, KillSwitchOn, StoreCorrupt, StoreError
from provenet.engine.requests import ask
from provenet.nets.build import NetBuilder
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from tests.engine.kit import Item, built, deployed, opened
from tests.engine.orders import run
from tests.support.ledger import Ledger
from tests.support.postgres import Server

pytestmark = pytest.mark.postgres

CASES = 30
WEEK = timedelta(days=7)


def histories(database: str) -> list[tuple[str, list[object]]]:
    """What each case's log says, but for keys and hashes: they are the database's own."""
    found = []
    for line in Reader(database).export():
        case = json.loads(line)
        said = [(e["transition"], {**e["data"], "note": ""}) for e in case["log"]]
        found.append((case["case"]["id"], [*said, case["marking"]]))
    return sorted(found)


def asking() -> Agent:
    """Each case waits for a person."""

    def make(net: NetBuilder) -> None:
        seen, yes, no = net.entry("seen", Item), net.final("yes", Item), net.final("no", Item)
        net.add(Human("look", takes=seen, approve=yes, deny=no, who="pricing", within=WEEK))

    return built(make)


def items(name: str, count: int) -> list[tuple[str, dict[str, object]]]:
    return [(f"{name}{i}", {"seen": Item(id=f"{name}{i}", n=i)}) for i in range(count)]


def process(agent: Agent, database: str) -> Engine:
    """An engine on the real clock, as a process of its own would have it."""
    return opened(agent, database, clock=RealClock())


async def soon(true: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def in_thread(call: Callable[[], object]) -> object:
    return await asyncio.get_running_loop().run_in_executor(None, call)


def test_a_run_has_the_same_history_as_on_sqlite(tmp_path: Path, postgres: str) -> None:
    here, there = Ledger(tmp_path / "here"), Ledger(tmp_path / "there")
    asyncio.run(run(f"{tmp_path}/x.db", here, CASES))
    asyncio.run(run(postgres, there, CASES))
    assert there.effects() == here.effects()
    assert there.calls() == here.calls()
    assert histories(postgres) == histories(f"{tmp_path}/x.db")
    found = audit(postgres)
    assert found.clean, [str(p) for p in found.problems[:5]]
    assert found.cases == CASES


async def test_an_id_is_taken_once_whichever_process_asks(postgres: str) -> None:
    agent = asking()
    async with process(agent, postgres) as one, process(agent, postgres) as other:
        deployed(one, agent)
        deployed(other, agent)
        results = await asyncio.gather(
            *(e.start_case("small", inputs=items("c", 1)[0][1], case_id="c0") for e in (one, other)),
            return_exceptions=True,
        )
        assert [type(r) for r in results if isinstance(r, Exception)] == [CaseExists]
        await one.start_cases("small", items("c", 20), existing="skip")
        await other.start_cases("small", items("c", 25), existing="skip")
    assert Reader(postgres).counts() == {"waiting": 25}
    assert audit(postgres).clean


async def test_each_case_is_run_by_one_process_and_taken_over_when_that_one_ends(postgres: str) -> None:
    agent = asking()
    async with process(agent, postgres) as one, process(agent, postgres) as other:
        deployed(one, agent)
        await one.start_cases("small", items("c", 100))
        with pytest.raises(CaseElsewhere):
            await other.approve("c5", "look", "dana@pricing")
        # Its session ends without a word, as that of a killed process does.
        one._store.database.connection.close()  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="server"):
            await one.approve("c5", "look", "dana@pricing")
        await soon(lambda: len(other._runner.cases) == 100)
        for i in range(100):
            await other.approve(f"c{i}", "look", "dana@pricing")
    assert Reader(postgres).counts() == {"done": 100}
    assert audit(postgres).clean


async def test_requests_reach_the_process_that_runs_the_case(postgres: str) -> None:
    agent = asking()
    async with process(agent, postgres) as one, process(agent, postgres) as other:
        deployed(one, agent)
        deployed(other, agent)
        await one.start_cases("small", items("a", 2))
        await other.start_cases("small", items("b", 2))
        for case in ("a0", "b0"):
            command = {"do": "decide", "case": case, "task": "look", "choice": "approve", "who": "d@pricing"}
            said = await in_thread(partial(ask, postgres, command))
            assert isinstance(said, dict)
            assert "note" not in said
        with pytest.raises(Exception, match="does not move"):
            await in_thread(lambda: ask(postgres, command))
        assert one.read.case("a0").case.status == "done"
        assert other.read.case("b0").case.status == "done"
    # Nobody runs the others now: who asks acts alone, and leaves them to whoever comes next.
    command = {"do": "decide", "case": "a1", "task": "look", "choice": "deny", "who": "d@pricing"}
    said = await in_thread(lambda: ask(postgres, command))
    assert isinstance(said, dict)
    assert "no engine runs" in said["note"]
    assert Reader(postgres).case("a1").case.outcome_place == "no"


async def test_a_kill_switch_reaches_every_process_within_a_second(postgres: str) -> None:
    agent = asking()
    async with process(agent, postgres) as one, process(agent, postgres) as other:
        deployed(one, agent)
        deployed(other, agent)
        await one.start_cases("small", items("a", 10))
        await other.start_cases("small", items("b", 10))
        began = time.monotonic()
        await in_thread(lambda: ask(postgres, {"do": "kill", "scope": "net", "target": "small"}))
        asked = time.monotonic() - began
        await soon(lambda: Reader(postgres).counts() == {"killed": 20}, seconds=asked + 1)
        with pytest.raises(KillSwitchOn):
            await other.start_case("small", inputs=items("c", 1)[0][1])
        await in_thread(lambda: ask(postgres, {"do": "release", "scope": "net", "target": "small"}))
        await asyncio.sleep(0.5)
        await other.start_case("small", inputs=items("c", 1)[0][1])
    assert audit(postgres).clean


def seats(effect: Callable[[Request], object]) -> Agent:
    """One transactional effect."""

    def make(net: NetBuilder) -> None:
        seen, yes, no = net.entry("seen", Item), net.final("yes", Item), net.final("no", Item)
        put = Effect("book", effect, payload=Item, external=False)
        fits = within(Item, lambda i: i.n >= 0, name="seats")
        net.add(Contract("book", takes=seen, verify=fits, commit=put, gives=yes, otherwise=no, on_failure=no))

    return built(make)


async def test_a_transactional_effect_shares_the_marking_s_transaction(postgres: str) -> None:
    def book(request: Request) -> None:
        transaction().execute("CREATE TABLE IF NOT EXISTS seats (seat bigint PRIMARY KEY)")
        transaction().execute("INSERT INTO seats VALUES (?)", (request.payload.n % 3,))

    async with opened(seats(book), postgres) as engine:
        deployed(engine, seats(book))
        await engine.start_cases("small", items("c", 5))
        await engine.run_until_idle()
        ended = [c.outcome_place for c in engine.read.cases()]
    # The second booking of a seat fails, and takes nothing else with it.
    assert ended == ["yes", "yes", "yes", "no", "no"]
    with psycopg.connect(postgres) as db:
        assert db.execute("SELECT COUNT(*) FROM seats").fetchone() == (3,)
    assert audit(postgres).clean


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "  rollback",
        "SAVEPOINT x",
        "UPDATE provenet_case SET status = 'done'",
        "DROP TABLE provenet_event",
        "WITH gone AS (DELETE FROM provenet_token RETURNING 1) SELECT count(*) FROM gone",
        "SELECT 1; COMMIT",
        "/* */ COMMIT",
        "DO $$ BEGIN DELETE FROM provenet_token; END $$",
    ],
)
async def test_a_transactional_effect_may_not_end_the_transaction_or_write_our_tables(
    postgres: str, statement: str
) -> None:
    agent = seats(lambda _: transaction().execute(statement))
    async with opened(agent, postgres) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", items("c", 2))
        await engine.run_until_idle()
        assert [c.outcome_place for c in engine.read.cases()] == ["no", "no"]
    assert audit(postgres).clean


async def test_a_server_that_goes_away_loses_nothing(tmp_path: Path, server: Server, postgres: str) -> None:
    agent = asking()
    async with process(agent, postgres) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", items("c", 10))
        server.kill()
        with pytest.raises(StoreError, match="server"):
            await engine.approve("c0", "look", "dana@pricing")
    server.start()
    async with process(agent, postgres) as engine:
        for i in range(10):
            await engine.approve(f"c{i}", "look", "dana@pricing")
    assert Reader(postgres).counts() == {"done": 10}
    assert audit(postgres).clean


def test_what_is_no_database_of_ours_is_said(postgres: str) -> None:
    with pytest.raises(StoreCorrupt, match="no database of the engine"):
        Reader(postgres)
    secret = "postgresql://dana:hunter2@127.0.0.1:1/none"
    with pytest.raises(StoreError) as refused:
        Reader(secret)
    assert "hunter2" not in str(refused.value)
    assert "dana:***@" in str(refused.value)
