"""Retention: what a database lets go of, how long after, and what is left of it.

A finished case that is past its time loses everything but a row of the archive
(``provenet.engine.archive``). A case that is not over loses the entries of its log before a snapshot, and of
its past work only what no entry that is left speaks of. Each batch is one transaction: after a crash a case
is there as it was, or is archived.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from provenet.engine import exports
from provenet.engine.archive import Archived, Kind, add
from provenet.engine.case import LIVE
from provenet.engine.clock import to_micros
from provenet.engine.errors import ExportRefused, RetentionRefused, StoreLocked
from provenet.engine.history import ENTRIES
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.store.database import located
from provenet.engine.store.store import Store
from provenet.engine.store.tables import TABLES, ArchiveRow, table_of
from provenet.nets.errors import did_you_mean
from provenet.nets.schema import microseconds

Ended: TypeAlias = Literal["done", "killed", "failed"]
"""The statuses of a case that is over."""

MOST_CASES = 64
MOST_ENTRIES = 5_000
"""What a batch may drop: firings wait for it as they wait for any commit."""

_TURN = 0.05
"""Seconds until a process looks again whether another one is done with its batch."""

PAUSE = 60.0
"""Seconds until an engine looks again, where it found nothing more to drop."""

_SLACK = 3_600_000_000
"""Microseconds, an hour."""

_log = logging.getLogger("provenet.retention")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept. What is not named is kept for good.

    Attributes:
        ended: By status (``done``, ``killed``, ``failed``): how long a case is kept after its end.
        places: By the final place that a case ended in; goes before its status. ``None`` is for good.
        keep_entries: Of a case that is not over, how many of the last entries of its log are kept at least.
        outcomes: Whether the archive keeps what a case ended with.
        export: A folder where logs are written, a file for each case, before they are dropped.

    Raises:
        RetentionRefused: It makes no sense.
    """

    ended: Mapping[str, timedelta] = field(default_factory=dict)
    places: Mapping[str, timedelta | None] = field(default_factory=dict)
    keep_entries: int | None = None
    outcomes: Literal["kept", "dropped"] = "kept"
    export: Path | None = None

    def __post_init__(self) -> None:
        known = get_args(Ended)
        for status in self.ended:
            if status not in known:
                raise RetentionRefused(
                    f"no case ends as {status!r}",
                    hint=did_you_mean(status, known) + "; final places belong in `places`",
                )
        spans = {**self.ended, **self.places}
        for name, span in spans.items():
            if span is not None and (not isinstance(span, timedelta) or span < timedelta(0)):
                raise RetentionRefused(
                    f"{name!r} is kept for {span!r}, which is no span of time", hint="timedelta(days=90)"
                )
        if self.keep_entries is not None and self.keep_entries < 1:
            raise RetentionRefused(
                f"{self.keep_entries} entries cannot be kept", hint="keep at least 1, or None for all"
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "ended": {k: v.total_seconds() for k, v in self.ended.items()},
            "places": {k: None if v is None else v.total_seconds() for k, v in self.places.items()},
            "keep_entries": self.keep_entries,
            "outcomes": self.outcomes,
            "export": None if self.export is None else str(self.export.absolute()),
        }

    @classmethod
    def of_json(cls, data: Any) -> Retention:
        """From what ``to_json`` gives.

        Raises:
            RetentionRefused: It is something else.
        """
        try:
            return cls(
                {str(k): timedelta(seconds=v) for k, v in data["ended"].items()},
                {str(k): None if v is None else timedelta(seconds=v) for k, v in data["places"].items()},
                data["keep_entries"],
                "dropped" if data["outcomes"] == "dropped" else "kept",
                None if data["export"] is None else Path(data["export"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RetentionRefused(f"this is no retention: {type(error).__name__}: {error}") from None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was dropped.

    Attributes:
        cases: Finished cases of which only the archive's row is left.
        trimmed: Logs that begin later now.
        entries: Entries that are gone.
        exported: Entries that were written to files before.
        more: Whether there is more to drop.
    """

    cases: int = 0
    trimmed: int = 0
    entries: int = 0
    exported: int = 0
    more: Literal["no", "yes"] = "no"

    def __add__(self, other: Pruned) -> Pruned:
        sums = [getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "more"]
        return Pruned(*sums, other.more)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class _Rule(NamedTuple):
    """Cases of a status, and of a final place or of none that has its own rule; ``None`` keeps for good."""

    status: str
    place: str | None
    others: tuple[str, ...]
    keep: timedelta


class _Case(NamedTuple):
    no: int
    id: str
    net: str
    version: int
    head: bytes
    status: str
    place: str | None
    outcome: str | None
    finished: int | None


_CASE = "SELECT no, id, net, version, head, status, outcome_place, outcome, finished FROM provenet_case"

_OF_CASES = tuple(t.__tablename__ for t in TABLES if "case_no" in table_of(t).columns and t is not ArchiveRow)
"""The tables that have rows of a case, besides its own."""


class Pruner:
    """Drops what retention lets go, batch by batch.

    Args:
        store: The database; the caller commits each batch.
        policy: The retention.
        now: The time in microseconds.

    Attributes:
        gone: Id and status of each case that was archived.
    """

    def __init__(self, store: Store, policy: Retention, now: Callable[[], int]) -> None:
        self._store, self._policy, self._now = store, policy, now
        self.gone: list[tuple[str, str]] = []
        self._rules = tuple(_rules(policy))
        self._seen: dict[_Rule, int] = {}
        self._long: list[int] | None = None

    def batch(self) -> Pruned:
        """Drop one batch, in the transaction that the next commit ends.

        Raises:
            ExportRefused: A file could not be written; nothing was dropped.
            StoreError: The database refused.
        """
        self._store.flush()
        self._store.begin()
        if self._store.database.alone_at("archive") == "no":
            return Pruned(more="yes")
        due = self._due()
        ready, long = [], []
        entries = 0
        for case in due:
            first = self._first(case.no)
            if case.version - first > MOST_ENTRIES and self._base(case.no, first, case.version) is not None:
                long.append((case, case.version))  # a step at a time; the rest of it is short enough then
                break
            if ready and entries + case.version - first > MOST_ENTRIES:
                break
            entries += case.version - first + 1
            ready.append((case, first))
        if not ready and not long:
            long = self._overlong()
        done = Pruned(exported=self._export(ready, long))
        for case, first in ready:
            done += self._prune(case, case.version - first + 1)
        for case, upto in long:
            done += self._trim(case, upto)
        # Whether there is more shows when there is nothing.
        return replace(done, more="yes" if done.entries else "no")

    def preview(self) -> tuple[int, int]:
        """How many finished cases, and entries of their logs, would go now."""
        cases = entries = 0
        for rule in self._rules:
            where, given = _where(rule, 0, self._now() - microseconds(rule.keep))
            ((count, length),) = self._store.rows(
                f"SELECT COUNT(*), COALESCE(SUM(version), 0) FROM provenet_case WHERE {where}",  # noqa: S608
                given,
            )
            cases, entries = cases + int(count), entries + int(length)
        return cases, entries

    # which

    def _due(self) -> list[_Case]:
        """Finished cases that are past their time, those that ended first before others."""
        found: list[_Case] = []
        for rule in self._rules:
            cutoff = self._now() - microseconds(rule.keep)
            where, given = _where(rule, self._seen.get(rule, 0), cutoff)
            rows = self._store.rows(
                f"{_CASE} WHERE {where} ORDER BY finished LIMIT ?", (*given, MOST_CASES - len(found))
            )
            found += [_Case(*row) for row in rows]
            if len(found) >= MOST_CASES:
                break
            if not rows:
                # What ended before has another rule, or is gone. Clocks of several processes differ a little.
                self._seen[rule] = cutoff - _SLACK
        return found

    def _overlong(self) -> list[tuple[_Case, int]]:
        """A few cases that are not over and whose logs have more entries than they need keep."""
        keep = self._policy.keep_entries
        if keep is None:
            return []
        if self._long is None:
            rows = self._store.rows(
                "SELECT no FROM provenet_case WHERE status IN (?, ?, ?) AND version > ? ORDER BY no",
                (*LIVE, "parked", keep),
            )
            self._long = [no for (no,) in rows][::-1]
        found: list[tuple[_Case, int]] = []
        entries = 0
        while self._long and len(found) < MOST_CASES and entries < MOST_ENTRIES:
            no = self._long[-1]
            rows = self._store.rows(f"{_CASE} WHERE no = ?", (no,))
            case = _Case(*rows[0]) if rows else None
            if case is None or case.status not in (*LIVE, "parked"):
                self._long.pop()
                continue
            first, upto = self._first(no), case.version - keep + 1
            base = self._base(no, first, upto)
            if base is None:
                self._long.pop()
                continue
            if self._base(no, base, upto) is None:
                self._long.pop()
            found.append((case, upto))
            entries += base - first
            if self._long and self._long[-1] == no:
                break  # it goes on with this one in the next batch
        if not self._long and not found:
            self._long = None
        return found

    def _first(self, no: int) -> int:
        ((first,),) = self._store.rows("SELECT MIN(seq) FROM provenet_event WHERE case_no = ?", (no,))
        return int(first or 1)

    def _base(self, no: int, first: int, upto: int) -> int | None:
        """The snapshot that a log may begin with next: the latest within a batch, else the first."""
        statement = (
            "SELECT {}(seq) FROM provenet_event WHERE case_no = ? AND kind = ? AND seq > ? AND seq <= ?"
        )
        ((last,),) = self._store.rows(
            statement.format("MAX"), (no, SNAPSHOT, first, min(upto, first + MOST_ENTRIES))
        )
        if last is None and upto > first + MOST_ENTRIES:
            ((last,),) = self._store.rows(statement.format("MIN"), (no, SNAPSHOT, first, upto))
        return None if last is None else int(last)

    # what is done

    def _export(self, ready: Sequence[tuple[_Case, int]], long: Sequence[tuple[_Case, int]]) -> int:
        folder, added = self._policy.export, 0
        if folder is None:
            return 0
        ends = [(case, first, case.version) for case, first in ready]
        for case, upto in long:
            first = self._first(case.no)
            ends.append((case, first, self._base(case.no, first, upto) or first))
        for case, first, last in ends:
            entries = self._store.rows(ENTRIES.replace("ORDER BY", "AND seq <= ? ORDER BY"), (case.no, last))
            added += exports.append(folder, self._store.uid, case.no, case.id, first=first, entries=entries)
        return added

    def _prune(self, case: _Case, entries: int) -> Pruned:
        run = self._store.run
        for table in _OF_CASES:
            run(f"DELETE FROM {table} WHERE case_no = ?", (case.no,))  # noqa: S608  names of our own tables
        run("DELETE FROM provenet_case WHERE no = ?", (case.no,))
        self._archive("pruned", case, case.version, case.head)
        self.gone.append((case.id, case.status))
        return Pruned(cases=1, entries=entries)

    def _trim(self, case: _Case, upto: int) -> Pruned:
        first = self._first(case.no)
        base = self._base(case.no, first, upto)
        if base is None:
            return Pruned()
        ((data, digest),) = self._store.rows(
            "SELECT data, hash FROM provenet_event WHERE case_no = ? AND seq = ?", (case.no, base)
        )
        said = json.loads(data)
        there = {token for token, _, _ in said["put"]}
        self._store.run("DELETE FROM provenet_event WHERE case_no = ? AND seq < ?", (case.no, base))
        # Tasks and events stay: who decided, and which keys came, is asked for as long as the case runs.
        for table, ended in (("effect", "state <> 'intended'"), ("proposal", "1 = 1")):
            tokens = self._store.rows(
                f"SELECT DISTINCT token FROM provenet_{table} WHERE case_no = ? AND token < ? AND {ended}",  # noqa: S608
                (case.no, said["next"]),
            )
            for (token,) in tokens:
                if token not in there:
                    self._store.run(
                        f"DELETE FROM provenet_{table} WHERE case_no = ? AND token = ? AND {ended}",  # noqa: S608
                        (case.no, token),
                    )
        self._archive("trimmed", case, base, bytes(digest))
        return Pruned(trimmed=1, entries=base - first)

    def _archive(self, kind: Kind, case: _Case, version: int, head: bytes) -> None:
        rest = (case.status, case.place, case.outcome if self._policy.outcomes == "kept" else None)
        add(
            self._store,
            Archived(
                0, kind, case.no, case.id, case.net, version, bytes(head), *rest, case.finished, self._now()
            ),
        )


class Schedule:
    """An engine's side: prunes a batch now and then, and at once where it is asked to.

    Args:
        store: The engine's database.
        now: The time in microseconds.
        gone: Told of each case that is archived: its id and its status.
        policy: What is done now and then; nothing where there is none.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], int],
        gone: Callable[[str, str], object],
        policy: Retention | None,
    ) -> None:
        self._store, self._now, self._gone = store, now, gone
        self._pruner = None if policy is None else Pruner(store, policy, now)
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
        self._next = time.monotonic() + (0.0 if found.more == "yes" else PAUSE)

    async def run(self, policy: Retention | None, seconds: float) -> Pruned:
        """Drop what may go now; what is not done after so many seconds is left for another time."""
        pruner = self._pruner if policy is None else Pruner(self._store, policy, self._now)
        if pruner is None:
            raise RetentionRefused(
                "this engine has no retention", hint="say what may go: Retention(ended={...})"
            )
        done, until = Pruned(more="yes"), time.monotonic() + seconds
        while done.more == "yes" and time.monotonic() < until:
            found = await self._batch(pruner)
            done += found
            if found.more == "yes" and not found.entries:
                await asyncio.sleep(_TURN)  # another process is at it
        return done

    async def _batch(self, pruner: Pruner) -> Pruned:
        found = pruner.batch()
        await self._store.durable()
        for case, status in pruner.gone:
            self._gone(case, status)
        pruner.gone.clear()
        return found


