"""Workers, dispatcher and database are killed all the while: nothing is lost, doubled or stuck."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provenet.engine import Engine, Reader, audit, faults
from provenet.engine.errors import EngineError
from provenet.engine.requests import post
from provenet.engine.supervisor import Heart, Restarts, Supervisor
from tests.engine.chaos import expected
from tests.engine.orders import Order, dice, orders, proofs
from tests.support.ledger import Ledger
from tests.support.postgres import Server
from tests.support.temporal import TemporalServer, temporal

pytestmark = pytest.mark.postgres

POINTS = [p for p in faults.POINTS if p not in {"signal", "start", "timer-due"}]
"""Points that these workers pass."""

ENTRIES = 15
"""Log entries of a case, on average."""


@dataclass(frozen=True)
class Worker:
    """A worker's body.

    Attributes:
        database: Where the cases are.
        ledger: Where the effects go.
        temporal: Where Temporal is; DBOS where it is nowhere.
        suicidal: How many of a hundred starts end at a fault point, by SIGKILL.
    """

    database: str
    ledger: Path
    temporal: str
    suicidal: int

    def __call__(self, heart: Heart) -> None:
        rng = random.Random(zlib.crc32(f"{os.getpid()} {os.times().elapsed}".encode()))
        if rng.randrange(100) < self.suicidal:
            faults.plan(f"{rng.choice(POINTS)}:kill:{rng.randint(1, 60)}")
        with suppress(EngineError):  # the server is away: the supervisor starts it again
            asyncio.run(self._serve(heart))
            return
        os._exit(3)

    async def _serve(self, heart: Heart) -> None:
        agent, stop = orders(Ledger(self.ledger)), asyncio.Event()
        beating = asyncio.ensure_future(heart.beat())
        beating.add_done_callback(lambda _: stop.set())

        def opened() -> Engine:
            return Engine.open(self.database, agents=[agent], takes="turns")

        if self.temporal:
            from provenet.engine.adapters.temporal import Pace, Temporal, serve_temporal

            where = Temporal(self.temporal, pace=Pace(heartbeat=3.0, turn=3.0))
            await serve_temporal(opened, where, stop=stop)
        else:
            from provenet.engine.adapters.dbos import serve_dbos

            await serve_dbos(opened, stop=stop)


def storm(
    tmp_path: Path,
    server: Server,
    database: str,
    dispatcher: TemporalServer | None,
    *,
    cases: int,
    kills: int,
    outages: int,
    seconds: float,
) -> dict[str, object]:
    """Run cases on three workers while they, and the servers, are killed; what it took."""
    undisturbed = Ledger(tmp_path / "undisturbed")
    asyncio.run(expected(":memory:", undisturbed, cases))
    ledger = Ledger(tmp_path / "ledger")
    # Nobody tells the dispatcher of them: the workers find them in the store.
    asyncio.run(started(database, ledger, cases))
    told: list[str] = []
    body = Worker(database, tmp_path / "ledger", dispatcher.target if dispatcher else "", suicidal=60)
    restarts = Restarts(most=100_000, longest=timedelta(seconds=0.5))
    supervisor, stop = Supervisor(body, 3, restarts=restarts, told=told.append), threading.Event()
    person = threading.Thread(target=decide_all, args=(database, stop))
    running = threading.Thread(target=supervisor.run, args=(stop,))
    running.start()
    person.start()
    rng, began = random.Random(0), time.monotonic()
    moved, version, pause, killed, downs = began, -1, 0.0, 0, 0
    last = after = "the beginning"
    servers: list[Any] = [server] if dispatcher is None else [server, dispatcher]
    down = [cases * (n + 1) / (outages + 1) for n in reversed(range(outages))]
    try:
        while True:
            left, now = left_of(database), time.monotonic()
            assert now - began < seconds, f"stuck: {Reader(database).counts()}; {told[-5:]}"
            if left is not None and left[1] != version:
                version, moved = left[1], now
            if now - moved > pause:
                pause, after = now - moved, last
            if left is not None and left[0] == 0:
                break
            if down and left is not None and left[0] <= down[0]:
                down.pop(0)
                victim = servers[downs % len(servers)]
                downs += 1
                victim.kill()
                time.sleep(0.3)
                victim.start()
                last = f"{type(victim).__name__} was away for {time.monotonic() - now:.1f} s"
            elif killed < kills * min(1.0, version / (cases * ENTRIES)) and (pids := supervisor.pids()):
                # Spread over the run: what never gets far enough to work cannot be disturbed at work.
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    killed += 1
                    last = "a worker was killed"
            time.sleep(rng.uniform(0.1, 1.5))
    finally:
        stop.set()
        running.join(60)
        person.join(60)
    assert Reader(database).counts() == {"done": cases}
    assert ledger.effects() == undisturbed.effects()
    found = audit(database)
    assert found.clean, [str(p) for p in found.problems[:5]]
    return {
        "cases": cases,
        "seconds": round(time.monotonic() - began, 1),
        "kills": killed,
        "worker deaths": supervisor.restarted,
        "server deaths": downs,
        "longest pause": round(pause, 1),
        "which came after": after,
        "repeated calls": ledger.calls() - len(ledger.effects()),
    }


async def started(database: str, ledger: Ledger, cases: int) -> None:
    agent = orders(ledger)
    async with Engine.open(database, agents=[agent], takes="turns") as engine:
        engine.deploy(agent, proofs(agent.net))
        wanted = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(cases)]
        async for _ in engine.stepper().start("orders", wanted):
            pass


def decide_all(database: str, stop: threading.Event) -> None:
    """A person who decides at once, and asks again where nobody answers."""

    def decide(case: str, task: str, order: str) -> None:
        choice = "approve" if dice(order, "mood") < 70 else "deny"
        command = {"do": "decide", "case": case, "task": task, "choice": choice, "who": "dana@pricing"}
        with suppress(EngineError):
            post(database, command)

    with ThreadPoolExecutor(4) as threads:
        while not stop.wait(0.2):
            with suppress(EngineError):
                for done in [
                    threads.submit(decide, task.case, task.task, task.about["order"])
                    for task in Reader(database).tasks()[:16]
                ]:
                    done.result()


def left_of(database: str) -> tuple[int, int] | None:
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


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kind", ["temporal", "dbos"])
@pytest.mark.parametrize(("cases", "kills", "outages"), [(30, 6, 2), (500, 60, 4)], ids=["gust", "storm"])
def test_a_storm_loses_and_doubles_nothing(
    tmp_path: Path, server: Server, postgres: str, kind: str, cases: int, kills: int, outages: int
) -> None:
    with ExitStack() as stack:
        if kind == "dbos":
            pytest.importorskip("dbos", reason="the extra provenet[dbos] is not installed")
        dispatcher = stack.enter_context(temporal(tmp_path)) if kind == "temporal" else None
        found = storm(
            tmp_path,
            server,
            postgres,
            dispatcher,
            cases=cases,
            kills=kills,
            outages=outages,
            seconds=120 + 4 * cases,
        )
    print(kind, found)
