"""Cases that other processes run move as well: looked at from outside, moved by whoever runs them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from provenet.engine import Engine, Reader, audit, faults
from provenet.engine.errors import EngineError
from provenet.engine.marking_map import MarkingMap
from provenet.engine.migrate import Migration, quiet
from provenet.engine.migrate_all import migrate_database
from provenet.nets.formats.canonical import content_hash
from provenet.sdb.handlers import Agent
from tests.engine.kit import START, deployed, opened
from tests.engine.test_migrate import clean, items, renewal

SAME = MarkingMap()
OLD, NEW = renewal(), renewal(limit=20, days=14)
BEFORE, AFTER = content_hash(OLD.net), content_hash(NEW.net)


async def ask_all(database: str | Path, **options: Any) -> Migration:
    """What `provenet migrate` does, beside whoever runs the cases."""
    agents = [quiet(OLD.net, "nothing"), quiet(NEW.net, "code")]
    return await asyncio.to_thread(
        migrate_database, database, (BEFORE, AFTER), options.pop("plan", SAME), agents, **options
    )


async def begun(engine: Engine, *numbers: int, first: str = "c") -> None:
    await engine.start_cases(
        "renewal", [(f"{first}{n}", {"in": i}) for n, i in zip(numbers, items(*numbers), strict=True)]
    )
    await engine.run_until_idle(until=START + timedelta(days=1))


def versions(database: str | Path) -> Counter[str]:
    return Counter(c.net_hash for c in Reader(database).cases())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two versions; the old one starts cases, since the agent of the other is not there."""
    path = tmp_path / "x.db"

    async def deploy() -> None:
        async with opened([], path, takes="asked") as engine:
            deployed(engine, NEW)
            deployed(engine, OLD)

    asyncio.run(deploy())
    return path


async def test_who_runs_the_cases_moves_them_and_goes_on(database: Path) -> None:
    async with opened([OLD, NEW], database) as engine:
        await begun(engine, 10, 25, 99)
        before = list(Reader(database).export())
        tried = await ask_all(database, dry_run="yes")
        assert list(Reader(database).export()) == before
        found = await ask_all(database)
        assert found.groups == tried.groups
        assert (found.moving, found.staying) == (2, 1)
        assert "'small'" in next(g.why for g in found.groups if not g.moves)
        due = {c: Reader(database).case(c).timers[0][1] - START for c in ("c10", "c25", "c99")}
        assert due == {"c10": timedelta(days=14), "c25": timedelta(days=7), "c99": timedelta(days=30)}
        clean(database)
        await engine.run_until_idle()
    assert Reader(database).counts() == {"done": 3}
    clean(database)


async def test_who_has_no_agent_of_the_new_version_lets_go_of_them(database: Path) -> None:
    async with opened(OLD, database) as engine:
        await begun(engine, 10, 99)
        assert (await ask_all(database)).moving == 2
        clean(database)
        with pytest.raises(EngineError, match="its agent was not given"):
            await engine.signal("c10", "none")
        await engine.run_until_idle()
    assert Reader(database).counts() == {"waiting": 2}
    async with opened([OLD, NEW], database) as engine:
        await engine.run_until_idle()
    assert Reader(database).counts() == {"done": 2}
    assert versions(database) == {AFTER: 2}
    clean(database)


async def test_what_has_moved_on_since_it_was_looked_at_stays(database: Path) -> None:
    async with opened([OLD, NEW], database) as engine:
        await begun(engine, 10, 99)
        ((seq, head),) = engine._store.rows("SELECT version, head FROM provenet_case WHERE id = 'c10'")
        command = {"do": "move", "case": "c10", "old": BEFORE, "new": AFTER, "map": {}}
        for told in ((seq - 1, head.hex()), (seq, "00" * 32)):
            answer = await engine.move_found(command | {"cases": [["c10", *told, "history"]]})
            assert (answer["moved"], answer["stays"]) == ([], {})
        assert versions(database) == {BEFORE: 2}
        answer = await engine.move_found(command | {"cases": [["c10", seq, head.hex(), "history"]]})
        assert answer["moved"] == ["c10"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cases": [["c10", 1]]},
        {"cases": [["c10", "1", "x", "history"]]},
        {"cases": [["c10", 1, "x", "certain"]]},
        {"cases": [None]},
        {"map": {"places": 7}},
        {"map": {"places": {"nowhere": "waiting"}}},
        {"old": "0" * 64},
        {"new": "0" * 64},
        {"new": None},
    ],
)
async def test_a_request_that_is_none_brings_nobody_down(database: Path, wrong: dict[str, Any]) -> None:
    from provenet.engine.requests import post

    async with opened(OLD, database) as engine:
        await begun(engine, 10)
        command = {"do": "move", "case": "c10", "old": BEFORE, "new": AFTER, "map": {}, "cases": []} | wrong
        with pytest.raises(EngineError):
            await asyncio.to_thread(post, database, command)
        assert await asyncio.to_thread(post, database, {"do": "kill", "scope": "case", "target": "c10"})
    assert versions(database) == {BEFORE: 1}


