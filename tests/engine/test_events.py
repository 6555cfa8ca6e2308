"""Events that come early, late, twice, in any order, or for a case that nobody has named yet."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.engine import Engine, Reader, Retention, VirtualClock, audit, early, faults
from provenet.engine.errors import (
    CaseClosed,
    DuplicateSignal,
    InputRefused,
    LateSignal,
    SignalRefused,
)
from provenet.engine.faults import FaultInjected
from provenet.engine.fork import fork
from provenet.engine.marking_map import MarkingMap
from provenet.engine.requests import ask
from provenet.engine.watching import Event, Signalled
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.sdb.handlers import Agent
from tests.engine.kit import START, Item, built, deployed, opened
from tests.engine.orders import proofs

KEEP = timedelta(days=2)
HOUR = timedelta(hours=1)


class Payment(Token):
    cents: int


def shop(version: str = "first") -> Agent:
    """An order is confirmed, paid (at least as much as it costs) and shipped; each by an event."""

    def make(net: NetBuilder) -> None:
        placed, done = net.entry("placed", Item), net.final("done", Item)
        ready, paid = net.place("ready", Item), net.place("paid", Item)
        net.event("confirm", event="confirmed", takes={"i": placed}, puts={ready: "i"})
        net.event(
            "pay",
            event="paid",
            takes={"i": ready},
            brings={"p": Payment},
            ensures=lambda i, p: p.cents >= i.n,
            puts={paid: "i"},
        )
        net.event("ship", event="shipped", takes={"i": paid}, puts={done: "i"})
        net.delivery("paid", early="keep", keep_for=KEEP, keep_most=3)
        if version == "first":
            net.delivery("shipped", early="keep")
        net.known_by("order", at=placed, value=lambda it: it.id)

    return built(make, "shop")


def readings() -> Agent:
    """A meter is read; late readings are refused, or taken as corrections where they say so."""

    def make(net: NetBuilder) -> None:
        meter, done = net.entry("meter", Item), net.final("done", Item)
        aside = net.place("aside", Item)
        net.rests(aside)
        for event in ("read", "log", "log.late"):
            brings = {"p": Payment}
            net.event(event, event=event, takes={"i": meter}, brings=brings, puts={meter: "i"})
        net.event("close", event="closed", takes={"i": meter}, puts={done: "i"})
        net.delivery("read", lateness=HOUR)
        net.delivery("log", lateness=timedelta(0), late="log.late")

    return built(make, "meter")


class Told:
    """Keeps what observers are told."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    def see(self, event: Event) -> None:
        self.told.append(event)


def inbox(read: Reader, case: str) -> list[tuple[str, str]]:
    """The events of a case, and what became of them."""
    return [(i["event"], i["status"]) for i in read.case(case).inbox]


def clean(source: Any) -> None:
    found = audit(source)
    assert found.clean, [str(p) for p in found.problems]


async def begun(engine: Engine, agent: Agent, case: str = "c", n: int = 5, **options: Any) -> None:
    deployed(engine, agent)
    entry = next(iter(agent.net.entries)).place
    inputs = {entry: Item(id=f"order-{case}", n=n)}
    await engine.start_case(agent.net.name, inputs=inputs, case_id=case, **options)


# early events


async def test_what_comes_early_is_taken_in_the_commit_that_makes_room_for_it(tmp_path: Path) -> None:
    path, watcher, agent = tmp_path / "c.db", Told(), shop()
    async with opened(agent, path, observers=[watcher]) as engine:
        await begun(engine, agent)
        assert await engine.signal("c", "shipped", key="s") == "kept"
        assert await engine.signal("c", "paid", Payment(cents=4), key="too little") == "kept"
        assert await engine.signal("c", "paid", {"cents": 6}, key="p") == "kept"
        assert engine.read.case("c").case.status == "waiting"
        commits = engine.progress().commits
        assert await engine.signal("c", "confirmed") == "accepted"
        assert engine.progress().commits == commits + 1
        detail = engine.read.case("c")
        assert [x.transition for x in detail.log] == ["", "confirm", "pay", "ship"]
        assert detail.log[2].data["bring"]["p"] == {"cents": 6}
        assert detail.log[2].data["note"] == {"key": "p"}
        assert inbox(engine.read, "c") == [
            ("shipped", "accepted"),
            ("paid", "unused"),
            ("paid", "accepted"),
            ("confirmed", "accepted"),
        ]
        assert [i["seq"] for i in detail.inbox] == [4, None, 3, 2]
    clean(path)
    heard = [(e.event, e.status) for e in watcher.told if isinstance(e, Signalled)]
    assert heard[:3] == [("shipped", "kept"), ("paid", "kept"), ("paid", "kept")]
    assert sorted(heard[3:]) == sorted(
        [("confirmed", "accepted"), ("paid", "accepted"), ("shipped", "accepted"), ("paid", "unused")]
    )


