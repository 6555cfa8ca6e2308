"""The audit: replays every log through the firing rule, and compares all that the database says.

Nothing in the database is believed for being there. Nets are re-hashed and their evidence re-checked; each
log's hash chain is recomputed; each
firing is fired again by the code that fired it first, and must give the same text; what the log leads to
must be the token
table, the timers, the open tasks, the effects and the case's own row. Somebody who can rewrite a whole chain
consistently and within
the net's rules is not found out; export heads elsewhere where that matters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from provenet.engine.access.chain import problems as access_problems
from provenet.engine.archive import ArchiveAudit
from provenet.engine.audit_inbox import without_case
from provenet.engine.errors import NoKeys
from provenet.engine.keys import Keys
from provenet.engine.personal import Seal
from provenet.engine.program import Program
from provenet.engine.reader import Reader
from provenet.engine.replay import CaseAudit
from provenet.engine.rowwise import row_problems
from provenet.engine.store.database import Rows, snapshot
from provenet.engine.vault import seals
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import content_hash, loads
from provenet.sdb.handlers import Agent


@dataclass(frozen=True, slots=True)
class Problem:
    """One discrepancy.

    Attributes:
        case: Id of the case; empty where it is about a net or the whole database.
        seq: Number of the log entry; 0 where it is about none in particular.
        what: What is wrong.
    """

    case: str
    seq: int
    what: str

    def __str__(self) -> str:
        place = (
            f"case {self.case!r}" + (f", entry {self.seq}" if self.seq else "") if self.case else "database"
        )
        return f"{place}: {self.what}"

    def to_json(self) -> dict[str, Any]:
        """The problem as JSON data."""
        return {"case": self.case, "seq": self.seq, "what": self.what}


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        nets: Net versions looked at.
        cases: Cases replayed.
        events: Log entries replayed.
        effects: External effects compared.
        problems: Every discrepancy.
        seconds: How long it took.
        archived: Pruned cases, of which the archive keeps a row.
        partial: Cases whose log was checked from a later entry on: trimmed ones, or all in a fast audit.
        followed: Entries that could not be fired again, since they depend on personal values that are erased
            or that no key was given for: their chain, their tokens and their places were checked.
        erased: Cases whose personal values are erased.
    """

    nets: int
    cases: int
    events: int
    effects: int
    problems: tuple[Problem, ...]
    seconds: float
    archived: int = 0
    partial: int = 0
    followed: int = 0
    erased: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {
            "clean": self.clean,
            "nets": self.nets,
            "cases": self.cases,
            "events": self.events,
            "effects": self.effects,
            "problems": [p.to_json() for p in self.problems],
            "seconds": round(self.seconds, 3),
            "archived": self.archived,
            "partial": self.partial,
            "followed": self.followed,
            "erased": self.erased,
        }


def audit(
    source: str | Path | sa.Engine,
    *,
    progress: Callable[[int, int], None] | None = None,
    fast: Literal["no", "yes"] = "no",
    keys: Keys | None = None,
) -> Audit:
    """Audit a database; it may be in use meanwhile, the audit sees one moment of it.

    Args:
        source: The database's name, or an open SQLAlchemy engine.
        progress: Called with the number of cases replayed and of all.
        fast: ``yes`` to take each log from its latest snapshot on, which is believed.
        keys: Master keys, for personal values; those of the environment unless said otherwise. Without any,
            entries that depend on such values are only followed.

    Raises:
        StoreError: It cannot be read at all.
    """
    began = time.monotonic()
    reader = Reader(source)
    auditor = _Auditor(reader, fast, keys or Keys.from_env())
    with snapshot(reader.engine, reader.location, auditor.text) as rows:
        return auditor.run(rows, began, progress)


