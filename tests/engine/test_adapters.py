"""Three adapters, one conformance suite: whatever wakes the cases, the same happens."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest

from provenet.engine import Engine, Reader, audit, faults
from provenet.engine.adapters import sweep
from provenet.engine.adapters.protocol import Work
from provenet.engine.adapters.stepper import Stepper
from provenet.engine.errors import DecisionRefused, EngineError
from provenet.engine.marking_map import MarkingMap
from provenet.engine.migrate_all import migrate_database
from provenet.engine.requests import ask
from provenet.engine.views import TaskView
from provenet.nets.build import NetBuilder
from provenet.nets.formats.canonical import content_hash
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from tests.cli.test_workers import AGENT
from tests.engine import fleets
from tests.engine.chaos import Shifted
from tests.engine.fleets import Fleet
from tests.engine.kit import Answers, Item, built, deployed
from tests.engine.orders import Order, dice, orders
from tests.engine.test_crash import reference
from tests.engine.test_migrate import renewal
from tests.support.ledger import Ledger
from tests.support.temporal import TemporalServer
from tests.support.temporal import temporal as temporal_server

pytestmark = pytest.mark.postgres

CASES = 9

Open: TypeAlias = Callable[[list[Agent]], AbstractAsyncContextManager[Fleet]]


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    with temporal_server(tmp_path_factory.mktemp("temporal")) as server:
        yield server


@pytest.fixture
def clock(tmp_path: Path) -> Shifted:
    return Shifted(tmp_path / "clock")


@pytest.fixture(params=["embedded", "temporal", "dbos"])
def fleet(request: pytest.FixtureRequest, postgres: str, clock: Shifted) -> Open:
    """Opens workers behind each of the adapters."""
    if request.param == "temporal":
        server: TemporalServer = request.getfixturevalue("dispatcher")
        return lambda agents: fleets.temporal(postgres, agents, clock, server.target)
    if request.param == "dbos":
        pytest.importorskip("dbos", reason="the extra provenet[dbos] is not installed")
        return lambda agents: fleets.dbos(postgres, agents, clock)
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


def three_waits(*, early: Literal["refuse", "keep"] = "refuse") -> Agent:
    """A person decides, an event comes (early or not), and a timer ends it."""

    def make(net: NetBuilder) -> None:
        start = net.entry("start", Item)
        yes, paid = net.place("yes", Item), net.place("paid", Item)
        no, done = net.final("no", Item), net.final("done", Item)
        net.add(Human("look", takes=start, approve=yes, deny=no, who="pricing", within=timedelta(days=2)))
        net.event("pay", event="paid", takes={"y": yes}, puts={paid: "y"})
        net.timer("never paid", takes={"y": yes}, after=timedelta(days=90), puts={no: "y"})
        net.timer("rest", takes={"p": paid}, after=timedelta(seconds=1), puts={done: "p"})
        if early == "keep":
            net.delivery("paid", early="keep")
            net.known_by("item", at=start, value=lambda it: it.id)

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


async def test_cases_move_to_another_version_while_workers_run(
    fleet: Open, postgres: str, clock: Shifted
) -> None:
    old, new = renewal(), renewal(days=14)
    versions = content_hash(old.net), content_hash(new.net)
    async with fleet([old, new]) as workers:
        await workers.start("renewal", [(f"c{n}", {"in": Item(id="x", n=n)}) for n in (10, 11, 12)])
        await workers.until(lambda counts: counts == {"waiting": 3})
        async with Engine.open(postgres, clock=clock, takes="asked") as engine:
            deployed(engine, new)
        found = await asyncio.to_thread(migrate_database, postgres, versions, MarkingMap(), [old, new])
        assert (found.moving, found.staying) == (3, 0), found.to_json()
        clock.jump(timedelta(days=8))  # the old version's timer would have rung
        await workers.adapter.dispatch("c10")
        await asyncio.sleep(1.5)
        assert workers.read.counts() == {"waiting": 3}
        clock.jump(timedelta(days=7))
        await workers.until(lambda counts: counts == {"done": 3})
    assert audit(postgres).clean


async def test_early_events_and_events_that_know_a_key(fleet: Open, postgres: str, clock: Shifted) -> None:
    def about(case: str) -> dict[str, Any]:
        return {"do": "signal", "event": "paid", "about": {"item": case}, "key": f"k-{case}"}

    async with fleet([three_waits(early="keep")]) as workers:
        waits = (await workers.tell(about("c")))["published"]["waits"]  # before its case starts
        assert waits == "yes"
        await workers.start("small", [(c, {"start": Item(id=c, n=1)}) for c in ("a", "b", "c")])
        await workers.until(lambda counts: counts == {"waiting": 3})
        by_id = {"do": "signal", "case": "a", "event": "paid", "key": "k"}
        assert (await workers.tell(by_id))["status"] == "kept"
        with pytest.raises(EngineError, match="accepted before"):
            await workers.tell(by_id)
        told = (await workers.tell(about("b")))["published"]
        assert told["kept"] == ["b"] or told["asked"] == ["b"]
        for case in ("a", "b", "c"):
            await workers.tell(decision(case, "look", "approve"))
        await workers.until(lambda counts: counts == {"done": 3})
        heard = {c: [i["status"] for i in workers.read.case(c).inbox] for c in ("a", "b", "c")}
    assert heard == {"a": ["accepted", "duplicate"], "b": ["accepted"], "c": ["accepted"]}
    assert audit(postgres).clean


async def test_a_kill_is_obeyed_within_a_second(fleet: Open, postgres: str, tmp_path: Path) -> None:
    """No effect begins a second after the command line's answer; cases that were not killed go on."""
    asked, stopped = asyncio.Event(), asyncio.Event()
    begun: list[tuple[str, float]] = []

    async def slow(request: Request) -> Any:
        asked.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async def send(request: Request) -> None:
        begun.append((request.case, time.monotonic()))
        await asyncio.sleep(0.02)

    thinking = built(lambda net: _asking(net, Answers(slow)))
    sending = built(lambda net: _sending(net, send), "sending")
    kill = {"do": "kill", "who": "dana", "reason": "stop"}
    async with fleet([thinking, sending, orders(Ledger(tmp_path / "ledger.db"))]) as workers:
        await workers.start("small", [("slow", {"start": Item(id="s", n=1)})])
        cases = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(CASES)]
        await workers.start("orders", cases)
        await asyncio.wait_for(asked.wait(), 30)
        await workers.until(lambda counts: counts.get("running") == 1)
        await workers.start("sending", [(f"c{i}", {"start": Item(id="x", n=1)}) for i in range(3)])
        while len(begun) < 6:  # noqa: ASYNC110  nothing tells when
            await asyncio.sleep(0.01)
        await workers.tell(kill | {"scope": "case", "target": "c0"})
        one = time.monotonic()
        while sum(at > one + 1 for _, at in begun) < 6:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        told = time.monotonic()
        await workers.tell(kill | {"scope": "all", "target": ""})
        every = time.monotonic()
        await workers.until(lambda counts: set(counts) <= {"done", "killed"}, within=10)
        took = time.monotonic() - told
        await asyncio.wait_for(stopped.wait(), 5)
        await asyncio.sleep(max(0.0, every + 2 - time.monotonic()))
        ends = {case.id: case.status for case in workers.read.cases()}
    assert took < 3, took  # a second on a machine that does nothing else
    assert {ends[f"c{i}"] for i in range(3)} == {"killed"}
    late = [(c, at - one, at - every) for c, at in begun if at > (one if c == "c0" else every) + 1]
    assert not late
    assert audit(postgres).clean


