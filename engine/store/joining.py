"""Transactional effects: what may run inside the transaction of the marking, and what it may do there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from provenet.engine.errors import EngineError

OwnTables: TypeAlias = Callable[[Exception], str | None]
"""Why the database did not run a statement, where it was forbidden to; ``None`` for any other error."""


class Transaction:
    """The open transaction, as a transactional effect sees it: it may read and write, not end it."""

    def __init__(self, execute: Callable[..., Any], refused: OwnTables) -> None:
        self._execute, self._refused = execute, refused

    def execute(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """Run one SQL statement in the transaction of the marking.

        Args:
            statement: With ``?`` for each parameter.
            parameters: Their values.

        Returns:
            The driver's cursor.

        Raises:
            EngineError: The statement would end the transaction, or touch the engine's own tables.
        """
        try:
            return self._execute(statement, parameters)
        except Exception as error:
            why = self._refused(error)
            if why is None:
                raise
            raise EngineError(
                f"a transactional effect may not do this: {why}",
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
def open_to_effect(
    execute: Callable[..., Any], guarded: Callable[[], AbstractContextManager[OwnTables]]
) -> Iterator[None]:
    """Let ``transaction()`` answer, and hold what is done through it to what an effect may do."""
    with guarded() as refused:
        token = _transaction.set(Transaction(execute, refused))
        try:
            yield
        finally:
            _transaction.reset(token)


_transaction: ContextVar[Transaction] = ContextVar("provenet transaction")
