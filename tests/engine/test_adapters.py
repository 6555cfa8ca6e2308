"""Three adapters, one conformance suite: whatever wakes the cases, the same happens, and the store can tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from provenet.engine import Engine, audit
from provenet.engine.adapters.stepper import Stepper
from provenet.engine.clock import RealClock
from provenet.engine.errors import DecisionRefused, EngineError
from provenet.nets.build import NetBuilder
from provenet.sdb.handlers import Agent, Effect, Request
from provenet.sdb.human import Human
from tests.engine import fleets
from tests.engine.fleets import Fleet, Shifted
from tests.engine.kit import Answers, Item, built, deployed
from tests.engine.orders import Order, dice, orders
from tests.engine.test_crash import reference
from tests.support.ledger import Ledger
from tests.support.temporal import TemporalServer
from tests.support.temporal import temporal as temporal_server

pytestmark = pytest.mark.postgres

CASES = 12

Open: TypeAlias = Callable[[list[Agent]], AbstractAsyncContextManager[Fleet]]


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    with temporal_server(tmp_path_factory.mktemp("temporal")) as server:
        yield server


@pytest.fixture
def clock(tmp_path: Path) -> Shifted:
    return Shifted(tmp_path / "clock")


@pytest.fixture(params=["embedded", "temporal"])
def fleet(request: pytest.FixtureRequest, postgres: str, clock: Shifted) -> Open:
    """Opens workers behind each of the adapters."""
    if request.param == "temporal":
        server: TemporalServer = request.getfixturevalue("dispatcher")
        return lambda agents: fleets.temporal(postgres, agents, clock, server.target)
    return lambda agents: fleets.embedded(postgres, agents, clock)


async def decide_all(fleet: Fleet) -> None:
    """Let a person decide as in the reference run; who takes more than a week there never does."""
    for task in fleet.read.tasks():
        order = task.about["order"]
        if dice(order, "slow") < 84:
            choice = "approve" if dice(order, "mood") < 70 else "deny"
            await fleet.tell(decision(task.case, task.task, choice))


def decision(case: str, task: str, choice: str) -> dict[str, Any]:
    return {"do": "decide", "case": case, "task": task, "choice": choice, "who": "dana@pricing"}


def at_rest(counts: dict[str, int]) -> bool:
    return not counts.get("running")


async def test_the_same_effects_as_an_undisturbed_run(
    fleet: Open, postgres: str, clock: Shifted, tmp_path: Path
) -> None:
    expected, _ = await asyncio.to_thread(reference, CASES)
    ledger = Ledger(tmp_path / "ledger.db")
    async with fleet([orders(ledger)]) as workers:
        cases = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(CASES)]
        await workers.start("orders", cases)
        await workers.until(at_rest)
        await decide_all(workers)
        await workers.until(at_rest)
        clock.jump(timedelta(days=8))  # who has not decided by now is too late
        await workers.adapter.dispatch("o-0")
        await workers.until(lambda counts: counts == {"done": CASES})
    assert ledger.effects() == expected
    assert ledger.calls() == len(expected)
    result = audit(postgres)
    assert result.clean, [str(p) for p in result.problems[:5]]
    assert result.cases == CASES


def three_waits() -> Agent:
    """A person decides, an event comes, and a timer ends it."""

    def make(net: NetBuilder) -> None:
        start = net.entry("start", Item)
        yes, paid = net.place("yes", Item), net.place("paid", Item)
        no, done = net.final("no", Item), net.final("done", Item)
        net.add(Human("look", takes=start, approve=yes, deny=no, who="pricing", within=timedelta(days=2)))
        net.event("pay", event="paid", takes={"y": yes}, puts={paid: "y"})
        net.timer("never paid", takes={"y": yes}, after=timedelta(days=90), puts={no: "y"})
        net.timer("rest", takes={"p": paid}, after=timedelta(seconds=0.5), puts={done: "p"})

    return built(make)


async def test_people_events_and_timers(fleet: Open, postgres: str, clock: Shifted) -> None:
    async with fleet([three_waits()]) as workers:
        await workers.start("small", [(c, {"start": Item(id=c, n=1)}) for c in ("a", "b", "c")])
        await workers.until(lambda counts: counts == {"waiting": 3})
        for case in ("a", "b"):
            assert "decided by dana" in (await workers.tell(decision(case, "look", "approve")))["done"]
        with pytest.raises(EngineError, match="no open task") as refused:
            await workers.tell(decision("a", "look", "approve"))
        assert refused.value.code == DecisionRefused.code
        await workers.tell({"do": "signal", "case": "a", "event": "paid", "key": "k"})
        with pytest.raises(EngineError, match="accepted before"):
            await workers.tell({"do": "signal", "case": "a", "event": "paid", "key": "k"})
        await workers.until(lambda counts: counts == {"waiting": 2, "done": 1})  # its timer rang
        clock.jump(timedelta(days=91))
        await workers.adapter.dispatch("b")  # that of c is found by itself
        await workers.until(lambda counts: counts == {"done": 3})
        places = {case.id: case.outcome_place for case in workers.read.cases()}
    assert places == {"a": "done", "b": "no", "c": "no"}
    assert audit(postgres).clean


async def test_a_kill_is_obeyed_within_a_second(fleet: Open, postgres: str, tmp_path: Path) -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Any:
        asked.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    agent = built(lambda net: _asking(net, Answers(slow)))
    other = orders(Ledger(tmp_path / "ledger.db"))
    async with fleet([agent, other]) as workers:
        await workers.start("small", [("slow", {"start": Item(id="s", n=1)})])
        cases = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(CASES)]
        await workers.start("orders", cases)
        await asyncio.wait_for(asked.wait(), 30)
        await workers.until(lambda counts: counts.get("running") == 1)
        begun = time.monotonic()
        await workers.tell({"do": "kill", "scope": "all", "target": "", "who": "dana", "reason": "stop"})
        await workers.until(lambda counts: set(counts) <= {"done", "killed"}, within=10)
        took = time.monotonic() - begun
        await asyncio.wait_for(stopped.wait(), 5)
    assert took < 3, took  # a second on a machine that does nothing else
    assert audit(postgres).clean


def _asking(net: NetBuilder, proposer: Answers) -> None:
    from provenet.sdb.contract import Contract
    from provenet.sdb.policy import within

    start, done, bad = net.entry("start", Item), net.final("done", Item), net.final("bad", Item)
    net.add(
        Contract(
            "think",
            takes=start,
            gives=done,
            propose=proposer,
            returns=Item,
            verify=within(Item, lambda i: i.n >= 0, name="n"),
            otherwise=bad,
        )
    )
