"""What the port-in agent deals with: models that misbehave, systems that fail, donors that say no or nothing.

The same seed has the same behaviour for the same number, in any order and after any crash: what happens is
drawn from the seed and the name of what is asked, never from a generator that remembers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from provenet import Decision, Request, Task
from provenet.examples.systems import Systems, answered, drawn

DAY = timedelta(days=1)

Said: TypeAlias = Literal["donor.confirmed", "donor.rejected", "number.moved", "customer.cancelled"]
"""What comes from outside about a number that was ordered."""


@dataclass(frozen=True)
class Misbehaviour:
    """How often models misbehave; the rest of their answers is sensible.

    Attributes:
        hasty: Asks for what no rule allows: yesterday, a profile for another kind of number.
        confused: Talks about another number.
        malformed: Answers with what is no answer.
        silent: Says nothing, until whoever asked has given up.
    """

    hasty: float = 0.1
    confused: float = 0.1
    malformed: float = 0.05
    silent: float = 0.05


GOOD = Misbehaviour(0, 0, 0, 0)


@dataclass(frozen=True)
class Proposers:
    """Stand-ins for models: each method answers for one part of the agent.

    Attributes:
        seed: What all of them draw from.
        misbehaviour: How often they misbehave.
    """

    seed: int = 1
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)

    def plan(self, request: Request) -> Any:
        """When the number should move."""
        wanted = request.payload.data.request
        plan = {"number": wanted.number, "donor": wanted.donor, "account": wanted.account}
        soonest = wanted.asked + timedelta(days=2)
        sensible = {**plan, "wish": max(wanted.wish, soonest)}
        return self._said(request, sensible, {**plan, "wish": wanted.asked - timedelta(days=1)})

    def profile(self, request: Request) -> Any:
        """How the line is set up."""
        wanted = request.payload.request
        right, wrong = ("volte", "sip") if wanted.kind == "mobile" else ("sip", "volte")
        number = wanted.number
        return self._said(request, {"number": number, "profile": right}, {"number": number, "profile": wrong})

    def _said(self, request: Request, sensible: Mapping[str, Any], hasty: Mapping[str, Any]) -> Any:
        at = drawn(self.seed, *sensible, hasty["number"], request.attempt)
        m = self.misbehaviour
        instead = (
            (m.hasty, hasty),
            (m.confused, {**sensible, "number": "0"}),
            (m.malformed, "Certainly! Here is your plan."),
            (m.silent, TimeoutError("no answer")),
        )
        return answered(at, sensible, instead)


class Outside(Systems):
    """The clearing house and the network, and what they have done."""

    about = "number"


@dataclass(frozen=True)
class Donor:
    """What becomes of orders: a donor confirms or rejects, soon, late or never, and a customer may cancel.

    Attributes:
        seed: What it draws from.
    """

    seed: int = 1

    def says(self, order: Any, ordered: datetime, today: datetime) -> Iterator[tuple[Said, datetime]]:
        """What is said about an order on a day, each with the day that the donor names.

        Args:
            order: What the clearing house was told.
            ordered: When.
            today: The day.
        """
        story = self._story(order.number)
        answered = next((days for days, said in story if said == "donor.confirmed"), 0)
        date = max(order.wish, ordered + (answered + 1) * DAY)
        useless = drawn(self.seed, "useless", order.number) < 0.08
        for days, said in story:
            told = days * DAY + (date if said == "number.moved" else ordered)
            if today - DAY < told <= today:
                yield said, date + 30 * DAY if useless else date

    def _story(self, number: str) -> tuple[tuple[int, Said], ...]:
        """What is said, and how many days after the order; that it moved: after the day of the move."""
        at = drawn(self.seed, "story", number)
        late = int(8 + 5 * drawn(self.seed, "late", number))
        stories: tuple[tuple[float, tuple[tuple[int, Said], ...]], ...] = (
            (0.12, ((2, "donor.rejected"),)),
            (0.16, ((late, "donor.confirmed"), (0, "number.moved"))),
            (0.06, ((9, "donor.rejected"),)),
            (0.08, ()),
            (0.06, ((0, "customer.cancelled"), (1, "donor.confirmed"))),
            (0.06, ((1, "donor.confirmed"), (1, "customer.cancelled"), (0, "number.moved"))),
            (0.05, ((2, "donor.confirmed"),)),
        )
        for share, story in stories:
            if at < share:
                return story
            at -= share
        # Most go well. What is told twice counts once, and a rejection of what has moved comes too late.
        return (2, "donor.confirmed"), (2, "donor.confirmed"), (0, "number.moved"), (20, "donor.rejected")


@dataclass(frozen=True)
class Desk:
    """The people of the porting desk: they approve most orders, and sometimes nobody is there.

    Attributes:
        seed: What they draw from.
    """

    seed: int = 1

    async def decides(self, task: Task) -> Decision | None:
        """What they decide on a task."""
        at = drawn(self.seed, "desk", task.case, task.task)
        if at < 0.05:
            return None
        return Decision("deny" if at < 0.1 else "approve", f"dana@{task.role}")
