"""Drops what retention lets go, batch by batch.

A finished case that is past its time loses everything but a row of the archive
(``provenet.engine.archive``). A case that is not over loses the entries of its log before a snapshot, and of
its past work only what no entry that is left speaks of. Each batch is one transaction: after a crash a case
is there as it was, or is archived.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_args

from provenet.engine import exports
from provenet.engine.archive import Archived, Kind, add
from provenet.engine.case import LIVE
from provenet.engine.clock import to_micros
from provenet.engine.early import forget_published
from provenet.engine.history import ENTRIES
from provenet.engine.retention import Ended, Pruned, Retention
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.store.store import Store
from provenet.engine.store.tables import TABLES, ArchiveRow, table_of
from provenet.engine.vault import let_go
from provenet.nets.schema import microseconds

MOST_CASES = 64
MOST_ENTRIES = 5_000
"""What a batch may drop: firings wait for it as they wait for any commit."""

MOST_LOOKS = 500
"""Logs that a batch looks at, whether there is anything to drop or not."""

MOST_REQUESTS = 1_000
"""Of the requests that were left there, the first so many are looked at."""

_SLACK = 3_600_000_000
"""Microseconds, an hour."""

_ANSWERED = timedelta(hours=1)
"""How long an answer is left for whoever asked, at least."""


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

_LONG = "SELECT {} FROM provenet_case WHERE status IN (?, ?, ?) AND version > ?"

_OF_CASES = tuple(t.__tablename__ for t in TABLES if "case_no" in table_of(t).columns and t is not ArchiveRow)
"""The tables that have rows of a case, besides its own."""


class Pruner:
    """Drops what retention lets go, batch by batch.

    Args:
        store: The database; the caller commits each batch.
        policy: The retention.
        now: The time in microseconds.
        ended_for: Cases that ended less ago are left: what they had in flight may only just end.

    Attributes:
        gone: Id and status of each case that was archived.
    """

    def __init__(
        self,
        store: Store,
        policy: Retention,
        now: Callable[[], int],
        *,
        ended_for: timedelta = timedelta(0),
    ) -> None:
        self._store, self._policy, self._now, self._ended_for = store, policy, now, ended_for
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
        past = self._due()
        ready: list[tuple[_Case, int]] = []
        long: list[tuple[_Case, int]] = []
        entries = 0
        for case in past:
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
        requests = self._forget_requests()
        # Whether there is more shows when there is nothing.
        return replace(done, more="yes" if done.entries or requests == MOST_REQUESTS else "no")

    @property
    def looking(self) -> bool:
        """Whether there are logs that it has not come to: where a batch drops nothing, the next one may."""
        return bool(self._long)

    # which

    def _due(self) -> list[_Case]:
        """Finished cases that are past their time, those that ended first before others."""
        found: list[_Case] = []
        for rule in self._rules:
            cutoff = self._now() - microseconds(max(rule.keep, self._ended_for))
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
            rows = self._store.rows(f"{_LONG.format('no')} ORDER BY no", (*LIVE, "parked", keep))
            self._long = [no for (no,) in rows][::-1]
        found: list[tuple[_Case, int]] = []
        entries = looks = 0
        while self._long and len(found) < MOST_CASES and entries < MOST_ENTRIES and looks < MOST_LOOKS:
            no, looks = self._long[-1], looks + 1
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
        own = self._store.location.path
        mode = 0o666 if own is None else own.stat().st_mode & 0o777  # who may not read the one, nor the other
        ends = [(case, first, case.version) for case, first in ready]
        for case, upto in long:
            first = self._first(case.no)
            ends.append((case, first, self._base(case.no, first, upto) or first))
        for case, first, last in ends:
            entries = self._store.rows(ENTRIES.replace("ORDER BY", "AND seq <= ? ORDER BY"), (case.no, last))
            added += exports.append(
                folder, self._store.uid, case.no, case.id, first=first, entries=entries, mode=mode
            )
        return added

    def _prune(self, case: _Case, entries: int) -> Pruned:
        run = self._store.run
        # Held until the commit: whoever wrote to it meanwhile, to erase its key, say, comes first.
        same = "UPDATE provenet_case SET version = version WHERE no = ? AND version = ?"
        if not run(same, (case.no, case.version)):
            return Pruned()
        let_go(self._store, case.no, case.id, exported="no" if self._policy.export is None else "yes")
        forget_published(self._store, case.no)
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

    def _forget_requests(self) -> int:
        """Let go of answered requests, once every case that they may be about is past its time; how many.

        They are as old as the clock on the wall says. The last one stays: numbers of requests stand for what
        was spent and which events came, and are not given again.
        """
        spans = [s for s in (*self._policy.ended.values(), *self._policy.places.values()) if s is not None]
        if not spans:
            return 0
        age = microseconds(max(*spans, _ANSWERED))
        return self._store.run(
            "DELETE FROM provenet_request WHERE status IN ('done', 'withdrawn') AND at < ?"
            " AND id IN (SELECT id FROM provenet_request ORDER BY id LIMIT ?)"
            " AND id < (SELECT MAX(id) FROM provenet_request)",
            (to_micros(datetime.now(UTC)) - age, MOST_REQUESTS),
        )

    def _archive(self, kind: Kind, case: _Case, version: int, head: bytes) -> None:
        rest = (case.status, case.place, case.outcome if self._policy.outcomes == "kept" else None)
        add(
            self._store,
            Archived(
                0, kind, case.no, case.id, case.net, version, bytes(head), *rest, case.finished, self._now()
            ),
        )


def due(policy: Retention, rows: Callable[..., Sequence[tuple[Any, ...]]], now: int) -> tuple[int, int, int]:
    """What would go now.

    Args:
        policy: The retention.
        rows: Reads the database: a statement and its parameters.
        now: The time in microseconds.

    Returns:
        How many finished cases, with how many entries of their logs at most; and how many logs of other cases
        are longer than they need be.
    """
    cases = entries = logs = 0
    for rule in _rules(policy):
        where, given = _where(rule, 0, now - microseconds(rule.keep))
        ((count, length),) = rows(
            f"SELECT COUNT(*), COALESCE(SUM(version), 0) FROM provenet_case WHERE {where}",  # noqa: S608
            *given,
        )
        cases, entries = cases + int(count), entries + int(length)
    if policy.keep_entries is not None:
        ((logs,),) = rows(_LONG.format("COUNT(*)"), *LIVE, "parked", policy.keep_entries)
    return cases, entries, int(logs)


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
