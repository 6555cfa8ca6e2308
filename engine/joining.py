"""Transactional effects: what may run inside the transaction of the marking, and what it may do there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from provenet.engine.errors import EngineError


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


@contextmanager
def open_to_effect(connection: sqlite3.Connection) -> Iterator[None]:
    """Let ``transaction()`` answer, and hold what is done through it to what an effect may do."""
    token = _transaction.set(Transaction(connection))
    connection.set_authorizer(_authorize)
    try:
        yield
    finally:
        connection.set_authorizer(None)
        _transaction.reset(token)


_transaction: ContextVar[Transaction] = ContextVar("provenet transaction")

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
