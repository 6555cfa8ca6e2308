"""The policy in force: a stricter version stops what an older one let pass, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from provenet.engine import Engine, Reader, Throttle, VirtualClock, audit
from provenet.engine.faults import FaultInjected, plan
from provenet.engine.marking_map import MarkingMap
from provenet.nets.build import NetBuilder
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, EffectRefused, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga
from tests.engine.kit import START, Item, built, deployed, opened, rechained

DAY = timedelta(days=1)


class Shelf:
    """An outside that is written to, and what was written."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []

    async def put(self, request: Request) -> None:
        self.written.append((request.key, request.payload.n))


def publishing(shelf: Shelf, most: int, **parts: Any) -> Agent:
    """A person approves an item, then it is published if the policy lets it pass."""

    def make(net: NetBuilder) -> None:
        start = net.entry("start", Item)
        yes, no = net.place("yes", Item), net.final("no", Item)
        out, failed = net.final("out", Item), net.final("failed", Item)
        net.add(Human("look", takes=start, approve=yes, deny=no, who="pricing", within=90 * DAY))
        given: dict[str, Any] = {
            "verify": within(Item, lambda i: i.n <= most, name=f"at most {most}"),
            "commit": Effect("shelf.put", shelf.put, payload=Item),
            "on_failure": failed,
        }
        net.add(Contract("publish", takes=yes, gives=out, otherwise=no, **(given | parts)))

    return built(make)


async def waiting(engine: Engine, agent: Agent, *numbers: int) -> None:
    """Cases that wait for a person, with items of these numbers."""
    deployed(engine, agent)
    await engine.start_cases("small", [(f"c{n}", {"start": Item(id="a", n=n)}) for n in numbers])
    await engine.run_until_idle(until=engine.clock.now())


async def approved(engine: Engine, *cases: str) -> None:
    for case in cases:
        await engine.approve(case, "look", "dana@pricing")
    await engine.run_until_idle(until=engine.clock.now())


def places(reader: Reader) -> dict[str, str | None]:
    return {case.id: case.outcome_place for case in reader.cases()}


@pytest.mark.attack("an approval used after the policy became stricter", "the effect is not called")
async def test_a_stricter_version_stops_what_waits_and_lets_pass_the_rest() -> None:
    shelf = Shelf()
    old, new = publishing(shelf, 40), publishing(shelf, 30)
    async with opened([old, new]) as engine:
        await waiting(engine, old, 35, 20)
        deployed(engine, new)
        await approved(engine, "c35", "c20")
        assert [n for _, n in shelf.written] == [20]
        assert places(engine.read) == {"c35": "failed", "c20": "out"}
        case = engine.read.case("c35")
        (effect,) = case.effects
        assert effect["state"] == "failed"
        assert "was not called: the policy in force" in effect["reason"]
        last = case.log[-1].data
        assert last["note"] == {"policy": engine.read.nets()[-1]["hash"]}
        assert last["bring"]["signal"]["rule"] == "at most 30: n <= 30"
        assert audit(engine.read.engine).clean


async def test_a_looser_version_changes_nothing() -> None:
    shelf = Shelf()
    old, new = publishing(shelf, 40), publishing(shelf, 50)
    async with opened([old, new]) as engine:
        await waiting(engine, old, 35, 45)
        deployed(engine, new)
        await approved(engine, "c35", "c45")
        assert [n for _, n in shelf.written] == [35]
        assert places(engine.read) == {"c35": "out", "c45": "no"}
        assert audit(engine.read.engine).clean


async def test_the_version_counts_that_was_deployed_last() -> None:
    shelf = Shelf()
    old, strict = publishing(shelf, 40), publishing(shelf, 30)
    async with opened([old, strict]) as engine:
        await waiting(engine, old, 35)
        deployed(engine, strict)
        deployed(engine, old)
        await approved(engine, "c35")
        assert places(engine.read) == {"c35": "out"}


