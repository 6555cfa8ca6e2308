"""Services that hang and lie, people who click twice, clocks that jump, disks that are full: all at once.

The judge is the service's own book, kept in a process of its own, beside the engine's log.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provenet.engine import Reader, RealClock, audit
from provenet.engine.adapters.protocol import Standing, Work
from provenet.engine.errors import EngineError, NotAnswered
from provenet.engine.requests import post
from provenet.nets.build import NetBuilder
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, EffectRefused, Proposal, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from tests.engine.chaos import (
    Aftermath,
    Blow,
    Shifted,
    Storm,
    Worker,
    crowd,
    fill,
    jump,
    kill,
    outage,
    rows_of,
    started,
)
from tests.engine.kit import Item, built, deployed, opened
from tests.engine.orders import dice
from tests.engine.parcels import Parcel, parcels
from tests.engine.test_fate import CASE, posting
from tests.engine.test_work import performing
from tests.support.ledger import Ledger
from tests.support.postgres import Server
from tests.support.temporal import temporal
from tests.support.world import HOSTILE, world

NEVER = 15
"""How many of a hundred parcels are never delivered."""


class Around:
    """The people around: they see a task twice, tell an event twice, and look into what is parked.

    Args:
        database: Where the cases are.
        ledger: The service's book, which somebody reads where the fate of a letter is unknown.
    """

    def __init__(self, database: str, ledger: Ledger) -> None:
        self._database, self._ledger, self._rng = database, ledger, random.Random(1)
        self.said: Counter[str] = Counter()

    def __call__(self, stop: threading.Event) -> None:
        with ThreadPoolExecutor(8) as threads:
            while not stop.wait(0.1):
                with suppress(EngineError):
                    for done in [threads.submit(self._ask, command) for command in self._wishes()]:
                        done.result()

    def _wishes(self) -> list[dict[str, Any]]:
        """What they want now: each thing twice, in any order."""
        reader = Reader(self._database)
        wishes: list[dict[str, Any]] = []
        for task in reader.tasks()[:6]:
            choice = "approve" if dice(task.about["parcel"], "mood") < 70 else "deny"
            wishes.append(
                {"do": "decide", "case": task.case, "task": task.task, "choice": choice, "who": "dana@desk"}
                | self._rng.choice(({}, {"about_hash": task.about_hash}))
            )
        shipped = "SELECT DISTINCT c.id FROM provenet_case c JOIN provenet_token t ON t.case_no = c.no"
        for (case,) in (rows_of(self._database, f"{shipped} WHERE t.place = 'shipped'") or [])[:6]:
            if dice(case, "delivered") >= NEVER:
                wishes.append({"do": "signal", "case": case, "event": "delivered", "key": f"d-{case}"})
        wishes *= 2
        parked = "SELECT id, reason FROM provenet_case WHERE status = 'parked'"
        for case, reason in (rows_of(self._database, parked) or [])[:8]:
            if "'post.letter'" not in reason:
                wishes.append({"do": "resume", "case": case})
                continue
            sent = [subject for name, subject, _ in self._ledger.effects() if name == "letter"]
            said = {"receipt": {"number": "found it"}} if case in sent else {"failed": "it was never sent"}
            wishes.append({"do": "settle", "case": case, "effect": "post.letter", "who": "dana@desk"} | said)
        self._rng.shuffle(wishes)
        return wishes

    def _ask(self, command: dict[str, Any]) -> None:
        try:
            post(self._database, command)
            self.said[f"{command['do']}: done"] += 1
        except NotAnswered:
            self.said[f"{command['do']}: no answer"] += 1
        except EngineError as error:
            self.said[f"{command['do']}: {error.code}"] += 1


def judge(database: str, ledger: Ledger) -> None:
    """Hold the service's book against the engine's, and against what a parcel's life can be."""
    query = "SELECT key FROM provenet_effect WHERE state = 'performed' AND handler <> 'post.letter'"
    performed = sorted(key for (key,) in rows_of(database, query) or [])
    keys = ledger.keys()
    assert performed == [key for key in keys if not key.startswith("letter/")]
    letters = "SELECT COUNT(*) FROM provenet_effect WHERE state = 'performed' AND handler = 'post.letter'"
    assert rows_of(database, letters) == [(sum(n == "letter" for n, _, _ in ledger.effects()),)]
    lives: defaultdict[str, list[str]] = defaultdict(list)
    for name, subject, _ in ledger.effects():
        lives[subject].append(name)
    ways = [["ship", "recall"], ["ship", "charge"], ["ship", "charge", "letter"]]
    for subject, life in lives.items():
        assert sorted(life) in [sorted(way) for way in ways], (subject, life)


