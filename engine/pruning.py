"""Who prunes, and when: an engine by its schedule, or when it is asked to; a command where no engine runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenet.engine.access.chain import MARK
from provenet.engine.clock import to_micros
from provenet.engine.errors import ExportRefused, RetentionRefused, StoreError, StoreLocked
from provenet.engine.pruner import Pruner, due
from provenet.engine.reader import Reader
from provenet.engine.retention import Pruned, Retention
from provenet.engine.store.database import located, ready, snapshot
from provenet.engine.store.store import Store

if TYPE_CHECKING:
    from provenet.engine.access.gate import Rules

_TURN = 0.05
"""Seconds until a process looks again whether another one is done with its batch."""

IN_FLIGHT = timedelta(hours=1)
"""How long after its end something of a case may still be in flight, where engines run by the real clock."""

PAUSE = 60.0
"""Seconds until an engine looks again, where it found nothing more to drop."""

_log = logging.getLogger("provenet.retention")


class Schedule:
    """An engine's side: prunes a batch now and then, and at once where it is asked to.

    Args:
        store: The engine's database.
        now: The time in microseconds.
        gone: Told of each case that is archived: its id and its status.
        policy: What is done now and then; nothing where there is none.
        ended_for: Cases that ended less ago are left.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], int],
        gone: Callable[[str, str], object],
        policy: Retention | None,
        *,
        ended_for: timedelta = IN_FLIGHT,
    ) -> None:
        self._store, self._now, self._gone = store, now, gone
        self._ended_for = ended_for
        self._pruner = None if policy is None else self._made(policy)
        self._next = 0.0

    async def look(self) -> None:
        """Drop a batch, where it is time to."""
        if self._pruner is None or time.monotonic() < self._next:
            return
        try:
            found = await self._batch(self._pruner)
        except ExportRefused as error:
            # What cannot be exported stays; cases run on.
            _log.warning("nothing is pruned: %s", error)
            found = Pruned()
        goes_on = found.more == "yes" or self._pruner.looking
        self._next = time.monotonic() + (0.0 if goes_on else PAUSE)

    async def run(self, policy: Retention | None, seconds: float) -> Pruned:
        """Drop what may go now; what is not done after so many seconds is left for another time."""
        pruner = self._pruner if policy is None else self._made(policy)
        if pruner is None:
            raise RetentionRefused(
                "this engine has no retention", hint="say what may go: Retention(ended={...})"
            )
        done, until = Pruned(more="yes"), time.monotonic() + seconds
        while pruner.looking if done.more == "no" else time.monotonic() < until:
            found = await self._batch(pruner)
            done += found
            if found.more == "yes" and not found.entries:
                await asyncio.sleep(_TURN)  # another process is at it
        return done

    def _made(self, policy: Retention) -> Pruner:
        return Pruner(self._store, policy, self._now, ended_for=self._ended_for)

    async def _batch(self, pruner: Pruner) -> Pruned:
        try:
            found = pruner.batch()
        except ExportRefused:
            await self._store.durable()  # nothing was dropped; others must not wait for an open transaction
            raise
        except Exception as error:
            raise self._store.give_up(error) from error
        await self._store.durable()
        for case, status in pruner.gone:
            self._gone(case, status)
        pruner.gone.clear()
        return found


def prune(
    source: str | Path,
    policy: Retention,
    *,
    progress: Callable[[Pruned], object] = lambda _: None,
    token: str | None = None,
    access: Rules | None = None,
) -> Pruned:
    """Drop what may go, by whoever runs cases on the database, or here where nobody does.

    Args:
        source: The database's name.
        policy: What may go.
        progress: Told what was done so far.
        token: Who asks, where the database is guarded.
        access: The rules of a guarded database, for where no engine runs that knows them.

    Raises:
        ExportRefused: A file could not be written.
        EngineError: It is refused, or nobody answers.
    """
    command = {"do": "prune", "retention": policy.to_json()} | ({"token": token} if token else {})
    done = Pruned(more="yes")
    while done.more == "yes":
        found = None
        if token is None and access is None:
            with suppress(StoreLocked):
                found = _alone(source, policy)
        if found is None:
            from provenet.engine.requests import ask

            found = Pruned(**ask(source, command, access=access)["pruned"])
        done += found
        progress(done)
    return done


def preview(source: str | Path, policy: Retention) -> tuple[int, int, int]:
    """What would go now; see ``provenet.engine.pruner.due``. Nothing is dropped, and nobody waits."""
    reader = Reader(source)
    with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
        return due(policy, rows, clock_of(rows)())


def compacted(source: str | Path) -> tuple[int, int]:
    """Give the room of what was dropped back to the disk; bytes that the file had before, and has after.

    Without this the room is used for what comes next. A server sees to it by itself, and nothing is done.

    Raises:
        StoreLocked: Somebody runs cases on it.
        StoreError: The database refused; there must be room for a copy of what is left.
    """
    path = located(source).path
    if path is None:
        return 0, 0
    with _opened(source) as store:
        before = path.stat().st_size
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            store.rows(statement)
        return before, path.stat().st_size


def clock_of(rows: Callable[..., list[tuple[Any, ...]]]) -> Callable[[], int]:
    """The time by a database's own clock: that of its last event, where its cases run by a virtual one."""
    if rows("SELECT value FROM provenet_meta WHERE name = 'clock'") != [("virtual",)]:
        return lambda: to_micros(datetime.now(UTC))
    last = max((at for (at,) in rows(LATEST) if at is not None), default=0)
    return lambda: last


LATEST = """
SELECT at FROM (SELECT at FROM provenet_event ORDER BY id DESC LIMIT 1000) a
UNION ALL SELECT at FROM (SELECT at FROM provenet_archive ORDER BY id DESC LIMIT 1) b"""
"""When something last happened, by the database's clock: what was written last says so, however much there
is. Of several processes each writes in its own order."""


def _alone(source: str | Path, policy: Retention, seconds: float = 1.0) -> Pruned | None:
    """Drop batches for a while, with no engine; ``None`` where that takes a token."""
    with _opened(source) as store:
        if store.rows("SELECT 1 FROM provenet_meta WHERE name = ? AND value <> 'off'", (MARK,)):
            return None
        done, until = Pruned(more="yes"), time.monotonic() + seconds
        ended_for = IN_FLIGHT if store.database.shared == "yes" else timedelta(0)
        pruner = Pruner(store, policy, clock_of(store.rows), ended_for=ended_for)
        while pruner.looking if done.more == "no" else time.monotonic() < until:
            found = pruner.batch()
            done += found
            store.flush()
            if found.more == "yes" and not found.entries:
                time.sleep(_TURN)
        return done


@contextmanager
def _opened(source: str | Path) -> Iterator[Store]:
    where = located(source)
    if not ready(where):
        raise StoreError("there is no such database", where=str(where), hint="check the name")
    store = Store(source)
    try:
        yield store
    except BaseException:
        store.abandon()
        raise
    store.close()
