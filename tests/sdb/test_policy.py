"""Policies: one meaning as rules, guards and explanations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.errors import ExprError
from provenet.nets.expr.ast import And
from provenet.nets.expr.evaluate import compile_expr
from provenet.nets.expr.show import show
from provenet.nets.models import Token, schema_of, to_value
from provenet.nets.net import ContractInfo, Net
from provenet.nets.schema import RecordType
from provenet.sdb.contract import Contract
from provenet.sdb.policy import Policy, explain, policy, rule, within
from provenet.sdb.reject import REJECT, Reject


class Terms(Token):
    months: int


class Offer(Token):
    customer: str
    discount_pct: int
    terms: Terms


class Customer(Token):
    id: str
    ceiling: int


OFFER, CUSTOMER = schema_of(Offer), schema_of(Customer)
DISCOUNT = policy(
    "discount v7",
    rule("own customer", lambda proposal, inputs: proposal.customer == inputs.id, hint="yours only"),
    rule("ceiling", lambda proposal, inputs: proposal.discount_pct <= inputs.ceiling, retryable=False),
    rule("usual term", lambda proposal: proposal.terms.months.one_of(12, 24), field="terms"),
)
OFFERS = st.builds(
    Offer,
    customer=st.sampled_from(["a", "b"]),
    discount_pct=st.integers(0, 100),
    terms=st.builds(Terms, months=st.sampled_from([6, 12, 24])),
)
CUSTOMERS = st.builds(Customer, id=st.sampled_from(["a", "b"]), ceiling=st.integers(0, 100))


def info(of: Policy = DISCOUNT) -> ContractInfo:
    rules = of.resolve(OFFER, {"inputs": CUSTOMER})
    return ContractInfo("c", OFFER, of.name, rules, CUSTOMER)


@given(offer=OFFERS, customer=CUSTOMERS)
def test_a_proposal_is_explained_exactly_where_a_rule_is_broken(offer: Offer, customer: Customer) -> None:
    broken = [
        name
        for name, holds in (
            ("own customer", offer.customer == customer.id),
            ("ceiling", offer.discount_pct <= customer.ceiling),
            ("usual term", offer.terms.months in (12, 24)),
        )
        if not holds
    ]
    found = explain(info(), proposal=to_value(offer, OFFER), inputs=to_value(customer, CUSTOMER))
    if not broken:
        assert found is None
    else:
        assert found is not None
        assert found.rule == f"discount v7: {broken[0]}"
        assert to_value(found.value(), REJECT) == found.value()
        assert Reject.of(found.value()) == found


@given(offer=OFFERS, customer=CUSTOMERS)
def test_rules_and_the_accepting_guard_agree(offer: Offer, customer: Customer) -> None:
    net = contract_net(DISCOUNT)
    accept, reject = net.transition("c.accept"), net.transition("c.reject")
    proposed = net.place("c.proposed").type
    assert isinstance(proposed, RecordType)
    token = (to_value(customer, CUSTOMER), to_value(offer, OFFER), 1)
    accepts, rejects = (
        compile_expr(t.guard, {"p": proposed})({"p": token}) for t in (accept, reject) if t.guard
    )
    explained = explain(net.contract("c"), proposal=token[1], inputs=token[0])
    assert accepts == (not rejects) == (explained is None)


def test_a_reject_tells_where_and_what_and_how_to_mend() -> None:
    offer = to_value(Offer(customer="a", discount_pct=90, terms=Terms(months=6)), OFFER)
    wrong_customer = explain(info(), proposal=offer, inputs=("b", 100))
    assert wrong_customer == Reject(
        "discount v7: own customer", "customer", "customer == inputs.id", "'a'", hint="yours only"
    )
    over = explain(info(), proposal=offer, inputs=("a", 30))
    assert over is not None
    assert (over.field, over.got, over.retryable) == ("discount_pct", "90", False)
    term = explain(info(), proposal=offer, inputs=("a", 90))
    assert term is not None
    assert term.field == "terms"


def test_a_nested_field_is_named_by_its_path() -> None:
    nested = policy("p", rule("", lambda proposal: proposal.terms.months <= 12))
    (found,) = nested.resolve(OFFER, {})
    assert (found.field, found.name) == ("terms.months", "terms.months <= 12")
    reject = explain(info(nested), proposal=("a", 1, (24,)), inputs=("a", 1))
    assert reject is not None
    assert reject.got == "24"


def test_within_speaks_of_the_proposal_under_any_name_and_splits_at_and() -> None:
    found = within(Offer, lambda o: (o.discount_pct <= 30) & o.terms.months.one_of(12, 24), name="v7")
    rules = found.resolve(OFFER, {})
    assert [show(r.expr) for r in rules] == [
        "proposal.discount_pct <= 30",
        "proposal.terms.months in (12, 24)",
    ] or len(rules) == 2
    assert [r.field for r in rules] == ["discount_pct", "terms.months"]
    named = policy("v7", rule("both", lambda o: (o.discount_pct <= 30) & (o.discount_pct >= 0)))
    (whole,) = named.resolve(OFFER, {})
    assert isinstance(whole.expr, And)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda o: o.discount <= 30, "discount"),
        (lambda o: (o.discount_pct <= 30) and (o.discount_pct >= 0), "bool"),
        (lambda o: o.discount_pct <= "30", "compared|order"),
    ],
)
def test_within_refuses_a_lambda_that_cannot_be_at_once(wrong: Any, said: str) -> None:
    with pytest.raises(ExprError, match=said):
        within(Offer, wrong, name="v7")


@given(text=st.text(max_size=2_000))
def test_any_text_can_travel_in_a_reject(text: str) -> None:
    value = Reject(rule=text, got=text).value()
    assert to_value(value, REJECT) == value


def contract_net(of: Policy) -> Net:
    from tests.sdb.test_contract import Echo

    net = NetBuilder("n")
    start, done, off = net.entry("start", Customer), net.final("done", Offer), net.final("off", Customer)
    net.add(Contract("c", takes=start, gives=done, propose=Echo(), returns=Offer, verify=of, otherwise=off))
    return net.build()