@pytest.mark.parametrize("other", ["another contract", "other types", "the agent is elsewhere"])
async def test_where_the_latest_version_has_no_such_verifier_the_cases_own_has_spoken(other: str) -> None:
    shelf = Shelf()
    old = publishing(shelf, 40)

    def renamed(net: NetBuilder) -> None:
        start, out, no = net.entry("start", Item), net.final("out", Item), net.final("no", Item)
        effect = Effect("shelf.put", shelf.put, payload=Item)
        never = within(Item, lambda i: i.n < 0, name="never")
        name = "publish it" if other == "another contract" else "publish"
        takes: Any = {"item": start, "also": net.place("also", Item)} if other == "other types" else start
        shape: dict[str, Any] = (
            {}
            if other != "other types"
            else {
                "verify": within(Item, lambda item: item.n < 0, name="never"),
                "emit": lambda item: item,
                "escalate": lambda item: item,
                "payload": lambda item: item,
            }
        )
        given: dict[str, Any] = {"verify": never} | shape
        net.add(Contract(name, takes=takes, gives=out, otherwise=no, commit=effect, **given))

    new = (
        built(renamed)
        if other != "the agent is elsewhere"
        else publishing(shelf, 0, verify=lambda proposal, inputs: False)
    )
    async with opened([old]) as engine:
        await waiting(engine, old, 35)
        deployed(engine, new)
        if other == "the agent is elsewhere":
            del engine._versions.programs[engine.read.nets()[-1]["hash"]]
        await approved(engine, "c35")
        assert places(engine.read) == {"c35": "out"}


async def test_a_verifier_that_is_a_function_is_asked_where_it_is_at_hand() -> None:
    shelf = Shelf()
    old = publishing(shelf, 40)
    new = publishing(shelf, 40, verify=lambda proposal, inputs: proposal.n != 35)
    async with opened([old, new]) as engine:
        await waiting(engine, old, 35, 34)
        deployed(engine, new)
        await approved(engine, "c35", "c34")
        assert places(engine.read) == {"c35": "failed", "c34": "out"}
        assert audit(engine.read.engine).clean


async def test_the_rules_of_a_version_count_also_where_its_agent_is_not_at_hand(tmp_path: Path) -> None:
    shelf = Shelf()
    old, new = publishing(shelf, 40), publishing(shelf, 30)
    async with opened([old, new], tmp_path / "x.db") as engine:
        await waiting(engine, old, 35)
        deployed(engine, new)
    async with opened(old, tmp_path / "x.db") as engine:
        await approved(engine, "c35")
        assert places(engine.read) == {"c35": "failed"}
        assert not shelf.written


async def test_without_a_way_out_the_case_is_parked_and_asked_again(tmp_path: Path) -> None:
    shelf = Shelf()
    old, strict, loose = (publishing(shelf, n, on_failure=None) for n in (40, 30, 50))
    async with opened([old, strict, loose], tmp_path / "x.db") as engine:
        await waiting(engine, old, 35)
        deployed(engine, strict)
        await approved(engine, "c35")
        case = engine.read.case("c35").case
        assert case.status == "parked"
        assert "was not called: the policy in force" in str(case.reason)
        assert "at most 30" in str(case.reason)
    for _ in range(2):  # also after a restart
        async with opened([old, strict, loose], tmp_path / "x.db") as engine:
            await engine.resume("c35")
            await engine.run_until_idle()
            assert engine.read.case("c35").case.status == "parked"
            assert audit(engine.read.engine).clean
    assert not shelf.written
    async with opened([old, strict, loose], tmp_path / "x.db") as engine:
        deployed(engine, loose)
        await engine.resume("c35")
        await engine.run_until_idle()
        assert places(engine.read) == {"c35": "out"}
        assert [n for _, n in shelf.written] == [35]
        assert audit(engine.read.engine).clean


