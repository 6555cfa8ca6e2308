"""The tables: what the engine keeps, declared once with SQLModel.

The store is the truth. ``provenet_event`` is append-only and hash-chained per case; ``provenet_token`` is
the current marking and always equals what the log
replays to. Times are whole microseconds since 1970, values are canonical JSON text (see
``provenet.engine.codec``).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Index, Integer, UniqueConstraint, text
from sqlmodel import Field, SQLModel

SCHEMA_VERSION = 2
"""Version of these tables; a database of another version is refused.

What changes here changes in ``migrations/versions`` as well, where a test holds the two equal. A new column
that must have a value has a ``server_default``, for the rows that are there already.
"""

LONG: Any = BigInteger().with_variant(Integer, "sqlite")
"""A whole number of 64 bits, which SQLite's own kind is already."""


class MetaRow(SQLModel, table=True):
    """Facts of the database itself: schema version, and the id that makes its idempotency keys its own."""

    __tablename__ = "provenet_meta"
    name: str = Field(primary_key=True)
    value: str


class NetRow(SQLModel, table=True):
    """A deployed net version with the report that let it through the gate."""

    __tablename__ = "provenet_net"
    hash: str = Field(primary_key=True)
    name: str = Field(index=True)
    content: str
    report: str
    deployed: int = Field(sa_type=LONG)


class CaseRow(SQLModel, table=True):
    """A case. ``version`` is the number of its last event, ``head`` that event's hash.

    ``owner`` is the process that runs it, 0 where none has taken it up yet; ``tenant`` for whom it runs;
    ``data_key`` names the key of its personal values.
    """

    __tablename__ = "provenet_case"
    __table_args__ = (
        Index(
            "provenet_case_key",
            "data_key",
            sqlite_where=text("data_key <> ''"),
            postgresql_where=text("data_key <> ''"),
        ),
        Index("provenet_case_owner", "owner", "status"),
        Index("provenet_case_ended", "status", "finished"),
    )
    no: int | None = Field(sa_type=LONG, default=None, primary_key=True)
    id: str = Field(unique=True)
    net: str = Field(index=True)
    status: str
    version: int = Field(sa_type=LONG)
    tokens: int = Field(sa_type=LONG)
    head: bytes
    created: int = Field(sa_type=LONG)
    finished: int | None = Field(default=None, sa_type=LONG)
    outcome_place: str | None = None
    outcome: str | None = None
    reason: str | None = None
    killed: int = 0
    owner: int = Field(default=0, sa_type=LONG, sa_column_kwargs={"server_default": "0"})
    tenant: str = Field(default="", sa_column_kwargs={"server_default": ""})
    data_key: str = Field(default="", sa_column_kwargs={"server_default": ""})


