"""Cases in flight move to another version of their net, where that is covered by what was proved of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.engine import Engine, Reader, VirtualClock, audit, faults
from provenet.engine.errors import MigrationRefused, NotDeployed
from provenet.engine.fork import fork
from provenet.engine.marking_map import MarkingMap
from provenet.engine.migrate import Migration
from provenet.engine.reaching import EVIDENCE, Evidence, Reach
from provenet.nets.build import NetBuilder
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Choice, Perform
from provenet.sdb.handlers import Agent, Effect, Request
from provenet.sdb.reject import REJECT
from tests.engine.kit import START, Item, built, deployed, opened
from tests.engine.orders import orders, person, proofs, run
from tests.engine.test_random import World, agents, crashes, go, scripts
from tests.support.ledger import Ledger

SAME = MarkingMap()


def renewal(
    *,
    limit: int = 30,
    days: int = 7,
    wait: str = "waiting",
    small: str = "small",
    way_out: str = "timer",
    kind: Any = Item,
) -> Agent:
    """Small items wait some days and are done; large ones wait for a person."""

    def make(net: NetBuilder) -> None:
        entry = net.entry("in", kind)
        waiting, review = net.place(wait, kind), net.place("review", kind)
        done = net.final("done", kind)
        net.route(small, takes={"x": entry}, puts={waiting: "x"}, when=lambda x: x.n <= limit)
        net.route("large", takes={"x": entry}, puts={review: "x"}, when=lambda x: x.n > limit)
        if way_out == "timer":
            net.timer("end", after=timedelta(days=days), takes={"x": waiting}, puts={done: "x"})
        net.timer("give up", after=timedelta(days=30), takes={"x": review}, puts={done: "x"})

    return built(make, "renewal")


def moved(
    database: Path,
    old: Agent,
    new: Agent,
    plan: MarkingMap = SAME,
    *,
    accept: Evidence = "history",
    go_on: bool = True,
    dry_run: Any = "no",
) -> Migration:
    """Deploy the new version, move, and run on."""

    async def move() -> Migration:
        async with opened([old, new], database, takes="asked") as engine:
            deployed(engine, new)
            return await engine.migrate(
                content_hash(old.net), content_hash(new.net)[:10], plan, accept=accept, dry_run=dry_run
            )

    async def run_on() -> None:
        async with opened([old, new], database) as engine:
            await engine.run_until_idle()

    made = asyncio.run(move())
    if go_on:
        asyncio.run(run_on())
    return made


def started(database: Path, agent: Agent, inputs: list[Any], *, days: float = 1) -> Path:
    """Cases of the old version, that far."""

    async def begin() -> None:
        async with opened(agent, database) as engine:
            deployed(engine, agent)
            entry = agent.net.entries[0].place
            await engine.start_cases(agent.net.name, [(f"c{i}", {entry: x}) for i, x in enumerate(inputs)])
            await engine.run_until_idle(until=engine.clock.now() + timedelta(days=days))

    asyncio.run(begin())
    return database


def clean(database: Path) -> None:
    result = audit(database)
    assert result.clean, [str(p) for p in result.problems[:5]]


def items(*numbers: int) -> list[Item]:
    return [Item(id=str(n), n=n) for n in numbers]


def test_cases_whose_history_is_one_of_the_new_net_move(tmp_path: Path) -> None:
    old, new = renewal(), renewal(limit=20, days=14)
    database = started(tmp_path / "x.db", old, items(10, 25, 99))
    before = list(Reader(database).export())
    tried = moved(database, old, new, dry_run="yes", go_on=False)
    assert list(Reader(database).export()) == before
    assert (tried.done, tried.moving, tried.staying) == ("no", 2, 1)
    found = moved(database, old, new, go_on=False)
    assert found.groups == tried.groups
    stays = next(g for g in found.groups if not g.moves)
    assert stays.cases == ("c1",)
    assert "entry 2, 'small'" in stays.why
    assert "guard" in stays.why
    assert {g.evidence for g in found.groups if g.moves} == {"history"}
    nets = {c.id: c.net_hash for c in Reader(database).cases()}
    assert nets["c0"] == nets["c2"] == content_hash(new.net)
    assert nets["c1"] == content_hash(old.net)
    # The timer counts from when the token came, by the new net's delay.
    due = {c: Reader(database).case(c).timers[0][1] - START for c in ("c0", "c1", "c2")}
    assert due == {"c0": timedelta(days=14), "c1": timedelta(days=7), "c2": timedelta(days=30)}
    clean(database)

    async def finish() -> None:
        async with opened([old, new], database) as engine:
            await engine.run_until_idle()

    asyncio.run(finish())
    assert {c.status for c in Reader(database).cases()} == {"done"}
    assert [x.kind for x in Reader(database).log("c0")] == ["start", "fire", "migrate", "fire"]
    assert "moved from net" in Reader(database).log("c0")[2].text
    clean(database)
    # A fork goes on from before the move and from after it; only the latter is on the new net.
    for at, rings in ((2, timedelta(days=7)), (3, timedelta(days=14))):
        simulated = fork(database, "c0", at, tmp_path / f"{at}.db")
        assert simulated.simulated[-1].at - START == rings
        assert simulated.differs is (at == 2)
        clean(tmp_path / f"{at}.db")


def test_a_marking_that_another_run_reaches_needs_to_be_accepted(tmp_path: Path) -> None:
    old, new = renewal(), renewal(small="tiny", wait="parking", limit=20)
    plan = MarkingMap.of({"places": {"waiting": "parking"}})
    database = started(tmp_path / "x.db", old, items(10, 25))
    refused = moved(database, old, new, plan, go_on=False)
    assert refused.moving == 0
    by_case = {c: g for g in refused.groups for c in g.cases}
    assert "no such transition" in by_case["c0"].why
    assert "--accept state" in by_case["c0"].why
    # No run of the new net brings a 25 there: its graph does not tell, and no run is found.
    assert "--accept assumed" in by_case["c1"].why
    found = moved(database, old, new, plan, accept="state", go_on=False)
    assert [(g.cases, g.evidence) for g in found.groups if g.moves] == [(("c0",), "state")]
    found = moved(database, old, new, plan, accept="assumed")
    assert [(g.cases, g.evidence) for g in found.groups if g.moves] == [(("c1",), "assumed")]
    said = [x.data["reached"] for c in ("c0", "c1") for x in Reader(database).log(c) if x.kind == "migrate"]
    assert said == ["state", "assumed"]
    clean(database)


def test_a_renamed_transition_is_told_by_the_map(tmp_path: Path) -> None:
    old, new = renewal(), renewal(small="tiny", wait="parking")
    plan = MarkingMap.of({"places": {"waiting": "parking"}, "transitions": {"small": "tiny"}})
    database = started(tmp_path / "x.db", old, items(10, 20))
    assert [g.evidence for g in moved(database, old, new, plan).groups] == ["history"]
    clean(database)


def test_what_no_run_reaches_is_never_accepted(tmp_path: Path) -> None:
    old, new = renewal(), renewal()
    # Two tokens, where every run of the new net has one.
    plan = MarkingMap.of({"add": {"review": [{"id": "x", "n": 50}]}})
    new = replace(new, net=replace(new.net, places=tuple(replace(p, label="v2") for p in new.net.places)))
    database = started(tmp_path / "x.db", old, items(10))
    found = moved(database, old, new, plan, accept="assumed", go_on=False)
    assert (found.moving, "no run of the new net reaches" in found.groups[0].why) == (0, True)


def test_nothing_moves_to_where_it_could_never_end(tmp_path: Path) -> None:
    old, new = renewal(), renewal(way_out="none")
    database = started(tmp_path / "x.db", old, items(10, 99))
    for accept in EVIDENCE:
        found = moved(database, old, new, accept=accept, go_on=False)
        stays = [(g.cases, g.why) for g in found.groups if not g.moves]
        assert stays == [(("c0",), "no final marking can be reached from there")]
    clean(database)


class Graded(Item):
    grade: int


def test_tokens_are_converted_by_an_expression(tmp_path: Path) -> None:
    old, new = renewal(), renewal(kind=Graded)
    with pytest.raises(MigrationRefused, match="tokens of 'waiting' are"):
        moved(
            started(tmp_path / "y.db", old, items(10)),
            old,
            new,
            MarkingMap.of({"places": {"waiting": "waiting"}}),
        )
    way = "Graded{id: it.id, n: it.n, grade: it.n + 1}"
    places = {p: {"to": p, "value": way} for p in ("in", "waiting")}
    database = started(tmp_path / "x.db", old, items(10, 99))
    found = moved(database, old, new, MarkingMap.of({"places": places}))
    by_case = {c: g for g in found.groups for c in g.cases}
    assert by_case["c0"].evidence == "history"
    assert "place 'review' is not mapped" in by_case["c1"].why
    detail = Reader(database).case("c0")
    assert detail.case.outcome == {"id": "10", "n": 10, "grade": 11}
    clean(database)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"places": {"nowhere": "review"}}, "no place 'nowhere'"),
        ({"places": {"waiting": "nowhere"}}, "no place 'nowhere'"),
        ({"places": {"waiting": {"to": "review", "value": "it.m"}}}, "m"),
        ({"places": {"waiting": {"to": "review", "value": "it.n"}}}, "tokens of 'review' are"),
        ({"places": {"waiting": {"to": "review", "value": "(((("}}}, "expected"),
        ({"add": {"review": [3]}}, "does not fit"),
        ({"transitions": {"small": "tiny"}}, "no transition 'tiny'"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tmp_path: Path, data: Any, said: str) -> None:
    old, new = renewal(), renewal(days=8)
    database = started(tmp_path / "x.db", old, items(10))
    before = list(Reader(database).export())
    with pytest.raises(MigrationRefused, match=said):
        moved(database, old, new, MarkingMap.of(data), go_on=False)
    assert list(Reader(database).export()) == before


@pytest.mark.parametrize(
    "data", [[], {"x": {}}, {"places": []}, {"places": {"a": 3}}, {"places": {"a": {"value": "it"}}},
             {"add": {"a": 3}}, {"transitions": {"a": None}}]
)  # fmt: skip
def test_what_is_no_map_is_refused(data: Any) -> None:
    with pytest.raises(MigrationRefused):
        MarkingMap.of(data)


def test_maps_are_read_from_files(tmp_path: Path) -> None:
    data = {"places": {"a": "b", "c": {"to": "d", "value": "it.x"}, "e": None}, "add": {"f": [1]}}
    (tmp_path / "map.json").write_text(json.dumps(data))
    (tmp_path / "map.yaml").write_text(
        "places:\n  a: b\n  c: {to: d, value: it.x}\n  e: null\nadd:\n  f: [1]\n"
    )
    found = MarkingMap.read(tmp_path / "map.json")
    assert found == MarkingMap.read(tmp_path / "map.yaml")
    assert found.to_json() == data
    (tmp_path / "bad.yaml").write_text("a: [")
    for name in ("nowhere.json", "bad.yaml", "map.yaml.txt"):
        with pytest.raises(MigrationRefused, match="cannot be read"):
            MarkingMap.read(tmp_path / name)


# effects in flight


class Post:
    """An outside that is away at first; keeps the keys that it was called with."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, int]] = []
        self.away = True

    async def run(self, request: Request) -> int:
        self.keys.append((request.key, request.payload))
        if self.away:
            raise ConnectionError("away")
        return 1


