"""What database roles on PostgreSQL need, and no more: for engines, for readers, for those who only ask.

The tables are made by their owner, with the first engine that is opened or by ``provenet deploy``. Whoever
only asks leaves requests, and reads the answers; what becomes of them is decided by an engine, by the token.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from provenet.engine.errors import EngineError
from provenet.engine.store.tables import TABLES, table_of
from provenet.nets.errors import did_you_mean

Kind: TypeAlias = Literal["engine", "read", "post"]
"""What a role is for: running cases; ``top``, the read side and the audit; leaving requests."""

_REQUEST = "provenet_request"
_APPENDED = {"provenet_access", "provenet_archive", "provenet_spent"}
"""Tables in which nobody, an engine neither, changes or removes a row."""


def grants(kind: str, role: str, *, schema: str = "public") -> list[str]:
    """The statements that give a role what it needs.

    Args:
        kind: What the role is for.
        role: Its name.
        schema: Where the tables are.

    Raises:
        EngineError: There is no such kind.
    """
    if kind not in get_args(Kind):
        raise EngineError(f"there is no kind of role {kind!r}", hint=did_you_mean(kind, get_args(Kind)))
    to, place = f"TO {_name(role)}", _name(schema)
    tables = [table_of(model) for model in TABLES]
    made = [f"GRANT USAGE ON SCHEMA {place} {to}"]
    if kind == "post":
        return [
            *made,
            f"GRANT SELECT ON {place}.provenet_meta {to}",
            # Personal values of a request are encrypted on the way, with the key of their case.
            f"GRANT SELECT (id, data_key) ON {place}.provenet_case {to}",
            f"GRANT SELECT (id, master, wrapped, erased) ON {place}.provenet_key {to}",
            f"GRANT INSERT (at, case_id, command, status, worker) ON {place}.{_REQUEST} {to}",
            f"GRANT SELECT (id, status, answer) ON {place}.{_REQUEST} {to}",
            f"GRANT USAGE ON SEQUENCE {place}.{_REQUEST}_id_seq {to}",
        ]
    for table in sorted(tables, key=lambda t: t.name):
        if kind == "read":
            if table.name != _REQUEST:
                made.append(f"GRANT SELECT ON {place}.{table.name} {to}")
            continue
        what = "SELECT, INSERT" if table.name in _APPENDED else "SELECT, INSERT, UPDATE, DELETE"
        made.append(f"GRANT {what} ON {place}.{table.name} {to}")
        serial = table.autoincrement_column
        if serial is not None and table.name != "provenet_case":
            made.append(f"GRANT USAGE ON SEQUENCE {place}.{table.name}_{serial.name}_seq {to}")
    return made


def _name(text: str) -> str:
    quoted = text.replace('"', '""')
    return f'"{quoted}"'
