"""CTL on state graphs against the meaning of each operator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.decide import decide
from provenet.verify.plain.engines.ctl import Labelling
from provenet.verify.plain.engines.free_choice_live import FreeChoiceLive
from provenet.verify.plain.engines.space import Space, Stop
from provenet.verify.plain.engines.state_graph import so_far, state_graph
from provenet.verify.plain.engines.temporal_graph import TemporalGraph
from provenet.verify.plain.examination import global_property
from provenet.verify.plain.hints import at_the_end
from provenet.verify.plain.logic import FALSE, TRUE, at_least, at_most, deadlock, holds
from provenet.verify.plain.net import PTNet
from tests.verify.plain.formulas import branching, graph_of, satisfying
from tests.verify.plain.nets import goals, nets

LIMIT = 150


@given(nets(most_places=4, most_transitions=5), st.data())
def test_every_marking_gets_the_value_that_the_operators_mean(net: PTNet, data: st.DataObject) -> None:
    expected = graph_of(net, limit=LIMIT)
    if expected is None:
        return
    formula = data.draw(branching(net))
    graph = state_graph(net, Budget.seconds(60))
    assert graph is not None
    found = Labelling(graph).bounds(tl.simplified(formula))
    where = satisfying(expected, formula)
    assert [graph.marking(i) in where for i in range(graph.count)] == found.surely.tolist()
    assert found.surely.tolist() == found.maybe.tolist()


@given(nets(most_places=4, most_transitions=5), st.data())
def test_the_opposite_has_the_opposite_value_and_a_name_does_not_matter(
    net: PTNet, data: st.DataObject
) -> None:
    graph = state_graph(net, Budget.seconds(60, memory=1 << 18))
    assert graph is not None
    formula = data.draw(branching(net))
    value = Labelling(graph).value(tl.simplified(formula))
    opposite = Labelling(graph).value(tl.simplified(formula, negated=True))
    assert (value, opposite) in {(True, False), (False, True), (None, None)}
    renamed = replace(net, places=tuple(f"x{p}" for p in net.places))
    again = state_graph(renamed, Budget.seconds(60, memory=1 << 18))
    assert again is not None
    if graph.complete:
        assert Labelling(again).value(tl.simplified(formula)) == value


@given(nets(most_places=4, most_transitions=5), st.data())
def test_a_part_of_the_graph_never_tells_more_than_is_so(net: PTNet, data: st.DataObject) -> None:
    expected = graph_of(net, limit=LIMIT)
    if expected is None:
        return
    formula = data.draw(branching(net))
    truth = net.initial in satisfying(expected, formula)
    whole = state_graph(net, Budget.seconds(60))
    assert whole is not None
    finished = data.draw(st.integers(0, whole.finished))
    edges = int(whole.edge_at[finished])
    known = max(finished, 1 + max([0, *whole.target[:edges].tolist()]))
    part = replace(
        whole,
        finished=finished,
        stop=Stop.TIME,
        edge_at=whole.edge_at[: finished + 1].copy(),
        target=whole.target[:edges].copy(),
        transition=whole.transition[:edges].copy(),
    )
    assert known <= whole.count
    assert Labelling(part).value(tl.simplified(formula)) in (truth, None)


@given(nets(most_places=4, most_transitions=5), st.data())
def test_always_possible_is_told_by_terminal_components(net: PTNet, data: st.DataObject) -> None:
    expected = graph_of(net, limit=LIMIT)
    if expected is None:
        return
    graph = state_graph(net, Budget.seconds(60))
    assert graph is not None
    formula = tl.A(tl.G(tl.E(tl.F(tl.Now(data.draw(goals(net)))))))
    simple = tl.simplified(formula)
    assert Labelling(graph).value(simple) == (net.initial in satisfying(expected, formula))


@given(nets(most_places=4, most_transitions=5), st.data())
def test_a_deadlock_decides_what_it_is_said_to_decide(net: PTNet, data: st.DataObject) -> None:
    expected = graph_of(net, limit=LIMIT)
    if expected is None:
        return
    formula = data.draw(branching(net))
    quantified = tl.simplified(tl.A(tl.G(formula)))
    goal = at_the_end(quantified)
    if goal is None or not any(holds(goal, m) for m, after in expected.items() if not after):
        return
    assert net.initial not in satisfying(expected, quantified)


def chain(n: int) -> PTNet:
    """One token that steps from place to place and stays in the last one."""
    return PTNet(
        places=tuple(f"p{i}" for i in range(n)),
        transitions=tuple(f"t{i}" for i in range(n - 1)),
        pre=tuple(((i, 1),) for i in range(n - 1)),
        post=tuple(((i + 1, 1),) for i in range(n - 1)),
        initial=(1, *[0] * (n - 1)),
    )


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (tl.A(tl.X(tl.Now(FALSE))), True),
        (tl.E(tl.X(tl.Now(TRUE))), False),
        (tl.A(tl.F(tl.Now(at_least({0: 1}, 2)))), False),
        (tl.E(tl.G(tl.Now(at_least({0: 1}, 1)))), True),
        (tl.A(tl.U(tl.Now(TRUE), tl.Now(at_most({0: 1}, 0)))), False),
        (tl.A(tl.R(tl.Now(FALSE), tl.Now(at_least({0: 1}, 1)))), True),
    ],
)
def test_in_a_deadlock(formula: tl.Temporal, expected: bool) -> None:
    assert [d.holds for _, d in decide(chain(1), [formula], Budget.seconds(60))] == [expected]


def test_a_formula_on_an_endless_net_is_decided_by_a_part_of_it() -> None:
    endless = PTNet(("p",), ("more",), ((),), (((0, 1),),), (0,))
    formulas: list[tl.Temporal] = [
        tl.A(tl.F(tl.Now(at_least({0: 1}, 50)))),
        tl.E(tl.G(tl.Now(at_most({0: 1}, 50)))),
        tl.A(tl.X(tl.A(tl.X(tl.Now(at_least({0: 1}, 2)))))),
    ]
    found = dict(TemporalGraph().run(endless, formulas, Budget.seconds(60, memory=1 << 20)))
    assert {i: s.holds for i, s in found.items()} == {0: True, 1: False, 2: True}


def test_a_broken_always_comes_with_a_shortest_run() -> None:
    net = chain(6)
    formula = tl.simplified(tl.A(tl.G(tl.E(tl.F(tl.Now(at_least({2: 1}, 1)))))))
    found = dict(TemporalGraph().run(net, [formula], Budget.seconds(60)))
    assert found[0].holds is False
    assert found[0].breaks is not None
    assert found[0].breaks[0] == (0, 1, 2)


@settings(max_examples=15)
@given(nets(most_places=4, most_transitions=4), st.data())
def test_formulas_are_decided_with_all_that_helps(net: PTNet, data: st.DataObject) -> None:
    expected = graph_of(net, limit=LIMIT)
    if expected is None:
        return
    formulas = [data.draw(branching(net)) for _ in range(4)]
    found = {i: d.holds for i, d in decide(net, formulas, Budget.seconds(60))}
    assert found == {i: net.initial in satisfying(expected, f) for i, f in enumerate(formulas)}


@given(nets(most_places=4, most_transitions=5))
def test_liveness_is_that_every_transition_stays_possible(net: PTNet) -> None:
    expected = graph_of(net, limit=LIMIT)
    if expected is None or not net.transitions:
        return
    formula = global_property(net, "Liveness")
    assert isinstance(formula, tl.Both)
    graph = state_graph(net, Budget.seconds(60))
    assert graph is not None
    labelling = Labelling(graph)
    found = [labelling.value(tl.simplified(part)) for part in formula.parts]
    assert found == [net.initial in satisfying(expected, part) for part in formula.parts]
    if any(holds(deadlock(net), m) for m in expected):
        assert not all(found)


@given(nets(most_places=3, most_transitions=4), st.data())
def test_a_small_memory_ends_the_search_not_the_truth(net: PTNet, data: st.DataObject) -> None:
    expected = graph_of(net, limit=LIMIT)
    if expected is None:
        return
    formula = tl.simplified(data.draw(branching(net, depth=2)))
    space = Space(net, (), Budget.seconds(60, memory=1 << 16), edges="kept")
    stop, _ = space.advance()
    assert Labelling(so_far(space, stop)).value(formula) in (
        net.initial in satisfying(expected, formula),
        None,
    )


def test_a_live_free_choice_net_needs_no_markings() -> None:
    ring = PTNet(("a", "b"), ("go", "back"), (((0, 1),), ((1, 1),)), (((1, 1),), ((0, 1),)), (1, 0))
    parts = global_property(ring, "Liveness")
    assert isinstance(parts, tl.Both)
    found = dict(FreeChoiceLive().run(ring, parts.parts, Budget.seconds(60)))
    assert {i: s.holds for i, s in found.items()} == {0: True, 1: True}
    empty = replace(ring, initial=(0, 0))
    assert not dict(FreeChoiceLive().run(empty, parts.parts, Budget.seconds(60)))
    assert not dict(FreeChoiceLive().run(ring, [tl.A(tl.G(tl.E(tl.F(tl.Now(FALSE)))))], Budget.seconds(60)))