@pytest.mark.parametrize(
    ("point", "nth", "idempotent"),
    [
        *(("before-commit", n, "yes") for n in (1, 2, 3, 4)),
        *(("after-commit", n, "no") for n in (1, 2, 3, 4)),
        ("after-intent", 1, "yes"),
        ("after-intent", 1, "no"),
        ("after-effect", 1, "yes"),
    ],
)
async def test_a_crash_anywhere_calls_nothing_that_is_refused(
    tmp_path: Path, point: str, nth: int, idempotent: Any
) -> None:
    shelf = Shelf()
    effect = Effect("shelf.put", shelf.put, payload=Item, idempotent=idempotent)
    old, new = (publishing(shelf, n, commit=effect) for n in (40, 30))
    async with opened([old, new], tmp_path / "x.db") as engine:
        await waiting(engine, old, 35, 20)
        deployed(engine, new)
    plan(f"{point}:raise:{nth}")
    try:
        for _ in range(6):
            try:
                async with opened([old, new], tmp_path / "x.db") as engine:
                    for task in engine.read.tasks():
                        await engine.approve(task.case, "look", "dana@pricing")
                    await engine.run_until_idle(until=engine.clock.now())
                    parked = engine.read.cases(status="parked")
                    for case in parked:
                        # Not to be called twice: somebody finds out that it was or was not performed.
                        happened = any(n == 20 for _, n in shelf.written)
                        failed = None if happened else "it was not"
                        await engine.settle(case.id, "shelf.put", who="ops", failed=failed)
                    await engine.run_until_idle(until=engine.clock.now())
            except FaultInjected:
                continue
            except Exception as error:
                if not isinstance(error.__context__, FaultInjected) and "crash" not in str(error):
                    raise
    finally:
        plan(None)
    found = places(Reader(tmp_path / "x.db"))
    assert found["c35"] == "failed"
    assert {n for _, n in shelf.written} <= {20}
    assert len({key for key, _ in shelf.written}) <= 1
    assert audit(tmp_path / "x.db").clean


async def test_an_effect_that_may_have_been_called_is_repeated_whatever_is_in_force(tmp_path: Path) -> None:
    shelf = Shelf()
    calls: list[str] = []

    async def flaky(request: Request) -> None:
        calls.append(request.key)
        if len(calls) == 1:
            raise ConnectionError("it may have happened")
        await shelf.put(request)

    effect = Effect("shelf.put", flaky, payload=Item)
    old, new = (publishing(shelf, n, commit=effect) for n in (40, 30))
    async with opened([old, new], tmp_path / "x.db") as engine:
        await waiting(engine, old, 35)
        await engine.approve("c35", "look", "dana@pricing")
        await engine.run_until_idle(until=engine.clock.now())
        assert len(calls) == 1
        deployed(engine, new)
    async with opened([old, new], tmp_path / "x.db") as engine:
        await engine.run_until_idle()
        assert places(engine.read) == {"c35": "out"}
        assert len(set(calls)) == 1


@pytest.mark.parametrize("restart", [False, True])
async def test_what_waits_for_a_throttle_is_asked_when_its_turn_comes(tmp_path: Path, restart: bool) -> None:
    shelf = Shelf()
    old, new = publishing(shelf, 40), publishing(shelf, 30)
    limit = Throttle(name="shelf", per=DAY, calls=1, handlers=frozenset({"shelf.put"}))
    clock = VirtualClock(START)
    options: dict[str, Any] = {"throttles": [limit], "clock": clock}
    async with opened([old, new], tmp_path / "x.db", **options) as engine:
        await waiting(engine, old, 10, 35)
        await approved(engine, "c10", "c35")
        assert [n for _, n in shelf.written] == [10]
        if not restart:
            deployed(engine, new)
            await engine.run_until_idle()
    if restart:
        async with opened([old, new], tmp_path / "x.db", **options) as engine:
            deployed(engine, new)
            await engine.run_until_idle()
    assert [n for _, n in shelf.written] == [10]
    assert places(Reader(tmp_path / "x.db")) == {"c10": "out", "c35": "failed"}
    assert audit(tmp_path / "x.db").clean


