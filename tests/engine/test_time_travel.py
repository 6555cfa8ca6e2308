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

from provenet.engine import Engine, Reader, VirtualClock
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.errors import NoSuchCase, NoSuchEntry, StoreCorrupt
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
                "orders", [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(12)]
            )
            await engine.run_until_idle(until=clock.now() + timedelta(hours=60))

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
