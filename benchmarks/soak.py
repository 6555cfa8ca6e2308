"""A steady rate of firings for a long time: is memory flat, and do latencies stay what they are?

    python benchmarks/soak.py [--minutes 30] [--rate 50] [--database FILE|postgresql://...] [--out FOLDER]

Cases start at a steady rate on the real clock. In each, a proposal is verified, an effect is performed over
HTTP by a process of its own, and then a person decides or a timer rings. Every ten seconds a row is written:
memory of the engine's process, size of the database, and the percentiles of what took how long. ``soak.json``
and ``soak.svg`` have them all. The exit code is 1 if memory grows, something is lost or the rate is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from provenet import (
    Agent,
    Contract,
    Effect,
    Engine,
    Human,
    NetBuilder,
    Proposal,
    Request,
    Token,
    prove,
    within,
)
from provenet.engine import audit
from provenet.engine.watching.events import Event, Rung
from provenet.visualize.charts import over_time

FIRINGS = 7
"""Firings of a case: begin, propose, accept, intent, commit, route, and what a person or a timer does."""

STEP = 10.0
"""Seconds between two rows."""

GROWTH = 0.03
"""The share by which memory may grow from the middle third of the run to the last."""

CACHE = 64.0
"""MiB that the store lets SQLite keep in memory."""


class Order(Token):
    id: str
    amount: int
    reviewed: bool
    text: str


class Receipt(Token):
    number: str


class Proposer:
    """Code in the place of a model: what it costs is not the engine's."""

    async def propose(self, request: Request) -> Proposal:
        return Proposal(
            (request.payload.id, request.payload.amount, request.payload.reviewed, request.payload.text)
        )


