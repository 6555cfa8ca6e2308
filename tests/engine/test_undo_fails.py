"""What SAGA-4 takes for granted: a compensation that keeps failing is parked, and a person resumes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provenet.engine import audit
from provenet.nets.build import NetBuilder
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, Request
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga
from provenet.verify.check import prove
from provenet.verify.verdict import Status
from tests.engine.kit import Item, built, deployed, opened

TRIES = 3


async def test_a_compensation_that_keeps_failing_is_parked_and_resumed_by_a_person(tmp_path: Path) -> None:
    calls: list[str] = []
    mended = False

    def undo(request: Request) -> None:
        calls.append(request.key)
        if not mended:
            raise OSError("the service is down")

    def make(net: NetBuilder) -> None:
        start, booked, end = net.entry("start", Item), net.place("booked", Item), net.final("end", Item)
        scope = net.add(Saga("trip", outcome=Item, completes=end, aborts=end))
        book: dict[str, Any] = {"payload": Item}
        net.add(
            Contract(
                "flight",
                takes=start,
                gives=booked,
                verify=within(Item, lambda it: it.n >= 0, name="any"),
                commit=Effect("book", lambda request: None, **book),
                undo=Effect("cancel", undo, tries=TRIES, **book),
                saga=scope,
                otherwise=booked,
            )
        )
        scope.abort(net, "stop", takes={"it": booked}, outcome="it")

    agent = built(make)
    assert prove(agent.net, only=["SAGA-4"]).status() is Status.PROVED
    async with opened(agent, tmp_path / "x.db") as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await engine.run_until_idle()
        assert len(calls) == TRIES
        (found,) = engine.read.cases()
        assert found.status == "parked"
        assert "the service is down" in (found.reason or "")
        mended = True
        await engine.resume("c")
        await engine.run_until_idle()
        (found,) = engine.read.cases()
        assert (found.status, found.outcome_place) == ("done", "end")
    assert len(set(calls)) == 1  # the same idempotency key each time
    assert audit(tmp_path / "x.db").clean
