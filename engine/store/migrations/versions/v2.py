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
    op.create_table(
        "provenet_worker",
        sa.Column("no", LONG, primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
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
        sa.Column("by", sa.String(), nullable=False),
    )
    op.create_index("provenet_request_status", "provenet_request", ["status"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "INSERT INTO provenet_meta (name, value)"
            " SELECT 'cases', COALESCE(MAX(no), 0)::text FROM provenet_case"
        )
