"""Effects that may not be called twice: where nobody knows what became of one, a person says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from provenet.engine import RealClock, audit, faults
from provenet.engine.errors import CaseClosed, NotSettled
from provenet.engine.requests import ask
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Backoff, Effect, EffectRefused, Request
from provenet.sdb.policy import within
from tests.engine.kit import START, Item, built, deployed, opened


class Letter(Token):
    number: str


def posting(post: Callable[[Request], Any], **options: Any) -> Agent:
    """One effect on a target that knows no keys."""

    def make(net: NetBuilder) -> None:
        seen, yes, no = net.entry("seen", Item), net.final("yes", Item), net.final("no", Item)
        send = Effect("post", post, payload=Item, receipt=Letter, **{"idempotent": "no"} | options)
        fits = within(Item, lambda i: i.n >= 0, name="any")
        net.add(
            Contract("send", takes=seen, verify=fits, commit=send, gives=yes, otherwise=no, on_failure=no)
        )

    return built(make)


class Post:
    """A letter box: what is in it is in it."""

    def __init__(self, *ways: str) -> None:
        self.letters: list[str] = []
        self._ways = list(ways)

    async def __call__(self, request: Request) -> Letter:
        way = self._ways.pop(0) if self._ways else "works"
        if way == "refuses":
            raise EffectRefused("no stamp")
        self.letters.append(request.payload.id)
        if way == "breaks":
            raise ConnectionError("the line is dead")
        if way == "hangs":
            await asyncio.sleep(3600)
        return Letter(number=f"L{len(self.letters)}")


CASE = {"seen": Item(id="c", n=1)}


@pytest.mark.parametrize("way", ["breaks", "hangs"])
@pytest.mark.parametrize("said", ["performed", "failed"])
async def test_a_call_without_an_outcome_is_not_repeated_and_a_person_settles_it(
    tmp_path: Path, way: str, said: str
) -> None:
    post = Post(way)
    agent = posting(post, timeout=timedelta(seconds=0.2), tries=5)
    async with opened(agent, tmp_path / "x.db", clock=RealClock()) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs=CASE, case_id="c")
        await asyncio.sleep(0.5)
        case = engine.read.case("c").case
        assert case.status == "parked"
        assert "fate of effect 'post' is unknown" in (case.reason or "")
        # Looking at it again changes nothing.
        await engine.resume("c")
        await asyncio.sleep(0.1)
        assert post.letters == ["c"]
    async with opened(agent, tmp_path / "x.db", clock=RealClock()) as engine:
        with pytest.raises(NotSettled, match="no effect 'poste'"):
            await engine.settle("c", "poste", who="dana", failed="not there")
        with pytest.raises(NotSettled, match="receipt does not fit"):
            await engine.settle("c", "post", who="dana", receipt=7)
        if said == "performed":
            await engine.settle("c", "post", who="dana", receipt={"number": "L1"})
        else:
            await engine.settle("c", "post", who="dana", failed="it is still on the desk")
        await engine.run_until_idle()
        assert engine.read.case("c").case.outcome_place == ("yes" if said == "performed" else "no")
        with pytest.raises(CaseClosed):
            await engine.settle("c", "post", who="dana", failed="once more")
    assert post.letters == ["c"]
    found = audit(tmp_path / "x.db")
    assert found.clean, [str(p) for p in found.problems]


async def test_settling_from_another_process(tmp_path: Path) -> None:
    """Whoever runs the case has its code; where nobody does, who asks has to name it."""
    database, command = tmp_path / "x.db", {"do": "settle", "case": "c", "effect": "post", "who": "dana@it"}
    command["failed"] = "it is still on the desk"
    post = Post("breaks")
    agent = posting(post)
    async with opened(agent, database, clock=RealClock()) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs=CASE, case_id="c")
        await asyncio.sleep(0.3)
    with pytest.raises(NotSettled) as refused:
        await asyncio.to_thread(ask, database, command)
    assert "--agent TARGET" in (refused.value.hint or "")
    async with opened(agent, database, clock=RealClock()) as engine:
        assert "goes on" in (await asyncio.to_thread(ask, database, command))["done"]
        await engine.run_until_idle()
    assert audit(database).clean


@pytest.mark.parametrize("point", ["before-commit", "after-commit", "after-intent", "after-effect"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_crash_anywhere_calls_it_at_most_once(tmp_path: Path, point: str, nth: int) -> None:
    post = Post()
    agent = posting(post)
    async with opened(agent, tmp_path / "x.db") as engine:
        deployed(engine, agent)
    faults.plan(f"{point}:raise:{nth}")
    try:
        async with opened(agent, tmp_path / "x.db") as engine:
            await engine.start_case("small", inputs=CASE, case_id="c")
            await engine.run_until_idle()
    except faults.FaultInjected:
        pass
    finally:
        faults.plan(None)
    async with opened(agent, tmp_path / "x.db") as engine:
        if not engine.has_case("c"):
            await engine.start_case("small", inputs=CASE, case_id="c")
        await engine.run_until_idle()
        if engine.read.case("c").case.status == "parked":
            if post.letters:
                await engine.settle("c", "post", who="dana", receipt={"number": "L1"})
            else:
                await engine.settle("c", "post", who="dana", failed="nothing was sent")
            await engine.run_until_idle()
        assert engine.read.case("c").case.status == "done"
    assert len(post.letters) <= 1
    assert audit(tmp_path / "x.db").clean


async def test_a_target_that_says_no_is_believed() -> None:
    post = Post("refuses")
    async with opened(agent := posting(post)) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs=CASE, case_id="c")
        await engine.run_until_idle()
        assert engine.read.case("c").case.outcome_place == "no"


async def test_pauses_between_tries_are_those_that_the_effect_declares() -> None:
    times: list[float] = []

    def flaky(request: Request) -> Letter:
        times.append((engine.clock.now() - START).total_seconds())
        if len(times) < 5:
            raise ConnectionError("away")
        return Letter(number="L")

    backoff = Backoff(first=timedelta(seconds=10), factor=3, longest=timedelta(seconds=100), jitter=0)
    async with opened(agent := posting(flaky, idempotent="yes", backoff=backoff)) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs=CASE, case_id="c")
        await engine.run_until_idle()
    assert times == [0, 10, 40, 130, 230]


def test_backoff_grows_to_its_longest_and_never_overflows() -> None:
    backoff = Backoff()
    pauses = [backoff.pause(n, 0.5) for n in range(1, 10_000, 7)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == backoff.longest
    assert backoff.pause(3, 0.0) == timedelta(seconds=1.2)
    assert backoff.pause(3, 1.0) == timedelta(seconds=2.0)
