"""Finds what nobody was woken for: in the store, where it cannot be lost.

A process may die between a commit and the wake that was to follow it, a queue may lose a message, an approval
may come from somebody who knows of no dispatcher. None of that matters for long: every worker looks at the
store a few times a second, for requests, kill switches, cases of dead peers, timers that nobody fired, and
work that does not move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from provenet.engine.clock import to_micros
from provenet.engine.errors import EngineError, NotDispatched, StoreError
from provenet.engine.store.store import Store

if TYPE_CHECKING:
    from provenet.engine.adapters.protocol import Adapter
    from provenet.engine.adapters.stepper import Stepper

LOOK = 0.2
"""Seconds between two looks at requests and kill switches."""

EVERY = 5
"""How many of these looks there are between two for what does not move."""

QUIET = 2.0
"""Seconds after which work that does not move is dispatched again; doubled each time, up to ``LONGEST``."""

LONGEST = 60.0

LATE = 500_000
"""Microseconds by which a timer is late that nobody fired."""

MANY = 1_000
"""Cases looked at with one query."""

AT_ONCE = 8
"""Cases killed at once by one process: its peers have their share."""


class Sweep:
    """The looks of one worker.

    Args:
        stepper: Takes the turns.
        store: Its database.
        adapter: Wakes the cases.
    """

    def __init__(self, stepper: Stepper, store: Store, adapter: Adapter) -> None:
        self._stepper, self._store, self._adapter = stepper, store, adapter
        self._kills: set[tuple[str, str, int]] = set()
        self._late, self._working = _Found(), _Found()

    async def run(self) -> None:
        """Look, for as long as the engine takes turns.

        Raises:
            Exception: The database or the adapter failed.
        """
        self._store.database.run(
            "UPDATE provenet_worker SET attends = 1 WHERE no = ?", (self._store.database.worker,)
        )
        count = 0
        while self._stepper.turns.failure is None:
            await self.look(further="yes" if count % EVERY == 0 else "no")
            count += 1
            await asyncio.sleep(LOOK)

    async def look(self, *, further: Literal["yes", "no"] = "yes") -> None:
        """Look once; further, for what does not move."""
        await self._requests()
        await self._killed()
        if further == "yes":
            await self._wake([*self._bereft(), *self._neglected(), *self._stepper.engine.missed()])

    async def _requests(self) -> None:
        rows = self._store.rows("SELECT id FROM provenet_request WHERE status = 'new' ORDER BY id LIMIT 20")
        await asyncio.gather(*(self._request(number) for (number,) in rows))

    async def _request(self, number: int) -> None:
        case = await self._stepper.request(number)
        if case is not None and self._stepper.engine.has_case(case):
            await self._wake([case])

    async def _killed(self) -> None:
        """Let a kill switch reach every case that it is about, whoever would run it next."""
        pulled = set(
            self._store.rows(
                "SELECT scope, target, at FROM provenet_kill WHERE released IS NULL AND scope <> 'case'"
            )
        )
        new, self._kills = pulled - self._kills, pulled
        for scope, target, _ in new:
            of = "" if scope == "all" else " AND n.name = ?"
            found = self._store.rows(
                "SELECT c.id FROM provenet_case c JOIN provenet_net n ON n.hash = c.net"  # noqa: S608
                f" WHERE c.killed = 0 AND c.status IN ('running', 'waiting'){of} ORDER BY random()",
                () if scope == "all" else (target,),
            )
            room = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._kill(case, room) for (case,) in found))

    async def _kill(self, case: str, room: asyncio.Semaphore) -> None:
        async with room:
            try:
                await self._stepper.advance(case)
            except StoreError:
                raise
            except EngineError:
                pass  # the case's next turn, whoever takes it, obeys
            await self._wake([case])

    def _bereft(self) -> list[str]:
        """Cases of processes that died in the middle of a turn."""
        self._store.flush()
        numbers = self._store.bury()
        if not numbers:
            return []
        marks = ",".join("?" * len(numbers))
        found = self._store.rows(f"SELECT id FROM provenet_case WHERE no IN ({marks})", numbers)  # noqa: S608
        return [case for (case,) in found]

    def _neglected(self) -> Iterable[str]:
        """Cases whose timer nobody fired, and cases at work that have not moved for a while."""
        now, at = to_micros(self._stepper.engine.clock.now()), asyncio.get_running_loop().time()
        late = self._store.rows(
            "SELECT DISTINCT c.no, c.id, c.version FROM provenet_timer t"
            " JOIN provenet_case c ON c.no = t.case_no"
            " WHERE t.due < ? AND c.no > ? AND c.status IN ('running', 'waiting') ORDER BY c.no LIMIT ?",
            (now - LATE, self._late.after, MANY),
        )
        working = self._store.rows(
            "SELECT no, id, version FROM provenet_case WHERE status = 'running' AND no > ?"
            " ORDER BY no LIMIT ?",
            (self._working.after, MANY),
        )
        found: set[int] = set()
        yield from self._late.due(late, at, 0.0, found)
        yield from self._working.due(working, at, QUIET, found)

    async def _wake(self, cases: Iterable[str]) -> None:
        for case in cases:
            try:
                await self._adapter.dispatch(case)
            except NotDispatched:
                return  # the next look finds them again


@dataclass(slots=True)
class _Found:
    """Whom one kind of look has found.

    Attributes:
        after: The case after which the next look goes on, where there are more than one can hold; else 0.
        waits: By a case's number: its version, when it is woken next, and the pause after that.
    """

    after: int = 0
    waits: dict[int, tuple[int, float, float]] = field(default_factory=dict)

    def due(self, rows: Sequence[tuple[Any, ...]], at: float, first: float, found: set[int]) -> Iterator[str]:
        """Whoever is to be woken now of those that a look has found, and no other look before it.

        Args:
            rows: Their numbers, ids and versions.
            at: The time.
            first: Seconds until somebody is woken for the first time.
            found: The numbers that are spoken for; these come to them.
        """
        begun, self.after = self.after, int(rows[-1][0]) if len(rows) == MANY else 0
        before = self.waits
        # Who was not looked for this time is remembered.
        self.waits = {no: w for no, w in before.items() if no <= begun or 0 < self.after < no}
        for no, case, version in rows:
            if no in found:
                continue
            found.add(no)
            seen, due, pause = before.get(no, (-1, 0.0, 0.0))
            if seen != version:
                due, pause = at + first, QUIET
            if due <= at:
                yield case
                due, pause = at + pause, min(LONGEST, pause * 2)
            self.waits[no] = version, due, pause
