"""LTL: the automaton against sequences of markings, the search against all short paths."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.buchi import Automaton, TooLarge, automaton, rewritten
from provenet.verify.plain.engines.ltl import some_path
from provenet.verify.plain.engines.space import Stop
from provenet.verify.plain.engines.state_graph import StateGraph, state_graph
from provenet.verify.plain.logic import at_least, at_most, holds
from provenet.verify.plain.net import Counts, PTNet
from provenet.verify.plain.paths import Path, evaluated, shows
from provenet.verify.plain.settled import Settled, believed
from tests.verify.plain.formulas import graph_of, lassos, paths
from tests.verify.plain.nets import nets

MEMORY = 1 << 28


def whole(net: PTNet) -> StateGraph:
    graph = state_graph(net, Budget.seconds(60, memory=1 << 22))
    assert graph is not None
    return graph


def accepts(made: Automaton, markings: list[Counts], back: int) -> bool:
    """Whether an automaton accepts a sequence that repeats: a cycle of the product has all marks."""
    n = len(markings)
    edges: dict[tuple[int, int], list[tuple[tuple[int, int], frozenset[int]]]] = {}
    work = [(0, 0)]
    while work:
        i, q = work.pop()
        if (i, q) in edges:
            continue
        letter = {a for a, atom in enumerate(made.atoms) if holds(atom, markings[i])}
        to = i + 1 if i + 1 < n else back
        edges[i, q] = [((to, m.to), m.marks) for m in made.moves[q] if m.need <= letter]
        work.extend(node for node, _ in edges[i, q])

    def reached(start: tuple[int, int]) -> set[tuple[int, int]]:
        seen: set[tuple[int, int]] = set()
        todo = [node for node, _ in edges[start]]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo.extend(after for after, _ in edges[node])
        return seen

    reach = {node: reached(node) for node in edges}
    for node, after in reach.items():
        if node in after:
            cycle = {other for other in after if node in reach[other]}
            marks = {m for a in cycle for b, carried in edges[a] if b in cycle for m in carried}
            if len(marks) == made.marks:
                return True
    return False


@st.composite
def sequences(draw: st.DrawFn, places: int) -> tuple[list[Counts], int]:
    counts = st.tuples(*[st.integers(0, 3)] * places)
    markings = draw(st.lists(counts, min_size=1, max_size=5))
    return markings, draw(st.integers(0, len(markings) - 1))


@given(nets(most_places=3, most_transitions=2), st.data())
def test_the_automaton_accepts_the_sequences_that_satisfy_the_formula(
    net: PTNet, data: st.DataObject
) -> None:
    formula = tl.simplified(data.draw(paths(net)))
    markings, back = data.draw(sequences(len(net.places)))
    assert accepts(automaton(formula), markings, back) == evaluated(formula, markings, back)


@given(nets(most_places=3, most_transitions=2), st.data())
def test_rewriting_and_simplifying_change_no_meaning(net: PTNet, data: st.DataObject) -> None:
    formula = data.draw(paths(net))
    markings, back = data.draw(sequences(len(net.places)))
    value = evaluated(formula, markings, back)
    assert evaluated(tl.simplified(formula), markings, back) == value
    assert evaluated(tl.simplified(formula, negated=True), markings, back) != value
    assert evaluated(rewritten(tl.simplified(formula)), markings, back) == value


@given(nets(most_places=3, most_transitions=2), st.data())
def test_a_sequence_means_the_same_unrolled(net: PTNet, data: st.DataObject) -> None:
    formula = data.draw(paths(net))
    markings, back = data.draw(sequences(len(net.places)))
    value = evaluated(formula, markings, back)
    around = markings[back:]
    assert evaluated(formula, markings + around, len(markings)) == value
    assert evaluated(formula, markings + around, back) == value


@given(nets(most_places=4, most_transitions=4), st.data())
def test_a_path_is_found_where_there_is_one(net: PTNet, data: st.DataObject) -> None:
    expected = graph_of(net, limit=40)
    if expected is None:
        return
    formula = tl.simplified(data.draw(paths(net)))
    found = some_path(whole(net), formula, seconds=60, memory=MEMORY)
    assert found.exists is not None
    if found.exists:
        assert found.path is not None
        assert shows(net, formula, found.path)
    else:
        for markings, back in lassos(expected, net.initial, length=4):
            assert not evaluated(formula, markings, back)
        opposite = some_path(whole(net), tl.simplified(formula, negated=True), seconds=60, memory=MEMORY)
        assert opposite.exists


@given(nets(most_places=4, most_transitions=4), st.data())
def test_a_part_of_the_graph_never_tells_more_than_is_so(net: PTNet, data: st.DataObject) -> None:
    if graph_of(net, limit=40) is None:
        return
    formula = tl.simplified(data.draw(paths(net)))
    graph = whole(net)
    finished = data.draw(st.integers(0, graph.finished))
    edges = int(graph.edge_at[finished])
    part = replace(
        graph,
        finished=finished,
        stop=Stop.TIME,
        edge_at=graph.edge_at[: finished + 1].copy(),
        target=graph.target[:edges].copy(),
        transition=graph.transition[:edges].copy(),
    )
    truth = some_path(graph, formula, seconds=60, memory=MEMORY)
    found = some_path(part, formula, seconds=60, memory=MEMORY)
    assert found.exists in (truth.exists, None)
    if found.path is not None and found.path.end != "any":
        assert shows(net, formula, found.path)
    elif found.path is not None:
        # That any end will do may follow from more than unfolding the formula tells.
        assert len(net.replay(found.path.first)) == len(net.places)


TOGGLE = PTNet(("off", "on"), ("up", "down"), (((0, 1),), ((1, 1),)), (((1, 1),), ((0, 1),)), (1, 0))
ON, OFF = tl.Now(at_least({1: 1}, 1)), tl.Now(at_least({0: 1}, 1))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (tl.G(tl.F(ON)), True),
        (tl.F(tl.G(ON)), False),
        (tl.U(OFF, ON), True),
        (tl.X(tl.X(OFF)), True),
        (tl.G(tl.Either((OFF, tl.X(OFF)))), True),
        (tl.R(ON, OFF), False),
    ],
)
def test_one_endless_run(formula: tl.Temporal, expected: bool) -> None:
    assert some_path(whole(TOGGLE), formula, seconds=60, memory=MEMORY).exists == expected


def test_a_run_that_ends_stays_in_its_last_marking() -> None:
    step = PTNet(("a", "b"), ("go",), (((0, 1),),), (((1, 1),),), (1, 0))
    there = tl.Now(at_least({1: 1}, 1))
    found = some_path(whole(step), tl.F(tl.G(there)), seconds=60, memory=MEMORY)
    assert found.path == Path((0,), end="deadlock")
    assert some_path(whole(step), tl.F(tl.Both((there, tl.X(ON)))), seconds=60, memory=MEMORY).exists
    assert some_path(whole(step), tl.G(tl.Now(at_most({1: 1}, 0))), seconds=60, memory=MEMORY).exists is False


def test_what_is_shown_is_checked() -> None:
    assert shows(TOGGLE, tl.G(tl.F(ON)), Path((), (0, 1)))
    assert not shows(TOGGLE, tl.G(tl.F(ON)), Path((), (0,)))
    assert not shows(TOGGLE, tl.G(tl.F(ON)), Path((), ()))
    assert not shows(TOGGLE, tl.G(tl.F(ON)), Path((1,), (0, 1)))
    assert not shows(TOGGLE, tl.F(tl.G(ON)), Path((0,), (1, 0)))
    assert not shows(TOGGLE, tl.F(ON), Path((0,), end="deadlock"))
    assert shows(TOGGLE, tl.F(ON), Path((0,), end="any"))
    assert not shows(TOGGLE, tl.F(ON), Path((), end="any"))
    refuted = Settled(holds=False, engine="graph", path=Path((), (0, 1)))
    assert believed(TOGGLE, tl.A(tl.F(tl.G(ON))), refuted)
    assert not believed(TOGGLE, tl.A(tl.G(tl.F(ON))), refuted)
    assert not believed(TOGGLE, tl.A(tl.F(tl.G(ON))), replace(refuted, holds=True))
    assert not believed(TOGGLE, tl.A(tl.G(OFF)), Settled(holds=False, engine="graph", breaks=((0, 0), OFF)))
    assert believed(TOGGLE, tl.A(tl.G(OFF)), Settled(holds=False, engine="graph", breaks=((0,), OFF)))


def test_an_automaton_that_would_be_too_large_is_not_made() -> None:
    parts = tuple(tl.U(tl.Now(at_least({0: 1}, i)), tl.Now(at_least({1: 1}, i))) for i in range(1, 40))
    with pytest.raises(TooLarge):
        automaton(tl.Both(parts))


@pytest.mark.parametrize(
    ("formula", "states"),
    [(tl.F(ON), 2), (tl.G(ON), 1), (tl.G(tl.F(ON)), 1), (tl.F(tl.G(ON)), 2), (tl.U(OFF, ON), 2)],
)
def test_automata_are_small(formula: tl.Temporal, states: int) -> None:
    assert len(automaton(formula).moves) <= states
