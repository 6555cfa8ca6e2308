"""Any moment of a case, from its log: as it was recorded while it ran."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.engine import Engine, Reader, VirtualClock, audit
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.errors import (
    CaseClosed,
    CaseExists,
    EngineError,
    NoSuchCase,
    NoSuchEntry,
    NotSimulation,
    StoreCorrupt,
)
from provenet.engine.fork import Fork, WhatIf, fork
from provenet.sdb.handlers import Agent
from tests.engine.orders import START, Order, orders, person, proofs
from tests.engine.test_random import World, agents, go, scripts
from tests.support.ledger import Ledger

Seen = dict[tuple[str, int], dict[str, list[tuple[int, Any, int]]]]


@contextmanager
def recorded() -> Iterator[Seen]:
    """Every marking that a case had when an entry of its log was made, with the tokens' ids and arrivals."""
    seen: Seen = {}
    log = LiveCase.log

    def keep(case: LiveCase, *args: Any) -> None:
        log(case, *args)
        seen[case.id, case.seq] = {
            place: [
                (token, json.loads(case.program.encoders[place](value)), case.arrived[token])
                for token, value in zip(case.ids[place], values, strict=True)
            ]
            for place, values in case.marking.items()
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveCase, "log", keep)
        yield seen


def as_recorded(reader: Reader, seen: Seen) -> None:
    """Whether every moment is what was recorded, and the last one what the tables say."""
    from provenet.engine.clock import to_micros

    assert seen
    for (case, seq), marking in seen.items():
        found = reader.case_at(case, seq)
        assert (found.case, found.seq) == (case, seq)
        told = {
            place: [(token, value, to_micros(at)) for token, value, at in here]
            for place, here in found.marking.items()
        }
        assert told == marking
    for view in reader.cases():
        detail, last = reader.case(view.id), reader.case_at(view.id, view.firings)
        assert last.entries == view.firings
        assert {p: [v for _, v, _ in here] for p, here in last.marking.items()} == detail.marking
        assert (last.status, last.reason) == (view.status, view.reason)
        if view.status in LIVE:
            assert sorted((t, d) for t, _, d in last.timers) == sorted(detail.timers)
            assert sorted(
                (t["task"], t["token"], t["about_hash"], tuple(t["choices"]), t["role"]) for t in last.tasks
            ) == sorted(
                (t.task, t.token, t.about_hash, tuple(t.choices), t.role)
                for t in detail.tasks
                if t.status == "open"
            )
            assert {t["deadline"] for t in last.tasks} == {
                t.deadline and t.deadline.isoformat() for t in detail.tasks if t.status == "open"
            }


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts)
def test_any_moment_is_what_it_was(case: tuple[Agent, World], script: list[tuple[str, int, int]]) -> None:
    agent, _ = case
    with tempfile.TemporaryDirectory() as folder:
        with recorded() as seen:
            asyncio.run(go(agent, Path(folder) / "x.db", script, 2))
        as_recorded(Reader(Path(folder) / "x.db"), seen)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases with rejects, people, effects and compensations; some wait."""
    folder = tmp_path_factory.mktemp("moments")

    async def make() -> None:
        agent = orders(Ledger(folder / "ledger.db"))
        clock = VirtualClock(START)
        async with Engine.open(
            folder / "made.db", agents=[agent], clock=clock, people=person(clock)
        ) as engine:
            engine.deploy(agent, proofs(agent.net))
            await engine.start_cases(
                "orders", [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(24)]
            )
            await engine.run_until_idle(until=clock.now() + timedelta(hours=150))

    with recorded() as seen:
        asyncio.run(make())
    as_recorded(Reader(folder / "made.db"), seen)
    return folder / "made.db"


def test_a_moment_says_what_was_waited_for(made: Path) -> None:
    reader = Reader(made)
    decided = [t for t in reader.tasks(status=None) if t.status == "decided"]
    assert decided
    for task in decided:
        at = next(
            line.seq
            for line in reader.log(task.case)
            if line.role in {"approve", "deny"} and line.data["took"][0] == task.token
        )
        before, after = reader.case_at(task.case, at - 1), reader.case_at(task.case, at)
        (open_then,) = before.tasks
        assert (open_then["task"], open_then["token"]) == (task.task, task.token)
        assert (open_then["about"], open_then["about_hash"]) == (task.about, task.about_hash)
        assert open_then["deadline"] == (task.deadline and task.deadline.isoformat())
        assert [(name, token) for name, token, _ in before.timers] == [("approve.timeout", task.token)]
        assert before.status == "waiting"
        assert not after.tasks
        assert not after.timers
    json.dumps([reader.case_at("o-1", n).to_json() for n in range(1, reader.case("o-1").case.firings + 1)])


@pytest.mark.parametrize("seq", [0, -1, 10_000])
def test_there_is_no_moment_outside_the_log(made: Path, seq: int) -> None:
    with pytest.raises(NoSuchEntry, match="no entry"):
        Reader(made).case_at("o-1", seq)
    with pytest.raises(NoSuchCase):
        Reader(made).case_at("o-99", seq)


def test_a_log_that_does_not_replay_has_no_moments(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(made.read_bytes())
    with closing(sqlite3.connect(copy)) as db:
        (case, seq) = db.execute(
            "SELECT c.id, e.seq FROM provenet_event e JOIN provenet_case c ON c.no = e.case_no"
            " WHERE e.transition = 'quote.accept'"
        ).fetchone()
        db.execute("UPDATE provenet_event SET transition = 'quote.reject' WHERE transition = 'quote.accept'")
        db.commit()
    assert Reader(copy).case_at(case, seq - 1).seq == seq - 1
    with pytest.raises(StoreCorrupt, match=f"entry {seq}"):
        Reader(copy).case_at(case, seq)


# forks


def forked(made: Path, folder: Path, case: str, at: int, **what_if: Any) -> Fork:
    return fork(made, case, at, folder / f"{case}-{at}.db", WhatIf(**what_if))


def test_a_fork_without_anything_else_has_the_same_history(made: Path, tmp_path: Path) -> None:
    reader = Reader(made)
    over = [c for c in reader.cases() if c.status == "done"]
    first = {line.role: view for view in reversed(over) for line in reader.log(view.id)}
    assert first.keys() >= {"propose", "fault", "commit", "deny", "fail"}
    # The first ones, and one with each role.
    played = {view.id: view for view in (*over[:5], *first.values())}
    effects = Ledger(made.with_name("ledger.db")).calls()
    for number, view in enumerate(played.values()):
        for at in {1, view.firings // 2, view.firings - 1}:
            found = forked(made, tmp_path, view.id, at)
            assert not found.differs, (
                found.case,
                at,
                found.original[found.same :],
                found.simulated[found.same :],
            )
            assert found.same == view.firings - at
            assert found.statuses == ("done", "done")
            assert found.outcomes[0] == found.outcomes[1]
        if number < 3:
            assert audit(tmp_path / f"{view.id}-1.db").clean
    assert Ledger(made.with_name("ledger.db")).calls() == effects


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts, st.floats(0, 1))
def test_a_fork_audits_clean_whatever_came_before(
    case: tuple[Agent, World], script: list[tuple[str, int, int]], part: float
) -> None:
    agent, world = case
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(go(agent, Path(folder) / "x.db", script, 2))
        before = dict(world.effects)
        for view in Reader(Path(folder) / "x.db").cases():
            to = Path(folder) / f"{view.id}.db"
            try:
                found = fork(Path(folder) / "x.db", view.id, max(1, int(part * view.firings)), to)
            except CaseClosed:
                continue
            assert found.same <= len(found.original)
            result = audit(to)
            assert result.clean, [str(p) for p in result.problems]
        assert world.effects == before


def test_another_decision_makes_a_difference_in_the_simulation_only(made: Path, tmp_path: Path) -> None:
    reader = Reader(made)
    task = next(t for t in reader.tasks(status="decided") if t.choice == "deny")
    at = next(x.seq for x in reader.log(task.case) if x.role == "deny") - 1
    before, calls = list(reader.export()), Ledger(made.with_name("ledger.db")).calls()
    found = forked(made, tmp_path, task.case, at, decisions={"approve": "approve"}, receipts=RECEIPTS)
    assert found.differs
    assert found.same == 0
    assert (found.original[0].role, found.simulated[0].role) == ("deny", "approve")
    assert {p["effect"]: p["how"] for p in found.played}["crm.publish"] == "given"
    assert found.played[0]["payload"]["order"] == task.about["order"]
    assert list(Reader(made).export()) == before
    assert Ledger(made.with_name("ledger.db")).calls() == calls
    assert audit(tmp_path / f"{task.case}-{at}.db").clean


RECEIPTS = {"crm.publish": {"number": "S-1"}, "billing.charge": {"number": "S-2"}}


def test_a_receipt_that_nobody_knows_parks_the_simulated_case(made: Path, tmp_path: Path) -> None:
    reader = Reader(made)
    task = next(t for t in reader.tasks(status="decided") if t.choice == "deny")
    at = next(x.seq for x in reader.log(task.case) if x.role == "deny") - 1
    found = forked(made, tmp_path, task.case, at, decisions={"approve": "approve"})
    assert found.statuses[1] == "parked"
    assert found.simulated[-1].kind == "park"
    assert "does not know what 'crm.publish' would return" in found.simulated[-1].text
    assert audit(tmp_path / f"{task.case}-{at}.db").clean


def test_another_agent_is_asked_and_its_effects_are_not_called(made: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "never.db")
    agent = orders(ledger)
    view = next(c for c in Reader(made).cases(status="done"))
    found = forked(made, tmp_path, view.id, 1, agent=agent)
    assert not found.differs, "the proposer of this agent says the same again"
    assert found.played
    assert ledger.calls() == 0


def test_a_simulation_stays_one_whoever_opens_it(made: Path, tmp_path: Path) -> None:
    """An engine with the real agent runs new cases there, and reaches nothing outside."""
    ledger = Ledger(tmp_path / "never.db")
    agent = orders(ledger)
    view = next(c for c in Reader(made).cases(status="done"))
    found = forked(made, tmp_path, view.id, 2, receipts=RECEIPTS)
    database = tmp_path / f"{view.id}-2.db"
    assert not found.differs or found.played

    async def more() -> None:
        clock = VirtualClock(START)
        async with Engine.open(database, agents=[agent], clock=clock, people=person(clock)) as engine:
            engine.deploy(agent, proofs(agent.net))
            await engine.start_cases(
                "orders", [(f"n-{i}", {"order": Order(id=f"n-{i}", amount=i)}) for i in range(8)]
            )
            await engine.run_until_idle()

    asyncio.run(more())
    played = [p for i in range(8) for p in Reader(database).played(f"n-{i}")]
    assert {p["how"] for p in played if p["effect"] == "crm.publish"} == {"given"}
    assert ledger.calls() == 0
    assert audit(database).clean


def test_a_fork_goes_into_a_simulation_only(made: Path, tmp_path: Path) -> None:
    view = next(c for c in Reader(made).cases(status="done"))
    real = tmp_path / "real.db"
    real.write_bytes(made.read_bytes())
    for to in (made, real):
        before = to.read_bytes()
        with pytest.raises(NotSimulation, match="no simulation"):
            fork(made, view.id, 1, to)
        assert to.read_bytes() == before
    with pytest.raises(NotSimulation, match="gone"):
        fork(made, view.id, 1, ":memory:")
    forked(made, tmp_path, view.id, 1)
    with pytest.raises(CaseExists):
        forked(made, tmp_path, view.id, 1)
    with pytest.raises(CaseClosed):
        forked(made, tmp_path, view.id, view.firings)
    with pytest.raises(NoSuchEntry):
        forked(made, tmp_path, view.id, 999)
    for wrong in (
        {"receipts": {"crm.publsh": 1}},
        {"receipts": {"crm.publish": 1}},
        {"decisions": {"approve": "x"}},
    ):
        with pytest.raises(EngineError):
            forked(made, tmp_path, view.id, 2, **wrong)
    assert not (tmp_path / f"{view.id}-2.db").exists()
