"""The steps of a reduction, gone through again: the engines' own hold, and no changed one loses a marking."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from provenet.verify.independent import counting, reductions
from provenet.verify.independent.counting import Goal, Plain
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.plain import logic
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.reductions import reduced
from tests.verify.independent.support import plain_net
from tests.verify.independent.test_false_claims import entry, outcome
from tests.verify.plain.nets import goals, nets

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))


def as_goal(formula: logic.Formula) -> Goal:
    match formula:
        case logic.Le(terms, bound):
            return ("<=", terms, bound)
        case logic.And(parts):
            return ("and", tuple(map(as_goal, parts)))
        case logic.Or(parts):
            return ("or", tuple(map(as_goal, parts)))


def steps_of(pt: PTNet, goal: logic.Formula, growth: int) -> list[Any]:
    return [[rule, list(gone)] for rule, gone in reduced(pt, goal, growth=growth).rules]


def reaches(net: Plain, goal: Goal) -> bool:
    """Whether a marking of the goal can be reached; nothing is said of nets with many markings."""
    try:
        space = counting.explored(net, net.initial, deadline=time.monotonic() + 0.03)
    except NotHere:
        assume(False)
        raise
    return any(counting.holds(goal, m) for m in space.markings)


@settings(SLOW, max_examples=100)
@given(st.data())
def test_steps_of_the_engines_hold(data: st.DataObject) -> None:
    pt = data.draw(nets())
    formula = data.draw(goals(pt))
    steps = steps_of(pt, formula, data.draw(st.integers(0, 8)))
    net, goal = counting.plain(plain_net(pt)), as_goal(formula)
    small, left = reductions.smaller(net, goal, steps, deadline=time.monotonic() + 10)
    assert reaches(small, left) == reaches(net, goal)


@settings(SLOW, max_examples=150)
@given(st.data())
def test_no_other_steps_lose_a_marking_of_the_goal(data: st.DataObject) -> None:
    pt = data.draw(nets(most_places=4, most_transitions=5))
    formula = data.draw(goals(pt, depth=1))
    net, goal = counting.plain(plain_net(pt)), as_goal(formula)
    steps = steps_of(pt, formula, 8)
    numbers = st.integers(0, max(len(pt.places), len(pt.transitions)) + 2)
    made = st.lists(st.tuples(st.sampled_from(sorted(reductions.RULES)), st.lists(numbers, max_size=2)))
    at = data.draw(st.integers(0, len(steps)))
    steps = [*steps[:at], *map(list, data.draw(made)), *steps[at + data.draw(st.integers(0, 1)) :]]
    try:
        small, left = reductions.smaller(net, goal, steps, deadline=time.monotonic() + 10)
    except (Refused, KeyError):
        return
    assert reaches(small, left) or not reaches(net, goal)


def doubled() -> PTNet:
    """A token goes from a to b and back; one of the ways is there twice."""
    there, back = ((0, 1),), ((1, 1),)
    return PTNet(("a", "b"), ("go", "back", "go too"), (there, back, there), (back, there, back), (1, 0))


EQUATION = {"traps": [], "empty": [], "dead": [], "numbers": "real"}


@pytest.mark.parametrize(
    ("rule", "number", "inside", "wanted"),
    [
        ("dominated transition", 2, ("explored", {"markings": 2, "firings": 2}), "re-checked"),
        ("dominated transition", 2, ("state equation", EQUATION), "re-checked"),
        ("dominated transition", 2, ("explored", {"markings": 2, "firings": 3}), "refused"),
        ("dominated transition", 1, ("explored", {"markings": 2, "firings": 2}), "refused"),
        ("dominated transition", 7, ("explored", {"markings": 2, "firings": 2}), "refused"),
        ("never marked", 2, ("explored", {"markings": 2, "firings": 2}), "refused"),
        ("unread place", 0, ("explored", {"markings": 2, "firings": 2}), "refused"),
        ("luck", 2, ("explored", {"markings": 2, "firings": 2}), "not re-checked"),
    ],
)
def test_a_proof_on_a_smaller_net(rule: str, number: int, inside: tuple[str, Any], wanted: str) -> None:
    net = plain_net(doubled())
    inner = {"kind": inside[0], "data": inside[1]}
    data = {"rules": [[rule, [number]]], "goal": "", "evidence": inner}
    told = entry("STATE-2", "", "PROVED", [{"kind": "reduced", "data": data}])
    assert outcome(net, {**told, "title": "no place ever holds more than 1 tokens"}) == wanted
