"""What the drip agent deals with: a writer that misbehaves, mail that fails, leads that react; all seeded.

The same seed has the same behaviour for the same lead, in any order and after any crash: what happens is
drawn from the seed and the name of what is asked, never from a generator that remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from provenet import Request
from provenet.examples.systems import Systems, answered, drawn

Happening = Literal["replied", "unsubscribed", "withdraw"]


@dataclass(frozen=True)
class Misbehaviour:
    """How often the writer misbehaves; the rest of its letters is sensible.

    Attributes:
        boasts: Promises what no rule allows: half the price, or a guarantee.
        confused: Writes to another lead.
        early: Writes next week's letter.
        malformed: Answers with what is no letter.
        silent: Never answers.
    """

    boasts: float = 0.1
    confused: float = 0.1
    early: float = 0.05
    malformed: float = 0.05
    silent: float = 0.1


GOOD = Misbehaviour(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Writer:
    """A stand-in for a model that writes letters.

    Attributes:
        seed: What it draws from.
        misbehaviour: How often it misbehaves.
    """

    seed: int = 1
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)

    def __call__(self, request: Request) -> Any:
        """The letter of a week, or something else."""
        plan = request.payload
        number = plan.lead.done + plan.week
        letter = {
            "lead": plan.lead.id,
            "number": number,
            "product": plan.lead.product,
            "discount_pct": 10 if number > 3 else 0,
            "text": f"Still curious about {plan.lead.product}?",
        }
        at, m = drawn(self.seed, plan.lead.id, number, request.key), self.misbehaviour
        instead = (
            (m.boasts / 2, {**letter, "discount_pct": 50}),
            (m.boasts / 2, {**letter, "text": "Guaranteed to pay for itself!"}),
            (m.confused, {**letter, "lead": "another"}),
            (m.early, {**letter, "number": number + 1}),
            (m.malformed, "Certainly! Here is your letter."),
            (m.silent, TimeoutError("no answer")),
        )
        return answered(at, letter, instead)


class Office(Systems):
    """A mail office, and what it has done."""

    about = "lead"

    def numbers(self, effect: str, lead: str) -> list[int]:
        """The numbers of the letters that a lead got, or got corrections of, in their order."""
        with self._lock:
            return [
                letter.number for what, letter in self.done.values() if (what, letter.lead) == (effect, lead)
            ]


@dataclass(frozen=True)
class Reaction:
    """What the outside tells of a lead, once or more often.

    Attributes:
        lead: Who.
        event: What.
        after: When, from the first letter's day.
        times: How often it is told.
    """

    lead: str
    event: Happening
    after: timedelta
    times: int = 1


def reactions(leads: Iterable[str], *, seed: int = 1) -> list[Reaction]:
    """What happens to leads, in its order: half of them react, some twice, some when it is over."""
    shares: dict[Happening, float] = {"replied": 0.25, "unsubscribed": 0.2, "withdraw": 0.1}
    found = []
    for lead in leads:
        at, days = drawn(seed, "reacts", lead), 30 * drawn(seed, "when", lead)
        for event, share in shares.items():
            if at < share:
                after = timedelta(minutes=int(days * 24 * 60))
                found.append(Reaction(lead, event, after, times=1 + (event != "withdraw" and at < share / 2)))
                break
            at -= share
    return sorted(found, key=lambda reaction: reaction.after)
