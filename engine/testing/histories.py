"""Histories: a case's log with its net, as JSON, replayed by the firing rule of the day.

A history that an older version wrote must replay, text for text, for as long as cases of that time may be
unfinished: keep some in a repository, and replay them in its tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from sqlmodel import Session, col, select

from provenet.engine.case import GENESIS, chain
from provenet.engine.clock import from_micros
from provenet.engine.history import Again, NotReplayed
from provenet.engine.personal import Seal, locked
from provenet.engine.program import Program
from provenet.engine.reader import Reader
from provenet.engine.replay import CaseAudit
from provenet.engine.store.tables import CaseRow, EventRow
from provenet.engine.testing.failures import BenchError, NotAsExpected
from provenet.engine.testing.stories import since
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import content_hash, dumps, loads
from provenet.nets.net import After, Choice, Explain, Net
from provenet.nets.quick import dataclass
from provenet.nets.schema import to_json
from provenet.sdb.handlers import Agent

FORMAT: Final = "provenet history 1"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a log, as it is stored.

    Attributes:
        seq: Its number.
        kind: ``start``, ``fire``, ``park``, ``resume``, ``kill`` or ``fail``.
        transition: Which transition fired.
        at: When, in microseconds since 1970.
        data: The rest, as canonical text.
        hash: Its hash, which covers the entry and the hash before it.
    """

    seq: int
    kind: str
    transition: str
    at: int
    data: str
    hash: str


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a case.

    Attributes:
        case: Its id.
        net_hash: Content hash of its net version in the end.
        nets: The net versions that it ran on, by content hash.
        entries: Its log.
        marking: The tokens of each marked place at the end, as JSON data.
        version: Which version of Provenet recorded it.
    """

    case: str
    net_hash: str
    nets: Mapping[str, Net] = field(repr=False)
    entries: tuple[Entry, ...]
    marking: Mapping[str, list[Any]]
    version: str = ""

    @classmethod
    def of(cls, source: str | Path | Reader, case: str) -> History:
        """The history of a case in a database.

        Raises:
            EngineError: There is no such database, case, or readable net.
        """
        from provenet import __version__

        reader = source if isinstance(source, Reader) else Reader(source)
        detail = reader.case(case)
        with Session(reader.engine) as s:
            no, key = s.exec(select(CaseRow.no, CaseRow.data_key).where(CaseRow.id == case)).one()
            rows = s.exec(select(EventRow).where(EventRow.case_no == no).order_by(col(EventRow.seq))).all()
            entries = tuple(Entry(r.seq, r.kind, r.transition, r.at, r.data, r.hash.hex()) for r in rows)
        if key:
            raise BenchError(
                f"case {case!r} has personal data, whose key no history holds",
                hint="take the history of a case of a net whose fields are not marked Personal",
            )
        if entries and entries[0].seq > 1:
            raise BenchError(
                f"the log of case {case!r} begins with entry {entries[0].seq}: what came before was trimmed",
                hint="take the history of a case whose log is whole",
            )
        nets: dict[str, Net] = {}
        for found in (line.data.get("net", detail.case.net_hash) for line in detail.log):
            net = reader.net(found)
            if net is None:
                raise BenchError(f"a net of case {case!r} cannot be read", hint="`provenet audit` says why")
            nets[found] = net
        return cls(case, detail.case.net_hash, nets, entries, detail.marking, __version__)

    @property
    def net(self) -> Net:
        """The net version in the end."""
        return self.nets[self.net_hash]

    @classmethod
    def load(cls, path: str | Path) -> History:
        """The history in a file.

        Raises:
            BenchError: The file cannot be read, or holds no history.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ValueError(f"its format is {data['format']!r}, expected {FORMAT!r}")
            entries = tuple(
                Entry(i, e["kind"], e.get("transition", ""), e["at"], _text(e["data"]), e["hash"])
                for i, e in enumerate(data["log"], start=1)
            )
            nets = {found: loads(json.dumps(net)) for found, net in data["nets"].items()}
            return cls(data["case"], data["net_hash"], nets, entries, data["marking"], data["provenet"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ProvenetError) as error:
            said = error.message if isinstance(error, ProvenetError) else f"{type(error).__name__}: {error}"
            raise BenchError(
                f"this is no history: {said}", where=str(path), hint="case.history.save(path) writes one"
            ) from None

    def save(self, path: str | Path) -> None:
        """Write it to a file; its folder is made where it is missing."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self.to_json()
        # A line for each entry, so that a difference between two files shows where they part.
        log = ",\n".join(f"  {_plain(entry)}" for entry in data.pop("log"))
        parts = [f"{_plain(name)}: {_plain(value)}" for name, value in data.items()]
        parts.insert(-1, f'"log": [\n{log}\n ]')
        path.write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "format": FORMAT,
            "provenet": self.version,
            "case": self.case,
            "net_hash": self.net_hash,
            "log": [
                {
                    "kind": e.kind,
                    **({"transition": e.transition} if e.transition else {}),
                    "at": e.at,
                    "data": _data(e.data),
                    "hash": e.hash,
                }
                for e in self.entries
            ],
            "marking": dict(self.marking),
            "nets": {found: json.loads(dumps(net)) for found, net in self.nets.items()},
        }

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        begun = from_micros(self.entries[0].at) if self.entries else from_micros(0)
        return "\n".join(
            f"{e.seq:>4}  {since(begun, from_micros(e.at)):<14}  {e.transition or e.kind}" for e in self
        )


class HistoryDiverged(NotAsExpected):
    """A history does not replay.

    Attributes:
        seq: Number of the first entry that differs; one more than there are where all of them replay.
        transition: What fired there.
        why: What is different.
    """

    def __init__(self, history: History, seq: int, transition: str, why: str) -> None:
        self.seq, self.transition, self.why = seq, transition, why
        at = f"entry {seq}" + (f" ({transition})" if transition else "")
        super().__init__(
            f"the history of case {history.case!r}, recorded by {history.version or 'an unknown version'}, "
            f"diverges at {at}: {why}"
        )


def replay_history(history: History | str | Path, *, net: Net | None = None) -> History:
    """Fire a history again, entry by entry, and compare text for text.

    Args:
        history: A history, or the file of one.
        net: Replay on this net in place of the recorded one: whether a new version of a net would have come
            the same way.

    Returns:
        The history.

    Raises:
        HistoryDiverged: At the first entry that differs.
        BenchError: The file holds no history.
    """
    __tracebackhide__ = True
    if not isinstance(history, History):
        history = History.load(history)
    for found, own in history.nets.items():
        if content_hash(own) != found:
            raise HistoryDiverged(history, 1, "", f"its net {found[:12]} has another content hash now")
    _Again(history, net).run()
    return history


class _Again(CaseAudit):
    """The audit's own replay of a log, with no database beside it."""

    def __init__(self, history: History, net: Net | None) -> None:
        self._history = history
        self._alone = _Alone(history, net)
        begun = history.entries[0].at if history.entries else 0
        super().__init__(self._alone, (0, history.case, history.net_hash, "", 0, 1, GENESIS, begun))

    def run(self) -> None:
        head, now = GENESIS, {}
        for e in self._history:
            digest = chain(
                head, self._history.case, e.seq, e.kind, transition=e.transition, at=e.at, data=e.data
            )
            if digest.hex() != e.hash:
                self._differs(e.seq, e.transition, "its hash does not cover it: the file was changed")
            why = self._why(e, (e.seq, e.kind, e.transition, e.at, e.data, head, digest))
            if why:
                self._differs(e.seq, e.transition, why)
            head = digest
        if self._history.entries:
            types = self.case.program.types
            now = {
                place: sorted(json.dumps(to_json(v, types[place])) for v in tokens)
                for place, tokens in self.case.marking.items()
            }
        then = {place: sorted(map(json.dumps, tokens)) for place, tokens in self._history.marking.items()}
        if now != then:
            text = f"it leads to another marking\n  then: {then}\n  now:  {now}"
            self._differs(len(self._history) + 1, "", text)

    def firing(self, again: Again) -> None:
        # What the database alone knows, effects and decisions, is not part of a history.
        trigger = again.step.transition.trigger
        if isinstance(trigger, After | Explain):
            super().firing(again)
        elif isinstance(trigger, Choice):
            self._chosen(again, trigger.task)

    def _why(self, e: Entry, event: tuple[Any, ...]) -> str:
        """Why an entry does not follow; empty where it does."""
        try:
            self.follow(event)
        except NotReplayed as error:
            made = self.book.last[5] if self.book.last else ""
            if made and self.book.last[1] == e.seq and made != e.data:
                return f"the same step writes something else now\n  then: {e.data}\n  now:  {made}"
            return error.message
        except (ProvenetError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return error.message if isinstance(error, ProvenetError) else f"{type(error).__name__}: {error}"
        return "; ".join(self._alone.said)

    def _differs(self, seq: int, transition: str, why: str) -> NoReturn:
        __tracebackhide__ = True
        raise HistoryDiverged(self._history, seq, transition, why)


class _Alone:
    """What an audit asks of its whole, where there is none."""

    def __init__(self, history: History, net: Net | None) -> None:
        self.said: list[str] = []
        self._programs = {found: Program(Agent(net or own), found) for found, own in history.nets.items()}

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:  # noqa: ARG002
        return []

    def program(self, found: str) -> Program | None:
        return self._programs.get(found)

    def count(self, events: int, effects: int) -> None:
        pass

    def problem(self, case: str, seq: int, what: str) -> None:  # noqa: ARG002
        self.said.append(what)

    @property
    def fast(self) -> Literal["no", "yes"]:
        return "no"

    def begins(self, no: int) -> tuple[int, bytes] | None:  # noqa: ARG002
        return None

    def begun(self, seq: int) -> None:
        pass

    def seal(self, key: str) -> Seal:
        return locked(key)

    def followed(self, count: int, seal: Seal) -> None:
        pass


def _plain(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _data(text: str) -> Any:
    """An entry's data for a file: as JSON where that gives the very text back, which is nearly always."""
    data = json.loads(text)
    return data if _plain(data) == text and not isinstance(data, str) else text


def _text(data: Any) -> str:
    return data if isinstance(data, str) else _plain(data)
