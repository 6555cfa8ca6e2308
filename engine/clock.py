"""Time as the engine sees it: the wall clock, or a virtual one that jumps.

A ``VirtualClock`` stands still while anything can happen and jumps to the next due time when nothing can.
Ninety days of waiting take
as long as the firings in them. Handlers that wait for a simulated delay call ``clock.sleep``; a handler that
waits for the
real world (a socket) keeps the clock still until it is done or its timeout passes in real seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Protocol, TypeVar, runtime_checkable

from provenet.nets.schema import microseconds

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(at: datetime) -> int:
    """A point in time as whole microseconds since 1970, as the store keeps it."""
    return microseconds(at - EPOCH)


def from_micros(at: int) -> datetime:
    """The inverse of ``to_micros``."""
    return EPOCH + timedelta(microseconds=at)


@runtime_checkable
class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The time, aware."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Wait."""
        ...

    async def limit(self, work: Awaitable[T], span: timedelta) -> T:
        """The result of ``work``.

        Raises:
            TimeoutError: It took longer than ``span``.
        """
        ...


class RealClock:
    """The wall clock."""

    def now(self) -> datetime:
        """The time, aware."""
        return datetime.now(UTC)

    async def sleep(self, span: timedelta) -> None:
        """Wait."""
        await asyncio.sleep(max(0.0, span.total_seconds()))

    async def limit(self, work: Awaitable[T], span: timedelta) -> T:
        """The result of ``work``, or ``TimeoutError``."""
        async with asyncio.timeout(span.total_seconds()):
            return await work


class Steady:
    """Notices when a wall clock is set, by one that only goes on."""

    def __init__(self) -> None:
        self._before: int | None = None

    def moved(self, now: int) -> int:
        """By how many microseconds it was set since the last look; drift and short steps do not count."""
        at = now - int(time.monotonic() * 1e6)
        before, self._before = self._before, at
        by = 0 if before is None else at - before
        return by if abs(by) > 1_000_000 else 0


in_job: ContextVar[object] = ContextVar("provenet job", default=None)
"""Set while a handler runs, so that a virtual clock knows whose sleep keeps the engine busy."""


@dataclass(slots=True, order=True)
class _Sleeper:
    """Somebody to wake at a point in virtual time; ``wake`` is ``None`` where that is no longer wanted."""

    due: datetime
    order: int
    wake: Callable[[], None] | None = field(compare=False)
    job: object = field(compare=False)


class VirtualClock:
    """A clock that jumps.

    Args:
        start: Where it starts; aware.
    """

    def __init__(self, start: datetime) -> None:
        if start.utcoffset() is None:
            raise ValueError("a virtual clock starts at an aware datetime: add tzinfo=UTC")
        self._now = start.astimezone(UTC)
        self._order = count()
        self._sleepers: list[_Sleeper] = []
        self._asleep: dict[object, int] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when a job falls asleep; the engine sets it."""

    def now(self) -> datetime:
        """The virtual time."""
        return self._now

    async def sleep(self, span: timedelta) -> None:
        """Wait until the clock has jumped far enough."""
        if span <= timedelta(0):
            return
        job = in_job.get()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                self._woken(job)
                future.set_result(None)

        sleeper = _Sleeper(self._now + span, next(self._order), wake, job)
        heapq.heappush(self._sleepers, sleeper)
        if job is not None:
            self._asleep[job] = self._asleep.get(job, 0) + 1
            self.on_change()
        try:
            await future
        finally:
            if future.cancelled():
                self._woken(job)
            sleeper.wake = None

    async def limit(self, work: Awaitable[T], span: timedelta) -> T:
        """The result of ``work``; it may take ``span`` of virtual time and as much of real time."""
        task = asyncio.current_task()
        assert task is not None
        expired = False

        def expire() -> None:
            nonlocal expired
            if not expired:
                expired = True
                task.cancel()

        real = asyncio.get_running_loop().call_later(span.total_seconds(), expire)
        # An alarm is no sleeper: it must not let time pass while the work is busy in the real world.
        alarm = _Sleeper(self._now + span, next(self._order), expire, None)
        heapq.heappush(self._sleepers, alarm)
        try:
            return await work
        except asyncio.CancelledError:
            if expired and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            expired = True
            real.cancel()
            alarm.wake = None

    def next_due(self) -> datetime | None:
        """When the next sleeper wakes."""
        while self._sleepers and self._sleepers[0].wake is None:
            heapq.heappop(self._sleepers)
        return self._sleepers[0].due if self._sleepers else None

    def jump(self, to: datetime) -> None:
        """Move to a later point in time and wake who was waiting for it."""
        self._now = max(self._now, to)
        while self._sleepers and self._sleepers[0].due <= self._now:
            wake = heapq.heappop(self._sleepers).wake
            if wake is not None:
                wake()

    def asleep(self) -> int:
        """How many jobs do nothing but wait for this clock."""
        return len(self._asleep)

    def forget(self, job: object) -> None:
        """A job was cancelled: whatever it waited for, time need not."""
        self._asleep.pop(job, None)

    def _woken(self, job: object) -> None:
        if job is not None and job in self._asleep:
            self._asleep[job] -= 1
            if not self._asleep[job]:
                del self._asleep[job]


async def cancel_and_wait(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