@pytest.mark.attack(
    "a posted move whose evidence is a lie",
    "refused: who runs the case fires its history again, and asks the state graph of the new version",
)
@pytest.mark.parametrize("said", ["history", "state", "assumed"])
@pytest.mark.parametrize("new", ["at hand", "elsewhere"])
async def test_the_evidence_of_a_posted_move_is_looked_at_again(database: Path, said: str, new: str) -> None:
    from provenet.engine.requests import post

    async with opened([OLD, NEW] if new == "at hand" else OLD, database) as engine:
        await begun(engine, 10, 25)
        told = {
            case: (case, seq, head.hex(), said)
            for case, seq, head in engine._store.rows("SELECT id, version, head FROM provenet_case")
        }

        async def move(case: str, plan: dict[str, Any]) -> dict[str, Any]:
            command = {"do": "move", "case": case, "old": BEFORE, "new": AFTER, "map": plan}
            return await asyncio.to_thread(post, database, command | {"cases": [told[case]]})

        lies: list[tuple[str, Any]] = [
            ("c10", {"add": {"waiting": [{"id": "x", "n": 1}]}}),
            ("c10", {"places": {"waiting": None}}),
        ]
        if said != "assumed":
            # The graph knows too little of them to say no: who assumes that they may be is let to.
            lies += [("c25", {}), ("c10", {"places": {"waiting": "review"}})]
        for case, plan in lies:
            answer = await move(case, plan)
            assert answer["moved"] == [], plan
            assert "history is none of the new net" in answer["stays"][case], answer
        assert versions(database) == {BEFORE: 2}
        assert (await move("c10", {}))["moved"] == ["c10"]
    with closing(sqlite3.connect(database)) as db:
        ((data,),) = db.execute("SELECT data FROM provenet_event WHERE kind = 'migrate'")
    assert json.loads(data)["reached"] == "history"  # what it is, whatever was said
    clean(database)


async def test_who_does_not_answer_is_asked_once(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from provenet.engine import migrate_all, requests
    from provenet.engine.requests import Requests

    async def deaf(self: Requests) -> None:
        """As a process that hangs."""

    monkeypatch.setattr(requests, "PATIENCE", 0.5)
    monkeypatch.setattr(migrate_all, "AT_ONCE", 1)
    async with opened([OLD, NEW], database) as engine:
        await begun(engine, 10, 11, 12)
        monkeypatch.setattr(Requests, "answer_new", deaf)
        found = await ask_all(database)
        assert (found.moving, found.staying) == (0, 3)
        assert "does not answer" in found.groups[0].why
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT status FROM provenet_request").fetchall() == [("withdrawn",)]
    assert versions(database) == {BEFORE: 3}


@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
async def test_a_crash_of_who_moves_them(
    database: Path, point: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from provenet.engine import requests

    monkeypatch.setattr(requests, "PATIENCE", 1.0)
    async with opened([OLD, NEW], database) as engine:
        await begun(engine, 10, 20, 99)
        faults.plan(f"{point}:raise:{nth}")
        try:
            await ask_all(database)
        finally:
            faults.plan(None)
    clean(database)
    async with opened([OLD, NEW], database) as engine:
        again = await ask_all(database)
        assert again.staying == 0
        assert versions(database) == {AFTER: 3}
        await engine.run_until_idle()
    assert Reader(database).counts() == {"done": 3}
    clean(database)


@pytest.mark.postgres
async def test_cases_of_several_processes_move(postgres: str) -> None:
    """One owner has both agents, one has the old one only, and some cases are nobody's."""

    async def opened_by(stack: AsyncExitStack, *agents: Agent, **options: Any) -> Engine:
        return await stack.enter_async_context(opened(agents, postgres, **options))

    async with opened([], postgres, takes="asked") as engine:
        deployed(engine, NEW)
        deployed(engine, OLD)
    async with AsyncExitStack() as stack:
        first = await opened_by(stack, OLD)
        await begun(first, 1, 2, 99, first="a")
        second = await opened_by(stack, OLD, NEW)
        await begun(second, 3, 4, 25, first="b")
        async with opened(OLD, postgres, takes="asked") as third:
            await third.start_cases("renewal", [("free", {"in": items(5)[0]})])
            third._runner.forget(third._runner.cases["free"])
        found = await ask_all(postgres)
        assert (found.moving, found.staying) == (6, 1), found.to_json()
        assert audit(postgres).clean
        assert versions(postgres) == {AFTER: 6, BEFORE: 1}
        # Who has the new version's agent takes up what the other let go of.
        for _ in range(100):
            if {"a1", "a2", "a99", "b3", "b4"} <= set(second._runner.cases):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(sorted(second._runner.cases))
        for engine in (first, second):
            await engine.run_until_idle()
        assert audit(postgres).clean
    assert Reader(postgres).counts() == {"done": 7}


async def test_only_who_may_migrate_is_obeyed(database: Path) -> None:
    """A guarded database: the token goes to whoever runs the cases, sealed, and so does its refusal."""
    pytest.importorskip("jwt", reason="the extra provenet[access] is not installed")
    from tests.engine.test_access import rules, token

    async with opened([OLD, NEW], database, access=rules()) as engine:
        await engine.start_cases("renewal", [("c10", {"in": items(10)[0]})], token=token(engine, "operator"))
        await engine.run_until_idle(until=START + timedelta(days=1))
        for given in (None, token(engine, "pricing")):
            found = await ask_all(database, token=given)
            assert found.moving == 0
            assert "the process that runs it" in found.groups[0].why
        assert versions(database) == {BEFORE: 1}
        assert (await ask_all(database, token=token(engine, "operator"))).moving == 1
    assert versions(database) == {AFTER: 1}
    clean(database)
