"""Runs made anew from a record: the control is zero, and what differs under another version is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from provenet.engine.diagnosis.divergence import Version, measure
from tests.engine.orders import orders, proofs
from tests.engine.test_retelling import ordered
from tests.support.ledger import Ledger


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diverge")
    asyncio.run(ordered(folder / "made.db", folder / "ledger.db"))
    return folder / "made.db"


def test_the_record(sixty: Path, tmp_path: Path) -> None:
    found = measure(sixty, Version("the record"), None)
    assert found.valid
    assert found.record.same, [c for c in found.record.cases if not c.same][:3]
    agent = orders(Ledger(tmp_path / "l.db"))
    found = measure(sixty, Version("A", agent, proofs(agent.net)), None)
    assert found.valid
    assert found.record.same, [c for c in found.record.cases if not c.same][:3]
