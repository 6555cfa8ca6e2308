"""Worker processes that are killed all the while: nothing is lost, nothing doubled, nothing stuck."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from provenet.engine import Engine, Reader, VirtualClock, audit
from provenet.engine.errors import WorkersFailed
from provenet.engine.supervisor import Heart, Restarts, Supervisor
from tests.engine.chaos import Chaotic, expected
from tests.engine.orders import START, Order, orders, proofs
from tests.support.ledger import Ledger
from tests.support.postgres import Server

pytestmark = pytest.mark.postgres


def storm(
    tmp_path: Path, server: Server, postgres: str, *, cases: int, kills: int, outages: int, seconds: float
) -> dict[str, float]:
    """Run cases on three workers while they, and the server, are killed; what it took."""
    undisturbed = Ledger(tmp_path / "undisturbed")
    asyncio.run(expected(":memory:", undisturbed, cases))
    ledger = Ledger(tmp_path / "ledger")
    asyncio.run(_started(postgres, ledger, cases))
    told: list[str] = []
    body = Chaotic(postgres, tmp_path / "ledger", suicidal=70)
    restarts = Restarts(most=10_000, longest=timedelta(seconds=0.5))
    supervisor, stop = Supervisor(body, 3, restarts=restarts, told=told.append), threading.Event()
    running = threading.Thread(target=supervisor.run, args=(stop,))
    running.start()
    rng, began = random.Random(0), time.monotonic()
    moved, version, pause, killed = began, -1, 0.0, 0
    down = [cases * (n + 1) / (outages + 1) for n in reversed(range(outages))]
    try:
        while True:
            left, now = _left(postgres), time.monotonic()
            assert now - began < seconds, f"stuck: {Reader(postgres).counts()}; {told[-5:]}"
            if left is not None and left[1] != version:
                version, moved = left[1], now
            pause = max(pause, now - moved)
            if left is not None and left[0] == 0:
                break
            if down and left is not None and left[0] <= down[0]:
                down.pop(0)
                server.kill()
                time.sleep(0.3)
                server.start()
            elif killed < kills and (pids := supervisor.pids()):
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    killed += 1
            time.sleep(rng.uniform(0.02, 0.3))
    finally:
        stop.set()
        running.join(60)
    assert Reader(postgres).counts() == {"done": cases}
    assert ledger.effects() == undisturbed.effects()
    found = audit(postgres)
    assert found.clean, [str(p) for p in found.problems[:5]]
    return {
        "seconds": time.monotonic() - began,
        "kills": killed,
        "deaths": supervisor.restarted,
        "longest pause": pause,
        "repeated calls": ledger.calls() - len(ledger.effects()),
    }


async def _started(database: str, ledger: Ledger, cases: int) -> None:
    agent = orders(ledger)
    async with Engine.open(database, agents=[agent], clock=VirtualClock(START), takes="asked") as engine:
        engine.deploy(agent, proofs(agent.net))
        await engine.start_cases(
            "orders", [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(cases)]
        )


def _left(database: str) -> tuple[int, int] | None:
    """Cases that are not over, and log entries so far; ``None`` while the server is away."""
    try:
        with psycopg.connect(database, connect_timeout=2) as db:
            row = db.execute(
                "SELECT COUNT(*) FILTER (WHERE finished IS NULL), COALESCE(SUM(version), 0)"
                " FROM provenet_case"
            ).fetchone()
    except psycopg.Error:
        return None
    assert row is not None
    return int(row[0]), int(row[1])


def test_workers_that_die_and_a_server_that_dies_lose_and_double_nothing(
    tmp_path: Path, server: Server, postgres: str
) -> None:
    print(storm(tmp_path, server, postgres, cases=60, kills=6, outages=1, seconds=120))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_long_storm(tmp_path: Path, server: Server, postgres: str) -> None:
    print(storm(tmp_path, server, postgres, cases=500, kills=60, outages=3, seconds=1500))


def _fails(heart: Heart) -> None:
    raise SystemExit(3)


def _hangs(heart: Heart) -> None:
    async def hang() -> None:
        task = asyncio.ensure_future(heart.beat())
        await asyncio.sleep(0.2)
        time.sleep(3600)  # noqa: ASYNC251  the loop hangs: no beat comes any more
        await task

    asyncio.run(hang())


def _ends(heart: Heart) -> None:
    asyncio.run(heart.beat())


def test_a_worker_that_dies_too_often_is_a_fault() -> None:
    told: list[str] = []
    supervisor = Supervisor(_fails, 1, restarts=Restarts(most=2), told=told.append)
    with pytest.raises(WorkersFailed, match="3 times"):
        supervisor.run(threading.Event())
    assert [line.partition(":")[0] for line in told] == ["worker 0 ended with 3"] * 2
    assert not supervisor.pids()


def test_a_silent_worker_is_killed_and_started_again() -> None:
    told: list[str] = []
    supervisor, stop = (
        Supervisor(_hangs, 1, restarts=Restarts(silence=timedelta(seconds=2)), told=told.append),
        threading.Event(),
    )
    running = threading.Thread(target=supervisor.run, args=(stop,))
    running.start()
    until = time.monotonic() + 60
    while supervisor.restarted < 1:
        assert time.monotonic() < until
        time.sleep(0.1)
    stop.set()
    running.join(30)
    assert "silent" in told[0]


def test_workers_end_in_good_order() -> None:
    supervisor, stop = Supervisor(_ends, 2), threading.Event()
    running = threading.Thread(target=supervisor.run, args=(stop,))
    running.start()
    until = time.monotonic() + 60
    while len(supervisor.pids()) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    stop.set()
    running.join(30)
    assert not running.is_alive()
    assert supervisor.restarted == 0
