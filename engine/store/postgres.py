"""PostgreSQL behind the store: many processes on one database, each holding the cases that it runs.

A process that runs cases has a number of its own and holds a session-level advisory lock on it. The lock
dies with the session, and all that the process writes goes through that very session: who finds the lock free
knows that the process can write nothing any more, and takes its cases over. No clock and no time-out decides.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Literal

import psycopg
import sqlalchemy as sa
from psycopg import errors as pg
from sqlalchemy.pool import NullPool

from provenet.engine.errors import EngineError, StoreCorrupt, StoreDenied, StoreError, StoreFull, StoreLocked
from provenet.engine.store.database import (
    ESCAPES,
    LONGEST_REQUEST,
    REQUESTS_AT_ONCE,
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
from provenet.engine.store.tables import SCHEMA_VERSION, TABLES, create_statements

LOCKS = 0x50524E54
"""The class of our advisory locks ("PRNT"): key 0 guards the tables' creation, others are processes."""

SESSION = {
    "application_name": "provenet",
    "connect_timeout": 10,
    # A machine that vanished without a word must not hold its lock for hours.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": "-c synchronous_commit=on -c default_transaction_isolation=read\\ committed -c timezone=UTC",
}
"""How every session is set up, whatever the server's defaults are."""


class Postgres:
    """A PostgreSQL database; see ``Database``.

    Args:
        location: Where it is.

    Raises:
        StoreError: It cannot be opened.
    """

    shared: Literal["no", "yes"] = "yes"

    def __init__(self, location: Location) -> None:
        self.location = location
        try:
            self.connection = psycopg.connect(location.url, autocommit=True, **SESSION)  # type: ignore[arg-type]
            try:
                self.sa = reading(location)
                self.uid = _prepare(self.connection, self.sa, location)
                self.worker = self._register()
                # An upgrade that came between the two has seen no process; from now on it sees this one.
                check_version(self.rows("SELECT name, value FROM provenet_meta"), location)
            except BaseException:
                self.connection.close()
                raise
        except (psycopg.Error, sa.exc.SQLAlchemyError) as error:
            raise translate(error, location) from None
        self._open = False

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows of a query."""
        try:
            return self.connection.execute(_marked(statement), parameters).fetchall()
        except psycopg.Error as error:
            raise translate(error, self.location) from None

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it touched."""
        try:
            return self.connection.execute(_marked(statement), parameters).rowcount
        except psycopg.Error as error:
            raise translate(error, self.location) from None

    def begin(self) -> None:
        """Open the one transaction, where it is not open yet."""
        if not self._open:
            self.connection.execute("BEGIN")
            self._open = True

    def write(self, changes: Sequence[Change], before_commit: Callable[[], None]) -> None:
        """Write everything and commit, in one round trip to the server."""
        with self.connection.pipeline() as pipeline:
            if not self._open:
                self.connection.execute("BEGIN")
                self._open = True
            cursor = self.connection.cursor()
            for statement, rows, exact in changes:
                cursor.executemany(_each(statement) if exact == "each" else _marked(statement), rows)
            before_commit()
            self.connection.execute("COMMIT")
            pipeline.sync()
        self._open = False

    def rollback(self) -> None:
        """Forget the open transaction; harmless where there is none, or no server any more."""
        self._open = False
        with suppress(psycopg.Error):
            self.connection.rollback()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Let an effect write in the open transaction; undone where the body raises."""
        self.begin()
        self.connection.execute("SAVEPOINT provenet_effect")
        before = self._own_changes()
        try:
            with open_to_effect(self._within, _guarded):
                yield
            if self._own_changes() != before:
                # By a trigger, say, or a function: what a look at the statement's text cannot tell.
                raise EngineError(
                    "a transactional effect may not write to the engine's own tables",
                    hint="it shares the marking's transaction: read and write tables of your own, no more",
                )
        except BaseException:
            try:
                self.connection.execute("ROLLBACK TO provenet_effect")
            except psycopg.Error as error:
                raise TransactionLost(translate(error, self.location)) from None
            raise
        finally:
            with suppress(psycopg.Error):
                self.connection.execute("RELEASE provenet_effect")

    def add_case(self, columns: Sequence[str], row: Sequence[Any]) -> Literal["added", "exists"]:
        """Add a case's row in the open transaction, unless another process has taken its id."""
        self.begin()
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = (
            f"INSERT INTO provenet_case ({names}) SELECT {marks}"
            " WHERE pg_try_advisory_xact_lock(hashtextextended(?, ?)) ON CONFLICT (id) DO NOTHING"
        )
        # Nobody waits for the other's commit: a session blocks its whole process.
        case = row[columns.index("id")]
        with self.connection.pipeline():
            added = self.connection.execute(_marked(statement), (*row, case, LOCKS))
            # Looked at after the id is ours: a case that was pruned before left its row there.
            gone = self.connection.execute(_marked(_PRUNED), (case,))
        if not added.rowcount:
            return "exists"
        if gone.fetchall():
            self.run("DELETE FROM provenet_case WHERE no = ?", (row[columns.index("no")],))
            return "exists"
        return "added"

    def alone_at(self, what: str) -> Literal["no", "yes"]:
        """Whether nobody else is at it until the next commit."""
        self.begin()
        held = self.rows("SELECT pg_try_advisory_xact_lock(hashtextextended(?, ?))", (f"at:{what}", LOCKS))
        return "yes" if held[0][0] else "no"

    def case_numbers(self, count: int) -> int:
        """The first of so many fresh case numbers."""
        (last,) = self.rows(
            "UPDATE provenet_meta SET value = (value::bigint + ?)::text WHERE name = 'cases' RETURNING value",
            (count,),
        )[0]
        return int(last) - count + 1

    def claim(self, nets: Collection[str], most: int) -> list[int]:
        """Take over unfinished cases that no living process holds."""
        if self._open:
            return []
        gone = [no for (no,) in self.rows(_GONE, (LOCKS,))]
        taken: list[int] = []
        for owner in (0, *gone):
            rows = self.rows(_CLAIM, (self.worker, list(nets), owner, most - len(taken)))
            taken += [no for (no,) in rows]
            if owner and not self.rows(_HELD, (owner,)):
                self._forget_worker(owner)
            if len(taken) >= most:
                break
        return sorted(taken)

    def claim_one(self, no: int) -> Literal["mine", "elsewhere"]:
        """Take over one case, unless another living process runs it."""
        (owner,) = self.rows("SELECT owner FROM provenet_case WHERE no = ?", (no,))[0]
        if owner == self.worker:
            return "mine"
        if owner and owner not in [gone for (gone,) in self.rows(_GONE, (LOCKS,))]:
            return "elsewhere"
        statement = "UPDATE provenet_case SET owner = ? WHERE no = ? AND owner = ?"
        return "mine" if self.run(statement, (self.worker, no, owner)) else "elsewhere"

    def bury(self) -> list[int]:
        """Let go of what processes that died held."""
        left: list[int] = []
        for (owner,) in [] if self._open else self.rows(_GONE, (LOCKS,)):
            freed = self.rows(_LET_GO, (owner,))
            left += [no for (no,) in freed]
            self._forget_worker(owner)
        return left

    def given_back(self, numbers: Collection[int]) -> Sequence[Change]:
        """What lets others run these cases."""
        statement = "UPDATE provenet_case SET owner = 0 WHERE no = ANY(?) AND owner = ?"
        return [Change(statement, [([*numbers], self.worker)])]

    def take_requests(self) -> list[tuple[int, str]]:
        """Numbers and commands of requests that wait for this process."""
        given = (self.worker, self.worker, REQUESTS_AT_ONCE, LONGEST_REQUEST)
        found = self.rows(_REQUESTS, given)
        return sorted((number, text) for number, text in found)

    def translate(self, error: Exception) -> Exception:
        """A driver's error as one of ours; any other as it is."""
        return translate(error, self.location) if isinstance(error, psycopg.Error) else error

    def close(self) -> None:
        """Let go of the session, and with it of the process's lock; others take up its cases at once."""
        with suppress(StoreError):
            self.rows(_LET_GO, (self.worker,))
            self.run("UPDATE provenet_worker SET ended = 1 WHERE no = ?", (self.worker,))
        self.connection.close()
        self.sa.dispose()

    def _register(self) -> int:
        """A number that no process had before, with its lock held."""
        # One statement: whoever sees the number finds its lock held.
        no, held = self.rows(
            "WITH me AS (INSERT INTO provenet_worker (name, ended, attends) VALUES (?, 0, 0) RETURNING no)"
            " SELECT no, pg_try_advisory_lock(?, no::int) FROM me",
            (f"{socket.gethostname()}:{os.getpid()}", LOCKS),
        )[0]
        if not held:
            raise StoreLocked(
                f"something else holds advisory lock ({LOCKS}, {no})",
                where=str(self.location),
                hint="no other program on this database may use advisory locks of that class",
            )
        return int(no)

    def _forget_worker(self, no: int) -> None:
        """A process that died, and holds no case any more: its requests are everybody's again."""
        self.run(
            "UPDATE provenet_request SET status = 'new' WHERE worker = ? AND status = 'taken'",
            (no,),
        )
        self.run("UPDATE provenet_worker SET ended = 1 WHERE no = ?", (no,))

    def _own_changes(self) -> int:
        """How many rows of the engine's tables this transaction has changed so far."""
        return int(self.rows(_OWN_CHANGES)[0][0])

    def _within(self, statement: str, parameters: Any = ()) -> Any:
        """Run an effect's statement, if it is one that it may run."""
        first = re.match(r"\s*(\w+)", statement)
        word = first.group(1).upper() if first else ""
        if word not in _MAY or (word not in {"SELECT", "WITH"} and "provenet_" in statement.lower()):
            raise _Forbidden(f"{statement.strip()[:80]!r}")
        if isinstance(parameters, dict):
            return self.connection.execute(statement, parameters)
        # With parameters the server takes one statement only: no COMMIT can hide behind a semicolon.
        return self.connection.execute(_marked(statement), [*parameters], prepare=True)


