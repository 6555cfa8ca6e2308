"""The database: opening it, reading it back, and the one writer that groups commits.

SQLModel declares the tables (``provenet.engine.tables``) and serves the read side. The firing path writes
through the driver's own connection
under SQLAlchemy with prepared statements, since the unit of work costs several times as much. Everything that
was added between two flushes becomes one transaction; a token or timer that came and went in between leaves
no row.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote as quote_url

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool
from sqlmodel import SQLModel

from provenet.engine.codec import Encoder
from provenet.engine.errors import (
    EngineError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreVersion,
)
from provenet.engine.faults import fault_point
from provenet.engine.lock import ProcessLock
from provenet.engine.tables import SCHEMA_VERSION, TABLES
from provenet.nets.schema import Value

_FLUSH_ROWS = 4_000
"""Rows that may wait for the next commit while nobody asks for durability."""


class Transaction:
    """The open transaction, as a transactional effect sees it: it may read and write, not end it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        """Run one SQL statement in the transaction of the marking.

        Raises:
            EngineError: The statement would end the transaction, or touch the engine's own tables.
        """
        try:
            return self._connection.execute(statement, parameters)
        except sqlite3.DatabaseError as error:
            if "not authorized" not in str(error) and "prohibited" not in str(error):
                raise
            raise EngineError(
                f"a transactional effect may not do this: {error}",
                hint="it shares the marking's transaction: read and write tables of your own, no more",
            ) from None


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


_transaction: ContextVar[Transaction] = ContextVar("provenet transaction")


def transaction() -> Transaction:
    """The transaction that a transactional effect (``Effect(..., external=False)``) runs in.

    Raises:
        EngineError: Called outside such an effect.
    """
    try:
        return _transaction.get()
    except LookupError:
        raise EngineError(
            "there is no open transaction here",
            hint="call transaction() inside an effect with external=False",
        ) from None


