"""Eight ways to build agents that went wrong elsewhere, tried here; docs/patterns/anti-patterns.md has them.

More rows come from tests elsewhere that bear the same marker.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from provenet.engine.errors import DeployRefused
from provenet.engine.testing import Bench, Hang
from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.errors import NetError
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.net import Net, Requirement
from provenet.nets.requirements import at_least_as_strict, never
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.human import Human
from provenet.sdb.policy import Policy, within
from provenet.sdb.proposers import scripted
from provenet.sdb.reject import Reject
from provenet.verify.check import prove
from provenet.verify.verdict import Status, Verdict

ANTIPATTERN = pytest.mark.antipattern


class Order(Token):
    id: str
    cents: int


class Refund(Token):
    order: str
    cents: int


BANK = Effect("bank.pay", print, payload=Refund)
SMALL = within(Refund, lambda r: (r.cents > 0) & (r.cents <= 5_000), name="small v1")
GOOD, TOO_MUCH = Refund(order="o-1", cents=4_000), Refund(order="o-1", cents=90_000)
OVER = never(effect="bank.pay", of=Refund, where=lambda payload: payload.cents > 5_000)


def refunds(*required: Requirement | str, **parts: Any) -> NetBuilder:
    """A model proposes a refund, a policy verifies it, the bank pays."""
    net = NetBuilder("refunds")
    places: dict[str, PlaceRef] = {
        "takes": net.entry("orders", Order),
        "gives": net.final("paid", Refund),
        "otherwise": net.final("refused", Order),
    }
    standard: dict[str, Any] = {
        "propose": scripted([]),
        "returns": Refund,
        "verify": SMALL,
        "commit": BANK,
        "attempts": 3,
    }
    net.add(Contract("refund", **(places | standard | parts)))
    net.require("SDB", "STATE", "DATA", *required)
    return net


def asked(net: NetBuilder | Net, wanted: Requirement | str) -> Verdict:
    """What the checker says of one property; where it says no, with a run that does it."""
    built = net.build() if isinstance(net, NetBuilder) else net
    verdicts = prove(built, only=[wanted]).verdicts
    found = next((v for v in verdicts if v.status is not Status.PROVED), verdicts[0])
    assert found.trace is None or found.trace.replays(built)
    return found


# AP1


@ANTIPATTERN(
    "AP1", "impossible to express: what became of a case is where its token is, whatever is said of it"
)
def test_a_model_that_says_it_has_paid_has_not() -> None:
    with Bench(refunds()) as bench:
        bench.proposer("refund").always(Refund(order="o-1: done, the refund was paid", cents=90_000))
        case = bench.start(Order(id="o-1", cents=90_000))
        case.run()
        case.assert_ended("refused")
        case.assert_performed("bank.pay", times=0)
        case.assert_fired("refund.reject", times=3)
        assert case.outcome == Order(id="o-1", cents=90_000)


@ANTIPATTERN("AP1", "refuted by SDB-2: a rejected proposal leaves the very token that a committed one leaves")
def test_a_refusal_that_ends_where_a_success_ends() -> None:
    net = NetBuilder("refunds")
    orders, paid = net.entry("orders", Order), net.final("paid", Refund)
    net.add(
        Contract(
            "refund",
            takes=orders,
            gives=paid,
            otherwise=paid,
            escalate=lambda inputs: make(Refund, order=inputs.id, cents=inputs.cents),
            propose=scripted([]),
            returns=Refund,
            verify=SMALL,
            commit=BANK,
        )
    )
    verdict = asked(net, "SDB-2")
    assert verdict.status is Status.REFUTED
    assert "reports a rejected proposal of 'refund' as a committed one" in verdict.reason
    assert asked(refunds(), "SDB-2").status is Status.PROVED


# AP2


@ANTIPATTERN("AP2", "impossible to express: a contract says where a refused case goes, or is none")
@pytest.mark.parametrize("part", ["otherwise", "verify"])
def test_a_contract_has_all_its_parts(part: str) -> None:
    net = NetBuilder("refunds")
    parts = {"takes": net.entry("orders", Order), "gives": net.final("paid", Refund), "verify": SMALL}
    parts["otherwise"] = net.final("refused", Order)
    with pytest.raises(TypeError, match=part):
        Contract("refund", **{name: value for name, value in parts.items() if name != part})  # type: ignore[arg-type]


@ANTIPATTERN("AP2", "detected at run time: whatever a proposer does is a typed signal, and the case goes on")
@pytest.mark.parametrize(
    ("first", "rule"),
    [
        (TOO_MUCH, "small v1: cents <= 5000"),
        (RuntimeError("out of memory"), "fault"),
        ("certainly! I would pay them", "malformed"),
        ({"order": "o-1", "cents": "many"}, "schema"),
        (Hang(), "timeout"),
        (Reject("refusal"), "refusal"),
    ],
    ids=str,
)
def test_a_refusal_is_data(first: Any, rule: str) -> None:
    with Bench(refunds(), database=":memory:") as bench:
        script = bench.proposer("refund").answers(first, GOOD)
        case = bench.start(Order(id="o-1", cents=9_000))
        case.run()
        case.assert_ended("paid")
        case.assert_performed("bank.pay", times=1)
        (_, again) = script.calls
        assert again.request.signal is not None
        assert again.request.signal.rule == rule


# AP3


@ANTIPATTERN("AP3", "refuted by DATA-2: a rule that refuses nothing which fits the schema is vacuous")
def test_a_policy_that_says_what_the_schema_says() -> None:
    verdict = asked(refunds(verify=within(Refund, lambda r: r.order.length() >= 0, name="any")), "DATA-2")
    assert verdict.status is Status.REFUTED
    assert "vacuous" in verdict.reason


@ANTIPATTERN("AP3", "detected at run time: an answer that fits the schema is still only a proposal")
def test_what_fits_the_schema_is_not_yet_right() -> None:
    with Bench(refunds(), database=":memory:") as bench:
        bench.proposer("refund").always(TOO_MUCH)
        case = bench.start(Order(id="o-1", cents=9_000))
        case.run()
        case.assert_ended("refused")
        case.assert_performed("bank.pay", times=0)


# AP4


@ANTIPATTERN("AP4", "refuted by never: what this model never says, the next one may")
def test_a_check_that_a_model_happened_to_pass() -> None:
    lax = within(Refund, lambda r: r.cents > 0, name="positive v1")
    with Bench(refunds(verify=lax), database=":memory:") as bench:
        for n in range(20):
            case_id = f"case-{n}"
            bench.proposer("refund").answers(Refund(order="o-1", cents=4_000 + 50 * n), case=case_id)
            bench.start(Order(id="o-1", cents=9_000), case_id=case_id)
        bench.run()
        paid = [call.payload.cents for call in bench.effect("bank.pay").performed.values()]
        assert len(paid) == 20
        assert max(paid) <= 5_000, "on this model there is nothing to see"
    verdict = asked(refunds(verify=lax), OVER)
    assert verdict.status is Status.REFUTED
    assert verdict.trace is not None
    said = [s.binding["proposal"] for s in verdict.trace.steps if s.transition == "refund.propose"]
    assert said[-1][1] > 5_000
    with pytest.raises(DeployRefused), Bench(refunds(OVER, verify=lax), database=":memory:"):
        pass


@ANTIPATTERN(
    "AP4", "refuted by DATA-4: a policy that was loosened for a new model, with a value that passes now"
)
def test_a_policy_that_gives_way_to_a_model() -> None:
    looser = within(Refund, lambda r: (r.cents > 0) & (r.cents <= 6_000), name="small v2")
    verdict = asked(refunds(verify=looser), at_least_as_strict("refund", than=SMALL, of=Refund))
    assert verdict.status is Status.REFUTED
    stricter = within(Refund, lambda r: (r.cents > 0) & (r.cents <= 4_000), name="small v3")
    verdict = asked(refunds(verify=stricter), at_least_as_strict("refund", than=SMALL, of=Refund))
    assert verdict.status is Status.PROVED


# AP5


@ANTIPATTERN("AP5", "impossible to express: the number of attempts is a number, from 1 to 1000")
@pytest.mark.parametrize("attempts", [None, 0, -1, 10**9, 2.5, float("inf")])
def test_a_contract_asks_a_number_of_times(attempts: Any) -> None:
    with pytest.raises(NetError) as raised:
        refunds(attempts=attempts).build()
    assert "SD203" in {m.code for m in raised.value.mistakes}


@ANTIPATTERN("AP5", "refuted by SDB-4: a run that asks the proposer once too often")
def test_a_loop_without_a_bound() -> None:
    net = refunds().build()
    loose = tuple(replace(t, guard=None) if t.name == "refund.retry" else t for t in net.transitions)
    verdict = asked(replace(net, transitions=loose), "SDB-4")
    assert verdict.status is Status.REFUTED
    assert verdict.trace is not None
    assert [s.transition for s in verdict.trace.steps].count("refund.retry") >= 3


# AP6


@ANTIPATTERN("AP6", "refuted by DATA-3: a commit relies on what the policy does not say")
def test_a_commit_that_relies_on_more_than_was_verified() -> None:
    lax = within(Refund, lambda r: r.cents <= 50_000, name="large v1")
    verdict = asked(refunds(verify=lax, requires=lambda proposal: proposal.cents <= 5_000), "DATA-3")
    assert verdict.status is Status.REFUTED
    grounded = refunds(requires=lambda proposal: proposal.cents <= 5_000)
    assert asked(grounded, "DATA-3").status is Status.PROVED


@ANTIPATTERN("AP6", "impossible to express: a prompt is no policy, and neither is a model")
@pytest.mark.parametrize("policy", ["Refund at most 50 euros.", scripted([])], ids=["prompt", "model"])
def test_a_verifier_that_is_none(policy: Any) -> None:
    net = refunds(verify=policy)
    with pytest.raises(NetError, match="not a policy") as raised:
        net.build()
    assert "SD213" in {m.code for m in raised.value.mistakes}


# AP7


def dropping(*, approved: str = "") -> NetBuilder:
    """An agent that may delete a database; somebody is asked, or nobody."""
    net = NetBuilder("dropping")
    orders, dropped = net.entry("orders", Order), net.final("dropped", Refund)
    refused = net.final("refused", Refund)
    drop = Effect("database.drop", print, payload=Refund)
    more: dict[str, Any] = {"commit": drop, "irreversible": True, "gives": dropped}
    own = Policy("own v1", SMALL.rules)
    if not approved:
        more |= {"propose": scripted([]), "returns": Refund}
        more["escalate"] = lambda inputs: make(Refund, order=inputs.id, cents=0)
        net.add(Contract("drop", takes=orders, otherwise=refused, verify=own, **more))
        return net
    plans, approval = net.place("plans", Refund), net.place("approved", Refund)
    net.route("plan", takes={"o": orders}, puts={plans: lambda o: make(Refund, order=o.id, cents=1)})
    week = timedelta(days=7)
    net.add(Human(approved, takes=plans, approve=approval, deny=refused, who="owner", within=week))
    net.add(Contract("drop", takes=approval, otherwise=refused, verify=own, **more))
    return net


@ANTIPATTERN("AP7", "refuted by CTL-1: what cannot be undone is done, and nobody approved it")
def test_nobody_is_asked_before_what_cannot_be_undone() -> None:
    verdict = asked(dropping(), "CTL-1")
    assert verdict.status is Status.REFUTED
    assert "no person approved" in verdict.reason
    assert asked(dropping(approved="approve drop"), "CTL-1").status is Status.PROVED


@ANTIPATTERN("AP7", "detected at run time: silence is a no, and the effect is not performed")
def test_nobody_answers() -> None:
    net = dropping(approved="approve drop")
    net.require("CTL-1", "CTL-3")
    with Bench(net, database=":memory:") as bench:
        case = bench.start(Order(id="o-1", cents=1))
        case.run_until("approve drop")
        bench.advance(days=8)
        case.assert_ended("refused")
        case.assert_performed("database.drop", times=0)


# AP8


@ANTIPATTERN(
    "AP8", "detected at run time: an answer that cannot be read goes back with what was wrong, where, and why"
)
def test_an_answer_that_cannot_be_read_is_asked_for_again() -> None:
    with Bench(refunds(), database=":memory:") as bench:
        script = bench.proposer("refund").answers({"order": "o-1", "cents": "4000 euros"}, GOOD)
        case = bench.start(Order(id="o-1", cents=9_000))
        case.run()
        case.assert_ended("paid")
        signal = script.calls[1].request.signal
        assert signal is not None
        assert (signal.rule, signal.field, signal.retryable) == ("schema", "cents", True)
        assert signal.expected
        assert "4000 euros" in signal.got
