"""A case of more than ninety days, with people and timers, whose net is replaced while it waits."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from provenet.engine import Engine, Reader, RealClock, VirtualClock, audit
from provenet.engine.marking_map import MarkingMap
from provenet.nets.build import NetBuilder
from provenet.nets.formats.canonical import content_hash
from provenet.sdb.handlers import Agent
from provenet.sdb.human import Human
from tests.engine import fleets
from tests.engine.kit import START, Item, built, deployed, opened
from tests.engine.test_adapters import decision, opened_task
from tests.support.temporal import binary

DAY = timedelta(days=1)


def offer(*, reminder: int, closing: int) -> Agent:
    """A window opens, a person approves, a reminder comes, a person closes."""

    def make(net: NetBuilder) -> None:
        start = net.entry("start", Item)
        review, sent, last = net.place("review", Item), net.place("sent", Item), net.place("last", Item)
        no, done = net.final("no", Item), net.final("done", Item)
        net.timer("window opens", takes={"s": start}, after=30 * DAY, puts={review: "s"})
        net.add(Human("offer", takes=review, approve=sent, deny=no, who="pricing", within=7 * DAY))
        net.timer("reminder", takes={"s": sent}, after=reminder * DAY, puts={last: "s"})
        net.add(Human("close", takes=last, approve=done, deny=no, who="pricing", within=closing * DAY))

    return built(make)


OLD, NEW = offer(reminder=30, closing=30), offer(reminder=35, closing=40)
CASES = [(c, {"start": Item(id=c, n=1)}) for c in ("kept", "lost")]


async def upgraded(engine: Engine) -> None:
    """Deploy the new version, and move every case to it."""
    deployed(engine, NEW)
    moved = await engine.migrate(content_hash(OLD.net), content_hash(NEW.net), MarkingMap.of({}))
    assert (moved.moving, moved.staying) == (2, 0)


def lived(database: str | Path, *, kept: float) -> None:
    """Both on the new net's days: the old one would have waited for the lost case until day 91 only."""
    found = {case.id: case for case in Reader(database).cases()}
    assert {c: found[c].outcome_place for c in found} == {"kept": "done", "lost": "no"}
    assert {case.net_hash for case in found.values()} == {content_hash(NEW.net)}
    for case, least, most in (("kept", kept, 96.0), ("lost", 105.9, 113.0)):
        finished = found[case].finished
        assert finished is not None
        assert least * DAY < finished - found[case].created < most * DAY
    checked = audit(database)
    assert checked.clean, [str(p) for p in checked.problems]


async def test_on_the_virtual_clock(tmp_path: Path) -> None:
    database, clock = tmp_path / "x.db", VirtualClock(START)
    async with opened(OLD, database, clock=clock) as engine:
        deployed(engine, OLD)
        await engine.start_cases("small", CASES)
        await engine.run_until_idle(until=START + 31 * DAY)
        for case in ("kept", "lost"):
            await engine.approve(case, "offer", "dana@pricing")
    async with opened([OLD, NEW], database, clock=VirtualClock(START)) as engine:
        await engine.run_until_idle(until=START + 40 * DAY)
        await upgraded(engine)
    # Only the new version is at hand from now on.
    async with opened(NEW, database, clock=VirtualClock(START)) as engine:
        await engine.run_until_idle(until=START + 65.9 * DAY)
        assert engine.read.tasks() == []
        await engine.run_until_idle(until=START + 92 * DAY)
        assert [t.task for t in engine.read.tasks()] == ["close", "close"]
        await engine.approve("kept", "close", "dana@pricing")
        await engine.run_until_idle()
    lived(database, kept=91.9)


@pytest.mark.postgres
async def test_on_temporals_own_time(postgres: str, tmp_path: Path) -> None:
    """Temporal's test server skips time; what the engine takes for the time is what the server says it is."""
    program, begun = binary("temporal-test-server"), time.monotonic()
    from temporalio import activity
    from temporalio.testing import WorkflowEnvironment

    class ServerTime(RealClock):
        last = RealClock().now()

        def now(self) -> datetime:
            if activity.in_activity():
                ServerTime.last = max(ServerTime.last, activity.info().started_time)
            return ServerTime.last

    environment = await WorkflowEnvironment.start_time_skipping(test_server_existing_path=program)
    async with environment:
        target = environment.client.service_client.config.target_host
        clock = ServerTime()
        async with fleets.temporal(postgres, [OLD, NEW], clock, target) as workers:  # type: ignore[arg-type]
            await workers.start("small", CASES)
            await workers.until(lambda counts: counts == {"waiting": 2})
            await environment.sleep(31 * DAY)
            for case in ("kept", "lost"):
                await workers.tell(decision(case, await opened_task(workers, case), "approve"))
            async with Engine.open(postgres, agents=[OLD, NEW], clock=clock, takes="asked") as engine:
                await upgraded(engine)
            await environment.sleep(61 * DAY)
            await workers.tell(decision("kept", await opened_task(workers, "kept"), "approve"))
            await environment.sleep(20 * DAY)
            await workers.until(lambda counts: counts == {"done": 2})
    # A decision reaches a worker outside any activity, where its clock says when the last one was.
    lived(postgres, kept=65.9)
    assert time.monotonic() - begun < 60
