"""Storms: workers, servers, clocks and disks fail all the while; nothing may be lost, doubled or stuck."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sqlite3
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from provenet.engine import Decision, Engine, Reader, RealClock, Task, audit, faults
from provenet.engine.errors import EngineError, StoreFull
from provenet.engine.requests import post
from provenet.engine.supervisor import Heart, Restarts, Supervisor
from provenet.sdb.handlers import Agent
from tests.engine.kit import opened
from tests.engine.orders import Order, dice, orders, proofs
from tests.support.ledger import Ledger
from tests.support.postgres import Server

POINTS = [p for p in faults.POINTS if p not in {"signal", "start", "timer-due"}]
"""Points that all workers pass."""

STALL = 4.0
"""Seconds without an entry in any log after which nothing moves by itself any more."""

NO_ROOM = 4
"""Exit code of a worker that found no room on the disk."""


class Shifted(RealClock):
    """The wall clock and so much more as a file says: all processes that read it jump together."""

    def __init__(self, file: Path) -> None:
        self._file = file
        if not file.exists():
            file.write_text("0")

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(self._file.read_text() or 0))

    def jump(self, span: timedelta) -> None:
        later = self._file.with_suffix(".new")
        later.write_text(str(float(self._file.read_text()) + span.total_seconds()))
        later.rename(self._file)


@dataclass(frozen=True)
class Worker:
    """A worker's body.

    Attributes:
        database: Where the cases are.
        agent: Makes the agent; can be pickled.
        on: Where Temporal is, or ``dbos``; the engine's own loop where it is empty.
        suicidal: How many of a hundred starts end at a fault point, by SIGKILL.
        clocks: A folder with a file for each worker, which says by how much its clock is off.
    """

    database: str
    agent: Callable[[], Agent]
    on: str = ""
    suicidal: int = 0
    clocks: Path | None = None

    def __call__(self, heart: Heart) -> None:
        rng = random.Random(zlib.crc32(f"{os.getpid()} {os.times().elapsed}".encode()))
        if rng.randrange(100) < self.suicidal:
            faults.plan(f"{rng.choice(POINTS)}:kill:{rng.randint(1, 60)}")
        try:
            asyncio.run(self._serve(heart))
        except StoreFull:
            os._exit(NO_ROOM)
        except EngineError:  # the store is away: the supervisor starts it again
            os._exit(3)

    async def _serve(self, heart: Heart) -> None:
        stop, agent = asyncio.Event(), self.agent()
        clock = RealClock() if self.clocks is None else Shifted(self.clocks / f"clock-{heart.number}")
        beating = asyncio.ensure_future(heart.beat())
        beating.add_done_callback(lambda _: stop.set())

        def opened() -> Engine:
            return Engine.open(
                self.database, agents=[agent], clock=clock, takes="turns" if self.on else "all"
            )

        if not self.on:
            async with opened() as engine:
                filling = asyncio.ensure_future(_fills_up(self.database))
                await engine.serve(stop)
                filling.cancel()
        elif self.on == "dbos":
            from provenet.engine.adapters.dbos import serve_dbos

            await serve_dbos(opened, stop=stop)
        else:
            from provenet.engine.adapters.temporal import Pace, Temporal, serve_temporal

            await serve_temporal(opened, Temporal(self.on, pace=Pace(heartbeat=3.0, turn=3.0)), stop=stop)


async def _fills_up(database: str) -> None:
    """Wait until somebody says that the disk has no room, and be the one who finds that."""
    while True:
        await asyncio.sleep(0.02)
        with suppress(FileNotFoundError):
            os.unlink(f"{database}-full")  # noqa: PTH108  nothing to wait for
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 4096, hard))


Blow: TypeAlias = Callable[["Storm", random.Random], str]
"""Something that goes wrong; what it was, in words, or nothing if it could not be done now."""


def kill(storm: Storm, rng: random.Random) -> str:
    """SIGKILL a worker."""
    pids = storm.supervisor.pids()
    if not pids:
        return ""
    with suppress(ProcessLookupError):
        os.kill(rng.choice(pids), signal.SIGKILL)
        return "a worker was killed"
    return ""


def outage(server: Any) -> Blow:
    """SIGKILL a server, and start it again a little later."""

    def blow(storm: Storm, rng: random.Random) -> str:
        server.kill()
        time.sleep(0.3)
        server.start()
        return f"{type(server).__name__} was away"

    return blow


def fill(database: str) -> Blow:
    """Leave the file hardly any room to grow, as long as the worker lives that runs cases on it."""

    def blow(storm: Storm, rng: random.Random) -> str:
        sign = Path(f"{database}-full")
        sign.touch()
        return "the disk was full" if storm.finds_no_room() else ""

    return blow


def crowd(server: Server, database: str) -> Blow:
    """Restart the server on a disk without room for the log to grow, and a little later on one with room."""

    def blow(storm: Storm, rng: random.Random) -> str:
        found = rows_of(database, "SELECT pg_relation_size('provenet_event')")
        if found is None:
            return ""
        server.kill()
        server.start(largest=int(found[0][0]) + 8192)
        hit = storm.finds_no_room()
        server.kill()
        server.start()
        return "the server's disk was full" if hit else ""

    return blow


def jump(clocks: Path, workers: int) -> Blow:
    """Set the clock of one worker by hours or days, forwards or backwards."""

    def blow(storm: Storm, rng: random.Random) -> str:
        hours = rng.choice((-72, -24, -3, -1, 1, 3, 24, 72))
        Shifted(clocks / f"clock-{rng.randrange(workers)}").jump(timedelta(hours=hours))
        return "a clock was set"

    return blow


@dataclass(frozen=True)
class Aftermath:
    """What a storm left behind.

    Attributes:
        harm: Whatever is not as if there had been none.
        happened: What went wrong meanwhile and how often, and what it took.
    """

    harm: list[str]
    happened: dict[str, object]


@dataclass
class Storm:
    """Workers on a database, and what happens to them.

    Attributes:
        body: What each worker does.
        workers: How many.
        blows: What goes wrong, and how often; spread over the run.
        around: What the outside does meanwhile: people, services; each until it is told to stop.
        seconds: Longer is stuck.
        entries: Log entries of a case, on average.
    """

    body: Worker
    workers: int
    blows: Sequence[tuple[int, Blow]]
    around: Sequence[Callable[[threading.Event], None]] = ()
    seconds: float = 120.0
    entries: float = 15.0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        restarts = Restarts(most=100_000, longest=timedelta(seconds=0.5))
        self.supervisor = Supervisor(self.body, self.workers, restarts=restarts, told=self.told.append)

    def no_room(self) -> int:
        """How many workers found no room on the disk so far."""
        return sum(f"ended with {NO_ROOM}:" in line for line in self.told)

    def finds_no_room(self) -> bool:
        """Wait a while until a worker finds no room; whether one did."""
        before, until = self.no_room(), time.monotonic() + 8.0
        while self.no_room() == before and time.monotonic() < until:
            time.sleep(0.02)
        return self.no_room() > before

    def over(self, cases: int) -> Aftermath:
        """Let it come over so many cases, which are in the database, until all of them have ended."""
        database, rng, began = self.body.database, random.Random(0), time.monotonic()
        left = [blow for count, blow in self.blows for _ in range(count)]
        rng.shuffle(left)
        planned, moved, version, pause, last, after = len(left), began, -1, 0.0, "the beginning", ""
        first: int | None = None
        happened: Counter[str] = Counter()
        passed, struck = False, began
        with self._working():
            while True:
                found, now = left_of(database), time.monotonic()
                assert now - began < self.seconds, self._stuck(database)
                if found is not None and found[1] != version:
                    version, moved = found[1], now
                    first = version if first is None else first
                if now - moved > pause:
                    pause, after = now - moved, last
                if found is not None and found[0] == 0:
                    break
                # Spread over the run: what never gets far enough to work cannot be disturbed at work. Where
                # nothing moves, what it waits for may be the next thing to go wrong, or time.
                base = version if first is None else first
                due = (planned + 1) * min(1.0, (version - base) / (cases * self.entries - base))
                stalls = now - max(moved, struck) > STALL
                if left and (stalls or planned - len(left) < due) and (what := left[-1](self, rng)):
                    left.pop()
                    happened[what] += 1
                    last, struck = what, time.monotonic()
                elif stalls and self.body.clocks is not None and (left or not passed):
                    # What is left may need something that moves; what waits in the end waits for time.
                    self._pass_days()
                    passed, struck = not left, time.monotonic()
                time.sleep(rng.uniform(0.02, 0.4))
        counts = Reader(database).counts()
        harm = [] if counts == {"done": cases} else [f"of {cases} cases: {counts}"]
        harm += [str(problem) for problem in audit(database).problems]
        told = {
            "cases": cases,
            "seconds": round(time.monotonic() - began, 1),
            "worker deaths": self.supervisor.restarted,
            "found no room": self.no_room(),
            **happened,
            "longest pause": round(pause, 1),
            "which came after": after,
        }
        return Aftermath(harm, told)

    def _pass_days(self) -> None:
        """Let all deadlines pass: clocks that were set back had put them off."""
        assert self.body.clocks is not None
        for number in range(self.workers):
            Shifted(self.body.clocks / f"clock-{number}").jump(timedelta(days=60))

    def _stuck(self, database: str) -> str:
        query = "SELECT id, status, version, reason FROM provenet_case WHERE finished IS NULL LIMIT 5"
        return f"stuck: {Reader(database).counts()}; {rows_of(database, query)}; {self.told[-5:]}"

    @contextmanager
    def _working(self) -> Iterator[None]:
        stop, quiet = threading.Event(), threading.Event()
        # First those who ask and then those who answer, when it is over.
        around = [threading.Thread(target=act, args=(quiet,)) for act in self.around]
        running = threading.Thread(target=self.supervisor.run, args=(stop,))
        for thread in (running, *around):
            thread.start()
        try:
            yield
        finally:
            quiet.set()
            for thread in around:
                thread.join(60)
            stop.set()
            running.join(60)


def left_of(database: str) -> tuple[int, int] | None:
    """Cases that are not over, and log entries so far; ``None`` while the store is away."""
    query = "SELECT COUNT(*) FILTER (WHERE finished IS NULL), COALESCE(SUM(version), 0) FROM provenet_case"
    found = rows_of(database, query)
    return None if found is None else (int(found[0][0]), int(found[0][1]))


def rows_of(database: str, query: str) -> list[tuple[Any, ...]] | None:
    """Rows of a query, read beside the engine; ``None`` while the store is away."""
    try:
        if database.startswith("postgresql"):
            with psycopg.connect(database, connect_timeout=2) as db:
                return db.execute(query.encode()).fetchall()
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as file:
            return file.execute(query).fetchall()
    except (psycopg.Error, sqlite3.Error):
        return None


async def started(database: str, agent: Agent, net: str, cases: Sequence[tuple[str, Any]]) -> None:
    """Deploy and start cases; nobody runs them yet, and no dispatcher was told of them."""
    async with Engine.open(database, agents=[agent], takes="asked") as engine:
        engine.deploy(agent, proofs(agent.net))
        await engine.start_cases(net, cases)


def decides_orders(database: str) -> Callable[[threading.Event], None]:
    """A person who decides at once, and asks again where nobody answers."""

    def decide(case: str, task: str, order: str) -> None:
        choice = _mood(order)
        command = {"do": "decide", "case": case, "task": task, "choice": choice, "who": "dana@pricing"}
        with suppress(EngineError):
            post(database, command)

    def act(stop: threading.Event) -> None:
        with ThreadPoolExecutor(4) as threads:
            while not stop.wait(0.2):
                with suppress(EngineError):
                    for done in [
                        threads.submit(decide, task.case, task.task, task.about["order"])
                        for task in Reader(database).tasks()[:16]
                    ]:
                        done.result()

    return act


def storm_of_orders(
    folder: Path,
    body: Worker,
    *,
    cases: int,
    blows: Sequence[tuple[int, Blow]],
    seconds: float,
    workers: int = 3,
) -> Aftermath:
    """Run orders while things go wrong, beside the same orders that nothing disturbs."""
    undisturbed, ledger = Ledger(folder / "undisturbed"), Ledger(folder / "ledger")
    asyncio.run(_undisturbed(undisturbed, cases))
    asyncio.run(started(body.database, orders(ledger), "orders", _orders(cases)))
    storm = Storm(body, workers, blows, [decides_orders(body.database)], seconds=seconds)
    found = storm.over(cases)
    expected, effects = Counter(undisturbed.effects()), Counter(ledger.effects())
    harm = [f"lost: {effect}" for effect in expected - effects]
    harm += [f"not asked for: {effect}" for effect in effects - expected]
    repeated = {"repeated calls": ledger.calls() - effects.total()}
    return Aftermath(found.harm + harm, found.happened | repeated)


def orders_to(folder: Path) -> Callable[[], Agent]:
    """The agent of a worker in a storm of orders."""
    return partial(_agent, folder / "ledger")


def _agent(ledger: Path) -> Agent:
    return orders(Ledger(ledger))


def _orders(cases: int) -> list[tuple[str, dict[str, Any]]]:
    return [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(cases)]


async def _undisturbed(ledger: Ledger, cases: int) -> None:
    async def decide(task: Task) -> Decision:
        await asyncio.sleep(0)
        return Decision(_mood(task.about["order"]), "dana@pricing")

    agent = orders(ledger)
    async with opened(agent, people=decide) as engine:
        engine.deploy(agent, proofs(agent.net))
        await engine.start_cases("orders", _orders(cases))
        await engine.run_until_idle()


def _mood(order: str) -> str:
    return "approve" if dice(order, "mood") < 70 else "deny"