class _Forbidden(Exception):
    """An effect's statement that was not run."""


def _refusal(error: Exception) -> str | None:
    return str(error) if isinstance(error, _Forbidden) else None


@contextmanager
def _guarded() -> Iterator[OwnTables]:
    yield _refusal


_MAY = {
    "SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP",
}  # fmt: skip
"""What an effect's statement begins with, no comment before it: anything else might end the transaction."""

_PRUNED = "SELECT 1 FROM provenet_archive WHERE case_id = ? AND kind = 'pruned'"

_ALIVE = """
  SELECT objid::bigint FROM pg_locks
  WHERE locktype = 'advisory' AND classid::bigint = ? AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

_GONE = f"SELECT no FROM provenet_worker WHERE ended = 0 AND no NOT IN ({_ALIVE}) ORDER BY no"  # noqa: S608

_ATTENDED = f"SELECT 1 FROM provenet_worker WHERE ended = 0 AND attends = 1 AND no IN ({_ALIVE}) LIMIT 1"  # noqa: S608

_GUARDS = f"""
SELECT 1 FROM provenet_worker w JOIN provenet_meta m ON m.name = 'seal:' || w.no
WHERE w.ended = 0 AND w.no IN ({_ALIVE}) LIMIT 1"""  # noqa: S608

_LET_GO = """
UPDATE provenet_case SET owner = 0
WHERE owner = ? AND status IN ('running', 'waiting', 'parked') RETURNING no"""
"""Only of cases that are not over: a process may have ended millions."""

_CLAIM = """
UPDATE provenet_case SET owner = ? WHERE no IN (
  SELECT no FROM provenet_case
  WHERE status IN ('running', 'waiting', 'parked') AND net = ANY(?) AND owner = ?
  ORDER BY no LIMIT ? FOR UPDATE SKIP LOCKED)
