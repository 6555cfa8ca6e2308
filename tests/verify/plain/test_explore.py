"""Explicit exploration against plain search in Python."""

from __future__ import annotations

import csv
import time
from collections import deque
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.formats.pnml import read_pnml
from provenet.verify.plain.answer import Budget, Explored, Reachable, Unreachable, confirmed
from provenet.verify.plain.engines.explore import Explore
from provenet.verify.plain.engines.space import Space, Stop
from provenet.verify.plain.engines.state_graph import state_graph
from provenet.verify.plain.logic import FALSE, TRUE, at_least, conj, deadlock, equal, exactly, fireable, holds
from provenet.verify.plain.net import PTNet, plain_net
from tests.verify.plain.nets import goals, nets, reachable

CONTEST = Path(__file__).parents[4] / "shared" / "mcc"


def edges_of(net: PTNet, markings: set[tuple[int, ...]]) -> int:
    return sum(net.enabled(m, t) for m in markings for t in range(len(net.transitions)))


def shortest(net: PTNet, goal_markings: set[tuple[int, ...]]) -> int:
    depth = {net.initial: 0}
    queue = deque(depth)
    while queue:
        at = queue.popleft()
        if at in goal_markings:
            return depth[at]
        for t in range(len(net.transitions)):
            if net.enabled(at, t):
                after = net.fire(at, t)
                if after not in depth:
                    depth[after] = depth[at] + 1
                    queue.append(after)
    raise AssertionError("no marking of the goal is reachable")


def ring(n: int, tokens: int) -> PTNet:
    """Tokens that go round: places fill far beyond their first counts."""
    return PTNet(
        places=tuple(f"p{i}" for i in range(n)),
        transitions=tuple(f"t{i}" for i in range(n)),
        pre=tuple(((i, 1),) for i in range(n)),
        post=tuple((((i + 1) % n, 1),) for i in range(n)),
        initial=(tokens, *[0] * (n - 1)),
    )


def independent(n: int) -> PTNet:
    """Switches that each turn on once: 2 ** n markings, n + 1 of them on one stubborn path."""
    return PTNet(
        places=tuple(f"off{i}" for i in range(n)) + tuple(f"on{i}" for i in range(n)),
        transitions=tuple(f"t{i}" for i in range(n)),
        pre=tuple(((i, 1),) for i in range(n)),
        post=tuple(((n + i, 1),) for i in range(n)),
        initial=(1,) * n + (0,) * n,
    )


@given(nets())
def test_states_edges_and_markings_are_those_of_plain_search(net: PTNet) -> None:
    markings, complete = reachable(net, limit=300)
    if not complete:
        return
    graph = state_graph(net, Budget.seconds(60))
    assert graph is not None
    assert graph.complete
    assert graph.count == len(markings)
    assert {graph.marking(i) for i in range(graph.count)} == markings
    assert list(map(tuple, graph.matrix().tolist())) == [graph.marking(i) for i in range(graph.count)]
    assert len(graph.target) == edges_of(net, markings)
    for i in range(graph.count):
        after = {
            (int(graph.transition[e]), graph.marking(int(graph.target[e])))
            for e in range(graph.edge_at[i], graph.edge_at[i + 1])
        }
        at = graph.marking(i)
        fires = {(t, net.fire(at, t)) for t in range(len(net.transitions)) if net.enabled(at, t)}
        assert after == fires
        assert len(fires) == graph.edge_at[i + 1] - graph.edge_at[i]
        assert net.replay(graph.trace_to(i)) == at
        assert len(graph.trace_to(i)) == shortest(net, {at})
        assert graph.number_of(at) == i
    assert graph.number_of([n + 1000 for n in net.initial]) is None


@given(nets(), st.data())
def test_a_formula_holds_in_the_graph_where_it_holds(net: PTNet, data: st.DataObject) -> None:
    graph = state_graph(net, Budget.seconds(60, memory=1 << 16))
    assert graph is not None
    goal = data.draw(goals(net))
    expected = [holds(goal, graph.marking(i)) for i in range(min(graph.count, 300))]
    assert graph.satisfying(goal)[:300].tolist() == expected


