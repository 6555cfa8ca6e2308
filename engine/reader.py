"""The read side: cases, their logs in words, tasks, exports. Read-only, and beside a running engine.

Served by SQLModel over a connection of its own; nothing here can change a case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col, func, select

from provenet.engine.access.chain import MARK, AccessLine
from provenet.engine.archive import COLUMNS as ARCHIVE
from provenet.engine.archive import Archived, Kind, archived, pruned
from provenet.engine.case import LIVE
from provenet.engine.clock import from_micros
from provenet.engine.codec import plain
from provenet.engine.errors import NoKeys, NoSuchCase, NoSuchEntry, StoreCorrupt, StoreError
from provenet.engine.history import Moment, Replay, moment, replayed
from provenet.engine.keys import HINT, Keys
from provenet.engine.people import fallback_tasks, terms_of
from provenet.engine.personal import ERASED, PAYLOAD, is_ciphertext
from provenet.engine.program import Program
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.store.database import Location, check_version, located, reading_engine, translated
from provenet.engine.store.tables import (
    AccessRow,
    ArchiveRow,
    CaseRow,
    EffectRow,
    EventRow,
    InboxRow,
    KeyRow,
    KillRow,
    MetaRow,
    NetRow,
    ProposalRow,
    TaskRow,
    TimerRow,
    TokenRow,
    WorkerRow,
)
from provenet.engine.vault import seals
from provenet.engine.veil import WHOLE, Veil
from provenet.engine.views import (
    CaseDetail,
    CaseView,
    LogLine,
    TaskView,
    case_view,
    entry_in_words,
    json_of,
    plain_row,
    task_view,
    veiled_row,
)
from provenet.nets import schema
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import loads
from provenet.nets.net import Choice, Net
from provenet.nets.secrets import Shown
from provenet.sdb.handlers import Agent

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=SQLModel)


def _decodes(method: Callable[Concatenate[Reader, P], T]) -> Callable[Concatenate[Reader, P], T]:
    """Whatever stored data makes a method fail with is damage, told as such: no bug, and no crash."""

    @wraps(method)
    def read(self: Reader, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except ProvenetError:
            raise
        except sa.exc.SQLAlchemyError as error:
            if "decode" not in str(error):
                raise translated(error, self.location) from None
            raise self._damaged("text that is no UTF-8") from error
        except _DAMAGE as error:
            raise self._damaged(str(error) or type(error).__name__) from error

    return read


_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
"""What decoding a value of the wrong type, size or shape may raise."""


class Reader:
    """Reads a database that an engine wrote, also while one runs on it.

    Every method raises ``StoreCorrupt`` where a stored value is not what the engine writes.

    Args:
        source: The database's name, or an open SQLAlchemy engine.
        secrets: Whether to show the values of secret fields; ``***`` stands for them otherwise.
        personal: Whether to show the values of personal fields; ``[erased]`` stands for what was erased.
        keys: Master keys, without which nobody can show them; those of the environment unless given.

    Raises:
        StoreError: There is no such database, or it is not ours.
    """

    def __init__(
        self,
        source: str | Path | sa.Engine,
        *,
        secrets: Literal["hidden", "shown"] = "hidden",
        personal: Literal["hidden", "shown"] = "hidden",
        keys: Keys | None = None,
    ) -> None:
        if isinstance(source, sa.Engine):
            self.engine, self.location = source, Location("memory")
        else:
            self.location = located(source)
            if self.location.path is not None and not self.location.path.exists():
                raise StoreError(
                    "there is no such database",
                    where=str(self.location),
                    hint="check the name, or run some cases first",
                )
            self.engine = reading_engine(self.location)
        self._nets: dict[str, Net | None] = {}
        self._choices: dict[tuple[str, str], Choice] = {}
        self._veils: dict[str, Veil] = {}
        self._secrets, self._personal = secrets, personal
        self._keys = keys or (Keys.from_env() if personal == "shown" else None)
        if personal == "shown" and self._keys is None:
            raise NoKeys("personal data cannot be shown: no master key was given", hint=HINT)
        self.seal = seals(self._rows_of, self._keys)
        self._programs: dict[str, Program | None] = {}
        try:
            with self.engine.connect() as c:
                rows = c.exec_driver_sql("SELECT name, value FROM provenet_meta").fetchall()
        except sa.exc.SQLAlchemyError as error:
            raise translated(error, self.location) from None
        self.uid = check_version(((str(n), str(v)) for n, v in rows), self.location)["uid"]

    @_decodes
    def nets(self) -> list[dict[str, Any]]:
        """The deployed net versions, latest last."""
        with Session(self.engine) as s:
            rows = _rows(s, select(NetRow).order_by(col(NetRow.deployed)))
            return [
                {"name": r.name, "hash": r.hash, "deployed": from_micros(r.deployed).isoformat()}
                for r in rows
            ]

    @_decodes
    def clock(self) -> str:
        """By which clock the cases run: ``real`` or ``virtual``."""
        with Session(self.engine) as s:
            row = next(iter(_rows(s, select(MetaRow).where(MetaRow.name == "clock"))), None)
            return "real" if row is None else row.value

    @_decodes
    def is_guarded(self) -> bool:
        """Whether a token is needed to do anything from outside."""
        with Session(self.engine) as s:
            row = next(iter(_rows(s, select(MetaRow).where(MetaRow.name == MARK))), None)
            return row is not None and row.value != "off"

    @_decodes
    def net(self, digest: str) -> Net | None:
        """A deployed net version; ``None`` where it cannot be read."""
        if digest not in self._nets:
            with Session(self.engine) as s:
                row = next(iter(_rows(s, select(NetRow).where(NetRow.hash == digest))), None)
            try:
                self._nets[digest] = None if row is None else loads(row.content)
            except ProvenetError:
                self._nets[digest] = None
        return self._nets[digest]

    @_decodes
    def report(self, digest: str) -> Any:
        """The verification report of a deployed net version, as JSON data."""
        with Session(self.engine) as s:
            row = next(iter(_rows(s, select(NetRow).where(NetRow.hash == digest))), None)
            return None if row is None else json_of(row.report)

    @_decodes
    def cases(
        self, *, status: str | None = None, net: str | None = None, limit: int | None = None
    ) -> list[CaseView]:
        """Cases in the order they were started.

        Args:
            status: Only those of this status.
            net: Only those of this net, by name or content hash.
            limit: At most so many.
        """
        with Session(self.engine) as s:
            names = {r.hash: r.name for r in _rows(s, select(NetRow))}
            query = select(CaseRow).order_by(col(CaseRow.no))
            if status is not None:
                query = query.where(CaseRow.status == status)
            if net is not None:
                wanted = [h for h, name in names.items() if net == name or h.startswith(net)]
                query = query.where(col(CaseRow.net).in_(wanted))
            if limit is not None:
                query = query.limit(limit)
            return [case_view(row, names, self._veil(row.net, row.data_key)) for row in _rows(s, query)]

    @_decodes
    def counts(self) -> dict[str, int]:
        """How many cases are in each status."""
        with Session(self.engine) as s:
            found = dict(s.exec(select(CaseRow.status, func.count()).group_by(CaseRow.status)).all())
        for status in found:
            _must_be(CaseRow, "status", status)
        return found

    @_decodes
    def open_versions(self) -> list[dict[str, Any]]:
        """Net versions with unfinished cases: name, hash, whether it is the net's latest, how many cases.

        ``held`` counts those that a process is known to run; on SQLite, where no process is noted, none.
        """
        with Session(self.engine) as s:
            rows = s.exec(
                select(CaseRow.net, CaseRow.owner, func.count())
                .where(col(CaseRow.status).in_((*LIVE, "parked")))
                .group_by(CaseRow.net, col(CaseRow.owner))
            ).all()
            alive = set(s.exec(select(WorkerRow.no).where(WorkerRow.ended == 0)).all())
        names = {str(n["hash"]): str(n["name"]) for n in self.nets()}
        latest = {name: digest for digest, name in names.items()}
        found: dict[str, dict[str, Any]] = {
            digest: {"net": name, "hash": digest, "latest": latest[name] == digest, "cases": 0, "held": 0}
            for digest, name in names.items()
        }
        for digest, owner, count in rows:
            found[digest]["cases"] += count
            found[digest]["held"] += count if owner in alive else 0
        return [v for v in found.values() if v["cases"]]

    @_decodes
    def case(self, case: str) -> CaseDetail:
        """Everything about a case.

        Raises:
            NoSuchCase: There is none of that id.
        """
        with Session(self.engine) as s:
            row = self._row(s, case)
            veil, net = self._veil(row.net, row.data_key), self.net(row.net)
            names = {r.hash: r.name for r in _rows(s, select(NetRow))}
            marking: dict[str, list[Any]] = {}
            for t in _rows(s, select(TokenRow).where(TokenRow.case_no == row.no).order_by(col(TokenRow.id))):
                marking.setdefault(t.place, []).append(veil.token(t.place, json_of(t.value)))
            timers = _rows(s, select(TimerRow).where(TimerRow.case_no == row.no).order_by(col(TimerRow.due)))
            tasks = _rows(s, select(TaskRow).where(TaskRow.case_no == row.no).order_by(col(TaskRow.opened)))
            return CaseDetail(
                case=case_view(row, names, veil),
                marking=marking,
                log=tuple(self._log(s, row)),
                tasks=tuple(task_view(t, case, veil, self._terms(row.net, t.task)) for t in tasks),
                timers=tuple((t.transition, from_micros(t.due)) for t in timers),
                effects=tuple(
                    veiled_row(r, "receipt", veil, net)
                    for r in _rows(s, select(EffectRow).where(EffectRow.case_no == row.no))
                ),
                proposals=tuple(
                    veiled_row(r, "value", veil, net)
                    for r in _rows(s, select(ProposalRow).where(ProposalRow.case_no == row.no))
                ),
                inbox=tuple(
                    plain_row(r) | {"payload": veil.payload(r.event, r.payload)}
                    for r in _rows(
                        s, select(InboxRow).where(InboxRow.case_no == row.no).order_by(col(InboxRow.id))
                    )
                ),
            )

    @_decodes
    def must_have(self, case: str) -> None:
        """Make sure that there is a case of that id.

        Raises:
            NoSuchCase: There is none.
        """
        with Session(self.engine) as s:
            self._row(s, case)

    @_decodes
    def log(self, case: str) -> list[LogLine]:
        """A case's log in words.

        Raises:
            NoSuchCase: There is none of that id.
        """
        with Session(self.engine) as s:
            return list(self._log(s, self._row(s, case)))

    @_decodes
    def case_at(self, case: str, seq: int) -> Moment:
        """A case as it was after an entry of its log: replayed, as the audit does.

        Args:
            case: Its id.
            seq: Number of the entry.

        Raises:
            NoSuchCase: There is none of that id.
            NoSuchEntry: Its log has no such entry.
            StoreCorrupt: The log does not replay.
        """
        with Session(self.engine) as s:
            row = self._row(s, case)
            mine = col(EventRow.case_no) == row.no
            first = s.exec(select(func.min(EventRow.seq)).where(mine)).one() or 1
            if not first <= seq <= row.version:
                raise no_entry(case, seq, first, row.version)
            # The latest snapshot until then says all that came before it.
            snapshots = select(EventRow.seq).where(mine, EventRow.kind == SNAPSHOT, EventRow.seq <= seq)
            base = s.exec(snapshots.order_by(col(EventRow.seq).desc()).limit(1)).first() or first
            until = col(EventRow.seq).between(base, seq)
            events = _rows(s, select(EventRow).where(mine, until).order_by(col(EventRow.seq)))
        log = [(e.seq, e.kind, e.transition, e.at, e.data, e.prev, e.hash) for e in events]
        assert row.no is not None
        replay = replayed(Replay(self.program, row.no, row.id, row.created, self.seal), log, len(log))
        found = self._veiled_moment(moment(replay, row.version), row.data_key)
        return found if seq < row.version else replace(found, status=row.status, reason=row.reason)

    @_decodes
    def tasks(self, *, status: str | None = "open", role: str | None = None) -> list[TaskView]:
        """Tasks, open ones unless said otherwise, by deadline."""
        with Session(self.engine) as s:
            query = select(TaskRow, CaseRow.id, CaseRow.net, CaseRow.data_key).join(
                CaseRow, col(CaseRow.no) == TaskRow.case_no
            )
            if status is not None:
                query = query.where(TaskRow.status == status)
            if role is not None:
                nets = (self.net(r.hash) for r in _rows(s, select(NetRow)))
                later = [task for net in nets if net is not None for task in fallback_tasks(net, role)]
                query = query.where(sa.or_(col(TaskRow.role) == role, col(TaskRow.task).in_(later)))
            query = query.order_by(col(TaskRow.deadline), col(TaskRow.case_no), col(TaskRow.token))
            found = s.exec(query).all()
            for row, case, *_ in found:
                _checked(row)
                _must_be(CaseRow, "id", case)
            tasks = (
                task_view(r, case, self._veil(n, key), self._terms(n, r.task)) for r, case, n, key in found
            )
            return [t for t in tasks if role in {None, t.role, t.fallback}]

    @_decodes
    def waiting(self) -> list[dict[str, Any]]:
        """Events that were published for cases which have not started: name, key, about what, since when."""
        with Session(self.engine) as s:
            query = select(InboxRow).where(InboxRow.case_no == 0, InboxRow.status == "buffered")
            rows = [plain_row(r) for r in _rows(s, query.order_by(col(InboxRow.id)))]
        return [{n: r[n] for n in ("event", "key", "about", "at", "until")} for r in rows]

    @_decodes
    def kills(self) -> list[dict[str, Any]]:
        """Pulls of the kill switch."""
        with Session(self.engine) as s:
            return [plain_row(r) for r in _rows(s, select(KillRow))]

    @_decodes
    def access(self) -> list[AccessLine]:
        """Who was allowed what, and who was refused, by time."""
        with Session(self.engine) as s:
            order = (col(AccessRow.at), col(AccessRow.worker), col(AccessRow.seq))
            return [AccessLine.of(row) for row in _rows(s, select(AccessRow).order_by(*order))]

    @_decodes
    def played(self, case: str) -> list[dict[str, Any]]:
        """In a simulation: every effect of a case that a stand-in played, in their order."""
        with Session(self.engine) as s:
            row = self._row(s, case)
            order = {
                f"played:{e.key}": e.token
                for e in _rows(s, select(EffectRow).where(EffectRow.case_no == row.no))
            }
            facts = {r.name: r.value for r in _rows(s, select(MetaRow)) if r.name in order}
        veil = self._veil(row.net, row.data_key)
        return [veil.played(json_of(facts[name])) for name in sorted(facts, key=order.__getitem__)]

    @_decodes
    def spent(self) -> dict[str, Any]:
        """What proposals cost: calls, tokens and dollars, as far as known."""
        with Session(self.engine) as s:
            rows = s.exec(select(ProposalRow.tokens_in, ProposalRow.tokens_out, ProposalRow.cost_usd)).all()
        from decimal import Decimal

        return {
            "proposals": len(rows),
            "tokens_in": sum(r[0] for r in rows),
            "tokens_out": sum(r[1] for r in rows),
            "cost_usd": str(sum((Decimal(r[2]) for r in rows), Decimal(0))),
        }

    @_decodes
    def archive(self, case: str | None = None, *, kind: Kind | None = None) -> list[Archived]:
        """What is left of pruned cases, and where the logs of trimmed ones begin, oldest row first.

        Args:
            case: Only rows of this one.
            kind: Only rows of this kind.
        """
        with Session(self.engine) as s:
            query = select(ArchiveRow).order_by(col(ArchiveRow.id))
            if case is not None:
                query = query.where(ArchiveRow.case_id == case.encode(errors="replace").decode())
            if kind is not None:
                query = query.where(ArchiveRow.kind == kind)
            rows = [archived([getattr(r, n) for n in ARCHIVE.split(", ")]) for r in _rows(s, query)]
        return [
            r
            if r.outcome is None
            else replace(r, outcome=plain(self._veil(r.net).token(r.outcome_place, json_of(r.outcome))))
            for r in rows
        ]

    def export(self, case: str | None = None) -> Iterator[str]:
        """Cases as JSON lines: one object for each case, with log, tasks, effects and marking.

        Args:
            case: Only this one.

        Raises:
            NoSuchCase: There is none of that id.
        """
        ids = [case] if case is not None else [c.id for c in self.cases()]
        for each in ids:
            yield json.dumps(self.case(each).to_json(), ensure_ascii=False)

    def program(self, digest: str) -> Program | None:
        """A deployed net version, compiled, without the code of its handlers."""
        if digest not in self._programs:
            net = self.net(digest)
            self._programs[digest] = None if net is None else Program(Agent(net), digest)
        return self._programs[digest]

    def _veiled_moment(self, found: Moment, key: str) -> Moment:
        veil = self._veil(found.net, key)
        marking = {p: [(i, veil.token(p, v), at) for i, v, at in held] for p, held in found.marking.items()}
        tasks = tuple(t | {"about": veil.about(t["task"], t["about"])} for t in found.tasks)
        return replace(found, marking=marking, tasks=tasks)

    @_decodes
    def unfinished(self, *, case: str = "", subject: str = "") -> list[str]:
        """Ids of cases that have not ended: this one, or those that were started for a subject."""
        with Session(self.engine) as s:
            query = select(CaseRow.id).where(col(CaseRow.status).in_((*LIVE, "parked")))
            if subject:
                mine = select(KeyRow.id).where(KeyRow.subject == subject, col(KeyRow.erased).is_(None))
                query = query.where(col(CaseRow.data_key).in_(mine))
            else:
                query = query.where(CaseRow.id == case)
            return list(s.exec(query.order_by(col(CaseRow.no))).all())

    @_decodes
    def data_keys(self) -> dict[str, int]:
        """How many keys of personal values there are, by the master key that opens them; erased: by none."""
        with Session(self.engine) as s:
            return dict(s.exec(select(KeyRow.master, func.count()).group_by(KeyRow.master)).all())

    def _rows_of(self, statement: str, *parameters: Any) -> list[Any]:
        with self.engine.connect() as c:
            return list(c.execute(sa.text(statement.replace("?", ":p")), {"p": parameters[0]}))

    def _terms(self, digest: str, task: str) -> Choice:
        if (digest, task) not in self._choices:
            self._choices[digest, task] = terms_of(self.net(digest), task)
        return self._choices[digest, task]

    def _veil(self, digest: str, key: str = "") -> Veil:
        """What hides values of a net's cases: those whose personal values are under this key."""
        if digest not in self._veils:
            self._veils[digest] = Veil(self.net(digest))
        shown = self._secrets == "shown" and not key
        return self._veils[digest].showing(None if shown else self._stands_for(key))

    def _stands_for(self, key: str) -> Shown:
        """What is shown of a marked field."""

        def shown(field: schema.Field, data: Any) -> Any:
            if field.mark == "secret" or not key:
                return data if self._secrets == "shown" else schema.HIDDEN
            seal = self.seal(key)
            if seal.state == "erased":
                return ERASED
            if self._personal == "hidden" or seal.state == "locked" or not is_ciphertext(data):
                return schema.HIDDEN
            return seal.open(data, PAYLOAD if field is WHOLE else "value")

        return shown

    def _damaged(self, what: str) -> StoreCorrupt:
        where = str(self.location)
        return StoreCorrupt(
            f"a stored value is damaged: {what}",
            where=where,
            hint=f"`provenet audit --db {where}` says which cases are sound; keep the file, restore a copy",
        )

    def _row(self, session: Session, case: str) -> CaseRow:
        # A name with half a surrogate pair is no text, and no database can be asked for it.
        asked = case.encode(errors="replace").decode()
        row: CaseRow | None = next(iter(_rows(session, select(CaseRow).where(CaseRow.id == asked))), None)
        if row is None:
            for past in self.archive(case, kind="pruned"):
                raise pruned(past)
            raise NoSuchCase(
                f"there is no case {case!r}",
                where=str(self.location),
                hint="`provenet cases` lists them",
            )
        return row

    def _log(self, session: Session, row: CaseRow) -> Iterator[LogLine]:
        net, veil = self.net(row.net), self._veil(row.net, row.data_key)
        query = select(EventRow).where(EventRow.case_no == row.no).order_by(col(EventRow.seq))
        for event in _rows(session, query):
            data = json_of(event.data)
            if event.kind in {"start", "migrate", SNAPSHOT}:
                digest = str(data["to"] if event.kind == "migrate" else data["net"])
                net, veil = self.net(digest), self._veil(digest, row.data_key)
            data = veil.entry(event.transition, data)
            role, text = entry_in_words(net, event.kind, event.transition, data)
            yield LogLine(
                event.seq,
                from_micros(event.at),
                event.kind,
                event.transition,
                role,
                text,
                data,
                event.hash.hex(),
            )


def no_entry(case: str, seq: int, first: int, last: int) -> NoSuchEntry:
    """A log has no entry of that number."""
    return NoSuchEntry(
        f"there is no entry {seq}",
        where=f"case {case!r}",
        hint=f"its log has entries {first} to {last}: `provenet log {case}` shows them",
    )


def _rows(session: Session, query: Any) -> list[Any]:
    """A query's rows, each with values of the types that its table declares: SQLite holds any in any."""
    return [_checked(row) for row in session.exec(query).all()]


def _checked(row: M) -> M:
    for name in type(row).model_fields:
        _must_be(type(row), name, getattr(row, name))
    return row


def _must_be(model: type[SQLModel], name: str, value: object) -> None:
    expected = model.model_fields[name].annotation
    if not isinstance(value, expected):  # type: ignore[arg-type]  # classes, and unions of classes
        of = getattr(expected, "__name__", None) or str(expected)
        raise TypeError(f"{model.__tablename__}.{name} is a {type(value).__name__}, expected {of}")
