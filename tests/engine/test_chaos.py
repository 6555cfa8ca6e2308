"""Worker processes that are killed all the while: nothing is lost, nothing doubled, nothing stuck."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from provenet.engine.errors import WorkersFailed
from provenet.engine.supervisor import Heart, Restarts, Supervisor
from tests.engine.chaos import Worker, fill, kill, orders_to, outage, storm_of_orders
from tests.support.postgres import Server

LONG = [pytest.mark.long, pytest.mark.timeout(2400)]


@pytest.mark.postgres
def test_workers_that_die_and_a_server_that_dies_lose_and_double_nothing(
    tmp_path: Path, server: Server, postgres: str
) -> None:
    body = Worker(postgres, orders_to(tmp_path), suicidal=70)
    found = storm_of_orders(tmp_path, body, cases=30, blows=[(6, kill), (1, outage(server))], seconds=120)
    print(found.happened)
    assert not found.harm


@pytest.mark.postgres
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_long_storm(tmp_path: Path, server: Server, postgres: str) -> None:
    body = Worker(postgres, orders_to(tmp_path), suicidal=70)
    found = storm_of_orders(tmp_path, body, cases=500, blows=[(60, kill), (3, outage(server))], seconds=1500)
    print(found.happened)
    assert not found.harm


@pytest.mark.parametrize(("cases", "times"), [(24, 1), pytest.param(500, 8, marks=LONG)])
def test_a_file_on_a_disk_that_is_full_again_and_again(tmp_path: Path, cases: int, times: int) -> None:
    """Two workers compete for the file, and one of them runs cases."""
    database = str(tmp_path / "x.db")
    body = Worker(database, orders_to(tmp_path), suicidal=30)
    blows = [(3 * times, kill), (3 * times, fill(database))]
    found = storm_of_orders(tmp_path, body, cases=cases, blows=blows, seconds=60 + 3 * cases, workers=2)
    print(found.happened)
    assert not found.harm
    assert found.happened["found no room"]


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