def sender(
    post: Post, *, name: str = "send", handler: str = "post", where: str = "sending", by: int = 0
) -> Agent:
    """A number is sent, then it is done."""
    effect = Effect(handler, post.run, payload=int, receipt=int, tries=None)

    def make(net: NetBuilder) -> None:
        entry, sending = net.entry("in", int), net.place(where, int)
        idle, done, lost = net.place("idle", int), net.final("done", int), net.place("lost", REJECT)
        net.rests(lost)
        net.route("intent", takes={"x": entry}, puts={sending: "x"})
        trigger = Perform(net.handle(handler, effect), None, tries=None)
        net.transition(
            name, takes={"x": sending}, puts={done: "receipt"}, brings={"receipt": int}, trigger=trigger
        )
        net.timer("rest", after=timedelta(days=1 + by), takes={"x": idle}, puts={done: "x"})

    return built(make, "sender")


def test_an_effect_in_flight_keeps_its_key_under_another_name(tmp_path: Path) -> None:
    post = Post()
    old, new = sender(post), sender(post, name="mail", where="mailing")
    database = started(tmp_path / "x.db", old, [7], days=0.01)
    (state,) = _rows(database, "SELECT state, transition FROM provenet_effect")
    assert state == ("intended", "send")
    (key,) = {k for k, _ in post.keys}
    plan = MarkingMap.of({"places": {"sending": "mailing"}, "transitions": {"send": "mail"}})
    found = moved(database, old, new, plan, go_on=False)
    assert [g.evidence for g in found.groups] == ["history"]
    clean(database)
    post.away = False

    async def finish() -> None:
        async with opened(new, database) as engine:
            await engine.run_until_idle()

    asyncio.run(finish())
    assert {k for k, _ in post.keys} == {key}
    assert _rows(database, "SELECT key, state, transition FROM provenet_effect") == [
        (key, "performed", "mail")
    ]
    assert Reader(database).counts() == {"done": 1}
    clean(database)