RETURNING no"""

_REQUESTS = """
UPDATE provenet_request SET status = 'taken', worker = ?
WHERE status = 'new' AND id IN (
  SELECT r.id FROM provenet_request r
  WHERE r.status = 'new' AND (r.case_id = '' OR EXISTS (
    SELECT 1 FROM provenet_case c WHERE c.id = r.case_id AND c.owner = ?))
  ORDER BY r.id LIMIT ?)
RETURNING id, CASE WHEN length(command) <= ? THEN command ELSE '' END"""

_HELD = """
SELECT 1 FROM provenet_case WHERE status IN ('running', 'waiting', 'parked') AND owner = ? LIMIT 1"""

_OWN_CHANGES = f"""
SELECT COALESCE(SUM(pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
  + pg_stat_get_xact_tuples_deleted(oid)), 0)
FROM pg_class WHERE relname IN ({", ".join(f"'{t.__tablename__}'" for t in TABLES)}) AND relkind = 'r'"""  # noqa: S608


def reading(where: Location) -> sa.Engine:
    """A SQLAlchemy engine that only reads."""

    def create() -> Any:
        options = f"{SESSION['options']} -c default_transaction_read_only=on"
        return psycopg.connect(where.url, **{**SESSION, "options": options})  # type: ignore[arg-type]

    return sa.create_engine("postgresql+psycopg://", creator=create, poolclass=NullPool)


@contextmanager
def posting(where: Location) -> Iterator[Posting]:
    """A session that runs no case."""
    try:
        with psycopg.connect(where.url, autocommit=True, **SESSION) as connection:  # type: ignore[arg-type]
            yield _Session(connection, where)
    except psycopg.Error as error:
        raise translate(error, where) from None


def attended(where: Location) -> bool:
    """Whether a process that is alive carries out requests about cases that nobody holds."""
    with posting(where) as session:
        return bool(session.rows(_ATTENDED, (LOCKS,)))


def guarding(where: Location) -> bool:
    """Whether a process that is alive knows who may do what, and takes tokens that are sealed for it."""
    with posting(where) as session:
        return bool(session.rows(_GUARDS, (LOCKS,)))


class _Session:
    def __init__(self, connection: psycopg.Connection[Any], where: Location) -> None:
        self._connection, self._where = connection, where

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(_marked(statement), parameters).fetchall()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        try:
            return self._connection.execute(_marked(statement), parameters).rowcount
        except pg.InsufficientPrivilege as error:
            raise translate(error, self._where) from None


@contextmanager
def snapshot(engine: sa.Engine, where: Location, text: Callable[[bytes], str]) -> Iterator[Rows]:
    """One moment of the database; its text is always UTF-8."""
    del text
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)

            def rows(statement: str, *parameters: Any) -> list[Row]:
                return driver.execute(_marked(statement), parameters).fetchall()

            yield rows
    except (psycopg.Error, sa.exc.SQLAlchemyError) as error:
        raise translate(error, where) from None


def translate(error: Exception, where: Location) -> StoreError:
    """A database error as one of ours, with a next step."""
    inner = getattr(error, "orig", None) or error
    place, text = str(where), str(inner).strip().splitlines()[0] if str(inner).strip() else repr(inner)
    match inner:
        case _ if isinstance(inner, pg.DiskFull) or "could not extend file" in text:
            return StoreFull(
                "there is no room left to write",
                where=place,
                hint="free some space on the server: every committed step is there, cases resume",
            )
        case pg.UndefinedTable():
            return StoreCorrupt(
                "this is no database of the engine",
                where=place,
                hint="name the database that `provenet run --db` wrote to",
            )
        case pg.InsufficientPrivilege():
            return StoreDenied(
                f"the role may not do this: {text}",
                where=place,
                hint="`provenet grants` prints what to grant to whom",
            )
        case pg.DataCorrupted() | pg.IndexCorrupted():
            return StoreCorrupt(f"the database is damaged: {text}", where=place, hint="restore a copy")
        case pg.DivisionByZero():
            return changed_behind(where)
        case psycopg.ProgrammingError() if inner.sqlstate is None and ("URI" in text or "percent" in text):
            # What the driver says of it quotes parts of the password.
            return StoreError(
                "the URL cannot be read",
                where=place,
                hint=ESCAPES,
            )
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return StoreError(
                f"the server cannot be reached, or went away: {text}",
                where=place,
                hint="check that it runs and that host, port, user and password are right; every committed "
                "step is there, cases resume",
            )
    return StoreError(f"the database refused: {text}", where=place, hint="run `provenet audit` on it")


def _prepare(connection: psycopg.Connection[Any], engine: sa.Engine, where: Location) -> str:
    """Create or check the tables; the database's own id."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCKS,))
        found = connection.execute(
            "SELECT tablename FROM pg_tables"
            " WHERE schemaname = current_schema() AND tablename LIKE 'provenet\\_%'"
        )
        tables = {name for (name,) in found}
        if "provenet_meta" in tables:
            facts = connection.execute("SELECT name, value FROM provenet_meta").fetchall()
            return check_version(facts, where)["uid"]
        if tables:
            raise incomplete(where)
        uid = uuid.uuid4().hex
        for statement in create_statements(engine):
            connection.execute(statement)
        connection.cursor().executemany(
            "INSERT INTO provenet_meta (name, value) VALUES (%s, %s)",
            [("schema", str(SCHEMA_VERSION)), ("uid", uid), ("cases", "0")],
        )
        return uid


@lru_cache(maxsize=512)
def _marked(statement: str) -> Any:
    """A statement in the driver's way of marking parameters."""
    return statement.replace("%", "%%").replace("?", "%s")


@lru_cache(maxsize=64)
def _each(statement: str) -> Any:
    """A change that fails where it does not touch one row: the server finds out, and nothing is committed."""
    return f"WITH changed AS ({_marked(statement)} RETURNING 1) SELECT 1 / count(*) FROM changed"  # noqa: S608