async def test_the_oldest_that_fits_goes_first_and_a_key_is_taken_while_its_event_waits() -> None:
    agent = shop()
    async with opened(agent) as engine:
        await begun(engine, agent)
        for key, cents in (("a", 1), ("b", 7), ("c", 9)):
            await engine.signal("c", "paid", Payment(cents=cents), key=key)
        with pytest.raises(DuplicateSignal, match="accepted before"):
            await engine.signal("c", "paid", Payment(cents=7), key="b")
        with pytest.raises(SignalRefused, match="3 are kept"):
            await engine.signal("c", "paid", Payment(cents=7), key="d")
        with pytest.raises(SignalRefused, match="its payload does not fit"):
            await engine.signal("c", "paid", {"cents": "many"})
        await engine.signal("c", "confirmed")
        (paid,) = [x for x in engine.read.log("c") if x.transition == "pay"]
        assert paid.data["note"] == {"key": "b"}
        await engine.signal("c", "shipped")
        await engine.run_until_idle()
        assert Counter(inbox(engine.read, "c")) == Counter(
            {
                ("paid", "accepted"): 1,
                ("paid", "unused"): 2,
                ("paid", "duplicate"): 1,
                ("paid", "refused"): 2,
                ("confirmed", "accepted"): 1,
                ("shipped", "accepted"): 1,
            }
        )


async def test_what_is_not_declared_is_refused_as_ever() -> None:
    agent = shop()
    async with opened(agent) as engine:
        await begun(engine, agent)
        await engine.signal("c", "confirmed")
        with pytest.raises(SignalRefused, match="nothing waits for it now"):
            await engine.signal("c", "confirmed")
        with pytest.raises(SignalRefused, match="has no event 'payd'"):
            await engine.signal("c", "payd")