async def test_an_effect_in_the_transaction_is_asked_about_as_well() -> None:
    written: list[int] = []

    def write(request: Request) -> None:
        written.append(request.payload.n)

    effect = Effect("shelf.put", write, payload=Item, external=False)
    shelf = Shelf()
    for failed, status in ((None, "parked"), ("failed", "done")):
        given = {"commit": effect} | ({"on_failure": None} if failed is None else {})
        old, new = (publishing(shelf, n, **given) for n in (40, 30))
        async with opened([old, new]) as engine:
            await waiting(engine, old, 35, 20)
            deployed(engine, new)
            await approved(engine, "c20", "c35")
            assert written == [20]
            case = engine.read.case("c35").case
            assert (case.status, case.outcome_place) == (status, failed)
            assert audit(engine.read.engine).clean
        written.clear()


async def test_an_undo_is_never_asked_about() -> None:
    done: list[tuple[str, int]] = []

    async def put(request: Request) -> None:
        done.append(("put", request.payload.n))

    async def take(request: Request) -> None:
        done.append(("take", request.payload.n))

    async def refuse(request: Request) -> None:
        raise EffectRefused("no")

    def agent(most: int) -> Agent:
        def make(net: NetBuilder) -> None:
            start, put_out = net.entry("start", Item), net.place("put out", Item)
            yes, no = net.place("yes", Item), net.place("no", Item)
            end, failed = net.place("end", Item), net.place("failed", Item)
            closed = net.final("closed", Item)
            scope = net.add(Saga("scope", outcome=Item, completes=closed, aborts=closed))
            cap = within(Item, lambda i: i.n <= most, name=f"at most {most}")
            parts: dict[str, Any] = {"verify": cap, "saga": scope}
            put_it = Effect("put", put, payload=Item)
            undo = Effect("take", take, payload=Item)
            pay = Effect("pay", refuse, payload=Item)
            net.add(
                Contract(
                    "put", takes=start, gives=put_out, otherwise=failed, commit=put_it, undo=undo, **parts
                )
            )
            net.add(Human("look", takes=put_out, approve=yes, deny=no, who="pricing", within=90 * DAY))
            net.add(
                Contract(
                    "pay",
                    takes=yes,
                    gives=end,
                    otherwise=failed,
                    commit=pay,
                    irreversible=True,
                    on_failure=failed,
                    **parts,
                )
            )
            scope.complete(net, "done", takes={"i": end}, outcome="i")
            scope.abort(net, "failed it", takes={"i": failed}, outcome="i")
            scope.abort(net, "denied", takes={"i": no}, outcome="i")

        return built(make)

    old, new = agent(40), agent(30)
    async with opened([old, new]) as engine:
        await waiting(engine, old, 35)
        deployed(engine, new)
        await approved(engine, "c35")
        assert done == [("put", 35), ("take", 35)]
        assert engine.read.case("c35").case.status == "done"
        assert audit(engine.read.engine).clean


async def test_who_commands_from_outside_leaves_the_question_to_whoever_calls(tmp_path: Path) -> None:
    shelf = Shelf()
    old, new = publishing(shelf, 40), publishing(shelf, 30)
    async with opened([old, new], tmp_path / "x.db") as engine:
        await waiting(engine, old, 35)
    # Nobody calls anything here: the effect is intended, and then the policy becomes stricter.
    async with opened([old, new], tmp_path / "x.db", takes="asked") as engine:
        await engine.approve("c35", "look", "dana@pricing")
    async with opened([old, new], tmp_path / "x.db", takes="asked") as engine:
        deployed(engine, new)
    assert not shelf.written
    async with opened([old, new], tmp_path / "x.db") as engine:
        await engine.run_until_idle()
        assert places(engine.read) == {"c35": "failed"}
        assert not shelf.written
        assert audit(engine.read.engine).clean


FORGERIES = {
    "a version that is not there": ("policy", "0" * 64, "has no policy about publish.commit"),
    "a version that lets it pass": ("policy", "its own", "does not refuse it"),
    "another rule": ("rule", "at most 3: n <= 3", "does not refuse it"),
}