def prune(
    source: str | Path, policy: Retention, *, progress: Callable[[Pruned], object] = lambda _: None
) -> Pruned:
    """Drop what may go, by whoever runs cases on the database, or here where nobody does.

    Args:
        source: The database's name.
        policy: What may go.
        progress: Told what was done so far.

    Raises:
        ExportRefused: A file could not be written.
        EngineError: It is refused, or nobody answers.
    """
    from provenet.engine.requests import post

    done = Pruned(more="yes")
    while done.more == "yes":
        try:
            done += _alone(source, policy)
        except StoreLocked:
            answer = post(source, {"do": "prune", "retention": policy.to_json()})
            done += Pruned(**answer["pruned"])
        progress(done)
    return done


def preview(source: str | Path, policy: Retention) -> tuple[int, int]:
    """How many finished cases, and entries of their logs, would go; raises as ``prune`` does."""
    store = Store(source)
    try:
        return Pruner(store, policy, clock_of(store)).preview()
    finally:
        store.close()


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
    store = Store(source)
    try:
        before = path.stat().st_size
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            store.rows(statement)
        return before, path.stat().st_size
    finally:
        store.close()


def clock_of(store: Store) -> Callable[[], int]:
    """The time by a database's own clock: that of its last event, where its cases run by a virtual one."""
    if store.rows("SELECT value FROM provenet_meta WHERE name = 'clock'") != [("virtual",)]:
        return lambda: to_micros(datetime.now(UTC))
    last = max((at for (at,) in store.rows(LATEST) if at is not None), default=0)
    return lambda: last