async def test_what_has_waited_long_enough_is_let_go_of(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    agent = shop()
    async with opened(agent, path) as engine:
        await begun(engine, agent)
        await engine.signal("c", "paid", Payment(cents=9), key="p")
        await engine.run_until_idle(until=START + HOUR)
        assert inbox(engine.read, "c") == [("paid", "buffered")]
    clean(path)
    clock = VirtualClock(START)
    async with opened(agent, path, clock=clock) as engine:  # its time is kept through a restart
        await engine.run_until_idle()
        assert clock.now() == START + KEEP
        (found,) = engine.read.case("c").inbox
        assert (found["status"], found["reason"]) == (
            "expired",
            f"nothing took it until {(START + KEEP).isoformat()}",
        )
        await engine.signal("c", "confirmed")
        assert engine.read.case("c").case.status == "waiting"  # it was too late for this one
        assert await engine.signal("c", "paid", Payment(cents=9), key="p") == "accepted"  # its key is free
    clean(path)


async def test_one_that_waited_too_long_is_not_taken_before_anybody_noticed(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", shop()
    async with opened(agent, path) as engine:
        await begun(engine, agent)
        await engine.signal("c", "paid", Payment(cents=9))
    async with opened(agent, path, clock=VirtualClock(START), takes="asked") as engine:
        engine.clock.jump(START + 2 * KEEP)  # type: ignore[attr-defined]
        await engine.signal("c", "confirmed")
        assert [x.transition for x in engine.read.log("c")] == ["", "confirm"]
    clean(path)


async def test_a_parked_case_keeps_what_comes(tmp_path: Path) -> None:
    agent = shop()
    async with opened(agent, tmp_path / "c.db") as engine:
        await begun(engine, agent)
        await engine.signal("c", "confirmed")
        live = engine._runner.cases["c"]
        engine._runner.park(live, "for a test")
        assert await engine.signal("c", "paid", Payment(cents=9), key="p") == "kept"
        with pytest.raises(CaseClosed, match="parked"):
            await engine.signal("c", "confirmed")
        await engine.resume("c")
        assert engine.read.log("c")[-1].transition == "pay"
    clean(tmp_path / "c.db")


class Dated(Token):
    at: datetime
    gap: timedelta


@pytest.mark.parametrize("others", [0, 1])
async def test_a_guard_that_has_no_value_tears_nothing(tmp_path: Path, others: int) -> None:
    def make(net: NetBuilder) -> None:
        start, done, there = net.entry("start", Dated), net.final("done", Dated), net.place("there", Dated)
        net.event("confirm", event="confirm", takes={"i": start}, puts={there: "i"})
        far: dict[str, Any] = {"takes": {"i": there}, "when": lambda i: i.at + i.gap * 1000 > i.at}
        net.event("go", event="go", puts={done: "i"}, **far)
        if others:
            net.event("leave", event="leave", takes={"i": there}, puts={done: "i"})
        net.delivery("go", early="keep")

    agent, path = built(make), tmp_path / "c.db"
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        value = Dated(at=datetime(2999, 1, 1, tzinfo=START.tzinfo), gap=timedelta(days=30_000))
        await engine.start_case("small", inputs={"start": value}, case_id="c")
        assert await engine.signal("c", "go") == "kept"
        assert await engine.signal("c", "confirm") == "accepted"
        assert await engine.signal("c", "go") == "kept"
        case = engine.read.case("c").case
        assert case.status == ("waiting" if others else "parked")
        assert others or "leaves the calendar" in (case.reason or "")
        clean(engine.read.engine)
    async with opened(agent, path) as engine:
        await engine.kill("case", "c", who="", reason="")
    clean(path)


async def test_a_killed_case_uses_nothing_any_more(tmp_path: Path) -> None:
    agent = shop()
    async with opened(agent, tmp_path / "c.db") as engine:
        await begun(engine, agent)
        await engine.signal("c", "paid", Payment(cents=9), key="p")
        await engine.kill("case", "c")
        (found,) = engine.read.case("c").inbox
        assert (found["status"], found["reason"]) == ("unused", "its case is killed")
    clean(tmp_path / "c.db")


async def test_one_that_is_delivered_again_after_the_end_was_taken_and_a_new_one_came_too_late(
    tmp_path: Path,
) -> None:
    path, agent = tmp_path / "c.db", shop()
    async with opened(agent, path) as engine:
        await begun(engine, agent)
        for event, key in (("confirmed", "k"), ("paid", "p"), ("shipped", "s")):
            await engine.signal("c", event, Payment(cents=9) if event == "paid" else None, key=key)
        assert engine.read.case("c").case.status == "done"
        await begun(engine, agent, "killed")
        await engine.signal("killed", "confirmed", key="k")
        await engine.signal("killed", "shipped", key="s")  # kept, and never taken
        await engine.kill("case", "killed")
    for _ in range(2):
        async with opened(agent, path) as engine:
            for case, event, key in (
                ("c", "shipped", "s"),
                ("c", "confirmed", "k"),
                ("killed", "confirmed", "k"),
            ):
                with pytest.raises(DuplicateSignal, match="was accepted before"):
                    await engine.signal(case, event, key=key)
            for case, event, new in (
                ("c", "shipped", "new"),
                ("c", "shipped", None),
                ("killed", "shipped", "s"),
            ):
                with pytest.raises(CaseClosed, match="it is over"):
                    await engine.signal(case, event, key=new)
    statuses = Counter(i["status"] for i in Reader(path).case("c").inbox)
    assert statuses == {"accepted": 3, "duplicate": 4, "refused": 4}
    clean(path)


async def test_one_that_is_delivered_again_to_a_parked_case_was_taken(tmp_path: Path) -> None:
    agent = shop()
    async with opened(agent, tmp_path / "c.db") as engine:
        await begun(engine, agent)
        await engine.signal("c", "confirmed", key="k")
        engine._runner.park(engine._runner.cases["c"], "for a test")
        with pytest.raises(DuplicateSignal):
            await engine.signal("c", "confirmed", key="k")
        with pytest.raises(CaseClosed, match="parked"):
            await engine.signal("c", "confirmed", key="other")
    clean(tmp_path / "c.db")


STORY: Sequence[tuple[str, Any]] = (
    ("shipped", None),
    ("paid", {"cents": 1}),
    ("paid", {"cents": 7}),
    ("confirmed", None),
)


@pytest.mark.parametrize("point", ["signal", "before-commit", "after-commit", "start"])
def test_a_crash_anywhere_finds_each_event_once(tmp_path: Path, point: str) -> None:
    agent = shop()

    async def tell(path: Path, story: Sequence[tuple[int, tuple[str, Any]]]) -> None:
        async with opened(agent, path) as engine:
            deployed(engine, agent)
            if not engine.has_case("c"):
                inputs = {"placed": Item(id="order-c", n=5)}
                await engine.start_case("shop", inputs=inputs, case_id="c")
            for number, (event, payload) in story:
                try:
                    await engine.signal("c", event, payload, key=f"k{number}")
                except (DuplicateSignal, CaseClosed):
                    continue

    story = list(enumerate(STORY))
    for nth in range(1, 12):
        path = tmp_path / f"{point}-{nth}.db"
        faults.plan(f"{point}:raise:{nth}")
        try:
            asyncio.run(tell(path, story))
            passed = True
        except FaultInjected:
            passed = False
        finally:
            faults.plan(None)
        if path.exists():
            clean(path)
        asyncio.run(tell(path, story))  # who sent them sends them again
        read = Reader(path)
        assert read.counts() == {"done": 1}
        accepted = Counter(i["key"] for i in read.case("c").inbox if i["status"] == "accepted")
        assert accepted == {"k0": 1, "k2": 1, "k3": 1}
        clean(path)
        if passed:
            return
    raise AssertionError("the faults did not come to an end")


async def test_a_new_version_takes_over_what_it_keeps(tmp_path: Path) -> None:
    path, old, new = tmp_path / "c.db", shop(), shop("second")
    async with opened([old, new], path) as engine:
        await begun(engine, old)
        await engine.signal("c", "shipped", key="s")
        await engine.signal("c", "paid", Payment(cents=9), key="p")
        second = engine.deploy(new, proofs(new.net))
        first = engine.read.case("c").case.net_hash
        found = await engine.migrate(first, second, MarkingMap.of({}))
        assert [g.cases for g in found.groups] == [("c",)]
        assert inbox(engine.read, "c") == [("shipped", "unused"), ("paid", "buffered")]
        await engine.signal("c", "confirmed")
        assert engine.read.log("c")[-1].transition == "pay"
    clean(path)


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_what_if_finds_kept_events_as_they_were(tmp_path: Path, at: int) -> None:
    path, agent = tmp_path / "c.db", shop()
    async with opened(agent, path) as engine:
        await begun(engine, agent)
        await engine.signal("c", "paid", Payment(cents=9), key="p")
        await engine.run_until_idle(until=START + HOUR)
        await engine.signal("c", "confirmed", key="k")
        await engine.run_until_idle(until=START + 2 * HOUR)
        await engine.signal("c", "shipped", key="s")
    found = await asyncio.to_thread(fork, path, "c", at, tmp_path / f"what-if-{at}.db")
    assert not found.differs, (found.original, found.simulated)
    assert found.refused == ()
    clean(tmp_path / f"what-if-{at}.db")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_whatever_is_sent_is_refused_in_words(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres") if kind == "postgresql" else str(tmp_path / "c.db")
    agent = shop()
    deep: Any = []
    for _ in range(2_000):
        deep = [deep]
    async with opened(agent, url) as engine:
        await begun(engine, agent)
        for event, payload, key in (
            ("\0", None, None),
            ("\ud800", None, "\ud800"),
            ("e" * 5_000, None, None),
            ("paid", {"cents": 1}, "\0"),
            ("paid", {"cents": 1}, "k" * 1_001),
            ("paid", object(), None),
            ("paid", deep, None),
            ("paid", {"cents": "\0"}, None),
            ("provenet.kill", None, None),
        ):
            with pytest.raises(SignalRefused):
                await engine.signal("c", event, payload, key=key)
            with pytest.raises((SignalRefused, InputRefused)):
                await engine.publish(event, payload, about={"order": "order-c"}, key=key)
            with pytest.raises((SignalRefused, InputRefused)):
                await engine.publish(event, payload, about={"order": "none"}, key=key)
        for about in ({"order": "\0"}, {"order": "x" * 300}, dict.fromkeys("abcde", "x"), {"order": 7}):
            with pytest.raises(InputRefused):
                await engine.publish("paid", {"cents": 9}, about=about)  # type: ignore[arg-type]
        assert await engine.signal("c", "confirmed") == "accepted"
    clean(url)


# late events


async def test_what_is_late_is_refused_and_what_is_only_out_of_order_is_not(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", readings()
    clock = VirtualClock(START)

    async def sent(engine: Engine, event: str, minutes: float) -> str:
        own = START + timedelta(minutes=minutes)
        try:
            return await engine.signal("c", event, Payment(cents=1), key=f"{event} {minutes}", at=own)
        except LateSignal:
            return "late"

    async with opened(agent, path, clock=clock) as engine:
        await begun(engine, agent)
        clock.jump(START + timedelta(days=1))
        assert [await sent(engine, "read", m) for m in (100, 200, 141, 139.9, 140, 300)] == [
            *("accepted", "accepted", "accepted"),
            "late",
            *("accepted", "accepted"),
        ]
    # The watermark is in the inbox, and nowhere else.
    async with opened(agent, path, clock=VirtualClock(START + timedelta(days=1))) as engine:
        assert await sent(engine, "read", 239) == "late"
        assert await sent(engine, "read", 241) == "accepted"
        with pytest.raises(DuplicateSignal):  # it was taken in time: it is no late one
            await sent(engine, "read", 100)
        with pytest.raises(SignalRefused, match="lies in the future"):
            await sent(engine, "read", 60 * 24 + 2)
        with pytest.raises(SignalRefused, match="has no time zone"):
            await engine.signal("c", "read", Payment(cents=1), at=datetime(2026, 1, 1))  # noqa: DTZ001
        late = [i for i in engine.read.case("c").inbox if i["status"] == "late"]
        assert len(late) == 2
        assert "is more than 1:00:00 before" in late[0]["reason"]
        assert await engine.signal("c", "read", Payment(cents=1)) == "accepted"  # of this very moment
        assert await sent(engine, "read", 301) == "late"
    clean(path)


async def test_a_late_event_is_taken_as_another_where_the_net_says_so(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", readings()
    async with opened(agent, path) as engine:
        await begun(engine, agent)
        first, second = START - HOUR, START - 2 * HOUR
        assert await engine.signal("c", "log", Payment(cents=1), key="a", at=first) == "accepted"
        assert await engine.signal("c", "log", Payment(cents=2), key="b", at=second) == "accepted"
        with pytest.raises(DuplicateSignal):
            await engine.signal("c", "log", Payment(cents=2), key="b", at=second)
        assert inbox(engine.read, "c")[:3] == [("log", "accepted"), ("log", "late"), ("log.late", "accepted")]
        assert [x.transition for x in engine.read.log("c")] == ["", "log", "log.late"]
    clean(path)


@settings(max_examples=40, deadline=None)
@given(times=st.lists(st.integers(0, 300), max_size=12))
def test_the_watermark_is_the_newest_time_less_the_lateness(times: list[int]) -> None:
    agent = readings()

    async def go() -> None:
        async with opened(agent, clock=VirtualClock(START)) as engine:
            await begun(engine, agent)
            engine.clock.jump(START + timedelta(days=1))  # type: ignore[attr-defined]
            newest: int | None = None
            for minute in times:
                late = newest is not None and minute < newest - 60
                try:
                    await engine.signal("c", "read", Payment(cents=1), at=START + timedelta(minutes=minute))
                except LateSignal:
                    assert late
                else:
                    assert not late
                    newest = minute if newest is None else max(newest, minute)
            clean(engine.read.engine)

    asyncio.run(go())


# events that know keys, and no case


async def test_an_event_finds_every_case_that_is_known_so(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", shop()
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        for case, order, shop_name in (("a", "17", "x"), ("b", "17", "y"), ("c", "18", "x")):
            inputs = {"placed": Item(id=order, n=1)}
            await engine.start_case("shop", inputs=inputs, case_id=case, known_by={"shop": shop_name})
        found = await engine.publish("confirmed", about={"order": "17"}, key="k")
        assert found.accepted == ("a", "b")
        with pytest.raises(DuplicateSignal, match="case a had its key before; case b"):
            await engine.publish("confirmed", about={"order": "17"}, key="k")
        found = await engine.publish("paid", {"cents": 4}, about={"order": "17", "shop": "y"}, key="p")
        assert found.accepted == ("b",)
        with pytest.raises(SignalRefused, match="is for one case, and 2 are known"):
            await engine.publish("shipped", about={"order": "17"}, to="one")
        found = await engine.publish("shipped", about={"order": "17"}, key="s")
        assert (found.accepted, found.kept) == (("b",), ("a",))
        assert str(found) == "case b has taken it; case a keeps it"
        with pytest.raises(SignalRefused, match="no unfinished case is known so"):
            await engine.publish("confirmed", about={"order": "99"})
        with pytest.raises(SignalRefused, match="published under keys"):
            await engine.publish("confirmed", about={})
        with pytest.raises(SignalRefused, match="no unfinished case"):
            await engine.publish("no such event", about={"order": "17"})
    clean(path)


async def test_a_case_says_its_keys_and_they_can_be_stored() -> None:
    agent = shop()
    async with opened(agent) as engine:
        deployed(engine, agent)
        inputs = {"placed": Item(id="17", n=1)}
        with pytest.raises(InputRefused, match="the key 'order' is '18', and its input says '17'"):
            await engine.start_case("shop", inputs=inputs, known_by={"order": "18"})
        for bad in ({"shop": ""}, {"": "x"}, {"shop": "a\0b"}, {"shop": "x" * 201}, {"shop": 7}):
            with pytest.raises(InputRefused, match="printable"):
                await engine.start_case("shop", inputs=inputs, known_by=bad)  # type: ignore[arg-type]
        with pytest.raises(InputRefused, match="up to 4 keys"):
            await engine.start_case("shop", inputs=inputs, known_by={k: k for k in "abcd"})
        await engine.start_case("shop", inputs=inputs, known_by={"order": "17"}, case_id="ok")
        assert engine.read.log("ok")[0].data["known_by"] == {"order": "17"}


@pytest.mark.parametrize("name", ["shop", "meters"])  # one keeps events, one does not
async def test_keys_outlive_the_process_and_the_beginning_of_the_log(tmp_path: Path, name: str) -> None:
    path, agent = tmp_path / "c.db", shop() if name == "shop" else readings()
    event, payload = ("confirmed", None) if name == "shop" else ("read", {"cents": 1})
    async with opened(agent, path, snapshot_every=2) as engine:
        await begun(engine, agent, known_by={"region": "north"})
    async with opened(agent, path, snapshot_every=2) as engine:
        found = await engine.publish(event, payload, about={"region": "north"}, key="k")
        assert found.accepted == ("c",)
    assert [x.kind for x in Reader(path).log("c")] == ["start", "fire", "snapshot"]
    assert Reader(path).log("c")[-1].data["known_by"]["region"] == "north"
    clean(path)
    assert audit(path, fast="yes").clean


async def test_what_was_published_too_early_goes_with_the_first_case_that_starts(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", shop()
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        assert (await engine.publish("paid", {"cents": 9}, about={"order": "17"}, key="p")).waits == "yes"
        with pytest.raises(DuplicateSignal, match="published before"):
            await engine.publish("paid", {"cents": 9}, about={"order": "17"}, key="p")
        for key in ("q", "r"):
            await engine.publish("paid", {"cents": 1}, about={"order": "17"}, key=key)
        with pytest.raises(SignalRefused, match="3 wait already"):
            await engine.publish("paid", {"cents": 1}, about={"order": "17"}, key="t")
        await engine.publish("paid", {"cents": 9}, about={"order": "18"}, key="u")
        assert [(w["key"], w["about"]) for w in engine.read.waiting()] == [
            *((k, '{"order":"17"}') for k in "pqr"),
            ("u", '{"order":"18"}'),
        ]
    async with opened(agent, path) as engine:  # it outlives the process
        inputs = {"placed": Item(id="17", n=5)}
        for case in ("a", "b"):
            await engine.start_case("shop", inputs=inputs, case_id=case)
            await engine.signal(case, "confirmed")
        assert [x.transition for x in engine.read.log("a")] == ["", "confirm", "pay"]
        assert [x.transition for x in engine.read.log("b")] == ["", "confirm"]
        await engine.signal("a", "shipped")
        with pytest.raises(DuplicateSignal):  # case a is over, and had it; b must not get it
            await engine.publish("paid", {"cents": 9}, about={"order": "17"}, key="p")
        assert (await engine.publish("paid", {"cents": 9}, about={"order": "17"}, key="new")).accepted == (
            "b",
        )
        await engine.start_case("shop", inputs=inputs, case_id="d")
        with pytest.raises(DuplicateSignal):  # it was published before d started
            await engine.publish("paid", {"cents": 9}, about={"order": "17"}, key="new")
    clean(path)


async def test_a_key_tells_events_of_one_case_apart_before_it_starts_too(tmp_path: Path) -> None:
    agent, path = shop(), tmp_path / "c.db"
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        for case in ("a", "b"):
            told = await engine.publish("paid", {"cents": 6}, about={"order": f"order-{case}"}, key="1")
            assert told.waits == "yes"
            with pytest.raises(DuplicateSignal):
                await engine.publish("paid", {"cents": 6}, about={"order": f"order-{case}"}, key="1")
        for case in ("a", "b"):
            await begun(engine, agent, case)
            assert await engine.signal(case, "confirmed") == "accepted"
            assert inbox(engine.read, case) == [("paid", "accepted"), ("confirmed", "accepted")]
    clean(path)


async def test_what_a_case_takes_along_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    agent, path = shop(), tmp_path / "c.db"
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        await engine.publish("paid", {"cents": 6}, about={"order": "order-c"}, key="1")
        await begun(engine, agent)
        await engine.run_until_idle()
        assert inbox(engine.read, "c") == [("paid", "expired")]
        assert engine.clock.now() == START + KEEP
    clean(path)


def test_what_was_published_long_ago_costs_nothing(tmp_path: Path) -> None:
    """Of case 0 there is all that was ever published: nothing on the way of a case goes through that."""
    asyncio.run(_empty(tmp_path / "c.db"))
    with closing(sqlite3.connect(tmp_path / "c.db")) as db:

        def index(query: str) -> str:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
            return str(next(p.split("INDEX ")[1].split(" ")[0] for p in plan if "provenet_inbox" in p))

        waiting = "FROM provenet_inbox i WHERE i.case_no = 0 AND i.status = 'buffered'"
        assert index(f"SELECT 1 {waiting} LIMIT 1") == "provenet_inbox_waiting"
        assert index(f"SELECT id {waiting} AND about = 'a' ORDER BY +id") == "provenet_inbox_awaited"
        newest = "status = 'accepted' AND event_at IS NOT NULL"
        found = f"SELECT MAX(event_at) FROM provenet_inbox WHERE case_no = 1 AND event = 'e' AND {newest}"
        assert index(found) == "provenet_inbox_newest"


async def _empty(path: Path) -> None:
    async with Engine.open(path):
        pass


async def test_what_waits_for_no_case_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", shop()
    clock = VirtualClock(START)
    async with opened(agent, path, clock=clock) as engine:
        deployed(engine, agent)
        await engine.publish("paid", {"cents": 9}, about={"order": "17"}, key="p")
        clock.jump(START + KEEP)
        await engine.start_case("shop", inputs={"placed": Item(id="17", n=5)}, case_id="c")
        assert engine.read.case("c").inbox == ()
        await engine.publish("paid", {"cents": 9}, about={"order": "18"}, key="p")
    with closing(sqlite3.connect(path)) as db:
        statuses = db.execute("SELECT status FROM provenet_inbox ORDER BY id").fetchall()
    assert statuses == [("expired",), ("buffered",)]
    clean(path)


@pytest.mark.attack(
    "a flood of events for cases that never start", "refused once so many wait; what is left of them ages out"
)
@pytest.mark.parametrize("name", ["file", pytest.param("server", marks=pytest.mark.postgres)])
async def test_a_flood_for_unknown_keys_is_bounded(
    tmp_path: Path, name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = request.getfixturevalue("postgres") if name == "server" else tmp_path / "c.db"
    monkeypatch.setattr(early, "MOST_WAITING", 5)
    clock = VirtualClock(START)
    async with opened(shop(), path, clock=clock) as engine:
        deployed(engine, shop())
        store = engine._store

        async def flood(first: int, event: str = "paid") -> int:
            taken, brings = 0, {"cents": 9} if event == "paid" else None
            for i in range(first, first + 12):
                with suppress(SignalRefused):
                    await engine.publish(event, brings, about={"order": f"{event}{i}"}, key=f"{i}")
                    taken += 1
            with pytest.raises(SignalRefused, match="5 of them wait for cases already"):
                await engine.publish(event, brings, about={"order": "one more"})
            return taken

        assert await flood(0) == 5
        assert await flood(0, "shipped") == 5  # another event has room of its own
        for day in range(1, 5):
            clock.jump(START + day * KEEP)
            assert await flood(100 * day) == 5
        assert dict(store.rows("SELECT status, COUNT(*) FROM provenet_inbox GROUP BY status")) == {
            "buffered": 10,
            "expired": 5,
        }
        newest = store.rows("SELECT about FROM provenet_inbox WHERE status = 'expired' ORDER BY id")
        assert [about for (about,) in newest] == [f'{{"order":"paid{i}"}}' for i in range(300, 305)]
    clean(path)


async def test_what_was_published_goes_with_the_last_case_that_it_was_for(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with opened(shop("second"), path) as engine:
        await begun(engine, shop("second"))
        await engine.start_case("shop", inputs={"placed": Item(id="order-c", n=1)}, case_id="d")
        order = {"order": "order-c"}
        for event, brings in (("confirmed", None), ("paid", {"cents": 99})):
            await engine.publish(event, brings, about=order, key=event)
        await engine.signal("c", "shipped")
        statement = "SELECT COUNT(*) FROM provenet_inbox WHERE case_no = 0"
        gone = Retention({"done": timedelta(0)})
        assert (await engine.prune(gone)).cases == 1
        assert engine._store.rows(statement) == [(2,)]
        with pytest.raises(DuplicateSignal):  # it is known as long as a case is there that it was for
            await engine.publish("confirmed", about=order, key="confirmed")
        await engine.signal("d", "shipped")
        assert (await engine.prune(gone)).cases == 1
        assert engine._store.rows(statement) == [(0,)]
    clean(path)


async def test_a_request_carries_keys_in_the_place_of_a_case(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", shop()
    async with opened(agent, path) as engine:
        await begun(engine, agent)
    command = {"do": "signal", "event": "confirmed", "about": {"order": "order-c"}, "key": "k"}
    assert "case c has taken it" in (await asyncio.to_thread(ask, path, command))["done"]
    command = {"do": "signal", "case": "c", "event": "shipped", "at": START.isoformat()}
    assert (await asyncio.to_thread(ask, path, command))["status"] == "kept"
    with pytest.raises(Exception, match="is no time"):
        await asyncio.to_thread(ask, path, command | {"at": "noon"})
    clean(path)


@pytest.mark.postgres
async def test_other_processes_are_asked_and_nothing_falls_between_two(postgres: str) -> None:
    agent = shop()
    async with opened(agent, postgres) as one, opened(agent, postgres) as two:
        deployed(one, agent)
        await two.attend()
        await one.start_case("shop", inputs={"placed": Item(id="17", n=1)}, case_id="mine")
        await two.start_case("shop", inputs={"placed": Item(id="17", n=1)}, case_id="yours")
        found = await one.publish("confirmed", about={"order": "17"}, key="k")
        assert (found.accepted, found.asked) == (("mine",), ("yours",))
        await two.attend()
        assert inbox(two.read, "yours") == [("confirmed", "accepted")]
        again = await one.publish("confirmed", about={"order": "17"}, key="k")
        assert (again.duplicate, again.asked) == (("mine",), ("yours",))
        await two.attend()
        assert inbox(two.read, "yours") == [("confirmed", "accepted"), ("confirmed", "duplicate")]

        # Published by one before the start that another is about to commit can be seen.
        two._holding.start("shop", {"placed": Item(id="19", n=1)}, "late", "")
        assert (await one.publish("paid", {"cents": 9}, about={"order": "19"}, key="p")).waits == "yes"
        await two._store.durable()
        assert one.missed() == two.missed() == ["late"]
        await two.attend()
        assert inbox(two.read, "late") == [("paid", "buffered")]
        assert one.missed() == []
    clean(postgres)


# any order, any number of times


def meters(most: int) -> Agent:
    """A meter counts notes once it is open, and closes after so many."""

    def make(net: NetBuilder) -> None:
        shut, done = net.entry("shut", Item), net.final("done", Item)
        counting = net.place("counting", Item)
        net.event("open", event="opened", takes={"i": shut}, puts={counting: "i"})
        net.event(
            "note",
            event="noted",
            takes={"i": counting},
            brings={"p": Payment},
            when=lambda i: i.n < most,
            puts={counting: lambda i: i.with_(n=i.n + 1)},
        )
        net.route("close", takes={"i": counting}, when=lambda i: i.n >= most, puts={done: "i"})
        net.delivery("noted", early="keep")
        net.delivery("opened", early="keep")
        net.known_by("meter", at=shut, value=lambda it: it.id)

    return built(make, "meters")


NOTES = ("n1", "n2", "n3")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_and_any_repetition_lead_to_the_same(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Deliveries by id and by key, before and after the start, twice, and with crashes between them."""
    sent = [*NOTES, "open"]
    acts = data.draw(st.permutations([*sent, *data.draw(st.lists(st.sampled_from(sent), max_size=6))]))
    ways = data.draw(st.lists(st.sampled_from(("signal", "publish")), min_size=len(acts), max_size=len(acts)))
    starts = data.draw(st.integers(0, len(acts)))
    crashes = data.draw(st.sets(st.integers(0, len(acts)), max_size=3))
    path = tmp_path_factory.mktemp("events") / "c.db"
    agent = meters(len(NOTES))

    async def go(first: int, last: int) -> None:
        engine = opened(agent, path)
        async with engine:
            deployed(engine, agent)
            for i in range(first, last):
                if i == starts:
                    await engine.start_case("meters", inputs={"shut": Item(id="m", n=0)}, case_id="c")
                if i == len(acts):
                    break
                await deliver(engine, acts[i], ways[i] if i >= starts else "publish")
            await engine.crash()

    async def deliver(engine: Engine, key: str, way: str) -> None:
        event, payload = ("opened", None) if key == "open" else ("noted", {"cents": 1})
        try:
            if way == "signal":
                await engine.signal("c", event, payload, key=key)
            else:
                await engine.publish(event, payload, about={"meter": "m"}, key=key)
        except (DuplicateSignal, CaseClosed):
            pass

    cuts = sorted({0, *crashes, len(acts) + 1})
    for first, last in pairwise(cuts):
        asyncio.run(go(first, last))
    read = Reader(path)
    accepted = Counter(i["key"] for i in read.case("c").inbox if i["status"] == "accepted")
    assert accepted == dict.fromkeys(sent, 1)
    assert read.counts() == {"done": 1}
    assert read.case("c").case.outcome == {"id": "m", "n": len(NOTES)}
    clean(path)


# what the audit finds


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with an event taken early, one kept, one late and one taken, in two cases."""
    path = tmp_path_factory.mktemp("audited") / "c.db"

    async def go() -> None:
        agents = [shop(), readings()]
        async with opened(agents, path) as engine:
            await begun(engine, agents[0])
            await engine.signal("c", "paid", Payment(cents=9), key="p")
            await engine.signal("c", "confirmed", key="k")
            await engine.signal("c", "paid", Payment(cents=8), key="q")
            await begun(engine, agents[1], "m")
            await engine.signal("m", "read", Payment(cents=9), key="1", at=START)
            with pytest.raises(LateSignal):
                await engine.signal("m", "read", Payment(cents=9), key="2", at=START - 2 * HOUR)

    asyncio.run(go())
    clean(path)
    return path


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM provenet_inbox WHERE key = 'p'", "event 'paid' was taken, and is not in the inbox"),
        ("UPDATE provenet_inbox SET seq = 2 WHERE key = 'p'", "and the log has not"),
        ("UPDATE provenet_inbox SET key = 'x' WHERE key = 'p'", "and the log has not"),
        ("UPDATE provenet_inbox SET payload = '{}' WHERE key = 'p'", "brought something else"),
        ("UPDATE provenet_inbox SET came = 3 WHERE key = 'p'", "was taken before it came"),
        ("UPDATE provenet_inbox SET came = 30 WHERE key = 'q'", "came after entry 30"),
        ("UPDATE provenet_inbox SET status = 'accepted' WHERE key = 'q'", "of the inbox are not in the log"),
        ("UPDATE provenet_inbox SET status = 'odd' WHERE key = 'q'", "which is no status"),
        ("UPDATE provenet_inbox SET status = 'accepted', seq = 1 WHERE key = 'q'", "and the log has not"),
        ("UPDATE provenet_inbox SET event = 'shipped' WHERE key = 'q'", "something waits for it"),
        ("UPDATE provenet_inbox SET seq = 2 WHERE key = 'q'", "and names an entry"),
        ("UPDATE provenet_inbox SET about = '{}' WHERE key = 'q'", "which it is not known by"),
        ("UPDATE provenet_inbox SET status = 'refused' WHERE key = '1'", "is not in the inbox"),
        ("UPDATE provenet_inbox SET event_at = event_at - 9000000000 WHERE key = '1'", "not late"),
        ("UPDATE provenet_inbox SET status = 'expired' WHERE key = '2'", "late, and is not so"),
        ("UPDATE provenet_inbox SET event_at = event_at + 9000000000 WHERE key = '2'", "not late"),
        ("DELETE FROM provenet_about", "found by are not those"),
        ("UPDATE provenet_about SET about = '{}'", "found by are not those"),
        ("INSERT INTO provenet_about VALUES (77, '{}')", "rows of case number 77"),
        ("UPDATE provenet_inbox SET case_no = 77 WHERE key = 'q'", "rows of case number 77"),
        ("UPDATE provenet_inbox SET case_no = 0 WHERE key = 'q'", "an event of no case that is 'buffered'"),
    ],
)
@pytest.mark.attack(
    "tampered inbox", "found by the audit: each event taken made an entry, and none other did"
)
def test_the_audit_finds_what_was_changed(
    tmp_path: Path, one_of_each: Path, statement: str, said: str
) -> None:
    path = Path(shutil.copy(one_of_each, tmp_path / "c.db"))
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    found = [str(p) for p in audit(path).problems]
    assert any(said in p for p in found), found


def test_a_commit_fails_where_a_kept_event_was_changed_behind_the_engine(tmp_path: Path) -> None:
    path, agent = tmp_path / "c.db", shop()

    async def go() -> None:
        async with opened(agent, path) as engine:
            await begun(engine, agent)
            await engine.signal("c", "paid", Payment(cents=9), key="p")
            with closing(sqlite3.connect(path)) as db:
                db.execute("UPDATE provenet_inbox SET status = 'refused'")
                db.commit()
            await engine.signal("c", "confirmed", key="k")

    with pytest.raises(Exception, match="changed"):
        asyncio.run(go())
    assert [x.transition for x in Reader(path).log("c")] == [""]
