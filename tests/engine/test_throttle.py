"""Throttles hold: in calls, tokens and dollars, for each tenant, through restarts and across processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provenet.engine import Engine, Reader, RealClock, audit
from provenet.engine.errors import EngineError
from provenet.engine.store.database import located, snapshot
from provenet.engine.store.store import Store
from provenet.engine.throttle import Throttle, _Alone
from provenet.nets.build import NetBuilder
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Proposal, Request
from provenet.sdb.policy import within
from tests.engine.kit import START, Answers, Item, built, deployed, opened

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Model:
    """Tells when it was asked, and for which tenant; every answer costs the same."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.now: Callable[[], float] = lambda: 0.0

    def agent(
        self, *, tokens: int = 0, dollars: str = "0", answer: Callable[[Request], Any] | None = None
    ) -> Agent:
        def costs(request: Request) -> Proposal:
            self.asked.append((self.now(), request.case.partition("-")[0]))
            return Proposal((request.payload.id, 1), model="m", tokens_in=tokens, cost_usd=Decimal(dollars))

        def make(net: NetBuilder) -> None:
            seen, yes, no = net.entry("seen", Item), net.final("yes", Item), net.final("no", Item)
            net.add(
                Contract(
                    "think",
                    takes=seen,
                    gives=yes,
                    propose=Answers(answer or costs),
                    returns=Item,
                    verify=within(Item, lambda i: i.n >= 0, name="any"),
                    commit=Effect("keep", lambda _: None, payload=Item),
                    otherwise=no,
                )
            )

        return built(make)


def cases(tenant: str, count: int) -> list[tuple[str, dict[str, object]]]:
    return [(f"{tenant}-{i}", {"seen": Item(id=f"{tenant}{i}", n=i)}) for i in range(count)]


def since(engine: Engine) -> Callable[[], float]:
    """Seconds since the start, by the engine's clock."""

    def seconds() -> float:
        return (engine.clock.now() - START).total_seconds()

    return seconds


async def ran(
    model: Model, agent: Agent, counts: dict[str, int], *throttles: Throttle, database: str = ":memory:"
) -> None:
    async with opened(agent, database, throttles=throttles) as engine:
        model.now = since(engine)
        if not engine.read.nets():
            deployed(engine, agent)
        for tenant, count in counts.items():
            await engine.start_cases("small", cases(tenant, count), tenant=tenant, existing="skip")
        await engine.run_until_idle()
        assert engine.read.counts() == {"done": sum(counts.values())}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 7),
    st.sampled_from([MINUTE, timedelta(hours=1), DAY]),
    st.sampled_from(["all", "tenant", "net"]),
    st.integers(0, 15),
    st.integers(1, 15),
)
def test_no_window_lets_more_calls_through(calls: int, per: timedelta, each: str, a: int, b: int) -> None:
    model = Model()
    throttle = Throttle(name="t", per=per, calls=calls, each=each)  # type: ignore[arg-type]  # sampled
    asyncio.run(ran(model, model.agent(), {"a": a, "b": b}, throttle))
    assert len(model.asked) == a + b
    windows = Counter(
        (at // per.total_seconds(), tenant if each == "tenant" else "") for at, tenant in model.asked
    )
    assert max(windows.values()) <= calls
    # Nothing waits longer than it must: all windows but the last are full.
    most = max(a, b) if each == "tenant" else a + b
    assert max(w for w, _ in windows) == (most - 1) // calls


async def test_tokens_and_dollars_once_spent_stop_further_calls() -> None:
    for throttle in (
        Throttle(name="tokens", per=DAY, tokens=250),
        Throttle(name="dollars", per=DAY, dollars=Decimal("0.25")),
    ):
        model = Model()
        async with opened(
            agent := model.agent(tokens=100, dollars="0.1"), throttles=[throttle], proposals=1
        ) as engine:
            model.now = since(engine)
            deployed(engine, agent)
            await engine.start_cases("small", cases("a", 8))
            await engine.run_until_idle()
        # 100, 200, 300: the fourth finds it spent.
        assert Counter(at // DAY.total_seconds() for at, _ in model.asked) == {0: 3, 1: 3, 2: 2}


@settings(max_examples=15, deadline=None)
@example(Decimal("sNaN"), 1)
@example(Decimal(1), "x")
@given(
    st.one_of(st.decimals(), st.just(Decimal("0.0000004")), st.floats(), st.none()),
    st.one_of(st.integers(), st.text(max_size=2), st.booleans()),
)
def test_whatever_an_answer_says_that_it_cost_can_be_counted(cost: Any, tokens: Any) -> None:
    def answer(request: Request) -> Proposal:
        return Proposal((request.payload.id, 1), model="m", tokens_in=tokens, cost_usd=cost)

    async def go() -> None:
        throttle = Throttle(name="t", per=DAY, dollars=Decimal("0.0000001"))
        agent = Model().agent(answer=answer)
        async with opened(agent, throttles=[throttle], proposals=1) as engine:
            deployed(engine, agent)
            await engine.start_cases("small", cases("a", 3))
            await engine.run_until_idle()
            assert engine.read.counts() == {"done": 3}
            spent = engine.read.spent()
            assert spent["proposals"] == 3
            assert 0 <= spent["tokens_in"] < 10**13
            counts = isinstance(cost, Decimal) and cost.is_finite() and 0 < cost < 10**9
            # Whatever counts at all uses the smallest of windows up.
            assert (engine.clock.now() >= START + 2 * DAY) == counts
            assert (Decimal(spent["cost_usd"]) > 0) == counts

    asyncio.run(go())


@pytest.mark.parametrize("cost", ["999999999999", "999999999"])
async def test_the_most_that_answers_cost_can_be_counted_when_all_come_at_once(cost: str) -> None:
    together = asyncio.Barrier(20)

    async def answer(request: Request) -> Proposal:
        await together.wait()
        return Proposal((request.payload.id, 1), model="m", cost_usd=Decimal(cost))

    agent = Model().agent(answer=answer)
    async with opened(agent, throttles=[Throttle(name="t", per=DAY, tokens=5)]) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", cases("a", 20))
        await engine.run_until_idle()
        assert engine.read.counts() == {"done": 20}


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    model, throttle = Model(), Throttle(name="t", per=DAY, calls=3)
    agent = model.agent()
    for _ in range(2):
        async with opened(agent, tmp_path / "x.db", throttles=[throttle]) as engine:
            if not engine.read.nets():
                deployed(engine, agent)
                await engine.start_cases("small", cases("a", 5))
            await engine.run_until_idle(until=engine.clock.now() + timedelta(hours=1))
        assert len(model.asked) == 3
    assert audit(tmp_path / "x.db").clean


@pytest.mark.parametrize("kind", [pytest.param("server", marks=pytest.mark.postgres), "file"])
async def test_tenants_that_are_gone_leave_no_windows(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres") if kind == "server" else str(tmp_path / "x.db")
    model, throttle = Model(), Throttle(name="t", per=DAY, calls=3, each="tenant")
    agent = model.agent()

    async def left(tenants: list[str]) -> set[tuple[str, int]]:
        async with opened(agent, url, throttles=[throttle]) as engine:
            if not engine.read.nets():
                deployed(engine, agent)
            await engine.run_until_idle(until=engine.clock.now() + 3 * DAY)
            for tenant in tenants:
                await engine.start_cases("small", cases(tenant, 1), tenant=tenant)
            await engine.run_until_idle()
        with snapshot(Reader(url).engine, located(url), bytes.decode) as rows:
            return {
                (str(part), int(calls)) for part, calls in rows("SELECT part, calls FROM provenet_window")
            }

    assert await left([f"old{i}" for i in range(9)]) == {(f"old{i}", 1) for i in range(9)}
    assert await left(["new"]) == {("new", 1)}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0, 0, 0, 1, 2, 5])), max_size=60))
