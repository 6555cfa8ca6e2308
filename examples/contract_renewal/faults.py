"""Faults of the outside world, decided by arithmetic instead of by luck.

A decision depends on the seed, the idempotency key and the number of the delivery, and on nothing else: not
on the order of arrival, the clock, or how many requests run at once. The same run meets the same faults.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from enum import StrEnum

from provenet import ProvenetError

_SPAN = 1 << 32


class Fault(StrEnum):
    """What happens to one delivery of a request."""

    NONE = "none"
    FAIL_BEFORE = "fail_before"
    """503 and no effect."""
    FAIL_AFTER = "fail_after"
    """The effect is done and kept, the answer is lost: 500."""
    HANG_AFTER = "hang_after"
    """The effect is done at once, the answer comes long after the caller gave up."""
    HANG_BEFORE = "hang_before"
    """No answer at all, and the effect is done late: by then the caller may have retried, or undone."""
    TWICE = "twice"
    """The request is delivered twice."""
    REFUSE = "refuse"
    """The service declines for good (422), whatever the number of the delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often the outside world misbehaves.

    Attributes:
        seed: Another seed, other victims.
        fail_before: Share of deliveries answered 503 with no effect.
        fail_after: Share of deliveries whose effect is done and whose answer is lost (500).
        hang: Share of deliveries not answered in time; half of them do the effect at once, half of them late.
        twice: Share of deliveries that arrive twice.
        refuse: Share of *keys* declined for good. Compensations and e-mails are never declined.
        hang_seconds: How long a hang lasts; longer than the client's time-out.
        worst_streak: Deliveries after this many of one key meet no fault, so that a caller that
            retries oftener than this always gets through.
    """

    seed: int = 0
    fail_before: float = 0.0
    fail_after: float = 0.0
    hang: float = 0.0
    twice: float = 0.0
    refuse: float = 0.0
    hang_seconds: float = 2.0
    worst_streak: int = 3

    def __post_init__(self) -> None:
        for name in ("fail_before", "fail_after", "hang", "twice", "refuse"):
            rate = getattr(self, name)
            if not 0.0 <= rate <= 1.0:
                raise ProvenetError(
                    f"fault rate {name} = {rate}, expected a number from 0 to 1",
                    where="faults",
                    hint=f"0.05 makes 5% of the requests meet {name}",
                )
        total = self.fail_before + self.fail_after + self.hang + self.twice
        if total > 1.0 + 1e-9:
            raise ProvenetError(
                f"the fault rates add up to {total:g}, expected at most 1",
                where="faults",
                hint="a delivery meets at most one of fail_before, fail_after, hang and twice",
            )

    def decide(self, key: str, attempt: int, *, refusable: bool = True) -> Fault:
        """The fault that delivery number ``attempt`` (from 1) of ``key`` meets."""
        if self.refuse and refusable and self._draw(key, 0)[0] < self.refuse:
            return Fault.REFUSE
        if attempt > self.worst_streak:
            return Fault.NONE
        share, coin = self._draw(key, attempt)
        for rate, fault in (
            (self.fail_before, Fault.FAIL_BEFORE),
            (self.fail_after, Fault.FAIL_AFTER),
            (self.hang, Fault.HANG_AFTER if coin < 0.5 else Fault.HANG_BEFORE),
            (self.twice, Fault.TWICE),
        ):
            if share < rate:
                return fault
            share -= rate
        return Fault.NONE

    def arguments(self) -> list[str]:
        """These settings as command-line options of the service's own process."""
        return [
            part
            for f in fields(self)
            for part in (f"--{f.name.replace('_', '-')}", repr(getattr(self, f.name)))
        ]

    def _draw(self, key: str, attempt: int) -> tuple[float, float]:
        digest = hashlib.blake2b(f"{self.seed}\0{key}\0{attempt}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "big") / _SPAN, int.from_bytes(digest[4:], "big") / _SPAN


NO_FAULTS = Faults()
