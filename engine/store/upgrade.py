"""Bringing a database of an earlier release to the tables of this one: all of it, or nothing.

Nobody runs cases on the database meanwhile: on SQLite the process lock sees to that, on PostgreSQL the lock
that every process takes before it registers. A file is copied first, beside itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from provenet.engine.errors import StoreCorrupt, StoreError, StoreLocked
from provenet.engine.store.database import Location, located, schema_of, too_new, translated
from provenet.engine.store.lock import ProcessLock
from provenet.engine.store.sqlite import connect, made_like
from provenet.engine.store.tables import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did, or would do.

    Attributes:
        database: Which database, in words.
        before: The schema that it had.
        after: The schema that it has then.
        steps: What each step does.
        copy: Where the file lies as it was; ``None`` on a server, and where nothing was done.
    """

    database: str
    before: int
    after: int
    steps: tuple[str, ...] = ()
    copy: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The upgrade as JSON data."""
        copy = None if self.copy is None else str(self.copy)
        return {"database": self.database, "before": self.before, "after": self.after} | {
            "steps": list(self.steps),
            "copy": copy,
        }


def upgrade(source: str | Path, *, dry_run: Literal["no", "yes"] = "no") -> Upgrade:
    """Bring a database to the schema of this release.

    Args:
        source: Its name.
        dry_run: ``yes`` runs every statement and takes it all back.

    Raises:
        StoreLocked: Somebody runs cases on it.
        StoreVersion: It was written by a later release.
        StoreError: There is no such database, or it refuses.
    """
    where = located(source)
    if where.kind == "memory" or (where.path is not None and not where.path.exists()):
        raise StoreError("there is no such database", where=str(where), hint="check the name")
    try:
        with _server(where) if where.kind == "server" else _file(where) as connection:
            before = schema_of(_facts(connection, where), where)
            if before > SCHEMA_VERSION:
                raise too_new(before, where)
            if before == SCHEMA_VERSION:
                connection.rollback()
                return Upgrade(str(where), before, before)
            copy = None
            if where.path is not None and dry_run == "no":
                copy = _copied(where.path, before)
            from provenet.engine.store.migrations import migrate

            steps = migrate(connection, before)
            if dry_run == "yes":
                connection.rollback()
            else:
                connection.commit()
    except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
        raise translated(error, where) from None
    return Upgrade(str(where), before, SCHEMA_VERSION, tuple(steps), copy)


def _facts(connection: sa.Connection, where: Location) -> dict[str, str]:
    if not sa.inspect(connection).has_table("provenet_meta"):
        raise StoreCorrupt(
            "this is no database of the engine",
            where=str(where),
            hint="name the one that `provenet run --db` wrote",
        )
    return {
        str(name): str(value)
        for name, value in connection.exec_driver_sql("SELECT name, value FROM provenet_meta")
    }


@contextmanager
def _file(where: Location) -> Iterator[sa.Connection]:
    """A file with a transaction open that only the caller can write in."""
    assert where.path is not None
    lock = ProcessLock(where.path)
    try:
        engine = connect(where.path, write=True)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous = FULL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
    finally:
        lock.release()


@contextmanager
def _server(where: Location) -> Iterator[sa.Connection]:
    """A server's database with a transaction open, and no process that runs cases there."""
    from provenet.engine.store.database import reading_engine

    engine = reading_engine(where)
    with engine.connect() as connection:
        from provenet.engine.store.postgres import LOCKS

        connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s, 0)", (LOCKS,))
        live = connection.exec_driver_sql(_LIVE, (LOCKS,)).scalar_one()
        if live:
            raise StoreLocked(
                f"{live} process{'' if live == 1 else 'es'} run cases on this database",
                where=str(where),
                hint="stop them, then try again; their cases resume afterwards",
            )
        yield connection


_LIVE = """
SELECT COUNT(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid::bigint = %s AND objid::bigint <> 0 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def _copied(path: Path, schema: int) -> Path:
    """A copy of the file as it is, beside it, safe on disk; never over another."""
    wanted = path.with_name(f"{path.name}.schema-{schema}")
    number = 1
    while wanted.exists():
        number += 1
        wanted = path.with_name(f"{path.name}.schema-{schema}.{number}")
    unfinished = wanted.with_name(wanted.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        made_like(path, unfinished)
        # The copy holds what lies in the write-ahead log as well, which no copy of the file alone would.
        with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(unfinished)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    unfinished.rename(wanted)
    return wanted