def _sending(net: NetBuilder, send: Callable[[Request], Any]) -> None:
    """The same again and again, until somebody stops it."""
    start, done, bad = net.entry("start", Item), net.final("done", Item), net.final("bad", Item)
    sent, rule = net.place("sent", Item), within(Item, lambda i: i.n >= 0, name="n")
    effect = Effect("send", send, payload=Item)
    net.add(Contract("send", takes=start, gives=sent, verify=rule, commit=effect, otherwise=bad))
    net.route("again", takes={"s": sent}, puts={start: "s"}, when=lambda s: s.n > 0)
    net.route("enough", takes={"s": sent}, puts={done: "s"}, when=lambda s: s.n == 0)


def _asking(net: NetBuilder, proposer: Answers) -> None:
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


async def test_a_workflow_that_begins_anew_loses_nothing(
    dispatcher: TemporalServer,
    postgres: str,
    clock: Shifted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from temporalio.client import Client

    from provenet.engine.adapters import temporal_driver

    monkeypatch.setattr(temporal_driver, "ROUNDS", 3)  # 300 where nobody is in a hurry
    expected, _ = await asyncio.to_thread(reference, 4)
    ledger = Ledger(tmp_path / "ledger.db")
    async with fleets.temporal(postgres, [orders(ledger)], clock, dispatcher.target) as workers:
        await workers.start("orders", [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(4)])
        await workers.until(at_rest)
        await decide_all(workers)
        await workers.until(lambda counts: counts == {"done": 4})
    assert ledger.effects() == expected
    client = await Client.connect(dispatcher.target)
    for _ in range(100):
        if await client.count_workflows('ExecutionStatus = "ContinuedAsNew"'):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("no workflow began anew")


async def status(client: Any, workflow: str) -> str:
    return str((await client.get_workflow_handle(workflow).describe()).status.name)


async def ended(client: Any, workflow: str) -> bool:
    """Whether a workflow ends within some seconds."""
    for _ in range(60):
        if await status(client, workflow) != "RUNNING":
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_workflow_does_not_outlive_its_case(
    dispatcher: TemporalServer, postgres: str, clock: Shifted
) -> None:
    """Whoever ends the case, knowing of Temporal or not."""
    from temporalio.client import Client

    client = await Client.connect(dispatcher.target)
    agent = three_waits()
    async with fleets.temporal(postgres, [agent], clock, dispatcher.target) as workers:
        await workers.start("small", [(c, {"start": Item(id=c, n=1)}) for c in ("a", "b")])
        await workers.until(lambda counts: counts == {"waiting": 2})
        adapter: Any = workers.adapter
        # As `provenet reject` does: it knows of no dispatcher.
        await asyncio.to_thread(ask, postgres, decision("a", "look", "deny"))
        assert workers.read.counts() == {"waiting": 1, "done": 1}
        assert await ended(client, adapter.workflow("a"))
    # And while no worker runs.
    await asyncio.to_thread(ask, postgres, decision("b", "look", "deny"))
    assert await status(client, adapter.workflow("b")) == "RUNNING"
    async with fleets.temporal(postgres, [agent], clock, dispatcher.target):
        assert await ended(client, adapter.workflow("b"))
    assert audit(postgres).clean


async def test_dbos_keeps_nothing_of_what_is_over(postgres: str, clock: Shifted) -> None:
    pytest.importorskip("dbos", reason="the extra provenet[dbos] is not installed")
    import psycopg

    def kept() -> dict[str, int]:
        with psycopg.connect(postgres) as connection:
            rows = connection.execute("SELECT status, COUNT(*) FROM dbos.workflow_status GROUP BY status")
            return dict(rows.fetchall())

    async with fleets.dbos(postgres, [three_waits()], clock) as workers:
        adapter: Any = workers.adapter
        await workers.start("small", [(c, {"start": Item(id=c, n=1)}) for c in ("a", "b")])
        await workers.until(lambda counts: counts == {"waiting": 2})
        await workers.tell(decision("a", "look", "approve"))
        await workers.tell({"do": "signal", "case": "a", "event": "paid", "key": "k"})
        await workers.until(lambda counts: counts == {"waiting": 1, "done": 1})
        for _ in range(50):
            if "PENDING" not in kept():
                break
            await asyncio.sleep(0.1)
        assert kept()["SUCCESS"] > 2
        assert await adapter.tidy() == 0  # for an hour
        over = kept()["SUCCESS"]
        assert await adapter.tidy(timedelta(0)) >= over
        for _ in range(50):  # a wake that came twice may end a little later
            if set(kept()) == {"DELAYED"}:
                break
            await asyncio.sleep(0.1)
            await adapter.tidy(timedelta(0))
        # What waits for its time is there, and comes.
        assert set(kept()) == {"DELAYED"}
        clock.jump(timedelta(days=3))
        await workers.adapter.dispatch("b")
        await workers.until(lambda counts: counts == {"done": 2})
    assert audit(postgres).clean


@pytest.mark.parametrize("kind", ["temporal", "dbos"])
def test_the_command_line_is_a_worker(
    tmp_path: Path, postgres: str, kind: str, request: pytest.FixtureRequest
) -> None:
    on = "dbos"
    if kind == "temporal":
        on = f"temporal://{request.getfixturevalue('dispatcher').target}"
    else:
        pytest.importorskip("dbos", reason="the extra provenet[dbos] is not installed")
    found = ran(tmp_path, postgres, on)
    assert found.returncode == 0, found.stderr
    assert "started 20 cases" in found.stdout
    assert "20 cases: 20 done" in found.stdout
    assert audit(postgres).clean


def ran(folder: Path, database: str, on: str) -> subprocess.CompletedProcess[str]:
    """What `provenet run --on` says, and how it ends."""
    (folder / "wishes.py").write_text(AGENT, encoding="utf-8")
    rows = "".join(f"w{i},{i % 10}\n" for i in range(20))
    (folder / "in.csv").write_text("id,n\n" + rows, encoding="utf-8")
    words = ["run", "wishes.py", "--db", database, "--input", "in.csv", "--id", "id", "--on", on]
    return subprocess.run(
        [sys.executable, "-m", "provenet", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# turns, with nobody in particular who calls for them


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
async def test_turns_may_come_twice_and_in_any_order(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Shifted
) -> None:
    expected, _ = await asyncio.to_thread(reference, CASES)
    url = request.getfixturevalue("postgres") if kind == "postgresql" else f"{tmp_path}/cases.db"
    ledger, rng = Ledger(tmp_path / "ledger.db"), random.Random(1)
    agent = orders(ledger)
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(Engine.open(url, agents=[agent], clock=clock, takes="turns"))
            for _ in range(3 if kind == "postgresql" else 1)
        ]
        deployed(engines[0], agent)
        steppers = [engine.stepper() for engine in engines]
        ids = [f"o-{i}" for i in range(CASES)]
        async for _ in steppers[0].start("orders", [(c, {"order": Order(id=c, amount=1)}) for c in ids]):
            pass
        old: list[tuple[str, Work]] = []
        for _ in range(60):
            standings = await asyncio.gather(*(rng.choice(steppers).advance(case) for case in ids))
            due = [(c, w) for c, s in zip(ids, standings, strict=True) for w in s.work]
            if not due:
                tasks = engines[0].read.tasks()
                if not tasks:
                    break
                await decide_open(rng.choice(steppers), tasks, clock)
                continue
            # Everything twice, what is over as well, and all at once.
            again = [*due, *due, *rng.sample(old, min(5, len(old)))]
            rng.shuffle(again)
            await asyncio.gather(
                *(rng.choice(steppers).work(c, w.transition, w.token, tries=w.tries) for c, w in again),
                *(rng.choice(steppers).advance(case) for case in rng.choices(ids, k=5)),
            )
            old += due
    assert ledger.effects() == expected
    result = audit(url)
    assert result.clean, [str(p) for p in result.problems[:5]]
    assert Reader(url).counts() == {"done": CASES}


@pytest.mark.parametrize("ends", ["answers", "fails"])
async def test_what_a_second_delivery_gives_changes_nothing(postgres: str, clock: Shifted, ends: str) -> None:
    """Two workers do the same work; the second ends when the first has fired with its outcome long ago."""
    calls, second, go = 0, asyncio.Event(), asyncio.Event()

    async def call(request: Request) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await second.wait()
            return
        second.set()
        await go.wait()
        if ends == "fails":
            raise ConnectionError("the line is down")

    def make(net: NetBuilder) -> None:
        start, done, bad = net.entry("start", Item), net.final("done", Item), net.final("bad", Item)
        sent = net.place("sent", Item)
        net.add(
            Contract(
                "send",
                takes=start,
                gives=sent,
                verify=within(Item, lambda i: i.n >= 0, name="n"),
                commit=Effect("send", call, payload=Item),
                otherwise=bad,
            )
        )
        net.event("end", event="end", takes={"s": sent}, puts={done: "s"})

    agent = built(make)
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(Engine.open(postgres, agents=[agent], clock=clock, takes="turns"))
            for _ in range(2)
        ]
        deployed(engines[0], agent)
        one, two = (engine.stepper() for engine in engines)
        for over in ("no", "yes"):
            calls = 0
            second.clear()
            go.clear()
            async for _ in one.start("small", [(over, {"start": Item(id=over, n=1)})]):
                pass
            (work,) = (await one.advance(over)).work
            first = asyncio.create_task(one.work(over, work.transition, work.token))
            while calls < 1:  # noqa: ASYNC110  nothing tells when
                await asyncio.sleep(0.01)
            late = asyncio.create_task(two.work(over, work.transition, work.token))
            assert (await first).status == "waiting"
            if over == "yes":
                await one.outside({"do": "signal", "case": over, "event": "end"})
            go.set()
            assert (await late).work == ()
        assert audit(postgres).clean


async def test_what_may_be_called_only_once_is_not_called_twice(postgres: str, clock: Shifted) -> None:
    """However often it is dispatched, by whomever; what was stopped in the midst of it is for a person."""
    calls, go = Counter[str](), asyncio.Event()

    async def send(request: Request) -> None:
        calls[request.case] += 1
        await go.wait()

    def make(net: NetBuilder) -> None:
        start, done, bad = net.entry("start", Item), net.final("done", Item), net.final("bad", Item)
        net.add(
            Contract(
                "send",
                takes=start,
                gives=done,
                verify=within(Item, lambda i: i.n >= 0, name="n"),
                commit=Effect("send", send, payload=Item, idempotent="no"),
                otherwise=bad,
            )
        )

    agent = built(make)
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(Engine.open(postgres, agents=[agent], clock=clock, takes="turns"))
            for _ in range(3)
        ]
        deployed(engines[0], agent)
        steppers = [engine.stepper() for engine in engines]
        async for _ in steppers[0].start("small", [(c, {"start": Item(id=c, n=1)}) for c in ("a", "b")]):
            pass
        todo = {case: (await steppers[0].advance(case)).work[0] for case in ("a", "b")}
        works = [
            asyncio.create_task(s.work(c, w.transition, w.token, tries=w.tries))
            for s in (*steppers, *steppers)
            for c, w in todo.items()
        ]
        while len(calls) < 2:  # noqa: ASYNC110  nothing tells when
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        for work in works[1::2]:  # those of b: a worker that is told to stop
            work.cancel()
        await asyncio.gather(*works[1::2], return_exceptions=True)
        go.set()
        await asyncio.gather(*works[::2])
        assert calls == {"a": 1, "b": 1}
        assert (await steppers[1].advance("a")).status == "done"
        assert (await steppers[1].advance("b")).status == "parked"
        await steppers[2].outside({"do": "settle", "case": "b", "effect": "send", "who": "dana@it"})
        standing = await steppers[0].advance("b")
        while standing.work:
            standing = await steppers[0].work("b", standing.work[0].transition, standing.work[0].token)
        assert standing.status == "done"
        assert calls == {"a": 1, "b": 1}
    assert audit(postgres).clean