class _Auditor:
    def __init__(self, reader: Reader, fast: Literal["no", "yes"], keys: Keys | None) -> None:
        self._reader, self.fast = reader, fast
        self._keys, self.seal = keys, seals(self.rows, keys)
        self._followed = self._erased = 0
        self._archive = ArchiveAudit(self.rows, lambda case, what: self.problem(case, 0, what))
        self._partial = 0
        self._problems: list[Problem] = []
        self._programs: dict[str, Program] = {}
        self._events = self._effects = 0
        self._case, self._garbled = "", False
        self._read: Rows

    def run(self, rows: Rows, began: float, progress: Callable[[int, int], None] | None) -> Audit:
        self._read = rows
        self._check_file()
        self._load_nets()
        self._check_archive()
        self._check_keys()
        cases = list(
            self._rows(
                "SELECT no, id, net, status, version, tokens, head, created, outcome_place, outcome, killed,"
                " tenant, data_key"
                " FROM provenet_case ORDER BY no"
            )
        )
        for i, row in enumerate(cases):
            self._case = row[1]
            try:
                CaseAudit(self, row).run()
                for what in row_problems(self.rows, self._programs, row[0]):
                    self.problem(row[1], 0, what)
            except (ProvenetError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                # A tampered row may be of any shape: that is a finding, not a failure of the audit.
                self.problem(row[1], 0, f"it cannot be replayed: {type(error).__name__}: {error}")
            if progress is not None and (i % 50 == 49 or i + 1 == len(cases)):
                progress(i + 1, len(cases))
        self._case = ""
        for table in ("event", "token", "timer", "task", "effect", "proposal", "inbox", "about"):
            for (no,) in self._rows(
                f"SELECT DISTINCT case_no FROM provenet_{table}"  # noqa: S608  names of our own tables
                " WHERE case_no NOT IN (SELECT no FROM provenet_case)"
                + (" AND case_no <> 0" if table == "inbox" else "")
            ):
                self.problem("", 0, f"table {table} has rows of case number {no}, which does not exist")
        without_case(self)
        for what in access_problems(self.rows):
            self.problem("", 0, what)
        return Audit(
            nets=len(self._programs),
            cases=len(cases),
            events=self._events,
            effects=self._effects,
            problems=tuple(self._problems),
            seconds=time.monotonic() - began,
            archived=self._archive.pruned,
            partial=self._partial,
            followed=self._followed,
            erased=self._erased,
        )

    def followed(self, count: int, seal: Seal) -> None:
        self._followed += count
        self._erased += seal.state == "erased"

    def begins(self, no: int) -> tuple[int, bytes] | None:
        return self._archive.begins.get(no)

    def begun(self, seq: int) -> None:
        self._partial += seq > 1

    def problem(self, case: str, seq: int, what: str) -> None:
        self._problems.append(Problem(case, seq, what))

    def program(self, found: str) -> Program | None:
        return self._programs.get(found)

    def count(self, events: int, effects: int) -> None:
        self._events += events
        self._effects += effects

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return list(self._rows(statement, *parameters))

    def _rows(self, statement: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        found = self._read(statement, *parameters)
        if self._garbled:
            self._garbled = False
            table = statement.partition(" FROM ")[2].split()[0]
            self.problem(self._case, 0, f"table {table} holds text that is no UTF-8")
        yield from found

    def text(self, raw: bytes) -> str:
        """A text column; what is no text is a finding, and differs from whatever it should have been."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self._garbled = True
            return raw.decode("utf-8", "replace")

    def _check_file(self) -> None:
        if self._reader.engine.dialect.name != "sqlite":
            return
        for (said,) in self._rows("PRAGMA quick_check(20)"):
            if said != "ok":
                self.problem("", 0, f"SQLite finds the file damaged: {said}")

    def _check_keys(self) -> None:
        """Whether the master keys at hand open what they wrapped."""
        for name, master, wrapped in self._rows("SELECT id, master, wrapped FROM provenet_key"):
            if self._keys is not None and wrapped is not None and master in self._keys.names:
                try:
                    self._keys.unwrap(name, master, wrapped)
                except NoKeys as error:
                    self.problem("", 0, error.message)

    def _check_archive(self) -> None:
        try:
            self._archive.run()
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self.problem("", 0, f"the archive cannot be read: {type(error).__name__}: {error}")

    def _load_nets(self) -> None:
        for found, name, content in self._rows(
            "SELECT hash, name, content FROM provenet_net ORDER BY deployed"
        ):
            try:
                net = loads(content)
            except ProvenetError as error:
                self.problem("", 0, f"net {name!r} {found[:12]} cannot be read: {error.message}")
                continue
            if content_hash(net) != found:
                self.problem(
                    "", 0, f"net {name!r} is not what was deployed as {found[:12]}: its content has changed"
                )
                continue
            self._programs[found] = Program(Agent(net), found)
            if net.name != name:
                self.problem("", 0, f"net {net.name!r} {found[:12]} is listed under the name {name!r}")
            for what in self._evidence(found):
                self.problem("", 0, f"net {name!r} {found[:12]}: {what}")

    def _evidence(self, found: str) -> list[str]:
        from provenet.verify.certificate import recheck
        from provenet.verify.verdict import Report

        net = self._programs[found].net
        try:
            report = Report.from_json(self._reader.report(found), net)
        except (ProvenetError, ValueError, KeyError, TypeError) as error:
            return [f"its verification report cannot be read: {error}"]
        if report.net_hash != found:
            return ["its verification report is about another net"]
        problems = [f"{v.property} is {v.status} in its report" for v in report.unproved()]
        return problems + [f"its evidence does not re-check: {p}" for p in recheck(net, report)]
