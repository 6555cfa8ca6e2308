"""Engines over SMT, and place invariants, against plain search."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain.answer import Budget, Reachable, confirmed
from provenet.verify.plain.engines.spacer import Spacer
from provenet.verify.plain.invariants import place_invariants
from provenet.verify.plain.net import PTNet
from tests.verify.plain.nets import goals, nets, reachable, truth


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_answer_is_wrong(data: st.DataObject) -> None:
    net = data.draw(nets())
    asked = [data.draw(goals(net)) for _ in range(2)]
    for engine in (Spacer(),):
        for i, answer in engine.run(net, asked, Budget.seconds(0.3)):
            known = truth(net, asked[i])
            if isinstance(answer, Reachable):
                assert confirmed(net, asked[i], answer)
                assert known is not False
            else:
                assert known is not True


@settings(max_examples=100, deadline=None)
@given(nets(most_places=8))
def test_invariants_hold_everywhere(net: PTNet) -> None:
    found = place_invariants(net)
    assert all(invariant.holds(net) for invariant in found)
    for marking in reachable(net, limit=300)[0]:
        for invariant in found:
            assert sum(w * marking[p] for p, w in invariant.weights) == invariant.value