@pytest.mark.parametrize("order", ["breadth", "nearest"])
@pytest.mark.parametrize("stubborn", ["on", "off"])
@given(nets(), st.data())
def test_answers_are_those_of_plain_search(
    stubborn: Literal["on", "off"], order: Literal["breadth", "nearest"], net: PTNet, data: st.DataObject
) -> None:
    markings, complete = reachable(net, limit=300)
    if not complete:
        return
    wanted = [data.draw(goals(net)) for _ in range(data.draw(st.integers(1, 4)))]
    if data.draw(st.booleans()):
        wanted.insert(data.draw(st.integers(0, len(wanted))), deadlock(net))
    engine = Explore(stubborn=stubborn, order=order)
    answers = dict(engine.run(net, wanted, Budget.seconds(60)))
    assert sorted(answers) == list(range(len(wanted)))
    for g, answer in answers.items():
        satisfying = {m for m in markings if holds(wanted[g], m)}
        assert isinstance(answer, Reachable) == bool(satisfying)
        if isinstance(answer, Reachable):
            assert confirmed(net, wanted[g], answer)
            if order == "breadth":
                assert len(answer.firings) == shortest(net, satisfying)
        elif stubborn == "off":
            assert answer.evidence == Explored(len(markings), edges_of(net, markings))


@given(nets(), st.data())
def test_an_answer_on_any_net_is_right_even_where_the_budget_ends(net: PTNet, data: st.DataObject) -> None:
    wanted = [data.draw(goals(net)), deadlock(net)]
    markings, _ = reachable(net, limit=300)
    for g, answer in Explore().run(net, wanted, Budget.seconds(0.05, memory=1 << 17)):
        if isinstance(answer, Reachable):
            assert confirmed(net, wanted[g], answer)
        else:
            assert not any(holds(wanted[g], m) for m in markings)


def test_constants_are_goals_too() -> None:
    answers = dict(Explore().run(ring(3, 1), [TRUE, FALSE], Budget.seconds(60)))
    assert answers[0] == Reachable((), "explore")
    assert isinstance(answers[1], Unreachable)


def test_a_net_without_transitions_has_one_marking_and_is_dead() -> None:
    net = PTNet(("p",), (), (), (), (1,))
    assert dict(Explore().run(net, [deadlock(net)], Budget.seconds(60))) == {0: Reachable((), "explore")}


def test_fields_widen_while_places_fill() -> None:
    graph = state_graph(ring(4, 40), Budget.seconds(60))
    assert graph is not None
    assert graph.count == 12_341  # 43 choose 3
    assert set(graph.matrix().sum(axis=1).tolist()) == {40}


def test_many_words_hold_a_wide_net() -> None:
    graph = state_graph(ring(300, 1), Budget.seconds(60))
    assert graph is not None
    assert graph.count == 300
    assert graph.matrix().sum() == 300


def test_stubborn_sets_follow_one_of_many_orders() -> None:
    net = independent(14)
    goal = deadlock(net)
    spaces = {}
    for stubborn in ("on", "off"):
        assert stubborn in {"on", "off"}
        space = Space(net, [goal], Budget.seconds(60), stubborn="on" if stubborn == "on" else "off")
        why, hit = space.advance()
        assert (why, hit) == (Stop.HIT, 0)
        assert len(space.trace()) == 14
        spaces[stubborn] = space.count
    assert spaces == {"on": 15, "off": 2**14}


def test_stubborn_sets_look_only_at_what_the_goal_needs() -> None:
    net = independent(14)
    goal = conj((at_least({14: 1}, 1), equal({15: 1}, 0), at_least({14: 1}, 2)))
    (answer,) = dict(Explore().run(net, [goal], Budget.seconds(60))).values()
    assert isinstance(answer, Unreachable)
    assert isinstance(answer.evidence, Explored)
    assert answer.evidence.reduced == "stubborn sets"
    assert answer.evidence.markings <= 2


@pytest.mark.parametrize("memory", [1 << 16, 1 << 20, 1 << 22])
@pytest.mark.parametrize("edges", ["kept", "counted"])
def test_memory_is_never_more_than_allowed(memory: int, edges: Literal["kept", "counted"]) -> None:
    space = Space(ring(12, 12), (), Budget.seconds(60, memory=memory), edges=edges)
    assert space.advance() == (Stop.MEMORY, -1)
    assert space.bytes_used > memory // 3
    assert space.bytes_used <= memory


