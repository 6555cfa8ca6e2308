"""People: several who have to approve, delegation, fallbacks, and what a crash or a forger makes of them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provenet.engine import Decision, Engine, Reader, VirtualClock, audit
from provenet.engine.errors import CaseClosed, DecisionRefused, EngineError, StoreCorrupt
from provenet.engine.fork import WhatIf, fork
from provenet.engine.marking_map import MarkingMap
from provenet.engine.people import Approval, Delegation, Said, person
from provenet.engine.requests import ask
from provenet.engine.testing import AsyncBench
from provenet.engine.views import entry_in_words
from provenet.nets.build import NetBuilder
from provenet.nets.net import Choice
from provenet.sdb.handlers import Agent
from provenet.sdb.human import Human
from tests.engine.kit import START, Item, built, deployed, opened, rechained

DAY = timedelta(days=1)


def looking(eyes: int = 2, **parts: Any) -> Agent:
    """Several people look at an item; who denies ends it."""

    def make(net: NetBuilder) -> None:
        start = net.entry("start", Item, where=lambda it: it.n >= 0)
        yes, no = net.final("yes", Item), net.final("no", Item)
        given: dict[str, Any] = {"who": "pricing", "within": 7 * DAY, "eyes": eyes} | parts
        net.add(Human("look", takes=start, approve=yes, deny=no, **given))

    return built(make)


async def started(engine: Engine, agent: Agent) -> None:
    deployed(engine, agent)
    await engine.start_case("small", inputs={"start": Item(id="a", n=1)}, case_id="c")
    await engine.run_until_idle(until=engine.clock.now())


@asynccontextmanager
async def waiting(agent: Agent) -> AsyncIterator[Engine]:
    """One case that waits for people; whatever they do, it audits clean."""
    async with opened(agent) as engine:
        await started(engine, agent)
        yield engine
        assert audit(engine.read.engine).clean


# several people


@pytest.mark.attack("one person as two: other letters, another role", "refused: EN430")
async def test_two_different_people_have_to_approve() -> None:
    async with waiting(looking()) as engine:
        (task,) = engine.read.tasks()
        assert (task.eyes, task.approved) == (2, ())
        await engine.approve("c", "look", "dana@pricing", about_hash=task.about_hash)
        (task,) = engine.read.tasks()
        assert (task.status, task.approved) == ("open", ("dana@pricing",))
        assert engine.read.case("c").case.status == "waiting"
        for again in (
            "dana@pricing",
            "Dana@pricing",
            " DANA @pricing",
            "ＤＡＮＡ@pricing",
            "da\u200bna@pricing",
        ):
            with pytest.raises(DecisionRefused, match="has chosen 'approve' already"):
                await engine.approve("c", "look", again)
        with pytest.raises(DecisionRefused, match="role 'pricing'"):
            await engine.approve("c", "look", "erin@legal")
        await engine.approve("c", "look", "erin@pricing")
        (task,) = engine.read.tasks(status="decided")
        assert (task.who, task.approved) == ("erin@pricing", ("dana@pricing", "erin@pricing"))
        case = engine.read.case("c")
        assert (case.case.status, case.case.outcome_place) == ("done", "yes")
        assert [line.kind for line in case.log] == ["start", "approve", "approve", "fire"]
        assert case.log[-1].data["note"]["approved"] == ["dana@pricing", "erin@pricing"]
        assert "approved by dana@pricing" in case.log[1].text


async def test_one_who_denies_is_enough() -> None:
    async with waiting(looking(eyes=3)) as engine:
        await engine.approve("c", "look", "dana@pricing")
        await engine.deny("c", "look", "dana@pricing")
        assert engine.read.case("c").case.outcome_place == "no"


async def test_an_approval_ends_with_the_deadline() -> None:
    async with waiting(looking()) as engine:
        await engine.approve("c", "look", "dana@pricing")
        await engine.run_until_idle()
        assert engine.read.case("c").case.outcome_place == "no"
        (task,) = engine.read.tasks(status="expired")
        assert task.approved == ("dana@pricing",)


async def test_approvals_are_void_when_the_token_moves_on() -> None:
    def make(net: NetBuilder) -> None:
        start, back = net.entry("start", Item), net.place("back", Item)
        yes, no = net.final("yes", Item), net.final("no", Item)
        net.add(Human("look", takes=start, approve=yes, deny=no, who="pricing", within=7 * DAY, eyes=2))
        net.event("recall", event="recall", takes={"i": start}, puts={back: "i"})
        net.timer("again", takes={"i": back}, after=DAY, puts={start: "i"})

    agent = built(make)
    async with waiting(agent) as engine:
        await engine.approve("c", "look", "dana@pricing")
        await engine.signal("c", "recall")
        await engine.run_until_idle(until=START + 2 * DAY)
        (task,) = engine.read.tasks()
        assert task.approved == ()
        await engine.approve("c", "look", "dana@pricing")
        await engine.approve("c", "look", "erin@pricing")
        assert engine.read.case("c").case.outcome_place == "yes"


@pytest.mark.parametrize("point", ["decision", "before-commit", "after-commit"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_crash_between_the_approvals_loses_none_and_doubles_none(point: str, nth: int) -> None:
    async with AsyncBench(looking(eyes=3)) as bench:
        case = await bench.start(Item(id="a", n=1))
        await case.run_until("look")
        bench.crash_at(point, nth=nth)
        for who in ("dana@pricing", "erin@pricing", "fay@pricing"):
            await case.approve(who)
        case.assert_ended("yes")
        assert [line.kind for line in case.detail.log] == ["start", *["approve"] * 3, "fire"]
        names = ["dana@pricing", "erin@pricing", "fay@pricing"]
        assert case.detail.log[-1].data["note"]["approved"] == names


async def test_scripts_give_as_many_people_as_they_have_answers() -> None:
    async with AsyncBench(looking()) as bench:
        bench.person("look").answers("approve", "approve")
        case = await bench.start(Item(id="a", n=1))
        await bench.run()
        case.assert_ended("yes")
        assert case.detail.tasks[0].approved == ("tester@pricing", "tester-2@pricing")
    async with AsyncBench(looking()) as bench:
        bench.person("look").answers("approve")
        case = await bench.start(Item(id="a", n=1))
        await case.run_until("human_required")
        assert case.tasks[0].approved == ("tester@pricing",)
        await case.approve()
        case.assert_ended("yes")
    async with AsyncBench(looking()) as bench:
        bench.person("look").always(Decision("approve", "dana@pricing"))
        case = await bench.start(Item(id="a", n=1))
        await bench.run()
        case.assert_ended("no")  # one person is not two, however often they say so


async def test_a_note_is_part_of_what_is_approved() -> None:
    def make(net: NetBuilder) -> None:
        start, yes = net.entry("start", Item), net.final("yes", Item)
        net.transition(
            "say",
            takes={"i": start},
            brings={"n": int},
            puts={yes: lambda i, n: i.with_(n=n)},
            requires=lambda n: n < 100,
            trigger=Choice("look", "say", "pricing", eyes=2),
        )

    agent = built(make)
    async with waiting(agent) as engine:
        with pytest.raises(DecisionRefused, match="the net forbids it"):
            await engine.decide("c", "look", "say", "dana@pricing", note=100)
        ruling = await engine.decide("c", "look", "say", "dana@pricing", note=5)
        assert (ruling.missing, str(ruling)) == (
            1,
            "by dana@pricing; 1 more person has to decide the same",
        )
        with pytest.raises(DecisionRefused, match="with another note"):
            await engine.decide("c", "look", "say", "erin@pricing", note=6)
        ruling = await engine.decide("c", "look", "say", "erin@pricing", note=5)
        assert (ruling.missing, str(ruling)) == (0, "decided by erin@pricing")
        assert engine.read.case("c").case.outcome == {"id": "a", "n": 5}


async def test_each_choice_takes_its_own_role() -> None:
    def make(net: NetBuilder) -> None:
        start, yes, no = net.entry("start", Item), net.final("yes", Item), net.final("no", Item)
        for choice, who, to in (("refuse", "clerk", no), ("grant", "boss", yes)):
            net.transition(choice, takes={"i": start}, puts={to: "i"}, trigger=Choice("look", choice, who))

    agent = built(make)
    async with waiting(agent) as engine:
        with pytest.raises(DecisionRefused, match="role 'boss'"):
            await engine.decide("c", "look", "grant", "dana@clerk")
        await engine.delegate("c", "look", to="erin@legal", who="dana@clerk")
        with pytest.raises(DecisionRefused, match="role 'boss'"):
            await engine.decide("c", "look", "grant", "erin@legal")
        await engine.delegate("c", "look", to="erin@legal", who="bo@boss")
        await engine.decide("c", "look", "grant", "erin@legal")
        assert engine.read.log("c")[-1].data["note"]["for"] == "bo@boss"


# delegation


async def test_somebody_decides_in_the_place_of_another() -> None:
    async with waiting(looking(eyes=1)) as engine:
        with pytest.raises(DecisionRefused, match="role 'pricing'"):
            await engine.approve("c", "look", "erin@legal")
        await engine.delegate("c", "look", to="erin@legal", who="dana@pricing")
        (task,) = engine.read.tasks()
        assert task.delegated == {"dana@pricing": "erin@legal"}
        assert task.deadline == START + 7 * DAY
        for other in ("erin@sales", "gus@legal", "erin", "Erin@legal", "ｅrin@legal"):
            with pytest.raises(DecisionRefused, match="role 'pricing'"):
                await engine.approve("c", "look", other)
        await engine.approve("c", "look", "erin@legal")
        log = engine.read.log("c")
        assert [line.kind for line in log] == ["start", "delegate", "fire"]
        assert log[-1].data["note"]["for"] == "dana@pricing"
        assert "delegated to erin@legal by dana@pricing" in log[1].text


@pytest.mark.attack("a task passed on by whoever it was delegated to", "refused: EN430")
async def test_a_delegation_is_taken_back_replaced_and_never_passed_on() -> None:
    async with waiting(looking(eyes=1)) as engine:
        for to, who, said in [
            ("gus@legal", "erin@legal", "may not delegate"),
            ("gus@legal", "nobody", "may not delegate"),
            ("DANA@legal", "dana@pricing", "the same person"),
            ("@legal", "dana@pricing", "to a person"),
            ("x" * 201 + "@legal", "dana@pricing", "to a person"),
            ("a\nb@legal", "dana@pricing", "to a person"),
            (None, "dana@pricing", "delegated it to nobody"),
        ]:
            with pytest.raises(DecisionRefused, match=said):
                await engine.delegate("c", "look", to=to, who=who)
        with pytest.raises(DecisionRefused, match="no open task"):
            await engine.delegate("c", "lok", to="erin@legal", who="dana@pricing")
        await engine.delegate("c", "look", to="erin@legal", who="dana@pricing")
        with pytest.raises(DecisionRefused, match="may not delegate"):
            await engine.delegate("c", "look", to="gus@legal", who="erin@legal")
        await engine.delegate("c", "look", to="gus@legal", who="dana@pricing")
        with pytest.raises(DecisionRefused, match="role 'pricing'"):
            await engine.approve("c", "look", "erin@legal")
        await engine.delegate("c", "look", to=None, who="Dana@pricing")
        with pytest.raises(DecisionRefused, match="role 'pricing'"):
            await engine.approve("c", "look", "gus@legal")
        await engine.approve("c", "look", "dana@pricing")
        assert [x.kind for x in engine.read.log("c")] == ["start", *["delegate"] * 2, "revoke", "fire"]


@pytest.mark.attack("one person as two, by delegation", "refused: EN430")
async def test_a_delegation_makes_no_two_people_of_one() -> None:
    async with waiting(looking()) as engine:
        await engine.approve("c", "look", "dana@pricing")
        await engine.delegate("c", "look", to="erin@legal", who="dana@pricing")
        with pytest.raises(DecisionRefused, match="count as one, by a delegation"):
            await engine.approve("c", "look", "erin@legal")
        with pytest.raises(DecisionRefused, match="count as one, by a delegation"):
            await engine.approve("c", "look", "erin@pricing")
        await engine.delegate("c", "look", to=None, who="dana@pricing")
        with pytest.raises(DecisionRefused, match="count as one, by a delegation"):
            await engine.approve("c", "look", "erin@pricing")
        await engine.approve("c", "look", "gus@pricing")
        assert engine.read.case("c").case.outcome_place == "yes"


async def test_two_who_approved_and_then_delegate_to_each_other_are_one() -> None:
    async with waiting(looking(eyes=3)) as engine:
        await engine.approve("c", "look", "dana@pricing")
        await engine.approve("c", "look", "erin@pricing")
        await engine.delegate("c", "look", to="erin@legal", who="dana@pricing")
        assert (await engine.approve("c", "look", "gus@pricing")).missing == 1
        assert (await engine.approve("c", "look", "hal@pricing")).missing == 0
        assert engine.read.case("c").case.outcome_place == "yes"


# fallbacks


async def test_a_fallback_decides_as_well_after_a_while_and_the_deadline_stays() -> None:
    async with waiting(looking(eyes=2, fallback=("on_call", 2 * DAY))) as engine:
        (task,) = engine.read.tasks(role="on_call")
        assert (task.fallback, task.fallback_from) == ("on_call", START + 2 * DAY)
        assert engine.read.tasks(role="legal") == []
        with pytest.raises(DecisionRefused, match="role 'pricing'") as early:
            await engine.approve("c", "look", "dana@on_call")
        assert f"on_call may from {(START + 2 * DAY).isoformat()}" in (early.value.hint or "")
        await engine.run_until_idle(until=START + 2 * DAY)
        await engine.approve("c", "look", "dana@on_call")
        with pytest.raises(DecisionRefused, match="already"):
            await engine.approve("c", "look", "dana@pricing")
        (task,) = engine.read.tasks()
        assert task.deadline == START + 7 * DAY
        await engine.approve("c", "look", "erin@pricing")
        assert engine.read.case("c").case.outcome_place == "yes"


def test_a_stop_says_by_whom_and_why() -> None:
    assert entry_in_words(None, "kill", "", {"reason": "killed", "who": ""})[1] == "killed"
    assert entry_in_words(None, "kill", "", {"reason": "killed", "who": "boss"})[1] == "killed by boss"
    assert entry_in_words(None, "kill", "", {"reason": "drill", "who": "boss"})[1] == "killed by boss: drill"


# what is durable: restarts, parking, snapshots, forks, other processes


async def test_what_people_said_outlives_parking_and_a_restart(tmp_path: Path) -> None:
    agent = looking()
    async with opened(agent, tmp_path / "x.db", snapshot_every=1) as engine:
        await started(engine, agent)
        await engine.delegate("c", "look", to="gus@legal", who="dana@pricing")
        await engine.approve("c", "look", "gus@legal")
        engine._runner.park(engine._runner.cases["c"], "look at it")
        await engine.resume("c")
        (task,) = engine.read.tasks()
        assert (task.approved, task.delegated) == (("gus@legal",), {"dana@pricing": "gus@legal"})
        moment = engine.read.case_at("c", len(engine.read.log("c")))
        (shown,) = moment.tasks
        assert (shown["eyes"], shown["approved"]) == (2, ["gus@legal"])
        assert shown["delegated"] == {"dana@pricing": "gus@legal"}
    async with opened(agent, tmp_path / "x.db") as engine:
        assert engine.read.tasks() == [task]
        with pytest.raises(DecisionRefused, match="count as one"):
            await engine.approve("c", "look", "dana@pricing")
        await engine.approve("c", "look", "erin@pricing")
        assert engine.read.case("c").case.outcome_place == "yes"
    assert audit(tmp_path / "x.db").clean
    assert audit(tmp_path / "x.db", fast="yes").clean


@pytest.mark.parametrize("parked", ["no", "yes"])
async def test_who_approved_on_one_version_has_not_on_another(tmp_path: Path, parked: str) -> None:
    old, new = looking(), looking(within=8 * DAY)
    async with opened([old, new], tmp_path / "x.db") as engine:
        await started(engine, old)
        await engine.approve("c", "look", "dana@pricing")
        deployed(engine, new)
        first, second = (n["hash"] for n in engine.read.nets())
        if parked == "yes":
            engine._runner.park(engine._runner.cases["c"], "look at it")
        moved = await engine.migrate(first, second, MarkingMap.of({}))
        assert moved.moving == 1
        if parked == "yes":
            await engine.resume("c")
        (task,) = engine.read.tasks()
        assert task.approved == ()
        assert audit(engine.read.engine).clean
        await engine.approve("c", "look", "dana@pricing")
        await engine.approve("c", "look", "erin@pricing")
        assert engine.read.case("c").case.outcome_place == "yes"
    assert audit(tmp_path / "x.db").clean


async def test_what_was_decided_stays_decided_on_another_version(tmp_path: Path) -> None:
    def agent(within: timedelta) -> Agent:
        def make(net: NetBuilder) -> None:
            start, no = net.entry("start", Item), net.final("no", Item)
            yes, done = net.place("yes", Item), net.final("done", Item)
            net.add(Human("look", takes=start, approve=yes, deny=no, who="pricing", within=within, eyes=2))
            net.event("end", event="end", takes={"i": yes}, puts={done: "i"})

        return built(make)

    old, new = agent(7 * DAY), agent(8 * DAY)
    async with opened([old, new], tmp_path / "x.db", snapshot_every=1) as engine:
        await started(engine, old)
        await engine.approve("c", "look", "dana@pricing")
        await engine.approve("c", "look", "erin@pricing")
        deployed(engine, new)
        first, second = (n["hash"] for n in engine.read.nets())
        assert (await engine.migrate(first, second, MarkingMap.of({}))).moving == 1
        assert [str(p) for p in audit(engine.read.engine).problems] == []
        await engine.signal("c", "end")
    assert audit(tmp_path / "x.db").clean
    assert audit(tmp_path / "x.db", fast="yes").clean


async def test_a_bench_delegates() -> None:
    async with AsyncBench(looking(eyes=1)) as bench:
        case = await bench.start(Item(id="a", n=1))
        await case.run_until("look")
        await case.delegate("gus@legal", "dana@pricing")
        await case.approve("gus@legal")
        case.assert_ended("yes")


def test_a_fork_knows_who_approved_before_it_and_asks_those_who_came_after(tmp_path: Path) -> None:
    async def make() -> None:
        agent = looking()
        async with opened(agent, tmp_path / "x.db") as engine:
            await started(engine, agent)
            await engine.approve("c", "look", "dana@pricing")
            await engine.delegate("c", "look", to="gus@legal", who="erin@pricing")
            await engine.run_until_idle(until=START + DAY)
            await engine.approve("c", "look", "gus@legal")

    asyncio.run(make())
    for at in (1, 2, 3):
        found = fork(tmp_path / "x.db", "c", at, tmp_path / f"{at}.db")
        assert found.outcomes[1] == {"place": "yes", "value": {"id": "a", "n": 1}}, at
        assert audit(tmp_path / f"{at}.db").clean
        other = fork(tmp_path / "x.db", "c", at, tmp_path / f"o{at}.db", WhatIf(decisions={"look": "deny"}))
        assert other.outcomes[1] == {"place": "no", "value": {"id": "a", "n": 1}}
        same = fork(tmp_path / "x.db", "c", at, tmp_path / f"s{at}.db", WhatIf(decisions={"look": "approve"}))
        assert same.outcomes[1] == {"place": "yes", "value": {"id": "a", "n": 1}}
        assert audit(tmp_path / f"s{at}.db").clean


def _forks_are_the_same(folder: Path, case: str = "c") -> None:
    """From wherever a case is run on with nothing told otherwise, its history is what it was."""
    last = Reader(folder / "x.db").case(case).case.firings
    for at in range(1, last):
        found = fork(folder / "x.db", case, at, folder / f"{at}.db")
        assert not found.differs, (at, found.original[found.same :], found.simulated[found.same :])
        assert (found.statuses[0], found.outcomes[0]) == (found.statuses[1], found.outcomes[1])
        assert not found.refused
        assert audit(folder / f"{at}.db").clean


FOUR = ["dana@pricing", "erin@pricing", "gus@legal", "hal@on_call"]


@settings(max_examples=5, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.sampled_from(["approve", "approve", "deny", "delegate", "revoke", "recall", "kill"]),
            st.sampled_from(FOUR),
            st.sampled_from(FOUR),
            st.sampled_from([0, 0, 9, 30]),
        ),
        max_size=9,
    ),
)
@example(1, [("delegate", FOUR[0], FOUR[2], 0), ("approve", FOUR[2], "", 0)])
@example(2, [("approve", FOUR[0], "", 0), ("delegate", FOUR[1], FOUR[2], 9), ("approve", FOUR[2], "", 9)])
@example(1, [("delegate", FOUR[0], FOUR[2], 0), ("revoke", FOUR[0], "", 9)])
@example(3, [("approve", FOUR[0], "", 0), ("recall", "", "", 9), ("approve", FOUR[3], "", 30)])
@example(2, [("approve", FOUR[0], "", 9), ("kill", FOUR[1], "", 9)])
def test_a_fork_of_what_people_said_differs_in_nothing(
    eyes: int, script: list[tuple[str, str, str, int]]
) -> None:
    def make(net: NetBuilder) -> None:
        start, back = net.entry("start", Item), net.place("back", Item)
        yes, no = net.final("yes", Item), net.final("no", Item)
        given: dict[str, Any] = {"who": "pricing", "within": 7 * DAY, "eyes": eyes}
        net.add(Human("look", takes=start, approve=yes, deny=no, fallback=("on_call", DAY), **given))
        net.event("recall", event="recall", takes={"i": start}, puts={back: "i"})
        net.timer("again", takes={"i": back}, after=DAY, puts={start: "i"})

    async def go(folder: Path) -> None:
        agent = built(make)
        async with opened(agent, folder / "x.db") as engine:
            await started(engine, agent)
            for act, who, to, hours in script:
                await engine.run_until_idle(until=engine.clock.now() + timedelta(hours=hours))
                with suppress(EngineError):
                    if act == "recall":
                        await engine.signal("c", "recall")
                    elif act == "kill":
                        await engine.kill("case", "c", who=who, reason="enough")
                    elif act in {"delegate", "revoke"}:
                        await engine.delegate("c", "look", to=to if act == "delegate" else None, who=who)
                    else:
                        await engine.decide("c", "look", act, who)
            await engine.run_until_idle()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(go(Path(folder)))
        _forks_are_the_same(Path(folder))


async def test_others_ask_through_the_database(tmp_path: Path) -> None:
    agent = looking()
    async with opened(agent, tmp_path / "x.db") as engine:
        await started(engine, agent)
    where, case = tmp_path / "x.db", {"case": "c", "task": "look"}
    choice = {"do": "decide", "choice": "approve"} | case

    def asked(command: dict[str, Any]) -> str:
        return str(ask(where, command, [agent])["done"])

    said = await asyncio.to_thread(asked, choice | {"who": "dana@pricing"})
    assert said == "approve: 'look' of case c, by dana@pricing; 1 more person has to decide the same"
    said = await asyncio.to_thread(asked, {"do": "delegate", "to": "gus@legal", "who": "erin@pricing"} | case)
    assert said == "'look' of case c goes to gus@legal as well, says erin@pricing"
    said = await asyncio.to_thread(asked, {"do": "delegate", "to": None, "who": "erin@pricing"} | case)
    assert said == "'look' of case c is delegated no longer, says erin@pricing"
    said = await asyncio.to_thread(asked, choice | {"who": "hal@pricing"})
    assert said == "approve: 'look' of case c, decided by hal@pricing"
    assert audit(where).clean


@pytest.mark.postgres
async def test_approvals_come_to_whoever_takes_the_next_turn(postgres: str) -> None:
    agent = looking()
    async with opened(agent, postgres) as engine:
        await started(engine, agent)
    command = {"do": "decide", "case": "c", "task": "look", "choice": "approve"}
    async with (
        opened(agent, postgres, takes="turns") as one,
        opened(agent, postgres, takes="turns") as other,
    ):
        first, second = one.stepper(), other.stepper()
        answer, _ = await first.outside(command | {"who": "dana@pricing"})
        assert answer["missing"] == 1
        with pytest.raises(DecisionRefused, match="already"):
            await second.outside(command | {"who": "dana@pricing"})
        answer, standing = await second.outside(command | {"who": "erin@pricing"})
        assert (answer["missing"], standing and standing.status) == (0, "done")
    assert audit(postgres).clean


# forgeries


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that two people approved, one of them in another's place; one that is half approved."""
    path = tmp_path_factory.mktemp("people") / "x.db"

    async def make() -> None:
        agent = looking(fallback=("on_call", 2 * DAY))
        async with opened(agent, path) as engine:
            await started(engine, agent)
            await engine.start_case("small", inputs={"start": Item(id="b", n=1)}, case_id="half")
            await engine.delegate("c", "look", to="gus@legal", who="dana@pricing")
            await engine.approve("c", "look", "gus@legal")
            await engine.approve("c", "look", "erin@pricing")
            await engine.approve("half", "look", "dana@pricing")

    asyncio.run(make())
    assert audit(path).clean
    return path


