"""Tamper with any table, and the audit names it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from provenet.engine import Engine, VirtualClock, audit
from tests.engine.orders import START, Order, orders, person, proofs
from tests.support.ledger import Ledger


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with finished cases and some that wait for a person."""
    folder = tmp_path_factory.mktemp("audit")

    async def make() -> None:
        agent = orders(Ledger(folder / "ledger.db"))
        clock = VirtualClock(START)
        async with Engine.open(
            folder / "made.db", agents=[agent], clock=clock, people=person(clock)
        ) as engine:
            engine.deploy(agent, proofs(agent.net))
            await engine.start_cases(
                "orders", [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(10)]
            )
            await engine.run_until_idle()
        async with Engine.open(folder / "made.db", agents=[agent], clock=clock) as engine:
            await engine.start_cases(
                "orders", [(f"w-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(10)]
            )
            await engine.run_until_idle(until=clock.now())
            assert engine.read.counts()["waiting"] > 0

    asyncio.run(make())
    assert audit(folder / "made.db").clean
    return folder / "made.db"


TAMPERINGS: dict[str, tuple[str, str]] = {
    "an event's data": (
        """UPDATE provenet_event SET data = replace(data, '"discount":', '"discount":1')
        WHERE id = (SELECT MIN(id) FROM provenet_event WHERE data LIKE '%discount%')""",
        "hash chain",
    ),
    "an event's time": ("UPDATE provenet_event SET at = at + 1 WHERE id = 12", "hash chain"),
    "an event's transition": ("UPDATE provenet_event SET transition = 'done' WHERE id = 12", "hash chain"),
    "an event's hash": ("UPDATE provenet_event SET hash = zeroblob(32) WHERE id = 12", "hash chain"),
    "an event is gone": ("DELETE FROM provenet_event WHERE case_no = 3 AND seq = 4", "missing"),
    "the last event is gone": (
        """DELETE FROM provenet_event WHERE case_no = 3
        AND seq = (SELECT version FROM provenet_case WHERE no = 3)""",
        "entries are missing",
    ),
    "a case's version": ("UPDATE provenet_case SET version = version + 1 WHERE no = 2", "version"),
    "a case's status": ("UPDATE provenet_case SET status = 'done' WHERE status = 'waiting'", "no final one"),
    "a case's outcome": (
        'UPDATE provenet_case SET outcome = \'{"order":"x","discount":99}\' WHERE no = 2',
        "outcome",
    ),
    "a case's net": ("UPDATE provenet_case SET net = 'abc' WHERE no = 2", "not among the deployed"),
    "a token's value": (
        """UPDATE provenet_token SET value = replace(value, '"discount":', '"discount":9')
        WHERE place = 'review'""",
        "differs",
    ),
    "a token is gone": ("DELETE FROM provenet_token WHERE place = 'review'", "is missing from the table"),
    "a token too many": (
        "INSERT INTO provenet_token VALUES (2, 999, 'review', '{}', 0)",
        "does not lead to it",
    ),
    "a timer's due time": ("UPDATE provenet_timer SET due = due + 1000000", "not due when the net says"),
    "a timer is gone": ("DELETE FROM provenet_timer", "has no timer"),
    "a timer too many": ("INSERT INTO provenet_timer VALUES (2, 1, 'approve.timeout', 5)", "which is gone"),
    "who decided": ("UPDATE provenet_task SET who = 'eve@pricing' WHERE status = 'decided'", "dana@pricing"),
    "what was decided on": (
        "UPDATE provenet_task SET about = replace(about, '0', '7') WHERE status = 'decided'",
        "not what the task shows",
    ),
    "a task is closed": (
        "UPDATE provenet_task SET status = 'withdrawn' WHERE status = 'open'",
        "is not open",
    ),
    "a task's deadline": (
        "UPDATE provenet_task SET deadline = deadline + 1 WHERE status = 'open'",
        "deadline",
    ),
    "a task of a case that is over": (
        """INSERT INTO provenet_task (case_no, token, task, choices, role, about, about_hash, opened, status)
        SELECT (SELECT MAX(no) FROM provenet_case WHERE status = 'done'),
        token, task, choices, role, about, about_hash, opened, status
        FROM provenet_task WHERE status = 'open' LIMIT 1""",
        "is open, and the case is done",
    ),
    "an effect undone on paper": (
        "UPDATE provenet_effect SET state = 'intended' WHERE state = 'performed'",
        "its effect is intended",
    ),
    "an effect is gone": (
        "DELETE FROM provenet_effect WHERE transition = 'quote.commit'",
        "its effect is missing",
    ),
    "a receipt": ("UPDATE provenet_effect SET receipt = replace(receipt, 'P-', 'Q-')", "another receipt"),
    "an effect that no log knows": (
        """INSERT INTO provenet_effect VALUES
        ('k', 2, 77, 'charge.commit', 'billing.charge', 'h', 'performed', 1, 'null', NULL, 0, 0)""",
        "the log has no commit of it",
    ),
    "the net": ("UPDATE provenet_net SET content = replace(content, '30', '99')", "its content has changed"),
    "the report is of another net": (
        "UPDATE provenet_net SET report = replace(report, hash, 'ffffffff')",
        "about another net",
    ),
    "a verdict": (
        "UPDATE provenet_net SET report = replace(report, 'PROVED', 'UNKNOWN')",
        "UNKNOWN in its report",
    ),
    "an event that is no text": (
        "UPDATE provenet_event SET data = CAST(x'EDA080' AS TEXT) WHERE id = 12",
        "event holds text that is no UTF-8",
    ),
    "a token that is no text": (
        "UPDATE provenet_token SET value = CAST(x'22FF22' AS TEXT) WHERE place = 'review'",
        "token holds text that is no UTF-8",
    ),
    "an outcome that is no text": (
        "UPDATE provenet_case SET outcome = CAST(x'22FF22' AS TEXT) WHERE no = 2",
        "case holds text that is no UTF-8",
    ),
    "rows of no case": ("UPDATE provenet_event SET case_no = 9999 WHERE case_no = 3", "does not exist"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_the_audit_names_what_was_tampered_with(made: Path, tmp_path: Path, name: str) -> None:
    statement, expected = TAMPERINGS[name]
    copy = tmp_path / "copy.db"
    shutil.copy(made, copy)
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute(statement).rowcount > 0
        db.commit()
    result = audit(copy)
    assert any(expected in p.what for p in result.problems), [str(p) for p in result.problems[:5]]


@pytest.mark.attack("log written anew", "found by the audit: what the net forbids does not replay")
def test_a_rewritten_chain_is_caught_by_the_firing_rule(made: Path, tmp_path: Path) -> None:
    from provenet.engine.case import GENESIS, chain

    copy = tmp_path / "copy.db"
    shutil.copy(made, copy)
    with closing(sqlite3.connect(copy)) as db:
        case, no = db.execute("SELECT id, no FROM provenet_case WHERE status = 'done' LIMIT 1").fetchone()
        head = GENESIS
        rows = db.execute(
            "SELECT id, seq, kind, transition, at, data FROM provenet_event WHERE case_no = ? ORDER BY seq",
            (no,),
        ).fetchall()
        for row, seq, kind, transition, at, was in rows:
            data = was.replace('"took":[', '"took":[7,') if seq == 3 else was
            digest = chain(head, case, seq, kind, transition=transition, at=at, data=data)
            db.execute(
                "UPDATE provenet_event SET data = ?, prev = ?, hash = ? WHERE id = ?",
                (data, head, digest, row),
            )
            head = digest
        db.execute("UPDATE provenet_case SET head = ? WHERE no = ?", (head, no))
        db.commit()
    problems = audit(copy).problems
    assert any("replays to something else" in p.what for p in problems), problems


def test_the_audit_reports_progress_and_counts(made: Path) -> None:
    seen: list[tuple[int, int]] = []
    tell: Callable[[int, int], None] = lambda done, of: seen.append((done, of))  # noqa: E731
    result = audit(made, progress=tell)
    assert seen[-1] == (20, 20)
    assert (result.cases, result.nets) == (20, 1)
    assert result.events > 150
    assert result.effects > 10
    assert result.to_json()["clean"] is True
