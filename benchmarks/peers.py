"""The same work done by others: a chain of sequential steps over 1 KB of state, firings per second."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

PADDING = "x" * 1000
"""The state's text."""


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


def langgraph_rate(saver: Any, steps: int, cases: int) -> float:
    """Nodes per second of LangGraph on the same chain, sync durability."""
    from typing import TypedDict

    from langgraph.graph import END, START, StateGraph

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
    app = graph.compile(checkpointer=saver)
    began = time.perf_counter()
    for case in range(cases):
        app.invoke(
            {"step": 0, "text": PADDING}, {"configurable": {"thread_id": str(case)}}, durability="sync"
        )
    return steps * cases / (time.perf_counter() - began)


def langgraph_rates(folder: Path, steps: int, cases: int, rounds: int) -> list[float] | None:
    """Its rates with SqliteSaver, on databases of their own; ``None`` where it is not installed."""
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError:
        return None
    found = []
    for i in range(rounds):
        with closing(sqlite3.connect(folder / f"graph-{i}.db", check_same_thread=False)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            found.append(langgraph_rate(SqliteSaver(db), steps, cases))
    return found


def dbos_rates(folder: Path, steps: int, cases: int) -> tuple[float, float] | None:
    """Steps per second of DBOS on SQLite as it comes, one workflow at a time and 64; ``None`` without it."""
    try:
        from dbos import DBOS
    except ImportError:
        return None

    @DBOS.step()
    def step(state: dict[str, Any]) -> dict[str, Any]:
        return {"step": state["step"] + 1, "text": state["text"]}

    @DBOS.workflow()
    def chained() -> dict[str, Any]:
        state: dict[str, Any] = {"step": 0, "text": PADDING}
        for _ in range(steps):
            state = step(state)
        return state

    where = f"sqlite:///{folder / 'dbos.sqlite'}"
    DBOS(
        config={
            "name": "bench",
            "system_database_url": where,
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    try:
        chained()
        began = time.perf_counter()
        for _ in range(cases):
            chained()
        alone = steps * cases / (time.perf_counter() - began)
        began = time.perf_counter()
        with ThreadPoolExecutor(64) as pool:
            for handle in list(pool.map(lambda _: DBOS.start_workflow(chained), range(cases))):
                handle.get_result()
        return alone, steps * cases / (time.perf_counter() - began)
    finally:
        DBOS.destroy()
