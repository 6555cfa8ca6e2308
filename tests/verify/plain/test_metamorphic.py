"""What must not change an answer: names and order, dead parts, a step more, the goal's dual, its company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain.answer import Budget, Engine, Reachable, confirmed
from provenet.verify.plain.engines.explore import Explore
from provenet.verify.plain.engines.plans import Plans
from provenet.verify.plain.engines.state_equation import StateEquationEngine
from provenet.verify.plain.logic import Formula, Le, at_most, mapped, negation
from provenet.verify.plain.net import Arcs, PTNet
from tests.verify.plain.nets import goals, nets, truth

ENGINES: tuple[Engine, ...] = (
    StateEquationEngine(),
    Plans(),
    Explore(),
    Explore(stubborn="off"),
)


def moved(formula: Formula, place: Callable[[int], int]) -> Formula:
    def change(atom: Le) -> Formula:
        return at_most({place(p): c for p, c in atom.terms}, atom.bound)

    return mapped(formula, change)


def shuffled(net: PTNet, order: Sequence[int], turned: Sequence[int]) -> PTNet:
    """Place ``p`` becomes ``order[p]``; transitions stand in the order of ``turned``; all get new names."""

    def arcs(old: Arcs) -> Arcs:
        return tuple(sorted((order[p], w) for p, w in old))

    initial = [0] * len(net.places)
    for p, n in enumerate(net.initial):
        initial[order[p]] = n
    return PTNet(
        places=tuple(f"place {i}" for i in range(len(net.places))),
        transitions=tuple(f"step {i}" for i in range(len(turned))),
        pre=tuple(arcs(net.pre[t]) for t in turned),
        post=tuple(arcs(net.post[t]) for t in turned),
        initial=tuple(initial),
    )


def with_a_dead_part(net: PTNet) -> PTNet:
    """Two more places that hold nothing, and a transition that would turn one into everything."""
    n = len(net.places)
    everything = tuple((p, 1) for p in range(n + 2))
    return replace(
        net,
        places=(*net.places, "never", "nor this"),
        transitions=(*net.transitions, "burst"),
        pre=(*net.pre, ((n, 1), (n + 1, 1))),
        post=(*net.post, everything),
        initial=(*net.initial, 0, 0),
    )


def with_a_step_more(net: PTNet, place: int) -> PTNet:
    """What takes from a place waits for a silent step first; the place and the new one count as one."""
    n = len(net.places)
    return replace(
        net,
        places=(*net.places, "after the step"),
        transitions=(*net.transitions, "silent"),
        pre=(*(tuple((n if p == place else p, w) for p, w in a) for a in net.pre), ((place, 1),)),
        post=(*net.post, ((n, 1),)),
        initial=(*net.initial, 0),
    )


def in_two_places(formula: Formula, place: int, other: int) -> Formula:
    def change(atom: Le) -> Formula:
        terms = dict(atom.terms)
        if place in terms:
            terms[other] = terms[place]
        return at_most(terms, atom.bound)

    return mapped(formula, change)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_answers_stay(data: st.DataObject) -> None:
    net = data.draw(nets(most_places=5, most_transitions=6))
    goal = data.draw(goals(net))
    order = data.draw(st.permutations(range(len(net.places))))
    turned = data.draw(st.permutations(range(len(net.transitions))))
    place = data.draw(st.integers(0, len(net.places) - 1))
    company = data.draw(goals(net))
    known = truth(net, goal)
    step = with_a_step_more(net, place)
    questions: list[tuple[str, PTNet, list[Formula]]] = [
        ("as it is", net, [goal]),
        ("in company", net, [company, goal]),
        ("dual of the dual", net, [negation(negation(goal))]),
        ("renamed", shuffled(net, order, turned), [moved(goal, lambda p: order[p])]),
        ("with a dead part", with_a_dead_part(net), [goal]),
        ("with a step more", step, [in_two_places(goal, place, len(net.places))]),
    ]
    told: dict[tuple[str, str], bool] = {}
    for what, changed, asked in questions:
        for engine in ENGINES:
            for i, answer in engine.run(changed, asked, Budget.seconds(0.2)):
                if isinstance(answer, Reachable):
                    assert confirmed(changed, asked[i], answer), (what, engine)
                if i == len(asked) - 1:
                    told[what, repr(engine)] = isinstance(answer, Reachable)
    assert len(set(told.values())) <= 1, told
    if known is not None:
        assert set(told.values()) <= {known}, told
