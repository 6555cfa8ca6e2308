"""Engines on reduced nets against plain search."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain.answer import Budget, Reachable, Reduced, Unreachable, confirmed
from provenet.verify.plain.engines.explore import Explore
from provenet.verify.plain.engines.on_reduced import OnReduced
from provenet.verify.plain.engines.plans import Plans
from provenet.verify.plain.engines.state_equation import StateEquationEngine
from provenet.verify.plain.engines.walk import Walk
from provenet.verify.plain.logic import at_least, deadlock
from provenet.verify.plain.net import PTNet
from tests.verify.plain.nets import goals, nets, truth


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_answer_is_wrong(data: st.DataObject) -> None:
    net = data.draw(nets())
    asked = [data.draw(goals(net)) for _ in range(2)] + [deadlock(net)]
    for inner in (Explore(), StateEquationEngine(), Plans(), Walk(rounds=3)):
        for i, answer in OnReduced(inner).run(net, asked, Budget.seconds(0.2)):
            known = truth(net, asked[i])
            if isinstance(answer, Reachable):
                assert confirmed(net, asked[i], answer)
                assert known is not False
            else:
                assert isinstance(answer.evidence, Reduced)
                assert known is not True


def test_a_proof_tells_the_smaller_net_and_the_rules() -> None:
    net = PTNet(
        places=("a", "b", "c", "lost"),
        transitions=("go", "on", "never"),
        pre=(((0, 1),), ((1, 1),), ((3, 1),)),
        post=(((1, 1),), ((2, 1),), ((2, 1),)),
        initial=(1, 0, 0, 0),
    )
    ((_, answer),) = OnReduced(Explore()).run(net, [at_least({2: 1}, 2)], Budget.seconds(20))
    assert isinstance(answer, Unreachable)
    assert isinstance(answer.evidence, Reduced)
    assert len(answer.evidence.net.transitions) == 1
    assert next(rule for rule, _ in answer.evidence.rules) == "never marked"
