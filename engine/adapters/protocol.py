"""What an adapter is asked for, and the few values that pass between it and the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

OVER = ("done", "killed", "failed")
"""The statuses of a case that never moves again."""


@dataclass(frozen=True, slots=True)
class Work:
    """A proposal to ask for or an effect to perform: names and numbers, no content.

    Attributes:
        transition: Name of the transition that it fires.
        token: The token that stands for it.
        key: Its idempotency key, the same in every process and after every crash.
        tries: How often it was tried before.
        not_before: When the next try is due, in microseconds since 1970.
        limit: Seconds that one try may take.
    """

    transition: str
    token: int
    key: str
    tries: int = 0
    not_before: int = 0
    limit: float = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a case stood at the end of a turn.

    Attributes:
        status: Its status, as in the store.
        version: Number of its last event: a standing with a lower one is older.
        now: When that was, in microseconds since 1970, by the engine's clock.
        work: What is to be done for it.
        next_due: When its next timer is due.
    """

    status: Literal["running", "waiting", "done", "killed", "parked", "failed"]
    version: int = 0
    now: int = 0
    work: tuple[Work, ...] = ()
    next_due: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will ever move the case again."""
        return self.status in OVER

    def seconds_until(self, due: int) -> float:
        """How long that is from the standing's own time: two machines need not agree on what time it is."""
        return max(0.0, (due - self.now) / 1e6)


class Adapter(Protocol):
    """Wakes cases. Nothing that is correct may lean on it: each call may be lost, repeated or late."""

    async def dispatch(self, case: str, work: Work | None = None) -> None:
        """See to it that somebody takes a turn on the case, or does this piece of its work, not before due.

        Args:
            case: Id of the case.
            work: What is to be done; nothing but a look at the case where it is left out.
        """
        ...

    def heartbeat(self) -> None:
        """Say that the piece of work that this task is doing is alive.

        Raises:
            Exception: The adapter's own, where the work is no longer wanted.
        """
        ...

    async def cancel(self, case: str, work: Work) -> None:
        """A piece of work is no longer wanted: its token is gone."""
        ...

    async def signal(self, case: str, request: int) -> None:
        """See to it that somebody carries out what was asked for the case under that number."""
        ...
