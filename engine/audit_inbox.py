"""What the inbox says of a case, held against its log: each event taken made an entry, and none other did.

The watermark of a late event is kept nowhere: it follows from the inbox, and so does whether an event was
late. Events that released versions took before the inbox named their entries are counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from provenet.engine import early
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.history import Again
from provenet.engine.personal import known_text
from provenet.engine.program import Program
from provenet.nets.net import Signal
from provenet.nets.quick import dataclass
from provenet.nets.schema import Value, microseconds
from provenet.sdb.saga import KILL_SIGNAL

STATUSES = ("accepted", "buffered", "expired", "unused", "late", "duplicate", "refused")
"""What may become of an event."""

_TIMELY = STATUSES[:4]
_ROWS = """
SELECT id, key, event, payload, status, event_at, came, seq, until, about FROM provenet_inbox
WHERE case_no = ? ORDER BY id"""


class Auditor(Protocol):
    """What this needs of the audit."""

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, all of one moment of the database."""
        ...

    def program(self, found: str) -> Program | None:
        """A net version by its hash, where it can be read."""
        ...

    def problem(self, case: str, seq: int, what: str) -> None:
        """Tell a discrepancy."""
        ...


@dataclass(frozen=True, slots=True)
class _Heard:
    """A firing with an event: its name, its key, and what it brought, where that is known."""

    event: str
    key: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    key: str | None
    event: str
    payload: str | None
    status: str
    event_at: int | None
    came: int
    seq: int | None
    until: int | None
    about: str | None


