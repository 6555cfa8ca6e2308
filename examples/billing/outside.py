"""What the billing agent deals with: proposers that misbehave, and systems that fail; all of it seeded.

The same seed has the same behaviour for the same account, in any order and after any crash: what happens is
drawn from the seed and the name of what is asked, never from a generator that remembers.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provenet import EffectRefused, Request, transaction


def drawn(seed: int, *what: object) -> float:
    """A number from 0 to 1 that depends on the seed and on what it is for, and on nothing else."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


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
        for share, answer in (
            (m.greedy, {**sensible, "kind": "refund", "cents": 1_000_000}),
            (m.confused, {**sensible, "account": "another"}),
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
    """Systems and what they have done: a call with a known key is not done again.

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
                    raise EffectRefused(f"{effect}: not for this account")
                if at < f.away:
                    raise ConnectionError(f"{effect}: not reachable")
                self.done[request.key] = effect, request.payload
                if at < f.away + f.lost:
                    raise TimeoutError(f"{effect}: the answer got lost")

        return call

    def standing(self, undone_by: Mapping[str, str]) -> dict[str, Counter[str]]:
        """What stands of each account: the effects that were done, less those that were taken back.

        Args:
            undone_by: Each effect that takes something back, and what it takes back.
        """
        found: dict[str, Counter[str]] = {}
        for effect, payload in self.done.values():
            stands = found.setdefault(payload.account, Counter())
            if effect in undone_by:
                stands[undone_by[effect]] -= 1
            else:
                stands[effect] += 1
        return found

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
