"""The small queries of a proof: one solver for many, an effort before a time, and what is guessed unasked."""

from __future__ import annotations

import z3
from hypothesis import given
from hypothesis import strategies as st

from provenet import Contract, Effect, NetBuilder, Token, within
from provenet.nets.net import Net, Place, Put, Take, Transition
from provenet.verify.abstraction import Masks
from provenet.verify.check import prove
from provenet.verify.linear import LinearInvariant, bounding, effects
from provenet.verify.smt_queries import Queries, decide
from provenet.verify.verdict import Status

_LETTERS = "xyz"


@st.composite
def constraints(draw: st.DrawFn) -> list[z3.BoolRef]:
    """A few linear constraints over three integers."""
    out = []
    for _ in range(draw(st.integers(1, 4))):
        a, b = (z3.Int(draw(st.sampled_from(_LETTERS))) for _ in "ab")
        k = draw(st.integers(-3, 3))
        out.append(draw(st.sampled_from([a < b + k, a == b + k, z3.Or(a > k, b > k), z3.Not(a >= k)])))
    return out


@given(st.lists(constraints(), min_size=1, max_size=6))
def test_a_query_is_answered_as_if_it_were_the_only_one(queries: list[list[z3.BoolRef]]) -> None:
    shared = Queries("identity")
    for query in queries:
        alone = z3.Solver()
        alone.add(*query)
        assert shared.check(query, 10_000) == alone.check()


def test_a_query_beyond_its_limit_is_unknown_and_harms_no_other() -> None:
    holes = 11
    sits = [[z3.Bool(f"pigeon {i} sits in {j}") for j in range(holes)] for i in range(holes + 1)]
    hard = [z3.Or(*row) for row in sits]
    hard += [
        z3.Not(z3.And(sits[i][j], sits[k][j]))
        for j in range(holes)
        for i in range(holes + 1)
        for k in range(i)
    ]
    queries = Queries("identity")
    assert queries.check(hard, 600) == z3.unknown
    assert queries.check([z3.Int("x") > 3, z3.Int("x") < 3], 600) == z3.unsat
    assert queries.check([z3.Int("x") > 3], 600) == z3.sat
    assert decide([z3.Int("x") > 3], 1)[0] == z3.sat


class Offer(Token):
    discount: int


def chain(length: int) -> Net:
    """Contracts in a row that all refuse the same: after the first, no reject is ever needed."""
    net = NetBuilder("chain")
    here, refused = net.entry("start", Offer), net.final("refused", Offer)
    for i in range(length):
        there = net.place(f"after {i}", Offer) if i < length - 1 else net.final("end", Offer)
        net.add(
            Contract(
                f"c{i}",
                takes=here,
                gives=there,
                verify=within(Offer, lambda o: o.discount <= 30, name=f"policy {i}"),
                commit=Effect("sell", print, payload=Offer) if i == length - 1 else None,
                otherwise=refused,
                escalate="inputs",
            )
        )
        here = there
    return net.build()


def test_what_only_dead_transitions_would_put_keeps_more_from_ever_firing() -> None:
    for length in (2, 12):
        net = chain(length)
        (verdict,) = prove(net, only=["STATE-1"]).verdicts
        assert verdict.status is Status.PROVED, verdict.reason
        told = verdict.reason.rpartition("never to be needed: ")[2].split(", ")
        assert set(told) == {f"c{i}.{what}" for i in range(1, length) for what in ("reject", "give_up")}


@given(st.data())
def test_a_guessed_counting_argument_is_one(data: st.DataObject) -> None:
    names = [f"p{i}" for i in range(4)]
    arcs = st.lists(st.sampled_from(names), min_size=0, max_size=2, unique=True)
    transitions = tuple(
        Transition(
            f"t{i}",
            takes=tuple(Take(p) for p in data.draw(arcs)),
            puts=tuple(Put(p) for p in data.draw(arcs)),
        )
        for i in range(3)
    )
    net = Net("n", places=tuple(Place(p) for p in names), transitions=transitions, initial=(("p0", ((),)),))
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    found = bounding(net, wanted)
    if found is not None:
        assert found.holds(net)
        assert all(found.weights[p] >= 1 for p in wanted)


@given(st.data())
def test_a_counting_argument_holds_where_every_transition_respects_it(data: st.DataObject) -> None:
    names, steps = ["p", "q", "r"], ["t", "u", "v"]
    arcs = st.lists(st.tuples(st.sampled_from(names), st.integers(1, 2)), max_size=2)
    transitions = tuple(
        Transition(
            step,
            takes=tuple(Take(p, weight=n) for p, n in data.draw(arcs)),
            puts=tuple(Put(p, weight=n) for p, n in data.draw(arcs)),
        )
        for step in steps
    )
    net = Net("n", places=tuple(Place(p) for p in names), transitions=transitions)
    numbers = st.integers(-1, 3)
    found = LinearInvariant(
        data.draw(st.dictionaries(st.sampled_from(names), st.integers(1, 3))),
        data.draw(st.dictionaries(st.sampled_from(steps), numbers)),
        data.draw(st.dictionaries(st.sampled_from(steps), numbers)),
    )
    rises = {
        name: sum(found.weights.get(p, 0) * n for p, n in change.items())
        for name, change in effects(net).items()
    }
    allowed = {name: found.plus.get(name, 0) - found.minus.get(name, 0) for name in steps}
    assert found.holds(net) == all(rises[name] <= allowed[name] for name in steps)


def test_where_values_from_outside_flow_is_what_slicing_says() -> None:
    net = chain(3)
    masks = Masks(net, ())
    for place in net.places:
        alone = Masks(net, [(place.name, ("discount",))])
        sliced = not alone.fresh and not any(e.place in alone.places for e in net.entries)
        assert masks.without_outside(place.name, ("discount",)) == sliced