class Store:
    """One database, held by one engine.

    Args:
        url: ``renewals.db``, ``sqlite:///renewals.db`` or ``:memory:``.

    Raises:
        StoreError: It cannot be opened; the error says what is wrong and what to do.
    """

    def __init__(self, url: str | Path) -> None:
        self.path = database_path(url)
        self._lock = None if self.path is None else ProcessLock(self.path)
        self.failure: Exception | None = None
        self.on_failure: Callable[[Exception], None] = lambda _: None
        """Told when the database refuses; the engine sets it."""
        self.commits = 0
        try:
            self.sa = connect(self.path, write=True)
            self._raw = self.sa.raw_connection()
            driver = self._raw.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            self.connection = driver
            self.uid = _prepare(self.sa, driver, self.path)
        except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
            self._unlock()
            raise translate(error, self.path) from None
        except BaseException:
            self._unlock()
            raise
        self._statements = {t.__tablename__: _Statements(t) for t in TABLES}
        self._inserts: dict[str, dict[Any, tuple[Any, ...]]] = {str(t.__tablename__): {} for t in TABLES}
        self._deletes: dict[str, list[tuple[Any, ...]]] = {str(t.__tablename__): [] for t in TABLES}
        self._known_cases: dict[int, tuple[Any, ...]] = {}
        self._tokens: dict[tuple[int, int], tuple[str, Value, Encoder, int]] = {}
        self._gone: list[tuple[int, int]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._calls: list[Any] = []
        self._rows = 0
        self._open = False
        self._scheduled = False

    # adding rows

    def append(self, table: str, row: tuple[Any, ...]) -> None:
        """Add a row that is never touched again."""
        self._inserts[table][self._rows] = row
        self._rows += 1

    def put(self, table: str, key: Any, row: tuple[Any, ...]) -> None:
        """Add or replace the row with that primary key."""
        self._inserts[table][key] = row
        self._rows += 1

    def drop(self, table: str, key: tuple[Any, ...]) -> None:
        """Remove the row with that primary key; a row that was never written leaves no trace."""
        if self._inserts[table].pop(key, None) is None:
            self._deletes[table].append(key)
            self._rows += 1

    def put_token(self, key: tuple[int, int], place: str, value: Value, encode: Encoder, at: int) -> None:
        """Add a token; its text is made only if it is still there at the next commit."""
        self._tokens[key] = (place, value, encode, at)
        self._rows += 1

    def drop_token(self, key: tuple[int, int]) -> None:
        """Remove a token."""
        if self._tokens.pop(key, None) is None:
            self._gone.append(key)

    def move_case(self, no: int, expected: int, row: tuple[Any, ...]) -> None:
        """Change a case's row if it still has the expected version; the write fails otherwise."""
        self._rows += 1
        first = self._known_cases.get(no)
        self._known_cases[no] = (*row, no, expected if first is None else first[-1])

    # durability

    def durable(self) -> asyncio.Future[None]:
        """A future that is done once everything added so far is on disk."""
        future = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
        else:
            self._waiters.append(future)
            self._schedule()
        return future

    def when_durable(self, call: Any) -> None:
        """Call back once everything added so far is on disk; never, if that fails."""
        self._calls.append(call)
        self._schedule()

    def flush_if_large(self) -> None:
        """Commit if many rows wait; between two operations only, never in the midst of one."""
        if self._rows >= _FLUSH_ROWS:
            self.flush()

    def flush_soon(self, *, unless_small: Literal["no", "yes"]) -> None:
        """Commit when the operation that is going on has returned to the event loop."""
        if unless_small == "no" or self._rows >= _FLUSH_ROWS:
            self._schedule()

    def begin(self) -> None:
        """Open the transaction, for an effect that joins it."""
        if not self._open:
            self.connection.execute("BEGIN IMMEDIATE")
            self._open = True

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Run a transactional effect inside the open transaction: all of it, or nothing where it raises."""
        self.begin()
        self.connection.execute("SAVEPOINT provenet_effect")
        token = _transaction.set(Transaction(self.connection))
        self.connection.set_authorizer(_authorize)
        undo = True
        try:
            yield
            undo = False
        finally:
            self.connection.set_authorizer(None)
            _transaction.reset(token)
            if not self.connection.in_transaction:
                # SQLite ends the whole transaction by itself where, say, the disk is full: what other effects
                # wrote in it is gone, so nothing of it may be committed.
                raise self._fail(translate(sqlite3.OperationalError("database or disk is full"), self.path))
            if undo:
                self.connection.execute("ROLLBACK TO provenet_effect")
            self.connection.execute("RELEASE provenet_effect")
        self._rows += 1

    def flush(self) -> None:
        """Commit everything added so far as one transaction.

        Raises:
            StoreError: The database refused; nothing of it was written, and the store takes no more.
        """
        self._scheduled = False
        if self.failure is not None:
            raise self.failure
        if self._rows or self._open:
            try:
                self._write()
            except Exception as error:  # noqa: BLE001  whatever it is, half of the rows are written
                raise self._fail(error) from None
        waiters, self._waiters = self._waiters, []
        calls, self._calls = self._calls, []
        for future in waiters:
            if not future.done():
                future.set_result(None)
        for call in calls:
            call()

    def close(self) -> None:
        """Flush what can be flushed and let go of the database."""
        try:
            if self.failure is None:
                self.flush()
        finally:
            if self._open:
                self.connection.execute("ROLLBACK")
            self._raw.close()
            self.sa.dispose()
            self._unlock()

    def abandon(self) -> None:
        """Let go of the database without writing; what was not committed is as if it never happened."""
        self.failure = self.failure or StoreError("the engine is closed")
        self.close()

    # reading on the writer's connection

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query on the writer's connection; what waits for the next commit is not among them."""
        try:
            with closing(self.connection.execute(statement, parameters)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise translate(error, self.path) from None

    def _schedule(self) -> None:
        if not self._scheduled and self.failure is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        if self._scheduled and self.failure is None:
            try:
                self.flush()
            except Exception:
                if self.failure is None:  # else everybody who waits has been told
                    raise

    def _write(self) -> None:
        execute, many = self.connection.execute, self.connection.executemany
        if not self._open:
            execute("BEGIN IMMEDIATE")
            self._open = True
        for table, statements in self._statements.items():
            deletes, inserts = self._deletes[table], self._inserts[table]
            if deletes:
                many(statements.delete, deletes)
                self._deletes[table] = []
            if inserts:
                many(statements.upsert, inserts.values())
                self._inserts[table] = {}
        tokens = self._statements["provenet_token"]
        if self._gone:
            many(tokens.delete, self._gone)
            self._gone = []
        if self._tokens:
            many(
                tokens.upsert,
                [
                    (*key, place, encode(value), at)
                    for key, (place, value, encode, at) in self._tokens.items()
                ],
            )
            self._tokens = {}
        if self._known_cases:
            changed = many(_MOVE_CASE, self._known_cases.values()).rowcount
            if changed != len(self._known_cases):
                raise StoreError(
                    "a case was changed behind the engine's back",
                    where=str(self.path or ":memory:"),
                    hint="nothing was written; run `provenet audit`, then open the database again",
                )
            self._known_cases = {}
        self._rows = 0
        fault_point("before-commit")
        execute("COMMIT")
        self._open = False
        self.commits += 1
        fault_point("after-commit")

    def _fail(self, error: Exception) -> Exception:
        """Take no more: what memory holds is ahead of the database now."""
        self.failure = translate(error, self.path) if isinstance(error, sqlite3.Error) else error
        if self._open:
            self._open = False
            # SQLite has rolled back by itself already where, say, the disk is full.
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_exception(self.failure)
        self.on_failure(self.failure)
        return self.failure

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()


_MOVE_CASE = (
    "UPDATE provenet_case SET status = ?, version = ?, tokens = ?, head = ?, finished = ?, outcome_place = ?,"
    " outcome = ?,"
    " reason = ?, killed = ? WHERE no = ? AND version = ?"
)


def _table(model: Any) -> sa.Table:
    """The table behind a declaration."""
    found = model.__table__
    assert isinstance(found, sa.Table)
    return found


class _Statements:
    """Prepared texts for one table, from its declaration."""

    def __init__(self, model: type[SQLModel]) -> None:
        table = _table(model)
        keys = [c.name for c in table.primary_key]
        # A serial key is the database's to give; cases and events are told apart by other means.
        serial = len(keys) == 1 and table.c[keys[0]].type.python_type is int and table.name != "provenet_case"
        columns = [c.name for c in table.columns if not (serial and c.name in keys)]
        self.columns = tuple(columns)
        names, marks = ", ".join(f'"{c}"' for c in columns), ", ".join("?" * len(columns))
        self.upsert = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608  names of our own tables
        rest = [c for c in columns if c not in keys]
        if not serial and table.name in _REPLACED:
            changes = ", ".join(f'"{c}" = excluded."{c}"' for c in rest)
            self.upsert += f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
        where = " AND ".join(f'"{k}" = ?' for k in keys)
        self.delete = f"DELETE FROM {table.name} WHERE {where}"  # noqa: S608


_REPLACED = {"provenet_task", "provenet_effect", "provenet_proposal", "provenet_net"}


def columns(model: type[SQLModel]) -> tuple[str, ...]:
    """Names of the columns that a row of a table is given with, in order."""
    return _Statements(model).columns


def database_path(url: str | Path) -> Path | None:
    """The file behind a database's name; ``None`` for one in memory."""
    text = str(url)
    if text in {":memory:", "sqlite://", "sqlite:///:memory:"}:
        return None
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    elif "://" in text:
        raise StoreError(
            f"{text.split('://')[0]!r} databases are not supported",
            where=text,
            hint="give a file name, or sqlite:///file.db",
        )
    path = Path(text)
    if path.is_dir():
        raise StoreError("this is a folder", where=str(path), hint="name a file in it, such as renewals.db")
    if not path.parent.is_dir():
        raise StoreError(
            "there is no such folder", where=str(path.parent), hint="create it, or name another file"
        )
    return path


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


def translate(error: Exception, path: Path | None) -> StoreError:
    """A database error as one of ours, with a next step."""
    where = str(path or ":memory:")
    inner = getattr(error, "orig", None) or error
    code = getattr(inner, "sqlite_errorname", "") or ""
    text = str(inner)
    if (
        code.startswith("SQLITE_FULL")
        or "disk is full" in text
        or code in {"SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC"}
    ):
        return StoreFull(
            "there is no room left to write",
            where=where,
            hint="free some space and open the database again: every committed step is there, cases resume",
        )
    if (
        code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))
        or "malformed" in text
        or "not a database" in text
    ):
        return StoreCorrupt(
            f"this is no database, or it is damaged: {text}",
            where=where,
            hint="keep the file; restore a copy, or try `sqlite3 FILE .recover` on it and `provenet audit`",
        )
    if code.startswith("SQLITE_READONLY") or "readonly" in text:
        return StoreError(
            "the database cannot be written",
            where=where,
            hint="check the permissions of the file and of its folder",
        )
    if code.startswith("SQLITE_BUSY") or "locked" in text:
        return StoreLocked(
            "another process is writing to this database",
            where=where,
            hint="wait until it ends, then try again",
        )
    if code.startswith("SQLITE_CANTOPEN") or "unable to open" in text:
        return StoreError(
            "the database cannot be opened", where=where, hint="check that the file exists and may be read"
        )
    return StoreError(f"the database refused: {text}", where=where, hint="run `provenet audit` on it")


