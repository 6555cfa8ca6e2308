"""From one released schema to the next: Alembic's operations, one module in ``versions`` for each schema.

The version that a database has is the fact ``schema`` in ``provenet_meta``, and nothing else: Alembic's own
table would be a second truth, and would meet that of a user whose own tables lie in the same database. A
revision is named for the schema that it leads to. None can be undone: what came before is in the copy.

Imported where a migration runs; a fresh database is made by ``tables.create_statements`` and is never slower
for this.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from provenet.engine.store.tables import SCHEMA_VERSION


def migrate(connection: sa.Connection, before: int, after: int = SCHEMA_VERSION) -> list[str]:
    """Bring the tables from one schema to a later one, in the connection's open transaction.

    Args:
        connection: Where to.
        before: The schema that is there; 0 for none at all.
        after: The schema wanted.

    Returns:
        What each step did, in words.
    """
    scripts = ScriptDirectory(Path(__file__).parent)
    steps = [*scripts.iterate_revisions(str(after), str(before) if before else "base")][::-1]
    said: list[str] = []
    with Operations.context(MigrationContext.configure(connection)):
        for step in steps:
            step.module.upgrade()
            said.append((step.module.__doc__ or "").strip().splitlines()[0])
    stamp = sa.text("UPDATE provenet_meta SET value = :version WHERE name = 'schema'")
    connection.execute(stamp, {"version": str(after)})
    return said
