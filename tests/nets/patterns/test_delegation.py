"""P1, delegation: what it guarantees is proved over its whole range, and each guarantee has a mutant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.errors import ExprError, NetError
from provenet.nets.expr.ast import Var
from provenet.nets.expr.build import expr_of, make, term
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.models import schema_of
from provenet.nets.net import Net, Perform, Put, Read, Transition
from provenet.nets.patterns.delegation import Child, Delegation, Partial, by_priority, weighted
from provenet.nets.patterns.slot import Slot
from provenet.nets.requirements import never
from provenet.nets.schema import INT, OptionalType
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.proposers import model
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.progress import RANKED
from provenet.verify.verdict import Status
from tests.nets.patterns.delegations import (
    DEADLINE,
    POLICIES,
    Lead,
    Score,
    View,
    delegation,
    named,
    scored,
    specialist,
    team,
)

CHILDREN, RETRIES = range(1, 9), range(6)

EVERYTHING_TO = 8
"""Children up to which all is proved, in the grid.

To five children the states are few enough to be gone through (196,615 with five retries); beyond, STATE-1,
STATE-3 and the formula are proved by a rank.
"""

ANY_SIZE = ("SDB", "DATA", "mutex", "CTL-3", "CTL-4", "STATE-2", "STATE-4")
TO_THE_END = ("STATE-1", "STATE-3", "formula")


def unproved(net: Net, *only: str) -> list[tuple[str, str, str]]:
    """What of these is not proved."""
    report = prove(net, only=only, timeout=300)
    assert report.verdicts
    return [(v.property, v.status.value, v.reason) for v in report.verdicts if v.status is not Status.PROVED]


# the whole range


@settings(max_examples=25)
@given(count=st.sampled_from(CHILDREN), retries=st.sampled_from(RETRIES), partial=st.sampled_from(POLICIES))
def test_what_needs_no_states_is_proved_at_any_size(count: int, retries: int, partial: Partial) -> None:
    assert unproved(scored(count, retries, partial).build(), *ANY_SIZE) == []


@pytest.mark.parametrize("partial", POLICIES)
@pytest.mark.parametrize(("count", "retries"), [(1, 0), (1, 5), (2, 1), (2, 4), (3, 0), (3, 2)])
def test_everything_is_proved_of_a_few_children(count: int, retries: int, partial: Partial) -> None:
    net = scored(count, retries, partial).build()
    report = prove(net)
    assert [(v.property, v.reason) for v in report.unproved()] == []
    asked = {(r.kind, r.name) for r in net.requirements if r.name}
    assert asked <= {(v.property, v.title) for v in report.verdicts}


def test_many_children_come_to_an_end_by_a_rank() -> None:
    (verdict,) = prove(scored(6, 1).build(), only=["formula"], timeout=300).verdicts
    assert (verdict.status, verdict.method) == (Status.PROVED, RANKED)


@pytest.mark.long
@pytest.mark.timeout(14_400)
def test_everything_is_proved_over_the_whole_grid() -> None:
    for count in CHILDREN:
        for retries in RETRIES:
            for partial in POLICIES:
                net = scored(count, retries, partial).build()
                what = (*ANY_SIZE, *TO_THE_END) if count <= EVERYTHING_TO else ANY_SIZE
                assert unproved(net, *what) == [], (count, retries, partial)


def test_a_proof_is_checked_again_without_its_prover() -> None:
    net = scored(2, 2).build()
    assert recheck(net, prove(net)) == ()


def test_what_is_known_of_the_results_is_known_of_what_is_merged() -> None:
    net = scored(1, 1)
    high = never(transition="write.accept", of=Score, where=lambda payload: payload.score > 100)
    assert prove(net.build(), only=[high]).verdicts[0].status is Status.PROVED
    higher = never(transition="write.accept", of=Score, where=lambda payload: payload.score > 99)
    assert prove(net.build(), only=[higher]).verdicts[0].status is Status.REFUTED


@pytest.mark.parametrize("partial", POLICIES)
def test_a_budget_is_for_one_task_and_a_task_comes_after_the_other(partial: Partial) -> None:
    net = NetBuilder("two tasks")
    lead = Lead(id="a", feedback="")
    tasks, scores, gone = net.place("tasks", Lead, initial=[lead, lead]), net.place("scores", Score), None
    if partial == "fail fast":
        gone = net.place("gone", Lead)
    if gone is None:
        net.ends(scores, scores)
    else:
        net.rests(scores, gone)
        net.ends()
    net.add(delegation(takes=tasks, gives=scores, partial=partial, fails=gone, retries=2))
    net.require("STATE-1", "STATE-2")
    assert unproved(net.build(), "mutex", "CTL-4", "formula", "STATE-1", "STATE-2") == []


def test_a_kill_switch_takes_nothing_from_the_guarantees() -> None:
    net = scored(2, 2)
    killed = net.event(
        "kill", event="kill", takes={"_task": placed(net, "ask.task")}, puts=net.final("killed")
    )
    net.clears(killed)
    assert unproved(net.build(), "mutex", "CTL-4", "formula", "STATE-1") == []


def placed(net: NetBuilder, name: str) -> Any:
    found = net.known_place(name)
    assert found is not None
    return found


# a delegation as a child


@pytest.mark.parametrize("outer", POLICIES)
@pytest.mark.parametrize("inner", POLICIES)
def test_a_delegation_within_a_delegation_is_proved(inner: Partial, outer: Partial) -> None:
    net = scored(1, 1, outer, work=team(inner)).build()
    assert unproved(net, *ANY_SIZE, *TO_THE_END) == []
    again = [t.name for t in net.transitions if t.name.endswith("c1.again")]
    assert again == (["ask.c1.again"] if inner == "fail fast" else []), "only what can fail is asked again"


# mutants


def changed(net: Net, name: str, **parts: Any) -> Net:
    """The net with parts of one transition replaced."""
    assert net.has_transition(name)
    return replace(
        net, transitions=tuple(replace(t, **parts) if t.name == name else t for t in net.transitions)
    )


def without(arcs: Iterable[Any], place: str) -> tuple[Any, ...]:
    """Arcs but those of a place."""
    kept = tuple(a for a in arcs if (a if isinstance(a, str) else a.place) != place)
    assert len(kept) < len(tuple(arcs)), f"no arc of {place!r}"
    return kept


def dispatches_while_it_works(net: Net) -> Net:
    t = net.transition("ask.dispatch")
    return changed(net, t.name, takes=without(t.takes, "ask.idle"), reads=(Read("ask.idle"),))


def asks_again_for_free(net: Net) -> Net:
    t = net.transition("ask.c1.again")
    puts = (*without(t.puts, "ask.retries"), Put("ask.retries", Var("budget")))
    return changed(net, t.name, puts=puts)


def asks_again_when_all_is_spent(net: Net) -> Net:
    return changed(net, "ask.c2.again", guard=None)


def forgets_who_is_late(net: Net) -> Net:
    t = net.transition("ask.c1.late")
    return changed(net, t.name, puts=without(t.puts, "ask.c1.result"))


def has_no_deadline(net: Net) -> Net:
    """Nobody goes on without the first child, late or not, and asking it again costs nothing."""
    dropped = ("ask.c1.late", "ask.c1.without")
    kept = tuple(t for t in asks_again_for_free(net).transitions if t.name not in dropped)
    return replace(net, transitions=kept, patterns=())


def hears_who_is_late(step: str) -> Callable[[Net], Net]:
    def mutant(net: Net) -> Net:
        t = net.transition("ask.c1.late")
        return changed(net, t.name, resets=without(t.resets, f"ask.c1.{step}"))

    return mutant


def merges_twice(net: Net) -> Net:
    t = net.transition("ask.merge")
    return changed(net, t.name, puts=(*t.puts, *(p for p in t.puts if p.place == "score")))


def leaves_the_others_at_work(net: Net) -> Net:
    t = net.transition("ask.c1.without")
    return changed(net, t.name, resets=without(t.resets, "ask.c2.todo"))


def a_child_writes(net: Net) -> Net:
    """The second child's commit is the owner's effect, without its verifier."""
    own = net.transition("write.commit")
    t = net.transition("ask.c2.commit")
    assert isinstance(own.trigger, Perform)
    return changed(net, t.name, trigger=replace(own.trigger, payload=None), fresh=own.fresh)


MUTANTS: list[tuple[Callable[[Net], Net], Partial, tuple[str, ...]]] = [
    (dispatches_while_it_works, "drop", ("mutex",)),
    (asks_again_for_free, "drop", ("CTL-4",)),
    (asks_again_when_all_is_spent, "substitute", ("CTL-4",)),
    (forgets_who_is_late, "drop", ("formula", "STATE-1")),
    (has_no_deadline, "drop", ("formula",)),
    (hears_who_is_late("running"), "drop", ("STATE-1",)),
    (hears_who_is_late("todo"), "fail fast", ("STATE-1",)),
    (merges_twice, "drop", ("CTL-4",)),
    (leaves_the_others_at_work, "fail fast", ("STATE-1",)),
    (a_child_writes, "drop", ("CTL-4",)),
]


@pytest.mark.parametrize(("mutant", "partial", "by"), MUTANTS, ids=lambda x: getattr(x, "__name__", None))
def test_a_broken_delegation_is_refuted(
    mutant: Callable[[Net], Net], partial: Partial, by: tuple[str, ...]
) -> None:
    net = mutant(scored(2, 1, partial).build())
    for kind in by:
        refuted = [v for v in prove(net, only=[kind]).verdicts if v.status is Status.REFUTED]
        assert refuted, f"{kind} does not refute it"
        assert all(v.trace is None or v.trace.replays(net) for v in refuted)


# mistakes


def wrong(build: Callable[[NetBuilder], Any]) -> list[tuple[str, str]]:
    """The mistakes of a net, without those that follow from them."""
    net = NetBuilder("wrong")
    build(net)
    with pytest.raises(NetError) as raised:
        net.build()
    assert all(m.hint for m in raised.value.mistakes if m.code.startswith("PN13"))
    return [(m.code, m.message) for m in raised.value.mistakes]


def mistakes(**changes: Any) -> list[tuple[str, str]]:
    def build(net: NetBuilder) -> None:
        places = {"takes": net.entry("inbox", Lead), "gives": net.final("score", Score)}
        net.add(delegation(**(places | changes)))

    return wrong(build)


def child(name: str = "a", **changes: Any) -> Child:
    standard: dict[str, Any] = {"name": name, "gives": View, "work": specialist, "within": DEADLINE}
    return Child(**(standard | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"children": []}, "names of their own"),
        ({"children": [child("a"), child("a")]}, "names of their own"),
        ({"children": [child("a"), child("my churn")]}, "named 'my churn'"),
        ({"children": [child("a"), child("inputs")]}, "named 'inputs'"),
        ({"children": [child("a"), child("class")]}, "named 'class'"),
        ({"children": [child("a"), child("_b")]}, "named '_b'"),
        ({"partial": "fail fast"}, "fails= goes with"),
        ({"children": [child("a"), child("b", instead=lambda inputs: make(View, score=1))]}, "instead= goes"),
        ({"partial": "substitute", "children": [child("a"), child("b")]}, "instead= goes with"),
        ({"partial": "fail_fast"}, "there is no partial='fail_fast'"),
        ({"retries": -1}, "retries is -1"),
        ({"retries": 1001}, "retries is 1001"),
        ({"retries": True}, "retries is True"),
        ({"retries": "3"}, "retries is '3'"),
        ({"children": [child("a"), child("b", within=timedelta(0))]}, "deadline is"),
        ({"children": [child("a"), child("b", within="5 minutes")]}, "deadline is"),
    ],
)
def test_a_delegation_that_cannot_be_is_a_mistake(changes: dict[str, Any], message: str) -> None:
    assert any(code == "PN130" and message in text for code, text in mistakes(**changes))


def writer(at: Slot) -> Contract:
    crm = Effect("crm.write", print, payload=View)
    return replace(specialist(at), commit=crm)


def stubborn(at: Slot) -> Contract:
    return replace(specialist(at), attempts=3)


@pytest.mark.antipattern("AP5", "impossible to express: retries that multiply, by a child and by its owner")
@pytest.mark.parametrize(
    ("work", "message"),
    [
        (writer, "'ask.b.commit' performs an effect"),
        (stubborn, "contract 'ask.b' asks 3 times by itself"),
        (team("fail fast", retries=2), "delegation 'ask.b' asks 3 times by itself"),
    ],
)
def test_a_part_that_a_child_may_not_be_is_a_mistake(work: Any, message: str) -> None:
    found = mistakes(children=[child("a"), child("b", work=work)])
    assert any(code == "PN131" and message in text for code, text in found)


def test_a_part_stays_between_its_places() -> None:
    def build(net: NetBuilder) -> None:
        shared = net.place("notes", View, initial=[View(score=1)])

        def takes_notes(at: Slot) -> Contract:
            return replace(
                specialist(at),
                takes={"inputs": at.takes, "note": shared},
                escalate=lambda inputs: inputs,
            )

        children = [child("a"), child("b", work=takes_notes)]
        net.add(
            delegation(takes=net.entry("inbox", Lead), gives=net.final("score", Score), children=children)
        )

    assert any(code == "PN131" and "'notes'" in text for code, text in wrong(build))


def test_a_model_cannot_merge() -> None:
    found = mistakes(merge=model("anthropic/claude-sonnet-4-6", prompt="Which of them is best?"))
    assert ("PN130", "merge is a ModelProposer, not a lambda") in found


# the merge


NUMBER, MAYBE = INT, OptionalType(INT)
NUMBERS = st.lists(st.none() | st.integers(-100, 100), min_size=1, max_size=8)


@given(values=NUMBERS, default=st.none() | st.integers(-100, 100))
def test_by_priority_is_the_first_that_is_there(values: list[int | None], default: int | None) -> None:
    names = named(len(values))
    terms = [term(name, MAYBE) for name in names]
    expr = expr_of(by_priority(*terms) if default is None else by_priority(*terms, term("d", NUMBER)))
    there = [v for v in (*values, default) if v is not None]
    env = {**dict(zip(names, values, strict=True)), "d": default}
    found = evaluate(expr, env, dict.fromkeys(names, MAYBE) | {"d": NUMBER})
    assert found == (there[0] if there else None)


@given(values=NUMBERS, weights=st.lists(st.integers(1, 9), min_size=8), missing=st.integers(-100, 100))
def test_weighted_is_the_mean_rounded_down(
    values: list[int | None], weights: list[int], missing: int
) -> None:
    names = named(len(values))
    pairs = list(zip((term(name, MAYBE) for name in names), weights, strict=False))
    known = [missing if v is None else v for v in values]
    total = sum(v * w for v, w in zip(known, weights, strict=False))
    expr = expr_of(weighted(*pairs, missing=missing))
    found = evaluate(expr, dict(zip(names, values, strict=True)), dict.fromkeys(names, MAYBE))
    assert found == total // sum(w for _, w in pairs)


@pytest.mark.parametrize("weights", [(), (0,), (1, -1), (True,), (1.5,)])
def test_a_weight_is_a_whole_number_from_one(weights: tuple[Any, ...]) -> None:
    with pytest.raises(ExprError, match="weights"):
        weighted(*((term(f"c{n}", NUMBER), weight) for n, weight in enumerate(weights)))


def test_weights_and_deadlines_are_declared() -> None:
    (info,) = scored(3, 2).build().patterns
    assert (info.kind, info.id, info.figure("retries")) == ("delegation", "ask", 2)
    assert [info.figure(f"weight of {name}") for name in named(3)] == [1, 2, 3]
    assert [info.figure(f"deadline of {name}") for name in named(3)] == [300, 300, 300]
    assert info.part("merge") == ("ask.merge",)
    assert info.part("child") == ("ask.c1", "ask.c2", "ask.c3")
    assert info.part("again") == ("ask.c1.again", "ask.c2.again", "ask.c3.again")
    assert info.part("result") == ("ask.c1.result", "ask.c2.result", "ask.c3.result")
    assert info.part("child c2")[:2] == ("ask.c2", "ask.c2.todo")
    net = NetBuilder("ranked")
    net.add(ranked(net))
    (info,) = net.build().patterns
    assert info.figure("weight of a") is None
    assert info.figure("retries") == 0
    assert info.part("again") == ()


def ranked(net: NetBuilder) -> Delegation:
    return delegation(takes=net.entry("inbox", Lead), gives=net.final("score", Score))


def test_the_handle_knows_its_places_and_what_it_guarantees() -> None:
    net = NetBuilder("handle")
    handle = net.add(replace(ranked(net), retries=1))
    assert handle.idle.name == "ask.idle"
    assert {name: place.type for name, place in handle.results.items()} == dict.fromkeys(
        ("a", "b"), OptionalType(schema_of(View))
    )
    built = net.build()
    assert tuple(r for r in built.requirements) == handle.guarantees
    assert [r.kind for r in handle.guarantees] == ["mutex", "CTL-4", "formula"]
    assert isinstance(built.transition("ask.merge"), Transition)