@pytest.mark.parametrize("what", FORGERIES)
async def test_a_refusal_that_is_none_is_found_also_in_a_sound_chain(tmp_path: Path, what: str) -> None:
    shelf = Shelf()
    old, new = publishing(shelf, 40), publishing(shelf, 30)
    async with opened([old, new], tmp_path / "x.db") as engine:
        await waiting(engine, old, 35)
        deployed(engine, new)
        await approved(engine, "c35")
        first, second = (n["hash"] for n in engine.read.nets())
    name, value, said = FORGERIES[what]
    was, value = (
        (second, first if value == "its own" else value)
        if name == "policy"
        else ("at most 30: n <= 30", value)
    )
    rechained(tmp_path / "x.db", "c35", lambda _, data: data.replace(was, value))
    found = audit(tmp_path / "x.db")
    assert any(said in str(p) for p in found.problems), found.problems


@pytest.mark.postgres
async def test_it_holds_for_whoever_takes_turns(postgres: str) -> None:
    shelf = Shelf()
    old, new = publishing(shelf, 40), publishing(shelf, 30)
    async with opened([old, new], postgres) as engine:
        await waiting(engine, old, 35, 20)
    async with opened([old, new], postgres, takes="turns") as taker:
        stepper = taker.stepper()
        for case in ("c35", "c20"):
            command = {
                "do": "decide",
                "case": case,
                "task": "look",
                "choice": "approve",
                "who": "dana@pricing",
            }
            await stepper.outside(command)
        async with opened([old, new], postgres, takes="asked") as other:
            deployed(other, new)
        for case in ("c35", "c20"):
            standing = await stepper.advance(case)
            for work in standing.work:
                await stepper.work(case, work.transition, work.token)
        assert places(taker.read) == {"c35": "failed", "c20": "out"}
        assert [n for _, n in shelf.written] == [20]
    assert audit(postgres).clean


async def test_a_case_that_was_held_back_and_moved_is_asked_by_its_new_version(tmp_path: Path) -> None:
    shelf = Shelf()
    old, strict = (publishing(shelf, n, on_failure=None) for n in (40, 30))
    async with opened([old, strict], tmp_path / "x.db") as engine:
        await waiting(engine, old, 35)
        deployed(engine, strict)
        await approved(engine, "c35")
        assert engine.read.case("c35").case.status == "parked"
        first, second = (n["hash"] for n in engine.read.nets())
        moved = await engine.migrate(first, second, MarkingMap.of({}), accept="assumed")
        assert (moved.moving, moved.staying) in {(1, 0), (0, 1)}
        await engine.resume("c35")
        await engine.run_until_idle()
        assert engine.read.case("c35").case.status == "parked"
        assert not shelf.written
        assert audit(engine.read.engine).clean


async def test_a_case_that_moves_while_its_effect_waits_for_its_turn_is_asked_by_its_new_version(
    tmp_path: Path,
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    class Slow(Shelf):
        async def put(self, request: Request) -> None:
            if request.payload.n == 10:
                begun.set()
                await go.wait()
            await super().put(request)

    shelf = Slow()
    old, strict = publishing(shelf, 40), publishing(shelf, 30)
    async with opened([old, strict], tmp_path / "x.db", effects=1) as engine:
        await waiting(engine, old, 10, 20, 35)
        for case in ("c10", "c35", "c20"):
            await engine.approve(case, "look", "dana@pricing")
        await begun.wait()
        deployed(engine, strict)
        first, second = (n["hash"] for n in engine.read.nets())
        moved = await engine.migrate(first, second, MarkingMap.of({}), accept="assumed", cases=["c20", "c35"])
        assert moved.moving == 2, moved.groups
        go.set()
        await engine.run_until_idle()
        assert [n for _, n in shelf.written] == [10, 20]
        assert places(engine.read) == {"c10": "out", "c20": "out", "c35": "failed"}
    assert audit(tmp_path / "x.db").clean
