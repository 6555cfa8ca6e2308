"""Reductions against plain search: the goal is reachable on the smaller net as on the net, and runs lift."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain.answer import Reachable, confirmed
from provenet.verify.plain.logic import Formula, at_least, conj, holds
from provenet.verify.plain.net import Counts, PTNet
from provenet.verify.plain.reductions import RULES, reduced
from tests.verify.plain.nets import goals, nets, truth


def _run_to(net: PTNet, goal: Formula, limit: int = 2_000) -> tuple[int, ...] | None:
    seen: dict[Counts, tuple[int, ...]] = {net.initial: ()}
    queue = [net.initial]
    for marking in queue:
        if holds(goal, marking):
            return seen[marking]
        for t in range(len(net.transitions)):
            if net.enabled(marking, t) and len(seen) < limit:
                after = net.fire(marking, t)
                if after not in seen:
                    seen[after] = (*seen[marking], t)
                    queue.append(after)
    return None


@pytest.mark.parametrize("rules", [None, *([name] for name in RULES)], ids=["all", *RULES])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_goal_is_as_reachable_as_before(data: st.DataObject, rules: list[str] | None) -> None:
    net = data.draw(nets(most_places=7, most_transitions=8))
    goal = data.draw(goals(net))
    smaller = reduced(net, goal, rules=rules, growth=data.draw(st.sampled_from([0, 9])))
    before, after = truth(net, goal), truth(smaller.net, smaller.goal)
    assert before is None or after is None or before == after
    run = _run_to(smaller.net, smaller.goal)
    if run is not None:
        assert confirmed(net, goal, Reachable(smaller.lift(run), "lifted"))


@pytest.mark.parametrize("rules", [None, *([name] for name in RULES)], ids=["all", *RULES])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_sparse_nets_too(data: st.DataObject, rules: list[str] | None) -> None:
    """Nets of sequences, where agglomeration applies."""
    places = data.draw(st.integers(3, 8))
    one = st.integers(0, places - 1)
    some = st.lists(one, min_size=1, max_size=2, unique=True)
    arcs = data.draw(st.lists(st.tuples(some, some), min_size=2, max_size=10))
    net = PTNet(
        places=tuple(f"p{i}" for i in range(places)),
        transitions=tuple(f"t{i}" for i in range(len(arcs))),
        pre=tuple(tuple((p, 1) for p in sorted(a)) for a, _ in arcs),
        post=tuple(tuple((p, 1) for p in sorted(b)) for _, b in arcs),
        initial=tuple(data.draw(st.sampled_from([0, 0, 1])) for _ in range(places)),
    )
    goal = data.draw(goals(net, depth=1))
    smaller = reduced(net, goal, rules=rules, growth=data.draw(st.sampled_from([0, 9])))
    before, after = truth(net, goal), truth(smaller.net, smaller.goal)
    assert before is None or after is None or before == after
    run = _run_to(smaller.net, smaller.goal)
    if run is not None:
        assert confirmed(net, goal, Reachable(smaller.lift(run), "lifted"))


def _chain(length: int) -> PTNet:
    return PTNet(
        places=tuple(f"p{i}" for i in range(length + 1)),
        transitions=tuple(f"t{i}" for i in range(length)),
        pre=tuple(((i, 1),) for i in range(length)),
        post=tuple(((i + 1, 1),) for i in range(length)),
        initial=(1, *[0] * length),
    )


def test_a_chain_becomes_one_step() -> None:
    net = _chain(9)
    smaller = reduced(net, at_least({9: 1}, 1))
    assert len(smaller.net.transitions) == 1
    assert smaller.lift((0,)) == tuple(range(9))
    assert smaller.net.pre == (((0, 1),),) or len(smaller.net.places) <= 2


def test_what_the_goal_reads_is_kept() -> None:
    net = _chain(4)
    smaller = reduced(net, conj([at_least({2: 1}, 1), at_least({4: 1}, 1)]))
    assert "p2" in smaller.net.places
    assert truth(smaller.net, smaller.goal) is False
