"""Sampled runs: what they answer is so, and they answer much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.lassos import Lassos
from provenet.verify.plain.engines.ltl import some_path
from provenet.verify.plain.engines.state_graph import state_graph
from provenet.verify.plain.logic import at_least
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.paths import Path, shows
from provenet.verify.plain.settled import believed, wanted_path
from tests.verify.plain.formulas import branching, graph_of, paths, satisfying
from tests.verify.plain.nets import nets


def sampled(net: PTNet, formula: tl.Temporal) -> bool | None:
    """What twelve samples say, if they say anything and it is believed."""
    for _, settled in Lassos(samples=12).run(net, [formula], Budget.seconds(60)):
        assert believed(net, formula, settled)
        return settled.holds
    return None


@given(nets(most_places=4, most_transitions=4), st.data())
def test_a_linear_formula_is_never_answered_wrongly(net: PTNet, data: st.DataObject) -> None:
    if graph_of(net, limit=40) is None:
        return
    path = tl.simplified(data.draw(paths(net)))
    graph = state_graph(net, Budget.seconds(60, memory=1 << 22))
    assert graph is not None
    exists = some_path(graph, path, seconds=60, memory=1 << 28).exists
    assert sampled(net, tl.E(path)) in (exists, None)
    assert sampled(net, tl.A(tl.simplified(path, negated=True))) in (not exists, None)


@given(nets(most_places=4, most_transitions=5), st.data())
def test_a_branching_formula_is_never_answered_wrongly(net: PTNet, data: st.DataObject) -> None:
    graph = graph_of(net, limit=100)
    if graph is None:
        return
    formula = tl.simplified(data.draw(branching(net)))
    if wanted_path(formula) is not None:
        assert sampled(net, formula) in (net.initial in satisfying(graph, formula), None)


def test_a_net_without_places_has_runs_too() -> None:
    net = PTNet(places=(), transitions=("t",), pre=((),), post=((),), initial=())
    assert sampled(net, tl.E(tl.G(tl.X(tl.TRULY)))) is True


def test_what_every_path_satisfies_needs_no_end_to_be_seen() -> None:
    net = counters(1)
    always = tl.G(tl.X(tl.TRULY))
    for path in (always, tl.F(tl.X(always)), tl.U(tl.X(tl.FALSELY), tl.X(tl.X(tl.TRULY)))):
        assert shows(net, path, Path((), end="any"))
    assert not shows(net, tl.F(tl.X(tl.FALSELY)), Path((), end="any"))


def counters(n: int) -> PTNet:
    """Rings of three places each that step by themselves: 3 ** n markings."""
    step = [(3 * i + k, 3 * i + (k + 1) % 3) for i in range(n) for k in range(3)]
    return PTNet(
        places=tuple(f"p{i}" for i in range(3 * n)),
        transitions=tuple(f"t{i}" for i in range(3 * n)),
        pre=tuple(((a, 1),) for a, _ in step),
        post=tuple(((b, 1),) for _, b in step),
        initial=(1, 0, 0) * n,
    )


def test_one_ring_may_starve_the_others_however_many_there_are() -> None:
    net = counters(60)
    moves = tl.Now(at_least({4: 1}, 1))
    assert sampled(net, tl.A(tl.F(moves))) is False
    assert sampled(net, tl.A(tl.G(tl.F(moves)))) is False
    assert sampled(net, tl.E(tl.G(tl.F(moves)))) is True
    assert sampled(net, tl.A(tl.F(tl.A(tl.F(moves))))) is False


def test_an_endless_net_gives_no_loop_and_no_answer() -> None:
    endless = PTNet(("p",), ("more",), ((),), (((0, 1),),), (0,))
    assert sampled(endless, tl.A(tl.F(tl.Now(at_least({0: 1}, 10))))) is None
