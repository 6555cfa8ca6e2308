"""What decides formulas where the state graph does not, with reachability as it is asked on large nets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.verify.plain import decide as deciding
from provenet.verify.plain import plan_temporal
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.local import Local
from provenet.verify.plain.logic import at_least
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.portfolio import Stage
from tests.verify.plain.formulas import branching, graph_of, satisfying
from tests.verify.plain.nets import nets


@settings(max_examples=12, deadline=None)
@given(nets(most_places=4, most_transitions=4), st.data())
def test_without_a_state_graph_no_answer_is_wrong(net: PTNet, data: st.DataObject) -> None:
    graph = graph_of(net, limit=150)
    if graph is None:
        return
    formulas = [data.draw(branching(net)) for _ in range(8)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deciding, "first_stages", lambda _, logic: ())
        patch.setattr(deciding, "last_stages", lambda seconds, logic: (Stage(Local(), seconds),))
        found = {i: d.holds for i, d in deciding.decide(net, formulas, Budget.seconds(60))}
    assert found == {i: net.initial in satisfying(graph, f) for i, f in enumerate(formulas)}


@pytest.mark.slow
def test_a_net_too_large_for_its_graph_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_temporal, "FIRST_LOOK", 0.02)
    # Thirty tokens that go back and forth, each in a place of its own: a thousand million markings.
    size = 30
    back_and_forth = PTNet(
        places=tuple(f"p{i}" for i in range(2 * size)),
        transitions=tuple(f"t{i}" for i in range(2 * size)),
        pre=tuple(((i, 1),) for i in range(2 * size)),
        post=tuple((((i + size) % (2 * size), 1),) for i in range(2 * size)),
        initial=(1,) * size + (0,) * size,
    )
    all_there = tl.Now(at_least(dict.fromkeys(range(size, 2 * size), 1), size))
    formulas: list[tl.Temporal] = [
        tl.A(tl.G(tl.E(tl.F(all_there)))),
        tl.E(tl.F(tl.A(tl.G(tl.Not(all_there))))),
        tl.A(tl.F(all_there)),
    ]
    found = {i: d.holds for i, d in deciding.decide(back_and_forth, formulas, Budget.seconds(60))}
    assert found == {0: True, 1: False, 2: False}
