"""What the claims agent deals with: proposers that misbehave, and systems that fail; all of it seeded.

The same seed has the same behaviour for the same claim, in any order and after any crash: what happens is
drawn from the seed and the name of what is asked, never from a generator that remembers.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provenet import EffectRefused, Request

DESKS = ("motor", "property", "injury", "special")
URGENT = 4
ODD = 80


def drawn(seed: int, *what: object) -> float:
    """A number from 0 to 1 that depends on the seed and on what it is for, and on nothing else."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


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
        for share, answer in (
            (m.greedy, greedy),
            (m.confused, {**sensible, "claim": "another"}),
            (m.malformed, "Certainly! Here is your answer."),
        ):
            if at < share:
                return answer
            at -= share
        if at < m.crash:
            raise ConnectionError("no model today")
        return sensible


@dataclass(frozen=True)
class Failures:
    """How often systems fail a call.

    Attributes:
        refuses: For good: nothing was done.
        away: Not reachable: nothing was done.
        lost: Done, and the answer is lost on its way back.
    """

    refuses: float = 0.04
    away: float = 0.1
    lost: float = 0.1


WELL = Failures(0, 0, 0)


class Outside:
    """Three systems and what they have done: a call with a known key is not done again.

    Args:
        seed: What failures are drawn from.
        failures: How often calls fail.
    """

    def __init__(self, seed: int = 1, failures: Failures = WELL) -> None:
        self._seed, self._failures = seed, failures
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self.done: dict[str, tuple[str, Any]] = {}
        """What was done by each key: the effect, and what it was given."""

    def does(self, effect: str, *, may_refuse: str = "yes") -> Callable[[Request], None]:
        """The code of an effect.

        Args:
            effect: Its name.
            may_refuse: ``no`` for what takes something back.
        """

        def call(request: Request) -> None:
            with self._lock:
                self._calls[request.key] += 1
                at = drawn(self._seed, effect, request.key, self._calls[request.key])
                known = request.key in self.done
                f = self._failures
                # Who has refused once refuses again, and who has done it cannot refuse it any more.
                refuses = drawn(self._seed, effect, request.key) < f.refuses
                if refuses and not known and may_refuse == "yes":
                    raise EffectRefused(f"{effect}: not for this claim")
                if at < f.away:
                    raise ConnectionError(f"{effect}: not reachable")
                self.done[request.key] = effect, request.payload
                if at < f.away + f.lost:
                    raise TimeoutError(f"{effect}: the answer got lost")

        return call

    def standing(self, undone_by: Mapping[str, str]) -> dict[str, Counter[str]]:
        """What stands of each claim: the effects that were done, less those that were taken back.

        Args:
            undone_by: Each effect that takes something back, and what it takes back.
        """
        found: dict[str, Counter[str]] = {}
        for effect, payload in self.done.values():
            stands = found.setdefault(payload.claim, Counter())
            if effect in undone_by:
                stands[undone_by[effect]] -= 1
            else:
                stands[effect] += 1
        return found
