"""SQLite behind the store: one file, one writing process, held by a lock of the operating system."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote as quote_url

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

from provenet.engine.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from provenet.engine.store.database import (
    LONGEST_REQUEST,
    REQUESTS_AT_ONCE,
    TAKEN,
    Change,
    Location,
    Posting,
    Row,
    Rows,
    TransactionLost,
    changed_behind,
    check_version,
    incomplete,
)
from provenet.engine.store.joining import OwnTables, open_to_effect
from provenet.engine.store.lock import ProcessLock
from provenet.engine.store.tables import SCHEMA_VERSION, create_statements

PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",
    "cache_size = -65536",
    "temp_store = MEMORY",
)
"""What durability rests on, and what speed does."""


class Sqlite:
    """A database file, or a fresh database in memory; see ``Database``.

    Args:
        location: Where it is.

    Raises:
        StoreError: It cannot be opened.
    """

    shared: Literal["no", "yes"] = "no"
    worker = 1

    def __init__(self, location: Location) -> None:
        self.location = location
        self._lock = None if location.path is None else ProcessLock(location.path)
        try:
            self.sa = connect(location.path, write=True)
            self._raw = self.sa.raw_connection()
            driver = self._raw.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            self.connection = driver
            self.uid = _prepare(self.sa, driver, location)
        except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
            self._unlock()
            raise translate(error, location) from None
        except BaseException:
            self._unlock()
            raise
        self._open = False
        # A case number is never used twice, also where the last cases were pruned.
        last = self.rows("SELECT MAX(no) FROM provenet_case UNION SELECT MAX(case_no) FROM provenet_archive")
        self._last = max(int(no or 0) for (no,) in last)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows of a query."""
        try:
            with closing(self.connection.execute(statement, parameters)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise translate(error, self.location) from None

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it touched."""
        try:
            return self.connection.execute(statement, parameters).rowcount
        except sqlite3.Error as error:
            raise translate(error, self.location) from None

    def begin(self) -> None:
        """Open the one transaction, where it is not open yet."""
        if not self._open:
            self.connection.execute("BEGIN IMMEDIATE")
            self._open = True
        elif not self.connection.in_transaction:
            raise self._lost().error

    def write(self, changes: Sequence[Change], before_commit: Callable[[], None]) -> None:
        """Write everything and commit."""
        self.begin()
        many = self.connection.executemany
        for statement, rows, exact in changes:
            touched = many(statement, rows).rowcount
            if exact == "each" and touched != len(rows):
                raise changed_behind(self.location)
        before_commit()
        self.connection.execute("COMMIT")
        self._open = False

    def rollback(self) -> None:
        """Forget it; SQLite has rolled back by itself already where, say, the disk is full."""
        self._open = False
        with suppress(sqlite3.Error):
            self.connection.execute("ROLLBACK")

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Let an effect write in the open transaction; undone where the body raises."""
        self.begin()
        self.connection.execute("SAVEPOINT provenet_effect")
        undo = True
        try:
            with open_to_effect(self.connection.execute, self._guarded):
                yield
            undo = False
        finally:
            if not self.connection.in_transaction:
                raise self._lost()
            if undo:
                self.connection.execute("ROLLBACK TO provenet_effect")
            self.connection.execute("RELEASE provenet_effect")

    def _lost(self) -> TransactionLost:
        """SQLite ended the whole transaction by itself, as it does where, say, the disk is full.

        What was written in it is gone, so nothing that belongs to it may be committed.
        """
        full = sqlite3.OperationalError("database or disk is full")
        return TransactionLost(translate(full, self.location))

    def add_case(self, columns: Sequence[str], row: Sequence[Any]) -> Literal["later", "exists"]:
        """No other process could take the id: the row may wait."""
        case = row[columns.index("id")]
        return "exists" if self.rows(TAKEN, (case, case)) else "later"

    def alone_at(self, what: str) -> Literal["yes"]:
        """Nobody else writes."""
        del what
        return "yes"

    def case_numbers(self, count: int) -> int:
        """The first of so many case numbers that nobody has: there is one process, which keeps count."""
        self._last += count
        return self._last - count + 1

    def claim(self, nets: Collection[str], most: int) -> list[int]:
        """Take over unfinished cases: all of them, since the lock says that nobody else runs."""
        self.run("UPDATE provenet_case SET owner = ? WHERE owner = 0", (self.worker,))
        marks = ",".join("?" * len(nets))
        return [
            no
            for (no,) in self.rows(
                "SELECT no FROM provenet_case WHERE status IN ('running', 'waiting', 'parked')"  # noqa: S608
                f" AND +net IN ({marks}) ORDER BY no LIMIT ?",  # by status: most cases of a net are over
                (*nets, most),
            )
        ]

    def claim_one(self, no: int) -> Literal["mine", "elsewhere"]:
        """Take over one case: all are this process's."""
        del no
        return "mine"

    def bury(self) -> list[int]:
        """Nobody else was there to die."""
        return []

    def given_back(self, numbers: Collection[int]) -> Sequence[Change]:
        """Nobody else is there to run them."""
        del numbers
        return []

    def take_requests(self) -> list[tuple[int, str]]:
        """Numbers and commands of requests that wait."""
        found = self.rows(_REQUESTS, (REQUESTS_AT_ONCE, LONGEST_REQUEST))
        return sorted((number, text) for number, text in found)

    def translate(self, error: Exception) -> Exception:
        """A driver's error as one of ours; any other as it is."""
        return translate(error, self.location) if isinstance(error, sqlite3.Error) else error

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()
        self.sa.dispose()
        self._unlock()

    @contextmanager
    def _guarded(self) -> Iterator[OwnTables]:
        """Hold what an effect does to what it may do: the driver asks before it runs anything."""
        self.connection.set_authorizer(_authorize)
        try:
            yield _refused
        finally:
            self.connection.set_authorizer(None)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()


def connect(path: Path | None, *, write: bool) -> sa.Engine:
    """A SQLAlchemy engine for a database file, or for a fresh database in memory."""
    if path is None:
        return sa.create_engine(
            "sqlite://",
            poolclass=StaticPool,
            connect_args={"check_same_thread": False, "isolation_level": None},
        )

    def create() -> sqlite3.Connection:
        mode = "rwc" if write else "ro"
        return sqlite3.connect(
            f"file:{quote_url(str(path))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=10,
        )

    return sa.create_engine("sqlite://", creator=create, poolclass=NullPool)


def made_like(model: Path, path: Path) -> None:
    """An empty file for a copy of another: who may not read the one may not read the other.

    Raises:
        OSError: It cannot be made, or is there.
    """
    mode = model.stat().st_mode & 0o777
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))


