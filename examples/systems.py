"""What the agents' outsides have in common: systems that fail, models that misbehave, all of it seeded.

The same seed has the same behaviour for the same call, in any order and after any crash: what happens is
drawn from the seed and the name of what is asked, never from a generator that remembers.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from provenet import EffectRefused, Request


def drawn(seed: int, *what: object) -> float:
    """A number from 0 to 1 that depends on the seed and on what it is for, and on nothing else."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def answered(at: float, sensible: Any, instead: Iterable[tuple[float, Any]]) -> Any:
    """The sensible answer, or one of those that come instead of it, each with its share.

    Args:
        at: A number that was drawn.
        sensible: The answer of the share that is left.
        instead: Shares with answers; an exception is raised.
    """
    for share, answer in instead:
        if at < share:
            if isinstance(answer, Exception):
                raise answer
            return answer
        at -= share
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


class Systems:
    """Systems and what they have done: a call with a known key is not done again.

    Args:
        seed: What failures are drawn from.
        failures: How often calls fail.
    """

    about: ClassVar[str]
    """The field of what they are given that says whom it is about."""

    def __init__(self, seed: int = 1, failures: Failures = WELL) -> None:
        self._seed, self._failures = seed, failures
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self.done: dict[str, tuple[str, Any]] = {}
        """What was done by each key: the effect, and what it was given."""

    def does(self, effect: str, *, may_refuse: Literal["yes", "no"] = "yes") -> Callable[[Request], None]:
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
                    raise EffectRefused(f"{effect}: not for this {self.about}")
                if at < f.away:
                    raise ConnectionError(f"{effect}: not reachable")
                self.done.setdefault(request.key, (effect, request.payload))
                if at < f.away + f.lost:
                    raise TimeoutError(f"{effect}: the answer got lost")

        return call

    def given(self, effect: str) -> list[Any]:
        """What an effect was given, each time that it was done, in order."""
        with self._lock:
            return [payload for what, payload in self.done.values() if what == effect]

    def standing(self, undone_by: Mapping[str, str]) -> dict[str, Counter[str]]:
        """What stands, by whom it is about: the effects that were done, less those that were taken back.

        Args:
            undone_by: Each effect that takes something back, and what it takes back.
        """
        found: dict[str, Counter[str]] = {}
        for effect, payload in self.done.values():
            stands = found.setdefault(getattr(payload, self.about), Counter())
            if effect in undone_by:
                stands[undone_by[effect]] -= 1
            else:
                stands[effect] += 1
        return found