@pytest.mark.parametrize(
    ("change", "places", "said"),
    [
        ({"handler": "fax"}, {}, "is for effect 'fax'"),
        ({"by": 1}, {"sending": "idle"}, "where nothing is performed"),
        ({"by": 1}, {"sending": None}, "its token is let go"),
        ({"by": 1}, {"sending": {"to": "sending", "value": "it + 1"}}, "its payload would be another"),
    ],
)
def test_an_effect_in_flight_is_not_forgotten_nor_changed(
    tmp_path: Path, change: dict[str, Any], places: dict[str, Any], said: str
) -> None:
    post = Post()
    old, new = sender(post), sender(post, **change)
    database = started(tmp_path / "x.db", old, [7], days=0.01)
    found = moved(database, old, new, MarkingMap.of({"places": places}), accept="assumed", go_on=False)
    assert [(g.moves, said in g.why) for g in found.groups] == [(False, True)], found.groups
    clean(database)


def test_no_effect_begins_by_being_moved_to(tmp_path: Path) -> None:
    post = Post()
    old, new = renewal(), sender(post)
    plan = MarkingMap.of(
        {"places": {"waiting": {"to": "sending", "value": "it.n"}, "review": {"to": "idle", "value": "it.n"}}}
    )
    database = started(tmp_path / "x.db", old, items(10))
    found = moved(database, old, new, plan, accept="assumed")
    assert "it would begin effect 'post'" in found.groups[0].why
    assert post.keys == []


