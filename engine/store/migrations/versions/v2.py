"""Several processes on one database: who runs a case, and what processes ask of each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add owner and tenant of a case, the processes, their requests, and what throttles have counted."""
    # A column that must have a value has a default of the database's own: the rows that are there need one.
    op.add_column("provenet_case", sa.Column("owner", LONG, nullable=False, server_default="0"))
    op.add_column("provenet_case", sa.Column("tenant", sa.String(), nullable=False, server_default=""))
    op.create_index("provenet_case_owner", "provenet_case", ["owner", "status"])
    op.add_column("provenet_task", sa.Column("people", sa.String(), nullable=False, server_default=""))
    op.add_column("provenet_effect", sa.Column("uncalled", sa.Integer(), nullable=False, server_default="0"))
    _keys()
    op.create_table(
        "provenet_worker",
        sa.Column("no", LONG, primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("attends", sa.Integer(), nullable=False),
    )
    op.create_table(
        "provenet_request",
        sa.Column("id", LONG, primary_key=True),
        sa.Column("at", LONG, nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("worker", LONG, nullable=False),
        sa.Column("answer", sa.String(), nullable=True),
    )
    op.create_table(
        "provenet_window",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("part", sa.String(), primary_key=True),
        sa.Column("number", LONG, primary_key=True, autoincrement=False),
        sa.Column("calls", LONG, nullable=False),
        sa.Column("tokens", LONG, nullable=False),
        sa.Column("micros", LONG, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "provenet_access",
        sa.Column("worker", LONG, primary_key=True, autoincrement=False),
        sa.Column("seq", LONG, primary_key=True, autoincrement=False),
        sa.Column("at", LONG, nullable=False),
        sa.Column("verb", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("data", sa.String(), nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "provenet_spent",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("spender", sa.String(), nullable=False),
    )
    op.create_index("provenet_request_status", "provenet_request", ["status"])
    _archive()
    _events()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "INSERT INTO provenet_meta (name, value)"
            " SELECT 'cases', COALESCE(MAX(no), 0)::text FROM provenet_case"
        )


def _archive() -> None:
    """What retention needs: what is left of pruned cases, and how many cases were ever started."""
    op.create_table(
        "provenet_archive",
        sa.Column("id", LONG, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("case_no", LONG, nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("net", sa.String(), nullable=False),
        sa.Column("version", LONG, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("outcome_place", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("finished", LONG, nullable=True),
        sa.Column("at", LONG, nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
    )
    once = sa.text("kind = 'pruned'")
    op.create_index(
        "provenet_archive_once",
        "provenet_archive",
        ["case_id"],
        unique=True,
        sqlite_where=once,
        postgresql_where=once,
    )
    op.create_index("provenet_archive_case", "provenet_archive", ["case_no"])
    killed = sa.text("released IS NULL AND scope <> 'case'")
    op.create_index(
        "provenet_kill_on", "provenet_kill", ["scope"], sqlite_where=killed, postgresql_where=killed
    )
    op.drop_index("ix_provenet_case_status", "provenet_case")
    op.create_index("provenet_case_ended", "provenet_case", ["status", "finished"])
    op.create_index("provenet_proposal_case", "provenet_proposal", ["case_no"])
    op.create_index("provenet_inbox_case", "provenet_inbox", ["case_no"])
    op.execute(
        "INSERT INTO provenet_meta (name, value)"
        " SELECT 'started:0', CAST(COUNT(*) AS VARCHAR) FROM provenet_case"
    )


def _events() -> None:
    """Events that come early, late or without the id of their case."""
    for name in ("event_at", "seq", "until"):
        op.add_column("provenet_inbox", sa.Column(name, LONG, nullable=True))
    op.add_column("provenet_inbox", sa.Column("came", LONG, nullable=False, server_default="0"))
    op.add_column("provenet_inbox", sa.Column("about", sa.String(), nullable=True))
    op.drop_index("provenet_inbox_once", "provenet_inbox")
    once = sa.text("case_no <> 0 AND status IN ('accepted', 'buffered') AND key IS NOT NULL")
    waiting = sa.text("case_no = 0 AND status = 'buffered'")
    for name, columns, unique, where in (
        ("provenet_inbox_once", ["case_no", "key"], True, once),
        ("provenet_inbox_about", ["about", "key"], False, sa.text("about IS NOT NULL")),
        ("provenet_inbox_waiting", ["case_no", "event"], False, waiting),
        ("provenet_inbox_awaited", ["case_no", "about", "key"], True, waiting),
        (
            "provenet_inbox_past",
            ["case_no", "id"],
            False,
            sa.text("case_no = 0 AND status IN ('expired', 'duplicate')"),
        ),
        (
            "provenet_inbox_newest",
            ["case_no", "event", "event_at"],
            False,
            sa.text("status = 'accepted' AND event_at IS NOT NULL"),
        ),
    ):
        op.create_index(
            name, "provenet_inbox", columns, unique=unique, sqlite_where=where, postgresql_where=where
        )
    op.create_table(
        "provenet_about",
        sa.Column("case_no", LONG, primary_key=True, autoincrement=False),
        sa.Column("about", sa.String(), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("provenet_about_text", "provenet_about", ["about"])


def _keys() -> None:
    """What personal values are encrypted with."""
    op.add_column("provenet_case", sa.Column("data_key", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "provenet_key",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("master", sa.String(), nullable=False),
        sa.Column("wrapped", sa.String(), nullable=True),
        sa.Column("created", LONG, nullable=False),
        sa.Column("erased", LONG, nullable=True),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
    )
    marked, active = sa.text("data_key <> ''"), sa.text("subject <> '' AND erased IS NULL")
    op.create_index(
        "provenet_case_key", "provenet_case", ["data_key"], sqlite_where=marked, postgresql_where=marked
    )
    op.create_index(
        "provenet_key_subject",
        "provenet_key",
        ["subject"],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )
