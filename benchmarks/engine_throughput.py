"""Firings per second beside SNAKES, raw ``sqlite3``, LangGraph's SqliteSaver and DBOS; prints ratios.

    python benchmarks/engine_throughput.py [--steps 10] [--cases 400] [--rounds 5] [--dir FOLDER]
                                           [--plot FILE.svg]

A case is a chain of sequential steps over one token with 1 KB of state. Each durable step is one proposal
answered by plain code: the token that runs is committed, the code runs, its answer is committed; that is what
a node of LangGraph with synchronous durability does.

There are two raw floors, both with the engine's own pragmas (WAL, synchronous=FULL). *Same commits* runs
the very statements of the engine's run again, in the same transactions, through ``sqlite3`` alone: what any
program pays that keeps a log, the live tokens and the cases. *Log alone* writes the rows of the log, as many
at a time, and nothing else. The engine and its floors take turns on databases of their own, so that a slow
spell of the machine meets all of them; ratios are taken within a turn, and each line gives the middle one.
What watching costs is measured in turns with nobody watching: structured logs written as JSON lines,
OpenTelemetry's traces and metrics kept in memory, Prometheus' counters (extra ``otel``).

LangGraph (extra ``bench``) and DBOS on its default SQLite database (extra ``dbos``) are measured where they
are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

from peers import PADDING, dbos_rates, langgraph_rates, snakes_run

from provenet.engine import Engine, VirtualClock, audit
from provenet.engine.watching.logs import JsonLines, Logs
from provenet.engine.watching.watch import Observer
from provenet.nets.build import NetBuilder
from provenet.nets.firing import NetRule
from provenet.nets.marking import initial_marking
from provenet.nets.models import Token
from provenet.nets.net import Ask, Net
from provenet.sdb.handlers import Agent, Proposal, Request
from provenet.verify.check import prove
from provenet.visualize.charts import bars


class State(Token):
    step: int
    text: str


class Work:
    """A proposer that answers at once."""

    async def propose(self, request: Request) -> Proposal:
        return Proposal((request.payload.step + 1, request.payload.text))


def chain(steps: int) -> Agent:
    """A net of so many steps in a row."""
    net = NetBuilder("chain")
    here = net.entry("p0", State)
    work = Work()
    for i in range(steps):
        there = net.final(f"p{i + 1}", State) if i + 1 == steps else net.place(f"p{i + 1}", State)
        net.transition(
            f"step {i + 1}",
            takes={"s": here},
            brings={"answer": State},
            puts={there: "answer"},
            trigger=Ask(net.handle("work", work)),
        )
        here = there
    net.require("SDB-1")
    return Agent.of(net)


@dataclass
class Run:
    """A finished run of the engine.

    Attributes:
        seconds: How long it took.
        firings: Durable steps.
        commits: Transactions.
        tape: The statements that it wrote with, and their rows; empty where nobody asked.
    """

    seconds: float
    firings: int
    commits: int
    tape: list[tuple[str, list[Any] | None]]

    @property
    def rate(self) -> float:
        return self.firings / self.seconds


class Taped:
    """A connection that keeps what is written through it."""

    def __init__(self, connection: sqlite3.Connection, tape: list[tuple[str, list[Any] | None]]) -> None:
        self._connection, self._tape = connection, tape

    def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        if not statement.startswith(("SELECT", "PRAGMA")):
            self._tape.append((statement, [parameters] if parameters else None))
        return self._connection.execute(statement, parameters)

    def executemany(self, statement: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        kept = list(rows)
        self._tape.append((statement, kept))
        return self._connection.executemany(statement, kept)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def engine_run(
    agent: Agent,
    database: str,
    cases: int,
    at_once: int,
    *,
    taped: Literal["no", "yes"] = "no",
    observers: Sequence[Observer] = (),
) -> Run:
    """Run so many cases, some at a time."""
    report = prove(agent.net)
    tape: list[tuple[str, list[Any] | None]] = []
    async with Engine.open(
        database,
        agents=[agent],
        clock=VirtualClock(datetime(2026, 1, 1, tzinfo=UTC)),
        observers=observers,
    ) as engine:
        engine.deploy(agent, report)
        store: Any = engine._store  # noqa: SLF001  what it writes is what the floor has to write
        if taped == "yes":
            store.database.connection = Taped(store.database.connection, tape)
        before = engine.progress()
        began = time.perf_counter()
        for first in range(0, cases, at_once):
            batch = range(first, min(first + at_once, cases))
            inputs = {"p0": State(step=0, text=PADDING)}
            await engine.start_cases("chain", [(f"c{i}", inputs) for i in batch])
            await engine.run_until_idle()
        seconds = time.perf_counter() - began
        after = engine.progress()
        assert after.statuses == {"done": cases}
        return Run(seconds, after.firings - before.firings, after.commits - before.commits, tape)


def same_commits(source: Path, database: Path, taped: Run) -> float:
    """Firings per second of a run's own statements, in the same transactions, through ``sqlite3``."""
    with closing(sqlite3.connect(source)) as db:
        tables = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    with closing(_floor(database, tables)) as db:
        began = time.perf_counter()
        for statement, rows in taped.tape:
            if rows is None:
                db.execute(statement)
            else:
                db.executemany(statement, rows)
        return taped.firings / (time.perf_counter() - began)


