"""Durable firings per second on PostgreSQL, one process and several, beside LangGraph's PostgresSaver.

Run it with ``python benchmarks/engine_postgres.py --url postgresql://user@host/name`` on a database that it
may fill, or without ``--url`` to start a server of its own from the ``pgserver`` wheel (with fsync, as they
come). Every case is a chain of steps with 1 KB of state, the work of ``engine_throughput.py``; both sides
commit each step synchronously, take turns on the same server, and ratios are of such turns.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from engine_throughput import State, chain
from peers import PADDING, langgraph_rate

from provenet.engine import Engine, VirtualClock, audit
from provenet.verify.check import prove
from provenet.visualize.charts import bars

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """The URL of a server; one of our own where none is named."""
    if url is not None:
        yield url
        return
    import pgserver

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        started = pgserver.get_server(Path(folder), cleanup_mode="stop")
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            started.cleanup()


class Databases:
    """Fresh databases on a server."""

    def __init__(self, url: str) -> None:
        self._url, self._numbers = url, count(1)

    def fresh(self) -> str:
        name = f"provenet_bench_{next(self._numbers)}"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
            connection.execute(f'CREATE DATABASE "{name}"')
        path, mark, options = self._url.partition("?")
        return f"{path.rpartition('/')[0]}/{name}{mark}{options}"


def deployed(database: str, steps: int) -> None:
    """Deploy the chain."""
    agent = chain(steps)

    async def deploy() -> None:
        async with Engine.open(database, agents=[agent], clock=VirtualClock(STARTED)) as engine:
            engine.deploy(agent, prove(agent.net))

    asyncio.run(deploy())


def rate(database: str, steps: int, cases: int, at_once: int, name: str = "c") -> float:
    """Firings per second of one process."""

    async def run() -> float:
        async with Engine.open(database, agents=[chain(steps)], clock=VirtualClock(STARTED)) as engine:
            before, began = engine.progress().firings, time.perf_counter()
            for first in range(0, cases, at_once):
                inputs = {"p0": State(step=0, text=PADDING)}
                batch = range(first, min(first + at_once, cases))
                await engine.start_cases("chain", [(f"{name}{i}", inputs) for i in batch])
                await engine.run_until_idle()
            return (engine.progress().firings - before) / (time.perf_counter() - began)

    return asyncio.run(run())


def _worker(line: Any, database: str, steps: int, cases: int, at_once: int, name: str) -> None:
    rate(database, steps, at_once, at_once, f"{name} warm ")
    line.send("ready")
    line.recv()
    line.send(rate(database, steps, cases, at_once, name))


def together(database: str, steps: int, cases: int, at_once: int, processes: int) -> float:
    """Firings per second of several processes on one database."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(processes)]
    workers = [
        context.Process(
            target=_worker, args=(theirs, database, steps, cases, at_once, f"{processes}x{at_once} {i} ")
        )
        for i, (_, theirs) in enumerate(pairs)
    ]
    for worker in workers:
        worker.start()
    for mine, _ in pairs:
        assert mine.recv() == "ready"
    for mine, _ in pairs:
        mine.send("go")
    found = sum(mine.recv() for mine, _ in pairs)
    for worker in workers:
        worker.join()
    return float(found)


def langgraph(database: str, steps: int, cases: int) -> float | None:
    """Nodes per second of LangGraph with PostgresSaver, sync; ``None`` where it is not installed."""
    try:
        from langgraph.checkpoint.postgres import PostgresSaver
    except ImportError:
        return None
    with PostgresSaver.from_conn_string(database) as saver:
        saver.setup()
        return langgraph_rate(saver, steps, cases)


def _processes(n: int) -> str:
    return f"{n} process" + ("es" if n > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--cases", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--plot", type=Path, help="where the picture of the rates goes")
    options = parser.parse_args()
    steps, cases = options.steps, options.cases
    with server(options.url) as url:
        databases, rows = Databases(url), []
        for _ in range(options.rounds):
            database = databases.fresh()
            deployed(database, steps)
            row: dict[str, float | None] = {
                "one case at a time": rate(database, steps, cases // 4, 1, "one "),
                "64 cases in flight": rate(database, steps, cases, 64, "many "),
                "LangGraph PostgresSaver": langgraph(databases.fresh(), steps, max(cases // 8, 4)),
            }
            for n in options.processes:
                row[f"{_processes(n)}, one case at a time each"] = together(database, steps, cases // 4, 1, n)
            for n in options.processes:
                row[f"{_processes(n)}, 64 in flight each"] = together(database, steps, cases, 64, n)
            assert audit(database).clean
            rows.append(row)
    base = rows[0]["LangGraph PostgresSaver"]
    for name in rows[0]:
        rates = [r[name] for r in rows if r[name] is not None]
        if not rates:
            print(f"{name:40} not installed: pip install 'provenet[bench]'")
            continue
        said = f"{name:40}{median(r for r in rates if r is not None):10,.0f} firings a second"
        if base is not None and name != "LangGraph PostgresSaver":
            ratios = sorted((r[name] or 0) / (r["LangGraph PostgresSaver"] or 1) for r in rows)
            said += f"   {median(ratios):6.2f} times LangGraph ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(said)
    if options.plot is not None:
        middle = {name: median(r[name] or 0 for r in rows) for name in rows[0]}
        drawn = [
            (name if name.startswith("LangGraph") else f"*{name}", rate, "")
            for name, rate in middle.items()
            if rate
        ]
        options.plot.write_text(bars("durable firings per second, PostgreSQL", drawn), encoding="utf-8")


if __name__ == "__main__":
    main()
