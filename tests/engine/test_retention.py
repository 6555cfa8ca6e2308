"""Snapshots, trimming, pruning, the archive, exports: the log stays small, and the chain checkable."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.cli.main import main
from provenet.engine import Engine, Reader, Retention, VirtualClock, audit, exports, faults
from provenet.engine.case import GENESIS, chain
from provenet.engine.errors import (
    CaseExists,
    ExportRefused,
    NoSuchCase,
    NoSuchEntry,
    RetentionRefused,
    StoreError,
)
from provenet.engine.exports import check_export, path_of
from provenet.engine.fork import fork
from provenet.engine.history import ENTRIES, Replay, moment, replayed
from provenet.engine.migrate import quiet
from provenet.engine.pruner import Pruner
from provenet.engine.pruning import compacted, preview, prune
from provenet.engine.store.store import Store
from provenet.nets.build import NetBuilder
from provenet.sdb.handlers import Agent
from tests.engine.kit import START, built, deployed, opened
from tests.engine.orders import proofs
from tests.engine.test_random import World, agents, go, scripts

DAY = timedelta(days=1)


def counting(net: NetBuilder) -> None:
    """A case that counts days, until it is told to end, or is killed; a second way out is for odd cases."""
    days = net.place("days", int)
    start = net.entry("start", int)
    done, odd = net.final("done", int), net.final("odd", int)
    net.route("begin", takes={"x": start}, puts={days: "x"})
    net.timer("day", after=DAY, takes={"x": days}, puts={days: lambda x: x + 1})
    net.event("stop", event="stop", takes={"x": days}, when=lambda x: x % 2 == 0, puts={done: "x"})
    net.event("stop odd", event="stop", takes={"x": days}, when=lambda x: x % 2 == 1, puts={odd: "x"})


@pytest.fixture(scope="module")
def agent() -> Agent:
    return built(counting)


async def live(agent: Agent, database: str | Path, days: int, cases: int = 1, **options: Any) -> None:
    """Cases that count for so many days."""
    async with opened(agent, database, **options) as engine:
        if not engine.read.nets():
            deployed(engine, agent)
        await engine.start_cases("small", [(f"c{i}", {"start": i}) for i in range(cases)], existing="skip")
        await engine.run_until_idle(until=engine.clock.now() + days * DAY)


async def end(agent: Agent, database: str | Path, *cases: str) -> None:
    """Stop some of them."""
    async with opened(agent, database) as engine:
        for case in cases:
            await engine.signal(case, "stop")
        await engine.run_until_idle(until=engine.clock.now())


def rows(database: Path, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as db:
        found = db.execute(statement, parameters).fetchall()
        db.commit()
        return found


def clean(database: str | Path) -> None:
    for fast in ("no", "yes"):
        found = audit(database, fast=fast)
        assert found.clean, [str(p) for p in found.problems[:5]]


def named(database: Path, expected: str) -> None:
    problems = [p.what for p in audit(database).problems]
    assert any(expected in p for p in problems), problems[:5]


# snapshots


@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_snapshot_is_an_entry_of_the_log(agent: Agent, tmp_path: Path, every: int) -> None:
    asyncio.run(live(agent, tmp_path / "a.db", 30, snapshot_every=every))
    log = Reader(tmp_path / "a.db").log("c0")
    snapshots = [x.seq for x in log if x.kind == "snapshot"]
    assert len(snapshots) >= 30 // every // 2
    assert all(b - a <= every + 2 for a, b in zip([0, *snapshots], snapshots, strict=False))
    assert log[snapshots[0] - 1].text == "snapshot: 1 token"
    clean(tmp_path / "a.db")


def test_without_snapshots_there_are_none(agent: Agent, tmp_path: Path) -> None:
    asyncio.run(live(agent, tmp_path / "a.db", 600, snapshot_every=0))
    asyncio.run(live(agent, tmp_path / "b.db", 600))
    assert {x.kind for x in Reader(tmp_path / "a.db").log("c0")} == {"start", "fire"}
    assert sum(x.kind == "snapshot" for x in Reader(tmp_path / "b.db").log("c0")) == 2
    clean(tmp_path / "a.db")


def test_a_case_of_many_tokens_has_snapshots_more_seldom(tmp_path: Path) -> None:
    def make(net: NetBuilder) -> None:
        here, pile, end = net.entry("here", int), net.place("pile", int), net.final("end", int)
        net.rests(pile)
        parts = {"takes": {"x": here}, "puts": {here: lambda x: x + 1, pile: "x"}}
        net.timer("more", after=DAY, **parts)
        net.event("stop", event="stop", takes={"x": here}, puts={end: "x"})

    many = built(make)

    async def go() -> None:
        async with opened(many, tmp_path / "a.db", snapshot_every=4) as engine:
            deployed(engine, many)
            await engine.start_case("small", inputs={"here": 0}, case_id="a")
            await engine.run_until_idle(until=START + 300 * DAY)

    asyncio.run(go())
    found = rows(
        tmp_path / "a.db", "SELECT kind, SUM(LENGTH(data)), COUNT(*) FROM provenet_event GROUP BY kind"
    )
    sizes = {kind: size for kind, size, _ in found}
    counts = {kind: count for kind, _, count in found}
    assert 4 < counts["snapshot"] < 20
    assert sizes["snapshot"] < sizes["fire"], "snapshots weigh less than what they stand for"
    clean(tmp_path / "a.db")


def moments(database: Path, case: str) -> Iterator[tuple[int, Any, Any]]:
    """Every moment of a case, from the latest snapshot and from the very beginning of its log."""
    reader = Reader(database, secrets="shown")
    ((no, created, status, reason),) = rows(
        database, "SELECT no, created, status, reason FROM provenet_case WHERE id = ?", case
    )
    log: list[Any] = rows(database, ENTRIES, no)
    for i, entry in enumerate(log, start=1):
        whole = moment(replayed(Replay(reader.program, no, case, created), log, i), log[-1][0])
        found = reader.case_at(case, entry[0])
        if i == len(log):
            assert (found.status, found.reason) == (status, reason)
            continue
        yield entry[0], found.to_json(), whole.to_json()


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts, st.integers(1, 5))
def test_a_history_from_any_snapshot_is_the_history(
    drawn: tuple[Agent, World], script: list[tuple[str, int, int]], every: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "x.db"
        asyncio.run(go(drawn[0], database, script, 3, snapshot_every=every))
        clean(database)
        for case in ("c0", "c1", "c2"):
            for seq, found, whole in moments(database, case):
                assert found == whole, seq


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(
    agents(),
    scripts,
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from(["before", "after"]),
    st.integers(1, 9),
)
def test_a_log_that_is_trimmed_anywhere_audits_clean_and_runs_on(
    drawn: tuple[Agent, World],
    script: list[tuple[str, int, int]],
    every: int,
    keep: int,
    crash: str,
    nth: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "x.db"
        faults.plan(f"{crash}-commit:raise:{nth}")
        try:
            asyncio.run(go(drawn[0], database, script, 3, snapshot_every=every, keep=keep))
        except faults.FaultInjected:
            clean(database)
        finally:
            faults.plan(None)
        asyncio.run(go(drawn[0], database, script, 3, snapshot_every=every, keep=keep))
        clean(database)
        for case in ("c0", "c1", "c2"):
            for seq, found, whole in moments(database, case):
                assert found == whole, seq
            first = Reader(database).log(case)[0].seq
            if first > 1:
                with pytest.raises(NoSuchEntry):
                    Reader(database).case_at(case, first - 1)


# trimming


def test_a_long_log_is_trimmed_and_the_case_runs_on(agent: Agent, tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    asyncio.run(live(agent, database, 100, snapshot_every=8))
    done = prune(database, Retention(keep_entries=20))
    assert (done.trimmed, done.more) == (1, "no")
    log = Reader(database).log("c0")
    assert log[0].kind == "snapshot"
    assert 20 <= len(log) <= 20 + 8 + 2
    assert done.entries == log[0].seq - 1
    assert prune(database, Retention(keep_entries=20)).entries == 0
    found = audit(database)
    assert (found.clean, found.partial) == (True, 1)
    asyncio.run(live(agent, database, 100, snapshot_every=8))
    assert Reader(database).log("c0")[-1].seq > 200
    prune(database, Retention(keep_entries=20))
    assert len(Reader(database).archive("c0")) == 2
    clean(database)
    asyncio.run(end(agent, database, "c0"))
    assert Reader(database).case("c0").case.status == "done"
    clean(database)


def test_an_engine_trims_by_itself(agent: Agent, tmp_path: Path) -> None:
    database = tmp_path / "a.db"

    async def run() -> None:
        keep = Retention(keep_entries=16)
        async with opened(agent, database, snapshot_every=4, retention=keep) as engine:
            deployed(engine, agent)
            await engine.start_case("small", inputs={"start": 0}, case_id="c0")
            await engine.run_until_idle(until=START + 50 * DAY)
            await engine.attend()
            assert engine.read.log("c0")[0].seq > 30

    asyncio.run(run())
    clean(database)


def test_long_logs_are_looked_at_a_few_at_a_time(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many are longer than they need be, and have no snapshot that they could begin with."""
    database, keep = tmp_path / "a.db", Retention(keep_entries=20)
    asyncio.run(live(agent, database, 15, 5, snapshot_every=64))
    asyncio.run(live(agent, database, 50, 6, snapshot_every=8))
    monkeypatch.setattr("provenet.engine.pruner.MOST_LOOKS", 2)
    store = Store(database)
    asked: list[str] = []
    rows, pruner = store.rows, Pruner(store, keep, lambda: 10**18)

    def counted(statement: str, parameters: Any = ()) -> Any:
        asked.append(statement)
        return rows(statement, parameters)

    monkeypatch.setattr(store, "rows", counted)
    most = 0
    while True:
        asked.clear()
        found = pruner.batch()
        store.flush()
        most = max(most, sum("MAX(seq)" in s for s in asked))
        if found.more == "no" and not pruner.looking:
            break
    store.close()
    assert most <= 8
    assert prune(database, keep).entries == 0
    assert all(Reader(database).log(f"c{i}")[0].kind == "snapshot" for i in range(6))
    clean(database)


