"""The one workflow that drives every case on Temporal. It never changes.

Workflows are replayed by code that may be years younger than their history, so this one knows nothing of any
net: it asks where a case stands, starts an activity for each piece of work, and waits for what comes first:
an activity's end, a signal, or the next timer. What a standing means was decided in the store, by the net
version that the case is on. Payloads are ids, names and numbers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from provenet.engine.adapters.protocol import Standing, Work

ROUNDS = 300
"""Rounds after which a workflow begins anew, with an empty history."""

AGAIN = RetryPolicy(
    initial_interval=timedelta(seconds=0.1),
    maximum_interval=timedelta(seconds=5),
    non_retryable_error_types=["NoSuchCase"],
)
"""An activity is repeated until somebody can do it: that it is not done twice is the store's business."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for a worker.

    Attributes:
        heartbeat: Seconds of silence after which a worker at work is taken for dead.
        turn: Seconds that a turn may take, and that a workflow waits for the worker that knew it.
    """

    heartbeat: float = 10.0
    turn: float = 5.0


@workflow.defn(name="provenet-case", sandboxed=False)
class DriveCase:
    """Drives one case to its end."""

    def __init__(self) -> None:
        self._case, self._pace = "", Pace()
        self._woken = True
        self._requests: list[int] = []
        self._standings: list[Standing] = []
        self._error: ActivityError | None = None
        self._version = -1
        self._due: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self._flights: dict[str, asyncio.Task[None]] = {}

    @workflow.signal(name="wake")
    def wake(self) -> None:
        """Look at the case again."""
        self._woken = True

    @workflow.signal(name="request")
    def request(self, number: int) -> None:
        """Carry out what somebody left in the store under that number."""
        self._requests.append(number)

    @workflow.run
    async def run(self, case: str, pace: Pace) -> str:
        """The status that the case ends with."""
        self._case, self._pace = case, pace
        rounds = 0
        while True:
            rounds += 1
            tired = rounds > ROUNDS or workflow.info().is_continue_as_new_suggested()
            if tired and not (self._flights or self._looking or self._standings or self._requests):
                workflow.continue_as_new(args=[case, pace])
            while self._requests:
                await workflow.execute_activity(
                    "provenet-request",
                    self._requests.pop(0),
                    start_to_close_timeout=timedelta(seconds=2 * pace.turn),
                    retry_policy=AGAIN,
                )
                self._woken = True
            if self._woken and self._looking is None and not tired:
                self._woken = False
                self._looking = asyncio.create_task(self._look())
            await self._something(tired)
            if self._error is not None:
                raise ApplicationError(str(self._error.cause), non_retryable=True) from self._error
            while self._standings:
                standing = self._standings.pop(0)
                if standing.version < self._version:
                    continue  # an older turn's answer that came late
                self._version = standing.version
                if standing.over:
                    for flight in self._flights.values():
                        flight.cancel()
                    return standing.status
                self._plan(standing, tired)

    async def _something(self, tired: bool) -> None:  # noqa: FBT001
        """Wait until there is something to do."""

        def happened() -> bool:
            # One that begins anew needs no look: the next one begins with it.
            free = self._looking is None and (self._woken or (tired and not self._flights))
            return bool(self._standings or self._requests or self._error) or free

        wait = None
        if self._due is not None and self._looking is None:
            wait = max(0.05, self._due - workflow.time())
        try:
            await workflow.wait_condition(happened, timeout=wait)
        except TimeoutError:
            self._due, self._woken = None, True

    def _plan(self, standing: Standing, tired: bool) -> None:  # noqa: FBT001
        """Start what is to be done and has not been, stop what is no longer wanted."""
        now = workflow.time()
        due = standing.next_due
        self._due = None if due is None else now + standing.seconds_until(due)
        wanted = {work.key for work in standing.work}
        for key, flight in self._flights.items():
            if key not in wanted:
                flight.cancel()
        for work in standing.work:
            if work.key not in self._flights and not tired:
                wait = standing.seconds_until(work.not_before) if work.not_before else 0.0
                flight = asyncio.create_task(self._fly(work, wait))
                self._flights[work.key] = flight
                flight.add_done_callback(partial(self._ended, work.key))

    async def _look(self) -> None:
        try:
            self._standings.append(await self._activity("provenet-advance", [self._case]))
        except ActivityError as error:
            self._error = error
        finally:
            self._looking = None

    async def _fly(self, work: Work, wait: float) -> None:
        standing: Standing | None = None
        try:
            if wait:
                await asyncio.sleep(wait)
            standing = await self._activity(
                "provenet-work", [self._case, work.transition, work.token, work.tries], work.limit
            )
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError):  # else it was cancelled
                self._error = error
        finally:
            del self._flights[work.key]
            if standing is not None:
                self._standings.append(standing)
            else:
                self._woken = True

    def _ended(self, key: str, flight: asyncio.Task[None]) -> None:
        """One that was cancelled before it had begun could not say so itself."""
        if self._flights.get(key) is flight:
            del self._flights[key]
            self._woken = True

    async def _activity(self, name: str, args: list[object], limit: float = 0.0) -> Standing:
        found: Standing = await workflow.execute_activity(
            name,
            args=args,
            result_type=Standing,
            # A handler keeps its own limit; two turns and a wait for somebody else's come on top.
            start_to_close_timeout=timedelta(seconds=limit + 2 * self._pace.turn),
            heartbeat_timeout=timedelta(seconds=self._pace.heartbeat) if limit else None,
            retry_policy=AGAIN,
        )
        return found
