"""Proposals, effects, verifiers: what handlers may do, and what becomes of what they do wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from provenet.engine import Engine, VirtualClock, audit, transaction
from provenet.engine.threads import MOST, Threads
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.nets.net import Ask, Auto, Judge, OnFailure, Perform
from provenet.sdb.handlers import Agent, Effect, EffectRefused, Proposal, ProposalFault, Request
from provenet.sdb.reject import REJECT, Reject
from tests.engine.kit import START, Answers, Item, built, deployed, opened


def asking(
    proposer: Any, *, failure: bool = True, timeout: timedelta = timedelta(seconds=60), ensures: Any = None
) -> Agent:
    """``start -[ask]-> done``, with a failure transition to ``lost`` or none."""

    def make(net: NetBuilder) -> None:
        start, done, lost = net.entry("start", Item), net.final("done", Item), net.final("lost", REJECT)
        net.transition(
            "ask",
            takes={"s": start},
            brings={"answer": Item},
            ensures=ensures,
            puts={done: "answer"},
            trigger=Ask(net.handle("proposer", proposer), timeout=timeout),
        )
        if failure:
            net.transition(
                "fault",
                takes={"s": start},
                brings={"why": REJECT},
                puts={lost: "why"},
                trigger=OnFailure("ask"),
            )
        else:
            net.transition(
                "never", takes={"s": start}, when=lambda s: s.n > 99, puts={lost: lambda s: _reject()}
            )

    return built(make)


def _reject() -> Any:
    from provenet.nets.expr.ast import Const
    from provenet.nets.expr.build import Term

    return Term(Const(Reject("x").value(), REJECT), REJECT, {})


def performing(effect: Effect, *, failure: bool = True) -> Agent:
    """``start -[intent]-> committing -[commit]-> done``, with a failure transition to ``lost`` or none."""

    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", Item), net.final("done", Item)
        committing = net.place("committing", Item)
        net.route("intent", takes={"s": start}, puts={committing: "s"})
        net.transition(
            "commit",
            takes={"c": committing},
            brings={"receipt": effect.receipt_type},
            puts={done: "c"},
            trigger=Perform(
                net.handle(effect.name, effect), None, effect.external, effect.timeout, effect.tries
            ),
        )
        if failure:
            lost = net.final("lost", REJECT)
            net.transition(
                "fail",
                takes={"c": committing},
                brings={"why": REJECT},
                puts={lost: "why"},
                trigger=OnFailure("commit"),
            )

    return built(make)


async def outcome(agent: Agent, database: str | Path = ":memory:", **options: Any) -> tuple[Any, Any]:
    """Run one case to its end; where it ended and with what."""
    async with opened(agent, database, **options) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await engine.run_until_idle()
        case = engine.read.case("c").case
        found = audit(engine.read.engine)
        assert found.clean, found.problems
        return (case.outcome_place, case.outcome) if case.outcome_place else (case.status, case.reason)


async def test_an_answer_becomes_the_token() -> None:
    assert await outcome(asking(Answers(lambda r: ("a", 2)))) == ("done", {"id": "a", "n": 2})


async def test_proposals_overlap() -> None:
    # Each waits until all eight have been called: nothing but real concurrency gets past that.
    together = asyncio.Barrier(8)

    async def answer(request: Request) -> tuple[str, int]:
        async with together:
            return ("a", 2)

    agent = asking(Answers(answer))
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", [(f"c{i}", {"start": Item(id="a", n=i)}) for i in range(8)])
        async with asyncio.timeout(20):
            await engine.run_until_idle()
        assert engine.read.counts() == {"done": 8}


async def test_no_more_proposals_at_a_time_than_allowed() -> None:
    now, most = 0, 0

    async def answer(request: Request) -> tuple[str, int]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return ("a", 2)

    agent = asking(Answers(answer))
    async with opened(agent, proposals=3) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", [(f"c{i}", {"start": Item(id="a", n=i)}) for i in range(20)])
        await engine.run_until_idle()
        assert engine.read.counts() == {"done": 20}
    assert most == 3


async def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (lambda r: _raise(ValueError("no")), "fault"),
        (lambda r: _raise(ProposalFault(Reject(rule="refusal", got="I would rather not"))), "refusal"),
        (lambda r: _raise(TimeoutError()), "timeout"),
        (lambda r: ("a", "two"), "schema"),
        (lambda r: ("a",), "schema"),
        (lambda r: ["a", 2], "schema"),
        (lambda r: {"id": "a", "n": 2}, "schema"),
        (lambda r: None, "schema"),
        (lambda r: ("a", -1), "ensures"),
    ],
    ids=[
        "raises",
        "refuses",
        "late",
        "wrong type",
        "too short",
        "a list",
        "a mapping",
        "nothing",
        "breaks ensures",
    ],
)
async def test_a_bad_answer_is_a_typed_reject(answer: Any, rule: str) -> None:
    place, why = await outcome(asking(Answers(answer), ensures=lambda answer: answer.n >= 0))
    assert (place, why["rule"]) == ("lost", rule)


async def test_something_else_than_a_proposal_is_a_fault() -> None:
    class Odd:
        async def propose(self, request: Request) -> Any:
            return 42

    place, why = await outcome(asking(Odd()))
    assert (place, why["rule"], why["got"]) == ("lost", "fault", "int")


async def test_a_proposal_that_hangs_times_out_in_real_time() -> None:
    began = time.monotonic()
    place, why = await outcome(
        asking(Answers(lambda r: asyncio.sleep(3600)), timeout=timedelta(milliseconds=50))
    )
    assert (place, why["rule"]) == ("lost", "timeout")
    assert time.monotonic() - began < 20


async def test_a_proposal_that_sleeps_on_the_virtual_clock_times_out_in_virtual_time() -> None:
    clock = VirtualClock(START)
    place, why = await outcome(asking(Answers(lambda r: clock.sleep(timedelta(days=3)))), clock=clock)
    assert (place, why["rule"]) == ("lost", "timeout")
    assert clock.now() == START + timedelta(seconds=60)


async def test_without_a_failure_transition_a_proposal_is_tried_again_then_parked() -> None:
    proposer = Answers(lambda r: _raise(ValueError("no")))
    status, reason = await outcome(asking(proposer, failure=False))
    assert status == "parked"
    assert "ValueError: no" in reason
    assert len(proposer.requests) == 5
    assert len({r.key for r in proposer.requests}) == 1


async def test_a_paid_answer_that_could_not_be_used_is_kept_over_a_restart_and_not_asked_for_again(
    tmp_path: Path,
) -> None:
    def make(net: NetBuilder) -> None:
        start, full = net.entry("start", Item), net.place("full", Item, capacity=1)
        other, done = net.place("other", Item, initial=[Item(id="x", n=0)]), net.final("done")
        net.route("fill", takes={"o": other}, puts={full: "o"})
        net.transition(
            "ask",
            takes={"s": start},
            brings={"a": Item},
            puts={full: "a"},
            trigger=Ask(net.handle("p", proposer)),
        )
        net.event("drain", event="drain", takes={"f": full}, puts={done: None})

    proposer = Answers(
        lambda r: Proposal(
            ("a", 7), model="m-1", prompt_hash="p", tokens_in=11, tokens_out=5, cost_usd=Decimal("0.02")
        )
    )
    agent = built(make)
    async with opened(agent, tmp_path / "x.db") as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await engine.run_until_idle()
        detail = engine.read.case("c")
        assert detail.case.status == "parked"
        assert "capacity" in (detail.case.reason or "")
        assert detail.proposals[0]["state"] == "kept"
        assert engine.read.spent() == {"proposals": 1, "tokens_in": 11, "tokens_out": 5, "cost_usd": "0.02"}
    async with opened(agent, tmp_path / "x.db") as engine:
        # What stopped it is still there, so it parks again, with the same answer.
        await engine.resume("c")
        await engine.run_until_idle()
        assert engine.read.case("c").case.status == "parked"
        assert "capacity" in (engine.read.case("c").case.reason or "")
    assert len(proposer.requests) == 1
    assert audit(tmp_path / "x.db").clean


async def test_a_flaky_effect_is_repeated_with_one_key_and_backs_off() -> None:
    calls: list[Request] = []

    def flaky(request: Request) -> None:
        calls.append(request)
        if len(calls) < 4:
            raise ConnectionError("away")

    clock = VirtualClock(START)
    assert (await outcome(performing(Effect("e", flaky, payload=Item)), clock=clock))[0] == "done"
    assert [c.attempt for c in calls] == [1, 2, 3, 4]
    assert len({c.key for c in calls}) == 1
    assert clock.now() > START


@pytest.mark.parametrize(
    ("error", "tries", "calls"),
    [(EffectRefused("no"), 5, 1), (ConnectionError("away"), 3, 3), (ConnectionError("away"), 1, 1)],
    ids=["refused", "three tries", "one try"],
)
async def test_an_effect_that_fails_for_good_fires_its_failure_transition(
    error: Exception, tries: int, calls: int
) -> None:
    seen: list[str] = []

    async def run(request: Request) -> None:
        seen.append(request.key)
        raise error

    place, why = await outcome(performing(Effect("e", run, payload=Item, tries=tries)))
    assert (place, why["rule"]) == ("lost", "e")
    assert len(seen) == calls


async def test_an_effect_that_fails_for_good_with_no_way_out_parks_its_case() -> None:
    async def run(request: Request) -> None:
        raise EffectRefused("the account is closed")

    status, reason = await outcome(performing(Effect("e", run, payload=Item), failure=False))
    assert status == "parked"
    assert "the account is closed" in reason


async def test_an_effect_that_hangs_is_repeated_with_the_same_key() -> None:
    keys: list[str] = []

    async def run(request: Request) -> None:
        keys.append(request.key)
        if len(keys) == 1:
            await asyncio.sleep(3600)

    assert (await outcome(performing(Effect("e", run, payload=Item, timeout=timedelta(milliseconds=30)))))[
        0
    ] == "done"
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_a_receipt_that_does_not_fit_parks_the_case_and_is_not_performed_again() -> None:
    calls: list[str] = []

    async def run(request: Request) -> str:
        calls.append(request.key)
        return "thanks"

    agent = performing(Effect("e", run, payload=Item, receipt=int))
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await engine.run_until_idle()
        detail = engine.read.case("c")
        assert detail.case.status == "parked"
        assert "receipt does not fit" in (detail.case.reason or "")
        assert detail.marking == {"committing": [{"id": "a", "n": 1}]}
    assert len(calls) == 1


async def test_a_slow_plain_effect_does_not_hold_up_others() -> None:
    order: list[str] = []

    def run(request: Request) -> None:
        if request.payload.n == 0:
            time.sleep(0.3)
        order.append(request.case)

    agent = performing(Effect("e", run, payload=Item))
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_cases("small", [(f"c{i}", {"start": Item(id="a", n=i)}) for i in range(5)])
        await engine.run_until_idle()
    assert order[-1] == "c0"
    assert len(order) == 5


async def test_a_transactional_effect_shares_the_transaction_of_the_marking(tmp_path: Path) -> None:
    def run(request: Request) -> int:
        transaction().execute("CREATE TABLE IF NOT EXISTS sold (id TEXT, n INTEGER)")
        transaction().execute("INSERT INTO sold VALUES (?, ?)", (request.payload.id, request.payload.n))
        return 1

    agent = performing(Effect("sell", run, payload=Item, receipt=int, external=False))
    assert (await outcome(agent, tmp_path / "x.db"))[0] == "done"
    import sqlite3

    db = sqlite3.connect(tmp_path / "x.db")
    assert db.execute("SELECT * FROM sold").fetchall() == [("a", 1)]
    db.close()


async def test_a_transactional_effect_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    def run(request: Request) -> int:
        transaction().execute("CREATE TABLE sold (id TEXT)")
        raise EffectRefused("sold out")

    place, why = await outcome(
        performing(Effect("sell", run, payload=Item, receipt=int, external=False)), tmp_path / "x.db"
    )
    assert (place, why["got"]) == ("lost", "sold out")
    import sqlite3

    db = sqlite3.connect(tmp_path / "x.db")
    assert db.execute("SELECT name FROM sqlite_master WHERE name = 'sold'").fetchall() == []
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "rollback",
        " begin",
        "PRAGMA synchronous = OFF",
        "-- x\ncommit",
        "DELETE FROM provenet_event",
    ],
)
async def test_a_transactional_effect_may_not_end_the_transaction(statement: str) -> None:
    def run(request: Request) -> int:
        transaction().execute(statement)
        return 1

    place, _ = await outcome(performing(Effect("sell", run, payload=Item, receipt=int, external=False)))
    assert place == "lost"


def test_there_is_no_transaction_elsewhere() -> None:
    from provenet.engine.errors import EngineError

    with pytest.raises(EngineError, match="no open transaction"):
        transaction()


def judged(verify: Any) -> Agent:
    def make(net: NetBuilder) -> None:
        start, good, bad = net.entry("start", Item), net.final("good", Item), net.final("bad", REJECT)
        name = net.handle("verify", verify)
        net.transition("accept", takes={"p": start}, puts={good: "p"}, trigger=Judge(name, accepts=True))
        net.transition(
            "reject",
            takes={"p": start},
            brings={"why": REJECT},
            puts={bad: "why"},
            trigger=Judge(name, accepts=False),
        )

    return built(make)


@pytest.mark.parametrize(
    ("verify", "place"),
    [
        (lambda p, i: p.n == 1, "good"),
        (lambda p, i: None, "good"),
        (lambda p, i: p.n > 1, "bad"),
        (lambda p, i: Reject(rule="mine", got="n"), "bad"),
        (lambda p, i: p.nonsense, "bad"),
        (lambda p, i: "yes", "bad"),
    ],
    ids=["true", "none", "false", "a reject", "raises", "neither"],
)
async def test_an_opaque_verifier_decides_which_transition_fires(verify: Any, place: str) -> None:
    assert (await outcome(judged(verify)))[0] == place


async def test_a_breach_parks_the_case_and_loses_no_token() -> None:
    def make(net: NetBuilder) -> None:
        start, full, done = net.entry("start", Item), net.place("full", Item, capacity=1), net.final("done")
        more = net.place("more", Item, initial=[Item(id="x", n=0)])
        net.route("one", takes={"s": start}, puts={full: "s"})
        net.route("two", takes={"m": more}, puts={full: "m"})
        net.event("go", event="go", takes={"f": full}, puts={done: None})

    agent = built(make)
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        detail = engine.read.case("c")
        assert detail.case.status == "parked"
        assert "capacity is 1" in (detail.case.reason or "")
        assert detail.marking == {"full": [{"id": "a", "n": 1}], "more": [{"id": "x", "n": 0}]}
        assert audit(engine.read.engine).clean


async def test_a_deadline_beyond_the_calendar_parks_the_case() -> None:
    long = timedelta(days=390_000)

    class When(Token):
        at: datetime

    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", When), net.final("done", When)
        net.timer(
            "ring",
            takes={"s": start},
            after=lambda s: s.at + long + long + long + long + long + long + long + long + long,
            puts={done: "s"},
        )

    agent = built(make)
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": When(at=START)}, case_id="c")
        await engine.run_until_idle()
        assert engine.read.case("c").case.status == "parked"
        assert "leaves the calendar" in (engine.read.case("c").case.reason or "")


async def test_a_net_that_never_comes_to_rest_is_parked() -> None:
    def make(net: NetBuilder) -> None:
        start, other, done = net.entry("start", Item), net.place("other", Item), net.final("done")
        net.route("there", takes={"s": start}, puts={other: "s"})
        net.route("back", takes={"s": other}, puts={start: "s"})
        net.event("go", event="go", takes={"f": other}, puts={done: None})

    status, reason = await outcome(built(make))
    assert status == "parked"
    assert "without coming to rest" in reason


async def test_equal_tokens_keep_their_own_timers() -> None:
    def make(net: NetBuilder) -> None:
        start, left = net.entry("start", Item), net.place("left")
        out, done = net.place("out"), net.final("done")
        net.route("one", takes={"s": start}, puts=[left])
        again = net.place("again", initial=[()])
        net.timer("later", takes=again, after=timedelta(days=2), puts=[left])
        net.timer("ring", takes=left, after=timedelta(days=10), puts=[out])
        net.route("both", takes=[out, out], puts=[done])

    agent = built(make)
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await engine.run_until_idle()
        rang = [line.at - START for line in engine.read.log("c") if line.transition == "ring"]
        assert rang == [timedelta(days=10), timedelta(days=12)]
        assert engine.read.case("c").case.status == "done"
        assert audit(engine.read.engine).clean


async def test_immediate_choices_follow_the_nets_order_and_take_the_oldest_token() -> None:
    def make(net: NetBuilder) -> None:
        start = net.entry("start", Item)
        queue = net.place("queue", Item, initial=[Item(id="old", n=0), Item(id="new", n=0)])
        first, done = net.place("first", Item), net.final("done", Item)
        net.route("a", takes={"s": start, "q": queue}, puts={first: "q"})
        net.route("b", takes={"s": start, "q": queue}, puts={done: "q"})
        net.event("end", event="end", takes={"f": first}, puts={done: "f"})

    agent = built(make)
    assert isinstance(agent.net.transition("a").trigger, Auto)
    async with opened(agent) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        assert engine.read.case("c").marking["first"] == [{"id": "old", "n": 0}]


async def test_on_the_real_clock_timers_fire_and_serving_stops_when_told() -> None:
    def make(net: NetBuilder) -> None:
        start, done = net.entry("start", Item), net.final("done", Item)
        net.timer("ring", takes={"s": start}, after=timedelta(milliseconds=50), puts={done: "s"})

    agent = built(make)
    async with Engine.open(":memory:", agents=[agent]) as engine:
        deployed(engine, agent)
        await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
        await engine.run_until_idle()
        stop = asyncio.Event()
        serving = asyncio.create_task(engine.serve(stop))
        async with asyncio.timeout(20):
            while engine.read.counts() != {"done": 1}:  # noqa: ASYNC110  the reader sees what is durable, and tells nobody
                await asyncio.sleep(0.02)
        stop.set()
        await serving


async def test_a_system_that_has_no_room_for_threads_for_a_while_uses_none_of_them_up() -> None:
    threads, held = Threads(), threading.Event()
    before = threading.stack_size(1 << 47)  # more than there is: no thread can be started
    try:
        for _ in range(MOST + 1):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await threads.run(int)
        threading.stack_size(before)
        first = asyncio.ensure_future(threads.run(held.wait))
        await asyncio.sleep(0)
        threading.stack_size(1 << 47)
        second = asyncio.ensure_future(threads.run(lambda: 7))
        await asyncio.sleep(0.05)
        assert not second.done()  # it waits for the thread that there is
        held.set()
        async with asyncio.timeout(10):
            assert (await first, await second) == (True, 7)
    finally:
        threading.stack_size(before)
        threads.close()
