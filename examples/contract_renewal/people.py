"""What the people of the demo do: customer, specialist, counsel, and whoever discontinues a plan.

Everything follows from the customer's record and a seed, as pure functions: whoever drives a run asks
for a case's plan and plays it against the clock. Customers mostly do what their record lets expect, and
sometimes do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from provenet import KILL_SIGNAL, ProvenetError
from provenet.examples.contract_renewal.customers import Customer, ExpectedPath, expected_path
from provenet.examples.contract_renewal.net import (
    ACCEPT,
    APPROVE_OFFER,
    DECLINE,
    DISCONTINUED,
    GO_ON,
    NEGOTIATE,
    OPEN,
)
from provenet.examples.contract_renewal.policy_data import POLICY_V7
from provenet.examples.contract_renewal.proposers import draw
from provenet.examples.contract_renewal.tokens import Case, Counter, Deal, Plan, PlanChange, case_of

DAY_0 = datetime(2026, 9, 30, tzinfo=UTC)
"""When the demo's contracts end, unless told otherwise."""

DISCONTINUED_PLAN = PlanChange(old="DSL", new="Fiber basic")
"""What the outside discontinues on day -47 of some cases."""

Habit = Literal["as expected", "silent", "negotiates"]


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """Something that the outside says to a case.

    Attributes:
        at: When.
        event: Name of the event, or of the kill switch.
        payload: What it carries: a token model, or nothing.
        note: Why the demo sends it.
    """

    at: datetime
    event: str
    payload: PlanChange | Counter | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person does about a task.

    Attributes:
        after: How long after the task appeared.
        choice: ``approve`` or ``deny``.
        who: Name of the person, as it stands in the log.
    """

    after: timedelta
    choice: Literal["approve", "deny"]
    who: str


@dataclass(frozen=True, slots=True)
class CasePlan:
    """Everything that happens to one case from outside.

    Attributes:
        case: The token that the case starts with.
        case_id: Id of the case: the customer's renewal id.
        customer: The customer record.
        expected: The path that the record lets expect.
        habit: How the customer replies.
        events: What the outside says, in the order of time. Some come when nothing waits for them; these
            are refused, and nothing happens.
        seed: The seed that all of it follows from.
        rates: How often the world is not as expected.
    """

    case: Case
    case_id: str
    customer: Customer
    expected: ExpectedPath
    habit: Habit
    events: tuple[TimedEvent, ...]
    seed: int
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often the world is not as expected, as shares of customers.

    Attributes:
        duplicate: The window opens twice.
        silent: No reply at all.
        negotiates: Asks for more, where an offer is made.
        merger: The contract is to be merged, so a specialist looks at it.
        kill: Somebody pulls the kill switch.
        absent: A person lets a deadline pass.
    """

    duplicate: float = 0.05
    silent: float = 0.01
    negotiates: float = 0.05
    merger: float = 0.01
    kill: float = 0.002
    absent: float = 0.05


USUAL = Rates()


def plan(customer: Customer, seed: int, *, day0: datetime = DAY_0, rates: Rates = USUAL) -> CasePlan:
    """What happens to a customer's renewal from outside.

    Args:
        customer: The customer record.
        seed: Another seed, other people.
        day0: When the contract ends.
        rates: How often the world is not as expected.
    """

    def luck(what: str) -> float:
        return draw(seed, what, customer.customer_id)

    expected = expected_path(customer)
    case = case_of(customer, day0=day0, merger=luck("merger") < rates.merger)
    habit = _habit(expected, luck("habit"), rates)
    calendar = POLICY_V7.calendar

    def at(day: int, hours: float = 0.0) -> datetime:
        return day0 + timedelta(days=day, seconds=int(hours * 3_600))

    events = [TimedEvent(at(calendar.window_opens), OPEN, note="the window opens")]
    if luck("duplicate") < rates.duplicate:
        again = at(calendar.window_opens, 0.1 + 20 * luck("duplicate hour"))
        events.append(TimedEvent(again, OPEN, note="a duplicate, to be refused"))
    if case.plan == DISCONTINUED_PLAN.old:
        events.append(
            TimedEvent(at(calendar.plan_end_of_life), DISCONTINUED, DISCONTINUED_PLAN, "the plan ends")
        )
    events += _replies(expected, habit, at(calendar.outreach), luck)
    if luck("kill") < rates.kill:
        day = calendar.window_opens + 1 + int(luck("kill day") * 80)
        events.append(TimedEvent(at(day, 7.5), KILL_SIGNAL, note="somebody pulls the kill switch"))
    events.sort(key=lambda e: e.at)
    return CasePlan(case, customer.renewal_id, customer, expected, habit, tuple(events), seed, rates)


def decide(plan: CasePlan, task: str, about: Deal | Plan) -> Decision | None:
    """What the responsible person does about a task; ``None`` lets the deadline pass.

    Args:
        plan: The case.
        task: Name of the task.
        about: What the person is shown: the token that waits for the decision.

    Raises:
        ProvenetError: There is no such task.
    """
    if task not in _WHO:
        raise ProvenetError(
            f"nobody decides on {task!r}", where="contract renewal", hint=f"the tasks are {', '.join(_WHO)}"
        )
    if draw(plan.seed, "absent", task, plan.case_id) < plan.rates.absent:
        return None
    after = timedelta(minutes=30 + int(draw(plan.seed, "pace", task, plan.case_id) * 3 * 24 * 60))
    return Decision(after, _choice(plan, task, about), _WHO[task])


_WHO: Mapping[str, str] = {APPROVE_OFFER: "counsel", GO_ON: "specialist"}


def _choice(plan: CasePlan, task: str, about: Deal | Plan) -> Literal["approve", "deny"]:
    if task == GO_ON or isinstance(about, Plan):
        # Who has given notice within a longer contract is won back by a person or not at all; a mere
        # merger needs one look.
        return "deny" if plan.case.notice and not plan.case.month_to_month else "approve"
    # Counsel approves moderate excesses for customers who pay well, and now and then waves one through
    # that the cap stops.
    careless = draw(plan.seed, "careless", plan.case_id) < 0.05
    moderate = (
        about.offer.discount_pct <= 45
        and about.offer.customer == plan.case.id
        and plan.case.monthly_cents >= 5_000
    )
    return "approve" if moderate or careless else "deny"


def _habit(expected: ExpectedPath, luck: float, rates: Rates) -> Habit:
    if luck < rates.silent:
        return "silent"
    haggles = expected in (ExpectedPath.RENEWED_WITH_OFFER, ExpectedPath.RESTRUCTURED)
    return "negotiates" if haggles and luck < rates.silent + rates.negotiates else "as expected"


def _replies(
    expected: ExpectedPath, habit: Habit, sent: datetime, luck: Callable[[str], float]
) -> list[TimedEvent]:
    """The customer's replies. They leave room for a person's decision between the offer and the reply."""
    if habit == "silent":
        return []
    first = sent + timedelta(days=5, minutes=int(luck("reply") * 12 * 24 * 60))
    if expected is ExpectedPath.CHURNED:
        return [TimedEvent(first, DECLINE, note="the customer leaves")]
    if habit == "negotiates":
        asked = Counter(discount_pct=20 + int(luck("asked") * 36))
        second = first + timedelta(days=8, hours=int(luck("second") * 48))
        return [
            TimedEvent(first, NEGOTIATE, asked, "the customer asks for more"),
            TimedEvent(second, ACCEPT, note="the customer takes what was approved"),
        ]
    return [TimedEvent(first, ACCEPT, note="the customer accepts")]


__all__ = ["CasePlan", "Decision", "Rates", "TimedEvent", "decide", "plan"]
