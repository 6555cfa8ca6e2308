"""A turn on a case that no process owns for longer than that.

Claim the case, load it, fire what is due and what the turn is about, commit, let go: all that it writes, and
that it lets go, is one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from provenet.engine.adapters.protocol import OVER, Standing, Work
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.errors import CaseElsewhere, EngineError, StoreCorrupt, StoreError
from provenet.engine.jobs import Job
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.nets.net import Ask, Perform

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds to wait for another process's turn: it takes milliseconds, unless that process hangs."""


class Turns:
    """The turns that one engine takes.

    Args:
        store: Its database.
        runner: What moves cases.
        lift: Claims and loads a case; its number, or 0 where it is over.

    Attributes:
        outbox: Called with where a case stands at the end of each turn, before its commit: what it writes
            with the engine's own connection belongs to the same transaction.
    """

    def __init__(self, store: Store, runner: Runner, lift: Callable[[str], int]) -> None:
        self._store, self._runner, self._lift = store, runner, lift
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns: set[asyncio.Task[Any]] = set()
        self.outbox: Callable[[str, Standing], None] | None = None

    @property
    def failure(self) -> BaseException | None:
        """What brought the engine down: it takes no turn any more, and has to be opened again."""
        return self._store.failure or self._runner.jobs.crash

    async def take(
        self, case: str, act: Callable[[LiveCase], Awaitable[T]], *, over: Callable[[], None] | None = None
    ) -> tuple[Standing, T | None]:
        """Take one turn. It goes on to its end even if its caller is cancelled: no case is let go half done.

        Args:
            case: Id of the case.
            act: What the turn is about.
            over: What to do instead where the case is over.

        Returns:
            Where the case stands then, and what ``act`` gave; ``None`` where the case is over.

        Raises:
            EngineError: There is no such case, its agent is not at hand, or its turn is another's; what
                ``act`` raised.
        """
        turn = asyncio.create_task(self._hold(case, act, over))
        self._turns.add(turn)
        turn.add_done_callback(self._ended)
        return await asyncio.shield(turn)

    def tell(self, case: str) -> None:
        """Tell the outbox where a case in memory stands."""
        live = self._runner.cases.get(case)
        if self.outbox is not None and live is not None:
            self.outbox(case, self._standing(live))

    async def settled(self) -> None:
        """Wait for turns whose callers have gone away."""
        while self._turns:
            await asyncio.wait(tuple(self._turns))

    # inside

    def _ended(self, turn: asyncio.Task[Any]) -> None:
        self._turns.discard(turn)
        if not turn.cancelled():
            turn.exception()  # who asked for it has it, or has gone away

    async def _hold(
        self, case: str, act: Callable[[LiveCase], Awaitable[T]], over: Callable[[], None] | None
    ) -> tuple[Standing, T | None]:
        lock = self._locks.setdefault(case, asyncio.Lock())
        async with lock:
            if self.failure is not None:
                # Never what is kept there: an exception that is raised again and again grows.
                raise StoreError("the engine failed", hint="it is opened again; nothing is lost")
            try:
                no = await self._claimed(case)
                live = self._runner.cases.get(case) if no else None
                if live is not None:
                    return await self._take(live, act)
                if over is not None:
                    over()
                if no:  # the kill switch ended it just now
                    self._store.give_back([no])
                await self._store.durable()
                return self._gone(case), None
            except StoreCorrupt:
                raise  # this one case's
            except StoreError as error:
                self._runner.jobs.fail(error)
                raise
            except EngineError:
                raise
            except Exception as error:
                # Memory may be ahead of what was meant: nothing of it may be written.
                self._runner.jobs.fail(error)
                raise

    async def _take(
        self, live: LiveCase, act: Callable[[LiveCase], Awaitable[T]]
    ) -> tuple[Standing, T | None]:
        refused: EngineError | None = None
        found: T | None = None
        if live.status in LIVE:
            self._runner.fire_due_of(live)
        if live.status in OVER:
            await self._store.durable()  # whoever asks the store for it shall see that
        try:
            found = await act(live)
        except StoreError:
            raise
        except EngineError as error:
            refused = error
        self.tell(live.id)
        standing = self._standing(live)
        # All of the turn, and its end, is one commit: nobody here may reach the case any more.
        self._runner.forget(live)
        self._store.give_back([live.no])
        await self._store.durable()
        if refused is not None:
            raise refused
        return standing, found

    async def _claimed(self, case: str) -> int:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + PATIENCE, 0.002
        while True:
            try:
                return self._lift(case)
            except CaseElsewhere:
                if loop.time() >= until:
                    raise
            await asyncio.sleep(pause)
            pause = min(0.1, pause * 1.5)

    def _standing(self, live: LiveCase) -> Standing:
        work = [
            Work(job.step.name, job.token, job.key, job.tries, job.due, _limit(job))
            for job in live.jobs.values()
            if isinstance(job, Job) and job.kind != "person" and job.state != "over"
        ]
        moves = live.status in LIVE
        return Standing(
            live.status,
            live.seq,
            self._runner.now(),
            tuple(work) if moves else (),
            min(_waits(live), default=None) if moves else None,
        )

    def _gone(self, case: str) -> Standing:
        ((status, version),) = self._store.rows(
            "SELECT status, version FROM provenet_case WHERE id = ?", (case,)
        )
        return Standing(status, version, self._runner.now())


def _waits(live: LiveCase) -> Iterator[int]:
    """When timers of a case are due, and when events that it keeps have waited long enough."""
    yield from live.timers.values()
    for kept in live.kept:
        if kept.until is not None:
            yield kept.until


def _limit(job: Job) -> float:
    trigger = job.step.transition.trigger
    assert isinstance(trigger, Ask | Perform)
    return trigger.timeout.total_seconds()
