"""What the claims agent deals with: proposers that misbehave, and systems that fail; all of it seeded.

The same seed has the same behaviour for the same claim, in any order and after any crash: what happens is
drawn from the seed and the name of what is asked, never from a generator that remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provenet import Request
from provenet.examples.systems import Systems, answered, drawn

DESKS = ("motor", "property", "injury", "special")
URGENT = 4
ODD = 80


@dataclass(frozen=True)
class Misbehaviour:
    """How often proposers misbehave; the rest of their answers is sensible.

    Attributes:
        greedy: Asks for what no rule allows: a hundred times the money, the wrong desk.
        confused: Talks about another claim.
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
    """Stand-ins for models: each method answers for one part of the agent.

    Attributes:
        seed: What all of them draw from.
        misbehaviour: How often they misbehave.
    """

    seed: int = 1
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)

    def urgency(self, request: Request) -> Any:
        """How urgent a claim is, from 1 to 5."""
        claim = request.payload
        level = 5 if claim.kind == "injury" else 3 if claim.cents > 500_000 else 1
        return self._said(request, {"claim": claim.id, "level": level}, {"claim": claim.id, "level": 9})

    def oddity(self, request: Request) -> Any:
        """How odd a claim looks, in per cent."""
        claim = request.payload
        pct = int(100 * drawn(self.seed, "odd", claim.id))
        return self._said(request, {"claim": claim.id, "pct": pct}, {"claim": claim.id, "pct": 400})

    def queue(self, request: Request) -> Any:
        """Which desk goes on with it."""
        found = request.payload
        odd = found.oddity is None or found.oddity.pct >= ODD
        desk = "special" if odd else found.claim.kind
        return self._said(request, {"claim": found.id, "desk": desk}, {"claim": found.id, "desk": "motor"})

    def reserve(self, request: Request) -> Any:
        """How much is set aside for it."""
        found = request.payload
        cents = found.claim.cents // 2
        greedy = {"claim": found.id, "cents": found.claim.cents * 100}
        return self._said(request, {"claim": found.id, "cents": cents}, greedy)

    def notice(self, request: Request) -> Any:
        """Which letter the customer gets."""
        found = request.payload
        urgent = found.urgency is not None and found.urgency.level >= URGENT
        letter = "call" if urgent else "receipt"
        return self._said(
            request, {"claim": found.id, "letter": letter}, {"claim": found.id, "letter": "call"}
        )

    def _said(self, request: Request, sensible: Mapping[str, Any], greedy: Mapping[str, Any]) -> Any:
        at = drawn(self.seed, request.key, request.attempt)
        m = self.misbehaviour
        instead = (
            (m.greedy, greedy),
            (m.confused, {**sensible, "claim": "another"}),
            (m.malformed, "Certainly! Here is your answer."),
            (m.crash, ConnectionError("no model today")),
        )
        return answered(at, sensible, instead)


class Outside(Systems):
    """Three systems, and what they have done."""

    about = "claim"