async def decide_open(stepper: Stepper, tasks: list[TaskView], clock: Shifted) -> None:
    for task in tasks:
        order = task.about["order"]
        if dice(order, "slow") < 84:
            choice = "approve" if dice(order, "mood") < 70 else "deny"
            await stepper.outside(decision(task.case, task.task, choice))
    clock.jump(timedelta(days=8))


async def test_a_turn_and_its_end_are_one_commit(postgres: str, clock: Shifted, tmp_path: Path) -> None:
    """Whoever dies right after the commit leaves a case that the next one need not take over."""
    import psycopg

    agent = orders(Ledger(tmp_path / "ledger.db"))
    engine = Engine.open(postgres, agents=[agent], clock=clock, takes="turns")
    async with engine:
        deployed(engine, agent)
        stepper = engine.stepper()
        async for _ in stepper.start("orders", [("o-1", {"order": Order(id="o-1", amount=1)})]):
            pass
        (work,) = (await stepper.advance("o-1")).work
        with psycopg.connect(postgres, autocommit=True) as other:
            for point, expected in (("before-commit", "mine"), ("after-commit", "nobody's")):
                faults.plan(f"{point}:raise:1")
                try:
                    with pytest.raises(faults.FaultInjected):
                        await stepper.work("o-1", work.transition, work.token)
                finally:
                    faults.plan(None)
                ((owner,),) = other.execute("SELECT owner FROM provenet_case").fetchall()
                assert ("mine" if owner else "nobody's") == expected
                await engine.close()
                engine = Engine.open(postgres, agents=[agent], clock=clock, takes="turns")
                await engine.__aenter__()
                stepper = engine.stepper()
        await engine.close()
    assert audit(postgres).clean