class KeyRow(SQLModel, table=True):
    """A key that personal values are encrypted with: of one case, or of a subject that several are about.

    ``wrapped`` is the key itself, encrypted with the master key called ``master``; it is gone once the
    subject was erased.
    """

    __tablename__ = "provenet_key"
    __table_args__ = (
        Index(
            "provenet_key_subject",
            "subject",
            unique=True,
            sqlite_where=text("subject <> '' AND erased IS NULL"),
            postgresql_where=text("subject <> '' AND erased IS NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    subject: str
    master: str
    wrapped: str | None = None
    created: int = Field(sa_type=LONG)
    erased: int | None = Field(default=None, sa_type=LONG)
    who: str = ""
    reason: str = ""


class TokenRow(SQLModel, table=True):
    """A token of a case's current marking.

    The one table of long rows that change, and so the one keyed table that keeps SQLite's row ids: a table
    without them gives each row above a quarter of a page a page of its own to overflow into.
    """

    __tablename__ = "provenet_token"
    case_no: int = Field(sa_type=LONG, primary_key=True)
    id: int = Field(sa_type=LONG, primary_key=True)
    place: str
    value: str
    arrived: int = Field(sa_type=LONG)


class EventRow(SQLModel, table=True):
    """An entry of a case's log; ``hash`` covers the entry and ``prev``."""

    __tablename__ = "provenet_event"
    __table_args__ = (UniqueConstraint("case_no", "seq"),)
    id: int | None = Field(sa_type=LONG, default=None, primary_key=True)
    case_no: int = Field(sa_type=LONG)
    seq: int = Field(sa_type=LONG)
    kind: str
    transition: str
    at: int = Field(sa_type=LONG)
    data: str
    prev: bytes
    hash: bytes


class TimerRow(SQLModel, table=True):
    """A deadline of a transition, bound to the token that it was set for."""

    __tablename__ = "provenet_timer"
    __table_args__ = {"sqlite_with_rowid": False}
    case_no: int = Field(sa_type=LONG, primary_key=True)
    token: int = Field(sa_type=LONG, primary_key=True)
    transition: str = Field(primary_key=True)
    due: int = Field(sa_type=LONG, index=True)


class TaskRow(SQLModel, table=True):
    """A decision that a person is asked for, bound to a token and to the hash of what the person is shown.

    ``people`` is what was said of it before it was decided: approvals and delegations; empty for nothing.
    """

    __tablename__ = "provenet_task"
    __table_args__ = (Index("provenet_task_open", "status"), {"sqlite_with_rowid": False})
    case_no: int = Field(sa_type=LONG, primary_key=True)
    token: int = Field(sa_type=LONG, primary_key=True)
    task: str = Field(primary_key=True)
    choices: str
    role: str
    about: str
    about_hash: str
    opened: int = Field(sa_type=LONG)
    deadline: int | None = Field(default=None, sa_type=LONG)
    status: str = "open"
    choice: str | None = None
    who: str | None = None
    decided: int | None = Field(default=None, sa_type=LONG)
    people: str = Field(default="", sa_column_kwargs={"server_default": ""})


class EffectRow(SQLModel, table=True):
    """An external effect: intended before it is called, performed or failed after.

    ``uncalled`` is 1 where it is certain that nobody has called it yet: the policy in force is asked first.
    """

    __tablename__ = "provenet_effect"
    __table_args__ = (UniqueConstraint("case_no", "token", "transition"),)
    key: str = Field(primary_key=True)
    case_no: int = Field(sa_type=LONG)
    token: int = Field(sa_type=LONG)
    transition: str
    handler: str
    payload_hash: str
    state: str
    tries: int
    receipt: str | None = None
    reason: str | None = None
    at: int = Field(sa_type=LONG)
    uncalled: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


class ProposalRow(SQLModel, table=True):
    """A proposer's answer: what was paid for is kept, and reused where it could not be used yet."""

    __tablename__ = "provenet_proposal"
    __table_args__ = (Index("provenet_proposal_case", "case_no"),)
    key: str = Field(primary_key=True)
    case_no: int = Field(sa_type=LONG)
    token: int = Field(sa_type=LONG)
    transition: str
    state: str
    value: str | None = None
    model: str = ""
    prompt_hash: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: str = "0"
    reason: str | None = None
    at: int = Field(sa_type=LONG)


class InboxRow(SQLModel, table=True):
    """An event from outside, and what became of it; a key is accepted, or kept, once per case.

    One that was published before its case was there has case number 0, and in ``about`` the keys of that
    case. ``came`` is the last entry of the case's log when it came, ``seq`` the entry that it made,
    ``event_at`` its own time, ``until`` when it has been kept long enough.
    """

    __tablename__ = "provenet_inbox"
    __table_args__ = (
        Index("provenet_inbox_case", "case_no"),
        Index(
            "provenet_inbox_once",
            "case_no",
            "key",
            unique=True,
            sqlite_where=text("case_no <> 0 AND status IN ('accepted', 'buffered') AND key IS NOT NULL"),
            postgresql_where=text("case_no <> 0 AND status IN ('accepted', 'buffered') AND key IS NOT NULL"),
        ),
        Index(
            "provenet_inbox_awaited",
            "case_no",
            "about",
            "key",
            unique=True,
            sqlite_where=text("case_no = 0 AND status = 'buffered'"),
            postgresql_where=text("case_no = 0 AND status = 'buffered'"),
        ),
        Index(
            "provenet_inbox_past",
            "case_no",
            "id",
            sqlite_where=text("case_no = 0 AND status IN ('expired', 'duplicate')"),
            postgresql_where=text("case_no = 0 AND status IN ('expired', 'duplicate')"),
        ),
        Index(
            "provenet_inbox_newest",
            "case_no",
            "event",
            "event_at",
            sqlite_where=text("status = 'accepted' AND event_at IS NOT NULL"),
            postgresql_where=text("status = 'accepted' AND event_at IS NOT NULL"),
        ),
        Index(
            "provenet_inbox_about",
            "about",
            "key",
            sqlite_where=text("about IS NOT NULL"),
            postgresql_where=text("about IS NOT NULL"),
        ),
        Index(
            "provenet_inbox_waiting",
            "case_no",
            "event",
            sqlite_where=text("case_no = 0 AND status = 'buffered'"),
            postgresql_where=text("case_no = 0 AND status = 'buffered'"),
        ),
    )
    id: int | None = Field(sa_type=LONG, default=None, primary_key=True)
    case_no: int = Field(sa_type=LONG)
    key: str | None = None
    event: str
    payload: str | None = None
    status: str
    reason: str | None = None
    at: int = Field(sa_type=LONG)
    event_at: int | None = Field(default=None, sa_type=LONG)
    came: int = Field(default=0, sa_type=LONG, sa_column_kwargs={"server_default": "0"})
    seq: int | None = Field(default=None, sa_type=LONG)
    until: int | None = Field(default=None, sa_type=LONG)
    about: str | None = None


class AboutRow(SQLModel, table=True):
    """What the outside knows a case by: a set of its keys, as JSON text."""

    __tablename__ = "provenet_about"
    __table_args__ = (Index("provenet_about_text", "about"), {"sqlite_with_rowid": False})
    case_no: int = Field(sa_type=LONG, primary_key=True)
    about: str = Field(primary_key=True)


class ArchiveRow(SQLModel, table=True):
    """What is left of a case that was pruned, or says where a log begins that was trimmed.

    ``hash`` covers the row and ``prev``, the hash of the row before it; numbers have no gap. ``head`` is the
    hash of entry ``version``: the last one of a pruned case, the first one left of a trimmed log.
    """

    __tablename__ = "provenet_archive"
    __table_args__ = (
        Index(
            "provenet_archive_once",
            "case_id",
            unique=True,
            sqlite_where=text("kind = 'pruned'"),
            postgresql_where=text("kind = 'pruned'"),
        ),
        Index("provenet_archive_case", "case_no"),
    )
    id: int = Field(sa_type=LONG, primary_key=True, sa_column_kwargs={"autoincrement": False})
    kind: str
    case_no: int = Field(sa_type=LONG)
    case_id: str
    net: str
    version: int = Field(sa_type=LONG)
    head: bytes
    status: str
    outcome_place: str | None = None
    outcome: str | None = None
    finished: int | None = Field(default=None, sa_type=LONG)
    at: int = Field(sa_type=LONG)
    prev: bytes
    hash: bytes


class WorkerRow(SQLModel, table=True):
    """A process that runs cases, where several may; its number is never used twice."""

    __tablename__ = "provenet_worker"
    no: int | None = Field(default=None, sa_type=LONG, primary_key=True)
    name: str
    ended: int = 0
    attends: int = 0
    """Whether it carries out requests about cases that nobody holds."""


class RequestRow(SQLModel, table=True):
    """What another process asks of whoever runs a case, and the answer; both JSON text."""

    __tablename__ = "provenet_request"
    __table_args__ = (Index("provenet_request_status", "status"),)
    id: int | None = Field(default=None, sa_type=LONG, primary_key=True)
    at: int = Field(sa_type=LONG)
    case_id: str
    command: str
    status: str
    worker: int = Field(default=0, sa_type=LONG)
    answer: str | None = None


class WindowRow(SQLModel, table=True):
    """What a throttle has let through in a window of time."""

    __tablename__ = "provenet_window"
    __table_args__ = {"sqlite_with_rowid": False}
    name: str = Field(primary_key=True)
    part: str = Field(primary_key=True)
    number: int = Field(sa_type=LONG, primary_key=True, sa_column_kwargs={"autoincrement": False})
    calls: int = Field(sa_type=LONG)
    tokens: int = Field(sa_type=LONG)
    micros: int = Field(sa_type=LONG)


class KillRow(SQLModel, table=True):
    """A pull of the kill switch, for one case, one net or everything."""

    __tablename__ = "provenet_kill"
    __table_args__ = (
        Index(
            "provenet_kill_on",
            "scope",
            sqlite_where=text("released IS NULL AND scope <> 'case'"),
            postgresql_where=text("released IS NULL AND scope <> 'case'"),
        ),
    )
    id: int | None = Field(sa_type=LONG, default=None, primary_key=True)
    scope: str
    target: str
    who: str
    reason: str
    at: int = Field(sa_type=LONG)
    released: int | None = Field(default=None, sa_type=LONG)


class AccessRow(SQLModel, table=True):
    """Who was allowed a verb, or refused it: a chain of its own for each process that wrote any."""

    __tablename__ = "provenet_access"
    __table_args__ = {"sqlite_with_rowid": False}
    worker: int = Field(sa_type=LONG, primary_key=True, sa_column_kwargs={"autoincrement": False})
    seq: int = Field(sa_type=LONG, primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=LONG)
    verb: str
    target: str
    who: str
    token: str
    verdict: str
    why: str
    data: str
    prev: bytes
    hash: bytes


class SpentRow(SQLModel, table=True):
    """A signed command, or a sealed token, that was used: it is good for nothing any more."""

    __tablename__ = "provenet_spent"
    id: str = Field(primary_key=True)
    spender: str


TABLES = (
    MetaRow,
    NetRow,
    CaseRow,
    KeyRow,
    TokenRow,
    EventRow,
    TimerRow,
    TaskRow,
    EffectRow,
    ProposalRow,
    InboxRow,
    AboutRow,
    KillRow,
    ArchiveRow,
    WorkerRow,
    RequestRow,
    WindowRow,
    AccessRow,
    SpentRow,
)
"""All tables."""


def table_of(model: Any) -> sa.Table:
    """The table behind a declaration."""
    found = model.__table__
    assert isinstance(found, sa.Table)
    return found


def create_statements(engine: sa.Engine) -> list[str]:
    """The statements that create all tables and their indexes, in the database's own dialect."""
    made: list[str] = []
    for model in TABLES:
        table = table_of(model)
        made.append(str(sa.schema.CreateTable(table).compile(engine)))
        made += [
            str(sa.schema.CreateIndex(index).compile(engine))
            for index in sorted(table.indexes, key=lambda i: str(i.name))
        ]
    return made