def test_an_unbounded_net_stops_at_its_limits() -> None:
    net = PTNet(("p",), ("t",), ((),), (((0, 1 << 20),),), (0,))
    assert not dict(Explore(stubborn="off").run(net, [equal({0: 1}, 1)], Budget.seconds(60)))
    (answer,) = dict(Explore().run(net, [at_least({0: 1}, 1 << 29)], Budget.seconds(60))).values()
    assert isinstance(answer, Reachable)
    assert len(answer.firings) == 512


def test_the_deadline_is_kept() -> None:
    net = ring(16, 40)
    Space(net, (), Budget.seconds(0.01)).advance()
    began = time.monotonic()
    space = Space(net, (), Budget.seconds(0.3))
    assert space.advance() == (Stop.TIME, -1)
    assert time.monotonic() - began < 1.0


def test_numbers_beyond_the_machine_are_left_to_others() -> None:
    huge = 1 << 70
    net = PTNet(("p", "q"), ("t",), (((0, huge),),), (((1, 1),),), (huge, 0))
    assert not list(Explore().run(net, [equal({1: 1}, 1)], Budget.seconds(60)))
    assert state_graph(net, Budget.seconds(60)) is None
    small = ring(2, 1)
    assert not list(Explore().run(small, [at_least({0: huge}, huge)], Budget.seconds(60)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1, 1 << 15, (1 << 15) + 1, (1 << 30) - 1])
@pytest.mark.parametrize("weight", [1, 1 << 20, (1 << 31) - 1])
def test_the_nearest_markings_are_told_apart_whatever_the_numbers(factor: int, weight: int) -> None:
    net = PTNet(
        places=("seed", "p", "q", "r"),
        transitions=("grow", "move"),
        pre=(((0, 1),), ((1, weight),)),
        post=(((1, weight),), ((2, 1), (3, weight))),
        initial=(1, 0, 0, 0),
    )
    asked = [
        at_least({3: factor, 1: -1}, factor * weight),
        at_least({1: factor, 2: factor}, factor * weight + 1),
    ]
    told = dict(Explore(order="nearest").run(net, asked, Budget.seconds(20)))
    assert isinstance(told[0], Reachable)
    assert isinstance(told[1], Unreachable)


def test_every_dead_transition_is_found_in_one_pass() -> None:
    net = PTNet(
        places=("a", "b", "c"),
        transitions=("go", "never", "back"),
        pre=(((0, 1),), ((2, 1),), ((1, 1),)),
        post=(((1, 1),), ((0, 1),), ((0, 1),)),
        initial=(1, 0, 0),
    )
    answers = dict(Explore().run(net, [fireable(net, t) for t in range(3)], Budget.seconds(60)))
    assert [isinstance(answers[t], Reachable) for t in range(3)] == [True, False, True]


def test_exactly_one_marking_is_a_goal() -> None:
    net = ring(5, 3)
    goal = exactly((0, 0, 1, 1, 1))
    (answer,) = dict(Explore(order="nearest").run(net, [goal], Budget.seconds(60))).values()
    assert isinstance(answer, Reachable)
    assert confirmed(net, goal, answer)


def published() -> list[tuple[str, int]]:
    index = CONTEST / "INDEX.csv"
    if not index.exists():
        return []
    with index.open(encoding="utf-8") as file:
        return [
            (row["instance"], int(row["states"]))
            for row in csv.DictReader(file)
            if row["states"].isdigit() and int(row["states"]) < 100_000
        ]


@pytest.mark.skipif(not CONTEST.exists(), reason="the contest's nets are not here (../shared/mcc)")
@pytest.mark.parametrize(("name", "states"), published())
def test_counts_are_the_published_ones(name: str, states: int) -> None:
    space = Space(plain_net(read_pnml(CONTEST / name / "model.pnml")), (), Budget.seconds(60))
    assert space.advance() == (Stop.DONE, -1)
    assert space.count == states
