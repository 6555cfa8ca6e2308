"""What the billing agent speaks of, and the rules that are checked: see ``agent``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from provenet import Token, policy, rule

Id = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=500)]
Cents = Annotated[int, Field(ge=0)]
By = Literal["owner", "guest"]

ALONE = 2_000
"""As much as is given back without a person, in cents."""
MOST_REFUNDED = 30_000
"""As much as is given back in a conversation, whoever approves."""
MOST_REFUNDS = 2
MOST_MONTHS = 12


# tokens


class Customer(Token):
    """Who begins a conversation; what is due, and what was paid of it before."""

    id: Id
    due: Cents
    paid: Cents


class Account(Token):
    """What the log says: its view."""

    id: Id
    due: Cents
    paid: int
    refunded: int
    planned: bool
    bounced: bool


class Message(Token):
    """What somebody asks; ``by`` is what the channel knows of them."""

    text: Text
    by: By


class Payment(Token):
    """Money came in, or went back because it bounced."""

    kind: Literal["came", "bounced"]
    cents: Cents


class Proposed(Token):
    """What the model proposes."""

    account: Id
    kind: Literal["answer", "refund", "plan"]
    cents: Cents
    months: int
    text: Text


class Advice(Token):
    """The same with who asked for it, which no model says."""

    says: Proposed
    by: By


class Refund(Token):
    """What the payment system is told."""

    account: Id
    cents: Cents
    by: By


class Plan(Token):
    """What the system of instalments is told."""

    account: Id
    months: int
    by: By


class RefundAsked(Token):
    """What the gate before the payment system judges, and what a person is shown."""

    account: Account
    says: Refund
    text: Text


class PlanAsked(Token):
    """What the gate before the system of instalments judges."""

    account: Account
    says: Plan
    text: Text


class Settled(Token):
    """What has become of a proposal."""

    result: Literal["answered", "refunded", "planned", "declined"]
    cents: int
    text: Text


class Letter(Token):
    """What the customer reads."""

    account: Id
    result: Literal["answered", "refunded", "planned", "declined"]
    text: Text


class Outcome(Token):
    """How a conversation ends."""

    result: Literal["over", "taken back", "killed"]
    paid: int
    refunded: int


# what is checked, by rule

ADVICE = policy(
    "advice v1",
    rule(
        "its own account",
        lambda proposal, inputs: proposal.account == inputs.view.id,
        field="account",
    ),
    rule("says something", lambda proposal: proposal.text != "", field="text"),
    rule(
        "no money in an answer",
        lambda proposal: (proposal.kind != "answer") | (proposal.cents == 0),
        field="cents",
    ),
    rule(
        "gives back no more than was paid",
        lambda proposal, inputs: (
            (proposal.kind != "refund")
            | ((proposal.cents > 0) & (proposal.cents <= inputs.view.paid - inputs.view.refunded))
        ),
        field="cents",
    ),
)
REFUNDS = policy(
    "refunds v1",
    rule("something", lambda proposal: proposal.says.cents > 0, field="says.cents"),
    rule(
        "no more than was paid, and nothing has bounced",
        lambda proposal: (
            ~proposal.account.bounced
            & (proposal.says.cents <= proposal.account.paid - proposal.account.refunded)
        ),
        field="says.cents",
    ),
)
PLANS = policy(
    "plans v1",
    rule(
        "2 to 12 months",
        lambda proposal: (proposal.says.months >= 2) & (proposal.says.months <= MOST_MONTHS),
        field="says.months",
    ),
    rule(
        "something is due, and no plan yet",
        lambda proposal: (proposal.account.due > proposal.account.paid) & ~proposal.account.planned,
        field="says.months",
    ),
)