LATEST = "SELECT MAX(at) FROM provenet_event UNION ALL SELECT MAX(at) FROM provenet_archive"
"""When something last happened, by the database's clock."""


def _alone(source: str | Path, policy: Retention, seconds: float = 1.0) -> Pruned:
    """Drop batches for a while, with no engine."""
    store = Store(source)
    try:
        pruner = Pruner(store, policy, clock_of(store))
        done, until = Pruned(more="yes"), time.monotonic() + seconds
        while done.more == "yes" and time.monotonic() < until:
            found = pruner.batch()
            done += found
            store.flush()
            if found.more == "yes" and not found.entries:
                time.sleep(_TURN)
    except BaseException:
        store.abandon()
        raise
    store.close()
    return done


def _rules(policy: Retention) -> Iterator[_Rule]:
    places = tuple(sorted(policy.places))
    for status in get_args(Ended):
        for place in places:
            keep = policy.places[place]
            if keep is not None:
                yield _Rule(status, place, (), keep)
        if status in policy.ended:
            yield _Rule(status, None, places, policy.ended[status])


def _where(rule: _Rule, after: int, before: int) -> tuple[str, tuple[Any, ...]]:
    """The cases of a rule that ended in a span of time."""
    where, given = "status = ? AND finished >= ? AND finished <= ?", [rule.status, after, before]
    if rule.place is not None:
        return f"{where} AND outcome_place = ?", (*given, rule.place)
    if rule.others:
        marks = ", ".join("?" * len(rule.others))
        where += f" AND (outcome_place IS NULL OR outcome_place NOT IN ({marks}))"
    return where, (*given, *rule.others)
