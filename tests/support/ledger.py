"""An outside world that can be counted: every effect once per idempotency key, and every call."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


class Ledger:
    """A tiny idempotent service. It outlives the process that calls it, and knows nothing of Provenet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS effect"
                " (key TEXT PRIMARY KEY, name TEXT, subject TEXT, detail TEXT, calls INTEGER)"
            )

    def write(self, key: str, name: str, subject: str, detail: str) -> int:
        """Perform an effect; a repeated key is the same effect. How often it was called."""
        with closing(self._connect()) as db:
            row = db.execute(
                "INSERT INTO effect VALUES (?, ?, ?, ?, 1)"
                " ON CONFLICT (key) DO UPDATE SET calls = calls + 1 RETURNING name, subject, detail, calls",
                (key, name, subject, detail),
            ).fetchone()
        assert row[:3] == (name, subject, detail), "one key was used for two effects"
        return int(row[3])

    def effects(self) -> list[tuple[str, str, str]]:
        """Every logical effect: name, subject, detail."""
        with closing(self._connect()) as db:
            return sorted(db.execute("SELECT name, subject, detail FROM effect").fetchall())

    def keys(self) -> list[str]:
        """The idempotency key of every logical effect."""
        with closing(self._connect()) as db:
            return sorted(key for (key,) in db.execute("SELECT key FROM effect"))

    def calls(self) -> int:
        """How many calls there were, repeated ones included."""
        with closing(self._connect()) as db:
            return int(db.execute("SELECT COALESCE(SUM(calls), 0) FROM effect").fetchone()[0])

    def _connect(self) -> sqlite3.Connection:
        # A killed process loses nothing that reached the operating system, so the ledger need not sync.
        db = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        db.execute("PRAGMA synchronous = OFF")
        return db
