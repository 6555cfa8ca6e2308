"""The first released tables.

That release knew SQLite only, and made them itself; on PostgreSQL they are what it would have made there.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _table("meta", _text("name", key=True), _text("value"))
    _table(
        "net",
        _text("hash", key=True),
        _text("name"),
        _text("content"),
        _text("report"),
        _long("deployed"),
    )
    _table(
        "case",
        _long("no", key=True),
        _text("id"),
        _text("net"),
        _text("status"),
        _long("version"),
        _long("tokens"),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        _long("created"),
        _long("finished", null=True),
        _text("outcome_place", null=True),
        _text("outcome", null=True),
        _text("reason", null=True),
        _small("killed"),
        sa.UniqueConstraint("id"),
    )
    _table(
        "token",
        _long("case_no", key=True),
        _long("id", key=True),
        _text("place"),
        _text("value"),
        _long("arrived"),
    )
    _table(
        "event",
        _long("id", key=True),
        _long("case_no"),
        _long("seq"),
        _text("kind"),
        _text("transition"),
        _long("at"),
        _text("data"),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("case_no", "seq"),
    )
    _table(
        "timer",
        _long("case_no", key=True),
        _long("token", key=True),
        _text("transition", key=True),
        _long("due"),
        sqlite_with_rowid=False,
    )
    _table(
        "task",
        _long("case_no", key=True),
        _long("token", key=True),
        _text("task", key=True),
        _text("choices"),
        _text("role"),
        _text("about"),
        _text("about_hash"),
        _long("opened"),
        _long("deadline", null=True),
        _text("status"),
        _text("choice", null=True),
        _text("who", null=True),
        _long("decided", null=True),
        sqlite_with_rowid=False,
    )
    _table(
        "effect",
        _text("key", key=True),
        _long("case_no"),
        _long("token"),
        _text("transition"),
        _text("handler"),
        _text("payload_hash"),
        _text("state"),
        _small("tries"),
        _text("receipt", null=True),
        _text("reason", null=True),
        _long("at"),
        sa.UniqueConstraint("case_no", "token", "transition"),
    )
    _table(
        "proposal",
        _text("key", key=True),
        _long("case_no"),
        _long("token"),
        _text("transition"),
        _text("state"),
        _text("value", null=True),
        _text("model"),
        _text("prompt_hash"),
        _small("tokens_in"),
        _small("tokens_out"),
        _text("cost_usd"),
        _text("reason", null=True),
        _long("at"),
    )
    _table(
        "inbox",
        _long("id", key=True),
        _long("case_no"),
        _text("key", null=True),
        _text("event"),
        _text("payload", null=True),
        _text("status"),
        _text("reason", null=True),
        _long("at"),
    )
    _table(
        "kill",
        _long("id", key=True),
        _text("scope"),
        _text("target"),
        _text("who"),
        _text("reason"),
        _long("at"),
        _long("released", null=True),
    )
    for table, column in (("net", "name"), ("case", "net"), ("case", "status"), ("timer", "due")):
        op.create_index(f"ix_provenet_{table}_{column}", f"provenet_{table}", [column])
    op.create_index("provenet_task_open", "provenet_task", ["status"])
    once = sa.text("status = 'accepted' AND key IS NOT NULL")
    op.create_index(
        "provenet_inbox_once",
        "provenet_inbox",
        ["case_no", "key"],
        unique=True,
        sqlite_where=once,
        postgresql_where=once,
    )


def _table(name: str, *parts: Any, **options: Any) -> None:
    op.create_table(f"provenet_{name}", *parts, **options)


def _text(name: str, *, key: bool = False, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), primary_key=key, nullable=null)


def _long(name: str, *, key: bool = False, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, LONG, primary_key=key, nullable=null)


def _small(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)
