"""What size costs: firings per second as the log grows, and what many waiting cases cost.

    python benchmarks/engine_scale.py [--rows 1000000] [--waiting 100000] [--finished 1000000]
                                      [--dir FOLDER] [--plot FILE.svg]

The log grows by chains of steps with 1 KB of state (the work of ``engine_throughput.py``), 64 cases in
flight, on a file with WAL and synchronous=FULL. At each power of ten the same piece of work is measured
beside a fresh database, in turns, so the line is a ratio: flat is flat whatever the machine does meanwhile.

Waiting cases each hold a token of 1 KB, an open task and a timer 90 days off. Said are the memory of a
process that holds them all, its CPU time while they wait on the real clock, how long a new process takes to
take them up, and how long one decision takes among them.

Finished cases of one step each must cost an engine that opens their database nothing: said are the seconds
until it is open, beside those for a database with one finished case, and its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine_throughput import State, chain
from peers import PADDING

from provenet.engine import Engine, VirtualClock
from provenet.nets.build import NetBuilder
from provenet.sdb.handlers import Agent
from provenet.sdb.human import Human
from provenet.verify.check import prove
from provenet.visualize.charts import over_size

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
PIECE = 6_400
"""Most firings of one measured piece."""


def asking() -> Agent:
    """A net in which a person has ninety days."""
    net = NetBuilder("asking")
    asked = net.entry("asked", State)
    Human(
        "look",
        takes=asked,
        approve=net.final("yes", State),
        deny=net.final("no", State),
        who="reader",
        within=timedelta(days=90),
    ).expand(net)
    return Agent.of(net)


class Grown:
    """A database that chains of steps are run on."""

    def __init__(self, database: Path) -> None:
        self.database, self.rows, self._cases = database, 0, 0
        self._agent = chain(10)
        self._report = prove(self._agent.net)

    async def grow(self, firings: int) -> float:
        """Run so many firings; how many a second."""
        clock = VirtualClock(STARTED)
        async with Engine.open(self.database, agents=[self._agent], clock=clock) as engine:
            engine.deploy(self._agent, self._report)
            began, inputs = time.perf_counter(), {"p0": State(step=0, text=PADDING)}
            for _ in range(0, firings, 640):
                batch = range(self._cases, self._cases + 64)
                await engine.start_cases("chain", [(f"c{i}", inputs) for i in batch])
                await engine.run_until_idle()
                self._cases += 64
                self.rows += 64 * 11
            return firings / (time.perf_counter() - began)


def growth(folder: Path, most: int) -> list[tuple[int, float, float]]:
    """Rows of the log, the rate there, and its ratio to a fresh database in the same minute."""
    grown, found = Grown(folder / "grown.db"), []
    asyncio.run(grown.grow(640))
    size = 1_000
    while size <= most:
        while grown.rows < size:
            asyncio.run(grown.grow(min(64_000, max(640, (size - grown.rows) // 704 * 640))))
        pairs, piece = [], max(640, min(PIECE, size // 640 * 640))
        for i in range(5):
            there = asyncio.run(grown.grow(piece))
            fresh = asyncio.run(Grown(folder / f"fresh-{size}-{i}.db").grow(piece))
            pairs.append((there / fresh, there))
        ratio, rate = sorted(pairs)[2]
        found.append((grown.rows, rate, ratio))
        print(f"{grown.rows:>12,} rows: {rate:8,.0f} firings/s, {ratio:5.2f} of a fresh database", flush=True)
        size *= 10
    return found


def memory() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def start_waiting(database: Path, cases: int) -> None:
    """Start so many cases."""
    agent = asking()

    async def run() -> None:
        async with Engine.open(database, agents=[agent]) as engine:
            engine.deploy(agent, prove(agent.net))
            before, began = memory(), time.perf_counter()
            inputs = {"asked": State(step=0, text=PADDING)}
            await engine.start_cases("asking", [(f"w{i}", inputs) for i in range(cases)])
            seconds = time.perf_counter() - began
            print(f"{cases:>12,} cases started in {seconds:.1f} s; memory {before:.0f} to {memory():.0f} MiB")

    asyncio.run(run())


def hold_waiting(database: Path, cases: int, seconds: float) -> None:
    """Take them up in a new process, wait, decide a few."""
    agent = asking()

    async def run() -> None:
        before, began = memory(), time.perf_counter()
        async with Engine.open(database, agents=[agent]) as engine:
            print(f"{'':>13}taken up in {time.perf_counter() - began:.1f} s by a new process")
            await asyncio.sleep(1)
            used = cpu()
            await asyncio.sleep(seconds)
            print(f"{'':>13}waiting: {100 * (cpu() - used) / seconds:.1f}% of one processor")
            print(f"{'':>13}memory {memory():,.0f} MiB ({before:.0f} without them)")
            took = []
            for i in range(0, cases, max(1, cases // 100)):
                began = time.perf_counter()
                await engine.decide(f"w{i}", "look", "approve", "ann@reader")
                took.append(time.perf_counter() - began)
            print(f"{'':>13}a decision: {1000 * sorted(took)[len(took) // 2]:.1f} ms, durable")

    asyncio.run(run())


def finish(database: Path, cases: int) -> None:
    """Run so many cases of one step to their end."""
    agent = chain(1)

    async def run() -> None:
        clock = VirtualClock(STARTED)
        async with Engine.open(database, agents=[agent], clock=clock) as engine:
            engine.deploy(agent, prove(agent.net))
            inputs = {"p0": State(step=0, text=PADDING)}
            for first in range(0, cases, 64):
                batch = range(first, min(first + 64, cases))
                await engine.start_cases("chain", [(f"f{i}", inputs) for i in batch])
                await engine.run_until_idle()

    asyncio.run(run())


def open_among(database: Path, cases: int) -> None:
    """Open a database of finished cases in a new process, and run one more."""
    agent, size = chain(1), database.stat().st_size

    async def run() -> None:
        began = time.perf_counter()
        async with Engine.open(database, agents=[agent], clock=VirtualClock(STARTED)) as engine:
            opened = time.perf_counter() - began
            await engine.start_case("chain", inputs={"p0": State(step=0, text=PADDING)}, case_id="one more")
            await engine.run_until_idle()
            whole = time.perf_counter() - began
            print(
                f"{cases:>12,} finished cases, {size / 2**30:.1f} GiB: open after "
                f"{1000 * opened:.0f} ms, one more case done after {1000 * whole:.0f} ms, "
                f"memory {memory():,.0f} MiB",
                flush=True,
            )

    asyncio.run(run())


def cpu() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def apart(do: Any, *given: Any) -> None:
    """Do something in a process of its own, whose memory is nobody else's."""
    child = multiprocessing.get_context("spawn").Process(target=do, args=given)
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(child.exitcode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the cases are watched waiting")
    parser.add_argument("--dir", type=Path, help="where the databases go")
    parser.add_argument("--plot", type=Path, help="where the picture of the growth goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        if options.rows:
            found = growth(folder, options.rows)
            if options.plot is not None:
                title = "rows in the log; rate beside a fresh database in the same minute"
                points = [(rows, ratio, f"{rate:,.0f}/s") for rows, rate, ratio in found]
                options.plot.write_text(over_size(title, points), encoding="utf-8")
        if options.waiting:
            apart(start_waiting, folder / "waiting.db", options.waiting)
            apart(hold_waiting, folder / "waiting.db", options.waiting, options.seconds)
        for cases in (1, options.finished) if options.finished else ():
            apart(finish, folder / f"finished-{cases}.db", cases)
            apart(open_among, folder / f"finished-{cases}.db", cases)
    print(f"load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
