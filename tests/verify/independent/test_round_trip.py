"""Certificates that the engines make: the separate checker never refuses one, and shows most by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from provenet.nets.check import check_net
from provenet.nets.expr.show import show
from provenet.nets.formats.pnml import read_pnml
from provenet.nets.net import Net, Requirement
from provenet.nets.requirements import never
from provenet.verify.asked import WORDS
from provenet.verify.independent import claims
from provenet.verify.independent.check import Result
from provenet.verify.independent.claims import Stated
from tests.verify.independent.support import certified, changed, checked, outcomes, plain_net
from tests.verify.nets import Offer, cap, selling, trip
from tests.verify.plain.nets import nets
from tests.verify.small_contracts import contract_nets
from tests.verify.small_nets import requirements, small_nets
from tests.verify.test_catalogue import two_people

SHARED = Path(__file__).resolve().parents[4] / "shared"
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))
SAFE = Requirement("STATE-2", (("k", 1),))
GOLDEN = Path(__file__).parent / "golden.smt2"


def none_refused(results: list[Result]) -> None:
    for r in results:
        assert r.outcome != "refused", f"{r.entry.stated}: {r.says}"


@settings(SLOW, max_examples=3)
@given(contract_nets())
def test_contract_nets(net: Net) -> None:
    assume(not check_net(net))
    none_refused(checked(net, certified(net, timeout=5)))


@settings(SLOW, max_examples=12)
@given(st.data())
def test_nets_with_data(data: st.DataObject) -> None:
    net = data.draw(small_nets())
    net = replace(net, requirements=tuple(data.draw(requirements(net))))
    assume(not check_net(net))
    none_refused(checked(net, certified(net, timeout=5)))


@settings(SLOW, max_examples=15)
@given(st.data())
def test_plain_nets(data: st.DataObject) -> None:
    pt = data.draw(nets(most_places=4, most_transitions=4))
    marked = data.draw(st.lists(st.sampled_from(pt.places), max_size=2, unique=True))
    net = plain_net(pt, finals=(tuple((p, 1) for p in marked),) if marked else ())
    asked = [WORDS["relaxed-soundness"], Requirement("STATE-1"), Requirement("STATE-2"), SAFE]
    none_refused(checked(net, certified(net, *asked, Requirement("STATE-3"), timeout=0.5)))


def test_small_agents_by_both_solvers() -> None:
    pytest.importorskip("cvc5", reason="cvc5 is an extra: pip install 'provenet[cvc5]'")
    for net in (
        selling(requirements=("SDB", "DATA", "STATE-2", cap())),
        trip(requirements=("SDB", "STATE-2")),
    ):
        results = checked(net, certified(net), solvers=("z3", "cvc5"))
        none_refused(results)
        assert dict(outcomes(results))["SDB-1"] == "re-checked"
        assert sum(r.obligations for r in results) > 5


def test_the_renewal_agent() -> None:
    from provenet.examples.contract_renewal.net import agent

    net = agent().net
    results = checked(net, certified(net))
    none_refused(results)
    shown = Counter(r.entry.stated.property for r in results if r.outcome == "re-checked")
    everywhere = ("SDB-1", "SDB-2", "SDB-3", "SDB-5", "SDB-6")
    assert [shown[p] for p in everywhere] == [len(net.contracts)] * len(everywhere)
    assert {"SDB-4", "CTL-1", "CTL-4", "DATA-1", "DATA-3", "STATE-2", "never", "always"} <= set(shown)
    assert len(results) - shown.total() < 30


@pytest.mark.parametrize("name", ["", "only what a person approved"])
def test_what_one_of_several_people_may_allow(name: str) -> None:
    def asked(second: str, *tasks: str) -> Net:
        required = never(
            transition="sell", of=Offer, where=lambda payload: payload.discount > 30, unless=tasks, name=name
        )
        return replace(two_people(second=second), requirements=(required,))

    both, nobody = asked("approved", "ask", "appeal"), asked("nobody", "ask", "ask.approve")
    alone = certified(asked("approved", "ask"))["verdicts"][0]
    for net in (both, nobody):
        assert outcomes(checked(net, certified(net))) == [("never", "re-checked")]
    # A run in which the second one approved breaks nothing where either may.
    assert alone["trace"]["steps"][1]["transition"] == "appeal.approve"
    told = changed(
        certified(both),
        lambda out: out["verdicts"][0].update(verdict="REFUTED", evidence=[], trace=alone["trace"]),
    )
    assert outcomes(checked(both, told)) == [("never", "refused")]


@pytest.mark.parametrize(
    ("model", "words", "kind"),
    [
        ("Referendum-PT-0010", ("safeness",), "state equation"),
        ("ResAllocation-PT-R003C010", ("safeness",), "state equation"),
        ("Philosophers-PT-000005", ("safeness", "deadlock-freedom"), "explored"),
    ],
)
def test_contest_nets(model: str, words: tuple[str, ...], kind: str) -> None:
    path = SHARED / "mcc" / model / "model.pnml"
    if not path.exists():
        pytest.skip("the contest's nets are not part of the project")
    net = read_pnml(path)
    results = checked(net, certified(net, *(WORDS[w] for w in words)))
    assert {r.outcome for r in results} == {"re-checked"}
    assert kind in {kind for r in results for kind, _ in r.entry.stated.evidence}


def test_process_nets() -> None:
    found = sorted((SHARED / "soundness" / "ibm").glob("*.pnml"))[:12]
    if not found:
        pytest.skip("the process nets are not part of the project")
    for path in found:
        net = read_pnml(path)
        results = checked(net, certified(net, WORDS["soundness"]))
        assert outcomes(results) == [("STATE-1", "re-checked")], f"{path.name}: {results[0].says}"


def test_the_obligations_of_a_small_net_are_pinned() -> None:
    facts = {
        "offer.committing": ["ghost_set and ghost_value == it.proposal and it.proposal.discount <= 30"],
        "offer.verified": ["ghost_set and ghost_value == it.proposal and it.proposal.discount <= 30"],
    }
    net = selling()
    (asked,) = claims.asked(net, Stated("SDB-1", "offer", "", ()))
    assert asked.ghost is not None
    condition = "not (ghost_set and ghost_value == v.proposal and v.proposal.discount <= 30)"
    assert [show(never.condition) for never in asked.never] == [condition]
    data = {
        "questions": [{"transition": "offer.commit", "condition": condition}],
        "ghost": {"offer.accept": "p.proposal"},
        "facts": facts,
    }
    claim = claims.claim(net, Stated("SDB-1", "offer", "", (("facts", data),)), deadline=0.0)
    text = "\n".join(o.text for o in claim.obligations)
    assert text == GOLDEN.read_text(encoding="utf-8")
