"""The outside ledger's writing side: one SQLite file that only the outside world writes.

An effect is done once per idempotency key, a repeat gets the first answer. Every delivery leaves a row as
well, so that repeats, refusals and faults can be counted later by somebody who trusts nobody.

A compensation for something that never arrived is accepted and remembered: the late original is then refused
(the "empty rollback" and "suspension" cases of try-confirm-cancel protocols). Without that a request that
hangs, is given up, is undone, and only then arrives would stay behind for good.

Durability: WAL with ``synchronous=NORMAL``. A commit is in the operating system's hands before it is
acknowledged, so it survives SIGKILL of this process (not a power cut, which is not what the demo is about).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provenet import ProvenetError
from provenet.examples.contract_renewal.endpoints import Endpoint

APPLICATION_ID = 0x50764F57

SCHEMA = """
CREATE TABLE IF NOT EXISTS effects (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    key         TEXT NOT NULL UNIQUE,
    case_id     TEXT NOT NULL,
    service     TEXT NOT NULL,
    verb        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    request     TEXT NOT NULL,
    answer      TEXT NOT NULL,
    undoes      TEXT,
    at          REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS effects_case ON effects (case_id, seq);
CREATE INDEX IF NOT EXISTS effects_undoes ON effects (undoes) WHERE undoes IS NOT NULL;
CREATE TABLE IF NOT EXISTS deliveries (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    key     TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    service TEXT NOT NULL,
    verb    TEXT NOT NULL,
    outcome TEXT NOT NULL,
    fault   TEXT NOT NULL
);
"""


class OutsideWorldError(ProvenetError):
    """The outside world cannot start or its ledger cannot be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service says to one request."""

    status: int
    body: bytes
    outcome: str


@dataclass(frozen=True, slots=True)
class Request:
    """One well-formed request: its endpoint, key, body, and the body as canonical text."""

    endpoint: Endpoint
    key: str
    body: Mapping[str, object]
    text: str


class OutsideStore:
    """Performs effects, once per key, inside batches.

    Args:
        path: The database file; created where absent.

    Raises:
        OutsideWorldError: The file is something else, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and mark != APPLICATION_ID:
                raise OutsideWorldError(
                    "this database belongs to something else, expected an outside ledger",
                    where=str(path),
                    hint="name another file; the outside ledger has its own database",
                )
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA)
            self._attempts: dict[str, int] = dict(
                self._db.execute("SELECT key, max(attempt) FROM deliveries GROUP BY key")
            )
        except sqlite3.Error as error:
            raise OutsideWorldError(
                f"the outside ledger cannot be opened: {error}",
                where=str(path),
                hint="check that the folder exists and is writable, and that the file is an SQLite database",
            ) from error

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One transaction around many deliveries; all are durable when it ends, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        try:
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def next_attempt(self, key: str) -> int:
        """The number of this delivery of ``key``, from 1; goes on after a restart."""
        attempt = self._attempts.get(key, 0) + 1
        self._attempts[key] = attempt
        return attempt

    def record(self, request: Request, attempt: int, *, outcome: str, fault: str) -> None:
        """Note one delivery and what became of it."""
        self._db.execute(
            "INSERT INTO deliveries (key, attempt, service, verb, outcome, fault) VALUES (?, ?, ?, ?, ?, ?)",
            (request.key, attempt, request.endpoint.service, request.endpoint.verb, outcome, fault),
        )

    def perform(self, request: Request) -> Answer:
        """Do the effect, or answer as the first time if this key did it before.

        The outcome is ``performed``, ``repeat`` or ``refused``. Must run inside :meth:`batch`.
        """
        endpoint, key, body = request.endpoint, request.key, request.body
        fingerprint = hashlib.blake2b(f"{endpoint.path}\0{request.text}".encode(), digest_size=16).hexdigest()
        seen = self._db.execute("SELECT fingerprint, answer FROM effects WHERE key = ?", (key,)).fetchone()
        if seen is not None:
            if seen[0] != fingerprint:
                return refusal(422, "this Idempotency-Key was used before with another request")
            return Answer(200, str(seen[1]).encode(), "repeat")
        undoes = str(body["undoes"]) if endpoint.undoes else None
        status = endpoint.done
        if undoes is None:
            if self._db.execute("SELECT 1 FROM effects WHERE undoes = ?", (key,)).fetchone():
                return refusal(409, "this request was undone before it arrived")
        else:
            target = self._db.execute(
                "SELECT service, verb, case_id FROM effects WHERE key = ?", (undoes,)
            ).fetchone()
            if target is None:
                status = "nothing_to_undo"
            elif target != (endpoint.service, endpoint.undoes, body["case_id"]):
                return refusal(
                    409,
                    f"{undoes!r} is not a {endpoint.service} {endpoint.undoes} of this case",
                )
            elif self._db.execute("SELECT 1 FROM effects WHERE undoes = ?", (undoes,)).fetchone():
                status = "already_undone"
        reference = f"{endpoint.service}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        answer = json.dumps({"reference": reference, "status": status})
        self._db.execute(
            "INSERT INTO effects (key, case_id, service, verb, fingerprint, request, answer, undoes, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                body["case_id"],
                endpoint.service,
                endpoint.verb,
                fingerprint,
                request.text,
                answer,
                undoes,
                time.time(),
            ),
        )
        return Answer(201, answer.encode(), "performed")

    def close(self) -> None:
        """Close the database; what was acknowledged is in it."""
        self._db.close()


def refusal(status: int, error: str, **more: object) -> Answer:
    """An answer that says no, and why."""
    return Answer(status, json.dumps({"error": error, **more}).encode(), "refused")
