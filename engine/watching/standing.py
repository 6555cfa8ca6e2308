"""Where a database stands: one look from the read side, as ``provenet top`` shows it.

Rates come from the log's own times, so that one look is enough and any number of processes may run: firings
of the last ten seconds, cases that ended in the last minute. On a virtual clock the present is the last
entry's time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, func, select

from provenet.engine.clock import from_micros, to_micros
from provenet.engine.errors import StoreCorrupt
from provenet.engine.reader import Reader
from provenet.engine.store.database import translated
from provenet.engine.store.tables import (
    CaseRow,
    EventRow,
    KillRow,
    NetRow,
    ProposalRow,
    TaskRow,
    TimerRow,
    WorkerRow,
)

_SECOND = 1_000_000
_WINDOW = 10 * _SECOND
_MOST_ENTRIES = 20_000
_MOST_LINES = 10


@dataclass(frozen=True, slots=True)
class Oldest:
    """The task that has waited longest for a person."""

    case: str
    task: str
    role: str
    opened: datetime
    deadline: datetime | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Stuck:
    """Cases that somebody should look at, for one reason."""

    status: str
    reason: str
    cases: int
    example: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a model's answers cost, as far as known; ``model`` is empty for plain code."""

    model: str
    proposals: int
    tokens_in: int
    tokens_out: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Switch:
    """A kill switch that is on."""

    scope: str
    target: str
    who: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a database stands.

    Attributes:
        at: The present, by the cases' own clock.
        clock: ``real`` or ``virtual``.
        nets: Names of the nets, with how many cases of each are unfinished.
        earlier: How many of them are on versions that are not the latest of their net, by name and hash.
        statuses: How many cases are in each status.
        ended_per_minute: Cases that ended in the last minute.
        started_per_minute: Cases that started in it.
        firings_per_second: Over the last ten seconds.
        open_tasks: Decisions that people are asked for.
        oldest: The one that has waited longest.
        next_timer: When the next timer is due.
        stuck: Cases parked or failed, the most frequent reasons first.
        spent: What proposals cost, by model, the dearest first.
        switches: Kill switches that are on.
        workers: Processes that run cases, where several may; empty on SQLite.
    """

    at: datetime
    clock: str
    nets: dict[str, int]
    earlier: dict[str, dict[str, int]]
    statuses: dict[str, int]
    ended_per_minute: int
    started_per_minute: int
    firings_per_second: float
    open_tasks: int
    oldest: Oldest | None
    next_timer: datetime | None
    stuck: tuple[Stuck, ...]
    spent: tuple[Spent, ...]
    switches: tuple[Switch, ...]
    workers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The standing as JSON data."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def standing(reader: Reader) -> Standing:
    """Where the database of a reader stands.

    Raises:
        StoreError: It cannot be read.
    """
    clock, statuses = reader.clock(), reader.counts()
    versions = reader.open_versions()
    try:
        with Session(reader.engine) as s:
            return _look(s, clock, statuses, versions)
    except sa.exc.SQLAlchemyError as error:
        raise translated(error, reader.location) from None
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        where = str(reader.location)
        raise StoreCorrupt(
            f"a stored value is damaged: {error}",
            where=where,
            hint=f"`provenet audit --db {where}` says which cases are sound; keep the file, restore a copy",
        ) from None


def _look(s: Session, clock: str, statuses: dict[str, int], versions: list[dict[str, Any]]) -> Standing:
    now = to_micros(datetime.now(UTC))
    if clock == "virtual":
        last = select(EventRow.at).order_by(col(EventRow.id).desc()).limit(1)
        now = int(s.exec(last).first() or now)
    minute = now - 60 * _SECOND
    due = s.exec(select(func.min(TimerRow.due))).one()
    nets = dict.fromkeys(s.exec(select(NetRow.name)).all(), 0)
    earlier: dict[str, dict[str, int]] = {}
    for version in versions:
        nets[version["net"]] += version["cases"]
        if not version["latest"]:
            earlier.setdefault(version["net"], {})[version["hash"]] = version["cases"]
    return Standing(
        at=from_micros(now),
        clock=clock,
        nets=dict(sorted(nets.items())),
        earlier=earlier,
        statuses=statuses,
        ended_per_minute=_count(s, col(CaseRow.finished) > minute),
        started_per_minute=_count(s, col(CaseRow.created) > minute),
        firings_per_second=round(_rate(s, now), 1),
        open_tasks=int(s.exec(select(func.count()).where(TaskRow.status == "open")).one()),
        oldest=_oldest(s, now),
        next_timer=None if due is None else from_micros(int(due)),
        stuck=_stuck(s),
        spent=_spent(s),
        switches=_switches(s),
        workers=tuple(
            str(name)
            for name in s.exec(select(WorkerRow.name).where(WorkerRow.ended == 0).order_by(col(WorkerRow.no)))
        ),
    )


def _count(s: Session, which: Any) -> int:
    return int(s.exec(select(func.count()).select_from(CaseRow).where(which)).one())


def _rate(s: Session, now: int) -> float:
    """Firings per second, over the last entries: an index on their times would cost every firing."""
    recent = select(EventRow.at, EventRow.kind).order_by(col(EventRow.id).desc()).limit(_MOST_ENTRIES)
    rows = s.exec(recent).all()
    fired = [at for at, kind in rows if kind == "fire" and now - _WINDOW < at <= now]
    whole = len(rows) < _MOST_ENTRIES or rows[-1][0] <= now - _WINDOW
    span = _WINDOW if whole else max(now - rows[-1][0], 1)
    return len(fired) * _SECOND / span


def _oldest(s: Session, now: int) -> Oldest | None:
    columns: list[Any] = [CaseRow.id, TaskRow.task, TaskRow.role, TaskRow.opened, TaskRow.deadline]
    query: Any = (
        sa.select(*columns)
        .join(CaseRow, col(CaseRow.no) == TaskRow.case_no)
        .where(col(TaskRow.status) == "open")
        .order_by(col(TaskRow.opened), col(TaskRow.case_no))
        .limit(1)
    )
    found = s.exec(query).first()
    if found is None:
        return None
    case, task, role, opened, deadline = found
    until = None if deadline is None else from_micros(deadline)
    return Oldest(case, task, role, from_micros(opened), until, max(0, now - opened) / _SECOND)


def _stuck(s: Session) -> tuple[Stuck, ...]:
    how_many = func.count()
    query = (
        select(CaseRow.status, CaseRow.reason, how_many, func.min(CaseRow.id))
        .where(col(CaseRow.status).in_(("parked", "failed")))
        .group_by(CaseRow.status, col(CaseRow.reason))
        .order_by(how_many.desc(), CaseRow.status, col(CaseRow.reason))
        .limit(_MOST_LINES)
    )
    return tuple(Stuck(str(st), str(why or ""), int(n), str(one)) for st, why, n, one in s.exec(query))


def _spent(s: Session) -> tuple[Spent, ...]:
    cost = func.sum(sa.cast(col(ProposalRow.cost_usd), sa.Float))
    tokens = func.sum(ProposalRow.tokens_in), func.sum(ProposalRow.tokens_out)
    columns: list[Any] = [ProposalRow.model, func.count(), *tokens, cost]
    query: Any = (
        sa.select(*columns)
        .group_by(ProposalRow.model)
        .order_by(cost.desc(), ProposalRow.model)
        .limit(_MOST_LINES)
    )
    return tuple(
        Spent(str(model), int(n), int(into or 0), int(out or 0), round(float(usd or 0), 6))
        for model, n, into, out, usd in s.exec(query)
    )


def _switches(s: Session) -> tuple[Switch, ...]:
    query = (
        select(KillRow)
        .where(col(KillRow.released).is_(None), KillRow.scope != "case")
        .order_by(col(KillRow.id))
    )
    return tuple(Switch(k.scope, k.target, k.who, k.reason, from_micros(k.at)) for k in s.exec(query))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.isoformat() if isinstance(value, datetime) else value