# crashes


@pytest.mark.parametrize("nth", range(1, 9))
@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
def test_a_crash_leaves_a_case_on_one_version_or_the_other(tmp_path: Path, point: str, nth: int) -> None:
    old, new = renewal(), renewal(days=14)
    database = started(tmp_path / "x.db", old, items(10, 20, 99))
    faults.plan(f"{point}:raise:{nth}")
    try:
        moved(database, old, new, go_on=False)
    except faults.FaultInjected:
        pass
    finally:
        faults.plan(None)
    clean(database)
    moved(database, old, new)
    assert {c.net_hash for c in Reader(database).cases()} == {content_hash(new.net)}
    assert Reader(database).counts() == {"done": 3}
    clean(database)


def test_orders_in_every_state_have_the_same_effects_whether_they_move_or_not(tmp_path: Path) -> None:
    here, there = tmp_path / "here.db", tmp_path / "there.db"
    ledger = Ledger(tmp_path / "here-ledger.db")
    faults.plan("after-intent:raise:20")
    try:
        asyncio.run(run(str(here), ledger, 24, at_once=3))
    except faults.FaultInjected:
        pass
    finally:
        faults.plan(None)
    states = {s for (s,) in _rows(here, "SELECT state FROM provenet_effect")}
    assert "intended" in states
    places = {p for c in Reader(here).cases() for p in Reader(here).case(c.id).marking if c.status != "done"}
    assert {"review", "quote.committing"} <= places
    shutil.copy(here, there)
    shutil.copy(tmp_path / "here-ledger.db", tmp_path / "there-ledger.db")
    other = Ledger(tmp_path / "there-ledger.db")
    asyncio.run(run(str(here), ledger, 24))
    old, new = orders(other), labelled(orders(other), "v2")
    found = moved(there, old, new, go_on=False)
    assert (found.staying, {g.evidence for g in found.groups}) == (0, {"history"}), found.groups
    clean(there)

    async def finish() -> None:
        clock = VirtualClock(START)
        async with opened([old, new], there, clock=clock, people=person(clock)) as engine:
            await engine.run_until_idle()

    asyncio.run(finish())
    assert other.effects() == ledger.effects()
    assert other.keys() == ledger.keys()
    assert Reader(there).counts() == Reader(here).counts()
    clean(there)


