"""PostgreSQL behind the store: the same histories as on SQLite, and several processes on one database."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from provenet.engine import Reader, audit
from tests.engine.orders import run
from tests.support.ledger import Ledger

pytestmark = pytest.mark.postgres

CASES = 30


def histories(database: str) -> list[tuple[str, list[object]]]:
    """What each case's log says, but for keys and hashes: they are the database's own."""
    found = []
    for line in Reader(database).export():
        case = json.loads(line)
        said = [(e["transition"], {**e["data"], "note": ""}) for e in case["log"]]
        found.append((case["case"]["id"], [*said, case["marking"]]))
    return sorted(found)


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