class Deaf:
    """Loses every wake, and keeps what it was."""

    def __init__(self) -> None:
        self.woken: list[str] = []

    async def dispatch(self, case: str, work: Work | None = None) -> None:
        self.woken.append(case)

    def heartbeat(self) -> None: ...

    async def cancel(self, case: str, work: Work) -> None: ...

    async def signal(self, case: str, request: int) -> None: ...


async def test_a_lost_wake_is_found_in_the_store(
    postgres: str, clock: Shifted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died between a commit and the wake that was to follow: nobody ever called the adapter."""
    quiet = 0.3
    monkeypatch.setattr(sweep, "QUIET", quiet)  # 2 where nobody is in a hurry
    agent = orders(Ledger(tmp_path / "ledger.db"))

    async with Engine.open(postgres, agents=[agent], clock=clock, takes="turns") as engine:
        deployed(engine, agent)
        stepper, deaf = engine.stepper(), Deaf()
        async for _ in stepper.start("orders", [("o-1", {"order": Order(id="o-1", amount=1)})]):
            pass
        looks = stepper.sweep(deaf)
        await looks.look()
        assert deaf.woken == []  # it may yet be on its way
        await asyncio.sleep(quiet + 0.1)
        await looks.look()
        assert deaf.woken == ["o-1"]
        for _ in range(20):
            for work in (standing := await stepper.advance("o-1")).work:
                standing = await stepper.work("o-1", work.transition, work.token)
            if not standing.work:
                break
        await looks.look()
        assert deaf.woken == ["o-1"]


async def test_however_many_do_not_move_each_is_woken(
    clock: Shifted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one look holds, on a file; the first of them never move, as where their agent is missing."""
    monkeypatch.setattr(sweep, "QUIET", 0.1)
    monkeypatch.setattr(sweep, "MANY", 2)
    agent = orders(Ledger(tmp_path / "ledger.db"))
    async with Engine.open(tmp_path / "x.db", agents=[agent], clock=clock, takes="turns") as engine:
        deployed(engine, agent)
        stepper, deaf = engine.stepper(), Deaf()
        every = {f"o-{i}" for i in range(7)}
        async for _ in stepper.start(
            "orders", [(case, {"order": Order(id=case, amount=1)}) for case in sorted(every)]
        ):
            pass
        looks = stepper.sweep(deaf)
        for _ in range(4):
            await looks.look()
        assert deaf.woken == []
        await asyncio.sleep(0.2)
        for _ in range(4):
            await looks.look()
        assert sorted(deaf.woken) == sorted(every)
        for case in sorted(every):
            for work in (await stepper.advance(case)).work:
                await stepper.work(case, work.transition, work.token)
        deaf.woken.clear()
        for _ in range(4):
            await looks.look()
        assert deaf.woken == []


async def test_however_many_timers_are_late_each_case_is_woken_with_pauses(
    clock: Shifted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one look holds, and nobody fires them, as where their agent is missing."""
    monkeypatch.setattr(sweep, "MANY", 2)

    def ring(net: NetBuilder) -> None:
        start, over = net.entry("start", Item), net.final("over", Item)
        net.timer("ring", after=timedelta(hours=1), takes={"i": start}, puts={over: "i"})

    agent = built(ring)
    async with Engine.open(tmp_path / "x.db", agents=[agent], clock=clock, takes="turns") as engine:
        deployed(engine, agent)
        stepper, deaf = engine.stepper(), Deaf()
        every = [f"c-{i}" for i in range(7)]
        async for _ in stepper.start("small", [(case, {"start": Item(id=case, n=1)}) for case in every]):
            pass
        for case in every:
            await stepper.advance(case)
        clock.jump(timedelta(hours=2))
        looks = stepper.sweep(deaf)
        for _ in range(20):
            await looks.look()
        assert sorted(deaf.woken) == every


async def opened_task(workers: Fleet, case: str) -> str:
    """The task of a case that is open, as soon as it is."""
    for _ in range(200):
        for task in workers.read.tasks():
            if task.case == case:
                return task.task
        await asyncio.sleep(0.05)
    raise AssertionError(f"no task of {case} opened")