def orders(port: int) -> Agent:
    """The agent, with its bank at a port of this machine."""

    async def pay(request: Request) -> Receipt:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            body = json.dumps({"key": request.key, "amount": request.payload.amount}).encode()
            writer.write(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = await reader.read()
        finally:
            writer.close()
        return Receipt(number=json.loads(answer.partition(b"\r\n\r\n")[2])["number"])

    net = NetBuilder("soak")
    entry, paid, review = net.entry("order", Order), net.place("paid", Order), net.place("review", Order)
    waiting, done, refused = (
        net.place("waiting", Order),
        net.final("done", Order),
        net.final("refused", Order),
    )
    net.add(
        Contract(
            "pay",
            takes=entry,
            gives=paid,
            propose=Proposer(),
            returns=Order,
            verify=within(Order, lambda o: (o.amount >= 0) & (o.amount <= 1000), name="limit"),
            commit=Effect("bank.pay", pay, payload=Order, receipt=Receipt),
            otherwise=refused,
        )
    )
    net.route("to a person", takes={"o": paid}, when=lambda o: o.reviewed, puts={review: "o"})
    net.route("to a timer", takes={"o": paid}, when=lambda o: ~o.reviewed, puts={waiting: "o"})
    net.add(Human("look", takes=review, approve=done, deny=refused, who="desk", within=timedelta(days=1)))
    net.timer("rests", takes={"o": waiting}, after=timedelta(seconds=5), puts={done: "o"})
    net.require("SDB-1")
    return Agent.of(net)


@dataclass
class Spread:
    """How long something took: counts in buckets of a twentieth of an octave, so that it never grows."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        self.counts[round(20 * math.log2(max(seconds, 1e-6)))] += 1

    def at(self, share: float) -> float:
        """The time, in milliseconds, that so large a share stayed within."""
        left = share * self.counts.total()
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return round(1000 * 2 ** (bucket / 20), 2)
        return 0.0

    def told(self) -> dict[str, float]:
        return {"n": self.counts.total(), "p50": self.at(0.5), "p95": self.at(0.95), "p99": self.at(0.99)}


NAMES = ("start to durable", "decision to durable", "timer late by")


class Times:
    """What took how long: in this step, and in all."""

    def __init__(self) -> None:
        self.step = {name: Spread() for name in NAMES}
        self.all = {name: Spread() for name in NAMES}

    def add(self, name: str, seconds: float) -> None:
        self.step[name].add(seconds)
        self.all[name].add(seconds)

    def see(self, event: Event) -> None:
        if isinstance(event, Rung):
            self.add("timer late by", (event.at - event.due) / 1e6)


class Soak:
    """One run.

    Args:
        engine: With the agent deployed.
        times: Where durations go.
        rate: Firings offered in a second.
    """

    def __init__(self, engine: Engine, times: Times, rate: float) -> None:
        self._engine, self._times, self._pause = engine, times, FIRINGS / rate
        self._rng = random.Random(0)
        self.started = 0
        self._asked: dict[str, float] = {}

    async def offer(self, until: float) -> None:
        """Start cases at the rate, whatever becomes of those before."""
        begun, running = time.monotonic(), set[asyncio.Task[None]]()
        while (now := time.monotonic()) < until:
            due = int((now - begun) / self._pause) + 1
            for number in range(self.started, due):
                task = asyncio.create_task(self._start(number))
                running.add(task)
                task.add_done_callback(running.discard)
            self.started = due
            await asyncio.sleep(max(0.0, begun + due * self._pause - time.monotonic()))
        await asyncio.gather(*running)

    async def _start(self, number: int) -> None:
        order = Order(id=f"o-{number}", amount=number % 1000, reviewed=number % 3 == 0, text="x" * 300)
        began = time.monotonic()
        await self._engine.start_case("soak", inputs={"order": order}, case_id=order.id)
        self._times.add("start to durable", time.monotonic() - began)

    async def decide(self, stop: asyncio.Event) -> None:
        """The people: they look every second, and decide what they see."""
        while not stop.is_set():
            for task in self._engine.read.tasks():
                began = time.monotonic()
                await self._engine.approve(task.case, task.task, "dana@desk", about_hash=task.about_hash)
                self._times.add("decision to durable", time.monotonic() - began)
            await asyncio.sleep(1.0)


async def soak(database: str, minutes: float, rate: float, out: Path) -> int:
    times, rows = Times(), list[dict[str, Any]]()
    with bank() as port:
        agent = orders(port)
        async with Engine.open(database, agents=[agent], observers=[times]) as engine:
            engine.deploy(agent, prove(agent.net))
            run, stop, began = Soak(engine, times, rate), asyncio.Event(), time.monotonic()
            people = asyncio.create_task(run.decide(stop))
            offering = asyncio.create_task(run.offer(began + 60 * minutes))
            firings, at = 0, began
            while not offering.done():
                await asyncio.wait({offering}, timeout=STEP)
                if offering.done() and rows and time.monotonic() - at < STEP / 2:
                    break  # too short for a row of its own
                now, total = time.monotonic(), engine.progress().firings
                row = {
                    "seconds": round(now - began),
                    "rss_mib": memory(),
                    "objects": len(gc.get_objects()),
                    "database_mib": size(database),
                    "firings_per_second": round((total - firings) / (now - at), 1),
                    **{name: spread.told() for name, spread in times.step.items()},
                }
                firings, at = total, now
                times.step = {name: Spread() for name in NAMES}
                rows.append(row)
                print(told(row), flush=True)
            await offering
            for _ in range(120):
                if engine.read.counts() == {"done": run.started}:
                    break
                await asyncio.sleep(0.5)
            stop.set()
            await people
            counts, performed = engine.read.counts(), engine.progress().firings
    found = audit(database)
    kept = performed >= 0.98 * run.started * FIRINGS
    memories, objects = (
        [row["rss_mib"] - cached(database, row) for row in rows],
        [row["objects"] for row in rows],
    )
    grown = {"memory_without_cache": growth(memories), "objects": growth(objects)}
    flat = max(grown.values()) <= 100 * GROWTH
    whole = {
        "minutes": minutes,
        "offered_per_second": rate,
        "cases": run.started,
        "firings": performed,
        "statuses": counts,
        "audit_clean": found.clean,
        "growth_percent": grown,
        "memory_flat": flat,
        "all": {name: spread.told() for name, spread in times.all.items()},
        "rows": rows,
    }
    write(out, whole)
    print(json.dumps({k: v for k, v in whole.items() if k != "rows"}, indent=2))
    return 0 if kept and flat and found.clean and counts == {"done": run.started} else 1


def write(out: Path, whole: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(whole, indent=2), encoding="utf-8")
    (out / "soak.svg").write_text(plotted(whole["rows"]), encoding="utf-8")


def growth(values: Sequence[float]) -> float:
    """By how many percent something has grown from the middle third of the run to the last."""
    third = len(values) // 3
    if not third:
        return 0.0
    middle, last = sorted(values[third : 2 * third]), sorted(values[-third:])
    return round(100 * (last[len(last) // 2] / middle[len(middle) // 2] - 1), 2)


def cached(database: str, row: dict[str, Any]) -> float:
    """What SQLite may keep of its file in memory, in MiB: it fills up to here and no further."""
    return 0.0 if database.startswith("postgresql") else min(CACHE, row["database_mib"])


def memory() -> float:
    """What this process holds in memory, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def size(database: str) -> float:
    """What the database takes, in MiB."""
    if database.startswith("postgresql"):
        import psycopg

        with psycopg.connect(database) as db:
            row = db.execute("SELECT pg_database_size(current_database())").fetchone()
            return round(row[0] / 2**20, 1) if row else 0.0
    files = (Path(database + end) for end in ("", "-wal", "-shm"))
    return round(sum(f.stat().st_size for f in files if f.exists()) / 2**20, 1)


def told(row: dict[str, Any]) -> str:
    late = " · ".join(f"{name} {row[name]['p50']:g}/{row[name]['p99']:g} ms" for name in NAMES)
    return (
        f"{row['seconds']:>6} s  {row['firings_per_second']:>6} firings/s  {row['rss_mib']:>6} MiB"
        f"  database {row['database_mib']:>7} MiB  p50/p99: {late}"
    )


class _Bank(BaseHTTPRequestHandler):
    seen: dict[str, int] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"number": f"B-{asked['key'][:8]}"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Say nothing."""


def _serve(line: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bank)
    line.send(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    line.recv()


@contextmanager
def bank() -> Iterator[int]:
    """A service in a process of its own; its port."""
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield mine.recv()
    finally:
        mine.send("stop")
        process.join(10)


def plotted(rows: Sequence[dict[str, Any]]) -> str:
    """Memory, rate and latency over time."""
    return over_time(
        [row["seconds"] for row in rows],
        [
            ("memory, MiB", [row["rss_mib"] for row in rows]),
            ("firings per second", [row["firings_per_second"] for row in rows]),
            ("start to durable, p99, ms", [row["start to durable"]["p99"] for row in rows]),
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="A steady rate of firings for a long time.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=50.0, help="firings offered in a second")
    parser.add_argument("--database", default="", help="a file that is made, or a PostgreSQL URL")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="where soak.json and soak.svg go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = given.database or str(Path(folder) / "soak.db")
        return asyncio.run(soak(database, given.minutes, given.rate, given.out))


if __name__ == "__main__":
    sys.exit(main())
