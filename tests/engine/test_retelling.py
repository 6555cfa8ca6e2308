"""A recorded run is told again bit for bit, whatever happened in it; what was changed is found at its
entry."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from provenet.engine import Engine, Reader, VirtualClock
from provenet.engine.diagnosis.retelling import retell
from provenet.sdb.handlers import Agent
from tests.engine.orders import START, Order, orders, person, proofs
from tests.engine.test_random import World, agents, go, scripts
from tests.support.ledger import Ledger


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts)
def test_any_run_is_told_again_bit_for_bit(
    case: tuple[Agent, World], script: list[tuple[str, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(go(case[0], Path(folder) / "x.db", script, 3))
        reader = Reader(Path(folder) / "x.db")
        for view in reader.cases():
            told = retell(reader, view.id)
            assert told.same, told
            assert told.entries == view.firings


async def ordered(database: str | Path, ledger: Path, count: int = 60) -> None:
    agent, clock = orders(Ledger(ledger)), VirtualClock(START)
    async with Engine.open(database, agents=[agent], clock=clock, people=person(clock)) as engine:
        engine.deploy(agent, proofs(agent.net))
        cases = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(count)]
        await engine.start_cases("orders", cases)
        await engine.run_until_idle()


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases with rejects, faults, people, failing effects and compensations."""
    folder = tmp_path_factory.mktemp("retold")
    asyncio.run(ordered(folder / "made.db", folder / "ledger.db"))
    return folder / "made.db"


def test_rejects_people_and_compensations_are_told_again(sixty: Path) -> None:
    reader = Reader(sixty)
    told = [retell(reader, view.id) for view in reader.cases()]
    assert len(told) == 60
    assert all(t.same and not t.followed and not t.unasked for t in told), [t for t in told if not t.same]
    assert sum(t.entries for t in told) > 600
