"""The tokens of the port-in agent, and the rules that what is proposed is checked against."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from provenet import Term, Token, policy, rule
from provenet.examples.port_in.outside import DAY

Number = Annotated[str, Field(max_length=32)]

NOTICE = DAY
"""The donor gets at least as much notice: an order is never for an earlier day."""

LATEST = 14 * DAY
"""How much later than was wished a donor may put it."""

# tokens


class PortRequest(Token):
    """A customer wants to bring a number along."""

    number: Number
    kind: Literal["mobile", "fixed"]
    donor: str
    account: str
    asked: datetime
    wish: datetime


class Order(Token):
    """What the clearing house is told."""

    number: Number
    donor: str
    account: str
    wish: datetime


class Line(Token):
    """How the network sets a number up."""

    number: Number
    profile: Literal["volte", "sip"]


class Port(Token):
    """What is known of a port-in; the row holds it."""

    request: PortRequest
    order: Order
    date: datetime
    why: str


class LineAsked(Token):
    """What the gate before the network judges."""

    port: Port
    says: Line


class Submitted(Token):
    """Both systems have been told."""

    number: Number


class GoOn(Token):
    """The desk says that it is worth waiting."""

    number: Number


class Confirmed(Token):
    """The donor lets the number go on a day."""

    date: datetime


class Outcome(Token):
    """How a case ends."""

    result: Literal["ported", "stayed", "killed"]
    why: str


# what is checked, by rule

PLAN = policy(
    "plans v1",
    rule(
        "the number that was asked for",
        lambda proposal, inputs: proposal.number == inputs.data.request.number,
        field="number",
    ),
    rule(
        "the donor and the account of the customer's form",
        lambda proposal, inputs: (
            (proposal.donor == inputs.data.request.donor) & (proposal.account == inputs.data.request.account)
        ),
        field="account",
    ),
    rule(
        "with notice to the donor",
        lambda proposal, inputs: proposal.wish >= inputs.data.request.asked + NOTICE,
        field="wish",
    ),
)
LINE = policy(
    "lines v1",
    rule("the number that was asked for", lambda proposal, inputs: proposal.number == inputs.request.number),
)
ORDER_GATE = policy(
    "orders v1",
    rule(
        "the number that was asked for",
        lambda proposal: proposal.order.number == proposal.request.number,
        field="order.number",
    ),
    rule(
        "with notice to the donor",
        lambda proposal: proposal.order.wish >= proposal.request.asked + NOTICE,
        field="order.wish",
    ),
)
LINE_GATE = policy(
    "profiles v1",
    rule(
        "the number that was asked for",
        lambda proposal: proposal.says.number == proposal.port.request.number,
        field="says.number",
    ),
    rule(
        "a profile for this kind of number",
        lambda proposal: (proposal.says.profile == "volte") == (proposal.port.request.kind == "mobile"),
        field="says.profile",
    ),
)


def useful(order: Term, date: Term) -> Term:
    """A day that is not before what was ordered, nor much later."""
    found: Term = (date >= order.wish) & (date <= order.wish + LATEST)
    return found
