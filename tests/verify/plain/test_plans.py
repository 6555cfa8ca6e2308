"""Plans against plain search."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain.answer import Budget, Reachable, confirmed
from provenet.verify.plain.engines.plans import Plans
from provenet.verify.plain.logic import at_least, conj, deadlock
from provenet.verify.plain.net import PTNet
from tests.verify.plain.nets import goals, nets, truth


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_answer_is_wrong(data: st.DataObject) -> None:
    net = data.draw(nets())
    asked = [data.draw(goals(net)) for _ in range(3)] + [deadlock(net)]
    for i, answer in Plans().run(net, asked, Budget.seconds(0.5)):
        known = truth(net, asked[i])
        if isinstance(answer, Reachable):
            assert confirmed(net, asked[i], answer)
            assert known is not False
        else:
            assert known is not True


def test_a_plan_is_carried_out() -> None:
    # Ten tokens must be turned over one by one before the last step.
    net = PTNet(
        places=("todo", "done", "end"),
        transitions=("work", "finish"),
        pre=(((0, 1),), ((1, 10),)),
        post=(((1, 1),), ((2, 1),)),
        initial=(10, 0, 0),
    )
    goal = conj([at_least({2: 1}, 1)])
    (answer,) = dict(Plans().run(net, [goal], Budget.seconds(20))).values()
    assert isinstance(answer, Reachable)
    assert sorted(answer.firings) == [0] * 10 + [1]


def test_where_a_plan_lacks_a_start_the_next_one_has_it() -> None:
    # Counting needs `use` alone, which needs a key that only a detour brings and takes back.
    net = PTNet(
        places=("here", "there", "key", "drawer"),
        transitions=("use", "open", "close"),
        pre=(((0, 1), (2, 1)), ((3, 1),), ((2, 1),)),
        post=(((1, 1), (2, 1)), ((2, 1),), ((3, 1),)),
        initial=(1, 0, 0, 1),
    )
    goal = conj([at_least({1: 1}, 1), at_least({3: 1}, 1)])
    (answer,) = dict(Plans().run(net, [goal], Budget.seconds(20))).values()
    assert isinstance(answer, Reachable)
    assert set(answer.firings) == {0, 1, 2}