class InboxAudit:
    """The inbox of one case.

    Args:
        auditor: Where to read, and whom to tell.
        no: The case's number.
        case_id: Its id.
    """

    def __init__(self, auditor: Auditor, no: int, case_id: str) -> None:
        self._auditor, self._no, self._id = auditor, no, case_id
        self._heard: dict[int, _Heard] = {}

    def starting(self, program: Program, inputs: Mapping[str, Value], known_by: Mapping[str, str]) -> None:
        """Whether it is known by the keys that its net reads off its input."""
        for name, (place, key) in program.keys.items():
            if known_by.get(name) != str(key({"it": inputs[place]})):
                self._problem(1, f"it is not known by the key {name!r} that its net reads off its input")

    def firing(self, case: LiveCase, again: Again) -> None:
        """Keep what came from outside with a firing."""
        trigger, fresh = again.step.transition.trigger, again.step.fresh
        if isinstance(trigger, Signal) and trigger.event != KILL_SIGNAL:
            text = known_text(again.binding[fresh[0][0]], case.encoder(fresh[0][1])) if fresh else None
            key = again.said.get("note", {}).get("key")
            self._heard[again.seq] = _Heard(trigger.event, key, text)

    def compare(self, case: LiveCase, status: str, since: int) -> None:
        """Hold the inbox against the log, from its entry ``since`` on."""
        rows = [_Row(*row) for row in self._auditor.rows(_ROWS, self._no)]
        texts = set(early.known_by(case.known_by))
        found = {about for (about,) in self._auditor.rows(_ABOUT, self._no)}
        if found != texts:
            self._problem(case.seq, "the keys that it is found by are not those of its log")
        self._compare_taken(rows, since)
        keys = Counter(r.key for r in rows if r.status in {"accepted", "buffered"} and r.key is not None)
        for key, count in keys.items():
            if count > 1:
                self._problem(case.seq, f"{count} events were taken with the key {key!r}")
        for row in rows:
            if row.status not in STATUSES:
                self._problem(0, f"event {row.event!r} is {row.status!r}, which is no status")
            if row.about is not None and row.about not in texts:
                self._problem(case.seq, f"event {row.event!r} is about {row.about}, which it is not known by")
            if row.came > case.seq:
                self._problem(case.seq, f"event {row.event!r} came after entry {row.came}, which is none")
        self._compare_times(rows)
        self._compare_kept([r for r in rows if r.status == "buffered"], case, status)

    def _compare_taken(self, rows: list[_Row], since: int) -> None:
        """Every event taken, and every firing with one."""
        left = dict(self._heard)
        before: Counter[str] = Counter()
        for row in rows:
            if row.status != "accepted":
                if row.seq is not None:
                    self._problem(row.seq, f"event {row.event!r} is {row.status}, and names an entry")
                continue
            if row.seq is None:
                before[row.event] += 1
                continue
            if row.seq < since:
                continue
            heard = left.pop(row.seq, None)
            if heard is None or (heard.event, heard.key or None) != (row.event, row.key or None):
                self._problem(row.seq, f"the inbox has an event {row.event!r} here, and the log has not")
            elif heard.text is not None and heard.text != row.payload:
                self._problem(row.seq, f"event {row.event!r} brought something else than the inbox says")
            if not row.came < row.seq:
                self._problem(row.seq, f"event {row.event!r} was taken before it came")
        for seq, heard in left.items():
            before[heard.event] -= 1
            if before[heard.event] < 0:
                self._problem(seq, f"event {heard.event!r} was taken, and is not in the inbox")
        if since == 1:
            for event, count in before.items():
                if count > 0:
                    self._problem(0, f"{count} events {event!r} of the inbox are not in the log")

    def _compare_times(self, rows: list[_Row]) -> None:
        """Whether those that were late are those that were refused as late."""
        timed = [r for r in rows if r.event_at is not None]
        if not timed:
            return
        versions = self._auditor.rows(_VERSIONS, self._no)
        for row in timed:
            limit = self._lateness(versions, row)
            assert row.event_at is not None
            if limit is None or row.status not in (*_TIMELY, "late"):
                continue
            earlier = [
                r.event_at
                for r in timed
                if r.event == row.event and r.seq is not None and r.seq <= row.came and r.event_at is not None
            ]
            late = bool(earlier) and row.event_at < max(earlier) - limit
            if late is not (row.status == "late"):
                said = "late, and is not so" if late else "not late, and is said to be"
                self._problem(row.seq or row.came, f"event {row.event!r} was {said}")

    def _lateness(self, versions: list[tuple[Any, ...]], row: _Row) -> int | None:
        """How late an event was allowed to be when it came, by the net version of that time."""
        program: Program | None = None
        for seq, kind, data in versions:
            if seq <= max(row.came, 1):
                program = self._auditor.program(json.loads(data)["to" if kind == "migrate" else "net"])
        delivery = None if program is None else program.deliveries.get(row.event)
        if delivery is None or delivery.lateness is None:
            return None
        return microseconds(delivery.lateness)

    def _compare_kept(self, kept: list[_Row], case: LiveCase, status: str) -> None:
        """Whether what is kept had to be: nothing takes it, and its case is not over."""
        if kept and status not in (*LIVE, "parked"):
            self._problem(case.seq, f"{len(kept)} events are kept for a case that is {status}")
            return
        if not kept or status not in LIVE:
            return
        ((last,),) = self._auditor.rows("SELECT MAX(at) FROM provenet_event WHERE case_no = ?", self._no)
        for row in kept:
            if (row.until is None or row.until > last) and early.takeable(case, row.event, row.payload):
                self._problem(case.seq, f"event {row.event!r} is kept, and something waits for it")

    def _problem(self, seq: int, what: str) -> None:
        self._auditor.problem(self._id, seq, what)


def without_case(auditor: Auditor) -> None:
    """Events that were published under keys, and belong to no case."""
    for status, seq, about in auditor.rows("SELECT status, seq, about FROM provenet_inbox WHERE case_no = 0"):
        if status not in _WITHOUT_CASE or seq is not None or about is None:
            auditor.problem("", 0, f"the inbox has an event of no case that is {status!r}, about {about}")


_WITHOUT_CASE = ("published", "buffered", "expired", "duplicate")
_ABOUT = "SELECT about FROM provenet_about WHERE case_no = ?"
_VERSIONS = """
SELECT seq, kind, data FROM provenet_event
WHERE case_no = ? AND kind IN ('start', 'migrate', 'snapshot') ORDER BY seq"""
