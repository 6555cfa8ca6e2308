"""Between the steps: half-done operations, closing in the midst of work, stops that come late."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from provenet.engine import Engine, RealClock, VirtualClock, audit, transaction
from provenet.engine.errors import CaseClosed, DeployRefused, StoreFull
from provenet.engine.store import store
from provenet.engine.store.sqlite import Sqlite
from provenet.nets.build import NetBuilder
from provenet.nets.net import Auto, Choice, OnFailure, Perform
from provenet.sdb.handlers import Agent, Effect, Request
from provenet.sdb.reject import REJECT
from tests.engine.kit import START, Answers, Item, built, deployed, opened
from tests.engine.test_work import asking, performing


def many(n: int) -> list[tuple[str, dict[str, Any]]]:
    return [(f"c{i}", {"start": Item(id=f"c{i}", n=i)}) for i in range(n)]


async def test_closing_starts_no_work_that_was_waiting_its_turn(tmp_path: Path) -> None:
    called: list[str] = []
    first = asyncio.Event()

    async def slow(request: Request) -> None:
        called.append(request.case)
        first.set()
        await asyncio.sleep(3600)

    agent = performing(Effect("slow", slow, payload=Item))
    async with opened(agent, tmp_path / "x.db", effects=1) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(5))
        await first.wait()
    await asyncio.sleep(0)
    assert called == ["c0"]
    assert audit(tmp_path / "x.db").clean


async def test_a_handler_that_cancels_itself_has_failed() -> None:
    async def cancelled(request: Request) -> None:
        raise asyncio.CancelledError

    agent = performing(Effect("odd", cancelled, payload=Item, tries=2))
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))
        await engine.run_until_idle()
        assert engine.read.case("c0").case.outcome_place == "lost"
    agent = asking(Answers(cancelled))
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))
        await engine.run_until_idle()
        outcome = engine.read.case("c0").case.outcome
        assert "cancelled from within" in outcome["got"]


async def test_an_event_and_its_key_are_in_one_commit_however_much_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", Item), net.final("done", Item)
        seen = net.place("seen", int)
        net.event("note", event="note", reads={"s": start}, brings={"n": int}, puts={seen: "n"})
        net.event("end", event="end", takes={"s": start}, puts={done: "s"})
        net.rests(seen)

    agent = built(make)
    async with opened(agent, tmp_path / "x.db") as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))
        monkeypatch.setattr(store, "_FLUSH_ROWS", 1)
        commits = engine.progress().commits
        await engine.signal("c0", "note", 1)
        assert engine.progress().commits == commits + 1


async def test_on_the_real_clock_every_step_is_durable_soon(tmp_path: Path) -> None:
    agent = asking(Answers(lambda r: ("a", 2)))
    async with Engine.open(tmp_path / "x.db", agents=[agent], clock=RealClock()) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))
        status = "running"
        with closing(sqlite3.connect(tmp_path / "x.db")) as other:
            async with asyncio.timeout(60):
                while status != "done":
                    await asyncio.sleep(0.01)
                    ((status,),) = other.execute("SELECT status FROM provenet_case").fetchall()


async def test_a_clock_does_not_run_on_for_timers_of_cases_that_are_over() -> None:
    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", Item), net.final("done", Item)
        net.event("end", event="end", takes={"s": start}, puts={done: "s"})
        net.timer("late", after=timedelta(days=90), takes={"s": start}, puts={done: "s"})

    agent, clock = built(make), VirtualClock(START)
    async with opened(agent, clock=clock) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(2))
        await engine.signal("c0", "end")
        await engine.signal("c1", "end")
        await engine.run_until_idle()
        assert clock.now() == START
        assert engine.read.counts() == {"done": 2}


async def test_a_task_opens_when_the_other_token_that_its_choice_needs_arrives() -> None:
    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", Item), net.final("done", Item)
        here, other = net.place("here", Item), net.place("other", Item)
        late = net.place("late", Item)
        net.route("fork", takes={"s": start}, puts={here: "s", late: "s"})
        net.timer("arrive", after=timedelta(days=1), takes={"l": late}, puts={other: "l"})
        net.transition(
            "yes", takes={"h": here, "o": other}, puts={done: "h"}, trigger=Choice("decide", "yes", "")
        )

    agent = built(make)
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))
        await engine.run_until_idle()
        assert [t.task for t in engine.read.tasks()] == ["decide"]
        assert audit(engine.read.engine).clean
        await engine.decide("c0", "decide", "yes", "anybody")
        assert engine.read.counts() == {"done": 1}


def stuck(effect: Effect) -> Agent:
    """Parks beside an effect: ``start`` forks to ``committing`` and to a token that breaks its promise."""

    def make(net: NetBuilder) -> None:
        start, done, bad = net.entry("start", Item), net.final("done", Item), net.place("bad", Item)
        committing, spoiled = net.place("committing", Item), net.place("spoiled", Item, capacity=1)
        net.route("fork", takes={"s": start}, puts={committing: "s", bad: "s", spoiled: "s"})
        net.transition(
            "commit",
            takes={"c": committing},
            brings={"r": effect.receipt_type},
            puts={done: "c"},
            trigger=Perform(net.handle(effect.name, effect), None),
        )
        net.transition("spoil", takes={"b": bad}, puts={spoiled: "b"}, trigger=Auto())
        net.rests(spoiled)

    return built(make)


async def test_a_parked_case_begins_no_effect_and_the_kill_switch_reaches_it(tmp_path: Path) -> None:
    calls: list[str] = []
    agent = stuck(Effect("e", lambda r: calls.append(r.case), payload=Item))
    async with opened(agent, tmp_path / "x.db") as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(2))
        await engine.run_until_idle()
        assert engine.read.counts() == {"parked": 2}
        await engine.resume("c0")
        await engine.run_until_idle()
        assert engine.read.counts() == {"parked": 2}
        assert await engine.kill("case", "c0", who="ops") == 1
        assert await engine.kill("all", who="ops") == 1
        assert engine.read.counts() == {"killed": 2}
    assert calls == []
    assert audit(tmp_path / "x.db").clean


async def test_the_kill_switch_reaches_cases_whose_agent_comes_later(tmp_path: Path) -> None:
    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", Item), net.final("done", Item)
        net.timer("late", after=timedelta(days=1), takes={"s": start}, puts={done: "s"})

    agent = built(make)
    async with opened(agent, tmp_path / "x.db") as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(3))
    async with opened([], tmp_path / "x.db") as engine:
        assert await engine.kill("net", "small") == 0
    async with opened(agent, tmp_path / "x.db") as engine:
        await engine.run_until_idle()
        assert engine.read.counts() == {"killed": 3}
    assert audit(tmp_path / "x.db").clean


async def test_the_last_deployed_version_is_current_also_where_time_stood_still(tmp_path: Path) -> None:
    def version(days: int) -> Agent:
        def make(net: NetBuilder) -> None:
            start, done = net.entry("start", Item), net.final("done", Item)
            net.timer("late", after=timedelta(days=days), takes={"s": start}, puts={done: "s"})

        return built(make)

    versions = [version(d) for d in (1, 2, 3)]
    versions.append(versions[0])
    async with opened(versions, tmp_path / "x.db") as engine:
        last = [deploy(engine, agent) for agent in versions][-1]
    async with opened(versions, tmp_path / "x.db") as engine:
        await engine.start_cases("small", many(1))
        assert engine.read.case("c0").case.net_hash == last


def deploy(engine: Engine, agent: Agent) -> str:
    from tests.engine.orders import proofs

    return engine.deploy(agent, proofs(agent.net))


async def test_the_gate_refuses_a_net_that_can_forget_an_effect_in_flight() -> None:
    effect = Effect("e", lambda r: None, payload=Item)

    def make(net: NetBuilder) -> None:
        start, done, lost = net.entry("start", Item), net.final("done", Item), net.place("lost", REJECT)
        take = net.handle("e", effect)
        net.transition("commit", takes={"s": start}, puts={done: "s"}, trigger=Perform(take, None))
        net.transition(
            "fail",
            takes={"s": start},
            brings={"why": REJECT},
            puts={lost: "why"},
            trigger=OnFailure("commit"),
        )
        net.timer("late", after=timedelta(days=1), takes={"s": start}, puts={done: "s"})
        net.rests(lost)

    agent = built(make)
    async with opened(agent) as engine:
        with pytest.raises(
            DeployRefused, match="'late' may take a token of 'start' while effect 'commit' runs"
        ):
            deployed(engine, agent)


async def test_a_full_disk_inside_a_transactional_effect_loses_the_whole_transaction(tmp_path: Path) -> None:
    def write(request: Request) -> None:
        execute = transaction().execute
        execute("CREATE TABLE IF NOT EXISTS mine (text)")
        size = 10 if request.case == "c0" else 50_000_000
        execute("INSERT INTO mine VALUES (zeroblob(?))", (size,))

    agent = performing(Effect("write", write, payload=Item, external=False))
    async with opened(agent, tmp_path / "x.db") as engine:
        deployed(engine, agent)
        pages = _driver(engine).execute("PRAGMA page_count").fetchone()[0]
        _driver(engine).execute(f"PRAGMA max_page_count = {pages + 40}")
        with pytest.raises(StoreFull):
            await engine.start_cases("small", many(2))
    async with opened([], tmp_path / "x.db") as engine:
        with closing(sqlite3.connect(tmp_path / "x.db")) as db:
            tables = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE name = 'mine'")]
        assert tables == []
        assert engine.read.counts() == {}
    assert audit(tmp_path / "x.db").clean


async def test_a_finished_case_leaves_memory() -> None:
    agent = asking(Answers(lambda r: ("a", 2)))
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(50))
        await engine.run_until_idle()
        runner = engine._runner
        assert not runner.cases
        assert not runner.numbers
        assert not any(runner.jobs._queues.values())
        assert runner.waits.next_due() is None
        assert not runner.waits._due


async def test_deadlines_that_were_taken_down_leave_memory_long_before_they_are_due() -> None:
    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", Item), net.final("done", Item)
        net.event("go", event="go", takes={"i": start}, puts={done: "i"})
        net.timer("late", after=timedelta(days=90), takes={"i": start}, puts={done: "i"})

    agent = built(make)
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))  # its deadline comes first, and it waits
        for n in range(3_000):
            await engine.start_case("small", inputs={"start": Item(id="x", n=n)}, case_id=f"other-{n}")
            await engine.signal(f"other-{n}", "go")
        assert len(engine._runner.waits._due) < 1_100
        assert engine._runner.waits.next_due() is not None


@pytest.mark.parametrize("parked", [False, True])
async def test_a_task_that_nobody_could_decide_any_more_ends_with_its_token(
    tmp_path: Path, parked: bool
) -> None:
    def make(net: NetBuilder) -> None:
        start, done, aside = net.entry("start", Item), net.final("done", Item), net.place("aside", Item)
        one, other = net.place("one", Item), net.place("other", Item)
        net.rests(other, aside)
        net.transition("split", takes={"i": start}, puts={one: "i", other: "i"})
        both: dict[str, Any] = {"takes": {"i": one, "j": other}, "puts": {done: "i"}}
        net.transition("ok", trigger=Choice("look", "ok", "dana"), **both)
        net.event("drop", event="drop", takes={"j": other}, puts={aside: "j"})
        net.event("end", event="end", takes={"i": one}, puts={done: "i"})

    agent, path = built(make), tmp_path / "x.db"
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))
        await engine.signal("c0", "drop")
        if parked:
            engine._runner.park(engine._runner.cases["c0"], "for a test")
            await engine.resume("c0")
        assert [t.task for t in engine.read.tasks()] == ["look"]
    async with opened(agent, path) as engine:
        await engine.signal("c0", "end")
        assert engine.read.counts() == {"done": 1}
        assert engine.read.tasks() == []
    assert audit(path).clean


async def test_a_text_of_half_characters_stops_nothing() -> None:
    broken = "caf\udce9"

    def away(request: Request) -> None:
        raise OSError(broken)

    agent = performing(Effect("e", away, payload=Item, tries=2), failure=False)
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", many(1))
        await engine.run_until_idle()
        case = engine.read.case("c0").case
        assert case.status == "parked"
        assert "caf?" in (case.reason or "")
        with pytest.raises(CaseClosed):
            await engine.signal("c0", "e", broken, key=broken)
        await engine.kill("case", "c0", who=broken, reason=broken)
        assert engine.read.counts() == {"killed": 1}
        assert audit(engine.read.engine).clean


def _driver(engine: Engine) -> sqlite3.Connection:
    database = engine._store.database
    assert isinstance(database, Sqlite)
    return database.connection
