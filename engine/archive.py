"""The archive: a row for each case that was pruned, and for each log that was trimmed, chained by hash.

A row covers the one before it, over all prunings of the database, so none can be changed or taken out. A case
that is neither there nor archived is missed: the database counts how many were ever started. A log that does
not begin with its start must begin with the very snapshot that its last row names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from provenet.engine.case import GENESIS
from provenet.engine.clock import from_micros
from provenet.engine.codec import clean, plain
from provenet.engine.errors import NoSuchCase
from provenet.engine.store.store import STARTED, Store

Kind: TypeAlias = Literal["pruned", "trimmed"]


@dataclass(frozen=True, slots=True)
class Archived:
    """A row of the archive.

    Attributes:
        number: Its number: 1 for the first, with no gap.
        kind: ``pruned`` for a case of which nothing else is left; ``trimmed`` for a log that begins later.
        case_no: The case's number.
        case: Its id.
        net: Content hash of its net version then.
        version: Number of the last entry of a pruned case, of the first that is left of a trimmed log.
        head: That entry's hash.
        status: The case's status then.
        outcome_place: The final place that it ended in.
        outcome: What it ended with, as canonical text; ``None`` where that was not to be kept.
        finished: When it ended, in microseconds.
        at: When this was done, in microseconds.
    """

    number: int
    kind: Kind
    case_no: int
    case: str
    net: str
    version: int
    head: bytes
    status: str
    outcome_place: str | None
    outcome: str | None
    finished: int | None
    at: int

    def digest(self, prev: bytes) -> bytes:
        """The row's hash, given that of the row before it."""
        parts = [
            self.number,
            self.kind,
            self.case_no,
            self.case,
            self.net,
            self.version,
            self.head.hex(),
            self.status,
            self.outcome_place,
            self.outcome,
            self.finished,
            self.at,
        ]
        return sha256(prev + plain(parts).encode()).digest()

    def to_json(self) -> dict[str, Any]:
        """The row as JSON data."""

        def when(micros: int | None) -> str | None:
            return None if micros is None else from_micros(micros).isoformat()

        return {
            "number": self.number,
            "kind": self.kind,
            "case": self.case,
            "net_hash": self.net,
            "version": self.version,
            "head": self.head.hex(),
            "status": self.status,
            "outcome_place": self.outcome_place,
            "outcome": None if self.outcome is None else json.loads(self.outcome),
            "finished": when(self.finished),
            "at": when(self.at),
        }

    @property
    def when(self) -> datetime:
        """When this was done."""
        return from_micros(self.at)


COLUMNS = "id, kind, case_no, case_id, net, version, head, status, outcome_place, outcome, finished, at"
"""The columns behind the attributes, in their order."""

_OF_CASE = f"SELECT {COLUMNS} FROM provenet_archive WHERE case_id = ? AND kind = 'pruned'"  # noqa: S608

_INSERT = f"INSERT INTO provenet_archive ({COLUMNS}, prev, hash) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608


def archived(row: Sequence[Any]) -> Archived:
    """A row of ``COLUMNS``."""
    number, kind, no, case, net, version, head, *rest = row
    return Archived(number, kind, no, case, net, version, bytes(head), *rest)


def find(store: Store, case: str) -> Archived | None:
    """What is left of a case that was pruned; ``None`` for one that was not."""
    asked = clean(case).replace("\0", "")
    rows = store.rows(_OF_CASE, (asked,))
    return archived(rows[0]) if rows and asked == case else None


def pruned(past: Archived) -> NoSuchCase:
    """A case of which only the archive's row is left."""
    place = f" in {past.outcome_place!r}" if past.outcome_place else ""
    return NoSuchCase(
        f"case {past.case!r} was pruned on {past.when:%Y-%m-%d}",
        hint=f"it ended as {past.status}{place} after {past.version} entries; its id is not given again",
    )


def add(store: Store, row: Archived) -> None:
    """Add a row to the chain, in the open transaction; it is given its number."""
    last = store.rows("SELECT id, hash FROM provenet_archive ORDER BY id DESC LIMIT 1")
    number, prev = (last[0][0], bytes(last[0][1])) if last else (0, GENESIS)
    row = replace(row, number=number + 1)
    store.run(_INSERT, (*astuple(row), prev, row.digest(prev)))


class ArchiveAudit:
    """Goes through the archive, and keeps what the audit of cases needs of it.

    Args:
        rows: Reads the database.
        problem: Told of a discrepancy: the case's id, and what is wrong.

    Attributes:
        begins: For the number of a case whose log was trimmed: number and hash of the entry it begins with.
        pruned: How many cases are archived.
    """

    def __init__(
        self, rows: Callable[..., Sequence[tuple[Any, ...]]], problem: Callable[[str, str], None]
    ) -> None:
        self._rows, self._problem = rows, problem
        self.begins: dict[int, tuple[int, bytes]] = {}
        self.pruned = 0

    def run(self) -> None:
        """Check every row, and that no case is missing."""
        head = GENESIS
        for expected, (row, prev, digest) in enumerate(self._all(), start=1):
            if row.number != expected:
                self._problem("", f"row {expected} of the archive is missing")
                return
            if prev != head or digest != row.digest(prev):
                what = f"row {row.number} of the archive, or one before it, was changed"
                self._problem(row.case, what)
                return
            head = digest
            if row.kind == "trimmed":
                self.begins[row.case_no] = row.version, row.head
            else:
                self.begins.pop(row.case_no, None)
                self.pruned += 1
        for (case,) in self._rows(
            "SELECT a.case_id FROM provenet_archive a JOIN provenet_case c"
            " ON c.no = a.case_no OR c.id = a.case_id WHERE a.kind = 'pruned'"
        ):
            self._problem(case, "it is archived as pruned, and is there")
        self._count()

    def _all(self) -> Iterator[tuple[Archived, bytes, bytes]]:
        last = 0
        while True:
            found = self._rows(
                f"SELECT {COLUMNS}, prev, hash FROM provenet_archive WHERE id > ? ORDER BY id LIMIT 5000",  # noqa: S608
                last,
            )
            for row in found:
                yield archived(row[:-2]), bytes(row[-2]), bytes(row[-1])
            if not found:
                return
            last = found[-1][0]

    def _count(self) -> None:
        counts = [
            value
            for name, value in self._rows("SELECT name, value FROM provenet_meta")
            if str(name).startswith(STARTED)
        ]
        started = sum(int(value) for value in counts)
        ((there,),) = self._rows("SELECT COUNT(*) FROM provenet_case")
        if started != there + self.pruned:
            self._problem(
                "",
                f"{started:,} cases were started, {there:,} are there and {self.pruned:,} are archived: "
                "rows of cases, or of the archive, were removed or made up",
            )
