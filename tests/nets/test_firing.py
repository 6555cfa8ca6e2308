"""The firing rule: held equal to SNAKES on random coloured nets, and its algebra."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from provenet.nets.check import check_net
from provenet.nets.errors import Breach, NotEnabled
from provenet.nets.expr.ast import Arith, Compare, CompareOp, Const, Expr, Var
from provenet.nets.expr.show import show
from provenet.nets.firing import NetRule, enabled, fire
from provenet.nets.marking import Marking, is_final
from provenet.nets.net import Fresh, Net, Place, Put, Read, Take, Transition
from provenet.nets.schema import INT, UNIT, IntType

SMALL = IntType(-50, 50)


@st.composite
def coloured_nets(draw: DrawFn) -> Net:
    """Small nets over places of ints and of black tokens, with read arcs, reset arcs, weights and guards."""
    ints = [f"c{i}" for i in range(draw(st.integers(1, 3)))]
    blacks = [f"b{i}" for i in range(draw(st.integers(0, 2)))]
    transitions = []
    for i in range(draw(st.integers(1, 4))):
        takes: list[Take] = []
        reads: list[Read] = []
        resets: list[str] = []
        names = iter("vwxyz")
        for place in draw(st.permutations(ints + blacks)):
            kind = draw(st.sampled_from(("none", "none", "take", "take", "read", "reset")))
            weight = draw(st.integers(1, 2))
            if kind == "reset":
                resets.append(place)
            elif place in blacks and kind == "take":
                takes.append(Take(place, None, weight))
            elif place in blacks and kind == "read":
                reads.append(Read(place, None, weight))
            elif kind == "take":
                takes += [Take(place, v) for _, v in zip(range(weight), names, strict=False)]
            elif kind == "read":
                reads += [Read(place, v) for _, v in zip(range(1), names, strict=False)]
        arcs: list[Take | Read] = [*takes, *reads]
        bound = [a.var for a in arcs if a.var is not None]
        puts = [
            Put(place, None, draw(st.integers(1, 2))) if place in blacks else Put(place, _term(draw, bound))
            for place in draw(st.lists(st.sampled_from(ints + blacks), max_size=2, unique=True))
        ]
        guard = None
        operators: tuple[CompareOp, ...] = ("<", "==", "!=")
        if draw(st.booleans()) and bound:
            guard = Compare(draw(st.sampled_from(operators)), _term(draw, bound), _term(draw, bound))
        transitions.append(
            Transition(
                f"t{i}",
                takes=tuple(takes),
                reads=tuple(reads),
                resets=tuple(resets),
                puts=tuple(puts),
                guard=guard,
            )
        )
    tokens: list[tuple[str, tuple[Any, ...]]] = [
        (p, tuple(draw(st.lists(st.integers(0, 2), max_size=3)))) for p in ints
    ]
    tokens += [(p, ((),) * draw(st.integers(0, 3))) for p in blacks]
    places = [Place(p, INT) for p in ints] + [Place(p, UNIT) for p in blacks]
    return Net("drawn", tuple(places), tuple(transitions), initial=tuple(tokens))


def _term(draw: DrawFn, bound: list[str]) -> Expr:
    constant = Const(draw(st.integers(0, 2)), INT)
    if not bound or draw(st.booleans()):
        return constant
    return Arith("%", Arith("+", Var(draw(st.sampled_from(bound))), constant), Const(3, INT))


def snakes_net(net: Net) -> Any:
    """The same net for SNAKES, by its own constructs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from snakes import nets as sn
    made = sn.PetriNet(net.name)
    for place in net.places:
        held = dict(net.initial)[place.name]
        made.add_place(sn.Place(place.name, [sn.dot if v == () else v for v in held]))

    def arc(parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else sn.MultiArc(parts)

    for t in net.transitions:
        made.add_transition(sn.Transition(t.name, sn.Expression(show(t.guard) if t.guard else "True")))
        for place in net.places:
            black = place.type == UNIT
            taken: list[Take | Read] = [a for a in t.takes if a.place == place.name]
            read: list[Take | Read] = [a for a in t.reads if a.place == place.name]
            one = [
                sn.Value(sn.dot) if black else sn.Variable(a.var)
                for a in (*taken, *read)
                for _ in range(a.weight)
            ]
            if taken:
                made.add_input(place.name, t.name, arc(one))
            elif read:
                made.add_input(place.name, t.name, sn.Test(arc(one)))
            elif place.name in t.resets:
                made.add_input(place.name, t.name, sn.Flush(f"all_{place.name}"))
            out = [
                sn.Value(sn.dot) if p.expr is None else sn.Expression(show(p.expr))
                for p in t.puts
                if p.place == place.name
                for _ in range(p.weight)
            ]
            if out:
                made.add_output(place.name, t.name, arc(out))
    return made


def snakes_marking(made: Any, net: Net) -> dict[str, Counter[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from snakes.nets import dot
    return {p.name: Counter(() if v == dot else v for v in made.place(p.name).tokens) for p in net.places}


def ours(marking: Marking, net: Net) -> dict[str, Counter[Any]]:
    return {p.name: Counter(marking[p.name]) for p in net.places}


def walk_beside_snakes(net: Net, seed: int, steps: int) -> None:
    assert {m.code for m in check_net(net)} <= {"PN110"}
    made, rule, rng = snakes_net(net), NetRule(net), random.Random(seed)
    marking = Marking(dict(net.initial))
    for _ in range(steps):
        assert ours(marking, net) == snakes_marking(made, net)
        choices: list[tuple[str, dict[str, Any], Any]] = []
        for t in net.transitions:
            if not (t.takes or t.reads or t.resets):
                continue  # SNAKES computes no mode where no arc comes in
            mine = [dict(b) for b in rule.bindings(marking, t.name)]
            modes = {
                tuple(sorted((v, m[v]) for v in m if not v.startswith("all_"))): m
                for m in made.transition(t.name).modes()
            }
            keys = [tuple(sorted(b.items())) for b in mine]
            assert len(set(keys)) == len(keys)
            assert set(keys) == set(modes)
            choices += [(t.name, b, modes[tuple(sorted(b.items()))]) for b in mine]
        if not choices:
            return
        name, binding, mode = rng.choice(choices)
        made.transition(name).fire(mode)
        marking = rule.fire(marking, name, binding)
        if sum(len(held) for _, held in marking.items()) > 9:
            return


@given(coloured_nets(), st.integers(0, 2**32))
@settings(max_examples=40)
def test_the_rule_is_that_of_snakes(net: Net, seed: int) -> None:
    walk_beside_snakes(net, seed, steps=8)


@pytest.mark.long
@pytest.mark.timeout(3600)
@given(coloured_nets(), st.integers(0, 2**32))
@settings(max_examples=10_000)
def test_the_rule_is_that_of_snakes_on_many_nets(net: Net, seed: int) -> None:
    walk_beside_snakes(net, seed, steps=8)


@given(coloured_nets())
def test_firing_is_pure_and_keeps_count(net: Net) -> None:
    marking = Marking(dict(net.initial))
    before = repr(marking)
    for firing in enabled(net, marking):
        t = net.transition(firing.transition)
        after = fire(net, marking, firing.transition, firing.binding)
        assert repr(marking) == before
        assert after == fire(net, marking, firing.transition, firing.binding)
        for place in net.places:
            taken = sum(a.weight for a in t.takes if a.place == place.name)
            put = sum(p.weight for p in t.puts if p.place == place.name)
            left = 0 if place.name in t.resets else marking.count(place.name) - taken
            assert after.count(place.name) == left + put


@given(coloured_nets(), st.randoms())
def test_the_order_of_tokens_does_not_matter(net: Net, rng: random.Random) -> None:
    marking = Marking(dict(net.initial))
    shuffled = Marking({p: tuple(rng.sample(held, len(held))) for p, held in marking.items()})
    assert marking == shuffled
    assert hash(marking) == hash(shuffled)

    def successors(m: Marking) -> set[Any]:
        return {
            (f.transition, tuple(sorted(f.binding.items())), fire(net, m, f.transition, f.binding))
            for f in enabled(net, m)
        }

    assert successors(marking) == successors(shuffled)


def one(transition: Transition, **types: Any) -> Net:
    net = Net("one", tuple(Place(n, t) for n, t in types.items()), (transition,))
    assert not check_net(net)
    return net


BIG = Compare(">", Var("x"), Const(1, INT))


@pytest.mark.parametrize(
    ("marking", "binding", "says"),
    [
        ({}, {"x": 1}, "does not hold 1"),
        ({"a": (1,)}, {}, "a token for 'x'"),
        ({"a": (1,), "b": ((), ())}, {"x": 1}, "the guard is false: x > 1"),
        ({"a": (2,)}, {"x": 2}, "'b' holds too few tokens"),
        ({"a": (2,), "b": ((),)}, {"x": 2}, "'b' holds too few tokens"),
    ],
)
def test_not_enabled_says_why(marking: Any, binding: Any, says: str) -> None:
    net = one(Transition("t", takes=(Take("a", "x"), Take("b", None, 2)), guard=BIG), a=INT, b=UNIT)
    with pytest.raises(NotEnabled) as caught:
        fire(net, Marking(marking), "t", binding)
    assert says in str(caught.value)


def test_a_token_is_not_both_taken_and_read() -> None:
    t = Transition("t", takes=(Take("a", "x"),), reads=(Read("a", "y"),))
    net = one(t, a=INT)
    assert list(enabled(net, Marking({"a": (1,)}))) == []
    found = [dict(f.binding) for f in enabled(net, Marking({"a": (1, 1, 2)}))]
    assert found == [{"x": 1, "y": 1}, {"x": 1, "y": 2}, {"x": 2, "y": 1}]


@pytest.mark.parametrize(
    ("extra", "value", "says"),
    [
        ({}, None, "no value for 'v' came from outside"),
        ({}, "no", "v: expected int[-50..50]"),
        ({}, 51, "v: expected int[-50..50]"),
        ({"ensures": Compare("<", Var("v"), Const(3, INT))}, 5, "breaks ensures: v < 3"),
        ({"requires": Compare("<", Var("v"), Var("x"))}, 9, "requires does not hold: v < x"),
        ({"puts": (Put("s", Arith("+", Var("v"), Const(1, INT))),)}, 50, "does not fit"),
        ({"puts": (Put("k", Var("x")), Put("k", Var("x")))}, 5, "its capacity is 1"),
    ],
)
def test_a_broken_promise_is_a_breach(extra: Any, value: Any, says: str) -> None:
    t = Transition("t", takes=(Take("a", "x"),), fresh=(Fresh("v", SMALL),), **extra)
    net = Net("one", (Place("a", INT), Place("s", SMALL), Place("k", INT, 1)), (t,))
    assert not check_net(net)
    marking = Marking({"a": (7,)})
    with pytest.raises(Breach) as caught:
        fire(net, marking, "t", {"x": 7} | ({} if value is None else {"v": value}))
    assert says in str(caught.value)
    assert marking == Marking({"a": (7,)})


def test_a_final_marking_leaves_resting_places_out() -> None:
    net = Net("n", (Place("end"), Place("log")), finals=((("end", 1),),), resting=("log",))
    assert is_final(net, Marking({"end": ((),), "log": ((), ())}))
    assert not is_final(net, Marking({"end": ((), ())}))
