"""What the billing agent deals with: proposers that misbehave, and systems that fail; all of it seeded.

The same seed has the same behaviour for the same account, in any order and after any crash: what happens is
drawn from the seed and the name of what is asked, never from a generator that remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provenet import Request, transaction
from provenet.examples.systems import Systems, answered, drawn


@dataclass(frozen=True)
class Misbehaviour:
    """How often proposers misbehave; the rest of their answers is sensible.

    Attributes:
        greedy: Gives back what nobody has paid.
        confused: Talks about another account.
        malformed: Answers with what is no answer.
        crash: Raises.
    """

    greedy: float = 0.1
    confused: float = 0.1
    malformed: float = 0.05
    crash: float = 0.05


GOOD = Misbehaviour(0, 0, 0, 0)


@dataclass(frozen=True)
class Proposers:
    """A stand-in for a model that is asked about bills.

    Attributes:
        seed: What all of it is drawn from.
        misbehaviour: How often it misbehaves.
    """

    seed: int = 1
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)

    def advise(self, request: Request) -> Any:
        """What to do about a message; its text says what the customer wants, as ``refund 12``."""
        seen = request.payload
        wants, _, number = seen.payload.text.partition(" ")
        how_much = int(number) if number.isdigit() else 0
        sensible = {"account": seen.view.id, "kind": "answer", "cents": 0, "months": 0, "text": "It is so."}
        if wants == "refund":
            sensible |= {"kind": "refund", "cents": how_much, "text": f"{how_much} cents are on their way."}
        elif wants == "plan":
            sensible |= {"kind": "plan", "months": how_much, "text": f"You pay in {how_much} instalments."}
        at = drawn(self.seed, request.key, request.attempt)
        m = self.misbehaviour
        instead = (
            (m.greedy, {**sensible, "kind": "refund", "cents": 1_000_000}),
            (m.confused, {**sensible, "account": "another"}),
            (m.malformed, "Certainly! Here is your answer."),
            (m.crash, ConnectionError("no model today")),
        )
        return answered(at, sensible, instead)


class Outside(Systems):
    """Systems, and what they have done."""

    about = "account"

    def cents(self, undone_by: Mapping[str, str]) -> dict[str, int]:
        """The cents that each account was given back, less those that were taken again."""
        found: dict[str, int] = {}
        for effect, payload in self.done.values():
            sign = -1 if effect in undone_by else 1
            found[payload.account] = found.get(payload.account, 0) + sign * getattr(payload, "cents", 0)
        return found


def post(request: Request) -> None:
    """Write a letter into the transcript, which is in the database of the cases: in the very same commit."""
    said = request.payload
    transaction().execute("CREATE TABLE IF NOT EXISTS transcript (account TEXT, result TEXT, text TEXT)")
    transaction().execute("INSERT INTO transcript VALUES (?, ?, ?)", (said.account, said.result, said.text))