def storm(
    tmp_path: Path,
    database: str,
    blows: list[tuple[int, Blow]],
    *,
    cases: int,
    on: str = "",
    workers: int = 3,
    seed: int = 0,
) -> Aftermath:
    with world(tmp_path, seed=seed) as outside:
        make: Callable[[], Any] = partial(parcels, outside.url)
        wanted = [(f"p-{i}", {"parcel": Parcel(id=f"p-{i}")}) for i in range(cases)]
        asyncio.run(started(database, make(), "parcels", wanted))
        body = Worker(database, make, on, suicidal=30, clocks=tmp_path)
        around = Around(database, outside.ledger)
        found = Storm(body, workers, blows, [around], seconds=60 + 4 * cases, entries=12).over(cases)
        judge(database, outside.ledger)
        calls = outside.ledger.calls()
        more = {"repeated calls": calls - len(outside.ledger.keys())} | dict(around.said)
        return Aftermath(found.harm, found.happened | more)


LARGE = pytest.param(500, 6, marks=[pytest.mark.long, pytest.mark.timeout(2400)])


@pytest.mark.postgres
@pytest.mark.parametrize(("cases", "times"), [(24, 1), LARGE])
def test_several_processes(tmp_path: Path, server: Server, postgres: str, cases: int, times: int) -> None:
    pad(postgres)
    blows = [
        (4 * times, kill),
        (3 * times, jump(tmp_path, 3)),
        (1 * times, outage(server)),
        (1 * times, crowd(server, postgres)),
    ]
    found = storm(tmp_path, postgres, blows, cases=cases)
    print(found.happened)
    assert not found.harm
    assert found.happened["found no room"]


@pytest.mark.parametrize(("cases", "times"), [(24, 1), LARGE])
def test_one_process_on_a_file(tmp_path: Path, cases: int, times: int) -> None:
    database = str(tmp_path / "x.db")
    blows = [(2 * times, kill), (3 * times, jump(tmp_path, 2)), (2 * times, fill(database))]
    found = storm(tmp_path, database, blows, cases=cases, workers=2)
    print(found.happened)
    assert not found.harm
    assert found.happened["found no room"]


@pytest.mark.long
@pytest.mark.postgres
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kind", ["temporal", "dbos"])
@pytest.mark.parametrize(("cases", "times"), [(60, 1), (500, 6)])
def test_behind_a_dispatcher(
    tmp_path: Path, server: Server, postgres: str, kind: str, cases: int, times: int
) -> None:
    with ExitStack() as stack:
        on, blows = "dbos", [(4 * times, kill), (3 * times, jump(tmp_path, 3)), (times, outage(server))]
        if kind == "dbos":
            pytest.importorskip("dbos", reason="the extra provenet[dbos] is not installed")
        else:
            dispatcher = stack.enter_context(temporal(tmp_path))
            on, blows = dispatcher.target, [*blows, (times, outage(dispatcher))]
        found = storm(tmp_path, postgres, blows, cases=cases, on=on)
    print(kind, found.happened)
    assert not found.harm


def pad(database: str) -> None:
    """Make the log's file larger than the least that can be limited, with rows that are gone."""
    import psycopg

    from provenet.engine.store.store import Store

    Store(database).close()
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("ALTER TABLE provenet_event SET (autovacuum_enabled = off)")
        db.execute(
            "INSERT INTO provenet_event (case_no, seq, kind, transition, at, data, prev, hash)"
            " SELECT -1, n, 'x', '', 0, repeat('x', 1500), ''::bytea, ''::bytea"
            " FROM generate_series(1, 12000) n"
        )
        db.execute("DELETE FROM provenet_event")


