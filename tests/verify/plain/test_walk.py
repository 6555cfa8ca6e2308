"""The random walk: whatever it says replays, and what is easy to find it finds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.verify.plain.answer import Budget, Reachable, confirmed
from provenet.verify.plain.engines.walk import Walk
from provenet.verify.plain.logic import FALSE, TRUE, at_least, conj, deadlock, equal, holds
from provenet.verify.plain.net import PTNet
from tests.verify.plain.nets import goals, nets, reachable


@given(nets(), st.data())
def test_it_hits_exactly_what_is_reachable_in_a_small_space(net: PTNet, data: st.DataObject) -> None:
    markings, complete = reachable(net, limit=60)
    wanted = [data.draw(goals(net)) for _ in range(data.draw(st.integers(1, 4)))]
    if data.draw(st.booleans()):
        wanted.insert(data.draw(st.integers(0, len(wanted))), deadlock(net))
    answers = list(Walk(rounds=6).run(net, wanted, Budget.seconds(60)))
    assert len({g for g, _ in answers}) == len(answers)
    for g, answer in answers:
        assert isinstance(answer, Reachable)
        assert confirmed(net, wanted[g], answer)
    if complete:
        expected = {g for g, goal in enumerate(wanted) if any(holds(goal, m) for m in markings)}
        assert {g for g, _ in answers} == expected


@given(nets(), st.data())
def test_the_same_seed_takes_the_same_runs(net: PTNet, data: st.DataObject) -> None:
    wanted = [data.draw(goals(net)) for _ in range(3)]
    first, again = (list(Walk(rounds=2).run(net, wanted, Budget.seconds(60))) for _ in range(2))
    assert first == again


def counters(n: int, most: int) -> PTNet:
    """Counters that go up and down at random; a goal in a corner is far away for a blind walk."""
    return PTNet(
        places=tuple(f"up{i}" for i in range(n)) + tuple(f"down{i}" for i in range(n)),
        transitions=tuple(f"raise{i}" for i in range(n)) + tuple(f"lower{i}" for i in range(n)),
        pre=tuple(((n + i, 1),) for i in range(n)) + tuple(((i, 1),) for i in range(n)),
        post=tuple(((i, 1),) for i in range(n)) + tuple(((n + i, 1),) for i in range(n)),
        initial=(0,) * n + (most,) * n,
    )


def test_it_is_led_to_a_goal_that_blind_steps_do_not_meet() -> None:
    net = counters(6, 20)
    goal = conj(at_least({i: 1}, 18) for i in range(6))
    (found,) = Walk(rounds=9).run(net, [goal], Budget.seconds(60))
    assert isinstance(found[1], Reachable)
    assert confirmed(net, goal, found[1])


def test_a_witness_is_made_short() -> None:
    net = counters(3, 4)
    goal = equal({0: 1}, 4)
    ((_, answer),) = Walk().run(net, [goal], Budget.seconds(60))
    assert answer == Reachable((0, 0, 0, 0), "walk")


def test_goals_true_at_first_need_no_firing() -> None:
    net = counters(1, 1)
    answers = dict(Walk(rounds=1).run(net, [FALSE, TRUE, equal({0: 1}, 0)], Budget.seconds(60)))
    assert answers == {1: Reachable((), "walk"), 2: Reachable((), "walk")}


def test_equal_goals_are_answered_alike() -> None:
    net = counters(2, 2)
    goal = equal({0: 1}, 2)
    answers = dict(Walk(rounds=3).run(net, [goal, goal], Budget.seconds(60)))
    assert answers[0] == answers[1]


def test_an_unbounded_net_is_walked_as_well() -> None:
    net = PTNet(("p",), ("t",), ((),), (((0, 3),),), (0,))
    answers = dict(Walk().run(net, [at_least({0: 1}, 300)], Budget.seconds(60)))
    assert answers == {0: Reachable((0,) * 100, "walk")}


@pytest.mark.parametrize("rounds", [None, 10**9])
def test_it_stops_in_time_and_when_the_goals_are_answered_elsewhere(rounds: int | None) -> None:
    net = counters(4, 4)
    list(Walk(rounds=1).run(net, [FALSE], Budget.seconds(60)))
    began = time.monotonic()
    assert not list(Walk(rounds=rounds).run(net, [FALSE], Budget.seconds(0.3)))
    assert time.monotonic() - began < 2.0
    elsewhere = Budget(time.monotonic() + 60, answered=lambda _: True)
    assert not list(Walk(rounds=rounds).run(net, [FALSE], elsewhere))
    assert time.monotonic() - began < 10.0


def test_a_net_that_is_dead_at_first_has_nowhere_to_go() -> None:
    net = PTNet(("p",), ("t",), (((0, 1),),), ((),), (0,))
    answers = dict(Walk(rounds=3).run(net, [at_least({0: 1}, 1), deadlock(net)], Budget.seconds(60)))
    assert answers == {1: Reachable((), "walk")}
