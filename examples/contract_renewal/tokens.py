"""The tokens of the renewal net.

They are small: a case carries what its policies and letters read, and no more.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from provenet import Token
from provenet.examples.contract_renewal.customers import Customer, Term

Percent = Annotated[int, Field(ge=0, le=100)]
Months = Annotated[int, Field(ge=1, le=60)]
Id = Annotated[str, Field(max_length=64)]

Aim = Literal["renewed", "renewed_with_offer", "restructured"]
Result = Literal[
    "renewed", "renewed_with_offer", "restructured", "churned", "escalated", "expired", "denied", "killed"
]
Why = Literal[
    "accepted",
    "declined",
    "no_reply",
    "window_not_opened",
    "taken_over",
    "offer_denied",
    "over_the_cap",
    "no_draft",
    "no_letter",
    "no_billing",
    "kill_switch",
]


class Case(Token):
    """One renewal: what is known of the customer, and the day on which the contract ends.

    Attributes:
        id: The customer's id.
        monthly_cents: What the customer pays each month.
        tenure: Months as a customer.
        month_to_month: Whether the contract runs from month to month.
        notice: Whether the customer has given notice.
        merger: Whether this contract is to be merged with another one.
        plan: The plan that the customer has.
        day0: When the contract ends; all fixed days count from here.
    """

    id: Id
    monthly_cents: Annotated[int, Field(ge=0)]
    tenure: Annotated[int, Field(ge=0)]
    month_to_month: bool
    notice: bool
    merger: bool
    plan: Id
    day0: datetime


class Score(Token):
    """What the churn agent proposes: how likely the customer is to leave."""

    risk_pct: Percent


class Risk(Token):
    """A churn risk that the case goes on with, and where it comes from."""

    pct: Percent
    source: Literal["model", "substituted"]


class Offer(Token):
    """An offer: one record from the proposal to billing, so that a person approves that very offer."""

    customer: Id
    discount_pct: Percent
    term_months: Months


class Draft(Token):
    """A renewal draft in the CRM."""

    customer: Id
    plan: Id
    term_months: Months


class Signals(Token):
    """What the three agents found out, joined."""

    case: Case
    risk: Risk
    offer: Offer


class Plan(Token):
    """What the renewal aims at after scoring, with the offer that was suggested for it."""

    case: Case
    aim: Aim
    risk_pct: Percent
    offer: Offer


class PlanChange(Token):
    """The outside says that a plan is discontinued and what replaces it."""

    old: Id
    new: Id


class Deal(Token):
    """An offer on its way to the customer.

    Attributes:
        case: The case.
        aim: The outcome that an acceptance leads to.
        offer: The offer.
        sampled: Passed, but above the warning line: a reviewer looks at it afterwards.
    """

    case: Case
    aim: Aim
    offer: Offer
    sampled: bool


class Letter(Token):
    """An e-mail that tells the customer an offer."""

    customer: Id
    template: Aim
    discount_pct: Percent
    term_months: Months


class Counter(Token):
    """What a customer asks for in a negotiation."""

    discount_pct: Percent


class Done(Token):
    """Receipt of an effect: the idempotency key under which it was done, and the service's own reference."""

    key: str
    reference: str


class Correction(Token):
    """An e-mail that takes an earlier one back."""

    customer: Id
    of: str


class Outcome(Token):
    """How a case ended, and why."""

    result: Result
    why: Why
    discount_pct: Percent
    sampled: bool


def case_of(customer: Customer, *, day0: datetime, merger: bool = False) -> Case:
    """The token with which a customer's renewal starts.

    Args:
        customer: The customer record.
        day0: When the contract ends.
        merger: Whether the contract is to be merged with another one; the customer file does not say.
    """
    return Case(
        id=customer.customer_id,
        monthly_cents=int(customer.monthly_charges * 100),
        tenure=customer.tenure_months,
        month_to_month=customer.term is Term.MONTH_TO_MONTH,
        notice=customer.churned,
        merger=merger,
        plan=customer.internet_service if customer.internet_service != "No" else "Phone only",
        day0=day0,
    )


def days(count: int) -> timedelta:
    """So many days."""
    return timedelta(days=count)