ROWS = {
    "an approval on paper": "UPDATE provenet_task SET people = replace(people, 'dana', 'eve')",
    "no approval on paper": "UPDATE provenet_task SET people = '' WHERE status = 'open'",
    "a delegation on paper": "UPDATE provenet_task SET people = replace(people, 'gus', 'eve')",
    "a task that is gone": "DELETE FROM provenet_task WHERE status = 'open'",
    "no JSON": "UPDATE provenet_task SET people = 'x'",
}


@pytest.mark.parametrize("what", ROWS)
def test_a_row_that_says_something_else_than_the_log_is_found(made: Path, tmp_path: Path, what: str) -> None:
    path = Path(shutil.copy(made, tmp_path / "y.db"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(ROWS[what])
    assert not audit(path).clean


async def test_a_row_that_cannot_be_read_stops_the_engine_with_a_word_on_it(
    made: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(made, tmp_path / "y.db"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(ROWS["no JSON"])
    with pytest.raises(StoreCorrupt, match="what people said of task 'look' of case 'half'"):
        async with opened(looking(fallback=("on_call", 2 * DAY)), path):
            pass


ENTRIES = {
    "one person twice": (4, "erin@pricing", "dana@pricing", "has chosen 'approve' already"),
    "somebody without the role": (4, "erin@pricing", "eve@legal", "'eve@legal' may not choose"),
    "a fallback before its time": (4, "erin@pricing", "erin@on_call", "may not choose"),
    "somebody else in the end": (5, '"by":"erin@pricing"', '"by":"hal@pricing"', "hal@pricing"),
    "another list": (5, '["gus@legal",', '["hal@pricing",', "the log that"),
    "a delegation by nobody": (2, "dana@pricing", "dana@legal", "may not delegate"),
    "a delegation to oneself": (2, "gus@legal", "Dana@legal", "the same person"),
    "in the place of nobody": (3, '"for":"dana@pricing",', "", "may not choose"),
    "about something else": (3, '"about":"', '"about":"0', "the log that"),
    "of another token": (3, '"token":1', '"token":7', "is not open for token 7"),
}


@pytest.mark.attack(
    "an approval or a delegation written into the log, its chain made sound", "found by the audit"
)
@pytest.mark.parametrize("what", ENTRIES)
def test_an_entry_that_nobody_could_have_made_is_found_also_in_a_sound_chain(
    made: Path, tmp_path: Path, what: str
) -> None:
    path = Path(shutil.copy(made, tmp_path / "y.db"))
    seq, old, new, said = ENTRIES[what]
    rechained(path, "c", lambda n, data: data.replace(old, new) if n == seq else data)
    found = audit(path)
    assert any(said in str(p) for p in found.problems), found.problems


def test_an_approval_that_is_cut_out_of_a_sound_chain_is_found(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(made, tmp_path / "y.db"))
    rechained(path, "c", lambda n, data: None if n == 3 else data)
    found = audit(path)
    assert any("the log that ['erin@pricing'] did" in str(p) for p in found.problems), found.problems


# properties

WHO = st.sampled_from(
    ["dana@pricing", "DANA@on_call", "erin@pricing", "erin@legal", "gus@legal", "hal@on_call", "hal@pricing"]
)
ACTS = st.one_of(
    st.tuples(st.just("approve"), WHO),
    st.tuples(st.just("delegate"), WHO, WHO),
    st.tuples(st.just("revoke"), WHO),
    st.tuples(st.just("day")),
    st.tuples(st.just("crash")),
)


@given(acts=st.lists(ACTS, max_size=12), eyes=st.integers(2, 3))
@settings(max_examples=20)
def test_whatever_people_do_as_many_different_ones_have_approved_as_it_takes(
    acts: list[tuple[str, ...]], eyes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_acted(Path(folder) / "x.db", acts, eyes))


async def _acted(path: Path, acts: list[tuple[str, ...]], eyes: int) -> None:
    agent, clock, model = looking(eyes, fallback=("on_call", 2 * DAY)), VirtualClock(START), _Model(eyes)
    engine = opened(agent, path, clock=clock)
    await engine.__aenter__()
    await started(engine, agent)
    for act in acts:
        if act[0] == "day":
            model.days += 1
            await engine.run_until_idle(until=START + model.days * DAY)
        elif act[0] == "crash":
            await engine.crash()
            engine = opened(agent, path, clock=clock)
            await engine.__aenter__()
        else:
            expected = model.does(*act)
            try:
                if act[0] == "approve":
                    await engine.approve("c", "look", act[1])
                else:
                    to = act[2] if act[0] == "delegate" else None
                    await engine.delegate("c", "look", to=to, who=act[1])
                happened = True
            except (DecisionRefused, CaseClosed):
                happened = False
            assert happened == expected, act
        case = engine.read.case("c").case
        if model.days >= 7 and not model.is_done:
            assert case.outcome_place == "no"
            break
        assert case.outcome_place == ("yes" if model.is_done else None)
    await engine.close()
    assert audit(path).clean


class _Model:
    """The rules, said once more and differently: who delegates becomes the one that it is delegated to."""

    def __init__(self, eyes: int) -> None:
        self.eyes, self.days, self.is_done = eyes, 0, False
        self.same = {name: name for name in ("dana", "erin", "gus", "hal")}
        self.lets: dict[str, tuple[str, str]] = {}
        self.approved: list[str] = []

    def does(self, what: str, who: str, to: str = "") -> bool:
        if self.is_done or self.days >= 7:
            return False
        name, role = who.lower().split("@")
        own = role == "pricing" or (role == "on_call" and self.days >= 2)
        if what == "revoke":
            return self.lets.pop(name, None) is not None
        if what == "delegate":
            other, needed = to.lower().split("@")
            if not own or other == name:
                return False
            self.lets[name] = other, needed
            old, new = self.same[name], self.same[other]
            self.same = {n: new if s == old else s for n, s in self.same.items()}
            return True
        if not own and (name, role) not in self.lets.values():
            return False
        if self.same[name] in {self.same[a] for a in self.approved}:
            return False
        self.approved.append(name)
        self.is_done = len({self.same[a] for a in self.approved}) >= self.eyes
        return True


@given(who=st.text(max_size=20))
def test_a_person_is_the_same_however_often_one_looks(who: str) -> None:
    assert person(person(who).replace("@", "") + "@x") == person(person(who).replace("@", ""))
    assert person(who.upper().lower() + "@a") == person(who.upper() + "@b")


@given(
    approvals=st.lists(st.builds(Approval, *[st.text(max_size=5)] * 5), max_size=3),
    delegations=st.lists(
        st.builds(Delegation, st.text(max_size=5), st.text(max_size=5), st.sampled_from(["holds", "ended"])),
        max_size=3,
    ),
)
def test_what_people_said_survives_its_row(approvals: list[Approval], delegations: list[Delegation]) -> None:
    said = Said(approvals, delegations)
    assert Said.of(said.text()) == said