@contextmanager
def posting(where: Location) -> Iterator[Posting]:
    """A second connection, beside that of the engine that runs there."""
    driver = sqlite3.connect(where.path or ":memory:", timeout=10, isolation_level=None)
    with closing(driver):
        try:
            yield _Second(driver)
        except sqlite3.Error as error:
            raise translate(error, where) from None


class _Second:
    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with closing(self._driver.execute(statement, parameters)) as cursor:
            return cursor.fetchall()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        return self._driver.execute(statement, parameters).rowcount


@contextmanager
def snapshot(engine: sa.Engine, where: Location, text: Callable[[bytes], str]) -> Iterator[Rows]:
    """One moment of the database; a column that is no UTF-8 goes through ``text``."""
    raw = engine.raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)

    def rows(statement: str, *parameters: Any) -> list[Row]:
        with closing(connection.execute(statement, parameters)) as cursor:
            return cursor.fetchall()

    # A database in memory has one connection for all: it is quiet while this runs, and needs no snapshot.
    alone = where.kind == "memory"
    try:
        if not alone:
            connection.execute("BEGIN")
        connection.text_factory = text
        try:
            yield rows
        finally:
            connection.text_factory = str
            if not alone:
                connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise translate(error, where) from None
    finally:
        raw.close()


def translate(error: Exception, where: Location) -> StoreError:
    """A database error as one of ours, with a next step."""
    place = str(where)
    inner = getattr(error, "orig", None) or error
    code = getattr(inner, "sqlite_errorname", "") or ""
    text = str(inner)
    if (
        code.startswith("SQLITE_FULL")
        or "disk is full" in text
        or code in {"SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE"}
    ):
        return StoreFull(
            "there is no room left to write",
            where=place,
            hint="free some space and open the database again: every committed step is there, cases resume",
        )
    if (
        code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))
        or "malformed" in text
        or "not a database" in text
        or "decode" in text  # bytes that are no UTF-8, in a row or in the schema
    ):
        return StoreCorrupt(
            f"this is no database, or it is damaged: {text}",
            where=place,
            hint="keep the file; restore a copy, or try `sqlite3 FILE .recover` on it and `provenet audit`",
        )
    if text.startswith("no such table: provenet_"):
        return StoreCorrupt(
            "this is no database of the engine",
            where=place,
            hint="name the file that `provenet run --db` wrote",
        )
    if code.startswith("SQLITE_READONLY") or "readonly" in text:
        return StoreError(
            "the database cannot be written",
            where=place,
            hint="check the permissions of the file and of its folder",
        )
    if code.startswith("SQLITE_BUSY") or "locked" in text:
        return StoreLocked(
            "another process is writing to this database",
            where=place,
            hint="wait until it ends, then try again",
        )
    if code.startswith("SQLITE_CANTOPEN") or "unable to open" in text:
        return StoreError(
            "the database cannot be opened", where=place, hint="check that the file exists and may be read"
        )
    return StoreError(f"the database refused: {text}", where=place, hint="run `provenet audit` on it")


def _prepare(engine: sa.Engine, driver: sqlite3.Connection, where: Location) -> str:
    """Set the pragmas, create or check the tables; the database's own id."""
    for pragma in PRAGMAS:
        driver.execute(f"PRAGMA {pragma}")
    tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "provenet_meta" in tables:
        return check_version(driver.execute("SELECT name, value FROM provenet_meta").fetchall(), where)["uid"]
    if any(name.startswith("provenet_") for name in tables):
        raise incomplete(where)
    uid = uuid.uuid4().hex
    driver.execute("BEGIN IMMEDIATE")
    try:
        for statement in create_statements(engine):
            driver.execute(statement)
        driver.executemany(
            "INSERT INTO provenet_meta (name, value) VALUES (?, ?)",
            [("schema", str(SCHEMA_VERSION)), ("uid", uid)],
        )
        driver.execute("COMMIT")
    except BaseException:
        driver.execute("ROLLBACK")
        raise
    return uid


_REQUESTS = """
UPDATE provenet_request SET status = 'taken' WHERE id IN (
  SELECT id FROM provenet_request WHERE status = 'new' ORDER BY id LIMIT ?)
RETURNING id, CASE WHEN length(command) <= ? THEN command ELSE '' END"""

_WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_TABLE}
_NEVER = {
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
}


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """What a transactional effect may do to the database."""
    altered = second if action == sqlite3.SQLITE_ALTER_TABLE else first if action in _WRITES else None
    if action in _NEVER or (altered or "").lower().startswith("provenet_"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _refused(error: Exception) -> str | None:
    """Why the driver did not run a statement, where it was ours to forbid."""
    text = str(error)
    if isinstance(error, sqlite3.DatabaseError) and ("not authorized" in text or "prohibited" in text):
        return text
    return None