# what the storms found, each by itself


@pytest.mark.attack(
    "service that lies about its receipt",
    "the case is parked; what may be called once is not called again",
)
async def test_what_may_be_called_once_is_not_repeated_for_a_receipt_that_does_not_fit(
    tmp_path: Path,
) -> None:
    calls: list[str] = []

    async def post_letter(request: Request) -> Any:
        calls.append(request.key)
        return "thanks"

    agent = posting(post_letter)
    for _ in range(2):
        async with opened(agent, tmp_path / "x.db", clock=RealClock()) as engine:
            if not engine.has_case("c"):
                deployed(engine, agent)
                await engine.start_case("small", inputs=CASE, case_id="c")
                await engine.run_until_idle()
                assert "receipt does not fit" in (engine.read.case("c").case.reason or "")
            await engine.resume("c")
            await engine.run_until_idle()
            assert "may not be called twice" in (engine.read.case("c").case.reason or "")
    async with opened(agent, tmp_path / "x.db", clock=RealClock()) as engine:
        await engine.settle("c", "post", who="dana", receipt={"number": "L1"})
        await engine.run_until_idle()
        assert engine.read.counts() == {"done": 1}
    assert len(calls) == 1
    assert audit(tmp_path / "x.db").clean


HANGS = """
import asyncio, sys, time
from datetime import timedelta
from provenet.engine import RealClock
from provenet.sdb.handlers import Effect
from tests.engine.kit import Item, deployed, opened
from tests.engine.test_work import performing

def run(request):
    if request.payload.n:
        time.sleep(3600)

async def main():
    agent = performing(Effect("e", run, payload=Item, timeout=timedelta(seconds=0.3), tries=1))
    async with opened(agent, clock=RealClock(), effects=2) as engine:
        deployed(engine, agent)
        cases = [(f"c{n}", {"start": Item(id="a", n=int(n < 6))}) for n in range(8)]
        await engine.start_cases("small", cases)
        await engine.run_until_idle()
        print(engine.read.counts(), [c.outcome_place for c in engine.read.cases()].count("done"))

asyncio.run(main())
"""


@pytest.mark.attack("service that never answers", "the time-out applies; no worker is used up")
def test_calls_that_hang_use_up_no_worker_and_hold_up_no_end() -> None:
    """Six of eight calls never return, two may be made at a time; the process ends all the same."""
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.split() == ["{'done':", "8}", "2"], ended.stdout


@pytest.mark.parametrize("days", [-30, 30])
@pytest.mark.attack(
    "clock set by weeks",
    "second tries come when they should; deadlines go by the wall clock",
)
@pytest.mark.parametrize("when", ["while it is tried", "between two tries"])
async def test_a_clock_that_is_set_delays_no_second_try(tmp_path: Path, days: int, when: str) -> None:
    clock, tried = Shifted(tmp_path / "clock"), asyncio.Event()

    async def run(request: Request) -> None:
        if not tried.is_set():
            tried.set()
            if when == "while it is tried":
                clock.jump(timedelta(days=days))
            raise ConnectionError("not now")

    agent = performing(Effect("e", run, payload=Item))
    async with opened(agent, tmp_path / "x.db", clock=clock) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await tried.wait()
        if when == "between two tries":
            clock.jump(timedelta(days=days))
        async with asyncio.timeout(10):
            await engine.run_until_idle()
        assert engine.read.counts() == {"done": 1}
    assert audit(tmp_path / "x.db").clean