def test_each_tenant_has_windows_of_its_own_and_the_last_two_are_kept(script: list[tuple[str, int]]) -> None:
    store = Store(":memory:")
    meter, throttle, now = _Alone(store), Throttle(name="t", per=DAY, calls=3, each="tenant"), 10
    used: Counter[tuple[str, int]] = Counter()
    for tenant, later in script:
        now += later
        expected = "taken" if used[tenant, now] < 3 else "full"
        assert meter.take(("t", tenant, now), throttle.limits()) == expected
        used[tenant, now] += expected == "taken"
        store.flush()
        kept = store.rows("SELECT part, number, calls FROM provenet_window")
        # Older ones go with the first call of a new window.
        assert {(p, n): c for p, n, c in kept if n == now} == {
            at: c for at, c in used.items() if at[1] == now
        }
        assert all(n >= now - 1 for _, n, _ in kept)
    store.close()


async def test_an_effect_can_be_throttled_too() -> None:
    model, throttle = Model(), Throttle(name="t", per=DAY, calls=2, handlers=frozenset({"keep"}))
    async with opened(agent := model.agent(), throttles=[throttle]) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", cases("a", 5))
        await engine.run_until_idle()
        assert engine.clock.now() >= START + 2 * DAY
        assert engine.read.counts() == {"done": 5}


@pytest.mark.postgres
async def test_processes_share_a_throttle(postgres: str) -> None:
    model, throttle = Model(), Throttle(name="t", per=timedelta(days=10_000), calls=7)
    agent = model.agent()
    async with (
        opened(agent, postgres, throttles=[throttle], clock=RealClock()) as one,
        opened(agent, postgres, throttles=[throttle], clock=RealClock()) as other,
    ):
        deployed(one, agent)
        deployed(other, agent)
        await one.start_cases("small", cases("a", 10))
        await other.start_cases("small", cases("b", 10))
        for _ in range(100):
            await asyncio.sleep(0.02)
            if one.read.counts().get("done") == 7:
                break
        await asyncio.sleep(0.3)
        assert len(model.asked) == 7
        assert one.read.counts()["done"] == 7


def test_what_limits_nothing_is_refused() -> None:
    with pytest.raises(EngineError, match="limits nothing"):
        Throttle(name="t", per=DAY)
    with pytest.raises(EngineError, match="lets nothing through"):
        Throttle(name="t", per=DAY, calls=0)
    with pytest.raises(EngineError, match="span"):
        Throttle(name="t", per=timedelta(0), calls=1)