# along the identity


def labelled(agent: Agent, label: str) -> Agent:
    """The same agent on a net of another hash."""
    first, *rest = agent.net.places
    return replace(agent, net=replace(agent.net, places=(replace(first, label=label), *rest)))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(agents(), scripts, crashes, st.integers(1, 2))
def test_moving_along_the_identity_changes_nothing(
    case: tuple[Agent, World], script: list[tuple[str, int, int]], points: list[tuple[str, int]], times: int
) -> None:
    agent, world = case
    versions = [agent, *(labelled(agent, f"v{i}") for i in range(2, 2 + times))]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Random nets are seldom sound, and where cases may not go is for other tests.
        patch.setattr(Reach, "can_end", lambda *_: "")
        here, there = Path(folder) / "here.db", Path(folder) / "there.db"
        for point, nth in points:
            faults.plan(f"{point}:raise:{nth}")
            try:
                asyncio.run(_until(agent, here, script))
            except faults.FaultInjected:
                pass
            finally:
                faults.plan(None)
        asyncio.run(_until(agent, here, script))
        shutil.copy(here, there)
        effects = dict(world.effects)
        asyncio.run(go(agent, here, [], 2))
        really, world.effects = world.effects, effects
        for old, new in pairwise(versions):
            found = moved(there, old, new, go_on=False)
            assert all(g.evidence == "history" for g in found.groups), found.groups
            clean(there)
        asyncio.run(go(versions[-1], there, [], 2))
        clean(there)
        assert world.effects == really
        assert _ends(here) == _ends(there)
        for view in Reader(there).cases():
            for seq in range(1, view.firings + 1):
                Reader(there).case_at(view.id, seq)


async def _until(agent: Agent, database: Path, script: list[tuple[str, int, int]]) -> None:
    """Start the cases, let the outside speak, and stop in the midst of it."""
    async with opened(agent, database) as engine:
        if not engine.read.nets():
            deployed(engine, agent)
        await engine.start_cases("small", [(f"c{i}", {"p0": i}) for i in range(2)], existing="skip")
        await engine.run_until_idle(until=engine.clock.now() + timedelta(hours=1 + len(script)))


def _ends(database: Path) -> list[Any]:
    """Where every case ended; its log but for the moves, whose numbers only shift."""
    found = []
    for line in Reader(database).export():
        case = json.loads(line)
        log = [(e["kind"], e["transition"], e["at"]) for e in case["log"] if e["kind"] != "migrate"]
        view = case["case"]
        found.append([view["id"], view["status"], view["outcome"], case["marking"], log])
    return found


# what else


@pytest.mark.attack("tampered move to another version", "found by the audit")
def test_tampering_with_a_move_is_found(tmp_path: Path) -> None:
    old, new = renewal(), renewal(days=14)
    database = started(tmp_path / "x.db", old, items(10, 99))
    moved(database, old, new, go_on=False)
    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "to another net": lambda d: d.update({"to": d["from"]}),
        "from another net": lambda d: d.update({"from": "0" * 64}),
        "another map": lambda d: d.update(map={"places": {"waiting": "review"}}),
        "another token": lambda d: d.update(moved=[[1, "review", {"id": "1", "n": 1}]]),
    }
    for name, change in changes.items():
        copy = tmp_path / "copy.db"
        shutil.copy(database, copy)
        with closing(sqlite3.connect(copy)) as db:
            (text,) = db.execute("SELECT data FROM provenet_event WHERE kind = 'migrate'").fetchone()
            data = json.loads(text)
            change(data)
            db.execute(
                "UPDATE provenet_event SET data = ? WHERE kind = 'migrate'",
                (json.dumps(data, separators=(",", ":")),),
            )
            db.commit()
        problems = [str(p) for p in audit(copy).problems]
        assert any("hash chain" in p for p in problems), name
        assert len({p.partition(":")[0] for p in problems}) > 1, (name, problems)
    with closing(sqlite3.connect(database)) as db:
        db.execute("UPDATE provenet_case SET net = ?", (content_hash(old.net),))
        db.commit()
    assert any("its log on" in p.what for p in audit(database).problems)


