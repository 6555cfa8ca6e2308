"""The tables: what the engine keeps, declared once with SQLModel.

The store is the truth. ``provenet_event`` is append-only and hash-chained per case; ``provenet_token`` is
the current marking and always equals what the log
replays to. Times are whole microseconds since 1970, values are canonical JSON text (see
``provenet.engine.codec``).
"""

from __future__ import annotations

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

SCHEMA_VERSION = 1
"""Version of these tables; a database of another version is refused."""


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
    deployed: int


class CaseRow(SQLModel, table=True):
    """A case. ``version`` is the number of its last event, ``head`` that event's hash."""

    __tablename__ = "provenet_case"
    no: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True)
    net: str = Field(index=True)
    status: str = Field(index=True)
    version: int
    tokens: int
    head: bytes
    created: int
    finished: int | None = None
    outcome_place: str | None = None
    outcome: str | None = None
    reason: str | None = None
    killed: int = 0


class TokenRow(SQLModel, table=True):
    """A token of a case's current marking.

    The one table of long rows that change, and so the one keyed table that keeps SQLite's row ids: a table
    without them gives each row above a quarter of a page a page of its own to overflow into.
    """

    __tablename__ = "provenet_token"
    case_no: int = Field(primary_key=True)
    id: int = Field(primary_key=True)
    place: str
    value: str
    arrived: int


class EventRow(SQLModel, table=True):
    """An entry of a case's log; ``hash`` covers the entry and ``prev``."""

    __tablename__ = "provenet_event"
    __table_args__ = (UniqueConstraint("case_no", "seq"),)
    id: int | None = Field(default=None, primary_key=True)
    case_no: int
    seq: int
    kind: str
    transition: str
    at: int
    data: str
    prev: bytes
    hash: bytes


class TimerRow(SQLModel, table=True):
    """A deadline of a transition, bound to the token that it was set for."""

    __tablename__ = "provenet_timer"
    __table_args__ = {"sqlite_with_rowid": False}
    case_no: int = Field(primary_key=True)
    token: int = Field(primary_key=True)
    transition: str = Field(primary_key=True)
    due: int = Field(index=True)


class TaskRow(SQLModel, table=True):
    """A decision that a person is asked for, bound to a token and to the hash of what the person is shown."""

    __tablename__ = "provenet_task"
    __table_args__ = (Index("provenet_task_open", "status"), {"sqlite_with_rowid": False})
    case_no: int = Field(primary_key=True)
    token: int = Field(primary_key=True)
    task: str = Field(primary_key=True)
    choices: str
    role: str
    about: str
    about_hash: str
    opened: int
    deadline: int | None = None
    status: str = "open"
    choice: str | None = None
    who: str | None = None
    decided: int | None = None


class EffectRow(SQLModel, table=True):
    """An external effect: intended before it is called, performed or failed after."""

    __tablename__ = "provenet_effect"
    __table_args__ = (UniqueConstraint("case_no", "token", "transition"),)
    key: str = Field(primary_key=True)
    case_no: int
    token: int
    transition: str
    handler: str
    payload_hash: str
    state: str
    tries: int
    receipt: str | None = None
    reason: str | None = None
    at: int


class ProposalRow(SQLModel, table=True):
    """A proposer's answer: what was paid for is kept, and reused where it could not be used yet."""

    __tablename__ = "provenet_proposal"
    key: str = Field(primary_key=True)
    case_no: int
    token: int
    transition: str
    state: str
    value: str | None = None
    model: str = ""
    prompt_hash: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: str = "0"
    reason: str | None = None
    at: int


class InboxRow(SQLModel, table=True):
    """An event from outside, accepted or not; an accepted key is accepted once per case."""

    __tablename__ = "provenet_inbox"
    __table_args__ = (
        Index(
            "provenet_inbox_once",
            "case_no",
            "key",
            unique=True,
            sqlite_where=text("status = 'accepted' AND key IS NOT NULL"),
        ),
    )
    id: int | None = Field(default=None, primary_key=True)
    case_no: int
    key: str | None = None
    event: str
    payload: str | None = None
    status: str
    reason: str | None = None
    at: int


class KillRow(SQLModel, table=True):
    """A pull of the kill switch, for one case, one net or everything."""

    __tablename__ = "provenet_kill"
    id: int | None = Field(default=None, primary_key=True)
    scope: str
    target: str
    who: str
    reason: str
    at: int
    released: int | None = None


TABLES = (
    MetaRow,
    NetRow,
    CaseRow,
    TokenRow,
    EventRow,
    TimerRow,
    TaskRow,
    EffectRow,
    ProposalRow,
    InboxRow,
    KillRow,
)
"""All tables."""