def log_alone(source: Path, database: Path, run: Run) -> float:
    """Firings per second of writing the log's rows, in as many transactions, through ``sqlite3``."""
    with closing(sqlite3.connect(source)) as db:
        (table,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'provenet_event'").fetchone()
        events = db.execute("SELECT * FROM provenet_event ORDER BY id").fetchall()
    share, marks = max(1, len(events) // run.commits), ", ".join("?" * len(events[0]))
    with closing(_floor(database, [table])) as db:
        began = time.perf_counter()
        for first in range(0, len(events), share):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(f"INSERT INTO provenet_event VALUES ({marks})", events[first : first + share])
            db.execute("COMMIT")
        return run.firings / (time.perf_counter() - began)


def _floor(database: Path, tables: list[str]) -> sqlite3.Connection:
    db = sqlite3.connect(database, isolation_level=None)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 4000",
        "cache_size = -65536",
    ):
        db.execute(f"PRAGMA {pragma}")
    for sql in tables:
        db.execute(sql)
    return db


@dataclass
class Turn:
    """One turn of the engine on a disk, and of its floors."""

    run: Run
    same: float
    log: float
    size: float


def turn(agent: Agent, folder: Path, cases: int, at_once: int, taped: Run) -> Turn:
    """Run the engine, then its floors, in a folder of their own."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        here = Path(name)
        run = asyncio.run(engine_run(agent, str(here / "run.db"), cases, at_once))
        assert (run.firings, run.commits) == (taped.firings, taped.commits)
        size = sum(f.stat().st_size for f in here.glob("run.db*")) / run.firings
        assert audit(here / "run.db").clean
        return Turn(
            run,
            same_commits(here / "run.db", here / "same.db", taped),
            log_alone(here / "run.db", here / "log.db", run),
            size,
        )


def turns(agent: Agent, folder: Path, cases: int, at_once: int, rounds: int) -> list[Turn]:
    """Some turns; what the engine writes in each is taped once before, since taping takes time."""
    database = str(folder / f"taped-{at_once}.db")
    taped = asyncio.run(engine_run(agent, database, cases, at_once, taped="yes"))
    gc.freeze()  # the tape is large, and no part of what is measured
    found = [turn(agent, folder, cases, at_once, taped) for _ in range(rounds)]
    gc.unfreeze()
    return found


def in_memory(net: Net, firings: int) -> float:
    """Firings per second of the firing rule alone."""
    rule, done = NetRule(net), 0
    began = time.perf_counter()
    while done < firings:
        marking = initial_marking(net, {"p0": (0, PADDING)})
        for t in net.transitions:
            binding = next(rule.bindings(marking, t.name))
            marking = rule.fire(marking, t.name, {**binding, "answer": (binding["s"][0] + 1, PADDING)})
            done += 1
    return done / (time.perf_counter() - began)


def watchers() -> dict[str, Callable[[], Observer]]:
    """Who may watch, by name; only the logs where OpenTelemetry is not installed."""
    found: dict[str, Callable[[], Observer]] = {"JSON lines": Logs}
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from provenet.engine.watching.prometheus import Prometheus
        from provenet.engine.watching.telemetry import Telemetry
    except ImportError:
        return found

    def telemetry() -> Observer:
        traces = TracerProvider()
        traces.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
        return Telemetry(traces=traces, meters=MeterProvider(metric_readers=[InMemoryMetricReader()]))

    return {**found, "OpenTelemetry": telemetry, "Prometheus": Prometheus}


def watched(agent: Agent, folder: Path, cases: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """By observer: its rate with 64 in flight, and the rate without it in the same turn."""
    lines = logging.FileHandler(folder / "lines.log")
    lines.setFormatter(JsonLines())
    logger = logging.getLogger("provenet")
    logger.propagate = False
    logger.addHandler(lines)
    found: dict[str, list[tuple[float, float]]] = {}
    for i in range(rounds):
        alone = asyncio.run(engine_run(agent, str(folder / f"alone-{i}.db"), cases, 64)).rate
        for name, make in watchers().items():
            logger.setLevel(logging.INFO if name == "JSON lines" else logging.WARNING)
            database = str(folder / f"{name}-{i}.db")
            seen = asyncio.run(engine_run(agent, database, cases, 64, observers=[make()])).rate
            found.setdefault(name, []).append((seen, alone))
    logger.removeHandler(lines)
    lines.close()
    return found


def pictured(
    one: list[Turn], many: list[Turn], graph: list[float] | None, dbos: tuple[float, float] | None
) -> str:
    """The durable rates as bars."""
    rows = []
    for what, found in (("64 in flight", many), ("one at a time", one)):
        rows.append((f"*Provenet, {what}", median(t.run.rate for t in found), ""))
        rows.append((f"raw sqlite3, same commits, {what}", median(t.same for t in found), ""))
    if graph is not None:
        rows.append(("LangGraph SqliteSaver, sync", median(graph), ""))
    if dbos is not None:
        rows += [("DBOS on SQLite, one at a time", dbos[0], ""), ("DBOS on SQLite, 64 at once", dbos[1], "")]
    return bars("durable firings per second, SQLite", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--dir", type=Path, help="where the databases go: name a folder on the disk in question"
    )
    parser.add_argument("--plot", type=Path, help="where the picture of the rates goes")
    options = parser.parse_args()
    steps, cases, rounds = options.steps, options.cases, options.rounds
    agent = chain(steps)
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        rule = [(in_memory(agent.net, 20_000), snakes_run(steps, 8_000)) for _ in range(rounds)]
        one = turns(agent, folder, cases // 4, 1, rounds)
        many = turns(agent, folder, cases, 64, rounds)
        memory = [asyncio.run(engine_run(agent, ":memory:", cases, 64)).rate for _ in range(rounds)]
        seen = watched(agent, folder, cases, rounds)
        graph = langgraph_rates(folder, steps, cases // 8, rounds)
        dbos = dbos_rates(folder, steps, cases // 8)
    print(f"{'':32}{'per second':>12}   {'':34}{'per second':>12}{'ratio':>9}")

    def line(what: str, other: str, pairs: list[tuple[float, float]]) -> None:
        rate, its = (median(p[i] for p in pairs) for i in (0, 1))
        ratios = sorted(a / b for a, b in pairs)
        spread = f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})" if len(ratios) > 1 else ""
        print(f"{what:32}{rate:12,.0f}   {other:34}{its:12,.0f}{median(ratios):9.2f}{spread}")

    line("in memory: firing rule", "SNAKES", rule)
    durable = (("durable, one case at a time", one), ("durable, 64 cases in flight", many))
    for what, found in durable:
        line(what, "raw sqlite3, same commits", [(t.run.rate, t.same) for t in found])
        line(what, "raw sqlite3, log alone", [(t.run.rate, t.log) for t in found])
    both = list(zip([t.run.rate for t in many], [t.run.rate for t in one], memory, strict=True))
    line("durable, 64 cases in flight", "durable, one case at a time", [(a, b) for a, b, _ in both])
    line("engine in memory, 64 in flight", "durable, 64 cases in flight", [(c, a) for a, _, c in both])
    for name, of in seen.items():
        line(f"64 in flight, {name}", "nobody watching", of)
    if graph is not None:
        for what, found in durable:
            pairs = [(t.run.rate, its) for t, its in zip(found, graph, strict=True)]
            line(what, "LangGraph SqliteSaver, sync", pairs)
    if dbos is not None:
        for (what, found), its, other in zip(durable, dbos, ("one at a time", "64 at once"), strict=True):
            line(what, f"DBOS, its SQLite, {other}", [(t.run.rate, its) for t in found])
    if options.plot is not None:
        options.plot.write_text(pictured(one, many, graph, dbos), encoding="utf-8")
    print(
        f"storage: {median(t.size for t in many):,.0f} bytes a firing; "
        f"commits: {one[0].run.commits} one at a time, {many[0].run.commits} with 64 in flight"
    )
    if hasattr(os, "getloadavg"):
        print(f"load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    if graph is None:
        print("LangGraph is not installed: pip install 'provenet[bench]'")
    if dbos is None:
        print("DBOS is not installed: pip install 'provenet[dbos]'")


if __name__ == "__main__":
    main()