def test_versions_are_named_by_hash_or_the_latest_by_name(tmp_path: Path) -> None:
    old, new = renewal(), renewal(days=14)
    database = started(tmp_path / "x.db", old, items(10))

    async def ask(first: str, second: str, *agents: Agent) -> Migration:
        async with opened(agents, database) as engine:
            deployed(engine, new)
            return await engine.migrate(first, second, SAME, dry_run="yes")

    here, there = content_hash(old.net), content_hash(new.net)
    assert asyncio.run(ask(here[:8], "renewal", old, new)).new == there
    for first, second in (("xyz", "renewal"), (here, "nonesuch"), ("", there), (there, "renewal")):
        with pytest.raises(MigrationRefused):
            asyncio.run(ask(first, second, old, new))
    with pytest.raises(NotDeployed):
        asyncio.run(ask(here, there, new))


def test_a_parked_case_stays_parked(tmp_path: Path) -> None:
    post = Post()
    old, new = sender(post), sender(post, by=3)
    database = started(tmp_path / "x.db", old, [7], days=0.01)

    async def park() -> None:
        async with Engine.open(database, agents=[old], clock=VirtualClock(START)) as engine:
            live = engine._runner.cases["c0"]
            engine._runner.park(live, "look at it")
            await engine._store.durable()

    asyncio.run(park())
    assert moved(database, old, new).moving == 1
    assert Reader(database).counts() == {"parked": 1}
    clean(database)
    post.away = False

    async def resume() -> None:
        async with opened(new, database) as engine:
            await engine.resume("c0")
            await engine.run_until_idle()

    asyncio.run(resume())
    assert Reader(database).counts() == {"done": 1}
    assert len({k for k, _ in post.keys}) == 1
    clean(database)


def decided(*, away: str) -> Agent:
    """Somebody decides; or, on the way round, nobody has to."""

    def make(net: NetBuilder) -> None:
        entry, idle, done = net.entry("in", int), net.place("idle", int), net.final("done", int)
        net.transition("yes", takes={"x": entry}, puts={done: "x"}, trigger=Choice("sign", "yes", "lead"))
        net.route("skip", takes={"x": entry}, puts={idle: "x"}, when=lambda x: x == 3)
        net.timer(away, after=timedelta(days=1), takes={"x": idle}, puts={done: "x"})

    return built(make, "decided")


@pytest.mark.parametrize("parked", ["no", "yes"])
def test_tasks_of_the_old_net_are_withdrawn(tmp_path: Path, parked: str) -> None:
    old, new = decided(away="rest"), decided(away="leave")
    database = started(tmp_path / "x.db", old, [7])
    assert [t.task for t in Reader(database).tasks()] == ["sign"]

    async def stop() -> None:
        async with opened(old, database) as engine:
            engine._runner.park(engine._runner.cases["c0"], "look at it")
            await engine._store.durable()

    async def finish() -> None:
        async with opened(new, database) as engine:
            if parked == "yes":
                await engine.resume("c0")
            await engine.run_until_idle()

    if parked == "yes":
        asyncio.run(stop())
    plan = MarkingMap.of({"places": {"in": "idle"}})
    found = moved(database, old, new, plan, accept="assumed", go_on=False)
    assert found.moving == 1, found.groups
    assert Reader(database).tasks() == []
    clean(database)
    asyncio.run(finish())
    assert Reader(database).counts() == {"done": 1}
    assert {t.status for t in Reader(database).tasks(status=None)} == {"withdrawn"}
    clean(database)


@pytest.mark.postgres
def test_cases_move_on_postgresql(postgres: str) -> None:
    old, new = renewal(), renewal(limit=20, days=14)

    async def run() -> Migration:
        async with opened([old, new], postgres) as engine:
            deployed(engine, old)
            await engine.start_cases("renewal", [(f"c{n}", {"in": Item(id="x", n=n)}) for n in (10, 25, 99)])
            await engine.run_until_idle(until=START + timedelta(days=1))
            engine.deploy(new, proofs(new.net))
            made = await engine.migrate(content_hash(old.net), "renewal", SAME)
            await engine.run_until_idle()
            return made

    found = asyncio.run(run())
    assert (found.moving, found.staying) == (2, 1)
    assert Reader(postgres).counts() == {"done": 3}
    assert audit(postgres).clean


def _rows(database: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(statement).fetchall()