def test_a_trimmed_case_forks_and_moves_by_state_alone(agent: Agent, tmp_path: Path) -> None:
    from provenet.engine.marking_map import MarkingMap

    database = tmp_path / "a.db"
    asyncio.run(live(agent, database, 40, snapshot_every=8))
    prune(database, Retention(keep_entries=5))
    first = Reader(database).log("c0")[0].seq
    made = fork(database, "c0", first + 1, tmp_path / "simulation.db")
    assert made.original
    clean(tmp_path / "simulation.db")
    with pytest.raises(NoSuchEntry, match=f"entries {first} to"):
        fork(database, "c0", first - 1, tmp_path / "simulation2.db")

    def later(net: NetBuilder) -> None:
        counting(net)
        net.place("spare", int)

    newer = built(later)

    async def move() -> str:
        async with opened([agent, newer], database) as engine:
            old = engine.read.nets()[0]["hash"]
            new = engine.deploy(newer, proofs(newer.net))
            found = await engine.migrate(old, new, MarkingMap(), dry_run="yes")
            return found.groups[0].why

    assert f"its log was trimmed and begins with entry {first}" in asyncio.run(move())
    assert quiet(newer.net, "nothing").net == newer.net


# pruning


@pytest.fixture(scope="module")
def ended(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases 0 to 3 are over, on day 10; 4 was killed on day 20; 5 runs; it is day 30."""
    database = tmp_path_factory.mktemp("ended") / "ended.db"

    async def make() -> None:
        await live(agent, database, 10, 6, snapshot_every=4)
        await end(agent, database, "c0", "c1", "c2", "c3")
        await live(agent, database, 10, 6)
        async with opened(agent, database) as engine:
            await engine.kill("case", "c4", who="ann", reason="enough")
        await live(agent, database, 10, 6)

    asyncio.run(make())
    clean(database)
    return database


@pytest.fixture
def copy(ended: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(ended, tmp_path / "copy.db"))


POLICIES: dict[str, tuple[Retention, set[str]]] = {
    "by status": (Retention({"done": 15 * DAY}), {"c0", "c1", "c2", "c3"}),
    "not yet": (Retention({"done": 25 * DAY, "killed": 15 * DAY}), set()),
    "everything that is over": (
        Retention({"done": 0 * DAY, "killed": 0 * DAY, "failed": 0 * DAY}),
        {"c0", "c1", "c2", "c3", "c4"},
    ),
    "one place": (Retention(places={"odd": 5 * DAY}), {"c1", "c3"}),
    "all but one place": (Retention({"done": DAY}, {"odd": None}), {"c0", "c2"}),
    "a place for longer": (Retention({"done": DAY}, {"odd": 90 * DAY}), {"c0", "c2"}),
    "killed alone": (Retention({"killed": 9 * DAY}), {"c4"}),
    "nothing": (Retention(), set()),
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_past_its_time_goes_and_nothing_else(agent: Agent, copy: Path, name: str) -> None:
    policy, expected = POLICIES[name]
    heads = {
        case: (version, head, status, place, outcome)
        for case, version, head, status, place, outcome in rows(
            copy, "SELECT id, version, head, status, outcome_place, outcome FROM provenet_case"
        )
    }
    would = preview(copy, policy)[:2]
    done = prune(copy, policy)
    gone = {a.case: a for a in Reader(copy).archive()}
    assert set(gone) == expected
    assert (done.cases, done.entries) == would == (len(expected), sum(heads[c][0] for c in expected))
    for case, a in gone.items():
        assert (a.version, a.head, a.status, a.outcome_place, a.outcome) == heads[case]
        with pytest.raises(NoSuchCase, match="was pruned on"):
            Reader(copy).case(case)
    for table in ("event", "token", "timer", "task", "effect", "proposal", "inbox"):
        there = {no for (no,) in rows(copy, f"SELECT case_no FROM provenet_{table}")}
        assert there.isdisjoint(a.case_no for a in gone.values())
    found = audit(copy)
    assert found.clean, [str(p) for p in found.problems]
    assert (found.cases, found.archived) == (6 - len(expected), len(expected))
    assert prune(copy, policy).cases == 0
    asyncio.run(live(agent, copy, 5, 6))
    assert audit(copy).clean


def test_ids_and_numbers_are_not_given_again(agent: Agent, copy: Path) -> None:
    async def start(case: str, **how: Any) -> int:
        async with opened(agent, copy) as engine:
            if how:
                return await engine.start_cases("small", [(case, {"start": 1})], **how)
            await engine.start_case("small", inputs={"start": 1}, case_id=case)
            return 1

    asyncio.run(start("c6"))
    asyncio.run(end(agent, copy, "c6"))
    prune(copy, Retention({"done": 0 * DAY, "killed": 0 * DAY}))
    with pytest.raises(CaseExists):
        asyncio.run(start("c6"))
    assert asyncio.run(start("c6", existing="skip")) == 0
    asyncio.run(start("c7"))
    numbers = [no for (no,) in rows(copy, "SELECT case_no FROM provenet_archive")]
    assert rows(copy, "SELECT no FROM provenet_case WHERE id = 'c7'")[0][0] > max(numbers)

    async def others() -> None:
        async with opened(agent, copy) as engine:
            assert engine.has_case("c6")
            for act in (engine.signal("c6", "stop"), engine.kill("case", "c6"), engine.resume("c6")):
                with pytest.raises(NoSuchCase, match="was pruned"):
                    await act

    asyncio.run(others())
    assert audit(copy).clean


def test_what_a_case_ended_with_need_not_be_kept(copy: Path) -> None:
    prune(copy, Retention({"done": DAY}, outcomes="dropped"))
    assert {a.outcome for a in Reader(copy).archive()} == {None}
    assert {a.outcome_place for a in Reader(copy).archive()} == {"done", "odd"}
    assert audit(copy).clean


NONSENSE: dict[str, Callable[[], Retention]] = {
    "a status that is none": lambda: Retention({"finished": DAY}),
    "a negative span": lambda: Retention({"done": -DAY}),
    "no span": lambda: Retention({"done": 90}),  # type: ignore[dict-item]
    "no entries": lambda: Retention(keep_entries=0),
    "other data": lambda: Retention.of_json({"ended": 3}),
    "no data": lambda: Retention.of_json(None),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_retention_that_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(RetentionRefused):
        NONSENSE[name]()


def test_a_retention_survives_json(tmp_path: Path) -> None:
    policy = Retention({"done": DAY}, {"odd": None, "done": 3 * DAY}, 7, "dropped", tmp_path)
    assert Retention.of_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_many_cases_go_in_batches(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "a.db"
    asyncio.run(live(agent, database, 3, 20))
    asyncio.run(end(agent, database, *(f"c{i}" for i in range(20))))
    monkeypatch.setattr("provenet.engine.pruner.MOST_CASES", 3)
    store = Store(database)
    pruner = Pruner(store, Retention({"done": 0 * DAY}), lambda: 10**18)
    sizes = []
    while (found := pruner.batch()).cases:
        store.flush()
        sizes.append(found.cases)
    store.close()
    assert sizes == [3] * 6 + [2]
    assert audit(database).archived == 20


def test_a_very_long_log_goes_step_by_step(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "a.db"
    asyncio.run(live(agent, database, 200, snapshot_every=8))
    asyncio.run(end(agent, database, "c0"))
    monkeypatch.setattr("provenet.engine.pruner.MOST_ENTRIES", 50)
    done = prune(database, Retention({"done": 0 * DAY}, export=tmp_path / "logs"))
    assert done.cases == 1
    assert done.trimmed >= 3
    kinds = [a.kind for a in Reader(database).archive("c0")]
    assert kinds == ["trimmed"] * done.trimmed + ["pruned"]
    clean(database)
    found = check_export(path_of(tmp_path / "logs", 1, "c0"), database)
    assert (found.clean, found.archived, found.first) == (True, "pruned", 1), found.problems
    assert found.replayed == found.last > 200


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_crash_leaves_a_case_whole_or_archived(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, nth: int
) -> None:
    monkeypatch.setattr("provenet.engine.pruner.MOST_CASES", 2)
    policy = Retention({"done": 0 * DAY, "killed": 0 * DAY}, keep_entries=3, export=tmp_path / "logs")
    faults.plan(f"{point}:raise:{nth}")
    with pytest.raises(faults.FaultInjected):
        prune(copy, policy)
    faults.plan(None)
    clean(copy)
    prune(copy, policy)
    clean(copy)
    assert audit(copy).archived == 5
    for a in Reader(copy).archive():
        found = check_export(path_of(tmp_path / "logs", a.case_no, a.case), copy)
        assert found.clean, found.problems
        assert found.first == 1


def test_a_running_engine_prunes_and_goes_on(agent: Agent, copy: Path) -> None:
    async def run() -> None:
        async with opened(agent, copy, retention=Retention({"done": DAY})) as engine:
            assert engine.progress().statuses["done"] == 4
            await engine.attend()
            assert "done" not in engine.progress().statuses
            assert engine.read.counts() == {"waiting": 1, "killed": 1}
            # Somebody else asks it: the file is its own.
            asked = asyncio.create_task(asyncio.to_thread(prune, copy, Retention({"killed": DAY})))
            while not asked.done():
                await engine.attend()
                await asyncio.sleep(0.01)
            assert asked.result().cases == 1
            await engine.run_until_idle(until=engine.clock.now() + 3 * DAY)
        with pytest.raises(RetentionRefused):
            async with opened(agent, copy) as engine:
                await engine.prune()

    asyncio.run(run())
    assert audit(copy).archived == 5
    assert audit(copy).clean


def test_answered_requests_go_and_their_numbers_are_not_given_again(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenet.engine.pruner.MOST_REQUESTS", 3)
    now = int(datetime.now(UTC).timestamp() * 1e6)
    old, hour = now - 31 * 86_400_000_000, 3_600_000_000
    left = [(old, s) for s in ("done", "done", "withdrawn", "new", "done", "taken", "done")]
    left += [(now - 29 * 86_400_000_000, "done"), (old, "done"), (now - hour // 2, "done"), (old, "done")]
    with closing(sqlite3.connect(copy)) as db:
        row = (
            "INSERT INTO provenet_request (at, case_id, command, status, worker) VALUES (?, 'a', '{}', ?, 0)"
        )
        db.executemany(row, left)
        db.commit()
    numbers = "SELECT id FROM provenet_request ORDER BY id"
    before = [n for (n,) in rows(copy, numbers)]
    prune(copy, Retention(keep_entries=10**6))
    assert [n for (n,) in rows(copy, numbers)] == before
    prune(copy, Retention({"failed": DAY}, {"nowhere": 30 * DAY}))
    # Those that wait are in the way of what a look comes to.
    assert [before.index(n) for (n,) in rows(copy, numbers)] == [3, 5, 6, 7, 8, 9, 10]
    monkeypatch.setattr("provenet.engine.pruner.MOST_REQUESTS", 1_000)
    prune(copy, Retention({"failed": DAY}, {"nowhere": 30 * DAY}))
    assert [before.index(n) for (n,) in rows(copy, numbers)] == [3, 5, 7, 9, 10]
    prune(copy, Retention({"failed": timedelta(0)}))
    assert [before.index(n) for (n,) in rows(copy, numbers)] == [3, 5, 9, 10]
    clean(copy)


def test_room_is_given_back(agent: Agent, tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    asyncio.run(live(agent, database, 60, 40))
    asyncio.run(end(agent, database, *(f"c{i}" for i in range(40))))
    prune(database, Retention({"done": 0 * DAY}))
    before, after = compacted(database)
    assert after < before / 2
    assert audit(database).archived == 40


# tampering


def broken(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement
        db.commit()


TAMPERINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "a row's outcome": (
        ("UPDATE provenet_archive SET outcome = '99' WHERE id = 2",),
        "row 2 of the archive, or one before it, was changed",
    ),
    "a row's head": (
        ("UPDATE provenet_archive SET head = zeroblob(32) WHERE id = 1",),
        "row 1 of the archive",
    ),
    "a row's time": (("UPDATE provenet_archive SET at = at + 1 WHERE id = 3",), "row 3 of the archive"),
    "the first row is gone": (
        ("DELETE FROM provenet_archive WHERE id = 1",),
        "row 1 of the archive is missing",
    ),
    "a row is gone": (("DELETE FROM provenet_archive WHERE id = 2",), "row 2 of the archive is missing"),
    "a row is gone, others renumbered": (
        ("DELETE FROM provenet_archive WHERE id = 2", "UPDATE provenet_archive SET id = id - 1 WHERE id > 2"),
        "row 2 of the archive, or one before it, was changed",
    ),
    "the last row is gone": (
        ("DELETE FROM provenet_archive WHERE id = (SELECT MAX(id) FROM provenet_archive)",),
        "5 are archived",
    ),
    "a case vanished": (
        (
            *(f"DELETE FROM provenet_{t} WHERE case_no = 6" for t in ("event", "token", "timer")),
            "DELETE FROM provenet_case WHERE no = 6",
        ),
        "cases were started",
    ),
    "a case is there again": (
        ("UPDATE provenet_case SET id = 'c0' WHERE no = 6",),
        "it is archived as pruned, and is there",
    ),
    "rows of a pruned case": (
        ("UPDATE provenet_token SET case_no = 1 WHERE case_no = 6",),
        "case number 1, which does not exist",
    ),
    "more of a log is gone": (
        (
            """DELETE FROM provenet_event WHERE case_no = 6 AND seq < (SELECT MAX(seq) FROM provenet_event
            WHERE case_no = 6 AND kind = 'snapshot')""",
        ),
        "its log was trimmed to begin with entry",
    ),
    "where a log begins": (
        (
            """UPDATE provenet_event SET hash = zeroblob(32) WHERE case_no = 6
            AND seq = (SELECT MIN(seq) FROM provenet_event WHERE case_no = 6)""",
        ),
        "its log was trimmed to begin with entry",
    ),
    "what a log begins with": (
        (
            """UPDATE provenet_event SET data = replace(data, '"next":', '"next":1') WHERE case_no = 6
            AND seq = (SELECT MIN(seq) FROM provenet_event WHERE case_no = 6)""",
        ),
        "hash chain",
    ),
    "a later snapshot": (
        (
            """UPDATE provenet_event SET data = replace(data, '"next":', '"next":1') WHERE case_no = 6
            AND seq = (SELECT MAX(seq) FROM provenet_event WHERE case_no = 6 AND kind = 'snapshot')""",
        ),
        "it replays to something else than the log says",
    ),
    "a row that is no row": (("UPDATE provenet_archive SET head = 7 WHERE id = 2",), "archive"),
}


@pytest.fixture(scope="module")
def archived(ended: Path, agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases are archived, and the log of the sixth is trimmed, with snapshots left."""
    database = Path(shutil.copy(ended, tmp_path_factory.mktemp("archived") / "archived.db"))
    asyncio.run(live(agent, database, 40, 6, snapshot_every=4))
    prune(database, Retention({"done": DAY, "killed": DAY}, keep_entries=12))
    asyncio.run(live(agent, database, 2, 6, snapshot_every=4))
    found = audit(database)
    assert found.clean, [str(p) for p in found.problems]
    assert (found.archived, found.partial) == (5, 1)
    return database


@pytest.mark.parametrize("name", TAMPERINGS)
@pytest.mark.attack(
    "tampered archive, or a case removed without one",
    "found by the audit: pruned cases leave a chain, and cases are counted",
)
def test_the_audit_names_what_was_tampered_with(archived: Path, tmp_path: Path, name: str) -> None:
    statements, expected = TAMPERINGS[name]
    database = Path(shutil.copy(archived, tmp_path / "t.db"))
    if name == "the last row is gone":
        # It is that of the trimmed log: take that of a pruned case instead.
        prune_last(database)
    broken(database, *statements)
    named(database, expected)


def prune_last(database: Path) -> None:
    """Make the archive end with a pruned case."""
    with opened_store(database) as store:
        ((no,),) = store.rows("SELECT no FROM provenet_case WHERE id = 'c5'")
        store.run("UPDATE provenet_case SET status = 'failed', finished = 1 WHERE no = ?", (no,))
        store.flush()
    prune(database, Retention({"failed": 0 * DAY}))
    assert Reader(database).archive()[-1].kind == "pruned"


@contextmanager
def opened_store(database: Path) -> Iterator[Store]:
    store = Store(database)
    try:
        yield store
    finally:
        store.close()


@pytest.mark.attack(
    "a trimmed log that begins with another snapshot", "found by the audit: the archive holds its hash"
)
def test_a_snapshot_that_was_rewritten_with_its_chain_is_caught(archived: Path, tmp_path: Path) -> None:
    """In the middle of a log, by the replay; at its beginning, by the archive."""
    for which, expected in (("MAX", "replays to something else"), ("MIN", "was trimmed to begin with")):
        database = Path(shutil.copy(archived, tmp_path / f"{which}.db"))
        with closing(sqlite3.connect(database)) as db:
            ((seq,),) = db.execute(
                f"SELECT {which}(seq) FROM provenet_event WHERE case_no = 6 AND kind = 'snapshot'"
            ).fetchall()
            log = db.execute(
                "SELECT id, seq, kind, transition, at, data, prev FROM provenet_event"
                " WHERE case_no = 6 AND seq >= ? ORDER BY seq",
                (seq,),
            ).fetchall()
            head = log[0][-1]
            for i, s, kind, transition, at, text, _ in log:
                data = text.replace('"arrived":[', '"arrived":[1') if s == seq else text
                digest = chain(head, "c5", s, kind, transition=transition, at=at, data=data)
                update = "UPDATE provenet_event SET data = ?, prev = ?, hash = ? WHERE id = ?"
                db.execute(update, (data, head, digest, i))
                head = digest
            db.execute("UPDATE provenet_case SET head = ? WHERE no = 6", (head,))
            db.commit()
        named(database, expected)


def test_history_that_nobody_dropped_by_the_rules_is_missed(agent: Agent, tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    asyncio.run(live(agent, database, 30, snapshot_every=5))
    broken(
        database,
        """DELETE FROM provenet_event WHERE seq <
        (SELECT MIN(seq) FROM provenet_event WHERE kind = 'snapshot')""",
    )
    named(database, "entry 1 of the log is missing")


# exports


@pytest.fixture
def exported(copy: Path, tmp_path: Path) -> tuple[Path, Path]:
    prune(copy, Retention({"done": DAY}, export=tmp_path / "logs"))
    (no,) = (a.case_no for a in Reader(copy).archive("c1"))
    return copy, path_of(tmp_path / "logs", no, "c1")


def test_a_log_is_checkable_elsewhere(exported: tuple[Path, Path]) -> None:
    database, path = exported
    alone = check_export(path)
    assert (alone.clean, alone.archived, alone.replayed, alone.case) == (True, "", 0, "c1")
    (row,) = Reader(database).archive("c1")
    held = check_export(path, database)
    assert (held.clean, held.archived, held.head) == (True, "pruned", row.head.hex())
    assert held.replayed == held.last == row.version
    assert len(list(path.parent.iterdir())) == 4


def spoil(line: int, old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [x.replace(old, new) if i == line else x for i, x in enumerate(lines)]


@pytest.mark.parametrize(
    ("change", "expected"),
    ids=["an entry", "one is gone", "the last is gone", "all are gone"],
    argvalues=[
        (spoil(3, '"kind":"fire"', '"kind":"resume"'), "the hash chain is broken here"),
        (lambda lines: lines[:3] + lines[4:], "is missing"),
        (lambda lines: lines[:-1], "entries are missing"),
        (lambda lines: [lines[0]], "it has no entries"),
    ],
)
@pytest.mark.attack("tampered export of a log", "found by its hash chain, and by the archive")
def test_a_file_that_was_changed_is_named(
    exported: tuple[Path, Path], change: Callable[[list[str]], list[str]], expected: str
) -> None:
    database, path = exported
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    assert any(expected in p for p in check_export(path, database).problems)


def test_a_rewritten_file_differs_from_the_archive(exported: tuple[Path, Path]) -> None:
    database, path = exported
    lines = [json.loads(x) for x in path.read_text().splitlines()]
    head = GENESIS
    for e in lines[1:]:
        e["at"] += 1
        e["prev"] = head.hex()
        head = chain(head, "c1", e["seq"], e["kind"], transition=e["transition"], at=e["at"], data=e["data"])
        e["hash"] = head.hex()
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert check_export(path).clean
    assert any("another hash than the archive says" in p for p in check_export(path, database).problems)


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    for text in ("", "{}\n", "[1]\n", "\x00", '{"format": "provenet log 1"}\n'):
        (tmp_path / "x.jsonl").write_text(text)
        with pytest.raises(ExportRefused):
            check_export(tmp_path / "x.jsonl")
    with pytest.raises(ExportRefused):
        check_export(tmp_path / "none.jsonl")


def test_a_line_that_a_crash_cut_is_written_again(copy: Path, tmp_path: Path) -> None:
    policy = Retention({"done": DAY}, export=tmp_path / "logs")
    spare = Path(shutil.copy(copy, tmp_path / "spare.db"))
    prune(spare, policy)
    path = path_of(tmp_path / "logs", 2, "c1")
    whole = path.read_text()
    for size in (5, len(whole) // 2, len(whole) - 1, len(whole)):
        path.write_text(whole[:size])
        fresh = Path(shutil.copy(copy, tmp_path / f"{size}.db"))
        prune(fresh, policy)
        assert path.read_text() == whole
        assert check_export(path, fresh).clean


@pytest.mark.attack(
    "links and other files where a log is exported to", "left as they are; nothing is dropped"
)
@pytest.mark.parametrize("what", ["link", "file", "half a line", "first line"])
def test_an_export_writes_to_no_other_file(copy: Path, tmp_path: Path, what: str) -> None:
    copy.chmod(0o600)
    folder = tmp_path / "logs"
    prune(copy, Retention({"done": DAY}, export=folder))
    (path, *_) = sorted(folder.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    whole = path.read_bytes()
    head = json.loads(whole.splitlines()[0])
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine" if what != "first line" else whole[:20])
    path.unlink()
    if what == "link":
        path.symlink_to(mine)
    else:
        path.write_bytes({"file": b"a\nb", "half a line": b"mine", "first line": whole[:20]}[what])
    before = path.read_bytes()

    def again() -> int:
        entries = [tuple(_row(line)) for line in whole.splitlines()[1:]]
        return exports.append(
            folder, head["database"], head["number"], head["case"], first=1, entries=entries
        )

    if what == "first line":
        assert again() == len(whole.splitlines()) - 1
        assert path.read_bytes() == whole
        return
    with pytest.raises(ExportRefused):
        again()
    assert (path.read_bytes(), mine.read_bytes()) == (before, b"mine")


def _row(line: bytes) -> list[Any]:
    e = json.loads(line)
    said = [e[n] for n in ("seq", "kind", "transition", "at", "data")]
    return [*said, bytes.fromhex(e["prev"]), bytes.fromhex(e["hash"])]


def test_what_cannot_be_exported_stays(agent: Agent, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    policy = Retention({"done": DAY}, export=tmp_path / "logs")
    with pytest.raises(ExportRefused):
        prune(copy, policy)
    assert Reader(copy).archive() == []

    async def run() -> None:
        async with opened(agent, copy, retention=policy) as engine:
            await engine.attend()
            await engine.run_until_idle(until=engine.clock.now() + DAY)

    asyncio.run(run())
    assert audit(copy).clean
    assert audit(copy).archived == 0
    # The folder of another database takes nothing of this one.
    (tmp_path / "logs").unlink()
    prune(copy, policy)
    other = tmp_path / "other.db"
    asyncio.run(live(agent, other, 2, 4))
    asyncio.run(end(agent, other, "c0"))
    with pytest.raises(ExportRefused, match="another database"):
        prune(other, Retention({"done": 0 * DAY}, export=tmp_path / "logs"))


def test_a_refused_export_leaves_no_transaction_open(agent: Agent, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")

    async def run() -> None:
        async with opened(agent, copy) as engine:
            with pytest.raises(ExportRefused):
                await engine.prune(Retention({"done": DAY}, export=tmp_path / "logs"))
            with closing(sqlite3.connect(copy, timeout=0)) as other:
                other.execute("UPDATE provenet_meta SET value = value WHERE name = 'uid'")
                other.rollback()

    asyncio.run(run())


def test_what_may_be_in_flight_and_what_changes_meanwhile_stays(copy: Path) -> None:
    with opened_store(copy) as store:
        ((last,),) = store.rows("SELECT MAX(finished) FROM provenet_case WHERE status = 'done'")
        policy = Retention({"done": timedelta(0)})
        early = Pruner(store, policy, lambda: last + 10, ended_for=timedelta(hours=1))
        assert early.batch().cases == 0
        later = Pruner(store, policy, lambda: last + 3_600_000_000, ended_for=timedelta(hours=1))
        read = later._due

        def due() -> Any:
            found = read()
            # Somebody writes to a case between the look at it and its end.
            store.run("UPDATE provenet_case SET version = version + 1 WHERE no = ?", (found[0].no,))
            return found

        later._due = due  # type: ignore[method-assign]
        assert later.batch().cases == 3


def test_no_database_is_made_by_looking_for_one(tmp_path: Path) -> None:
    for act in (prune, preview):
        with pytest.raises(StoreError, match="no such database"):
            act(tmp_path / "none.db", Retention({"done": DAY}))
    assert not (tmp_path / "none.db").exists()


# the commands


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out + err


def test_prune_and_audit_as_commands(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db, logs = ("--db", str(copy)), tmp_path / "logs"
    rules = ("--ended", "done=1d", "--ended", "killed=7y", "--place", "odd=ever", "--keep-entries", "12")
    code, text = said(capsys, "prune", *rules, "--dry-run", *db)
    assert code == 0
    assert "2 cases would go" in text
    assert "1 log longer than 12 log entries would be trimmed" in text
    assert Reader(copy).archive() == []
    code, text = said(capsys, "prune", *rules, "--export", str(logs), "--compact", *db)
    assert code == 0
    assert "2 cases pruned, 1 log trimmed" in text
    code, text = said(capsys, "audit", *db)
    assert code == 0
    assert "audit clean: 4 cases (1 from a snapshot on), 2 archived" in text
    assert said(capsys, "audit", "--fast", *db)[0] == 0
    files = [str(f) for f in sorted(logs.iterdir())]
    code, text = said(capsys, "audit", *files, *db)
    assert (code, "audit clean: 3 files" in text) == (0, True), text
    Path(files[0]).write_text(Path(files[0]).read_text().replace("stop", "step"))
    code, text = said(capsys, "audit", *files)
    assert code == 1
    assert "the hash chain is broken here" in text
    code, text = said(capsys, "case", "c0", *db)
    assert code == 2
    assert "case 'c0' was pruned on 2026-" in text


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--ended done",
        "--ended done=soon",
        "--ended over=3d",
        "--place =3d",
        "--ended done=-3d",
        "--ended done=1e99y",
    ],
)
def test_rules_that_are_none_are_refused(copy: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    code, text = said(capsys, "prune", *words.split(), "--db", str(copy))
    assert (code, "Traceback" in text) == (2, False), text
    assert Reader(copy).archive() == []


# PostgreSQL


@pytest.mark.postgres
def test_several_processes_prune_one_at_a_time(agent: Agent, postgres: str) -> None:
    async def run() -> None:
        clock = VirtualClock(START)
        async with opened(agent, postgres, clock=clock, snapshot_every=4) as engine:
            deployed(engine, agent)
            await engine.start_cases("small", [(f"c{i}", {"start": i}) for i in range(6)])
            await engine.run_until_idle(until=START + 20 * DAY)
            for i in range(4):
                await engine.signal(f"c{i}", "stop")
            await engine.run_until_idle(until=START + 40 * DAY)
            async with Engine.open(postgres, agents=[agent], clock=clock, takes="asked") as peer:
                store = peer._store
                pruner = Pruner(store, Retention({"done": DAY}), peer._runner.now)
                assert pruner.batch().cases == 4
                # Not committed yet: nobody else prunes meanwhile, and nobody waits.
                waiting = Pruner(engine._store, Retention({"done": DAY}), engine._runner.now).batch()
                assert (waiting.cases, waiting.more) == (0, "yes")
                await engine._store.durable()
                await store.durable()
            assert (await engine.prune(Retention({"done": DAY}, keep_entries=8))).trimmed == 2
            for case in ("c0", "c3"):
                with pytest.raises(CaseExists):
                    await engine.start_case("small", inputs={"start": 1}, case_id=case)
                with pytest.raises(NoSuchCase, match="was pruned"):
                    await engine.signal(case, "stop")
            await engine.start_case("small", inputs={"start": 1}, case_id="c9")
            await engine.run_until_idle(until=START + 60 * DAY)

    asyncio.run(run())
    clean(postgres)
    found = audit(postgres)
    assert (found.cases, found.archived, found.partial) == (3, 4, 2)
