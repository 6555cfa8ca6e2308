"""Equivalences and bounds of CTL formulas against the meaning of each operator."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Answer, Inductive, Reachable, Unreachable
from provenet.verify.plain.constants import facts, questions
from provenet.verify.plain.logic import Formula, at_least, at_most, deadlock, exactly, holds
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.rules import Rules, state_formulas, with_values
from provenet.verify.plain.runs import Runs, all_runs_end, all_runs_return
from tests.verify.plain.formulas import Graph, branching, graph_of, satisfying
from tests.verify.plain.nets import nets

LIMIT = 150


def rules_of(net: PTNet, graph: Graph, data: st.DataObject) -> Rules:
    """Rules with all, or less, of what is known of the net."""
    alive = all(graph.values()) and data.draw(st.booleans())
    known: list[Runs] = ["may go on"]
    if all_runs_end(net, seconds=10):
        known.append("end")
    if returns(net, graph):
        known.append("return")
    return Rules(net, data.draw(st.sampled_from(known)), "none" if alive else "possible")


def returns(net: PTNet, graph: Graph) -> bool:
    """Whether every marking leads to the initial one, which is no deadlock."""
    home = tl.Now(exactly(net.initial))
    return bool(graph[net.initial]) and satisfying(graph, tl.E(tl.F(home))) == set(graph)


@settings(max_examples=150)
@given(nets(most_places=4, most_transitions=5), st.data())
def test_a_smaller_formula_holds_where_the_formula_does(net: PTNet, data: st.DataObject) -> None:
    graph = graph_of(net, limit=LIMIT)
    if graph is None:
        return
    formula = tl.simplified(data.draw(branching(net, depth=4)))
    assert satisfying(graph, rules_of(net, graph, data).smaller(formula)) == satisfying(graph, formula)


@settings(max_examples=150)
@given(nets(most_places=4, most_transitions=5), st.data())
def test_bounds_hold_in_fewer_and_in_more_markings(net: PTNet, data: st.DataObject) -> None:
    graph = graph_of(net, limit=LIMIT)
    if graph is None:
        return
    formula = tl.simplified(data.draw(branching(net)))
    rules = rules_of(net, graph, data)
    where = satisfying(graph, formula)
    assert {m for m in graph if holds(rules.at_least(formula), m)} <= where
    assert where <= {m for m in graph if holds(rules.at_most(formula), m)}


@given(nets(most_places=4, most_transitions=5), st.data())
def test_what_has_one_value_everywhere_may_be_that_constant(net: PTNet, data: st.DataObject) -> None:
    graph = graph_of(net, limit=LIMIT)
    if graph is None:
        return
    formula = tl.simplified(data.draw(branching(net)))
    values = {}
    for part in state_formulas(formula):
        where = satisfying(graph, part)
        if part != formula and len(where) in (0, len(graph)):
            values[part] = bool(where)
    assert satisfying(graph, tl.simplified(with_values(formula, values))) == satisfying(graph, formula)


@settings(max_examples=200)
@given(nets(most_places=4, most_transitions=4))
def test_where_all_runs_are_said_to_end_no_marking_comes_back(net: PTNet) -> None:
    if not all_runs_end(net, seconds=10):
        return
    graph = graph_of(net, limit=2_000)
    if graph is None:
        return
    ends = satisfying(graph, tl.A(tl.F(tl.Now(deadlock(net)))))
    assert ends == set(graph)


@settings(max_examples=200)
@given(nets(most_places=4, most_transitions=5))
def test_where_all_runs_are_said_to_return_they_do(net: PTNet) -> None:
    graph = graph_of(net, limit=LIMIT)
    if graph is not None and all_runs_return(net, seconds=10):
        assert returns(net, graph)


def test_what_binds_and_comes_apart_returns() -> None:
    # An enzyme binds and changes the substrate, another one changes it back.
    steps = [((0, 1), (2,)), ((2,), (0, 1)), ((2,), (0, 3)), ((3, 4), (5,)), ((5,), (3, 4)), ((5,), (4, 1))]
    cycle = PTNet(
        places=("enzyme", "a", "enzyme-a", "b", "other", "other-b"),
        transitions=tuple(f"t{i}" for i in range(len(steps))),
        pre=tuple(tuple((p, 1) for p in pre) for pre, _ in steps),
        post=tuple(tuple((p, 1) for p in sorted(post)) for _, post in steps),
        initial=(2, 5, 0, 0, 2, 0),
    )
    assert all_runs_return(cycle, seconds=20)
    assert not all_runs_return(replace(cycle, initial=(2, 5, 0, 0, 0, 0)), seconds=20)


def test_a_net_that_may_go_on_is_not_said_to_end() -> None:
    ring = PTNet(("a", "b"), ("go", "back"), (((0, 1),), ((1, 1),)), (((1, 1),), ((0, 1),)), (1, 0))
    line = PTNet(("a", "b"), ("go",), (((0, 1),),), (((1, 1),),), (1, 0))
    assert not all_runs_end(ring, seconds=10)
    assert all_runs_end(line, seconds=10)


def test_nested_operators_that_ask_for_reachability_become_it() -> None:
    net = PTNet(("a", "b"), ("go", "back"), (((0, 1),), ((1, 1),)), (((1, 1),), ((0, 1),)), (1, 0))
    p, q = tl.Now(at_least({0: 1}, 1)), tl.Now(at_most({1: 1}, 0))
    rules = Rules(net)
    for formula, expected in (
        (tl.E(tl.F(tl.A(tl.U(p, tl.E(tl.U(p, tl.E(tl.F(q)))))))), tl.E(tl.F(q))),
        (tl.A(tl.G(tl.E(tl.R(p, q)))), tl.A(tl.G(q))),
        (tl.E(tl.G(tl.A(tl.G(p)))), tl.A(tl.G(p))),
        (tl.A(tl.F(tl.A(tl.U(p, q)))), tl.A(tl.F(q))),
    ):
        assert rules.smaller(tl.simplified(formula)) == expected


@settings(max_examples=150)
@given(nets(most_places=4, most_transitions=5), st.data())
def test_what_reachability_tells_of_parts_is_so(net: PTNet, data: st.DataObject) -> None:
    graph = graph_of(net, limit=LIMIT)
    if graph is None:
        return
    formula = tl.simplified(data.draw(branching(net)))
    rules = rules_of(net, graph, data)
    asked = questions(rules, [formula])
    known: dict[Formula, Answer] = {}
    for bound in asked:
        if any(holds(bound.goal, m) for m in graph):
            known[bound.goal] = Reachable((), "test")
        else:
            known[bound.goal] = Unreachable(Inductive(bound.goal), "test")
    found = facts(rules, asked, known)
    for part, (value, _) in found.everywhere.items():
        assert satisfying(graph, part) == (set(graph) if value else set())
    for part, (value, _) in found.at_first.items():
        assert (net.initial in satisfying(graph, part)) == value
    changed, _ = found.applied(formula)
    assert satisfying(graph, changed) == satisfying(graph, formula)
