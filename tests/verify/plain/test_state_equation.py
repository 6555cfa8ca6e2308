"""The refined state equation against plain search."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain.answer import Budget, StateEquation, Unreachable
from provenet.verify.plain.engines.state_equation import StateEquationEngine
from provenet.verify.plain.logic import at_least, at_most, deadlock
from provenet.verify.plain.net import PTNet
from tests.verify.plain.nets import goals, nets, truth


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_answer_is_wrong(data: st.DataObject) -> None:
    net = data.draw(nets())
    asked = [data.draw(goals(net)) for _ in range(3)] + [deadlock(net)]
    for i, answer in StateEquationEngine().run(net, asked, Budget.seconds(0.3)):
        known = truth(net, asked[i])
        assert isinstance(answer, Unreachable)
        assert known is not True


def test_a_reader_that_nothing_enables_is_dead() -> None:
    # One token runs round a and b, so that `copy`, which reads both, never fires.
    net = PTNet(
        places=("a", "b", "c"),
        transitions=("go", "back", "copy"),
        pre=(((0, 1),), ((1, 1),), ((0, 1), (1, 1))),
        post=(((1, 1),), ((0, 1),), ((0, 1), (1, 1), (2, 1))),
        initial=(1, 0, 0),
    )
    (answer,) = dict(StateEquationEngine().run(net, [at_least({2: 1}, 1)], Budget.seconds(5))).values()
    assert isinstance(answer, Unreachable)
    assert isinstance(answer.evidence, StateEquation)
    assert answer.evidence.dead == (2,)


def test_a_marked_trap_stays_marked() -> None:
    # `split` needs two tokens of p and leaves one: counting alone would empty p with a half firing.
    net = PTNet(
        places=("p", "q"),
        transitions=("split", "join"),
        pre=(((0, 2),), ((0, 1), (1, 1))),
        post=(((0, 1), (1, 1)), ((0, 1),)),
        initial=(2, 0),
    )
    (answer,) = dict(StateEquationEngine().run(net, [at_most({0: 1}, 0)], Budget.seconds(5))).values()
    assert isinstance(answer, Unreachable)
    assert answer.evidence == StateEquation(traps=(frozenset({0}),))


def test_what_feeds_only_itself_never_starts() -> None:
    net = PTNet(
        places=("p", "q"),
        transitions=("loop",),
        pre=(((0, 1),),),
        post=(((0, 1), (1, 1)),),
        initial=(0, 0),
    )
    (answer,) = dict(StateEquationEngine().run(net, [at_least({1: 1}, 1)], Budget.seconds(5))).values()
    assert isinstance(answer, Unreachable)
    assert answer.evidence == StateEquation(empty=(frozenset({0}),))
