from __future__ import annotations

from hypothesis import given, settings

from provenet.nets.firing import NetRule
from provenet.nets.formats.graph import incidence, postset, preset, to_networkx
from provenet.nets.marking import initial_marking
from provenet.nets.net import Net, Place, Put, Read, Role, Take, Transition
from provenet.nets.schema import INT
from tests.nets.net_strategies import coloured_nets, pt_nets


@given(pt_nets())
@settings(max_examples=100)
def test_the_skeleton_says_what_firing_does(net: Net) -> None:
    marking = initial_marking(net)
    skeleton = incidence(net)
    for firing in NetRule(net).enabled(marking):
        after = NetRule(net).fire(marking, firing.transition, firing.binding)
        change = skeleton.effect(firing.transition)
        for p in net.places:
            if p.name in skeleton.resets[firing.transition]:
                assert after.count(p.name) == 0
            else:
                assert after.count(p.name) - marking.count(p.name) == change.get(p.name, 0)


@given(coloured_nets() | pt_nets())
@settings(max_examples=50)
def test_presets_and_postsets_mirror_each_other_and_the_graph(net: Net) -> None:
    before, after = preset(net), postset(net)
    assert {(a, b) for b, found in before.items() for a in found} == {
        (a, b) for a, found in after.items() for b in found
    }
    graph = to_networkx(net)
    assert set(graph.nodes) == set(before)
    for a, b, data in graph.edges(data=True):
        assert {a[0], b[0]} == {"place", "transition"}
        assert b in after[a]
        assert a in after[b] or data["kind"] != "read"
    arcs = sum(len(t.takes) + len(t.reads) + len(t.puts) + len(t.resets) for t in net.transitions)
    assert graph.number_of_edges() == arcs


@given(coloured_nets() | pt_nets())
@settings(max_examples=50)
def test_a_net_finds_the_transitions_around_a_place_and_of_a_contract(net: Net) -> None:
    for p in net.places:
        taking = [t for t in net.transitions if any(a.place == p.name for a in t.takes)]
        putting = [t for t in net.transitions if any(a.place == p.name for a in t.puts)]
        assert (list(net.taking(p.name)), list(net.putting(p.name))) == (taking, putting)
    for contract in {t.contract for t in net.transitions} | {"no such"}:
        own = [t for t in net.transitions if t.contract == contract]
        assert list(net.by_role(*Role, contract=contract)) == own
    assert list(net.by_role(*Role)) == list(net.transitions)


def test_attributes() -> None:
    t = Transition(
        "x",
        Role.COMMIT,
        "c",
        takes=(Take("x", "v"),),
        reads=(Read("y", None, 2),),
        resets=("z",),
        puts=(Put("z"),),
    )
    graph = to_networkx(Net("n", (Place("x", INT), Place("y", capacity=3), Place("z", label="Z")), (t,)))
    assert graph.nodes["transition", "x"]["role"] == "commit"
    assert graph.nodes["place", "x"]["type"] == "int"
    assert graph.nodes["place", "y"]["capacity"] == 3
    assert graph.nodes["place", "z"]["label"] == "Z"
    kinds = sorted(
        (d["kind"], d["weight"], d["var"]) for _, _, d in graph.edges(data=True) if d["var"] is None
    )
    assert kinds == [("put", 1, None), ("read", 2, None), ("reset", 0, None)]
