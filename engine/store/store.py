"""The store: what the engine wants written, gathered into few transactions.

SQLModel declares the tables (``provenet.engine.store.tables``) and serves the read side. The firing path
writes prepared statements through the driver, since the unit of work costs several times as much. Everything
that was added between two flushes becomes one transaction; a token or timer that came and went in between
leaves no row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from sqlmodel import SQLModel

from provenet.engine.codec import Encoder, clean
from provenet.engine.errors import StoreError
from provenet.engine.faults import fault_point
from provenet.engine.store.database import Change, Location, TransactionLost, open_database
from provenet.engine.store.tables import TABLES, table_of
from provenet.engine.watching.watch import Watch
from provenet.nets.schema import Value

STARTED = "started:"
"""What facts of ``provenet_meta`` that count started cases begin with; each process keeps its own count."""

_FLUSH_ROWS = 4_000
"""Rows that may wait for the next commit while nobody asks for durability."""


class Store:
    """One database, as one engine writes to it.

    Args:
        source: ``renewals.db``, ``sqlite:///renewals.db``, ``:memory:`` or a PostgreSQL URL.

    Raises:
        StoreError: It cannot be opened; the error says what is wrong and what to do.

    Attributes:
        database: The database itself.
        failure: Why it takes no more.
        on_failure: Told when the database refuses; the engine sets it.
        commits: Transactions so far.
        watch: Who is told of what is durable, and that what was to be will not be.
    """

    def __init__(self, source: str | Path) -> None:
        self.database = open_database(source)
        self.uid = self.database.uid
        self.failure: Exception | None = None
        self.on_failure: Callable[[Exception], None] = lambda _: None
        self.commits = 0
        self.watch: Watch | None = None
        self._statements = {t.__tablename__: _Statements(t) for t in TABLES}
        self._inserts: dict[str, dict[Any, tuple[Any, ...]]] = {str(t.__tablename__): {} for t in TABLES}
        self._deletes: dict[str, list[tuple[Any, ...]]] = {str(t.__tablename__): [] for t in TABLES}
        self._moved: dict[int, tuple[Any, ...]] = {}
        self._turned: dict[int, tuple[Any, ...]] = {}
        self._started: dict[str, int] = {}
        self._updates: dict[str, list[tuple[Any, ...]]] = {}
        self._tokens: dict[tuple[int, int], tuple[str, Value, Encoder | str, int]] = {}
        self._gone: list[tuple[int, int]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._calls: list[Any] = []
        self._back: list[int] = []
        self._rows = 0
        self._open = False
        self._scheduled = False

    @property
    def location(self) -> Location:
        """Where the database is."""
        return self.database.location

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

    def update(self, statement: str, row: tuple[Any, ...]) -> None:
        """Change one row, with a statement that fails the commit where there is none to change."""
        self._updates.setdefault(statement, []).append(row)
        self._rows += 1

    def put_token(self, key: tuple[int, int], place: str, value: Value, text: Encoder | str, at: int) -> None:
        """Add a token; a text that is not known is made if the token is still there at the next commit."""
        self._tokens[key] = (place, value, text, at)
        self._rows += 1

    def drop_token(self, key: tuple[int, int]) -> None:
        """Remove a token."""
        if self._tokens.pop(key, None) is None:
            self._gone.append(key)

    def move_case(
        self, no: int, expected: int, moved: tuple[Any, ...], turned: tuple[Any, ...] | None
    ) -> None:
        """Change a case's row if it still has the expected version; the write fails otherwise.

        Args:
            no: The case's number.
            expected: The version that the store has.
            moved: What every step changes.
            turned: The rest of the row, where that changed as well.
        """
        self._rows += 1
        first = self._moved.get(no)
        self._moved[no] = (*moved, no, expected if first is None else first[-1])
        if turned is not None:
            self._turned[no] = turned

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
        """Open the transaction that the next commit ends."""
        self.database.begin()
        self._open = True

    def run(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run a statement in the transaction that the next commit ends; how many rows it touched."""
        self.begin()
        return self.database.run(statement, parameters)

    def add_case(self, row: tuple[Any, ...]) -> Literal["added", "exists"]:
        """Add a case's row, unless another process took its id first."""
        if row[1] in self._started:
            return "exists"
        try:
            found = self.database.add_case(self._statements["provenet_case"].columns, row)
        except Exception as error:  # noqa: BLE001  the transaction is lost, whatever it is
            raise self._fail(error) from None
        if found == "exists":
            return "exists"
        self._started[row[1]] = row[0]
        if found == "later":
            self.put("provenet_case", row[0], row)
        else:
            self._open = True
        return "added"

    def case_number(self, case_id: str) -> int | None:
        """The number of the case of that id, be it durable or not; ``None`` where there is none."""
        if case_id in self._started:
            return self._started[case_id]
        asked = clean(case_id).replace("\0", "")
        rows = self.rows("SELECT no FROM provenet_case WHERE id = ?", (asked,)) if asked == case_id else []
        return rows[0][0] if rows else None

    def claim(self, nets: Collection[str], most: int) -> list[int]:
        """Numbers of unfinished cases that are this process's to run from now on; see ``Database.claim``."""
        try:
            return self.database.claim(nets, most)
        except Exception as error:  # noqa: BLE001  the driver's own
            raise self.database.translate(error) from None

    def claim_one(self, no: int) -> Literal["mine", "elsewhere"]:
        """Take over one case; see ``Database.claim_one``."""
        try:
            return self.database.claim_one(no)
        except Exception as error:  # noqa: BLE001  the driver's own
            raise self.database.translate(error) from None

    def bury(self) -> list[int]:
        """Let go of what dead processes held; see ``Database.bury``."""
        try:
            return self.database.bury()
        except Exception as error:  # noqa: BLE001  the driver's own
            raise self.database.translate(error) from None

    def give_back(self, numbers: Collection[int]) -> None:
        """Let others run these cases from the next commit on; nothing may be added to them before."""
        if self.database.shared == "yes":
            self._back += numbers
            self._rows += len(numbers)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Run a transactional effect inside the open transaction: all of it, or nothing where it raises."""
        self.begin()
        try:
            with self.database.joined():
                yield
        except TransactionLost as lost:
            raise self._fail(lost.error) from None
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
            rows, began = self._rows, perf_counter()
            try:
                self._write()
            except Exception as error:  # noqa: BLE001  whatever it is, half of the rows are written
                raise self._fail(error) from None
            if self.watch is not None:
                self.watch.committed(rows, perf_counter() - began)
        elif self.watch is not None:
            self.watch.committed(0, 0.0)
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
                self.database.rollback()
            self.database.close()

    def abandon(self) -> None:
        """Let go of the database without writing; what was not committed is as if it never happened."""
        self.failure = self.failure or StoreError("the engine is closed")
        self.close()

    # reading on the writer's connection

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query on the writer's connection; what waits for the next commit is not among them."""
        return self.database.rows(statement, parameters)

    def give_up(self, error: Exception) -> Exception:
        """Take no more, since something failed in the midst of a transaction; what to raise."""
        return self._fail(error)

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
        changes: list[Change] = []
        for table, statements in self._statements.items():
            deletes, inserts = self._deletes[table], self._inserts[table]
            if deletes:
                changes.append(Change(statements.delete, deletes))
                self._deletes[table] = []
            if inserts:
                changes.append(Change(statements.upsert, [*inserts.values()]))
                self._inserts[table] = {}
        changes += [Change(statement, rows, "each") for statement, rows in self._updates.items()]
        self._updates = {}
        changes += self._token_changes()
        changes += self._case_changes()
        if self._back:
            changes += self.database.given_back(self._back)
            self._back = []
        if self._started:
            changes.append(Change(_TALLY, [(f"{STARTED}{self.database.worker}", str(len(self._started)))]))
        self._rows, self._started = 0, {}
        self.database.write(changes, _before_commit)
        self._open = False
        self.commits += 1
        fault_point("after-commit")

    def _token_changes(self) -> Iterator[Change]:
        """The tokens that came and went: one that takes another's place in its case takes its row."""
        statements = self._statements["provenet_token"]
        left: dict[int, list[int]] = {}
        for no, token in self._gone:
            left.setdefault(no, []).append(token)
        replaced, added = [], []
        for (no, token), (place, value, text, at) in self._tokens.items():
            content = text if isinstance(text, str) else text(value)
            if no in left:
                replaced.append((token, place, content, at, no, left[no].pop()))
                if not left[no]:
                    del left[no]
            else:
                added.append((no, token, place, content, at))
        self._gone, self._tokens = [], {}
        if replaced:
            yield Change(_REPLACE, replaced, "each")
        if left:
            yield Change(statements.delete, [(no, token) for no, tokens in left.items() for token in tokens])
        if added:
            yield Change(statements.upsert, added)

    def _case_changes(self) -> Iterator[Change]:
        turned = [(*row, *self._moved.pop(no)) for no, row in self._turned.items()]
        moved = [*self._moved.values()]
        self._moved, self._turned = {}, {}
        for statement, rows in ((_TURN_CASE, turned), (_MOVE_CASE, moved)):
            if rows:
                yield Change(statement, rows, "each")

    def _fail(self, error: Exception) -> Exception:
        """Take no more: what memory holds is ahead of the database now."""
        self.failure = self.database.translate(error)
        if self.watch is not None:
            self.watch.forget()
        self._open = False
        self.database.rollback()
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_exception(self.failure)
        self.on_failure(self.failure)
        return self.failure


def _before_commit() -> None:
    fault_point("before-commit")


_TALLY = """
INSERT INTO provenet_meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE
SET value = CAST(CAST(provenet_meta.value AS BIGINT) + CAST(excluded.value AS BIGINT) AS VARCHAR)"""
"""Counts the cases that were started, so that one that is gone for no reason is missed."""

_MOVE_CASE = "UPDATE provenet_case SET version = ?, tokens = ?, head = ? WHERE no = ? AND version = ?"
_TURN_CASE = _MOVE_CASE.replace(
    " SET ", " SET status = ?, finished = ?, outcome_place = ?, outcome = ?, reason = ?, killed = ?, "
)
_REPLACE = "UPDATE provenet_token SET id = ?, place = ?, value = ?, arrived = ? WHERE case_no = ? AND id = ?"


class _Statements:
    """Prepared texts for one table, from its declaration."""

    def __init__(self, model: type[SQLModel]) -> None:
        table = table_of(model)
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


_REPLACED = {
    "provenet_effect",
    "provenet_key",
    "provenet_meta",
    "provenet_net",
    "provenet_proposal",
    "provenet_task",
    "provenet_window",
}
