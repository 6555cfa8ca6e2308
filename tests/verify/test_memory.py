"""A process that proves many nets stays as large as one net needs, and one net does not fill the memory."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from provenet.nets.build import NetBuilder
from provenet.nets.net import Net, Put, Take, Transition
from provenet.nets.requirements import always
from provenet.nets.schema import INT
from provenet.verify.abstraction import Masks
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.context import Context
from provenet.verify.graph import Graph, Space
from provenet.verify.verdict import Status
from tests.verify.small_contracts import contract_nets


def living() -> Counter[str]:
    """How many of the large things there are."""
    # By type: `isinstance` asks a weak proxy of some library for the object behind it, which may be gone.
    return Counter(type(o).__name__ for o in gc.get_objects() if type(o) in {Context, Graph, Space})


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
@given(contract_nets())
def test_nothing_of_a_proof_stays_behind(net: Net) -> None:
    gc.collect()
    before = living()
    gc.disable()  # nothing may wait for the cycle collector, which comes late where much is alive
    try:
        prove(net, timeout=2)
        assert living() == before
    finally:
        gc.enable()


def growing(*, takes: int) -> Net:
    """A net that puts one token more than it takes, for ever."""
    net = NetBuilder("growing")
    p = net.place("p", initial=[()] * takes)
    more = Transition("more", takes=(Take(p.name, weight=takes),), puts=(Put(p.name, weight=takes + 1),))
    return replace(net.build(), transitions=(more,))


def test_states_that_grow_for_ever_have_only_so_much_room() -> None:
    net = growing(takes=1)
    graph = Space(net, Masks(net, ())).explore(most=2_000)
    assert not graph.complete
    assert sum(map(len, graph.states)) < 2_000 * 101


def test_which_of_many_alike_tokens_is_taken_is_tried_once() -> None:
    net = growing(takes=4)
    space = Space(net, Masks(net, ()))
    (state,) = space.initial()
    edges = list(space.successors(state * 100))  # 400 tokens: ten thousand million ways to take four
    assert len(edges) == 1


def test_a_promise_that_doubles_at_each_turn_of_a_loop_is_given_up() -> None:
    net = NetBuilder("doubling")
    p = net.place("p", INT, initial=[0])
    net.route("double", takes={"n": p}, puts={p: lambda n: n + n})
    net.require(always("p", of=INT, where=lambda it: it <= 5))
    made = net.build()
    report = prove(made, timeout=10)
    assert [v.status for v in report.verdicts] == [Status.PROVED]
    assert recheck(made, report) == ()  # facts of scalars are read back