def check_version(rows: Iterable[tuple[str, str]], path: Path | None) -> dict[str, str]:
    """The facts in ``provenet_meta``, where its schema version is ours.

    Raises:
        StoreVersion: It is not.
    """
    facts = dict(rows)
    if facts.get("schema") != str(SCHEMA_VERSION):
        raise StoreVersion(
            f"the database has schema version {facts.get('schema')}, "
            f"this Provenet reads version {SCHEMA_VERSION}",
            where=str(path or ":memory:"),
            hint="run the Provenet release that wrote it, or start a new database",
        )
    return facts


def _prepare(engine: sa.Engine, driver: sqlite3.Connection, path: Path | None) -> str:
    """Set the pragmas that durability rests on, create or check the tables; the database's own id."""
    driver.execute("PRAGMA journal_mode = WAL")
    driver.execute("PRAGMA synchronous = FULL")
    driver.execute("PRAGMA wal_autocheckpoint = 4000")
    driver.execute("PRAGMA cache_size = -65536")
    driver.execute("PRAGMA temp_store = MEMORY")
    tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "provenet_meta" in tables:
        return check_version(driver.execute("SELECT name, value FROM provenet_meta").fetchall(), path)["uid"]
    if any(name.startswith("provenet_") for name in tables):
        raise StoreCorrupt(
            "some of the engine's tables are there and some are missing",
            where=str(path or ":memory:"),
            hint="keep the file; restore a copy",
        )
    uid = uuid.uuid4().hex
    driver.execute("BEGIN IMMEDIATE")
    try:
        for model in TABLES:
            table = _table(model)
            driver.execute(str(sa.schema.CreateTable(table).compile(engine)))
            for index in sorted(table.indexes, key=lambda i: str(i.name)):
                driver.execute(str(sa.schema.CreateIndex(index).compile(engine)))
        driver.executemany(
            "INSERT INTO provenet_meta (name, value) VALUES (?, ?)",
            [("schema", str(SCHEMA_VERSION)), ("uid", uid)],
        )
        driver.execute("COMMIT")
    except BaseException:
        driver.execute("ROLLBACK")
        raise
    return uid
