"""P1 on the engine: whatever children do, wherever it crashes, the merge is by its rule, and written once."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from provenet.engine.testing import Bench, Hang, Late, Lost
from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import Term, make
from provenet.nets.patterns.delegation import Child, Delegation, Partial, weighted
from provenet.nets.patterns.slot import Slot
from provenet.sdb.handlers import EffectRefused
from provenet.sdb.human import Human
from provenet.sdb.reject import Reject
from tests.nets.patterns.delegations import (
    DEADLINE,
    POLICIES,
    STANDARD,
    Lead,
    Score,
    View,
    delegation,
    named,
    scored,
    specialist,
    team,
)

LEAD = Lead(id="lead-1", feedback="")
TOO_HIGH = View(score=900)
SOON, TOO_LATE = timedelta(seconds=40), DEADLINE + timedelta(minutes=1)


def good(name: str) -> View:
    """What a child says when it says something: its own number, so that a merge shows who was heard."""
    return View(score=10 * int(name[1:]))


def expected(partial: Partial, count: int, heard: set[str]) -> Score:
    """The merge, told in Python."""
    missing = STANDARD if partial == "substitute" else 0
    names = named(count)
    total = sum((good(n).score if n in heard else missing) * weight for weight, n in enumerate(names, 1))
    return Score(id=LEAD.id, score=total // sum(range(1, count + 1)))


def misbehaviour(dice: random.Random, name: str) -> Any:
    """Something that a child may do when it is asked."""
    return dice.choice(
        (
            good(name),
            good(name),
            Late(good(name), after=SOON),
            Late(good(name), after=TOO_LATE),
            Late(TOO_HIGH, after=SOON),
            Hang(),
            TOO_HIGH,
            {"score": "very good"},
            "I would rather not",
            ConnectionError("no model today"),
            Reject("refusal", retryable=False),
        )
    )


def check(case: Any, count: int, retries: int, partial: Partial) -> None:
    """What P1 says of a run that has ended."""
    steps = Counter(case.fired)
    names = named(count)
    asked_again = sum(steps[f"ask.{n}.again"] for n in names)
    assert asked_again <= retries
    assert sum(steps[f"ask.{n}.begin"] for n in names) == count + asked_again
    if case.detail.case.outcome_place == "gone":
        assert partial == "fail fast"
        assert case.outcome == LEAD
        case.assert_performed("crm.write", times=0)
        assert sum(steps[f"ask.{n}.without"] + steps[f"ask.{n}.late"] for n in names) == 1
        return
    case.assert_ended("written")
    heard = {n for n in names if steps[f"ask.{n}.collect"]}
    for n in names:
        ways = [steps[f"ask.{n}.{way}"] for way in ("collect", "without", "late")]
        assert sorted(ways) == [0, 0, 1], f"{n} ended in {ways}"
    (written,) = case.performed("crm.write")
    assert written.payload == case.outcome == expected(partial, count, heard)
    assert partial != "fail fast" or len(heard) == count
    # Nobody is left out while there is a retry left.
    spent = [s for s in case.fired if s.endswith((".again", ".without"))]
    first = next((i for i, s in enumerate(spent) if s.endswith(".without")), len(spent))
    assert all(s.endswith(".without") for s in spent[first:])
    assert first == len(spent) or first == retries


def run(count: int, retries: int, partial: Partial, seeds: range) -> Counter[str]:
    """Some cases of one agent, each drawn from a seed; returns what fired."""
    fired: Counter[str] = Counter()
    with Bench(scored(count, retries, partial), database=":memory:") as bench:
        cases = []
        for seed in seeds:
            dice, case_id = random.Random(seed), f"case-{seed}"
            for name in named(count):
                script = bench.proposer(f"ask.{name}")
                script.answers(*(misbehaviour(dice, name) for _ in range(2)), case=case_id)
                script.always(misbehaviour(dice, name), case=case_id)
            away = dice.choice((ConnectionError("away"), Lost(), Hang()))
            bench.effect("crm.write").answers(away, case=case_id)
            cases.append(bench.start(LEAD, case_id=case_id))
        bench.run()
        for case in cases:
            check(case, count, retries, partial)
            fired += Counter(case.fired)
    return fired


def test_whatever_children_do_the_merge_is_what_its_rule_says() -> None:
    fired: Counter[str] = Counter()
    for count, retries, partial in zip((2, 1, 2), (2, 5, 1), POLICIES, strict=True):
        fired += run(count, retries, partial, range(25))
    ways = ("collect", "again", "without", "late", "fault", "reject")
    seen = {way: sum(n for step, n in fired.items() if step.endswith(f".{way}")) for way in ways}
    assert all(n >= 8 for n in seen.values()), seen


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("partial", POLICIES)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_whatever_children_do_many_times(count: int, partial: Partial) -> None:
    for retries in range(6):
        run(count, retries, partial, range(1000 * retries, 1000 * retries + 100))


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("before-commit", 1),
        ("before-commit", 2),
        ("after-commit", 3),
        ("before-ask", 2),
        ("after-answer", 2),
        ("after-intent", 1),
        ("after-effect", 1),
        ("timer-due", 1),
    ],
)
def test_a_crash_changes_nothing(point: str, nth: int) -> None:
    with Bench(scored(2, 2)) as bench:
        bench.proposer("ask.c1").answers(TOO_HIGH).always(Hang())
        bench.proposer("ask.c2").answers(ConnectionError("no model today")).always(good("c2"))
        bench.effect("crm.write").answers(Lost())
        case = bench.start(LEAD)
        bench.crash_at(point, nth=nth)
        case.run()
        check(case, 2, 2, "drop")
        case.assert_fired("ask.c1.late", times=1)
        assert case.outcome == expected("drop", 2, {"c2"})


# one by one


def test_what_a_child_says_too_late_is_dropped() -> None:
    with Bench(scored(2)) as bench:
        bench.proposer("ask.c1").always(Late(good("c1"), after=TOO_LATE))
        bench.proposer("ask.c2").always(good("c2"))
        case = bench.start(LEAD)
        case.run_until("ask.c1.late")
        bench.advance(minutes=10)
        check(case, 2, 0, "drop")
        case.assert_fired("ask.c1.propose", times=0)
        assert set(case.marking) == {"written", "ask.idle"}


@pytest.mark.antipattern("AP8", "detected at run time: a child that is asked again is told what was wrong")
def test_a_child_that_is_asked_again_learns_why() -> None:
    with Bench(scored(1, 1)) as bench:
        script = bench.proposer("ask.c1").answers(TOO_HIGH, good("c1"))
        case = bench.start(LEAD)
        case.run()
        check(case, 1, 1, "drop")
        assert [call.payload.feedback for call in script.calls] == ["", "range v1: score <= 100"]


def test_who_fails_first_is_asked_again_while_the_others_work() -> None:
    with Bench(scored(3, 1)) as bench:
        bench.proposer("ask.c1").always(Late(TOO_HIGH, after=SOON))
        second = bench.proposer("ask.c2").answers(TOO_HIGH, good("c2"))
        bench.proposer("ask.c3").always(Hang())
        case = bench.start(LEAD)
        began = bench.now
        case.run()
        check(case, 3, 1, "drop")
        assert [call.at for call in second.calls] == [began, began]
        case.assert_fired("ask.c2.again", times=1)
        case.assert_fired("ask.c1.without", times=1)
        assert case.outcome == expected("drop", 3, {"c2"})


def test_fail_fast_does_not_wait_for_the_others() -> None:
    with Bench(scored(2, 0, "fail fast")) as bench:
        bench.proposer("ask.c1").always(Hang())
        bench.proposer("ask.c2").always(TOO_HIGH)
        case = bench.start(LEAD)
        began = bench.now
        case.run()
        assert bench.now == began
        check(case, 2, 0, "fail fast")
        case.assert_ended("gone")


def test_a_writer_that_is_refused_has_written_nothing() -> None:
    with Bench(scored(1)) as bench:
        bench.proposer("ask.c1").always(good("c1"))
        bench.effect("crm.write").answers(EffectRefused("account closed"))
        case = bench.start(LEAD)
        case.run_until("parked")
        case.assert_performed("crm.write", times=0)
        case.resume()
        case.run()
        check(case, 1, 0, "drop")


def test_a_case_that_is_killed_writes_nothing() -> None:
    with Bench(killable()) as bench:
        bench.proposer("ask.a").always(Late(good("c1"), after=SOON))
        bench.proposer("ask.b").always(Hang())
        case = bench.start(LEAD)
        bench.advance(timedelta(seconds=10))
        case.signal("stop")
        bench.advance(minutes=10)
        case.assert_ended("stopped")
        case.assert_fired("ask.a.propose", times=0)


def killable() -> NetBuilder:
    net = NetBuilder("killable")
    scores = net.final("scores", Score)
    net.add(delegation(takes=net.entry("inbox", Lead), gives=scores, retries=1))
    task = net.known_place("ask.task")
    assert task is not None
    net.clears(net.event("stop", event="stop", takes={"_task": task}, puts=net.final("stopped")))
    net.require("STATE-1")
    return net


def test_each_task_has_its_own_budget_and_a_stopped_team_works_again() -> None:
    """Two tasks; each goes to a team within the delegation, that is too late for the first one."""
    net = NetBuilder("two")
    lead = Lead(id="a", feedback="")
    tasks, scores = net.place("tasks", Lead, initial=[lead]), net.place("scores", Score)
    net.route("and another", takes={"lead": net.entry("inbox", Lead)}, puts={tasks: "lead"})
    net.ends(scores, scores)
    solo = Child("solo", gives=View, work=specialist, within=DEADLINE)
    both = Child("team", gives=View, work=team("drop"), within=DEADLINE)
    rule = lambda inputs, team, solo: make(  # noqa: E731
        Score, id=inputs.id, score=weighted((view(team).score, 1), (view(solo).score, 1))
    )
    net.add(Delegation("ask", takes=tasks, gives=scores, children=[both, solo], merge=rule, retries=1))
    net.require("STATE-1")
    with Bench(net) as bench:
        for name in ("a", "b"):
            bench.proposer(f"ask.team.{name}").answers(Hang()).always(View(score=40))
        bench.proposer("ask.solo").answers(TOO_HIGH, View(score=20), TOO_HIGH, View(score=20))
        case = bench.start(LEAD)
        case.run()
        case.assert_status("done")
        case.assert_fired("ask.dispatch", times=2)
        case.assert_fired("ask.solo.again", times=2)
        case.assert_fired("ask.team.late", times=1)
        case.assert_fired("ask.team.dispatch", times=2)
        assert [s.score for s in case.marking["scores"]] == [10, 30]


def view(maybe: Term) -> Term:
    return maybe.or_else(make(View, score=0))


def someone(at: Slot) -> Human:
    """A person as a child: says yes or no, or nothing."""
    yes = lambda inputs: make(View, score=100)  # noqa: E731
    return Human(
        at.id,
        takes=at.takes,
        approve=at.gives,
        deny=at.failed,
        who="desk",
        within=2 * DEADLINE,
        on_approve=yes,
    )


@pytest.mark.parametrize(("said", "score"), [("approve", 100), ("deny", 0), (None, 0)])
def test_a_person_is_a_child_as_good_as_any(said: str | None, score: int) -> None:
    with Bench(scored(1, work=someone), database=":memory:") as bench:
        case = bench.start(LEAD)
        case.run_until("ask.c1")
        if said:
            case.decide(said)
        bench.advance(DEADLINE)
        case.assert_ended("written")
        assert case.outcome == Score(id=LEAD.id, score=score)
        assert case.tasks == ()
