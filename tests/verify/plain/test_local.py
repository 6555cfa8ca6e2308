"""Local search for CTL formulas against the meaning of each operator."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.local import Local, Search
from provenet.verify.plain.logic import at_least, at_most, conj, disj, holds
from provenet.verify.plain.net import PTNet
from tests.verify.plain.formulas import branching, graph_of, satisfying
from tests.verify.plain.nets import goals, nets

LIMIT = 150


@settings(max_examples=250)
@given(nets(most_places=4, most_transitions=5), st.data())
def test_every_answer_is_what_the_operators_mean(net: PTNet, data: st.DataObject) -> None:
    graph = graph_of(net, limit=LIMIT)
    if graph is None:
        return
    formulas = [tl.simplified(data.draw(branching(net))) for _ in range(3)]
    found = {i: s.holds for i, s in Local().run(net, formulas, Budget.seconds(60))}
    assert found == {i: net.initial in satisfying(graph, f) for i, f in enumerate(formulas)}


@settings(max_examples=200)
@given(nets(most_places=4, most_transitions=5), st.integers(1, 40), st.data())
def test_a_limit_ends_a_search_not_the_truth(net: PTNet, limit: int, data: st.DataObject) -> None:
    graph = graph_of(net, limit=LIMIT)
    if graph is None:
        return
    formula = tl.simplified(data.draw(branching(net)))
    search = Search(net, 100_000, Budget.seconds(60), Random(1))
    for _ in range(3):
        # What an earlier search left behind must not mislead a later one.
        assert search.value(formula, limit) in (net.initial in satisfying(graph, formula), None)
        limit *= 2


def test_what_the_first_markings_decide_needs_no_others() -> None:
    endless = PTNet(("p", "q"), ("more", "other"), ((), ()), (((0, 1),), ((1, 1),)), (0, 0))
    some, many = tl.Now(at_least({0: 1}, 1)), tl.Now(at_least({0: 1}, 200))
    formulas: list[tl.Temporal] = [
        tl.A(tl.F(tl.Now(at_least({0: 1, 1: 1}, 20)))),
        tl.E(tl.F(tl.Both((many, tl.E(tl.X(many)))))),
        tl.A(tl.U(tl.Now(at_most({0: 1, 1: 1}, 3)), tl.E(tl.X(tl.E(tl.X(some)))))),
    ]
    found = {i: s.holds for i, s in Local().run(endless, formulas, Budget.seconds(60))}
    assert found == {0: True, 1: True, 2: True}


@settings(max_examples=300)
@given(nets(most_transitions=1), st.data())
def test_compiled_conditions_mean_what_they_say(net: PTNet, data: st.DataObject) -> None:
    goal = data.draw(goals(net, depth=3))
    search = Search(net, 20, Budget.seconds(60), Random(1))
    assert search.value(tl.Now(goal), 1) == holds(goal, net.initial)
    singles = st.tuples(st.integers(0, len(net.places) - 1), st.sampled_from([1, -1]), st.integers(-3, 3))
    bounds = data.draw(st.lists(singles, max_size=6))
    for join in (conj, disj):
        condition = join(at_most({p: c}, n) for p, c, n in bounds)
        assert search.value(tl.Now(condition), 1) == holds(condition, net.initial)
