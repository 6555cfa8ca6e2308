"""Firings per second beside SNAKES, raw ``sqlite3`` and LangGraph's SqliteSaver; prints ratios.

    python benchmarks/engine_throughput.py [--steps 10] [--cases 400] [--dir FOLDER]

A case is a chain of sequential steps over one token with 1 KB of state. Each durable step is one proposal
answered by plain code: the
token that runs is committed, the code runs, its answer is committed; that is what a node of LangGraph with
synchronous durability does. The raw
floor writes the same bytes in as many transactions through ``sqlite3`` alone, WAL and synchronous=FULL as
well. LangGraph is measured where it
is installed (extra ``bench``).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provenet.engine import Engine, VirtualClock, audit
from provenet.nets.build import NetBuilder
from provenet.nets.firing import NetRule
from provenet.nets.marking import initial_marking
from provenet.nets.models import Token
from provenet.nets.net import Ask, Net
from provenet.sdb.handlers import Agent, Proposal, Request
from provenet.verify.check import prove

PADDING = "x" * 1000


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


async def engine_run(agent: Agent, database: str, cases: int, at_once: int) -> tuple[float, int, int]:
    """Seconds, durable steps and commits of running so many cases, some at a time."""
    report = prove(agent.net)
    async with Engine.open(
        database, agents=[agent], clock=VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    ) as engine:
        engine.deploy(agent, report)
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
        return seconds, after.firings - before.firings, after.commits - before.commits


def floor_run(source: Path, database: Path, commits: int) -> float:
    """Seconds to write a finished run's rows again, in as many transactions, through ``sqlite3``."""
    with closing(sqlite3.connect(source)) as db:
        events = db.execute(
            "SELECT case_no, seq, kind, transition, at, data, prev, hash FROM provenet_event ORDER BY id"
        ).fetchall()
    share = max(1, len(events) // commits)
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(
            "CREATE TABLE event (id INTEGER PRIMARY KEY, case_no, seq, kind, transition, at, data, prev,"
            " hash, UNIQUE (case_no, seq))"
        )
        began = time.perf_counter()
        for first in range(0, len(events), share):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", events[first : first + share]
            )
            db.execute("COMMIT")
        return time.perf_counter() - began


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


def snakes_run(steps: int, firings: int) -> float:
    """Firings per second of SNAKES on the same chain."""
    import snakes.nets as sn

    net = sn.PetriNet("chain")
    for i in range(steps + 1):
        net.add_place(sn.Place(f"p{i}", [(0, PADDING)] if i == 0 else []))
    for i in range(steps):
        net.add_transition(sn.Transition(f"t{i}"))
        net.add_input(f"p{i}", f"t{i}", sn.Variable("s"))
        net.add_output(f"p{i + 1}", f"t{i}", sn.Expression("(s[0] + 1, s[1])"))
    start, done = net.get_marking(), 0
    began = time.perf_counter()
    while done < firings:
        net.set_marking(start)
        for i in range(steps):
            transition = net.transition(f"t{i}")
            transition.fire(transition.modes()[0])
            done += 1
    return done / (time.perf_counter() - began)


def langgraph_run(database: Path, steps: int, cases: int) -> float | None:
    """Nodes per second of LangGraph with SqliteSaver, sync durability; ``None`` where it is not installed."""
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
        from langgraph.graph import END, START, StateGraph
    except ImportError:
        return None
    from typing import TypedDict

    class GraphState(TypedDict):
        step: int
        text: str

    graph: Any = StateGraph(GraphState)
    for i in range(steps):
        graph.add_node(f"n{i}", lambda state: {"step": state["step"] + 1, "text": state["text"]})
    graph.add_edge(START, "n0")
    for i in range(steps - 1):
        graph.add_edge(f"n{i}", f"n{i + 1}")
    graph.add_edge(f"n{steps - 1}", END)
    with closing(sqlite3.connect(database, check_same_thread=False)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        app = graph.compile(checkpointer=SqliteSaver(db))
        began = time.perf_counter()
        for case in range(cases):
            app.invoke(
                {"step": 0, "text": PADDING}, {"configurable": {"thread_id": str(case)}}, durability="sync"
            )
        return steps * cases / (time.perf_counter() - began)


def best(of: Callable[[], float], times: int = 3) -> float:
    """The best of some runs: what the machine can do when it is left alone."""
    return max(of() for _ in range(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument(
        "--dir", type=Path, help="where the databases go: name a folder on the disk in question"
    )
    options = parser.parse_args()
    steps, cases = options.steps, options.cases
    agent = chain(steps)
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        ours = best(lambda: in_memory(agent.net, 20_000))
        theirs = best(lambda: snakes_run(steps, 2_000))
        one, one_firings, one_commits = asyncio.run(engine_run(agent, str(folder / "one.db"), cases // 4, 1))
        one_floor = floor_run(folder / "one.db", folder / "one-floor.db", one_commits)
        many, many_firings, many_commits = asyncio.run(engine_run(agent, str(folder / "many.db"), cases, 64))
        many_floor = floor_run(folder / "many.db", folder / "many-floor.db", many_commits)
        assert audit(folder / "many.db").clean
        size = sum(f.stat().st_size for f in folder.glob("many.db*")) / many_firings
        graph = langgraph_run(folder / "graph.db", steps, cases // 8)
        memory, memory_firings, _ = asyncio.run(engine_run(agent, ":memory:", cases, 64))
    rate_one, rate_many = one_firings / one, many_firings / many
    rows = [
        ("in memory: firing rule", ours, "SNAKES", theirs),
        ("durable, one case at a time", rate_one, "raw sqlite3, same commits", one_firings / one_floor),
        ("durable, 64 cases in flight", rate_many, "raw sqlite3, same commits", many_firings / many_floor),
        ("durable, 64 cases in flight", rate_many, "durable, one case at a time", rate_one),
        ("engine in memory, 64 in flight", memory_firings / memory, "durable, 64 cases in flight", rate_many),
    ]
    if graph is not None:
        rows += [
            ("durable, one case at a time", rate_one, "LangGraph SqliteSaver, sync", graph),
            ("durable, 64 cases in flight", rate_many, "LangGraph SqliteSaver, sync", graph),
        ]
    print(f"{'':32}{'per second':>12}   {'':30}{'per second':>12}{'ratio':>9}")
    for what, rate, other, its in rows:
        print(f"{what:32}{rate:12,.0f}   {other:30}{its:12,.0f}{rate / its:9.2f}")
    print(
        f"storage: {size:,.0f} bytes a firing; "
        f"commits: {one_commits} one at a time, {many_commits} with 64 in flight"
    )
    if hasattr(os, "getloadavg"):
        print(f"load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    if graph is None:
        print("LangGraph is not installed: pip install 'provenet[bench]'")


if __name__ == "__main__":
    main()