async def test_a_timer_rings_within_a_second_of_a_clock_that_is_set(tmp_path: Path) -> None:
    def make(net: NetBuilder) -> None:
        start, end = net.entry("start", Item), net.final("end", Item)
        net.timer("rings", takes={"s": start}, after=timedelta(days=2), puts={end: "s"})

    clock, agent = Shifted(tmp_path / "clock"), built(make)
    async with opened(agent, tmp_path / "x.db", clock=clock) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        clock.jump(timedelta(days=2, seconds=-30))
        await asyncio.sleep(1.2)
        assert engine.read.counts() == {"waiting": 1}
        clock.jump(timedelta(seconds=31))
        await asyncio.sleep(1.5)
        assert engine.read.counts() == {"done": 1}


async def test_a_parked_case_is_seen_by_others_at_once(tmp_path: Path) -> None:
    def refuse(request: Request) -> None:
        raise EffectRefused("no")

    agent = performing(Effect("e", refuse, payload=Item), failure=False)
    async with opened(agent, tmp_path / "x.db", clock=RealClock()) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        # Beside the engine: looking through it would make it commit.
        beside = Reader(tmp_path / "x.db")
        async with asyncio.timeout(10):
            while beside.counts() != {"parked": 1}:  # noqa: ASYNC110  nobody tells those beside
                await asyncio.sleep(0.05)


@pytest.mark.postgres
@pytest.mark.parametrize("text", [HOSTILE, "\ud800", "\x00"])
@pytest.mark.attack("NUL, half characters and escapes", "written as signs: no text stops the store")
async def test_no_text_from_outside_stops_the_store(postgres: str, tmp_path: Path, text: str) -> None:
    class Says:
        async def propose(self, request: Request) -> Proposal:
            if request.attempt == 1:
                raise RuntimeError(text)
            return Proposal((text, 1) if request.attempt == 2 else ("a", 1), model=text, prompt_hash=text)

    async def refuse(request: Request) -> None:
        raise ConnectionError(text) if request.attempt == 1 else EffectRefused(text)

    def make(net: NetBuilder) -> None:
        start, held = net.entry("start", Item), net.place("held", Item)
        done, no = net.final("done", Item), net.final("no", Item)
        fits = within(Item, lambda i: i.n <= 10, name="any")
        commit = Effect("e", refuse, payload=Item)
        net.add(
            Contract(
                "c", takes=start, gives=done, propose=Says(), returns=Item, verify=fits, commit=commit,
                otherwise=no, on_failure=held,
            )
        )  # fmt: skip
        net.add(Human("look", takes=held, approve=done, deny=no, who="desk", within=timedelta(days=1)))
        net.event("told", event="told", takes={"h": held}, brings={"said": str}, puts={done: "h"})

    agent = built(make)
    for database in (postgres, str(tmp_path / "x.db")):
        async with opened(agent, database, clock=RealClock()) as engine:
            deployed(engine, agent)
            await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
            await engine.run_until_idle()
            for refused in (
                engine.decide("c", "look", "approve", f"{text}@{text}"),
                engine.decide("c", text, text, text),
                engine.signal("c", text, text, key=text),
                engine.start_case(text, case_id=text, inputs={text: text}),
                engine.kill("case", text, who=text, reason=text),
                engine.settle("c", text, who=text, failed=text),
            ):
                with pytest.raises(EngineError):
                    await refused
            with suppress(EngineError):  # not every text is a key
                await engine.signal("c", "told", {"said": text}, key=text)
            await engine.signal("c", "told", HOSTILE, key="k")
            await engine.kill("net", text, who=text, reason=text)
            assert engine.read.counts() == {"done": 1}
        assert audit(database).clean


async def test_work_that_is_called_off_before_it_begins_may_begin_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = pytest.importorskip(
        "provenet.engine.adapters.temporal_driver", reason="the extra provenet[temporal] is not installed"
    )
    monkeypatch.setattr(driver.workflow, "time", lambda: 0.0)
    drive, work = driver.DriveCase(), Work("commit", 1, "key", 0)
    drive._woken = False
    # Two answers at once: it is wanted, and the case was parked meanwhile.
    drive._plan(Standing("running", 9, 0, work=(work,)), False)
    drive._plan(Standing("parked", 10, 0), False)
    await asyncio.sleep(0.01)
    assert drive._flights == {}
    assert drive._woken
