"""Random nets, schedules and crashes: the log is a firing sequence of the net, each effect is seen once."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from provenet.engine import Retention, audit, faults
from provenet.engine.errors import EngineError
from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError
from provenet.nets.net import Ask, Choice, OnFailure, Perform
from provenet.sdb.handlers import Agent, Effect, EffectRefused, Proposal, Request
from provenet.sdb.reject import REJECT
from tests.engine.kit import built, deployed, opened
from tests.engine.orders import dice

KINDS = ("auto", "auto", "ask", "perform", "timer", "choice", "event")


class World:
    """An outside that counts effects by key."""

    def __init__(self) -> None:
        self.effects: dict[str, tuple[str, int]] = {}

    async def run(self, request: Request) -> int:
        if dice(request.key, request.attempt) < 15:
            raise ConnectionError("away")
        if dice(request.key) < 10:
            raise EffectRefused("no")
        said = (request.case, request.payload)
        assert self.effects.setdefault(request.key, said) == said
        return int(request.payload)


class Guess:
    async def propose(self, request: Request) -> Proposal:
        if dice(request.key, request.attempt) < 15:
            raise RuntimeError("no idea")
        return Proposal(dice(request.key) if dice(request.key, 2) > 10 else "junk")


@st.composite
def agents(draw: st.DrawFn) -> tuple[Agent, World]:
    """Acyclic nets of integers, with every kind of trigger, forks, joins, reads and resets."""
    world, size = World(), draw(st.integers(2, 6))
    effect = Effect("e", world.run, payload=int, receipt=int, tries=draw(st.sampled_from([1, 3])))
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(KINDS),
                st.integers(0, size - 1),
                st.lists(st.integers(1, size), min_size=1, max_size=2),
                st.sampled_from(["", "", "join", "read", "reset", "guard"]),
                st.integers(0, size),
            ),
            min_size=2,
            max_size=9,
        )
    )

    def make(net: NetBuilder) -> None:
        places = [
            net.entry("p0", int),
            *(net.place(f"p{i}", int) for i in range(1, size)),
            net.final(f"p{size}", int),
        ]
        lost = net.place("lost", REJECT)
        net.rests(lost, *places[:size])
        for i, (kind, at, to, extra, other) in enumerate(steps):
            name, takes = f"t{i}", {"x": places[at]}
            puts: dict[Any, Any] = {places[max(j, at + 1) if at + 1 <= size else size]: "x" for j in to}
            parts: dict[str, Any] = {"takes": takes, "puts": puts}
            if extra == "guard":
                parts["when"] = lambda x: x % 2 == 0
            if kind not in ("ask", "perform"):
                if extra == "join":
                    parts["takes"] = {**takes, "y": places[other]}
                if extra == "read":
                    parts["reads"] = {"r": places[other]}
                if extra == "reset" and other != size:
                    parts["resets"] = [places[other]]
            match kind:
                case "auto":
                    net.route(name, **parts)
                case "timer":
                    net.timer(name, after=timedelta(days=3) if i % 2 else timedelta(hours=5), **parts)
                case "choice":
                    net.transition(name, trigger=Choice(f"task{at}", name, "who"), **parts)
                case "event":
                    net.event(name, event=f"event{i % 3}", **parts)
                case "ask":
                    first = next(iter(puts))
                    parts["puts"] = {first: "answer"}
                    net.transition(
                        name, brings={"answer": int}, trigger=Ask(net.handle("guess", Guess())), **parts
                    )
                case "perform":
                    # An effect has a place for itself alone: the gate refuses it otherwise.
                    trigger = Perform(net.handle("e", effect), None, tries=effect.tries)
                    committing = net.place(f"committing{i}", int)
                    net.route(f"{name} intent", takes=takes, puts={committing: "x"})
                    takes = parts["takes"] = {"x": committing}
                    net.transition(name, brings={"receipt": int}, trigger=trigger, **parts)
                    if other % 2:
                        net.transition(
                            f"{name} failed",
                            takes=takes,
                            brings={"why": REJECT},
                            puts={lost: "why"},
                            trigger=OnFailure(name),
                        )

    try:
        return built(make), world
    except NetError:
        assume(False)
        raise


async def go(
    agent: Agent,
    database: Path,
    script: list[tuple[str, int, int]],
    cases: int,
    *,
    keep: int | None = None,
    **options: Any,
) -> None:
    """Start the cases that are missing, then let the outside speak, and run to the end.

    Logs are trimmed to ``keep`` entries between any two things that happen.
    """
    async with opened(agent, database, **options) as engine:
        if not engine.read.nets():
            deployed(engine, agent)
        await engine.start_cases("small", [(f"c{i}", {"p0": i}) for i in range(cases)], existing="skip")
        for what, a, b in script:
            await engine.run_until_idle(until=engine.clock.now() + timedelta(hours=b))
            case = f"c{a % cases}"
            with suppress(EngineError):  # refused with a reason: nothing waits for it, or the case is over
                if what == "event":
                    await engine.signal(case, f"event{b % 3}", key=str(a) if b % 2 else None)
                elif what == "kill":
                    await engine.kill("case", case)
                else:
                    for task in engine.read.tasks()[:1]:
                        await engine.decide(
                            task.case, task.task, task.choices[b % len(task.choices)], "any@who"
                        )
            if keep is not None:
                await engine.prune(Retention(keep_entries=keep))
        await engine.run_until_idle()


scripts = st.lists(
    st.tuples(
        st.sampled_from(["event", "event", "decide", "decide", "kill"]),
        st.integers(0, 20),
        st.integers(0, 40),
    ),
    max_size=8,
)
crashes = st.lists(st.tuples(st.sampled_from(faults.POINTS), st.integers(1, 12)), max_size=4)


def check(
    case: tuple[Agent, World], script: list[tuple[str, int, int]], points: list[tuple[str, int]]
) -> None:
    agent, world = case
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "x.db"
        for point, nth in points:
            faults.plan(f"{point}:raise:{nth}")
            try:
                asyncio.run(go(agent, database, script, 3))
            except faults.FaultInjected:
                pass
            finally:
                faults.plan(None)
        asyncio.run(go(agent, database, script, 3))
        result = audit(database)
        assert result.clean, [str(p) for p in result.problems]
        assert result.cases == 3
        with closing(sqlite3.connect(database)) as db:
            rows = dict(db.execute("SELECT key, state FROM provenet_effect").fetchall())
            stopped = {
                k
                for (k,) in db.execute(
                    "SELECT e.key FROM provenet_effect e JOIN provenet_case c ON c.no = e.case_no"
                    " WHERE c.status IN ('killed', 'parked')"
                )
            }
        performed = {k for k, state in rows.items() if state == "performed"}
        # What the outside has seen is what the database says was performed; a case that was stopped by
        # hand may
        # have an effect in flight, whose intent is on record.
        assert performed <= world.effects.keys()
        assert world.effects.keys() - performed <= {k for k in rows if k in stopped or rows[k] == "intended"}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts, crashes)
def test_whatever_happens_the_log_is_a_run_of_the_net(
    case: tuple[Agent, World], script: list[tuple[str, int, int]], points: list[tuple[str, int]]
) -> None:
    check(case, script, points)
