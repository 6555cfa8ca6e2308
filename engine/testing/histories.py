"""Histories: a case's log with its net, as JSON, replayed by the firing rule of the day.

A history that an older version wrote must replay, text for text, for as long as cases of that time may be
unfinished: keep some in a repository, and replay them in its tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from sqlmodel import Session, col, select

from provenet.engine.case import GENESIS, LiveCase, chain
from provenet.engine.clock import from_micros
from provenet.engine.program import Program, Step
from provenet.engine.replay import CaseAudit
from provenet.engine.store.tables import CaseRow, EventRow
from provenet.engine.testing.failures import BenchError, NotAsExpected
from provenet.engine.testing.stories import since
from provenet.engine.views import Reader
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import content_hash, dumps, loads
from provenet.nets.net import After, Explain, Net
from provenet.nets.quick import dataclass
from provenet.nets.schema import Value, to_json
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
        net: Its net.
        net_hash: The net's content hash when it was recorded.
        entries: Its log.
        marking: The tokens of each marked place at the end, as JSON data.
        version: Which version of Provenet recorded it.
    """

    case: str
    net: Net = field(repr=False)
    net_hash: str
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
        net = reader.net(detail.case.net_hash)
        if net is None:
            raise BenchError(f"the net of case {case!r} cannot be read", hint="`provenet audit` says why")
        with Session(reader.engine) as s:
            no = s.exec(select(CaseRow.no).where(CaseRow.id == case)).one()
            rows = s.exec(select(EventRow).where(EventRow.case_no == no).order_by(col(EventRow.seq))).all()
            entries = tuple(Entry(r.seq, r.kind, r.transition, r.at, r.data, r.hash.hex()) for r in rows)
        return cls(case, net, detail.case.net_hash, entries, detail.marking, __version__)

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
            net = loads(json.dumps(data["net"]))
            return cls(data["case"], net, data["net_hash"], entries, data["marking"], data["provenet"])
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
            "net": json.loads(dumps(self.net)),
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
    if content_hash(history.net) != history.net_hash:
        raise HistoryDiverged(history, 1, "", "its net has another content hash than when it was recorded")
    _Replay(history, net or history.net).run()
    return history


class _Replay(CaseAudit):
    """The audit's own replay of one log, with no database beside it."""

    def __init__(self, history: History, net: Net) -> None:
        self._history = history
        self._said: list[str] = []
        program = Program(Agent(net), history.net_hash)
        begun = history.entries[0].at if history.entries else 0
        super().__init__(self, (0, history.case, history.net_hash, "", 0, 1, GENESIS, begun))
        self._live = LiveCase(0, history.case, program, begun)

    # what the audit asks of its whole

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:  # noqa: ARG002
        return []

    def program(self, found: str) -> Program | None:  # noqa: ARG002
        return self._live.program

    def count(self, events: int, effects: int) -> None:
        pass

    def problem(self, case: str, seq: int, what: str) -> None:  # noqa: ARG002
        self._said.append(what)

    # the replay

    def run(self) -> None:
        head = GENESIS
        for e in self._history:
            digest = chain(
                head, self._history.case, e.seq, e.kind, transition=e.transition, at=e.at, data=e.data
            )
            if digest.hex() != e.hash:
                self._differs(e.seq, e.transition, "its hash does not cover it: the file was changed")
            made = self._again(e, digest)
            if made != e.data:
                text = f"the same step writes something else now\n  then: {e.data}\n  now:  {made}"
                self._differs(e.seq, e.transition, text)
            head = digest
        types = self._live.program.types
        now = {
            place: sorted(json.dumps(to_json(v, types[place])) for v in tokens)
            for place, tokens in self._live.marking.items()
        }
        then = {place: sorted(map(json.dumps, tokens)) for place, tokens in self._history.marking.items()}
        if now != then:
            text = f"it leads to another marking\n  then: {then}\n  now:  {now}"
            self._differs(len(self._history) + 1, "", text)

    def _again(self, e: Entry, digest: bytes) -> str:
        event = (e.seq, e.kind, e.transition, e.at, e.data, b"", digest)
        try:
            self._replay(self._live, event)
        except (ProvenetError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self._said.append(f"{type(error).__name__}: {error}")
        said = [what for what in self._said if "something else than the log says" not in what]
        self._said.clear()
        if said:
            self._differs(e.seq, e.transition, "; ".join(said))
        text: str = self.book.last[5]
        return text

    def _reasons(
        self,
        case: LiveCase,
        step: Step,
        binding: dict[str, Value],
        said: dict[str, Any],
        *,
        at: int,
        seq: int,
    ) -> None:
        # What the database alone knows, effects and decisions, is not part of a history.
        if isinstance(step.transition.trigger, After | Explain):
            super()._reasons(case, step, binding, said, at=at, seq=seq)

    def _differs(self, seq: int, transition: str, why: str) -> None:
        __tracebackhide__ = True
        raise HistoryDiverged(self._history, seq, transition, why)


def _plain(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _data(text: str) -> Any:
    """An entry's data for a file: as JSON where that gives the very text back, which is nearly always."""
    data = json.loads(text)
    return data if _plain(data) == text and not isinstance(data, str) else text


def _text(data: Any) -> str:
    return data if isinstance(data, str) else _plain(data)
