from __future__ import annotations

import pytest
from hypothesis import assume, given, settings

from provenet.nets.build import NetBuilder
from provenet.nets.errors import Breach, FormatError
from provenet.nets.firing import NetRule
from provenet.nets.formats.snakes_bridge import (
    from_snakes,
    marking_from_snakes,
    marking_to_snakes,
    to_snakes,
)
from provenet.nets.marking import Marking, initial_marking
from provenet.nets.models import Token
from provenet.nets.net import Net, Place, Read, Take, Transition
from tests.nets.net_strategies import pt_nets


def distinct(net: Net) -> bool:
    return not any(net.has_place(t.name) for t in net.transitions)


@given(pt_nets(most_tokens=3))
@settings(max_examples=60)
def test_both_firing_rules_agree_on_pt_nets(net: Net) -> None:
    assume(distinct(net))
    petri = to_snakes(net)
    rule = NetRule(net)
    marking = initial_marking(net)
    for _ in range(3):
        assert marking_from_snakes(net, petri.get_marking()) == marking
        ours = {f.transition for f in rule.enabled(marking)}
        assert {t.name for t in petri.transition() if t.modes()} == ours
        if not ours or any(marking.count(p) > 12 for p in marking):
            return
        name = min(ours)
        marking = rule.fire(marking, name, {})
        petri.transition(name).fire(petri.transition(name).modes()[0])


@given(pt_nets(reads=False))
@settings(max_examples=60)
def test_a_pt_net_survives_snakes(net: Net) -> None:
    assume(distinct(net))
    again = from_snakes(to_snakes(net))
    assert {p.name for p in again.places} == {p.name for p in net.places}
    assert initial_marking(again) == initial_marking(net)
    for t in net.transitions:
        other = again.transition(t.name)
        assert set(other.takes) == set(t.takes)
        assert set(other.puts) == set(t.puts)
        assert set(other.resets) == set(t.resets)


class Claim(Token):
    amount: int
    tries: int


def claims() -> Net:
    net = NetBuilder("claims")
    inbox = net.place("inbox", Claim, initial=[Claim(amount=a, tries=0) for a in (5, 50, 50, 500)])
    limit = net.place("limit", int, initial=[100])
    paid = net.place("paid", Claim)
    net.route(
        "pay",
        takes={"c": inbox},
        reads={"limit": limit},
        when=lambda c, limit: c.amount <= limit,
        puts={paid: lambda c: c.with_(tries=c.tries + 1)},
    )
    net.event("raise", event="limit", takes={"is": limit}, brings={"to": int}, puts={limit: "to"})
    return net.build()


def test_both_firing_rules_reach_the_same_markings_of_a_coloured_net() -> None:
    net = claims()
    news = (100, 1000)
    rule = NetRule(net)
    start = initial_marking(net)
    seen: set[Marking] = {start}
    frontier = [start]
    while frontier:
        marking = frontier.pop()
        for firing in rule.enabled(marking):
            choices = [{"to": v} for v in news] if firing.transition == "raise" else [{}]
            for choice in choices:
                try:
                    after = rule.fire(marking, firing.transition, {**firing.binding, **choice})
                except Breach:
                    continue
                if after not in seen:
                    seen.add(after)
                    frontier.append(after)
    from snakes.nets import StateGraph

    graph = StateGraph(to_snakes(net, outside={("raise", "to"): news}))
    graph.build()
    theirs = {marking_from_snakes(net, graph.net.get_marking()) for _ in graph}
    assert theirs == seen
    assert len(seen) > 10


def test_what_has_no_counterpart_is_named() -> None:
    with pytest.raises(FormatError, match="'to' comes from outside"):
        to_snakes(claims())
    with pytest.raises(FormatError, match="name of a place"):
        to_snakes(Net("n", (Place("p"),), (Transition("p", takes=(Take("p"),)),)))
    with pytest.raises(FormatError, match="empties 'p'"):
        to_snakes(Net("n", (Place("p"),), (Transition("t", takes=(Take("p"),), resets=("p",)),)))


def test_reading_from_snakes() -> None:
    from snakes.nets import Expression, MultiArc, PetriNet, Test, Value, Variable, dot
    from snakes.nets import Place as TheirPlace
    from snakes.nets import Transition as TheirTransition

    petri = PetriNet("n")
    petri.add_place(TheirPlace("a", [dot, dot]))
    petri.add_place(TheirPlace("b"))
    petri.add_transition(TheirTransition("t"))
    petri.add_input("a", "t", MultiArc([Variable("x"), Test(Value(dot))]))
    net = from_snakes(petri)
    assert net.transitions == (Transition("t", takes=(Take("a"),), reads=(Read("a"),)),)
    assert marking_to_snakes(net, initial_marking(net)) == petri.get_marking()
    petri.add_transition(TheirTransition("u", Expression("1 < 2")))
    petri.add_output("b", "u", Expression("print('no code is run')"))
    petri.place("b").add([3])
    with pytest.raises(FormatError) as caught:
        from_snakes(petri)
    for said in ("not black", "guard 1 < 2", "carries print"):
        assert said in str(caught.value)
